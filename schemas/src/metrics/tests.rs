//! The catalogue as a whole: each name once, spelled by its measurement and field, within the conventions.

use std::collections::BTreeSet;

use super::{Metric, PLACE, SERIES_PER_INSTANCE, SERIES_PER_SAMPLE, Type, all, named};

/// What is wrong with a metric.
fn wrong(metric: &Metric) -> Vec<String> {
    let Metric { name, measurement, field, unit, kind, labels, help, .. } = *metric;
    let own = ["millrace_", "process_"].iter().any(|prefix| name.starts_with(prefix));
    let plain = |text: &str| {
        let legal = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '_';
        text.chars().all(legal) && text.starts_with(|first: char| first.is_ascii_lowercase()) && !text.ends_with('_')
    };
    let known = own
        || [
            "mysql_global_status_",
            "mysql_global_variables_",
            "mysql_slave_status_",
            "mysql_info_schema_",
            "mysql_up",
            "mysql_version_info",
        ]
        .iter()
        .any(|prefix| name.starts_with(prefix));
    let faults = [
        (name != format!("{measurement}_{field}"), "its measurement and field do not spell it"),
        (!plain(measurement) || !plain(field), "not of small letters, digits and underscores"),
        (!known, "of no family of names that dashboards know"),
        (
            own && name.ends_with("_total") != (kind == Type::Counter),
            "a counter of ours ends in _total, and nothing else does",
        ),
        (unit == "seconds" && own && !name.contains("seconds"), "seconds are in the name"),
        (unit.is_empty(), "no unit"),
        (
            !help.ends_with('.')
                || !help.starts_with(|first: char| first.is_ascii_uppercase() || first.is_ascii_digit()),
            "the help is no sentence",
        ),
        (!labels.iter().all(|label| plain(label)), "a label of other letters"),
        (labels.iter().collect::<BTreeSet<_>>().len() != labels.len(), "a label twice"),
        (help.contains('|'), "the help would break the table of the reference page"),
    ];
    faults.into_iter().filter(|(bad, _)| *bad).map(|(_, why)| format!("{name}: {why}")).collect()
}

#[test]
fn every_metric_is_there_once_and_within_the_conventions() {
    let mut seen = BTreeSet::new();
    let twice: Vec<&str> = all().map(|metric| metric.name).filter(|name| !seen.insert(*name)).collect();
    assert_eq!(twice, [] as [&str; 0], "there twice");
    let wrong: Vec<String> = all().flat_map(wrong).collect();
    assert_eq!(wrong, [] as [String; 0]);
}

/// A store that keeps a measurement as one table has one column of each name.
#[test]
fn no_label_of_a_measurement_has_the_name_of_a_field_of_it() {
    let fields: BTreeSet<(&str, &str)> = all().map(|metric| (metric.measurement, metric.field)).collect();
    let labels = all().flat_map(|metric| metric.labels.iter().map(|label| (metric.measurement, *label)));
    let both: BTreeSet<(&str, &str)> = labels.filter(|label| fields.contains(label)).collect();
    assert_eq!(both, BTreeSet::new());
}

#[test]
fn what_is_outside_the_conventions_is_found() {
    let good = *named("millrace_bus_commits_total").expect("it is there");
    assert_eq!(wrong(&good), [] as [String; 0]);
    let check = |metric: Metric, part: &str| {
        assert!(wrong(&metric).iter().any(|why| why.contains(part)), "{part}: {:?}", wrong(&metric));
    };
    check(Metric { field: "commits", ..good }, "do not spell it");
    check(Metric { measurement: "millrace", ..good }, "do not spell it");
    check(Metric { kind: Type::Gauge, ..good }, "ends in _total");
    check(Metric { name: "commits_total", measurement: "commits", field: "total", ..good }, "of no family");
    check(Metric { field: "Commits_total", ..good }, "small letters");
    check(Metric { unit: "", ..good }, "no unit");
    check(Metric { unit: "seconds", ..good }, "seconds are in the name");
    check(Metric { help: "no sentence", ..good }, "no sentence");
    check(Metric { labels: &["a", "a"], ..good }, "a label twice");
}

#[test]
fn the_place_of_a_number_is_no_label_of_its_own() {
    let commands = named("mysql_global_status_commands_total").expect("it is there");
    assert_eq!(commands.own_labels().collect::<Vec<_>>(), ["command"]);
    assert!(all().all(|metric| metric.own_labels().all(|label| !PLACE.contains(&label))));
    const { assert!(SERIES_PER_SAMPLE < SERIES_PER_INSTANCE) };
}
