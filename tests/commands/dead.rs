//! `millrace dead` as an operator uses it, while the processors run: what they cannot read is listed and shown as it was, what is
//! readable by now is folded when it is replayed, and what was refused stays where it is.

use std::time::{Duration, Instant};

use millrace::roles::process::dead;
use millrace_schemas::event::{Event, Subject};
use millrace_schemas::ids::{ClusterId, EventId};
use millrace_schemas::marks::Sequence;
use millrace_schemas::record::{NewRecord, Record};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::examples;
use millrace_schemas::topics::journal::{Command, Fact};
use serde_json::Value;

use super::world::World;
use crate::real::site::PATIENCE;

/// No event, and no text.
const POISON: &[u8] = b"{\"not\": \"an event\"}";
const BYTES: &[u8] = &[0, 159, 146, 150, b'\n', b'a'];

fn poisoned(world: &World) -> Vec<Record> {
    world.has(Topic::Journal).into_iter().filter(|record| record.value.as_deref() == Some(POISON)).collect()
}

fn enrolment() -> NewRecord {
    let cluster = ClusterId::parse("c1").expect("legal");
    Event {
        id: EventId::derive(&["dead"]),
        source: "operator/test".to_owned(),
        sequence: Sequence { incarnation: 1, counter: 0 },
        at: Timestamp(1),
        appended: Timestamp::ZERO,
        subject: Subject::cluster(cluster),
        cause: None,
        payload: Fact::Command(Command::Enrol(Box::new(examples::spec()))),
    }
    .to_record()
}

/// A letter as `stage` would have left it.
fn letter(new: NewRecord, stage: &str, reason: &str) -> NewRecord {
    dead(&new.stored(0, 7, Timestamp(1)), stage, reason)
}

#[test]
fn what_cannot_be_read_is_listed_shown_and_replayed() {
    let world = World::new();
    world.check(&["dead", "list"], 0, "nothing is in dead");
    world.append(Topic::Journal, "shop", POISON);
    world.died(1);
    world.append(Topic::Queries, "db1", BYTES);
    world.died(2);

    let listed = world.check(&["dead", "list"], 0, "journal 0-0  failover");
    assert!(listed.lines().count() == 3 && listed.lines().all(|line| line.chars().count() <= 80), "{listed}");
    let listed: Value = serde_json::from_str(&world.check(&["dead", "list", "-o", "json"], 0, "")).expect("JSON");
    let letters = &listed["letters"];
    assert_eq!((&listed["schema_version"], &letters[0]["place"]), (&Value::from(1), &Value::from("0-0")));
    assert_eq!((&letters[1]["topic"], &letters[1]["bytes"]), (&Value::from("queries"), &Value::from(BYTES.len())));
    let only = world.check(&["dead", "list", "--topic", "queries"], 0, "queries 0-0  windows");
    assert!(!only.contains("journal"), "{only}");
    world.check(&["dead", "list", "--limit", "1"], 0, "1 older left out");

    world.check(&["dead", "show", "0-0"], 0, "{\"not\": \"an event\"}");
    world.check(&["dead", "show", "0-0"], 0, "  from: a test\n");
    world.check(&["dead", "show", "0-1"], 0, "00000000  00 9f 92 96 0a 61  ");
    for (place, bytes) in [("0-0", POISON), ("0-1", BYTES)] {
        let raw = world.run(&["dead", "show", place, "--raw"]);
        assert_eq!(raw.stdout, bytes, "{place}");
    }
    let shown: Value = serde_json::from_str(&world.check(&["dead", "show", "0-1", "-o", "json"], 0, "")).expect("JSON");
    assert_eq!((&shown["value"], &shown["value_base64"]), (&Value::Null, &Value::from("AJ+Slgph")));
    world.check(&["dead", "show", "0-99"], 1, "there is no record 0-99");
    world.check(&["dead", "show", "17"], 2, "PARTITION-OFFSET");

    world.check(&["dead", "replay", "0-0", "--dry-run"], 0, "0-0 would go to journal");
    world.check(&["dead", "replay", "0-0"], 2, "no terminal to ask on");
    assert_eq!(poisoned(&world).len(), 1, "nothing was changed");
    world.check(&["dead", "replay", "0-0", "--yes"], 0, "judge a replayed record late");
    world.died(3);
    let [before, again] = &poisoned(&world)[..] else { panic!("{:?}", poisoned(&world)) };
    assert_eq!((&before.key, &before.headers), (&again.key, &again.headers), "as it was");
    let both =
        world.check(&["dead", "replay", "--all", "--topic", "journal", "--dry-run"], 0, "1 record would be replayed");
    assert!(both.contains("1 more say the same"), "{both}");
}

#[test]
fn what_is_readable_now_is_folded_and_what_was_refused_stays() {
    let world = World::new();
    let listed = || String::from_utf8_lossy(&world.run(&["cluster", "list"]).stdout).into_owned();
    let [now_known, refused] = [("failover", "the kind is not known"), ("refusals", "it is not signed")]
        .map(|(stage, reason)| letter(enrolment(), stage, reason));
    let mut empty = now_known.clone();
    empty.value = None;
    world.bus.append(vec![refused, empty, now_known]).wait().expect("they are there");
    world.check(&["dead", "replay", "0-0", "--yes"], 4, "it was refused, and would be again: it is not signed");
    world.check(&["dead", "replay", "0-1", "--yes"], 4, "it has no value");
    world.check(&["dead", "show", "0-1"], 0, "no value");
    assert!(!listed().contains("c1"), "{}", listed());
    // Two of them stay: that is a negative answer, and the third is replayed.
    let told: Value =
        serde_json::from_str(&world.check(&["dead", "replay", "--all", "--yes", "-o", "json"], 1, "")).expect("JSON");
    assert_eq!(
        (&told["replayed"][0]["place"], &told["refused"][1]["place"]),
        (&Value::from("0-2"), &Value::from("0-1"))
    );
    let until = Instant::now() + PATIENCE;
    while !listed().contains("c1") {
        assert!(Instant::now() < until, "it was not folded: {}", listed());
        std::thread::sleep(Duration::from_millis(50));
    }
}
