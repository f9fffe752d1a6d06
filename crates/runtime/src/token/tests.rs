pub(crate) mod stand_in;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::time::Instant;

use super::*;
use stand_in::{AUDIENCE, Pair};
use stand_in::{Answer, StandIn};

const NOW: i64 = 1_800_000_000;
const SUB: &str = "system:serviceaccount:ci:deployer";
const DISCOVERY: &str = "/.well-known/openid-configuration";

const QUICK: Pace = Pace {
    apart: Duration::from_millis(100),
    fresh: Duration::from_mins(5),
    patience: Duration::from_secs(10),
    stale: Duration::from_hours(1),
};

/// An issuer and a service that accepts its tokens.
struct Scene {
    stand_in: StandIn,
    issuers: Issuers,
    shutdown: Shutdown,
}

impl Scene {
    async fn new(keys: &[&Pair]) -> Self {
        Self::with(keys, QUICK, |_| {}).await
    }

    async fn with(keys: &[&Pair], pace: Pace, change: impl FnOnce(&StandIn)) -> Self {
        let stand_in = StandIn::start(keys).await;
        change(&stand_in);
        let clock = crate::ManualClock::new(OffsetDateTime::from_unix_timestamp(NOW).unwrap()).clock();
        let issuers = Issuers::with_pace(&[stand_in.config()], "example.org", clock, pace).unwrap();
        let shutdown = Shutdown::new(Duration::from_secs(1));
        issuers.watch(&shutdown);
        Self { stand_in, issuers, shutdown }
    }

    fn claims(&self) -> Value {
        json!({"iss": self.stand_in.url, "aud": AUDIENCE, "sub": SUB, "iat": NOW - 60, "nbf": NOW - 60, "exp": NOW + 600})
    }

    async fn verify(&self, token: &str) -> Result<Verified, Refusal> {
        self.issuers.verify(token).await
    }

