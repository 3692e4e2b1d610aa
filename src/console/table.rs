//! What a view shows, as text for a terminal of 80 columns: the busiest digests, who replicates and how late, what fires.

use std::fmt::Write as _;

use super::View;

/// Digests in the table.
const DIGESTS: usize = 8;
/// 34 characters of a text leave room for the numbers in 80 columns.
const TEXT_CHARS: usize = 34;

/// The view in lines.
pub fn table(view: &View) -> String {
    let mut text = format!(
        "\n  {:<TEXT_CHARS$} {:>6} {:>7} {:>7} {:>7} {:>5}\n",
        "digest", "QPS", "p50 ms", "p99 ms", "rows/s", "err/s"
    );
    for digest in view.top_digests(DIGESTS) {
        let shown: String = digest.text.chars().take(TEXT_CHARS).collect();
        let _ = writeln!(
            text,
            "  {shown:<TEXT_CHARS$} {:>6.1} {:>7.2} {:>7.2} {:>7.1} {:>5.1}",
            digest.per_second,
            digest.p50_us as f64 / 1e3,
            digest.p99_us as f64 / 1e3,
            digest.rows_per_second,
            digest.errors_per_second
        );
    }
    for replica in view.replicas() {
        let delay = replica.delay_us.map_or("-".to_owned(), |delay| format!("{:.0} ms behind", delay as f64 / 1e3));
        let _ = writeln!(
            text,
            "  {:<8} {:<12} {:<14} {}",
            replica.instance.to_string(),
            replica.role,
            delay,
            replica.health
        );
    }
    let alerts = view.alerts();
    if alerts.is_empty() {
        text.push_str("  alerts: none");
    }
    let (quiet, told): (Vec<_>, Vec<_>) = alerts.into_iter().partition(|alert| alert.quiet.is_some());
    for alert in told {
        let _ = write!(text, "  alert: {} {}", alert.name, alert.summary);
    }
    if !quiet.is_empty() {
        let _ = write!(text, "  quiet alerts: {}", quiet.len());
    }
    text
}
