//! The reference page of all metrics, in Markdown: `deploy/metrics.md` is what this says.

use std::fmt::Write as _;

use super::{Metric, all};
use crate::flavour::Flavour;

/// The tables, one per measurement, in the order of their names.
pub fn markdown() -> String {
    let mut measurements: Vec<&str> = all().map(|metric| metric.measurement).collect();
    measurements.sort_unstable();
    measurements.dedup();
    let mut page = String::new();
    for measurement in measurements {
        let mut metrics: Vec<&Metric> = all().filter(|metric| metric.measurement == measurement).collect();
        metrics.sort_unstable_by_key(|metric| metric.name);
        let _ = writeln!(page, "## {measurement}\n\n| metric | type | unit | labels | source | what it says |");
        page.push_str("|---|---|---|---|---|---|\n");
        for metric in metrics {
            let Metric { name, unit, source, help, .. } = metric;
            let kind = metric.kind.as_str();
            let _ = writeln!(
                page,
                "| `{name}` | {kind} | {unit} | {} | {source}{} | {help} |",
                labels(metric),
                only(metric)
            );
        }
        page.push('\n');
    }
    page
}

fn labels(metric: &Metric) -> String {
    metric.labels.join(", ")
}

fn only(metric: &Metric) -> &'static str {
    match metric.only {
        Some(Flavour::MySql) => " (MySQL)",
        Some(Flavour::MariaDb) => " (MariaDB)",
        None => "",
    }
}
