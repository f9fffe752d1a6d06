//! The audit chain: each event carries an HMAC over itself and over the one before it, so that nobody without the key can
//! alter, add, remove or reorder events. The services write it, `pullpass audit verify` checks it offline.
//!
//! ```text
//!  mac(n) = HMAC-SHA-256(key, FORMAT, service, epoch, sequence, time, principal, action, resource, revision,
//!                             count of details, each key and value in order of the keys, mac(n - 1))
//! ```
//!
//! Every part goes in with its length before it, 64 bits big-endian; numbers are 64 bits big-endian, the time is in
//! microseconds since the epoch of 1970. Before the first event there is [`Mac::START`].

use std::{collections::BTreeMap, fmt, str::FromStr};

use aws_lc_rs::hmac::{Context, HMAC_SHA256, Key};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use zeroize::Zeroizing;

/// The RPC that begins a new epoch: the first event of that epoch tells of it.
pub const ACCEPT_ROLLBACK: &str = "AcceptRollback";
/// What a service notes, in its own name, after it has chained events that were written before there was a chain.
pub const BEGIN_CHAIN: &str = "BeginAuditChain";

const FORMAT: &[u8] = b"pullpass audit 1";
const BYTES: usize = 32;

/// The key of one service's chain.
#[derive(Clone)]
pub struct AuditKey(Key);

impl AuditKey {
    /// From what its file holds: 32 bytes in base64. None if it is not that.
    pub fn from_base64(text: &[u8]) -> Option<Self> {
        let mut key = Zeroizing::new([0; BYTES]);
        let decoded = BASE64_STANDARD.decode_slice(text.trim_ascii(), &mut *key);
        (decoded == Ok(BYTES)).then(|| Self(Key::new(HMAC_SHA256, &*key)))
    }

    /// What `event` carries after an event that carries `previous`.
    pub fn mac(&self, event: &Event<'_>, previous: &Mac) -> Mac {
        let mut context = Context::with_key(&self.0);
        let mut part = |bytes: &[u8]| {
            context.update(&(bytes.len() as u64).to_be_bytes());
            context.update(bytes);
        };
        part(FORMAT);
        part(event.service.as_bytes());
        part(event.epoch.as_bytes());
        part(&event.sequence.to_be_bytes());
        part(&event.micros.to_be_bytes());
        part(event.principal.as_bytes());
        part(event.action.as_bytes());
        part(event.resource.as_bytes());
        part(&event.revision.to_be_bytes());
        part(&(event.details.len() as u64).to_be_bytes());
        for (key, value) in event.details {
            part(key.as_bytes());
            part(value.as_bytes());
        }
        part(&previous.0);
        Mac::of(context.sign().as_ref())
    }
}

impl fmt::Debug for AuditKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuditKey(…)")
    }
}

/// An event as the chain sees it.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// The service that keeps it.
    pub service: &'a str,
    /// The line of history that it belongs to.
    pub epoch: &'a str,
    /// Its place: 1, 2, 3 …
    pub sequence: i64,
    /// When, in microseconds since 1970.
    pub micros: i64,
    /// Who.
    pub principal: &'a str,
    /// Did what.
    pub action: &'a str,
    /// To what.
    pub resource: &'a str,
    /// With which particulars.
    pub details: &'a BTreeMap<String, String>,
    /// Which change it was; 0 for none.
    pub revision: i64,
}

/// What an event carries: 32 bytes, written as 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mac([u8; BYTES]);

impl Mac {
    /// What stands before the first event.
    pub const START: Self = Self([0; BYTES]);

    fn of(bytes: &[u8]) -> Self {
        let mut mac = Self::START;
        mac.0.copy_from_slice(bytes);
        mac
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 2 * BYTES];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

/// A text is not 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a mac has 64 lower-case hexadecimal digits")]
pub struct NoMac;

impl FromStr for Mac {
    type Err = NoMac;

