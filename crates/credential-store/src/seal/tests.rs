mod vectors;

use proptest::prelude::*;

use super::*;

fn kek(key: u8) -> Kek {
    Kek::new(&[key; KEY_BYTES]).unwrap()
}

fn name(id: &str) -> CredentialName {
    CredentialName::from_id(id).unwrap()
}

fn secret(text: &str) -> SecretBytes {
    SecretBytes::new(text.into())
}

fn entry(registry: &str, username: &str) -> Entry {
    Entry { registry: registry.into(), username: username.into() }
}

impl Kek {
    /// Seals as the first format did: bound to the key-encryption key instead of the entries.
    pub(crate) fn seal_1(&self, place: Place<'_>, material: &SecretBytes) -> Sealed {
        let data_key = random_key().unwrap();
        let bound = key_bound(MATERIAL_1, place, self.id());
        Sealed {
            format: 1,
            material_key_id: Some(self.id().to_owned()),
            ciphertext: encrypt(&cipher(&*data_key).unwrap(), &bound, material.expose()).unwrap(),
            data_key: self.wrap_key(place, &*data_key).unwrap(),
            key_id: self.id().to_owned(),
        }
    }
}

fn rewrapped(from: &Kek, to: &Kek, place: Place<'_>, sealed: &Sealed) -> Sealed {
    let data_key = from.rewrap(place, &sealed.data_key, to).unwrap();
    Sealed { data_key, key_id: to.id().to_owned(), ..sealed.clone() }
}

proptest! {
    #[test]
    fn what_is_sealed_opens_again_also_after_every_rewrapping(
        material: Vec<u8>, id in "[a-z]{1,63}", version in 1_i64.., entries: Vec<(String, String)>, keks in 1..4_u8
    ) {
        let name = name(&id);
        let place = Place { uid: "u", name: &name, version };
        let entries: Vec<_> = entries.iter().map(|(r, u)| entry(r, u)).collect();
        let material = SecretBytes::new(material);
        let mut sealed = kek(1).seal(place, &entries, &material).unwrap();
        let ciphertext = sealed.ciphertext.clone();
        for number in 1..keks {
            sealed = rewrapped(&kek(number), &kek(number + 1), place, &sealed);
        }
        prop_assert_eq!(kek(keks).open(place, &entries, &sealed).unwrap(), material);
        prop_assert_eq!(sealed.ciphertext, ciphertext);
    }

    #[test]
    fn a_flipped_bit_anywhere_is_noticed(at: prop::sample::Index, bit in 0..8, in_key: bool) {
        let (name, kek) = (name("quay"), kek(1));
        let place = Place { uid: "u", name: &name, version: 1 };
        let mut sealed = kek.seal(place, &[], &secret("material")).unwrap();
        let bytes = if in_key { &mut sealed.data_key } else { &mut sealed.ciphertext };
        *at.get_mut(bytes) ^= 1_u8 << bit;
        prop_assert!(matches!(kek.open(place, &[], &sealed), Err(Error::Altered)));
    }
}

#[test]
fn nothing_opens_in_another_place_or_beside_other_entries() {
    let (quay, ghcr, ours) = (name("quay"), name("ghcr"), kek(1));
    let here = Place { uid: "u", name: &quay, version: 1 };
    let entries = [entry("quay.io", "robot"), entry("ghcr.io", "me")];
    let sealed = ours.seal(here, &entries, &secret("material")).unwrap();
    for elsewhere in [Place { uid: "v", ..here }, Place { name: &ghcr, ..here }, Place { version: 2, ..here }]
    {
        assert!(matches!(ours.open(elsewhere, &entries, &sealed), Err(Error::Altered)), "{elsewhere:?}");
        assert!(matches!(ours.rewrap(elsewhere, &sealed.data_key, &kek(2)), Err(Error::Altered)));
    }
    let [first, second] = &entries;
    for others in [
        vec![],
        vec![first.clone()],
        vec![second.clone(), first.clone()],
        vec![entry("quay.io", "robot2"), second.clone()],
        vec![entry("quay.iorobot", ""), second.clone()],
    ] {
        assert!(matches!(ours.open(here, &others, &sealed), Err(Error::Altered)), "{others:?}");
    }
    let other = ours.seal(here, &entries, &secret("material")).unwrap();
    let mixed = Sealed { data_key: other.data_key, ..sealed };
    assert!(matches!(ours.open(here, &entries, &mixed), Err(Error::Altered)));
}

