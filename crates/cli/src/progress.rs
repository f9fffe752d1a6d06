//! Progress on stderr: a spinner on a terminal, elsewhere a line when something changed, but not too often.

use std::{
    io::{IsTerminal as _, stderr},
    time::Duration,
};

use indicatif::ProgressBar;
use tokio::time::Instant;

use crate::output;

const SPIN: Duration = Duration::from_millis(100);
const LINE: Duration = Duration::from_secs(5);

/// What is told while something takes time.
#[derive(Debug)]
pub(crate) struct Progress {
    spinner: Option<ProgressBar>,
    last: String,
    quiet_until: Instant,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let spinner = stderr().is_terminal().then(|| {
            let spinner = ProgressBar::new_spinner();
            spinner.enable_steady_tick(SPIN);
            spinner
        });
        // What is done at once needs no words.
        Self { spinner, last: String::new(), quiet_until: Instant::now() + LINE }
    }

    /// Says what is waited for now.
    pub(crate) fn tell(&mut self, text: &str) {
        let text = output::plain(text);
        if let Some(spinner) = &self.spinner {
            spinner.set_message(text);
        } else if text != self.last && Instant::now() >= self.quiet_until {
            output::note(&text);
            self.last = text;
            self.quiet_until = Instant::now() + LINE;
        }
    }

    /// Nothing is waited for any more.
    pub(crate) fn end(&self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
    }
}
