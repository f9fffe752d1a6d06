//! All that was said to a user, and what was asked for.

use e2e::{Pullpass, Scenario, canary::Watch, command::Output, metrics, pullpass::Service};

use crate::audit::export_and_verify;

#[derive(Default)]
pub(super) struct Said {
    pub(super) answers: Vec<String>,
    pub(super) audit: String,
    pub(super) exports: String,
    pub(super) metrics: String,
    pub(super) crashes: String,
    pub(super) commands: Watch,
}

impl Said {
    /// The command's exit code.
    pub(super) async fn cli(&mut self, pullpass: &Pullpass, input: &str, arguments: &[&str]) -> i32 {
        let command = pullpass.command(arguments).input(input);
        let output = self.commands.run(command).await.expect("the command runs");
        self.answers.extend([output.stdout, output.stderr]);
        output.code
    }

    pub(super) fn status(&mut self, status: &tonic::Status) {
        let details = String::from_utf8_lossy(status.details()).into_owned();
        self.answers.push(format!("{status:?} {status} {details}"));
    }

    pub(super) async fn audit(&mut self, s: &Scenario) {
        let trail = s.pullpass.cli(&["audit", "list", "--limit", "0", "-o", "json"]).await.ok();
        self.audit.push_str(&trail.stdout);
        let cluster = s.pullpass.state().cluster().id().to_owned();
        let exposure = ["audit", "exposure", "--cluster", &cluster];
        let given = s.pullpass.cli(&exposure).await.ok();
        assert!(given.stdout.contains("canary"), "{given:#?}");
        for output in [given, s.pullpass.cli(&["audit", "export"]).await.ok()] {
            self.export(output);
        }
        let (_, verified) = export_and_verify(&s.pullpass, "canaries.jsonl", &[]).await;
        self.export(verified.ok());
    }

    fn export(&mut self, output: Output) {
        self.exports.extend([output.stdout, output.stderr]);
    }

    pub(super) async fn metrics(&mut self, s: &Scenario) {
        for service in Service::ALL {
            let address = s.pullpass.state().metrics_address(service).expect("metrics");
            self.metrics.push_str(&metrics::text(address).await);
        }
    }
}
