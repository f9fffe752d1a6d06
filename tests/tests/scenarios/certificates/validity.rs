//! Certificates before and after their time, as the real service takes them, and what its operator reads.

use e2e::{Alone, Scenario, bare_tls, certificates, eventually, metrics, pullpass::Service, wait::seen};
use pullpass_api::credential::v1::{
    ListCredentialsRequest, WatchCredentialsRequest, credential_store_client::CredentialStoreClient,
};
use time::Duration;
use tonic::Code;

use crate::trust::reason;

#[tokio::test]
async fn a_client_before_or_after_its_time_is_refused_and_the_log_says_which_and_why() {
    let s = Scenario::shared().await;
    let (hour, day) = (Duration::HOUR, Duration::DAY);
    for (path, from, to, alert, why) in [
        ("/platform/expired", -day, -hour, "CertificateExpired", "certificate expired"),
        ("/platform/early", hour, day, "CertificateExpired", "not valid yet"),
    ] {
        let shown = certificates::issue(s.pullpass.state(), path, from, to);
        for service in Service::ALL {
            let address = s.pullpass.state().address(service);
            eventually(format!("the alert {alert}"), async || {
                let mut client = CredentialStoreClient::new(bare_tls::channel_as(&shown, address));
                let refusal = client.list_credentials(ListCredentialsRequest::default()).await;
                let told = format!("{:?}", refusal.expect_err("a certificate that must be refused"));
                seen(told.contains(alert), told)
            })
            .await;
            eventually(format!("{why} of {path}"), async || {
                let log = s.pullpass.log(service);
                let of_it = |line: &&str| line.contains(&format!("{path}, serial"));
                let told: Vec<_> = log.lines().filter(of_it).collect();
                let parts = ["connection refused in its handshake", why, "valid from", "client.address"];
                seen(told.iter().any(|line| parts.iter().all(|part| line.contains(part))), told)
            })
            .await;
        }
    }
}

#[tokio::test]
async fn a_command_with_an_expired_certificate_is_told_which_file_to_renew() {
    let alone = Alone::start("expired-command", &[]).await;
    let files = alone.state.admin();
    certificates::write(&alone.state, "/platform/admin", files, -Duration::DAY, -Duration::HOUR);
    let refusal = alone.client(files).list_credentials(ListCredentialsRequest::default()).await;
    let refusal = refusal.expect_err("an expired certificate");
    assert_eq!(refusal.code(), Code::Unavailable);
    let file = files.certificate.display().to_string();
    for part in ["expired", &file, "renew it"] {
        assert!(refusal.message().contains(part), "{:?} does not say {part:?}", refusal.message());
    }
}

#[tokio::test]
async fn a_connection_ends_with_the_certificate_of_its_client() {
    let alone = Alone::start("ending", &[]).await;
    let soon = Duration::seconds(3);
    let caller = certificates::issue(&alone.state, "/platform/ending", -Duration::HOUR, soon);
    let began = std::time::Instant::now();
    let mut client = alone.client(&caller);
    let mut stream =
        client.watch_credentials(WatchCredentialsRequest::default()).await.expect("still valid").into_inner();
    let ended = loop {
        match stream.message().await {
            Ok(message) => assert!(message.is_some(), "the stream ended without a word"),
            Err(status) => break status,
        }
    };
    println!("valid for {soon}, ended after {:?}", began.elapsed());
    assert_eq!(reason(&ended), "CONNECTION_ENDS", "{ended:?}");
    assert!(began.elapsed() < std::time::Duration::from_secs(10), "{:?}", began.elapsed());
    let log = alone.log();
    let told = log.lines().find(|line| line.contains("a client is not trusted any more")).expect("a line");
    assert!(told.contains("expired") && told.contains("/platform/ending, serial"), "{told}");
}

#[tokio::test]
async fn a_service_whose_certificate_is_expired_is_refused_and_says_so_until_it_is_renewed() {
    let alone = Alone::start_with("expired", &[], |state| {
        let files = state.tls(Service::CredentialStore);
        certificates::write(state, "/credential-store", files, -Duration::DAY, -Duration::HOUR);
    });
    let files = alone.state.tls(Service::CredentialStore);
    let admin = alone.state.admin();
    let call = async || alone.client(admin).list_credentials(ListCredentialsRequest::default()).await;
    eventually("the client refuses the server by name", async || {
        let refusal = call().await.expect_err("an expired server");
        let told = ["expired", "/credential-store, serial"];
        seen(told.iter().all(|part| refusal.message().contains(part)), refusal.message())
    })
    .await;
    assert!(alone.log().contains("our own certificate has expired: renew it"), "{}", alone.log());
    let remaining = "tls_certificate_remaining_seconds{certificate=\"own\"}";
    assert!(metrics::value(&alone.metrics().await, remaining).is_some_and(|seconds| seconds < -3500.0));

    certificates::write(&alone.state, "/credential-store", files, Duration::HOUR, Duration::DAY);
    eventually("a certificate of tomorrow is not taken", async || {
        let log = alone.log();
        seen(log.contains("is not valid before") && log.contains("certificates not reloaded"), log)
    })
    .await;
    certificates::write(&alone.state, "/credential-store", files, -Duration::days(20), Duration::days(7));
    eventually("a good one is", async || {
        call().await.map(drop).map_err(|status| status.message().to_owned())
    })
    .await;
    let log = alone.log();
    assert!(log.contains("our own certificate ends in 6 days: renew it"), "{log}");
    let left = metrics::value(&alone.metrics().await, remaining);
    assert!(left.is_some_and(|seconds| (600_000.0..=604_800.0).contains(&seconds)), "{left:?}");
}