    async fn good(&self, pair: &Pair) -> Result<Verified, Refusal> {
        self.verify(&pair.sign(&self.claims())).await
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

#[tokio::test]
async fn a_good_token_of_every_algorithm_is_its_subject_until_it_ends() {
    let pairs = [
        Algorithm::RS256,
        Algorithm::RS384,
        Algorithm::RS512,
        Algorithm::PS256,
        Algorithm::PS384,
        Algorithm::PS512,
        Algorithm::ES256,
        Algorithm::ES384,
        Algorithm::EdDSA,
    ];
    let pairs = pairs.map(|algorithm| Pair::new(&format!("{algorithm:?}"), algorithm));
    let scene = Scene::new(&pairs.iter().collect::<Vec<_>>()).await;
    for pair in &pairs {
        let verified = scene.good(pair).await.unwrap();
        let id = "spiffe://example.org/jwt/cluster-a/system/serviceaccount/ci/deployer";
        assert_eq!(
            (verified.spiffe_id.as_str(), verified.ends.unix_timestamp()),
            (id, NOW + 630),
            "{}",
            pair.kid
        );
    }
    let several = json!(["https://api.example.org", AUDIENCE]);
    let token = pairs[0].sign(&changed(&scene.claims(), "aud", several));
    scene.verify(&token).await.expect("one of several audiences is ours");
}

fn changed(claims: &Value, field: &str, value: Value) -> Value {
    let mut claims = claims.clone();
    claims[field] = value;
    claims
}

#[tokio::test]
async fn each_claim_that_does_not_hold_has_its_refusal() {
    let pair = Pair::new("a", Algorithm::ES256);
    let scene = Scene::new(&[&pair]).await;
    let lacking = Refusal::Invalid(
        "it lacks one of the claims `sub`, `aud`, `exp` and `iat`, or has it in another form",
    );
    let other = || Refusal::OtherAudience(AUDIENCE.to_owned());
    for (field, value, refusal) in [
        ("iss", json!("https://evil.example.org"), Refusal::UnknownIssuer),
        ("iss", json!(format!("{}/", scene.stand_in.url)), Refusal::UnknownIssuer),
        ("aud", json!("somebody-else"), other()),
        ("aud", json!(["somebody-else"]), other()),
        ("aud", json!([]), other()),
        ("exp", json!(NOW - 31), Refusal::Expired),
        ("exp", json!(NOW - 30), Refusal::Expired),
        ("exp", json!(NOW - 60 + 24 * 3600 + 1), Refusal::Invalid("it lives longer than 24 hours")),
        ("iat", json!(NOW - 24 * 3600), Refusal::Invalid("it lives longer than 24 hours")),
        ("iat", json!(NOW + 31), Refusal::Invalid("it does not hold yet")),
        ("nbf", json!(NOW + 31), Refusal::Invalid("it does not hold yet")),
        ("sub", Value::Null, lacking.clone()),
        ("aud", Value::Null, lacking.clone()),
        ("exp", Value::Null, lacking.clone()),
        ("iat", Value::Null, lacking.clone()),
        ("exp", json!("tomorrow"), lacking.clone()),
        ("sub", json!("x".repeat(3000)), Refusal::Invalid("its subject is too long")),
        ("more", json!("x".repeat(9000)), Refusal::Invalid("it is longer than 8192 bytes")),
    ] {
        let token = pair.sign(&changed(&scene.claims(), field, value.clone()));
        assert_eq!(scene.verify(&token).await, Err(refusal), "{field} = {value}");
    }
    for (field, value) in [("exp", NOW - 29), ("iat", NOW + 30), ("nbf", NOW + 30)] {
        scene.verify(&pair.sign(&changed(&scene.claims(), field, json!(value)))).await.expect(field);
    }
}

#[tokio::test]
async fn forged_tokens_are_refused() {
    let (pair, rsa) = (Pair::new("a", Algorithm::ES256), Pair::new("rsa", Algorithm::RS256));
    let scene = Scene::new(&[&pair, &rsa]).await;
    let good = pair.sign(&scene.claims());
    let parts: Vec<&str> = good.split('.').collect();
    let encode = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let header = |value: Value| format!("{}.{}.{}", encode(&value), parts[1], parts[2]);
    // HMAC with what everybody knows, as a verifier that believes the header would check it.
    let public = rsa.jwk()["n"].as_str().unwrap().to_owned();
    let confused = |secret: &[u8]| {
        let header = Header { kid: Some("rsa".into()), ..Header::new(Algorithm::HS256) };
        jsonwebtoken::encode(&header, &scene.claims(), &EncodingKey::from_secret(secret)).unwrap()
    };
    let other_subject = encode(&changed(&scene.claims(), "sub", json!("system:admin")));
    let impostor = Pair::new("a", Algorithm::ES256);
    let critical = Header { crit: Some(vec!["exp".into()]), ..Header::new(Algorithm::ES256) };
    for (what, token) in [
        ("none", format!("{}.{}.", encode(&json!({"alg": "none", "kid": "a"})), parts[1])),
        ("None", format!("{}.{}.", encode(&json!({"alg": "None", "kid": "a"})), parts[1])),
        ("none with a signature", header(json!({"alg": "none", "kid": "a"}))),
        ("the public key as a secret", confused(public.as_bytes())),
        ("its bytes as a secret", confused(&BASE64_URL_SAFE_NO_PAD.decode(&public).unwrap())),
        ("another algorithm of another key", header(json!({"alg": "RS256", "kid": "a"}))),
        ("another key", header(json!({"alg": "RS256", "kid": "rsa"}))),
        (
            "a key of its own",
            header(json!({"alg": "ES256", "kid": "a", "jwk": impostor.jwk(), "crit": ["jwk"]})),
        ),
        ("critical extensions", pair.sign_with(critical, &scene.claims())),
        ("another algorithm of its key", rsa.sign_with(Header::new(Algorithm::RS512), &scene.claims())),
        ("no key", header(json!({"alg": "ES256"}))),
        ("an impostor's key", impostor.sign(&scene.claims())),
        ("another subject", format!("{}.{other_subject}.{}", parts[0], parts[2])),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        ("two parts", format!("{}.{}", parts[0], parts[1])),
        ("four parts", format!("{good}.{}", parts[2])),
        ("encryption", format!("{good}.a.b")),
        ("nothing", String::new()),
        ("nonsense", "nonsense".to_owned()),
    ] {
        let refused = scene.verify(&token).await.expect_err(what);
        assert!(matches!(refused, Refusal::Invalid(_)), "{what}: {refused:?}");
    }
    scene.verify(&good).await.expect("the control");
}

#[tokio::test]
async fn a_rotated_key_is_found_at_once_and_the_one_taken_back_is_refused() {
    let (old, new) = (Pair::new("old", Algorithm::EdDSA), Pair::new("new", Algorithm::EdDSA));
    let scene = Scene::new(&[&old]).await;
    scene.good(&old).await.unwrap();
    scene.stand_in.publish(&[&new]);
    tokio::time::sleep(QUICK.apart).await;
    scene.good(&new).await.unwrap();
    assert_eq!(scene.good(&old).await, Err(Refusal::UnknownKey("cluster-a".into())));
}

#[tokio::test]
async fn made_up_keys_do_not_make_us_pester_the_issuer() {
    let (known, made_up) = (Pair::new("a", Algorithm::EdDSA), Pair::new("made-up", Algorithm::EdDSA));
    let slow = Pace { apart: Duration::from_secs(2), ..QUICK };
    let scene = Scene::with(&[&known], slow, |_| {}).await;
    scene.good(&known).await.unwrap();
    let began = Instant::now();
    for _ in 0..200 {
        assert_eq!(scene.good(&made_up).await, Err(Refusal::UnknownKey("cluster-a".into())));
    }
    let most = 2 + began.elapsed().as_secs() / 2;
    let asked = scene.stand_in.asked("/keys");
    assert!(u64::try_from(asked).unwrap() <= most, "asked {asked} times in {:?}", began.elapsed());
}

#[tokio::test]
async fn while_the_issuer_is_away_its_last_keys_hold_and_for_a_time_only() {
    let pair = Pair::new("a", Algorithm::EdDSA);
    let pace = Pace { fresh: Duration::from_millis(50), stale: Duration::from_secs(3), ..QUICK };
    let scene = Scene::with(&[&pair], pace, |_| {}).await;
    scene.good(&pair).await.unwrap();
    scene.stand_in.answer("/keys", Answer::Cut);
    let fetched = scene.stand_in.asked("/keys");
    let mut held = 0;
    let ended = tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            match scene.good(&pair).await {
                Ok(_) => held += 1,
                Err(refused) => return refused,
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert_eq!(ended.await.expect("they end"), Refusal::Unavailable("cluster-a".into()));
    assert!(held > 3 && scene.stand_in.asked("/keys") > fetched, "{held}");
    scene.stand_in.publish(&[&pair]);
    tokio::time::sleep(QUICK.apart).await;
    scene.good(&pair).await.expect("it is back");
}

#[tokio::test]
async fn a_hostile_issuer_gets_nowhere_and_a_slow_one_holds_up_no_call() {
    let pair = Pair::new("a", Algorithm::EdDSA);
    let keys = json!({"keys": [pair.jwk()]}).to_string();
    let huge = format!("{{\"keys\": [{}], \"padding\": \"{}\"}}", pair.jwk(), "x".repeat(64 * 1024));
    let elsewhere =
        |url: &str, issuer: &str| Answer::Json(json!({"issuer": issuer, "jwks_uri": url}).to_string());
    let pace = Pace { patience: Duration::from_millis(300), ..QUICK };
    for what in
        ["redirect", "huge", "http", "another issuer", "slow discovery", "slow keys", "no JSON", "absent"]
    {
        let keys_of_it = [&pair];
        let scene = Scene::with(&keys_of_it, pace, |stand_in| {
            stand_in.answer("/moved", Answer::Json(keys.clone()));
            match what {
                "redirect" => stand_in.answer("/keys", Answer::Redirect(format!("{}/moved", stand_in.url))),
                "huge" => stand_in.answer("/keys", Answer::Json(huge.clone())),
                "http" => stand_in.answer(DISCOVERY, elsewhere("http://127.0.0.1:9/keys", &stand_in.url)),
                "another issuer" => {
                    stand_in.answer(
                        DISCOVERY,
                        elsewhere(&format!("{}/keys", stand_in.url), "https://evil.example.org"),
                    );
                }
                "slow discovery" => stand_in.answer(DISCOVERY, Answer::Silence),
                "slow keys" => stand_in.answer("/keys", Answer::Silence),
                "no JSON" => stand_in.answer("/keys", Answer::Json("<html>".into())),
                _ => stand_in.answer(DISCOVERY, Answer::Cut),
            }
        });
        let scene = scene.await;
        let began = Instant::now();
        assert_eq!(scene.good(&pair).await, Err(Refusal::Unavailable("cluster-a".into())), "{what}");
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{what} held the call up for {:?}",
            began.elapsed()
        );
        assert_eq!(scene.stand_in.asked("/moved"), 0);
    }
}

#[tokio::test]
async fn an_issuer_whose_certificate_is_not_of_the_configured_authorities_is_not_believed() {
    let pair = Pair::new("a", Algorithm::EdDSA);
    let (stand_in, other) = (StandIn::start(&[&pair]).await, StandIn::start(&[&pair]).await);
    let config = IssuerConfig { authorities: other.config().authorities, ..stand_in.config() };
    let fetcher = fetch::Fetcher::new(crate::tls::root_store(&config.authorities.unwrap()).unwrap()).unwrap();
    let refused = fetcher.discover(&stand_in.url).await.unwrap_err();
    assert!(refused.contains("certificate"), "{refused}");
    assert_eq!(stand_in.asked(DISCOVERY), 0);
}

#[tokio::test]
async fn keys_can_come_from_a_file_that_is_read_again() {
    let (old, new) = (Pair::new("old", Algorithm::ES256), Pair::new("new", Algorithm::ES256));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.json");
    let write = |pair: &Pair| std::fs::write(&file, json!({"keys": [pair.jwk()]}).to_string()).unwrap();
    write(&old);
    let mut scene = Scene::new(&[]).await;
    let config = IssuerConfig { jwks_file: Some(file.clone()), authorities: None, ..scene.stand_in.config() };
    let clock = scene.issuers.clock.clone();
    scene.issuers = Issuers::with_pace(&[config], "example.org", clock, QUICK).unwrap();
    scene.issuers.watch(&scene.shutdown);
    scene.good(&old).await.unwrap();
    write(&new);
    tokio::time::sleep(QUICK.apart).await;
    scene.good(&new).await.unwrap();
}

type Spoil = fn(&mut IssuerConfig);

#[test]
fn a_configuration_that_cannot_be_is_refused_by_its_field() {
    let good = IssuerConfig {
        name: "a".into(),
        issuer: "https://issuer.example.org".into(),
        audience: AUDIENCE.into(),
        jwks_uri: None,
        jwks_file: Some("/keys.json".into()),
        authorities: None,
    };
    let cases: [(&str, Spoil); 8] = [
        ("name", |c| c.name = "Cluster A".into()),
        ("issuer", |c| c.issuer = "http://127.0.0.1".into()),
        ("issuer", |c| c.issuer = "https://user@issuer.example.org".into()),
        ("issuer", |c| c.issuer = "issuer.example.org".into()),
        ("audience", |c| c.audience.clear()),
        ("jwks_uri", |c| (c.jwks_file, c.jwks_uri) = (None, Some("http://issuer.example.org/keys".into()))),
        ("jwks_file", |c| c.jwks_uri = Some("https://issuer.example.org/keys".into())),
        ("authorities", |c| (c.jwks_file, c.authorities) = (None, Some("/no/such.pem".into()))),
    ];
    let load = |configs: &[IssuerConfig]| Issuers::new(configs, "d", Clock::system()).map(drop);
    load(std::slice::from_ref(&good)).unwrap();
    for (field, spoil) in cases {
        let mut bad = good.clone();
        spoil(&mut bad);
        let alone = load(std::slice::from_ref(&bad)).unwrap_err().to_string();
        assert!(alone.starts_with(&format!("server.issuers[0].{field}: ")), "{alone}");
    }
    for (field, other) in [
        ("name", IssuerConfig { issuer: "https://z".into(), ..good.clone() }),
        ("issuer", IssuerConfig { name: "z".into(), ..good.clone() }),
    ] {
        let refused = load(&[good.clone(), other]).unwrap_err().to_string();
        assert!(refused.starts_with(&format!("server.issuers[1].{field}: ")), "{refused}");
    }
}
