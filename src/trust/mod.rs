//! Whom a process believes, and with which key it speaks. In: the `[trust]` section of the configuration. Out: the private key
//! that signs what is appended, and the roster that what is read is judged by. The roster is read again when its file changes:
//! enrolling or revoking a key needs no restart. A roster that cannot be used leaves the last good one in force, and says so.
//! It must never believe more because a file is broken, and never show a private key.

pub mod key_file;
pub mod roster_file;

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use millrace_schemas::metrics::{ROSTER_KEYS, ROSTER_STALE, Registry};
use millrace_schemas::record::Record;
use millrace_schemas::signing::{Refusal, Roster, Signer, Verified};

use crate::config;

/// 1 s between looks at the file: a key that is revoked is refused a second later everywhere.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why there is no trust.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The private key cannot be used.
    #[error("the key {path} cannot be used: {problem}")]
    Key {
        /// Its file.
        path: PathBuf,
        /// What is wrong and what to do.
        problem: String,
    },
    /// The roster cannot be used.
    #[error("the roster cannot be used: {problem}")]
    Roster {
        /// Every problem with its file and line.
        problem: String,
    },
}

/// What tells one state of a file from the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl Stamp {
    /// Of the file as it is now; `None` while it is not there.
    fn of(file: &Path) -> Option<Self> {
        let about = fs::metadata(file).ok()?;
        Some(Self { inode: about.ino(), bytes: about.len(), modified: (about.mtime(), about.mtime_nsec()) })
    }
}

#[derive(Debug)]
struct Held {
    roster: Arc<Roster>,
    stamp: Option<Stamp>,
    looked: Instant,
}

/// The key of a process, and the roster that it judges by.
#[derive(Debug)]
pub struct Trust {
    signer: Option<Signer>,
    file: PathBuf,
    held: Mutex<Held>,
    verified: Mutex<Verified>,
    metrics: Arc<Registry>,
}

impl Trust {
    /// Reads the key and the roster that the configuration names.
    pub fn open(settings: &config::Trust, metrics: Arc<Registry>) -> Result<Self, Error> {
        let signer = settings.key_file.as_deref().map(key_file::read).transpose()?;
        let file = settings.roster.clone();
        // Before it is read: what is written meanwhile is a change.
        let stamp = Stamp::of(&file);
        let roster = roster_file::read(&file)?;
        if let Some(signer) = &signer
            && roster.entry(signer.id()).is_none()
        {
            tracing::warn!(key = %signer.id(), roster = %file.display(), "this process's key is not in the roster: nobody believes it until it is enrolled");
        }
        let held = Held { roster: Arc::new(roster), stamp, looked: Instant::now() };
        let trust = Self { signer, file, held: Mutex::new(held), verified: Mutex::default(), metrics };
        trust.measure(&trust.roster(), false);
        Ok(trust)
    }

    /// The key that this process signs with, if it has one.
    pub fn signer(&self) -> Option<&Signer> {
        self.signer.as_ref()
    }

    /// The roster as it is now; the last good one while the file cannot be used.
    pub fn roster(&self) -> Arc<Roster> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.looked.elapsed() >= LOOK_EVERY {
            held.looked = Instant::now();
            self.look(&mut held);
        }
        Arc::clone(&held.roster)
    }

    /// Whether `record` is to be believed by `roster`. The readers of a process share what they verified.
    pub fn judge(&self, roster: &Roster, record: &Record) -> Result<(), Refusal> {
        let mut verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        roster.judge_again(record, &mut verified)
    }

    fn look(&self, held: &mut Held) {
        let stamp = Stamp::of(&self.file);
        if stamp == held.stamp {
            return;
        }
        held.stamp = stamp;
        match roster_file::read(&self.file) {
            Ok(roster) => {
                tracing::info!(roster = %self.file.display(), keys = roster.entries().count(), "the roster was read again");
                held.roster = Arc::new(roster);
                self.measure(&held.roster, false);
            }
            Err(error) => {
                tracing::error!("{error}; the last good roster stays in force");
                self.measure(&held.roster, true);
            }
        }
    }

    fn measure(&self, roster: &Roster, stale: bool) {
        self.metrics.set(
            &ROSTER_KEYS,
            &[],
            roster.entries().filter(|(_, entry)| entry.revoked.is_none()).count() as f64,
        );
        self.metrics.set(&ROSTER_STALE, &[], f64::from(u8::from(stale)));
    }
}