#[test]
fn parts_of_the_place_cannot_be_shifted_into_one_another() {
    let name = name("quay");
    let bound = |format, uid| key_bound(format, Place { uid, name: &name, version: 1 }, "k");
    assert_ne!(bound(b"ab", "c"), bound(b"a", "bc"));
    assert_ne!(bound(MATERIAL_1, "u"), bound(DATA_KEY, "u"));
    let place = Place { uid: "u", name: &name, version: 1 };
    assert_ne!(material_bound(place, &[entry("a", "bc")]), material_bound(place, &[entry("ab", "c")]));
}

#[test]
fn another_key_encryption_key_opens_nothing_and_says_which_it_is() {
    let name = name("quay");
    let place = Place { uid: "u", name: &name, version: 1 };
    let (ours, other) = (kek(1), kek(2));
    let mut sealed = ours.seal(place, &[], &secret("material")).unwrap();
    assert!(matches!(other.open(place, &[], &sealed), Err(Error::OtherKey { .. })));
    sealed.key_id = other.id().to_owned();
    assert!(matches!(other.open(place, &[], &sealed), Err(Error::Altered)), "also if the id is forged");
}

#[test]
fn after_rewrapping_the_former_key_opens_nothing() {
    let name = name("quay");
    let place = Place { uid: "u", name: &name, version: 1 };
    let sealed = kek(1).seal(place, &[], &secret("material")).unwrap();
    let mut now = rewrapped(&kek(1), &kek(2), place, &sealed);
    assert!(kek(2).open(place, &[], &now).is_ok());
    now.key_id = kek(1).id().to_owned();
    assert!(matches!(kek(1).open(place, &[], &now), Err(Error::Altered)));
}

#[test]
fn material_of_the_first_format_opens_before_and_after_rewrapping() {
    let name = name("quay");
    let place = Place { uid: "u", name: &name, version: 1 };
    let sealed = kek(1).seal_1(place, &secret("material"));
    assert_eq!(kek(1).open(place, &[], &sealed).unwrap(), secret("material"));
    let now = rewrapped(&kek(1), &kek(2), place, &sealed);
    assert_eq!(kek(2).open(place, &[entry("a", "b")], &now).unwrap(), secret("material"));
}

#[test]
fn a_format_cannot_be_taken_for_another() {
    let name = name("quay");
    let place = Place { uid: "u", name: &name, version: 1 };
    let (first, second) =
        (kek(1).seal_1(place, &secret("m")), kek(1).seal(place, &[], &secret("m")).unwrap());
    let forged = [
        Sealed { format: 2, ..first.clone() },
        Sealed { format: 2, material_key_id: None, ..first.clone() },
        Sealed { material_key_id: None, ..first.clone() },
        Sealed { material_key_id: Some("other".into()), ..first },
        Sealed { format: 1, ..second.clone() },
        Sealed { format: 1, material_key_id: Some(kek(1).id().into()), ..second.clone() },
        Sealed { material_key_id: Some(kek(1).id().into()), ..second.clone() },
    ];
    for sealed in forged {
        assert!(matches!(kek(1).open(place, &[], &sealed), Err(Error::Altered)), "{sealed:?}");
    }
    let newer = Sealed { format: 3, ..second };
    assert!(matches!(kek(1).open(place, &[], &newer), Err(Error::Format(3))));
}

#[test]
fn the_same_material_never_looks_the_same() {
    let name = name("quay");
    let place = Place { uid: "u", name: &name, version: 1 };
    let seal = || kek(1).seal(place, &[], &secret("m")).unwrap();
    let (first, second) = (seal(), seal());
    assert_ne!(first.ciphertext, second.ciphertext);
    assert_ne!(first.data_key, second.data_key);
}

#[test]
fn what_is_too_short_to_be_sealed_is_refused() {
    let name = name("quay");
    let place = Place { uid: "u", name: &name, version: 1 };
    for bytes in [vec![], vec![0; 11], vec![0; 12], vec![0; 27]] {
        let sealed = Sealed {
            format: 2,
            material_key_id: None,
            key_id: kek(1).id().to_owned(),
            data_key: bytes.clone(),
            ciphertext: bytes,
        };
        assert!(matches!(kek(1).open(place, &[], &sealed), Err(Error::Altered)));
    }
}
