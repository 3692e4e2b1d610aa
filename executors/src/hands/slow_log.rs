//! Rotating the slow log of a server that Millrace created: the file is renamed to the day, the server opens a new one, and the
//! oldest are removed. In: an instance, a day, how many to keep. Out: what was done. Done twice it does nothing; cut off anywhere
//! it goes on where it was. It must never touch a log of another server, remove a file that it did not name itself, or write to
//! the binary log: without LOCAL the statement takes a GTID of its own, even on a replica that is closed to everybody.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use millrace_mysql::Session;

use super::Hands;
use super::files::Instance;
use super::server::{LOCK_NAME, Trouble};

/// 100 ms for a step that is about to end; else it is the rotation that waits, for its next turn.
const TURN_WITHIN: Duration = Duration::from_millis(100);
/// 1 s for the new file: a server makes it while it answers.
const FILE_WITHIN: Duration = Duration::from_secs(1);
/// 10 ms between looks for it.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// `2026-11-30`: what a day has behind the name of the log.
const DAY_FORM: &[u8; 10] = b"dddd-dd-dd";

/// What became of a log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rotated {
    /// What was logged until now has this name; absent where it had it already, or nothing was logged.
    pub to: Option<PathBuf>,
    /// So many older ones were removed.
    pub removed: u64,
}

/// The name of the log of `instance` that was rotated on `day`.
pub fn rotated(instance: &Instance, day: &str) -> PathBuf {
    let mut name = instance.slow_log().into_os_string();
    name.push(".");
    name.push(day);
    PathBuf::from(name)
}

impl Hands {
    /// Rotates the slow log of an instance, once a `day` (as `2026-11-30`), and keeps the newest `keep` of those that were. Only
    /// while no step is under way.
    pub async fn rotate_slow_log(&self, instance: &Instance, day: &str, keep: usize) -> Result<Rotated, Trouble> {
        if !is_day(day.as_bytes()) {
            return Err(Trouble::Unfit(format!("'{day}' is no day: it is written as 2026-11-30")));
        }
        let turn = {
            let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(busy.entry(instance.instance.clone()).or_default())
        };
        let Ok(_turn) = tokio::time::timeout(TURN_WITHIN, turn.lock_owned()).await else {
            return Err(Trouble::Unfit("a step is under way".to_owned()));
        };
        let (log, old) = (instance.slow_log(), rotated(instance, day));
        let to = turn_over(instance, &log, &old).await?.then_some(old);
        let removed = remove_oldest(&log, keep).map_err(|error| failed(&log, "cannot remove older ones", &error))?;
        Ok(Rotated { to, removed })
    }
}

/// Gives `log` the name `old`, and has the server open a new one; false when there is nothing to do.
async fn turn_over(instance: &Instance, log: &Path, old: &Path) -> Result<bool, Trouble> {
    if log.exists() == old.exists() {
        return Ok(false); // it was done today, or nothing is logged
    }
    let mut session = Session::open(&instance.target()).await?;
    session.execute("SET SESSION lock_wait_timeout=1").await?;
    // Whoever holds it does a step, which is not to be disturbed; a step that comes meanwhile cuts this session off.
    if session.value(&format!("SELECT GET_LOCK('{LOCK_NAME}', 0)")).await?.as_deref() != Some("1") {
        return Err(Trouble::Unfit("a step holds the server".to_owned()));
    }
    if log.exists() {
        std::fs::rename(log, old).map_err(|error| failed(log, "cannot be renamed", &error))?;
    }
    // Until here the server writes into the renamed file, where it is read.
    session.execute("FLUSH LOCAL SLOW LOGS").await?;
    let until = Instant::now() + FILE_WITHIN;
    while !log.exists() {
        if Instant::now() >= until {
            let why = "the server did not open it anew: is slow_query_log OFF?";
            return Err(Trouble::Unfit(format!("{}: {why}", log.display())));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    // The server ends a session some time after it was closed. Where this fails the session is gone, and its lock with it.
    drop(session.execute(&format!("DO RELEASE_LOCK('{LOCK_NAME}')")).await);
    session.close().await;
    Ok(true)
}

/// Removes all but the newest `keep` logs that were rotated; how many.
fn remove_oldest(log: &Path, keep: usize) -> std::io::Result<u64> {
    let (folder, name) = (log.parent().unwrap_or(Path::new(".")), log.file_name().unwrap_or_default());
    let is_old = |other: &Path| {
        let other = other.file_name().unwrap_or_default().as_encoded_bytes();
        other.strip_prefix(name.as_encoded_bytes()).and_then(|rest| rest.strip_prefix(b".")).is_some_and(is_day)
    };
    let mut old: Vec<PathBuf> = std::fs::read_dir(folder)?.flatten().map(|file| file.path()).collect();
    old.retain(|path| is_old(path));
    old.sort(); // days sort as they follow each other
    let mut removed = 0;
    for path in &old[..old.len().saturating_sub(keep)] {
        std::fs::remove_file(path)?;
        removed += 1;
    }
    Ok(removed)
}

fn is_day(text: &[u8]) -> bool {
    let fits = |(byte, form): (&u8, &u8)| if *form == b'd' { byte.is_ascii_digit() } else { byte == form };
    text.len() == DAY_FORM.len() && text.iter().zip(DAY_FORM).all(fits)
}

fn failed(path: &Path, what: &str, error: &std::io::Error) -> Trouble {
    Trouble::Unfit(format!("{}: {what}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_rotated_here_is_removed_and_the_newest_stay() {
        let folder = tempfile::tempdir().unwrap();
        let mine = ["slow.log.2026-11-28", "slow.log.2026-11-29", "slow.log.2026-12-01", "slow.log.2025-12-31"];
        let others =
            ["slow.log", "slow.log.1", "slow.log.2026-11-28.gz", "slow.log.2026-11-2x", "error.log.2026-11-01"];
        for name in mine.iter().chain(&others) {
            std::fs::write(folder.path().join(name), "x").unwrap();
        }
        let log = folder.path().join("slow.log");
        assert_eq!(remove_oldest(&log, 2).unwrap(), 2);
        assert_eq!(remove_oldest(&log, 2).unwrap(), 0);
        let mut left: Vec<String> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        let mut expected: Vec<&str> =
            others.into_iter().chain(["slow.log.2026-11-29", "slow.log.2026-12-01"]).collect();
        expected.sort_unstable();
        assert_eq!(left, expected);
    }

    #[test]
    fn a_day_is_written_in_one_way() {
        let check = |text: &str, expected| assert_eq!(is_day(text.as_bytes()), expected, "{text}");
        check("2026-11-30", true);
        check("2026-11-3", false);
        check("../../etc/x", false);
        check("2026/11/30", false);
        check("", false);
    }
}
