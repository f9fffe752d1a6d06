//! What the reader sees, and a copy of it, which must hold no password.

use std::{
    cell::RefCell,
    io::{IsTerminal as _, Write as _, stderr, stdout},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

/// Longer commands are shown on several lines.
const WIDTH: usize = 100;
const SPIN: Duration = Duration::from_millis(100);

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";
const CYAN: &str = "36";

/// Standard output; with colour if a terminal is there.
#[derive(Debug)]
pub(crate) struct Screen {
    colour: bool,
    shown: RefCell<String>,
}

impl Screen {
    pub(crate) fn new() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { colour: stdout().is_terminal() && wanted, shown: RefCell::default() }
    }

    /// Everything that was printed until now.
    pub(crate) fn shown(&self) -> String {
        self.shown.borrow().clone()
    }

    /// A procedure of the page: what it is for, and what one typed.
    pub(crate) fn title(&self, number: &str, title: &str, before: &str) {
        self.line("");
        self.line(&format!("{} {}", self.paint(DIM, number), self.paint(BOLD, title)));
        self.line(&format!("    {}", self.paint(DIM, &format!("instead of: {before}"))));
    }

    /// What happens that no command shows.
    pub(crate) fn note(&self, text: &str) {
        self.line(&format!("  {}", self.paint(DIM, &format!("# {text}"))));
    }

    /// A command as one types it.
    pub(crate) fn command(&self, line: &str) {
        let shown = folded(line).join(" \\\n        ");
        self.line(&format!("  {} {}", self.paint(CYAN, "$"), self.paint(BOLD, &shown)));
    }

    /// What a command printed, and its exit code if it is not 0.
    pub(crate) fn output(&self, text: &str, code: Option<i32>) {
        for line in text.lines() {
            self.line(format!("    {line}").trim_end());
        }
        match code {
            Some(0) => {}
            Some(code) => self.line(&format!("    {}", self.paint(DIM, &format!("(exit status {code})")))),
            None => self.line(&format!("    {}", self.paint(DIM, "(ended by a signal)"))),
        }
    }

    /// One check.
    pub(crate) fn check(&self, indent: &str, what: &str, passed: bool) {
        let (colour, mark) = if passed { (GREEN, "✓") } else { (RED, "✗") };
        self.line(&format!("{indent}{} {what}", self.paint(colour, mark)));
    }

    /// Why the demo cannot go on.
    pub(crate) fn failure(&self, error: &anyhow::Error) {
        let _ = writeln!(stderr(), "{} {error:#}", self.paint(RED, "the demo cannot go on:"));
    }

    /// A line as it is.
    pub(crate) fn line(&self, text: &str) {
        // Who closed the pipe wants no more of it, but all that was started is still to be stopped.
        let _ = writeln!(stdout(), "{text}").and_then(|()| stdout().flush());
        let mut shown = self.shown.borrow_mut();
        shown.push_str(text);
        shown.push('\n');
    }

    /// Something that takes time: a spinner on a terminal, elsewhere a line at its beginning; its time when it is done.
    pub(crate) async fn step<T>(
        &self,
        what: &str,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        let began = Instant::now();
        let spinner = stderr().is_terminal().then(|| spinner(what));
        if spinner.is_none() {
            self.line(&format!("  starting {what} …"));
        }
        let done = work.await;
        if let Some(spinner) = &spinner {
            spinner.finish_and_clear();
        }
        let seconds = began.elapsed().as_secs_f32();
        if done.is_ok() {
            self.line(&format!("  {what:<72} {seconds:>5.1} s"));
        }
        done
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{colour}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

fn spinner(what: &str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(what.to_owned());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg:<72} {elapsed:>5}") {
        spinner.set_style(style);
    }
    spinner.enable_steady_tick(SPIN);
    spinner
}

/// A long command in several lines, cut before options and pipes.
fn folded(line: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in line.split(' ') {
        let last = lines.last().map_or(0, String::len);
        let may_break = word.starts_with("--") || word == "-o" || word == "|" || word.starts_with("docker:");
        match lines.last_mut() {
            Some(current) if last == 0 => current.push_str(word),
            Some(current) if !may_break || last + part(line, word) < WIDTH => {
                current.push(' ');
                current.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// How much room an option takes with its value.
fn part(line: &str, word: &str) -> usize {
    let rest = line.split_once(word).map_or("", |(_, rest)| rest);
    let value = rest.trim_start().split(' ').next().unwrap_or_default();
    word.len() + value.len() + 2
}
