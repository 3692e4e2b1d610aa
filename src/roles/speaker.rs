//! Whoever observes or acts numbers what it says: (incarnation, counter). The incarnation is fsynced before the first word of
//! a process, so a restarted one is never mistaken for the old; counters run per topic and cluster, as readers keep marks.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use millrace_schemas::event::{Event, Payload, Subject};
use millrace_schemas::ids::{ClusterId, EventId};
use millrace_schemas::marks::Sequence;
use millrace_schemas::record::NewRecord;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;

use crate::bus::{Receipt, SharedBus};

/// 2 s for another of the same name to end: one that is being stopped, or an operator's command that is just being given.
const ALONE_WITHIN: Duration = Duration::from_secs(2);
/// 20 ms between looks at the lock.
const ALONE_LOOK: Duration = Duration::from_millis(20);

/// Says things on the bus under one name.
#[derive(Debug)]
pub struct Speaker {
    source: String,
    incarnation: u64,
    bus: SharedBus,
    counters: Mutex<HashMap<(Topic, ClusterId), u64>>,
    /// Held as long as it speaks: two under one name would be taken for one.
    _alone: File,
}

impl Speaker {
    /// A new incarnation of `source`; `folder` remembers the last one.
    pub fn new(source: String, folder: &Path, bus: SharedBus) -> anyhow::Result<Self> {
        let name = source.replace('/', "-");
        let alone = alone(&source, &folder.join(format!("{name}.lock")))?;
        let incarnation = next_incarnation(&folder.join(format!("{name}.incarnation")))?;
        Ok(Self { source, incarnation, bus, counters: Mutex::default(), _alone: alone })
    }

    /// The name.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The incarnation.
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Says `payload` about `subject`.
    pub fn say<P: Payload>(&self, subject: Subject, cause: Option<EventId>, payload: P) -> Receipt {
        self.say_all(vec![(subject, cause, payload)])
    }

    /// Says several things in one append, in order.
    pub fn say_all<P: Payload>(&self, all: Vec<(Subject, Option<EventId>, P)>) -> Receipt {
        // The lock is held over the append: records reach the bus in the order of their numbers.
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let records: Vec<NewRecord> = all
            .into_iter()
            .map(|(subject, cause, payload)| {
                let counter = counters.entry((P::TOPIC, subject.cluster.clone())).or_insert(0);
                let sequence = Sequence { incarnation: self.incarnation, counter: *counter };
                *counter += 1;
                let number = format!("{}-{}", sequence.incarnation, sequence.counter);
                let id = EventId::derive(&[&self.source, P::TOPIC.name(), subject.cluster.as_str(), &number]);
                Event {
                    id,
                    source: self.source.clone(),
                    sequence,
                    at: now(),
                    appended: Timestamp::ZERO,
                    subject,
                    cause,
                    payload,
                }
                .to_record()
            })
            .collect();
        self.bus.append(records)
    }
}

/// The wall clock, for display.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// Locks `file`, which a process holds until it ends, however it ends.
fn alone(source: &str, file: &Path) -> anyhow::Result<File> {
    let open = || -> std::io::Result<File> {
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        File::create(file)
    };
    let lock = open().with_context(|| format!("cannot make {}", file.display()))?;
    let until = Instant::now() + ALONE_WITHIN;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(ALONE_LOOK),
            Err(TryLockError::WouldBlock) => {
                bail!(
                    "another process speaks as {source} ({} is locked): give this one another name or folder",
                    file.display()
                )
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", file.display()));
            }
        }
    }
}

fn next_incarnation(file: &Path) -> anyhow::Result<u64> {
    let last = match fs::read_to_string(file) {
        Ok(text) => text.trim().parse::<u64>().with_context(|| {
            format!(
                "{} does not hold a number: write one in that is higher than any incarnation before",
                file.display()
            )
        })?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
    };
    let new = file.with_extension("new");
    let write = || -> std::io::Result<()> {
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut out = File::create(&new)?;
        write!(out, "{}", last + 1)?;
        out.sync_all()?;
        fs::rename(&new, file)
    };
    write().with_context(|| format!("cannot write {}", file.display()))?;
    Ok(last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_start_is_a_new_incarnation() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a.incarnation");
        assert_eq!([1, 2, 3], [(); 3].map(|()| next_incarnation(&file).expect("writable")));
        fs::write(&file, "x").expect("writable");
        assert!(next_incarnation(&file).is_err());
    }
}
