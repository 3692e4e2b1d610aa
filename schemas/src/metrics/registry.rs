//! Values of catalogue metrics in a process, and their text for a scrape. Nothing that is not in the catalogue can be counted.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use super::own::CATALOGUE;
use super::series::labels as render_labels;
use super::{Metric, Type};

/// Values of catalogue metrics. Cheap enough for a count per batch; hot loops add up first.
#[derive(Debug, Default)]
pub struct Registry(Mutex<BTreeMap<&'static str, BTreeMap<Vec<String>, f64>>>);

impl Registry {
    /// An empty one.
    pub const fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    /// Adds to a counter.
    pub fn add(&self, metric: &'static Metric, labels: &[&str], by: u64) {
        debug_assert_eq!(metric.kind, Type::Counter, "{} is no counter", metric.name);
        self.with(metric, labels, |value| *value += by as f64);
    }

    /// Sets a gauge.
    pub fn set(&self, metric: &'static Metric, labels: &[&str], to: f64) {
        debug_assert_eq!(metric.kind, Type::Gauge, "{} is no gauge", metric.name);
        self.with(metric, labels, |value| *value = to);
    }

    /// Takes a gauge back that is not known any more: it is left out until it is set again.
    pub fn forget(&self, metric: &'static Metric, labels: &[&str]) {
        debug_assert_eq!(metric.kind, Type::Gauge, "{} is no gauge", metric.name);
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(series) = values.get_mut(metric.name) {
            series.retain(|given, _| given != labels);
            if series.is_empty() {
                values.remove(metric.name);
            }
        }
    }

    /// The value, zero when it was never touched.
    pub fn get(&self, metric: &'static Metric, labels: &[&str]) -> f64 {
        let mut found = 0.0;
        self.with(metric, labels, |value| found = *value);
        found
    }

    fn with(&self, metric: &'static Metric, labels: &[&str], change: impl FnOnce(&mut f64)) {
        debug_assert_eq!(labels.len(), metric.labels.len(), "{} takes {:?}", metric.name, metric.labels);
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = labels.iter().map(|label| (*label).to_owned()).collect();
        change(values.entry(metric.name).or_default().entry(key).or_insert(0.0));
    }

    /// Prometheus text exposition, version 0.0.4. Metrics without a value are left out.
    pub fn render(&self) -> String {
        let values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = String::new();
        for metric in CATALOGUE {
            let Some(series) = values.get(metric.name) else { continue };
            let kind = if metric.kind == Type::Counter { "counter" } else { "gauge" };
            let _ = writeln!(out, "# HELP {} {}\n# TYPE {} {kind}", metric.name, metric.help, metric.name);
            for (labels, value) in series {
                let _ = writeln!(out, "{}{} {value}", metric.name, render_labels(metric.labels, labels));
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::super::own::{BUS_APPENDED, EPOCH, PROCESS_MEMORY};
    use super::*;

    #[test]
    fn renders_only_what_has_a_value_and_escapes_labels() {
        let registry = Registry::new();
        registry.add(&BUS_APPENDED, &["jour\"nal"], 2);
        registry.add(&BUS_APPENDED, &["jour\"nal"], 1);
        registry.set(&PROCESS_MEMORY, &[], 7.0);
        assert_eq!(
            registry.render(),
            "# HELP millrace_bus_appended_records_total Records that this process made durable in a topic.\n\
             # TYPE millrace_bus_appended_records_total counter\n\
             millrace_bus_appended_records_total{topic=\"jour\\\"nal\"} 3\n\
             # HELP process_resident_memory_bytes Resident memory of this process.\n\
             # TYPE process_resident_memory_bytes gauge\n\
             process_resident_memory_bytes 7\n"
        );
    }

    #[test]
    fn a_gauge_that_is_forgotten_is_left_out() {
        let registry = Registry::new();
        registry.set(&EPOCH, &["c1"], 1.0);
        registry.set(&EPOCH, &["c2"], 2.0);
        registry.forget(&EPOCH, &["c1"]);
        let left = registry.render();
        assert!(left.contains("cluster=\"c2\"") && !left.contains("cluster=\"c1\""), "{left}");
        registry.forget(&EPOCH, &["c2"]);
        assert_eq!(registry.render(), "");
    }
}
