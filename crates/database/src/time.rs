//! Times are stored as whole microseconds since the epoch.

use time::OffsetDateTime;

/// As the database stores it.
pub fn to_micros(time: OffsetDateTime) -> i64 {
    // The years -9999 to 9999 fit.
    i64::try_from(time.unix_timestamp_nanos().div_euclid(1000)).unwrap_or_default()
}

/// As it was before it was stored, to the microsecond. The epoch for what no clock can have shown.
pub fn from_micros(micros: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
