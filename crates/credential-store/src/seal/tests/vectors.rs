//! The test vectors of `docs/record-format.md`: what was once sealed opens for ever.

use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Vectors {
    key: Vec<KeyVector>,
    record: Vec<Record>,
}

#[derive(Deserialize)]
struct KeyVector {
    key: String,
    id: String,
}

#[derive(Deserialize)]
struct Record {
    title: String,
    format: i64,
    material_key_id: Option<String>,
    key_encryption_key: String,
    key_id: String,
    uid: String,
    name: String,
    version: i64,
    entries: Vec<Entry>,
    wrapped_data_key: String,
    data_key_associated: String,
    data_key: String,
    ciphertext: String,
    material_associated: String,
    material: String,
}

fn vectors() -> Vectors {
    toml::from_str(include_str!("../../../../../docs/record-format-vectors.toml")).unwrap()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<_> =
        hex.chars().map(|digit| u8::try_from(digit.to_digit(16).unwrap()).unwrap()).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn kek_of(hex: &str) -> Kek {
    Kek::new(&bytes(hex).try_into().unwrap()).unwrap()
}

#[test]
fn ids_are_derived_from_keys_as_documented() {
    let vectors = vectors();
    assert!(vectors.key.len() >= 2);
    for vector in vectors.key {
        assert_eq!(kek_of(&vector.key).id(), vector.id);
    }
}

#[test]
fn every_documented_record_opens_step_by_step() {
    let vectors = vectors();
    let formats: Vec<_> = vectors.record.iter().map(|record| record.format).collect();
    assert!(formats.contains(&1) && formats.contains(&2), "{formats:?}");
    for record in vectors.record {
        let kek = kek_of(&record.key_encryption_key);
        assert_eq!(kek.id(), record.key_id, "{}", record.title);
        let name = CredentialName::parse(&record.name).unwrap();
        let place = Place { uid: &record.uid, name: &name, version: record.version };
        let data_key_bound = key_bound(DATA_KEY, place, kek.id());
        assert_eq!(data_key_bound, bytes(&record.data_key_associated), "{}", record.title);
        let bound = match &record.material_key_id {
            Some(key_id) => key_bound(MATERIAL_1, place, key_id),
            None => material_bound(place, &record.entries),
        };
        assert_eq!(bound, bytes(&record.material_associated), "{}", record.title);
        let data_key = kek.unwrap_key(place, &bytes(&record.wrapped_data_key)).unwrap();
        assert_eq!(data_key.expose(), bytes(&record.data_key), "{}", record.title);
        let sealed = Sealed {
            format: record.format,
            material_key_id: record.material_key_id,
            key_id: record.key_id,
            data_key: bytes(&record.wrapped_data_key),
            ciphertext: bytes(&record.ciphertext),
        };
        let material = kek.open(place, &record.entries, &sealed).unwrap();
        assert_eq!(material.expose(), record.material.as_bytes(), "{}", record.title);
    }
}
