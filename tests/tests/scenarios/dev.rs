//! `pullpass dev`, the way a newcomer starts the services.

use std::net::TcpListener;

use e2e::{ControlPlane, PullpassDev, WorkFolder, applier_access, eventually, wait::seen};

#[tokio::test]
async fn the_services_end_with_a_pullpass_dev_that_was_killed_and_it_starts_again_in_their_place() {
    let folder = WorkFolder::new("dev-killed").expect("a folder");
    let plane =
        ControlPlane::start(&folder.folder("kubernetes").expect("a folder")).await.expect("a cluster");
    let kubeconfig = applier_access::grant(&plane).await.expect("access");
    let dev = PullpassDev::start(folder.path(), "dev", &kubeconfig).await.expect("it starts");
    let addresses = dev.addresses().expect("ports");
    let taken = || addresses.iter().filter(|(_, port)| TcpListener::bind(("127.0.0.1", *port)).is_err());
    assert!(taken().count() >= 3, "the services listen: {addresses:?}");
    dev.kill9();
    eventually("nobody listens any more", async || {
        let taken: Vec<_> = taken().collect();
        seen(taken.is_empty(), &taken)
    })
    .await;
    let mut again = PullpassDev::start(folder.path(), "dev", &kubeconfig).await.expect("it starts again");
    assert!(again.stop().await.is_some_and(|status| status.success()), "and stops cleanly");
}
