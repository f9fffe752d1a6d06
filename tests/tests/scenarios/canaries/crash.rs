//! Services that crash while they have a password in memory, on a machine that would keep their cores.

use std::{fs, os::unix::process::ExitStatusExt as _, process::Command, time::Duration};

use e2e::{Scenario, eventually, pullpass::Service};

use super::{CRASHED, Said};

const SIGABRT: i32 = 6;
const ROTATE: [&str; 8] =
    ["credential", "rotate", "canary", "--server", "quay.io", "--username", "robot", "--password-stdin"];

/// The applier aborts with what it has just fetched, and credential-store amid rotations.
pub(super) async fn amid_work(s: &Scenario, said: &mut Said) {
    allow_cores(s);
    s.pullpass.terminate(Service::ClusterApplier, Duration::from_secs(10)).await.expect("it ends");
    assert_eq!(said.cli(s, CRASHED, &ROTATE).await, 0, "{:?}", said.answers.last());
    let abort = [("PULLPASS_FAILPOINT", "after-fetch:1")];
    s.pullpass.launch_with(Service::ClusterApplier, &abort).expect("it starts");
    ended_without_a_core(s, Service::ClusterApplier).await;
    s.pullpass.launch_and_wait(Service::ClusterApplier).await;

    let work = async {
        loop {
            said.cli(s, CRASHED, &ROTATE).await;
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
    assert_eq!(said.cli(s, "", &wait).await, 0, "{:?}", said.answers.last());
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
