use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

fn sealer(key: u8) -> Sealer {
    Sealer::new(&[key; KEY_BYTES]).unwrap()
}

fn name(id: &str) -> CredentialName {
    CredentialName::from_id(id).unwrap()
}

fn secret(text: &str) -> SecretBytes {
    SecretBytes::new(text.into())
}

proptest! {
    #[test]
    fn what_is_sealed_opens_again(material: Vec<u8>, id in "[a-z]{1,63}", version in 1_i64..) {
        let (name, sealer) = (name(&id), sealer(1));
        let place = Place { uid: "u", name: &name, version };
        let material = SecretBytes::new(material);
        let sealed = sealer.seal(place, &material).unwrap();
        prop_assert_eq!(sealer.open(place, &sealed).unwrap(), material);
    }

    #[test]
    fn a_flipped_bit_anywhere_is_noticed(at: prop::sample::Index, bit in 0..8, in_key: bool) {
        let (name, sealer) = (name("quay"), sealer(1));
        let place = Place { uid: "u", name: &name, version: 1 };
        let mut sealed = sealer.seal(place, &secret("material")).unwrap();
        let bytes = if in_key { &mut sealed.data_key } else { &mut sealed.ciphertext };
        *at.get_mut(bytes) ^= 1_u8 << bit;
        prop_assert!(matches!(sealer.open(place, &sealed), Err(Error::Altered)));
    }
}

#[test]
fn nothing_opens_in_another_place() {
    let (quay, ghcr, ours) = (name("quay"), name("ghcr"), sealer(1));
    let here = Place { uid: "u", name: &quay, version: 1 };
    let sealed = ours.seal(here, &secret("material")).unwrap();
    for elsewhere in [Place { uid: "v", ..here }, Place { name: &ghcr, ..here }, Place { version: 2, ..here }]
    {
        assert!(matches!(ours.open(elsewhere, &sealed), Err(Error::Altered)), "{elsewhere:?}");
    }
    let other = ours.seal(here, &secret("material")).unwrap();
    let mixed = Sealed { data_key: other.data_key, ..sealed };
    assert!(matches!(ours.open(here, &mixed), Err(Error::Altered)));
}

#[test]
fn parts_of_the_place_cannot_be_shifted_into_one_another() {
    let name = name("quay");
    let bound = |format, uid| associated(format, Place { uid, name: &name, version: 1 }, "k");
    assert_ne!(bound(b"ab", "c"), bound(b"a", "bc"));
    assert_ne!(bound(MATERIAL, "u"), bound(DATA_KEY, "u"));
}

#[test]
fn another_key_encryption_key_opens_nothing_and_says_which_it_is() {
    let name = name("quay");
    let place = Place { uid: "u", name: &name, version: 1 };
    let (ours, other) = (sealer(1), sealer(2));
    let mut sealed = ours.seal(place, &secret("material")).unwrap();
    assert!(matches!(other.open(place, &sealed), Err(Error::OtherKey { .. })));
    sealed.key_id = other.key_id().to_owned();
    assert!(matches!(other.open(place, &sealed), Err(Error::Altered)), "also if the id is forged");
}

#[test]
fn the_same_material_never_looks_the_same() {
    let name = name("quay");
    let place = Place { uid: "u", name: &name, version: 1 };
    let (first, second) =
        (sealer(1).seal(place, &secret("m")).unwrap(), sealer(1).seal(place, &secret("m")).unwrap());
    assert_ne!(first.ciphertext, second.ciphertext);
    assert_ne!(first.data_key, second.data_key);
}

#[test]
fn what_is_too_short_to_be_sealed_is_refused() {
    let name = name("quay");
    let place = Place { uid: "u", name: &name, version: 1 };
    let key_id = sealer(1).key_id().to_owned();
    for bytes in [vec![], vec![0; 11], vec![0; 12], vec![0; 27]] {
        let sealed = Sealed { key_id: key_id.clone(), data_key: bytes.clone(), ciphertext: bytes };
        assert!(matches!(sealer(1).open(place, &sealed), Err(Error::Altered)));
    }
}

#[test]
fn the_key_file_must_hold_32_bytes_in_base64_and_be_private() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("kek");
    let load = |text: &[u8], mode: u32| {
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        Sealer::load(&file)
    };
    let good = BASE64_STANDARD.encode([3; 32]);
    assert_eq!(load(good.as_bytes(), 0o600).unwrap().key_id(), sealer(3).key_id());
    assert!(load(format!("{good}\n").as_bytes(), 0o400).is_ok());
    assert!(load(good.as_bytes(), 0o440).is_ok(), "as Kubernetes mounts it for a group");
    for mode in [0o644, 0o604, 0o620, 0o660, 0o601] {
        assert!(matches!(load(good.as_bytes(), mode), Err(KeyError::Mode { .. })), "{mode:o}");
    }
    for (text, length) in [("", 0), ("short", 31), ("long", 33), ("very long", 300)] {
        let text = if length == 0 { text.to_owned() } else { BASE64_STANDARD.encode(vec![3; length]) };
        assert!(matches!(load(text.as_bytes(), 0o600), Err(KeyError::Form { .. })), "{text}");
    }
    assert!(matches!(load(&[0xff; 32], 0o600), Err(KeyError::Form { .. })));
    assert!(matches!(Sealer::load(&folder.path().join("absent")), Err(KeyError::Read { .. })));
}
