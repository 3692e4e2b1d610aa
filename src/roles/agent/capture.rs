//! Runs the wire capture of a host on its own thread and publishes what it gives: rows to `queries`, new texts to `digests`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use millrace_collectors::statements::NewDigest;
use millrace_collectors::wire::{self, Batch, Live};
use millrace_schemas::event::Subject;
use millrace_schemas::ids::ClusterId;
use millrace_schemas::metrics::{WIRE_BYTES, WIRE_KERNEL_DROPS, WIRE_MISSING, WIRE_STATEMENTS};
use millrace_schemas::record::{Headers, NewRecord};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::digests::{DigestEntry, Entry};
use millrace_schemas::topics::journal::FLEET;
use millrace_schemas::topics::queries;

use super::Agent;

pub(super) fn start(agent: &Arc<Agent>, interface: String) {
    let (agent, stop) = (Arc::clone(agent), Arc::new(AtomicBool::new(false)));
    let stopping = Arc::clone(&stop);
    let mut signal = agent.stop.clone();
    tokio::spawn(async move {
        let _ = signal.wait_for(|stop| *stop).await;
        stopping.store(true, Ordering::Relaxed);
    });
    let run = move || {
        let mut number = 0_u64;
        let emit = |batch: Batch| {
            publish(&agent, batch, &mut number);
            !*agent.stop.borrow()
        };
        if let Err(error) = wire::run(&Live { interface }, &agent.watched.clone(), &stop, emit) {
            tracing::warn!(%error, "no packets are captured; everything else runs");
        }
    };
    if let Err(error) = std::thread::Builder::new().name("capture".to_owned()).spawn(run) {
        tracing::warn!(%error, "no thread for the capture; everything else runs");
    }
}

fn publish(agent: &Agent, batch: Batch, number: &mut u64) {
    count(agent, &batch);
    let mut records = Vec::new();
    for new in batch.new_digests {
        drop(agent.speaker.say(fleet(), None, entry(new)));
    }
    if !batch.rows.is_empty() {
        let cluster = fleet().cluster;
        match queries::encode(&batch.rows) {
            Ok(value) => {
                *number += 1;
                let sequence = format!("{:016x}-{number:016x}", agent.speaker.incarnation());
                let headers = Headers::from([
                    ("content-type".to_owned(), "application/vnd.apache.arrow.stream".to_owned()),
                    ("producer".to_owned(), agent.speaker.source().to_owned()),
                    ("sequence".to_owned(), sequence),
                ]);
                let key = agent.host.to_string();
                let partition_key = cluster.to_string();
                records.push(NewRecord { topic: Topic::Queries, partition_key, key, headers, value: Some(value.into()) });
            }
            Err(error) => tracing::error!(%error, "rows could not be encoded"),
        }
    }
    if !records.is_empty() {
        drop(agent.bus.append(records));
    }
}

fn fleet() -> Subject {
    Subject::cluster(ClusterId::parse(FLEET).expect("a legal id"))
}

fn entry(new: NewDigest) -> Entry {
    Entry::Digest(DigestEntry {
        digest: new.id,
        text: new.text,
        kind: new.kind.as_str().to_owned(),
        tables: new.tables,
        truncated: new.truncated,
        first_seen: super::super::speaker::now().max(Timestamp::ZERO),
        parsed: false,
    })
}

fn count(agent: &Agent, batch: &Batch) {
    let host = agent.host.as_str();
    let books = &batch.books;
    let fates = [
        ("decoded", books.decoded),
        ("encrypted", books.encrypted),
        ("duplicate", books.duplicate),
        ("skipped", books.skipped),
        ("shed", books.shed),
        ("undecodable", books.undecodable),
    ];
    for (fate, bytes) in fates {
        agent.metrics.add(&WIRE_BYTES, &[host, fate], bytes);
    }
    agent.metrics.add(&WIRE_MISSING, &[host], books.missing);
    agent.metrics.add(&WIRE_KERNEL_DROPS, &[host], batch.kernel.dropped);
    for totals in &batch.totals {
        agent.metrics.add(&WIRE_STATEMENTS, &[totals.instance.as_str()], totals.statements);
    }
}
