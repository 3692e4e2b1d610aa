//! Records that nobody can read: garbage, a kind of a newer version, and a batch that is a hundred times larger than it looks. The
//! partition moves on, what was unreadable lies in `dead` as it was, and who may not be judged any more is only observed.

use std::time::{Duration, Instant};

use millrace_schemas::event::{Event, Subject};
use millrace_schemas::ids::{ClusterId, EventId};
use millrace_schemas::marks::Sequence;
use millrace_schemas::record::{Bytes, Headers, NewRecord, Record, partition_of};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::journal::Fact;
use millrace_test_servers::{KafkaOptions, bomb};

use super::books::{write_facts, write_rows};
use super::fleet::Fleet;
use crate::real::site::PATIENCE;

const POISONED: &str = "c-book0";

fn garbage(topic: Topic, text: &str) -> NewRecord {
    NewRecord {
        topic,
        partition_key: POISONED.to_owned(),
        key: POISONED.to_owned(),
        headers: Headers::new(),
        value: Some(Bytes::copy_from_slice(text.as_bytes())),
    }
}

/// A fact as a later version may say it.
fn of_tomorrow(evidence: bool) -> NewRecord {
    let event = Event {
        id: EventId::derive(&["tomorrow", &evidence.to_string()]),
        source: "tomorrow/1".to_owned(),
        sequence: Sequence { incarnation: 1, counter: u64::from(evidence) },
        at: Timestamp(1),
        appended: Timestamp::ZERO,
        subject: Subject::cluster(ClusterId::parse(POISONED).expect("legal")),
        cause: None,
        payload: Fact::Tick {},
    };
    let mut record = event.to_record();
    let text = String::from_utf8(record.value.expect("a value").to_vec()).expect("text");
    record.value = Some(Bytes::from(text.replace("tick", "moon-phase").into_bytes()));
    if evidence {
        record.headers.insert("evidence".to_owned(), "true".to_owned());
    }
    record
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_can_read_stops_nobody() {
    let mut fleet = Fleet::new(&KafkaOptions::default()).await;
    for role in ["p1", "e1", "s1"] {
        fleet.start(role);
    }
    let (facts, rows) = (write_facts(&fleet), write_rows(&fleet));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let bus = fleet.bus();
    let poison = vec![
        garbage(Topic::Journal, "{ this is no fact"),
        garbage(Topic::Queries, "no Arrow either"),
        of_tomorrow(false),
        of_tomorrow(true),
    ];
    bus.append(poison).await.expect("the bus keeps what it is given");
    let journal = format!("{}{}", fleet.settings.prefix, Topic::Journal);
    let partition = partition_of(POISONED, fleet.settings.partitions);
    let whole = bomb(&fleet.settings.servers, &journal, partition);
    tokio::time::sleep(Duration::from_secs(3)).await;

    // The partition moves on: what is said afterwards is heard.
    let until = Instant::now() + PATIENCE;
    let dead: Vec<Record> = loop {
        let dead = fleet.told(Topic::Dead);
        let of = |topic: &str| {
            let told = |one: &&Record| one.headers.get("millrace.errors.topic").is_some_and(|told| told == topic);
            dead.iter().filter(told).count()
        };
        if of("journal") >= 1 && of("queries") >= 1 {
            break dead;
        }
        assert!(Instant::now() < until, "{} records are in dead\n{}", dead.len(), fleet.logs());
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let texts: Vec<String> =
        dead.iter().map(|one| String::from_utf8_lossy(one.value.as_deref().unwrap_or_default()).into_owned()).collect();
    assert!(
        texts.contains(&"{ this is no fact".to_owned()) && texts.contains(&"no Arrow either".to_owned()),
        "{texts:?}"
    );
    let (facts, rows) = (facts.stop(), rows.stop());
    println!("poison: garbage, two kinds of tomorrow, and a batch that holds {} MiB:", whole >> 20);
    println!("  {}", rows.check(&fleet));
    println!("  {}", facts.check(&fleet.told(Topic::Journal)));
    println!("  dead: {} records, as they were", dead.len());
    let (heaviest, bytes) = fleet.heaviest();
    println!("  memory: {heaviest} had the most, {} MiB", bytes >> 20);
    assert!(bytes <= super::fleet::MEMORY_MAX, "{heaviest} had {} MiB", bytes >> 20);
    fleet.remove().await;
}
