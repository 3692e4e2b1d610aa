//! Logs in to a server for whoever asks it once a second. In: a target. Out: a session, or why there is none. A server that
//! refused the account is left alone for longer and longer, because servers count failed log-ins and shut hosts out over them;
//! until it is asked again, the refusal is restated. A password file that changed is tried at once. All who ask one server with one
//! account share this, so that what one of them finds out holds for all.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use millrace_mysql::{Error, Session, Target};

/// 1 s after the first refusal: it may have been an account that was just being created.
const WAIT_FROM: Duration = Duration::from_secs(1);
/// 60 s at the most: an account that is mended on the server, which no file tells, is noticed within a minute.
const WAIT_TO: Duration = Duration::from_mins(1);

/// The log-ins of one account at one server.
#[derive(Debug)]
pub struct LogIn {
    target: Target,
    refused: Mutex<Option<Refused>>,
    /// One attempt at a time.
    turn: tokio::sync::Mutex<()>,
}

/// An account that the server does not take.
#[derive(Debug)]
struct Refused {
    error: Error,
    wait: Duration,
    again: Instant,
    file: Option<Stamp>,
}

/// What tells that a file was written, replaced, or given another mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// `None` where there is no file, which is a state like any other.
    fn of(file: Option<&Path>) -> Option<Self> {
        let metadata = std::fs::metadata(file?).ok()?;
        Some(Self {
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

impl LogIn {
    /// No log-in yet.
    pub fn new(target: Target) -> Self {
        Self { target, refused: Mutex::new(None), turn: tokio::sync::Mutex::new(()) }
    }

    /// A session. While the server is left alone, the error of its last refusal. May be dropped while it waits.
    pub async fn open(&self) -> Result<Session, Error> {
        let _turn = self.turn.lock().await;
        // Taken before the attempt: a file that changes meanwhile is another one.
        let file = Stamp::of(self.target.account.password_file.as_deref());
        self.may(file, Instant::now())?;
        let opened = Session::open(&self.target).await;
        self.learn(opened.as_ref().err(), file, Instant::now());
        opened
    }

    /// Whether the server may be asked now. An attempt counts from its beginning: a server that delays its refusals until
    /// nobody waits for them any more has refused all the same.
    fn may(&self, file: Option<Stamp>, now: Instant) -> Result<(), Error> {
        let mut slot = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.as_ref().is_some_and(|refused| refused.file != file) {
            *slot = None;
        }
        let Some(refused) = slot.as_mut() else { return Ok(()) };
        if now < refused.again {
            return Err(refused.error.clone());
        }
        refused.wait = (refused.wait * 2).min(WAIT_TO);
        refused.again = now + refused.wait;
        Ok(())
    }

    fn learn(&self, error: Option<&Error>, file: Option<Stamp>, now: Instant) {
        let mut slot = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        match error {
            Some(error) if error.is_credentials() => {
                let wait = slot.as_ref().map_or(WAIT_FROM, |refused| refused.wait);
                *slot = Some(Refused { error: error.clone(), wait, again: now + wait, file });
            }
            // Nobody knows what it would have said.
            Some(error) if error.outcome_unknown() => {}
            // It took the account, or was not there to refuse it.
            _ => *slot = None,
        }
    }
}

#[cfg(test)]
mod tests {
    use millrace_mysql::{Account, Address};

    use super::*;

    fn log_in() -> LogIn {
        let account = Account { user: "millrace".into(), password_file: None };
        LogIn::new(Target::new("db1", Address::Tcp { host: "127.0.0.1".into(), port: 1 }, account))
    }

    fn error(code: u16) -> Error {
        Error::Server { target: "db1".into(), statement: "connect".into(), code, message: "no".into() }
    }

    fn stamp(bytes: u64) -> Stamp {
        Stamp { inode: 1, bytes, modified: (1, 0), changed: (1, 0) }
    }

    /// Asks once a second for `seconds`; the seconds in which the server was asked, which answers as `answer` says.
    fn asked(
        log_in: &LogIn,
        seconds: u64,
        answer: impl Fn(u64) -> Option<Error>,
        file: impl Fn(u64) -> u64,
    ) -> Vec<u64> {
        let start = Instant::now();
        let mut asked = Vec::new();
        for second in 0..seconds {
            let (now, file) = (start + Duration::from_secs(second), Some(stamp(file(second))));
            match log_in.may(file, now) {
                Ok(()) => {
                    asked.push(second);
                    log_in.learn(answer(second).as_ref(), file, now);
                }
                Err(error) => assert!(error.is_credentials(), "{error} is not what the server said"),
            }
        }
        asked
    }

    #[test]
    fn a_refusal_is_left_alone_for_longer_and_longer() {
        let refused = |_| Some(error(1045));
        assert_eq!(asked(&log_in(), 250, refused, |_| 1), [0, 1, 3, 7, 15, 31, 63, 123, 183, 243]);
    }

    #[test]
    fn a_password_file_that_changed_is_tried_at_once() {
        let refused = |_| Some(error(1045));
        assert_eq!(asked(&log_in(), 30, refused, |second| u64::from(second >= 20)), [0, 1, 3, 7, 15, 20, 21, 23, 27]);
        let mended = |second| (second < 20).then(|| error(1045));
        assert_eq!(asked(&log_in(), 23, mended, |second| u64::from(second >= 20)), [0, 1, 3, 7, 15, 20, 21, 22]);
    }

    #[test]
    fn only_refusals_are_left_alone() {
        assert_eq!(asked(&log_in(), 4, |_| Some(error(1040)), |_| 1), [0, 1, 2, 3]);
        // A server that was away in between begins anew; one that only kept its refusal back does not.
        let away = |second| Some(error(if second == 7 { 2003 } else { 1045 }));
        assert_eq!(asked(&log_in(), 16, away, |_| 1), [0, 1, 3, 7, 8, 9, 11, 15]);
        let delayed = |second| {
            let late = Error::Timeout { target: "db1".into(), statement: "connect".into(), after: WAIT_FROM };
            Some(if second == 7 { late } else { error(1045) })
        };
        assert_eq!(asked(&log_in(), 32, delayed, |_| 1), [0, 1, 3, 7, 15, 31]);
    }

    #[test]
    fn a_file_that_is_written_gets_another_mode_or_goes_has_changed() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("password");
        let mut stamps = vec![Stamp::of(Some(&path))];
        std::fs::write(&path, "wrong").expect("writable");
        stamps.push(Stamp::of(Some(&path)));
        std::fs::write(&path, "right!").expect("writable");
        stamps.push(Stamp::of(Some(&path)));
        let other = folder.path().join("other");
        std::fs::write(&other, "right!").expect("writable");
        std::fs::set_permissions(&other, std::fs::Permissions::from_mode(0o600)).expect("ours");
        std::fs::rename(&other, &path).expect("renamed");
        stamps.push(Stamp::of(Some(&path)));
        assert!(stamps.windows(2).all(|pair| pair[0] != pair[1]), "{stamps:?}");
        assert_eq!(Stamp::of(Some(&path)), Stamp::of(Some(&path)));
    }
}
