//! Readers and writers that call all the time, keep books, and take no failure.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use e2e::lone_store::Caller;
use futures::future::join_all;
use pullpass_api::credential::v1::{DeleteCredentialRequest, DestroyCredentialVersionRequest};
use tonic::Status;

/// The credentials, and the newest version of each that was acknowledged.
#[derive(Debug)]
pub(super) struct Load {
    caller: Caller,
    newest: Vec<Mutex<i64>>,
    pub(super) calls: AtomicUsize,
    stop: AtomicBool,
}

fn id(number: usize) -> String {
    format!("c{number}")
}

fn password(number: usize, version: i64) -> String {
    format!("fake-{number}-{version}")
}

impl Load {
    /// Makes so many credentials of so many versions.
    pub(super) async fn prepare(caller: Caller, credentials: usize, versions: i64) -> Self {
        let make = async |number: usize| {
            caller.create(&id(number), &password(number, 1)).await.expect("it is created");
            for version in 2..=versions {
                caller.rotate(&id(number), &password(number, version)).await.expect("it is rotated");
            }
        };
        join_all((0..credentials).map(make)).await;
        let newest = (0..credentials).map(|_| Mutex::new(versions)).collect();
        Self { caller, newest, calls: AtomicUsize::new(0), stop: AtomicBool::new(false) }
    }

    /// Calls all the time while `work` is done. Whatever fails ends the test.
    pub(super) async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        let half = self.newest.len() / 2;
        let readers = (0..4).map(|reader| self.read(reader));
        let writers = [self.write(0, half), self.write(half, self.newest.len())];
        let stopping = async {
            let done = work.await;
            self.stop.store(true, Ordering::Relaxed);
            done
        };
        tokio::join!(join_all(readers), join_all(writers), self.come_and_go(), stopping).3
    }

    /// What every credential gives out now is its newest version.
    pub(super) async fn everything_is_there(&self) {
        for number in 0..self.newest.len() {
            let newest = *self.newest[number].lock().unwrap();
            assert_eq!(self.caller.fetch(&id(number)).await.expect("it opens"), password(number, newest));
        }
    }

    async fn read(&self, mut number: usize) {
        while !self.stop.load(Ordering::Relaxed) {
            number = (number + 7) % self.newest.len();
            let before = *self.newest[number].lock().unwrap();
            let fetched = self.done("a fetch", self.caller.fetch(&id(number)).await);
            let version: i64 = fetched.rsplit('-').next().unwrap().parse().unwrap();
            // The writer notes a version after it was acknowledged.
            let after = *self.newest[number].lock().unwrap() + 1;
            assert!((before..=after).contains(&version), "{fetched}, not from {before} to {after}");
        }
    }

    /// Rotates its own credentials, and destroys what is two versions old.
    async fn write(&self, first: usize, end: usize) {
        for number in (first..end).cycle() {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            let next = *self.newest[number].lock().unwrap() + 1;
            let rotated = self.caller.rotate(&id(number), &password(number, next)).await;
            assert_eq!(self.done("a rotation", rotated), next);
            *self.newest[number].lock().unwrap() = next;
            let request =
                DestroyCredentialVersionRequest { name: format!("credentials/c{number}"), version: next - 2 };
            self.done("a destruction", self.caller.platform().destroy_credential_version(request).await);
        }
    }

    /// Credentials that are made, fetched and deleted.
    async fn come_and_go(&self) {
        let mut seen = BTreeMap::new();
        while !self.stop.load(Ordering::Relaxed) {
            let id = format!("passing-{}", seen.len());
            self.done("a creation", self.caller.create(&id, &id).await);
            seen.insert(id.clone(), self.done("a fetch", self.caller.fetch(&id).await));
            let request = DeleteCredentialRequest { name: format!("credentials/{id}"), ..Default::default() };
            self.done("a deletion", self.caller.platform().delete_credential(request).await);
        }
        assert!(seen.iter().all(|(id, password)| id == password), "{seen:?}");
    }

    fn done<T>(&self, what: &str, answer: Result<T, Status>) -> T {
        self.calls.fetch_add(1, Ordering::Relaxed);
        answer.unwrap_or_else(|status| panic!("{what} failed: {status:?}"))
    }
}
