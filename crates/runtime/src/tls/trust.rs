//! How long a connection may live: as long as the certificate by which its peer proved itself would be accepted again.
//!
//! That is asked again whenever our authorities may have changed and when a certificate of the chain comes to its end, so
//! that taking an authority out of the file, or letting a certificate end, has an effect on connections that stand.

use std::time::Duration;

use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;

use super::{Tls, certificate::Facts};
use crate::clock::Clock;

/// How long a connection whose peer is not trusted any more may take to finish what is at hand before it is broken.
pub(crate) const GRACE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 10 });
/// Clocks are set and machines sleep: the time is looked at at least this often.
const AT_MOST: Duration = Duration::from_mins(1);

/// Waits until `accept` does not accept this chain any more, and says why. Without a chain that is never.
pub(crate) async fn distrusted(
    tls: &Tls,
    chain: &[CertificateDer<'static>],
    accept: impl Fn(&[CertificateDer<'static>]) -> Result<(), rustls::Error>,
) -> String {
    let Some(leaf) = chain.first() else { return std::future::pending().await };
    let (mut reloads, clock) = (tls.reloads(), Clock::system());
    let end = chain.iter().filter_map(|der| Facts::of(der)).map(|facts| facts.not_after).min();
    loop {
        tokio::select! {
            changed = reloads.changed() => if changed.is_err() { return "the service ends".to_owned() },
            () = tokio::time::sleep(nap(end, clock.now())) => if end.is_some_and(|end| clock.now() <= end) { continue },
        }
        if let Err(refusal) = accept(chain) {
            return format!("{refusal}; the certificate: {}", super::certificate::describe(leaf));
        }
    }
}

/// Until a second after the end, at which a certificate is still good.
fn nap(end: Option<OffsetDateTime>, now: OffsetDateTime) -> Duration {
    let left = end.map_or(time::Duration::MAX, |end| end - now + time::Duration::SECOND);
    Duration::try_from(left).unwrap_or(Duration::from_secs(1)).clamp(Duration::from_secs(1), AT_MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn naps_end_with_the_certificate_and_never_spin() {
        let now = OffsetDateTime::UNIX_EPOCH;
        for (left, nap_seconds) in [(3, 4), (59, 60), (3600, 60), (0, 1), (-100, 1)] {
            let end = now + time::Duration::seconds(left);
            assert_eq!(nap(Some(end), now), Duration::from_secs(nap_seconds), "{left} s left");
        }
        assert_eq!(nap(None, now), AT_MOST);
    }
}
