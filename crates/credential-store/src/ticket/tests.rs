use jsonwebtoken::{EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
use tempfile::TempDir;

use super::*;
use crate::testing::{Fixture, applier, sign};

/// What comes of a ticket with these claims.
async fn verdict(spoil: impl FnOnce(&mut Claims)) -> Result<Ticket, Refusal> {
    let fixture = Fixture::new().await;
    let mut claims = fixture.claims(&["quay", "ghcr"]);
    spoil(&mut claims);
    judge(&fixture, &fixture.sign(&claims))
}

fn judge(fixture: &Fixture, ticket: &str) -> Result<Ticket, Refusal> {
    let claims = fixture.grpc.fetch.tickets.read(ticket)?;
    check(&claims, &applier(), fixture.clock.clock().now())
}

#[tokio::test]
async fn a_good_ticket_says_what_it_allows() {
    let ticket = verdict(|_| {}).await.unwrap();
    assert_eq!(ticket.link.to_string(), "secretLinks/web");
    let names: Vec<String> = ticket.credentials.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["credentials/quay", "credentials/ghcr"]);
    assert_eq!(ticket.secret_type, SecretType::DockerConfigJson);
    let other_type = verdict(|c| c.secret_type = "kubernetes.io/dockercfg".into()).await.unwrap();
    assert_eq!(other_type.secret_type, SecretType::Dockercfg);
}

#[tokio::test]
async fn each_way_to_be_wrong_has_its_own_refusal() {
    type Spoil = fn(&mut Claims);
    let cases: [(Refusal, Spoil); 16] = [
        (Refusal::Expired, |c| c.exp = c.iat),
        (Refusal::Expired, |c| (c.iat, c.exp) = (c.iat - 60, c.exp - 60)),
        (Refusal::Expired, |c| c.exp = 0),
        (Refusal::NotYours, |c| c.sub = "spiffe://d/applier/other".into()),
        (Refusal::OtherCertificate, |c| c.cnf.certificate_sha256 = BASE64_URL_SAFE_NO_PAD.encode([2; 32])),
        (Refusal::OtherCertificate, |c| c.cnf.certificate_sha256.clear()),
        (Refusal::Invalid("it is for another audience"), |c| c.aud = "grant-manager".into()),
        (Refusal::Invalid("it is by another issuer"), |c| c.iss = "credential-store".into()),
        (Refusal::Invalid("it lives too long"), |c| c.exp += 1),
        (Refusal::Invalid("it lives too long"), |c| c.iat = i64::MIN),
        (Refusal::Invalid("it was issued in the future"), |c| (c.iat, c.exp) = (c.iat + 6, c.exp + 6)),
        (Refusal::Invalid("it names no credential"), |c| c.credentials.clear()),
        (Refusal::Invalid("it names no credential rightly"), |c| c.credentials.push("quay".into())),
        (Refusal::Invalid("it names no cluster"), |c| c.cluster = "secretLinks/web".into()),
        (Refusal::Invalid("it names no link"), |c| c.link.clear()),
        (Refusal::Invalid("it names no known type of Secret"), |c| c.secret_type = "Opaque".into()),
    ];
    for (refusal, spoil) in cases {
        assert_eq!(verdict(spoil).await, Err(refusal));
    }
}

#[tokio::test]
async fn a_ticket_holds_to_its_last_second_and_a_clock_may_be_a_little_ahead() {
    assert!(verdict(|c| (c.iat, c.exp) = (c.iat - 59, c.exp - 59)).await.is_ok());
    assert!(verdict(|c| (c.iat, c.exp) = (c.iat + 5, c.exp + 5)).await.is_ok());
}

#[tokio::test]
async fn what_grant_manager_did_not_sign_with_ed_dsa_is_no_ticket() {
    let fixture = Fixture::new().await;
    let claims = fixture.claims(&["quay"]);
    let good = fixture.sign(&claims);
    let judged = |ticket: &str| judge(&fixture, ticket).unwrap_err();
    assert_eq!(judged(""), Refusal::Missing);

    let stranger = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    assert_eq!(judged(&sign(&stranger, &claims)), Refusal::Invalid("its signature does not fit"));

    // The public key as if it were a shared secret: the classic confusion of algorithms.
    let public = EncodingKey::from_secret(fixture.issuer.public_key_raw());
    let confused = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &public).unwrap();
    assert_eq!(judged(&confused), Refusal::Invalid("it is not signed with EdDSA"));

    let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    let body = good.split('.').nth(1).unwrap();
    let unsigned = format!("{}.{body}.", part(r#"{"alg":"none","typ":"JWT"}"#));
    assert!(matches!(judged(&unsigned), Refusal::Invalid(_)));

    let (signed, _) = good.rsplit_once('.').unwrap();
    for nonsense in ["x", "a.b.c", signed, &format!("{good}x"), &format!("{good}."), &good.replace('.', "")] {
        assert!(matches!(judged(nonsense), Refusal::Invalid(_)), "{nonsense}");
    }
    let mut richer = claims.clone();
    richer.credentials.push("credentials/other".into());
    let swapped = fixture.sign(&richer).split('.').nth(1).unwrap().to_owned();
    let mixed = good.replace(body, &swapped);
    assert_eq!(judged(&mixed), Refusal::Invalid("its signature does not fit"));
}

#[tokio::test]
async fn missing_claims_are_refused() {
    let fixture = Fixture::new().await;
    let whole = serde_json::to_value(fixture.claims(&["quay"])).unwrap();
    let key = EncodingKey::from_ed_pem(fixture.issuer.serialize_pem().as_bytes()).unwrap();
    for claim in whole.as_object().unwrap().keys() {
        let mut less = whole.clone();
        less.as_object_mut().unwrap().remove(claim);
        let ticket = jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &less, &key).unwrap();
        assert_eq!(
            judge(&fixture, &ticket),
            Err(Refusal::Invalid("its claims are not a ticket's")),
            "{claim}"
        );
    }
}

#[test]
fn only_an_ed25519_public_key_is_taken() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("ticket.pub");
    let load = |text: String| {
        std::fs::write(&file, text).unwrap();
        Verifier::load(&file)
    };
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    assert!(load(key.public_key_pem()).is_ok());
    assert!(matches!(load(key.serialize_pem()), Err(KeyError::Form { .. })), "a private key");
    let other = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    assert!(matches!(load(other.public_key_pem()), Err(KeyError::Form { .. })));
    assert!(matches!(load("nonsense".into()), Err(KeyError::Form { .. })));
    assert!(matches!(Verifier::load(&folder.path().join("absent")), Err(KeyError::Read { .. })));
}
