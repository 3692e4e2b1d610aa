//! What a host's agent has promised for each instance: the highest epoch, and the highest step number performed in it.
//! Fsynced before anything is done for an epoch; lower epochs and lower step numbers are refused, for ever. A promise that
//! cannot be written is a step that is not performed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use millrace_schemas::ids::{ClusterId, Epoch, InstanceId};
use millrace_schemas::topics::actions::StepRequest;
use serde::{Deserialize, Serialize};

/// The promise for one instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Promise {
    /// The highest epoch promised.
    pub epoch: Epoch,
    /// The highest step number begun in it.
    pub number: u32,
}

/// Why a step is refused, or a promise cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// A newer epoch was promised.
    #[error("epoch {asked} is over: epoch {promised} was promised for {instance}")]
    OldEpoch {
        /// The instance.
        instance: InstanceId,
        /// The epoch of the step.
        asked: Epoch,
        /// The epoch promised.
        promised: Epoch,
    },
    /// A later step was begun.
    #[error("step {asked} of epoch {epoch} comes too late: step {begun} was begun on {instance}")]
    OldStep {
        /// The instance.
        instance: InstanceId,
        /// The epoch.
        epoch: Epoch,
        /// The number of the step.
        asked: u32,
        /// The highest begun.
        begun: u32,
    },
    /// The promise could not be made durable.
    #[error("the promise could not be written to {path}: {error}")]
    NotDurable {
        /// The file.
        path: String,
        /// Why.
        error: std::io::Error,
    },
}

/// All promises of an agent, in one file.
#[derive(Debug)]
pub struct Promises {
    path: PathBuf,
    made: BTreeMap<String, Promise>,
}

impl Promises {
    /// Reads the promises at `path`; none yet when there is no such file. A file that cannot be read is an error: an agent
    /// that forgot its promises must not act.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        let made = match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                let say = format!(
                    "the promises in {} cannot be read ({error}); restore the file, do not delete it",
                    path.display()
                );
                std::io::Error::other(say)
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        Ok(Self { path: path.to_owned(), made })
    }

    /// The promise for an instance.
    pub fn of(&self, cluster: &ClusterId, instance: &InstanceId) -> Promise {
        self.made.get(&key(cluster, instance)).copied().unwrap_or_default()
    }

    /// Promises the epoch of `request` and begins its step, durably, or refuses. The same step may be begun again.
    pub fn begin(&mut self, cluster: &ClusterId, request: &StepRequest) -> Result<(), Refusal> {
        let instance = &request.instance;
        let before = self.of(cluster, instance);
        if request.epoch < before.epoch {
            return Err(Refusal::OldEpoch { instance: instance.clone(), asked: request.epoch, promised: before.epoch });
        }
        if request.epoch == before.epoch && request.number < before.number {
            let (asked, begun) = (request.number, before.number);
            return Err(Refusal::OldStep { instance: instance.clone(), epoch: request.epoch, asked, begun });
        }
        let promise = Promise { epoch: request.epoch, number: request.number };
        if promise == before {
            return Ok(());
        }
        let mut made = self.made.clone();
        made.insert(key(cluster, instance), promise);
        self.write(&made).map_err(|error| Refusal::NotDurable { path: self.path.display().to_string(), error })?;
        self.made = made;
        Ok(())
    }

    fn write(&self, made: &BTreeMap<String, Promise>) -> std::io::Result<()> {
        let new = self.path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec(made)?)?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }
}

fn key(cluster: &ClusterId, instance: &InstanceId) -> String {
    format!("{cluster}/{instance}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_schemas::ids::{EventId, HostId};
    use millrace_schemas::time::Timestamp;
    use millrace_schemas::topics::actions::{Check, Step};

    fn request(epoch: u64, number: u32) -> StepRequest {
        StepRequest {
            action: EventId(1),
            epoch: Epoch(epoch),
            number,
            host: HostId::parse("h1").expect("legal"),
            instance: InstanceId::parse("db1").expect("legal"),
            deadline: Timestamp(0),
            step: Step::Fence {},
            until: Check::IsFenced,
        }
    }

    #[test]
    fn lower_epochs_and_steps_are_refused_also_after_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("promises.json");
        let cluster = ClusterId::parse("c1").expect("legal");
        let check = |epoch, number, expected: bool| {
            let mut promises = Promises::open(&path).expect("readable");
            assert_eq!(
                promises.begin(&cluster, &request(epoch, number)).is_ok(),
                expected,
                "epoch {epoch} step {number}"
            );
        };
        check(1, 3, true);
        check(1, 3, true); // again
        check(1, 2, false);
        check(2, 0, true);
        check(1, 9, false);
    }

    #[test]
    fn an_agent_that_cannot_read_its_promises_does_not_act() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("promises.json");
        fs::write(&path, "{").expect("writable");
        assert!(Promises::open(&path).is_err());
    }
}
