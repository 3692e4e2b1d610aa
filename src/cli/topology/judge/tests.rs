//! What is broken is called so, and what is not known is never called healthy.

use millrace_mysql::Flavour;
use millrace_mysql::status::source::AttachedReplicas;

use super::super::samples::{first, fleet, node, place, replica, source};
use super::*;

/// Judges `nodes` and compares how many problems, unknowns and notes there are.
fn check(nodes: &[Node], expected: [usize; 3]) -> Report {
    let report = report(&place("a"), nodes, 0);
    let found = [report.problems.len(), report.unknown.len(), report.notes.len()];
    assert_eq!(found, expected, "{report:#?}");
    assert_eq!(report.healthy, expected[..2] == [0, 0]);
    report
}

fn pair() -> Vec<Node> {
    vec![node("a", source(1, 3306)), node("b", replica(2, 3306, "a", 3306))]
}

fn status(node: &mut Node) -> &mut Seen {
    node.answer.as_mut().expect("it answered")
}

#[test]
fn a_healthy_pair_is_healthy() {
    let report = check(&pair(), [0, 0, 0]);
    assert_eq!((report.servers[0].role, report.servers[1].role), ("primary", "replica"));
    assert_eq!((report.servers[1].channels[0].missing, report.servers[1].channels[0].extra), (Some(0), Some(0)));
}

#[test]
fn a_silent_server_is_unknown() {
    let report = check(&fleet(), [0, 1, 0]);
    assert_eq!(report.servers[1].channels[0].missing, Some(1));
    assert_eq!(report.servers[2].parents, [0]);
}

#[test]
fn replicas_that_may_not_be_listed_are_unknown() {
    let mut nodes = pair();
    status(&mut nodes[0]).status.source.attached =
        AttachedReplicas::Denied { why: "you need REPLICATION SLAVE".into() };
    let report = check(&nodes, [0, 1, 0]);
    let expected = "a:3306: the replicas attached to it are not known: you need REPLICATION SLAVE";
    assert_eq!(report.unknown, [expected]);
}

#[test]
fn transactions_that_the_source_never_had_are_errant() {
    let mut nodes = pair();
    status(&mut nodes[1]).status.source.executed = first(11);
    let report = check(&nodes, [1, 0, 0]);
    assert!(report.problems[0].contains("2 errant") && report.problems[0].contains(":10-11"), "{report:#?}");
}

#[test]
fn what_the_source_wrote_while_others_were_asked_is_not_errant() {
    let mut nodes = pair();
    status(&mut nodes[1]).status.source.executed = first(11);
    status(&mut nodes[0]).confirmed = Some(first(12));
    check(&nodes, [0, 0, 0]);
    // Without the second answer nothing can be said.
    status(&mut nodes[0]).confirmed = None;
    check(&nodes, [0, 1, 0]);
}

#[test]
fn equal_numbers_of_mariadb_that_two_servers_gave_out_are_errant() {
    let set = |text| GtidSet::parse(Flavour::MariaDb, text).unwrap();
    let mut nodes = pair();
    for (node, state) in nodes.iter_mut().zip(["0-1-7", "0-1-6,0-2-7"]) {
        let seen = status(node);
        seen.status.server.dialect.flavour = Flavour::MariaDb;
        seen.status.source.executed = set(state);
        seen.status.source.binlog_state = Some(set(state));
        seen.confirmed = Some(set(state));
    }
    let report = check(&nodes, [1, 0, 0]);
    // Who wrote 1 to 6 cannot be told; that server 2 wrote a 7 of its own is certain.
    assert!(report.problems[0].contains("at least 1 errant") && report.problems[0].contains("0-2-7"), "{report:#?}");
}

#[test]
fn a_broken_thread_is_told_with_its_error_and_without_its_line_ends() {
    let mut nodes = pair();
    let channel = &mut status(&mut nodes[1]).status.channels[0];
    channel.applier_running = false;
    channel.applier_error = Some(ThreadError { code: 1062, message: "Duplicate\n\u{1b}[31mentry".into() });
    let report = check(&nodes, [1, 0, 0]);
    assert!(report.problems[0].ends_with("(applier: error 1062: Duplicate [31mentry)"), "{report:#?}");
}

#[test]
fn two_open_servers_of_one_set_are_two_too_many() {
    let mut nodes = pair();
    let server = &mut status(&mut nodes[1]).status.server;
    (server.read_only, server.super_read_only) = (false, Some(false));
    let report = check(&nodes, [1, 0, 0]);
    assert!(report.problems[0].contains("a:3306, b:3306"), "{report:#?}");
    // Of two sets each may have one.
    check(&[node("a", source(1, 3306)), node("b", source(2, 3306))], [0, 0, 0]);
}

#[test]
fn a_set_without_an_open_server_is_a_problem() {
    let mut nodes = pair();
    status(&mut nodes[0]).status.server.read_only = true;
    check(&nodes, [1, 0, 0]);
}

#[test]
fn positions_without_gtids_are_unknown() {
    let mut nodes = pair();
    status(&mut nodes[0]).status.server.gtid_mode = Some("OFF".into());
    let report = check(&nodes, [0, 1, 0]);
    assert_eq!(report.servers[1].channels[0].missing, None);
}

#[test]
fn servers_of_two_families_are_not_compared() {
    let mut nodes = pair();
    let seen = status(&mut nodes[0]);
    seen.status.server.dialect.flavour = Flavour::MariaDb;
    let set = GtidSet::parse(Flavour::MariaDb, "0-1-9").unwrap();
    (seen.status.source.executed, seen.confirmed) = (set.clone(), Some(set));
    check(&nodes, [0, 1, 0]);
}

#[test]
fn a_source_that_answers_as_another_server_is_not_taken_for_it() {
    let mut nodes = pair();
    status(&mut nodes[1]).status.channels[0].source_server_id = Some(77);
    let report = report(&place("a"), &nodes, 0);
    assert!(report.unknown.iter().any(|why| why.contains("its source is 77")), "{report:#?}");
    assert!(report.servers[1].parents.is_empty());
}

#[test]
fn a_ring_is_noted_and_drawn_once() {
    let mut nodes = vec![node("a", replica(1, 3306, "b", 3306)), node("b", replica(2, 3306, "a", 3306))];
    let server = &mut status(&mut nodes[0]).status.server;
    (server.read_only, server.super_read_only) = (false, Some(false));
    let report = check(&nodes, [0, 0, 1]);
    let text = super::super::view::text(&report);
    assert_eq!(text.matches("drawn above").count(), 1, "{text}");
}

#[test]
fn a_lag_that_the_server_does_not_know_is_unknown() {
    let mut nodes = pair();
    status(&mut nodes[1]).status.channels[0].seconds_behind = None;
    check(&nodes, [0, 1, 0]);
}

#[test]
fn the_answer_begins_with_its_version() {
    let text = serde_json::to_string(&check(&pair(), [0, 0, 0])).unwrap();
    assert!(text.starts_with("{\"schema_version\":1,"), "{text}");
}
