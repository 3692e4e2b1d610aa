//! What scores cost on one core: values of many series, one of each in turn, as windows of ten seconds bring them.
//! `cargo bench -p millrace-processors --bench anomaly`; with `--test` only a few series.

#![allow(clippy::print_stdout)] // the numbers are what it is for

use std::time::Instant;

use millrace_processors::anomaly::Scorer;
use millrace_schemas::time::Timestamp;

/// As many series as a fleet of 50 instances with 2,000 digests has.
const SERIES: usize = 100_000;
/// Twelve windows: two minutes.
const WINDOWS: usize = 12;
const WINDOW_SECONDS: i64 = 10;

fn main() {
    let series = if std::env::args().any(|argument| argument == "--test") { 100 } else { SERIES };
    let mut scorers = vec![Scorer::default(); series];
    let mut dice = 1_u64;
    let (mut most, mut sum) = (0.0_f64, 0.0);
    for window in 0..WINDOWS {
        let at = Timestamp((1_793_577_600 + window as i64 * WINDOW_SECONDS) * 1_000_000);
        let begun = Instant::now();
        for scorer in &mut scorers {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            sum += scorer.observe(at, 100.0 + (dice >> 40) as f64 / 1e6).score;
        }
        most = most.max(begun.elapsed().as_secs_f64());
    }
    println!(
        "{series} series, {} bytes each: the slowest window took {:.0} ms (scores sum to {sum:.3})",
        size_of::<Scorer>(),
        most * 1e3
    );
}
