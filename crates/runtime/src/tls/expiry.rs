//! Tells in time that our own certificate, or an authority that we trust, comes to its end: by a metric, and in the log.

use std::fmt;

use time::{Duration, OffsetDateTime};

use super::certificate::Facts;

const REMAINING: &str = "tls_certificate_remaining_seconds";

/// How a certificate stands to the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    NotYet,
    Good,
    /// Less than a third of its life is left: whatever renews certificates should have done so.
    Ending,
    Over,
}

fn standing(facts: &Facts, now: OffsetDateTime) -> Standing {
    if now > facts.not_after {
        Standing::Over
    } else if now < facts.not_before {
        Standing::NotYet
    } else if facts.not_after - now < (facts.not_after - facts.not_before) / 3 {
        Standing::Ending
    } else {
        Standing::Good
    }
}

/// Which certificate.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Own,
    /// The one of the trusted authorities that ends first.
    Authority,
}

impl Kind {
    fn label(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Authority => "authority",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Own => "our own certificate",
            Self::Authority => "the certificate of a trusted authority",
        })
    }
}

/// What was told last of one certificate: nothing is told twice in a day.
#[derive(Debug)]
pub(super) struct Expiry {
    kind: Kind,
    told: Option<(Facts, Standing, i64)>,
}

impl Expiry {
    pub(super) fn new(kind: Kind) -> Self {
        metrics::describe_gauge!(
            REMAINING,
            "Seconds until a certificate ends (negative: since it has): our own, and that of the trusted authority that ends first"
        );
        Self { kind, told: None }
    }

    /// One look at the certificate.
    pub(super) fn look(&mut self, facts: &Facts, now: OffsetDateTime) {
        let left = facts.not_after - now;
        metrics::gauge!(REMAINING, "certificate" => self.kind.label()).set(left.as_seconds_f64());
        let news =
            (facts.clone(), standing(facts, now), now.unix_timestamp() / Duration::DAY.whole_seconds());
        if self.told.as_ref() != Some(&news) {
            tell(self.kind, facts, news.1, left);
            self.told = Some(news);
        }
    }
}

fn tell(kind: Kind, facts: &Facts, standing: Standing, left: Duration) {
    let (certificate, days) = (facts.to_string(), left.whole_days());
    match standing {
        Standing::Good => {}
        Standing::Ending => {
            let seconds = left.whole_seconds();
            tracing::warn!(
                certificate,
                seconds,
                "{kind} ends in {days} days: renew it; its file is read again when it changes"
            );
        }
        Standing::Over => {
            tracing::error!(
                certificate,
                "{kind} has expired: renew it; its file is read again when it changes"
            );
        }
        Standing::NotYet => {
            tracing::error!(certificate, "{kind} is not valid yet: is the clock right?");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Authority;

    #[test]
    fn the_last_third_of_a_life_is_its_end() {
        let born = OffsetDateTime::UNIX_EPOCH + Duration::days(1000);
        let issued = Authority::new().issue_between(&[], born, born + Duration::days(90));
        let facts = Facts::of(&issued.der).unwrap();
        for (days, expected) in [
            (-1, Standing::NotYet),
            (0, Standing::Good),
            (59, Standing::Good),
            (61, Standing::Ending),
            (90, Standing::Ending),
            (91, Standing::Over),
        ] {
            assert_eq!(standing(&facts, born + Duration::days(days)), expected, "after {days} days");
        }
    }
}
