//! A Secret whose type changes has to go before it can be there again. Who is killed meanwhile has lost nothing: a
//! stand-in tells whose the entries are.

use e2e::{Scenario, eventually, pullpass::Service, wait::seen};
use prost_types::FieldMask;
use pullpass_api::grant::v1::{SecretLink, SecretType, UpdateSecretLinkRequest};

#[tokio::test]
async fn a_link_that_goes_while_its_secret_is_made_anew_and_the_applier_is_dead_leaves_no_trace() {
    let s = Scenario::own("retype", |_| {}).await;
    let namespace = s.namespace("retyped").await;
    s.cluster.lists_become(&namespace, "default", |lists| !lists.mount.is_empty()).await;
    let before = s.cluster.lists(&namespace, "default").await;
    let credential = s.credential("retyped", "quay.io", "robot", "fake-password").await;
    let create = ["link", "create", "retyped", "--credential", &credential, "--namespace", &namespace];
    let what = ["--service-account", "default", "--for", "pull,mount"];
    s.pullpass.cli(&[&create[..], &what[..]].concat()).await.ok();
    s.pullpass.cli(&["status", "--wait"]).await.ok();

    s.pullpass.kill9(Service::ClusterApplier);
    let amid = [("PULLPASS_FAILPOINT", "amid-recreate:1")];
    s.pullpass.launch_with(Service::ClusterApplier, &amid).expect("the applier starts");
    retype(&s).await;
    eventually("the applier has died between deletion and creation", async || {
        seen(s.pullpass.ended(Service::ClusterApplier).is_some(), "it runs")
    })
    .await;
    assert!(s.cluster.secret(&namespace, "retyped").await.is_none(), "it died before the deletion");
    let dangling = s.cluster.lists(&namespace, "default").await;
    assert!(dangling.pull.contains(&"retyped".to_owned()), "{dangling:?}");

    s.pullpass.cli(&["link", "delete", "retyped"]).await.ok();
    s.pullpass.launch_and_wait(Service::ClusterApplier).await;
    s.pullpass.cli(&["status", "--wait"]).await.ok();
    eventually("nothing of the link is left", async || {
        let lists = s.cluster.lists(&namespace, "default").await;
        let secrets = s.cluster.our_secrets(&namespace).await;
        let names: Vec<_> = secrets.into_iter().map(|secret| secret.metadata.name).collect();
        seen(lists == before && names.is_empty(), (lists, names))
    })
    .await;
}

async fn retype(s: &Scenario) {
    let link = SecretLink {
        name: "secretLinks/retyped".into(),
        secret_type: SecretType::Dockercfg.into(),
        ..Default::default()
    };
    let request = UpdateSecretLinkRequest {
        secret_link: Some(link),
        update_mask: Some(FieldMask { paths: vec!["secret_type".into()] }),
        ..Default::default()
    };
    let mut grants = s.pullpass.grant_manager(&s.pullpass.admin());
    grants.update_secret_link(request).await.expect("the link is updated");
}
