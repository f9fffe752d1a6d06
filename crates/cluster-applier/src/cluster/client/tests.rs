use k8s_openapi::api::core::v1::Secret;

use super::*;

#[test]
fn a_refusal_tells_code_reason_and_how_long_to_wait() {
    let status = br#"{"kind":"Status","reason":"TooManyRequests","message":"later","details":{"retryAfterSeconds":3}}"#;
    for (body, header, reason, wait) in [
        (&status[..], None, "TooManyRequests", Some(3)),
        (&status[..], Some(5), "TooManyRequests", Some(5)),
        (b"Too many requests, please try again later.", Some(1), "Too Many Requests", Some(1)),
        (b"", None, "Too Many Requests", None),
    ] {
        let Problem::Refused { code: 429, reason: told, retry_after, .. } =
            refusal(StatusCode::TOO_MANY_REQUESTS, body, header)
        else {
            panic!("not refused");
        };
        assert_eq!((told.as_str(), retry_after), (reason, wait.map(Duration::from_secs)));
    }
}

#[test]
fn messages_about_secrets_are_dropped_save_that_it_was_the_quota() {
    let refused = |message: &str| Problem::Refused {
        code: 403,
        reason: "Forbidden".into(),
        message: message.into(),
        retry_after: None,
    };
    let quoting = refused("cannot unmarshal number 1e99999");
    assert_eq!(quoting.clone().without_content("Secret"), refused(""));
    assert_eq!(quoting.clone().without_content("RoleBinding"), quoting);
    assert_eq!(
        refused(r#"secrets "web" is forbidden: exceeded quota: q, used: 1"#).without_content("Secret"),
        refused("exceeded quota")
    );
}

#[tokio::test]
async fn a_write_whose_turn_is_over_is_not_sent() {
    let sent = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let count = std::sync::Arc::clone(&sent);
    let service = tower::service_fn(move |_: Request<Body>| {
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        std::future::ready(Ok::<_, std::convert::Infallible>(http::Response::new(Body::from(b"{}".to_vec()))))
    });
    let cluster = Cluster { turn: Turn::not_yet(), ..Cluster::over(Client::new(service, "default")) };
    let (namespace, was) = (Namespace::new("a").expect("a name"), Identity::default());
    let at = Target { namespace: &namespace, name: "web" };
    let withheld = |error: Option<Error>| error.map(|error| error.problem) == Some(Problem::Withheld);
    assert!(withheld(cluster.create::<Secret, Secret>(&at, Vec::new()).await.err()));
    assert!(withheld(cluster.patch::<Secret, Secret>(&at, "merge-patch", Vec::new()).await.err()));
    assert!(withheld(cluster.delete::<Secret>(&at, &was).await.err()));
    assert_eq!(sent.load(std::sync::atomic::Ordering::Relaxed), 0);
    cluster.turn.lasts_until(Instant::now() + LIMIT);
    cluster.create::<Secret, Secret>(&at, Vec::new()).await.expect("its turn");
    assert_eq!(sent.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[test]
fn an_answer_that_cannot_be_read_is_not_quoted() {
    let error = parse::<u8>(br#""hunter2""#).expect_err("a text is no number");
    assert!(!error.to_string().contains("hunter2"));
}
