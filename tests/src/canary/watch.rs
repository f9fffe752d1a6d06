use std::{collections::BTreeSet, fs, time::Duration};

use crate::command::{Output, Run};

/// So often is looked.
const OFTEN: Duration = Duration::from_millis(5);

/// What everybody on the machine may see of processes that do not live long, and what their own user may.
#[derive(Debug, Default)]
pub struct Watch(BTreeSet<Vec<u8>>);

impl Watch {
    /// Runs a command to its end and looks at it all the while, the first time before its input ends.
    pub async fn run(&mut self, run: Run) -> anyhow::Result<Output> {
        let mut running = run.held().await?;
        let id = running.id().expect("nobody has waited for it");
        // One that is just becoming another program shows nothing for a moment.
        while !self.look(id) && !running.has_ended() {
            tokio::time::sleep(OFTEN).await;
        }
        let looking = async {
            loop {
                tokio::time::sleep(OFTEN).await;
                self.look(id);
            }
        };
        tokio::select! {
            output = running.finish() => output,
            () = looking => unreachable!("it looks for ever"),
        }
    }

    /// All that was seen, each thing once.
    pub fn seen(&self) -> Vec<u8> {
        self.0.iter().flatten().copied().collect()
    }

    /// Whether there was something to see.
    fn look(&mut self, id: u32) -> bool {
        let [command_line, environment] = ["cmdline", "environ"].map(|file| {
            // One that has ended shows nothing any more, and the environment of one that keeps its memory private is root's.
            fs::read(format!("/proc/{id}/{file}")).unwrap_or_default()
        });
        let seen = !command_line.is_empty();
        self.0.extend([command_line, environment]);
        seen
    }
}
