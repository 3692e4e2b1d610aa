//! The promise to old readers: a JSON Schema per topic and a golden sample per kind; for the two topics of Arrow batches their
//! columns, and a batch. Every sample ever released must still be
//! read; a schema that changes shows up as a diff of its file. `MILLRACE_GOLDEN=write cargo test -p millrace-schemas` renews
//! schemas and adds samples of new kinds; samples that are there are never overwritten.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use arrow::datatypes::Schema;
use millrace_schemas::event::{Event, Payload, Subject, Unreadable};
use millrace_schemas::flavour::Flavour;
use millrace_schemas::gtid::GtidSet;
use millrace_schemas::ids::{ClusterId, EventId, InstanceId};
use millrace_schemas::marks::Sequence;
use millrace_schemas::profile::{Profile, SCHEMA_VERSION};
use millrace_schemas::signing::{SIGNATURE, Signer};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::journal::Fact;
use millrace_schemas::topics::{actions, alerts, digests, examples, inventory, journal, routes, samples, slow_queries};
use millrace_schemas::topics::{queries, windows};

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
    let tags = [&data["kind"]["do"], &data["step"]["do"], &data["command"], &data["word"]];
    let variant = tags.into_iter().find_map(|v| v.as_str());
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

/// The words of operators are kinds of their own within `millrace.command.v1`.
fn every_command_has_its_sample() {
    for command in ["create-cluster", "enrol", "set-mode", "approve"] {
        let file = folder().join(format!("journal.millrace.command.v1.{command}.json"));
        assert!(file.exists(), "{} is missing", file.display());
    }
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
    check::<journal::Fact>(examples::facts());
    check::<actions::Order>(examples::orders());
    check::<alerts::Notice>(examples::notices());
    check::<routes::Routing>(examples::routings());
    check::<inventory::Item>(examples::items());
    check::<digests::Entry>(examples::entries());
    check::<slow_queries::Slow>(examples::slow());
    check::<samples::Taken>(examples::taken());
    every_command_has_its_sample();
}

/// A topic of Arrow batches: its columns, every batch ever released, and that the newest is what is written today.
fn check_batches<R>(topic: &str, schema: &Schema, bytes: &[u8], decode: impl Fn(&[u8]) -> Vec<R>, rows: usize) {
    let mut columns = String::new();
    for field in schema.fields() {
        let null = if field.is_nullable() { ", or null" } else { "" };
        let _ = writeln!(columns, "{}: {}{null}", field.name(), field.data_type());
    }
    let file = folder().join(format!("{topic}.columns.txt"));
    if writing() {
        fs::write(&file, &columns).expect("writable");
    }
    let known = fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(known, columns, "the columns of {topic} changed: MILLRACE_GOLDEN=write, and note it in CHANGELOG.md");

    let released = |number: usize| folder().join(format!("{topic}.{number}.arrow"));
    let mut count = 0;
    while released(count + 1).exists() {
        count += 1;
    }
    let newest = fs::read(released(count)).unwrap_or_default();
    if writing() && newest != bytes {
        fs::write(released(count + 1), bytes).expect("writable");
    } else {
        assert!(newest == bytes, "{topic} is written differently: MILLRACE_GOLDEN=write adds a batch");
    }
    for number in 1..=count {
        let read = decode(&fs::read(released(number)).expect("readable"));
        assert_eq!(read.len(), rows, "{topic}.{number}.arrow");
    }
}

#[test]
fn every_batch_ever_released_is_still_read() {
    let (rows, seen) = (examples::rows(), examples::windows());
    let read = |bytes: &[u8]| {
        let read = queries::decode(bytes).expect("a released batch");
        // Columns that came later are not asked for.
        let key = |row: &queries::Row| (row.second, row.instance.clone(), row.digest, row.count, row.rt_last.clone());
        assert!(read.iter().map(key).eq(rows.iter().map(key)), "{read:?}");
        read
    };
    check_batches("queries", &queries::schema(), &queries::encode(&rows).expect("encodes"), read, rows.len());
    let read = |bytes: &[u8]| {
        let read = windows::decode(bytes).expect("a released batch");
        let key = |window: &windows::Window| (window.start(), window.width_seconds, window.revision, window.closed);
        assert!(read.iter().map(key).eq(seen.iter().map(key)), "{read:?}");
        read
    };
    check_batches("windows", &windows::schema(), &windows::encode(&seen).expect("encodes"), read, seen.len());
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

/// What Kafka adds to a record at most: lengths, and how its offset and time differ from its batch's.
const RECORD_FRAME_BYTES: usize = 21;

/// As large as a heartbeat is in health: of a replica whose names are of 32 characters, with as many executed transactions as it
/// may carry, signed.
#[test]
fn a_signed_heartbeat_with_its_headers_fits_the_journal_budget() {
    let name = "a-name-of-thirty-two-characters0";
    let Some(Fact::Heartbeat(mut heartbeat)) = examples::facts().into_iter().next() else {
        panic!("the first sample is a heartbeat")
    };
    heartbeat.host = name.parse().expect("legal");
    let server = heartbeat.server.as_mut().expect("it answers");
    let domains: Vec<String> = (0..28).map(|domain| format!("{domain}-1-10000000")).collect();
    server.executed = Some(GtidSet::parse(Flavour::MariaDb, &domains.join(",")).expect("legal"));
    let executed = server.executed.as_ref().expect("just set").to_string();
    assert!((360..=400).contains(&executed.len()), "{} bytes: a heartbeat carries up to 400", executed.len());
    let subject = Subject::instance(name.parse().expect("legal"), name.parse().expect("legal"));
    let event = Event { source: format!("agent/{name}"), subject, ..event(Fact::Heartbeat(heartbeat)) };
    let mut record = event.to_record();
    Signer::from_seed(&[7; 32]).sign(&mut record);
    assert!(record.headers.contains_key(SIGNATURE), "a heartbeat is signed");
    let headers: usize = record.headers.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
    let bytes = RECORD_FRAME_BYTES + record.value.expect("a value").len() + record.key.len() + headers;
    assert!(bytes <= 1_500, "{bytes} bytes: the journal may grow by 1.5 KB per instance and second");
}

/// A profile that was kept is compared with later ones, so its form is a promise too.
#[test]
fn the_profile_has_its_schema_and_every_one_ever_released_is_read() {
    let schema = serde_json::to_string_pretty(&schemars::schema_for!(Profile)).expect("JSON") + "\n";
    let file = folder().join("profile.schema.json");
    if writing() {
        fs::write(&file, &schema).expect("writable");
    }
    let known = fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(
        known, schema,
        "the schema of profiles changed: run with MILLRACE_GOLDEN=write and note it in CHANGELOG.md"
    );
    let released = fs::read(folder().join("profile.1.json")).expect("readable");
    let profile: Profile = serde_json::from_slice(&released).expect("a profile");
    assert_eq!(profile.schema_version, SCHEMA_VERSION);
    assert_eq!((profile.overall.calls, profile.groups.len()), (7, 3));
}
