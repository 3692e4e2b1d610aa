//! The words about a failover: why it was, why there was none before, and what is said of the unknown.

use super::*;
use crate::journal::appended;
use crate::journal::story::{Story, T0};

fn ask(story: &Story, what: &str, at: Option<Timestamp>) -> anyhow::Result<Why> {
    why(appended(&story.shared()).unwrap(), what, at)
}

#[test]
fn an_action_is_explained_with_its_facts_and_steps() {
    let story = Story::failover();
    let action = story.actions[0].id;
    let why = ask(&story, &action.to_string(), None).unwrap();
    assert_eq!(why.explanation.sentence, "db1 exited on signal 9 and is held down by its guard");
    let line = why.action.as_ref().unwrap();
    assert_eq!((line.kind.as_str(), line.outcome.as_deref()), ("fail-over", Some("done, primary db2")));
    let steps: Vec<(u32, &str)> = why.steps.iter().map(|step| (step.number, step.step.as_str())).collect();
    assert_eq!(steps, [(0, "fence"), (1, "stop-receiver"), (2, "promote")]);
    let last: Vec<&str> = why.facts.iter().rev().take(3).map(|fact| fact.text.as_str()).collect();
    assert_eq!(last[0], "the fleet permitted epoch 1: 1 of 3 in 10 minutes");
    assert!(last[1].starts_with("c1 asked the fleet for a permit for epoch 1, because db1 exited"), "{}", last[1]);
    assert!(last[2].contains("exited on signal 9"), "{}", last[2]);
    let text = why.to_string();
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(text.contains("stop-receiver on db2: done, 24 ms"), "{text}");
}

#[test]
fn before_the_crash_it_says_why_there_is_no_failover() {
    let why = ask(&Story::failover(), "c1", Some(Timestamp(T0 + 10_000_000))).unwrap();
    assert_eq!(why.explanation.therefore, "no failover, because the primary is fine");
    assert_eq!((why.action, why.steps.len()), (None, 0));
    assert_eq!(why.facts.iter().filter(|fact| fact.instance.is_some()).count(), 3);
}

#[test]
fn json_begins_with_its_version() {
    let json = serde_json::to_string(&ask(&Story::failover(), "c1", None).unwrap()).unwrap();
    assert!(json.starts_with("{\"schema_version\":1,"), "{json}");
}

#[test]
fn what_is_not_there_is_named_with_what_is() {
    let story = Story::failover();
    let check = |what: &str, expected: &str| {
        let error = ask(&story, what, None).unwrap_err().to_string();
        assert!(error.contains(expected), "{what}: {error}");
    };
    check("c2", "it speaks of the clusters: c1");
    check(&EventId::derive(&["nothing"]).to_string(), "nothing in the journal is about");
    check("No Id", "is not a cluster id");
}
