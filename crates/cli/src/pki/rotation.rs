//! From one authority to the next without a moment in which anybody is refused: first all trust both, then all have
//! certificates of the next, and then nobody trusts the old one any more.
//!
//! ```text
//!           ca.pem (trusted)     ca.key (signs)    beside them
//!  before   present              present
//!  begin    present, next        present           next-ca.pem, next-ca.key
//!  switch   next, present        next
//!  finish   next                 next
//! ```
//!
//! Each step can be taken again when it was cut short.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};

use super::authority::{self, Authority};
use crate::files::{self, PUBLIC};

/// One step on the way to the next authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Step {
    /// Makes the next authority; ca.pem then names both, and certificates still come from the present one
    Begin,
    /// From now on certificates come from the next authority; ca.pem still names both
    Switch,
    /// ca.pem names the new authority only
    Finish,
}

impl Step {
    /// Takes the step in the folder of an authority, and says what has to be done before the next one.
    pub fn take(self, folder: &Path) -> anyhow::Result<&'static str> {
        let place = Place::in_folder(folder);
        match self {
            Self::Begin => place.begin(folder),
            Self::Switch => place.switch(),
            Self::Finish => place.finish(),
        }
    }
}

struct Place {
    trusted: PathBuf,
    key: PathBuf,
    next: PathBuf,
    next_key: PathBuf,
}

impl Place {
    fn in_folder(folder: &Path) -> Self {
        let file = |name| folder.join(name);
        Self {
            trusted: file("ca.pem"),
            key: file("ca.key"),
            next: file("next-ca.pem"),
            next_key: file("next-ca.key"),
        }
    }

    fn begin(&self, folder: &Path) -> anyhow::Result<&'static str> {
        let present = Authority::open(folder)?;
        let trusted = read_all(&self.trusted)?;
        if !self.next.exists() {
            ensure!(
                trusted.len() == 1,
                "{} names {} authorities: finish the change before with `pullpass pki rotate-authority finish`",
                self.trusted.display(),
                trusted.len()
            );
            // A key alone is what a step that was cut short left behind; nothing was signed with it.
            let _ = fs::remove_file(&self.next_key);
            authority::make(&self.next, &self.next_key, present.trust_domain())?;
        }
        let next = read_all(&self.next)?.concat();
        files::replace(&self.trusted, PUBLIC, format!("{}{next}", trusted[0]).as_bytes())?;
        Ok(
            "give ca.pem to every service and client, wait until each has said \"certificates reloaded\", then `switch`",
        )
    }

    fn switch(&self) -> anyhow::Result<&'static str> {
        let trusted = read_all(&self.trusted)?;
        if !self.next.exists() {
            bail!(
                "no change of the authority has begun in this folder: begin one with `pullpass pki rotate-authority begin`"
            );
        }
        let next = read_all(&self.next)?.concat();
        ensure!(
            trusted.contains(&next),
            "{} does not name the next authority yet: repeat `pullpass pki rotate-authority begin`",
            self.trusted.display()
        );
        let others: String = trusted.into_iter().filter(|certificate| *certificate != next).collect();
        files::replace(&self.trusted, PUBLIC, format!("{next}{others}").as_bytes())?;
        if self.next_key.exists() {
            let put = fs::rename(&self.next_key, &self.key);
            put.with_context(|| format!("failed to put {} into place", self.key.display()))?;
        }
        let removed = fs::remove_file(&self.next);
        removed.with_context(|| format!("failed to remove {}", self.next.display()))?;
        Ok(
            "issue every certificate anew with `pullpass pki issue --replace`, give them out, wait until each service has said \"certificates reloaded\", then `finish`",
        )
    }

    fn finish(&self) -> anyhow::Result<&'static str> {
        let trusted = read_all(&self.trusted)?;
        ensure!(
            !self.next.exists(),
            "certificates still come from the old authority: `pullpass pki rotate-authority switch` comes first"
        );
        ensure!(
            trusted.len() > 1,
            "{} names one authority only: there is nothing to finish",
            self.trusted.display()
        );
        files::replace(&self.trusted, PUBLIC, trusted[0].as_bytes())?;
        Ok(
            "give ca.pem to every service and client: a certificate of the old authority is then refused, and a connection by one ends within seconds",
        )
    }
}

/// The certificates of a file, each as PEM of its own, in their order.
fn read_all(file: &Path) -> anyhow::Result<Vec<String>> {
    const END: &str = "-----END CERTIFICATE-----\n";
    let text = fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))?;
    let certificates: Vec<String> =
        text.split_inclusive(END).filter(|pem| pem.ends_with(END)).map(str::to_owned).collect();
    ensure!(!certificates.is_empty(), "{} holds no certificate", file.display());
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificates(folder: &Path) -> Vec<String> {
        read_all(&folder.join("ca.pem")).unwrap()
    }

    fn authority() -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        Authority::create(folder.path(), "example.org").unwrap();
        let first = certificates(folder.path()).concat();
        (folder, first)
    }

    #[test]
    fn the_trusted_overlap_and_the_signing_one_changes_in_the_middle() {
        let (folder, old) = authority();
        let folder = folder.path();
        Step::Begin.take(folder).unwrap();
        let both = certificates(folder);
        assert_eq!((both.len(), &both[0]), (2, &old));
        let signed_by_old = Authority::open(folder).unwrap();
        assert_eq!(signed_by_old.trust_domain(), "example.org");

        Step::Switch.take(folder).unwrap();
        assert_eq!(certificates(folder), [both[1].clone(), old]);
        Authority::open(folder).expect("its key fits");

        Step::Finish.take(folder).unwrap();
        assert_eq!(certificates(folder), [both[1].clone()]);
        let id = Authority::open(folder).unwrap().identity("/platform/portal").unwrap();
        let files = Authority::open(folder).unwrap().issue(&id, &folder.join("portal")).unwrap();
        assert_eq!(pullpass_runtime::Tls::load(&files).unwrap().identity().spiffe_id, id);
        let left: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(!left.iter().any(|name| name.to_string_lossy().contains("next")), "{left:?}");
    }

    #[test]
    fn a_step_out_of_turn_says_which_one_is_due() {
        let (folder, _) = authority();
        let refused = |step: Step| step.take(folder.path()).unwrap_err().to_string();
        assert!(refused(Step::Switch).contains("rotate-authority begin"));
        assert!(refused(Step::Finish).contains("nothing to finish"));
        Step::Begin.take(folder.path()).unwrap();
        assert!(refused(Step::Finish).contains("rotate-authority switch"));
        Step::Switch.take(folder.path()).unwrap();
        assert!(refused(Step::Begin).contains("rotate-authority finish"));
        assert!(refused(Step::Switch).contains("rotate-authority begin"));
    }

    #[test]
    fn a_step_that_was_cut_short_can_be_taken_again() {
        let (folder, old) = authority();
        let folder = folder.path();
        Step::Begin.take(folder).unwrap();
        let next = certificates(folder)[1].clone();
        fs::write(folder.join("ca.pem"), &old).unwrap();
        Step::Begin.take(folder).unwrap();
        assert_eq!(certificates(folder)[1], next, "the same next authority");

        fs::write(folder.join("ca.pem"), format!("{next}{old}")).unwrap();
        let unfit = Authority::open(folder).unwrap_err();
        assert!(format!("{unfit:#}").contains("rotate-authority switch"), "{unfit:#}");
        Step::Switch.take(folder).unwrap();
        assert_eq!(certificates(folder), [next, old]);
        Authority::open(folder).expect("its key fits");
    }
}