    fn from_str(text: &str) -> Result<Self, NoMac> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(NoMac),
        };
        let pairs = text.as_bytes().chunks_exact(2);
        if text.len() != 2 * BYTES {
            return Err(NoMac);
        }
        let mut mac = Self::START;
        for (byte, pair) in mac.0.iter_mut().zip(pairs) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Ok(mac)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> AuditKey {
        AuditKey::from_base64(BASE64_STANDARD.encode([7; 32]).as_bytes()).unwrap()
    }

    fn details() -> BTreeMap<String, String> {
        [("cluster", "clusters/dev"), ("versions", "credentials/quay@1")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    }

    fn event(details: &BTreeMap<String, String>) -> Event<'_> {
        Event {
            service: "credential-store",
            epoch: "01890a5d-ac96-774b-bcce-b302099a8057",
            sequence: 2,
            micros: 1_728_000_000_000_001,
            principal: "spiffe://pullpass.local/applier/dev",
            action: "FetchPullSecret",
            resource: "secretLinks/web",
            details,
            revision: 0,
        }
    }

    /// The test vector of docs/audit.md.
    #[test]
    fn the_format_is_the_documented_one() {
        let details = details();
        let first = Event { sequence: 1, ..event(&details) };
        let first = key().mac(&first, &Mac::START);
        assert_eq!(first.to_string(), "d26b8ce138a144935ff2e79a4a0f97948a60a508b2ced094db5ae766ab0afa29");
        let second = key().mac(&event(&details), &first);
        assert_eq!(second.to_string(), "9dc92e5121a5b9354260c2e393bfe53130f0da99af9b2b8409262264545862c6");
    }

    #[test]
    fn every_field_the_predecessor_and_the_key_count() {
        let details = details();
        let whole = event(&details);
        let mac = |event: &Event<'_>| key().mac(event, &Mac::START);
        let fewer = details.iter().take(1).map(|(k, v)| (k.clone(), v.clone())).collect();
        let moved =
            BTreeMap::from([("cluster".into(), "clusters/devversions".into()), (String::new(), "x".into())]);
        let other_key = AuditKey::from_base64(BASE64_STANDARD.encode([8; 32]).as_bytes()).unwrap();
        let others = [
            mac(&Event { service: "grant-manager", ..whole }),
            mac(&Event { epoch: "", ..whole }),
            mac(&Event { sequence: 3, ..whole }),
            mac(&Event { micros: 0, ..whole }),
            mac(&Event { principal: "", ..whole }),
            mac(&Event { action: "", ..whole }),
            mac(&Event { resource: "", ..whole }),
            mac(&Event { revision: 1, ..whole }),
            mac(&Event { details: &fewer, ..whole }),
            mac(&Event { details: &moved, ..whole }),
            // The same bytes, cut elsewhere.
            mac(&Event { action: "FetchPullSecretsecretLinks", resource: "/web", ..whole }),
            key().mac(&whole, &mac(&whole)),
            other_key.mac(&whole, &Mac::START),
            mac(&whole),
        ];
        for (i, one) in others.iter().enumerate() {
            assert!(others[i + 1..].iter().all(|other| one != other), "{i}");
        }
    }

    #[test]
    fn a_mac_is_written_and_read_in_one_way_only() {
        let mac = key().mac(&event(&details()), &Mac::START);
        assert_eq!(mac.to_string().parse(), Ok(mac));
        let upper = mac.to_string().to_uppercase();
        for text in ["", "00", &upper, &format!("{mac}0"), &"g".repeat(64), &"é".repeat(32)] {
            assert_eq!(text.parse::<Mac>(), Err(NoMac), "{text}");
        }
    }

    #[test]
    fn a_key_is_32_bytes_and_is_not_shown() {
        assert!(AuditKey::from_base64(b"AAAA").is_none() && AuditKey::from_base64(b"%").is_none());
        assert_eq!(format!("{:?}", key()), "AuditKey(…)");
        let with_newline = BASE64_STANDARD.encode([7; 32]) + "\n";
        let again = AuditKey::from_base64(with_newline.as_bytes()).unwrap();
        let details = details();
        assert_eq!(again.mac(&event(&details), &Mac::START), key().mac(&event(&details), &Mac::START));
    }
}
