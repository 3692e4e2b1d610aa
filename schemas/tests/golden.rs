//! The promise to old readers: a JSON Schema per topic and a golden sample per kind. Every sample ever released must still be
//! read; a schema that changes shows up as a diff of its file. `MILLRACE_GOLDEN=write cargo test -p millrace-schemas` renews
//! schemas and adds samples of new kinds; samples that are there are never overwritten.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use millrace_schemas::event::{Event, Payload, Subject, Unreadable};
use millrace_schemas::ids::{ClusterId, EventId, InstanceId};
use millrace_schemas::marks::Sequence;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::{actions, alerts, digests, inventory, journal, routes, samples, slow_queries};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/golden")
}

fn writing() -> bool {
    std::env::var("MILLRACE_GOLDEN").is_ok_and(|v| v == "write")
}

fn event<P>(payload: P) -> Event<P> {
    let cluster = ClusterId::parse("c1").expect("legal");
    Event {
        id: EventId::derive(&["golden"]),
        source: "agent/h2".to_owned(),
        sequence: Sequence { incarnation: 3, counter: 17 },
        at: Timestamp(1_700_000_000_000_000),
        appended: Timestamp::ZERO,
        subject: Subject::instance(cluster, InstanceId::parse("db2").expect("legal")),
        cause: Some(EventId::derive(&["golden cause"])),
        payload,
    }
}

/// The kind, and what tells samples of one kind apart (`do` of actions and steps, for instance).
fn sample_name(json: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(json).expect("JSON");
    let kind = value["type"].as_str().expect("a type").to_owned();
    let data = &value["data"];
    let variant = [&data["kind"]["do"], &data["step"]["do"], &data["command"]].into_iter().find_map(|v| v.as_str());
    variant.map_or(kind.clone(), |variant| format!("{kind}.{variant}"))
}

fn check<P: Payload + Clone + PartialEq + std::fmt::Debug>(payloads: Vec<P>) {
    let topic = P::TOPIC.name();
    let schema = serde_json::to_string_pretty(&schemars::schema_for!(P)).expect("JSON") + "\n";
    let schema_file = folder().join(format!("{topic}.schema.json"));
    if writing() {
        fs::write(&schema_file, &schema).expect("writable");
    }
    let known = fs::read_to_string(&schema_file).unwrap_or_default();
    assert_eq!(
        known, schema,
        "the schema of {topic} changed: run with MILLRACE_GOLDEN=write and note it in CHANGELOG.md"
    );

    let mut kinds = BTreeSet::new();
    for payload in payloads {
        let event = event(payload);
        let json = event.to_json();
        assert_eq!(Event::<P>::from_json(json.as_bytes(), false).as_ref(), Ok(&event), "{json}");
        let name = sample_name(&json);
        kinds.insert(P::KINDS.iter().find(|kind| name.starts_with(**kind)).copied().expect("its kind is in KINDS"));
        let file = folder().join(format!("{topic}.{name}.json"));
        if writing() && !file.exists() {
            let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
            fs::write(&file, serde_json::to_string_pretty(&value).expect("JSON") + "\n").expect("writable");
        }
        assert!(file.exists(), "{} is missing: a kind without a golden sample", file.display());
    }
    assert_eq!(kinds.len(), P::KINDS.len(), "{topic}: every kind needs a sample, and every sample a kind");
    read_all::<P>(topic);
}

/// Reads every sample of the topic that was ever released.
fn read_all<P: Payload>(topic: &str) {
    for file in fs::read_dir(folder()).expect("the golden folder").flatten() {
        let name = file.file_name().to_string_lossy().into_owned();
        if name.starts_with(&format!("{topic}.millrace.")) {
            let bytes = fs::read(file.path()).expect("readable");
            if let Err(error) = Event::<P>::from_json(&bytes, true) {
                panic!("{name}: {error}");
            }
        }
    }
}

#[test]
fn every_topic_has_its_schema_and_reads_every_sample_ever_released() {
    check::<journal::Fact>(samples::facts());
    check::<actions::Order>(samples::orders());
    check::<alerts::Notice>(samples::notices());
    check::<routes::Routing>(samples::routings());
    check::<inventory::Item>(samples::items());
    check::<digests::Entry>(samples::entries());
    check::<slow_queries::Slow>(samples::slow());
}

#[test]
fn what_cannot_be_read_is_one_of_three_cases() {
    let good = event(journal::Fact::Tick {}).to_json();
    let check = |json: &str, evidence, expected: fn(&Unreadable) -> bool| {
        let error = Event::<journal::Fact>::from_json(json.as_bytes(), evidence).expect_err(json);
        assert!(expected(&error), "{json}: {error}");
    };
    check("garbage", false, |e| matches!(e, Unreadable::Malformed(_)));
    check(&good.replace("\"1.0\"", "\"2.0\""), false, |e| matches!(e, Unreadable::Malformed(_)));
    check(&good.replace("c1/db2", "C 1"), false, |e| matches!(e, Unreadable::Malformed(_)));
    check(&good.replace("tick.v1", "tock.v9"), false, |e| matches!(e, Unreadable::UnknownKind(_)));
    check(&good.replace("tick.v1", "tock.v9"), true, |e| matches!(e, Unreadable::UnknownEvidence(_)));
}

#[test]
fn a_heartbeat_with_its_headers_fits_the_journal_budget() {
    let heartbeat = samples::facts().into_iter().next().expect("the first sample is a heartbeat");
    let record = event(heartbeat).to_record();
    let headers: usize = record.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    let bytes = record.value.expect("a value").len() + record.key.len() + headers;
    assert!(bytes <= 1_500, "{bytes} bytes: the journal may grow by 1.5 KB per instance and second");
}
