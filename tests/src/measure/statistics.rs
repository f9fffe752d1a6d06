//! Medians with their spread, and percentiles.

use std::{fmt, time::Duration};

/// Several measurements of one thing.
#[derive(Debug, Clone, Default)]
pub struct Sample(Vec<f64>);

impl Sample {
    /// Nothing measured yet.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// One measurement more.
    pub fn add(&mut self, value: f64) {
        self.0.push(value);
    }

    /// One measurement more, in seconds.
    pub fn add_time(&mut self, time: Duration) {
        self.add(time.as_secs_f64());
    }

    /// The value that so much of the sample is not above (nearest rank); 0 for nothing.
    pub fn percentile(&self, percent: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a rank in a small sample"
        )]
        let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }

    /// The value in the middle.
    pub fn median(&self) -> f64 {
        self.percentile(50.0)
    }

    /// All of another sample as well.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// `p50 and p99` in milliseconds.
    pub fn milliseconds(&self) -> String {
        let (p50, p99) = (self.percentile(50.0) * 1000.0, self.percentile(99.0) * 1000.0);
        format!("p50 {p50:.0} ms, p99 {p99:.0} ms ({} samples)", self.0.len())
    }
}

/// Median, and smallest to largest.
impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = if self.median() >= 100.0 { 0 } else { 2 };
        let (least, most) = (self.percentile(0.0), self.percentile(100.0));
        write!(f, "{:.decimals$} ({least:.decimals$} to {most:.decimals$})", self.median())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_of_the_sample() {
        let mut sample = Sample::default();
        (1..=100).rev().for_each(|value| sample.add(f64::from(value)));
        for (percent, value) in [(0.0, 1.0), (50.0, 50.0), (99.0, 99.0), (100.0, 100.0)] {
            assert!((sample.percentile(percent) - value).abs() < f64::EPSILON, "{percent}");
        }
        assert!(Sample::default().median().abs() < f64::EPSILON);
    }
}
