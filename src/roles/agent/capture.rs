//! Runs the wire capture of a host on its own thread and publishes what it gives: rows to `queries`, new texts to `digests`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use millrace_collectors::statements::NewDigest;
use millrace_collectors::wire::{self, Decoder, Live};
use millrace_schemas::event::Subject;
use millrace_schemas::ids;
use millrace_schemas::ids::{ClusterId, InstanceId};
use millrace_schemas::marks::Sequence;
use millrace_schemas::metrics::{
    WIRE_BYTES, WIRE_KERNEL_DROPS, WIRE_KERNEL_RECEIVED, WIRE_MISSING, WIRE_SAMPLE_FACTOR, WIRE_STATEMENTS, WIRE_UNSENT,
};
use millrace_schemas::record::NewRecord;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::batch::Batch;
use millrace_schemas::topics::digests::{DigestEntry, Entry};
use millrace_schemas::topics::queries::{self, Row};

use super::Agent;

pub(super) fn start(agent: &Arc<Agent>, live: Live) {
    let (agent, stop) = (Arc::clone(agent), Arc::new(AtomicBool::new(false)));
    let stopping = Arc::clone(&stop);
    let mut signal = agent.stop.clone();
    tokio::spawn(async move {
        let _ = signal.wait_for(|stop| *stop).await;
        stopping.store(true, Ordering::Relaxed);
    });
    let run = move || {
        let mut numbers = Numbers::new();
        let emit = |batch: wire::Batch| {
            publish(&agent, batch, &mut numbers);
            !*agent.stop.borrow()
        };
        if let Err(error) = wire::run(&live, || Decoder::new(&[]), &agent.watched.clone(), &stop, emit) {
            tracing::warn!(%error, "no packets are captured; servers are asked for their own counters instead");
            agent.authorities.lose_capture();
        }
    };
    if let Err(error) = std::thread::Builder::new().name("capture".to_owned()).spawn(run) {
        tracing::warn!(%error, "no thread for the capture; everything else runs");
    }
}

/// How many batches each cluster was sent: their sequence.
type Numbers = HashMap<ClusterId, u64>;

fn publish(agent: &Agent, mut batch: wire::Batch, numbers: &mut Numbers) {
    count(agent, &batch);
    agent.authorities.take(&mut batch.rows, &agent.metrics);
    for new in batch.new_digests {
        // Not waited for, as below; a text that did not get through is only missing until a process counts it anew.
        drop(agent.speaker.say(fleet(), None, entry(new)));
    }
    let mut rows: BTreeMap<InstanceId, Vec<Row>> = BTreeMap::new();
    for row in batch.rows {
        rows.entry(row.instance.clone()).or_default().push(row);
    }
    let records: Vec<NewRecord> =
        rows.into_iter().filter_map(|(instance, rows)| sent(agent, &instance, &rows, numbers)).collect();
    if !records.is_empty() {
        // Not waited for: the capture must not stand still, and the bus counts what it refuses.
        drop(agent.bus.append(records));
    }
}

/// A record of rows; `None` is counted.
fn sent(agent: &Agent, instance: &InstanceId, rows: &[Row], numbers: &mut Numbers) -> Option<NewRecord> {
    let record = record(agent, instance, rows, numbers);
    if record.is_none() {
        agent.metrics.add(&WIRE_UNSENT, &[agent.host.as_str()], rows.len() as u64);
    }
    record
}

fn record(agent: &Agent, instance: &InstanceId, rows: &[Row], numbers: &mut Numbers) -> Option<NewRecord> {
    let cluster = agent.cluster_of(instance)?;
    let value = match queries::encode(rows) {
        Ok(value) => value,
        Err(error) => {
            tracing::error!(%error, "rows could not be encoded");
            return None;
        }
    };
    let number = numbers.entry(cluster.clone()).or_default();
    Some(batch(agent, (cluster, instance), agent.speaker.source(), number, value))
}

/// A record of `queries`: rows of one instance, numbered by who counted them.
pub(super) fn batch(
    agent: &Agent,
    (cluster, instance): (ClusterId, &InstanceId),
    producer: &str,
    number: &mut u64,
    value: Vec<u8>,
) -> NewRecord {
    let sequence = Sequence { incarnation: agent.speaker.incarnation(), counter: *number };
    *number += 1;
    Batch { cluster, producer, sequence, value: value.into() }.into_record(Topic::Queries, instance)
}

pub(super) fn fleet() -> Subject {
    Subject::cluster(ids::fleet())
}

pub(super) fn entry(new: NewDigest) -> Entry {
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

fn count(agent: &Agent, batch: &wire::Batch) {
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
    agent.metrics.add(&WIRE_KERNEL_RECEIVED, &[host], batch.kernel.received);
    agent.metrics.add(&WIRE_KERNEL_DROPS, &[host], batch.kernel.dropped);
    agent.metrics.set(&WIRE_SAMPLE_FACTOR, &[host], f64::from(batch.sample_factor));
    for totals in &batch.totals {
        agent.metrics.add(&WIRE_STATEMENTS, &[totals.instance.as_str()], totals.statements);
    }
}
