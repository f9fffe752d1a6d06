use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::*;

fn key(byte: u8) -> AuditKey {
    AuditKey::from_base64(BASE64_STANDARD.encode([byte; 32]).as_bytes()).unwrap()
}

/// A chain as a service writes it.
#[derive(Clone)]
struct Trail {
    service: &'static str,
    key: u8,
    epoch: &'static str,
    last: Mac,
    records: Vec<Record>,
}

impl Trail {
    fn new(service: &'static str, key: u8) -> Self {
        Self { service, key, epoch: "one", last: Mac::START, records: Vec::new() }
    }

    fn with(mut self, actions: &[&str]) -> Self {
        for action in actions {
            let sequence = i64::try_from(self.records.len()).unwrap() + 1;
            let mut record = Record {
                service: self.service.to_owned(),
                sequence,
                time: format!("2026-11-24T08:00:00.{sequence:06}Z"),
                principal: "spiffe://d/platform/ci".to_owned(),
                action: (*action).to_owned(),
                resource: "things/a".to_owned(),
                details: BTreeMap::from([("n".to_owned(), sequence.to_string())]),
                revision: 0,
                epoch: self.epoch.to_owned(),
                mac: String::new(),
            };
            self.last = key(self.key).mac(&record.event().unwrap(), &self.last);
            record.mac = self.last.to_string();
            self.records.push(record);
        }
        self
    }

    fn accepted(self, epoch: &'static str, key: u8) -> Self {
        Self { key, epoch, ..self }.with(&[ACCEPT_ROLLBACK])
    }

    fn place(&self, sequence: usize) -> Place {
        let record = &self.records[sequence - 1];
        Place { sequence: record.sequence, mac: record.mac().unwrap() }
    }
}

fn text(records: &[Record]) -> String {
    records.iter().map(|record| record.line().unwrap()).collect()
}

fn known(keys: &[u8]) -> Known {
    Known { keys: keys.iter().copied().map(key).collect(), ..Known::default() }
}

fn check(records: &[Record], known: &Known) -> Result<Vec<Chain>, String> {
    verify(text(records).as_bytes(), known).map_err(|problem| problem.to_string())
}

fn five() -> Trail {
    Trail::new("credential-store", 7).with(&["a", "b", "c", "d", "e"])
}

#[test]
fn whole_chains_of_several_services_verify_with_their_keys() {
    let (store, grants) = (five(), Trail::new("grant-manager", 8).with(&["x", "y"]));
    let mut both = store.records.clone();
    both.extend(grants.records.clone());
    let heads = vec![store.place(5), store.place(2), grants.place(2)];
    let chains = check(&both, &Known { heads, ..known(&[8, 7]) }).unwrap();
    let told: Vec<_> = chains.iter().map(|chain| (chain.service.as_str(), chain.first, chain.last)).collect();
    assert_eq!(told, [("credential-store", 1, store.place(5)), ("grant-manager", 1, grants.place(2))]);
    both.swap(4, 5); // how the two are mixed is nobody's business
    assert!(check(&both, &known(&[8, 7])).is_ok());
}

#[test]
fn what_is_wrong_is_named_with_its_event() {
    type Spoil = fn(&mut Vec<Record>);
    let cases: [(Spoil, &str); 10] = [
        (|r| r[2].principal.push('x'), "line 3: event 3 of credential-store was altered"),
        (|r| r[2].mac = r[1].mac.clone(), "line 3: event 3 of credential-store was altered"),
        (|r| r[2].mac.truncate(63), "line 3: event 3 of credential-store was altered"),
        (|r| drop(r.remove(2)), "event 4 of credential-store stands where event 3 should"),
        (|r| r.swap(1, 2), "event 3 of credential-store stands where event 2 should"),
        (|r| r.insert(3, r[2].clone()), "event 3 of credential-store stands where event 4 should"),
        (|r| drop(r.remove(0)), "event 2 of credential-store is the first: the events before it are missing"),
        (|r| r[0].details.clear(), "none of the keys is the one of this chain"),
        (|r| r[4].epoch.push('x'), "event 5 of credential-store is of another epoch"),
        (|r| r.clear(), "the export holds no event"),
    ];
    for (spoil, says) in cases {
        let mut records = five().records;
        spoil(&mut records);
        let problem = check(&records, &known(&[7])).unwrap_err();
        assert!(problem.contains(says), "{problem:?} does not say {says:?}");
    }
    let problem = check(&five().records, &known(&[8])).unwrap_err();
    assert!(problem.contains("none of the keys"), "{problem}");
    let cut = &text(&five().records)[..200];
    let problem = verify(cut.as_bytes(), &known(&[7])).unwrap_err().to_string();
    assert!(problem.starts_with("line 1 is not an event"), "{problem}");
}

#[test]
fn what_was_cut_off_at_the_end_shows_by_a_head() {
    let whole = five();
    let cut = &whole.records[..3];
    assert!(check(cut, &known(&[7])).is_ok(), "by itself it does not show");
    let problem = check(cut, &Known { heads: vec![whole.place(5)], ..known(&[7]) }).unwrap_err();
    assert!(problem.contains(&format!("has the event {}", whole.place(5))), "{problem}");
    let another = Trail::new("credential-store", 7).with(&["a", "b", "c", "d", "f"]);
    let problem = check(&whole.records, &Known { heads: vec![another.place(5)], ..known(&[7]) });
    assert!(problem.unwrap_err().contains("of another database"));
}

#[test]
fn an_export_may_go_on_from_a_known_event_and_from_no_other() {
    let whole = five();
    let rest = &whole.records[2..];
    assert_eq!(check(rest, &Known { from: vec![whole.place(2)], ..known(&[7]) }).unwrap()[0].first, 3);
    let elsewhere = Place { sequence: 2, mac: whole.place(1).mac };
    for (from, says) in
        [(vec![], "is the first"), (vec![whole.place(3)], "is the first"), (vec![elsewhere], "its mac")]
    {
        let problem = check(rest, &Known { from, ..known(&[7]) }).unwrap_err();
        assert!(problem.contains(says), "{problem}");
    }
}

#[test]
fn an_acceptance_begins_an_epoch_and_may_change_the_key_and_nothing_else_may() {
    let whole = five().accepted("two", 9).with(&["f"]);
    let chains = check(&whole.records, &known(&[7, 9])).unwrap();
    assert_eq!(chains[0].epochs, ["one", "two"]);
    let problem = check(&whole.records, &known(&[7])).unwrap_err();
    assert!(problem.contains("event 6") && problem.contains("none of the keys"), "{problem}");

    let other_key = Trail { key: 9, ..five() }.with(&["f"]);
    assert!(check(&other_key.records, &known(&[7, 9])).unwrap_err().contains("event 6"), "in the same epoch");
    let no_acceptance = Trail { epoch: "two", ..five() }.with(&["f"]);
    assert!(check(&no_acceptance.records, &known(&[7])).unwrap_err().contains("another epoch"));
}

#[test]
fn events_that_were_chained_later_are_told_of() {
    let upgraded = five().with(&[BEGIN_CHAIN, "g"]);
    assert_eq!(check(&upgraded.records, &known(&[7])).unwrap()[0].chained_later, 5);
}

#[test]
fn a_place_is_a_sequence_and_a_mac() {
    let place = five().place(5);
    assert_eq!(place.to_string().parse(), Ok(place));
    for text in ["", "5", "5:", ":00", "x:00", &format!("5:{}0", place.mac)] {
        assert!(text.parse::<Place>().is_err(), "{text}");
    }
}
