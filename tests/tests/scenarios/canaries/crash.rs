//! Services that crash while they have a password in memory, on a machine that would keep their cores.

use std::{fs, os::unix::process::ExitStatusExt as _, process::Command, time::Duration};

use e2e::{Scenario, eventually, pullpass::Service};

use super::{CRASHED, Said};

const SIGABRT: i32 = 6;
const ROTATE: [&str; 8] =
    ["credential", "rotate", "canary", "--server", "quay.io", "--username", "robot", "--password-stdin"];

/// Both panic with what they have fetched at hand, and quote it; then they are aborted, the applier with what it has just
/// fetched and credential-store amid rotations.
pub(super) async fn amid_work(s: &Scenario, said: &mut Said) {
    panic(s, said, Service::CredentialStore).await;
    panic(s, said, Service::ClusterApplier).await;
    let ended = eventually("the applier ends", async || {
        s.pullpass.ended(Service::ClusterApplier).ok_or_else(|| "it runs".to_owned())
    });
    assert!(!ended.await.success());
    s.pullpass.launch_and_wait(Service::ClusterApplier).await;

    allow_cores(s);
    with_a_failpoint(s, said, Service::ClusterApplier, "after-fetch:1").await;
    ended_without_a_core(s, Service::ClusterApplier).await;
    s.pullpass.launch_and_wait(Service::ClusterApplier).await;

    let work = async {
        loop {
            said.cli(&s.pullpass, CRASHED, &ROTATE).await;
        }
    };
    tokio::select! {
        () = work => {}
        () = tokio::time::sleep(Duration::from_millis(300)) => {}
    }
    s.pullpass.signal(Service::CredentialStore, "ABRT");
    ended_without_a_core(s, Service::CredentialStore).await;
    s.pullpass.launch_and_wait(Service::CredentialStore).await;
    let wait = ["status", "--wait"];
    assert_eq!(said.cli(&s.pullpass, "", &wait).await, 0, "{:?}", said.answers.last());
}

/// Ends the service and starts it with a failpoint, with a rotation for it to pass.
async fn with_a_failpoint(s: &Scenario, said: &mut Said, service: Service, failpoint: &str) {
    let ended = s.pullpass.terminate(service, Duration::from_secs(10)).await;
    ended.expect("it ends");
    let launch = || {
        let armed = [("PULLPASS_FAILPOINT", failpoint), ("RUST_BACKTRACE", "full")];
        s.pullpass.launch_with(service, &armed).expect("it starts");
    };
    if service == Service::CredentialStore {
        launch();
        s.pullpass.wait_until_healthy(service).await.expect("it is healthy");
        rotate(s, said).await;
    } else {
        rotate(s, said).await;
        launch();
    }
}

async fn rotate(s: &Scenario, said: &mut Said) {
    assert_eq!(said.cli(&s.pullpass, CRASHED, &ROTATE).await, 0, "{:?}", said.answers.last());
}

/// Has it panic as a mistake of ours would have it, and keeps what that says.
async fn panic(s: &Scenario, said: &mut Said, service: Service) {
    let before = s.pullpass.log(service).len();
    with_a_failpoint(s, said, service, "panic-after-fetch:1").await;
    let source = format!("{}/src/fetch.rs", service.binary_name());
    let told = ["panicked at", "has at hand: ", "canary", "stack backtrace", &source];
    let crash = eventually("what it has at hand is told, and where it is", async || {
        let log = s.pullpass.log(service)[before..].to_owned();
        let crash = log.find(told[0]).map(|at| log[at..].to_owned()).unwrap_or_default();
        if told.iter().all(|part| crash.contains(part)) { Ok(crash) } else { Err(log) }
    });
    said.crashes.push_str(&crash.await);
}

/// Has the machine keep the cores of whatever we start, as far as it may, and shows whether it does.
fn allow_cores(s: &Scenario) {
    let us = std::process::id().to_string();
    let _ = Command::new("prlimit").args(["--pid", &us, "--core=unlimited:unlimited"]).output();
    let elsewhere = s.pullpass.state().dir().with_file_name("control");
    fs::create_dir_all(&elsewhere).unwrap();
    let control = Command::new("sh").args(["-c", "kill -s ABRT $$"]).current_dir(elsewhere).status();
    println!("a process that does not mind leaves a core here: {}", control.unwrap().core_dumped());
}

async fn ended_without_a_core(s: &Scenario, service: Service) {
    let name = service.binary_name();
    let status = eventually(format!("{name} crashes"), async || {
        s.pullpass.ended(service).ok_or_else(|| "it runs".to_owned())
    })
    .await;
    assert_eq!(status.signal(), Some(SIGABRT), "{name}: {status}");
    assert!(!status.core_dumped(), "{name} left a core");
    let left: Vec<_> = fs::read_dir(s.pullpass.temporary_folder()).unwrap().collect();
    assert!(left.is_empty(), "{name} left files where it ran: {left:?}");
}
