//! When the cluster of an instance was backed up last, as far as this host knows. In: the policy of the cluster, if it has one. Out:
//! numbers for samples: how old the newest may be, with where was looked, and when the newest was finished. Nothing is said of the
//! newest where none was found: who judges takes that for stale.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use millrace_collectors::backups::Finder;
use millrace_collectors::log_in::LogIn;
use millrace_collectors::numbers::Values;
use millrace_mysql::backups as tables;
use millrace_schemas::metrics::{BACKUP_LAST, BACKUP_WITHIN, series};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::config::Backup;

/// 1 min between looks: a backup takes longer, and a look costs a list of names.
const LOOK_EVERY: Duration = Duration::from_mins(1);
/// 1 min for the first look: a disk that hangs for longer has no backup that anybody could restore.
const FIRST_WITHIN: Duration = Duration::from_mins(1);
/// 200 bytes of places: the label is shown in a sentence.
const PLACES_BYTES: usize = 200;

/// What is known.
#[derive(Debug)]
pub(super) struct Backups {
    policy: Option<Backup>,
    began: Instant,
    /// Looks for files; away while it does.
    finder: Finder,
    looking: Option<JoinHandle<(Finder, Option<i64>)>>,
    looked: Option<Instant>,
    /// A look has come to its end.
    has_looked: bool,
    /// What the last one found, in seconds since 1970.
    newest: Option<i64>,
}

impl Backups {
    pub(super) fn new(policy: Option<Backup>) -> Self {
        let finder = Finder::default();
        Self { policy, began: Instant::now(), finder, looking: None, looked: None, has_looked: false, newest: None }
    }

    /// What is to be said now. Looks again where that is due, and waits for nothing.
    pub(super) async fn look(&mut self, log_in: &Arc<LogIn>) -> Values {
        let Some(policy) = &self.policy else { return Values::new() };
        if self.looking.as_ref().is_some_and(JoinHandle::is_finished)
            && let Some(looking) = self.looking.take()
            && let Ok((finder, newest)) = looking.await
        {
            (self.finder, self.has_looked, self.newest) = (finder, true, newest);
        }
        if self.looking.is_none() && self.looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
            self.looked = Some(Instant::now());
            let finder = std::mem::take(&mut self.finder);
            self.looking = Some(tokio::spawn(newest(finder, policy.find.clone(), Arc::clone(log_in))));
        }
        if !self.has_looked && self.began.elapsed() < FIRST_WITHIN {
            return Values::new();
        }
        let within = (series::text(&BACKUP_WITHIN, &[&places(policy)]), policy.within.as_secs_f64());
        let last = self.newest.map(|at| (series::text(&BACKUP_LAST, &[]), at as f64));
        [within].into_iter().chain(last).collect()
    }
}

/// Where is looked, in words.
fn places(policy: &Backup) -> String {
    let files = policy.find.iter().map(|place| place.display().to_string());
    let all = files.chain(tables::tables().map(str::to_owned)).collect::<Vec<_>>().join(", ");
    let mut end = all.len().min(PLACES_BYTES);
    while !all.is_char_boundary(end) {
        end -= 1;
    }
    all[..end].to_owned()
}

/// The newest of all places, in seconds since 1970.
async fn newest(mut finder: Finder, find: Vec<PathBuf>, log_in: Arc<LogIn>) -> (Finder, Option<i64>) {
    let of_files = tokio::task::spawn_blocking(move || {
        let newest = finder.newest(&find, SystemTime::now());
        let seconds = newest.and_then(|at| i64::try_from(at.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok());
        (finder, seconds)
    });
    let mut of_server = None;
    if let Ok(mut session) = log_in.open().await {
        of_server = tables::newest(&mut session).await;
        session.close().await;
    }
    let (finder, of_files) = of_files.await.unwrap_or_default();
    (finder, of_files.max(of_server))
}
