//! Progress on stderr: a spinner on a terminal, elsewhere a line now and then.

use std::{
    io::{IsTerminal as _, stderr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use indicatif::ProgressBar;
use tokio::task::JoinHandle;

use crate::output;

const SPIN: Duration = Duration::from_millis(100);
/// What is done within this time needs no words; then a line is written this often, if it says something new.
const LINE: Duration = Duration::from_secs(5);
/// Every so many times the line is written even if it says nothing new.
const SIGN_OF_LIFE: u32 = 6;

/// What is told while something takes time. Ends when dropped.
#[derive(Debug)]
pub(crate) struct Progress(Kind);

#[derive(Debug)]
enum Kind {
    Spinner(ProgressBar),
    Lines { text: Arc<Mutex<String>>, teller: JoinHandle<()> },
}

impl Progress {
    /// Begins. Needs a running tokio runtime.
    pub(crate) fn new() -> Self {
        if stderr().is_terminal() {
            let spinner = ProgressBar::new_spinner();
            spinner.enable_steady_tick(SPIN);
            return Self(Kind::Spinner(spinner));
        }
        let text = Arc::new(Mutex::new(String::new()));
        let teller = tokio::spawn(lines(Arc::clone(&text)));
        Self(Kind::Lines { text, teller })
    }

    /// Says what is waited for now.
    pub(crate) fn tell(&self, what: &str) {
        let what = output::plain(what);
        match &self.0 {
            Kind::Spinner(spinner) => spinner.set_message(what),
            Kind::Lines { text, .. } => *text.lock().unwrap_or_else(PoisonError::into_inner) = what,
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        match &self.0 {
            Kind::Spinner(spinner) => spinner.finish_and_clear(),
            Kind::Lines { teller, .. } => teller.abort(),
        }
    }
}

async fn lines(text: Arc<Mutex<String>>) {
    let (mut told, mut silent) = (String::new(), 0);
    loop {
        tokio::time::sleep(LINE).await;
        silent += 1;
        let now = text.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if !now.is_empty() && (now != told || silent >= SIGN_OF_LIFE) {
            output::note(&now);
            (told, silent) = (now, 0);
        }
    }
}
