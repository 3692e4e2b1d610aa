//! Runs the archive sink: journal, actions and alerts into files that outlive the bus's retention. The files themselves say
//! how far it has come, so a sink that was killed writes nothing twice and leaves nothing out.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use millrace_schemas::metrics::{ARCHIVED, Registry};
use millrace_sinks::archive::{Archive, TOPICS};

use super::lag::Lag;
use crate::bus::{Assignment, From, Polled, SharedBus};

/// 500 ms: nobody waits for an archive.
const WAIT: Duration = Duration::from_millis(500);

/// Runs the sink until `stop`.
pub fn run(bus: &SharedBus, dir: &Path, metrics: &Registry, lag: &Lag, stop: &Arc<AtomicBool>) -> anyhow::Result<()> {
    let mut archive =
        Archive::open(dir).with_context(|| format!("the archive in {} cannot be opened", dir.display()))?;
    let from = TOPICS.map(|topic| (topic, From::Offsets(archive.positions(topic))));
    let mut reader = bus.reader(Assignment::Manual(from.to_vec())).context("the archive sink cannot read")?;
    while !stop.load(Ordering::Relaxed) {
        let polled = match reader.poll(WAIT) {
            Ok(polled) => polled,
            Err(error) => {
                tracing::warn!(%error, "what is archived cannot be read");
                std::thread::sleep(WAIT);
                continue;
            }
        };
        for item in polled {
            match item {
                // What nobody believes is kept too, as it was: whoever reads the archive judges again.
                Polled::Record(record) | Polled::Refused { record, .. } => {
                    let (topic, partition, next, appended) =
                        (record.topic, record.partition, record.offset + 1, record.appended);
                    archive.take(record).context("the archive cannot be written")?;
                    metrics.add(&ARCHIVED, &[topic.name()], 1);
                    lag.reached(topic, partition, next, appended);
                }
                Polled::Gained { .. } | Polled::Lost { .. } => lag.note(&item),
            }
        }
    }
    Ok(())
}
