//! The architecture invariants, from `cargo metadata` and source text. Each rule is a function over text that returns what
//! breaks it, so that each is itself tested on text that does.

mod dependencies;
mod rules;
mod source;

use source::{Source, tree};

/// Asserts that a rule found nothing.
fn holds(rule: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

fn own_code() -> Vec<Source> {
    tree().into_iter().filter(|one| !one.is_test()).collect()
}

#[test]
fn drivers_live_in_one_place_each() {
    let code = own_code();
    holds("rdkafka only under src/bus/kafka", &rules::only_in(&code, "rdkafka", &["src/bus/kafka"], usize::MAX));
    holds("rusqlite only in src/bus/local", &rules::only_in(&code, "rusqlite", &["src/bus/local"], usize::MAX));
    holds("influxdb2 in one file of sinks", &rules::only_in(&code, "influxdb2", &["sinks/src/"], 1));
    holds("object_store in one file of sinks", &rules::only_in(&code, "object_store", &["sinks/src/lake/place.rs"], 1));
    holds("pcap in one file of collectors", &rules::only_in(&code, "pcap", &["collectors/src/wire/tap.rs"], 1));
    holds("sqlparser in one file of processors", &rules::only_in(&code, "sqlparser", &["processors/src/"], 1));
}

#[test]
fn the_pure_crates_read_no_clock_and_do_no_io() {
    let pure: Vec<Source> = own_code()
        .into_iter()
        .filter(|one| one.path.starts_with("schemas/") || one.path.starts_with("processors/"))
        .collect();
    assert!(pure.len() > 20, "the pure crates were not found");
    holds("time, randomness and order are inputs", &rules::impure(&pure));
}

#[test]
fn only_hands_and_guard_change_servers() {
    let code = own_code();
    holds("only hands and guard change servers", &rules::changes_servers(&code));
    holds("collectors write Millrace's own schema only", &rules::foreign_writes(&code));
}

#[test]
fn every_file_says_what_it_is_and_fits_in_a_head() {
    let all = tree();
    assert!(all.len() > 60, "the tree was not found: {} files", all.len());
    holds("every file opens with //!", &rules::without_head(&all));
    holds("files of at most 500 lines", &rules::too_long(&own_code()));
    holds("functions of at most 70 lines", &rules::long_functions(&own_code()));
}

#[test]
fn nothing_is_left_for_later_and_nothing_panics_silently() {
    holds("no TODO without an issue number", &rules::todos(&tree()));
    holds("no unwrap outside tests", &rules::unwraps(&own_code()));
}

#[test]
fn every_metric_of_the_catalogue_is_counted_somewhere() {
    let code = own_code();
    for file in ["own", "host", "statements"] {
        let path = format!("schemas/src/metrics/{file}.rs");
        let catalogue = code.iter().find(|one| one.path == path).expect("the catalogue is there");
        holds("a metric that nothing sets is a promise that nobody keeps", &rules::unused_metrics(catalogue, &code));
    }
}

#[test]
fn no_crate_has_features_of_its_own() {
    let manifests = source::manifests();
    assert!(manifests.len() >= 7, "the manifests were not found");
    holds("the config file turns things on", &rules::features(&manifests));
}

#[test]
fn floors_depend_downwards_only() {
    let graph = dependencies::Graph::read();
    holds("floors depend downwards only", &graph.sideways());
    for pure in ["millrace-schemas", "millrace-processors"] {
        let barred = ["tokio", "rdkafka", "mysql_async", "rand", "fastrand", "reqwest", "rusqlite", "pcap", "rustix"];
        holds("the pure crates stay pure", &graph.reaches(pure, &barred));
    }
}

#[test]
fn the_invariants_are_written_down() {
    let text = std::fs::read_to_string(source::root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md is there");
    let lines = text.lines().filter(|line| line.contains("Architecture invariant:")).count();
    assert!(lines >= 4, "ARCHITECTURE.md names {lines} invariants; the four of the design are expected");
}
