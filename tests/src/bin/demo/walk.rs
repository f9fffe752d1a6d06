//! The walk: commands, what they printed, and what was checked about it.

use e2e::canary::Scanner;

use crate::{
    screen::Screen,
    shell::{Ran, Shell},
    world::{NEW_PASSWORD, PASSWORD, World},
};

/// How many procedures the page has.
const PROCEDURES: usize = 9;

/// How far we are.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    pub(crate) world: &'a World,
    pub(crate) shell: Shell,
    screen: &'a Screen,
    procedures: usize,
    checks: Vec<(String, bool)>,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(world: &'a World, screen: &'a Screen) -> anyhow::Result<Self> {
        Ok(Self { world, shell: world.shell()?, screen, procedures: 0, checks: Vec::new() })
    }

    /// Begins the next procedure.
    pub(crate) fn procedure(&mut self, title: &str, before: &str) {
        self.procedures += 1;
        self.screen.title(&format!("{}/{PROCEDURES}", self.procedures), title, before);
    }

    /// Says what no command shows.
    pub(crate) fn note(&self, text: &str) {
        self.screen.note(text);
    }

    /// Types a command that has to work; a failed one is a failed check.
    pub(crate) async fn run(&mut self, line: impl AsRef<str>) -> anyhow::Result<Ran> {
        let ran = self.attempt(line.as_ref()).await?;
        if !ran.worked() {
            self.check(&format!("works: {}", line.as_ref()), false);
        }
        Ok(ran)
    }

    /// Types a command that may fail.
    pub(crate) async fn attempt(&self, line: impl AsRef<str>) -> anyhow::Result<Ran> {
        self.screen.command(line.as_ref());
        let ran = self.shell.run(line.as_ref()).await?;
        self.screen.output(&ran.text, ran.code);
        Ok(ran)
    }

    /// Notes what has to be so.
    pub(crate) fn check(&mut self, what: &str, passed: bool) {
        self.screen.check("  ", what, passed);
        self.checks.push((what.to_owned(), passed));
    }

    /// Shows every check and their number, and says whether all passed.
    pub(crate) fn conclude(&mut self) -> bool {
        let hits = Scanner::new([PASSWORD, NEW_PASSWORD]).scan("the output", self.screen.shown().as_bytes());
        self.checks.push(("no password is in anything that was printed".to_owned(), hits.is_empty()));
        self.screen.line("");
        for (what, passed) in &self.checks {
            self.screen.check("", what, *passed);
        }
        let passed = self.checks.iter().filter(|(_, passed)| *passed).count();
        let failed = self.checks.len() - passed;
        self.screen.line("");
        self.screen.line(&format!("{passed} passed, {failed} failed"));
        failed == 0 && self.procedures == PROCEDURES
    }
}
