//! Sealed rows: one that was written by us and altered in any way does not open, nor does one that somebody made up, and
//! nothing that is said of it tells what is in it.
//!
//! An input is a list of steps of four bytes, applied to a real row; see [`alter`].

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use pullpass_credential_store::fuzzing::{Belonging, Records, Row};
use pullpass_domain::{name::CredentialName, secret::SecretBytes};
use pullpass_fuzz::{CANARY, bounded};

const UID: &str = "0198f6a0-0000-7000-8000-000000000001";

struct World {
    records: Records,
    name: CredentialName,
    other_name: CredentialName,
    /// Of version 1 and of version 2 of one credential.
    rows: [Row; 2],
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let records = Records::new(&[7; 32]).expect("a key");
    let name = CredentialName::from_id("quay").expect("a name");
    let seal = |version: i64| {
        let material = SecretBytes::new(format!("{CANARY} of version {version}").into());
        let entries =
            vec![("quay.io".to_owned(), "robot".to_owned()), ("ghcr.io".to_owned(), "bot".to_owned())];
        records.seal((UID, &name, version), entries, &material).expect("a row")
    };
    let rows = [seal(1), seal(2)];
    let other_name = CredentialName::from_id("ghcr").expect("a name");
    World { records, name, other_name, rows }
});

fuzz_target!(|input: &[u8]| {
    LazyLock::force(&WORLD);
    bounded(input, || {
        let mut row = WORLD.rows[0].clone();
        let mut place: Belonging = (UID, &WORLD.name, 1);
        for step in input.chunks(4) {
            alter(&mut row, &mut place, step);
        }
        let untouched = row == WORLD.rows[0] && place == (UID, &WORLD.name, 1);
        let second = row == WORLD.rows[1] && place == (UID, &WORLD.name, 2);
        match WORLD.records.open(place, row) {
            Ok(material) => {
                assert!(untouched || second, "an altered row opens");
                assert!(material.expose().starts_with(CANARY.as_bytes()));
            }
            Err(error) => {
                assert!(!untouched && !second, "a real row does not open: {error}");
                assert!(!error.contains(CANARY), "{error}");
            }
        }
    });
});

/// `[what, place high, place low, value]`: a byte changed, the row cut, made longer, mixed with another or moved elsewhere.
fn alter(row: &mut Row, place: &mut Belonging<'static>, step: &[u8]) {
    let [what, high, low, value] = [0, 1, 2, 3].map(|at| step.get(at).copied().unwrap_or_default());
    let bytes = if what & 0x80 == 0 { &mut row.ciphertext } else { &mut row.data_key };
    let at = usize::from(u16::from_be_bytes([high, low])) % bytes.len().max(1);
    match what & 0x0f {
        0 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= value),
        1 => bytes.truncate(at),
        2 => bytes.extend(std::iter::repeat_n(value, at.min(64))),
        3 => bytes.insert(at.min(bytes.len()), value),
        4 => row.data_key.clone_from(&WORLD.rows[1].data_key),
        5 => row.ciphertext.clone_from(&WORLD.rows[1].ciphertext),
        6 => row.key_id.push(char::from(value)),
        7 => row.key_id.truncate(0),
        8 => place.2 = i64::from(value),
        9 => place.1 = &WORLD.other_name,
        10 => place.0 = "another uid",
        11 => std::mem::swap(&mut row.data_key, &mut row.ciphertext),
        12 => bytes.rotate_left(at),
        13 => row.format = i64::from(value),
        14 => match row.entries.first_mut() {
            Some((registry, username)) if value % 2 == 0 => std::mem::swap(registry, username),
            _ => row.entries.truncate(at % 3),
        },
        15 if at % 2 == 0 => row.material_key_id = Some(row.key_id.clone()),
        _ => bytes.clear(),
    }
}
