//! A guard's files: the lock that makes it the only one, its process id, and its state, which survives it and the machine.
//! In and out: [`State`]. A state that was promised is on the disk before anybody hears of the promise; a state that cannot be
//! read stops the guard, since going on would forget promises.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::protocol::{Process, State};
use super::{GuardError, LOCK, PID, STATE};

/// The right to be the guard of an instance, for as long as it exists.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock, or says who has it.
    pub(super) fn take(dir: &Path) -> Result<Self, GuardError> {
        let path = dir.join(LOCK);
        let file = private_file(&path).map_err(GuardError::file(&path, "cannot be opened"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = std::fs::read_to_string(dir.join(PID)).unwrap_or_default();
                let pid = if pid.trim().is_empty() { "unknown".to_owned() } else { pid.trim().to_owned() };
                return Err(GuardError::AlreadyRunning { dir: dir.to_owned(), pid });
            }
            Err(TryLockError::Error(error)) => return Err(GuardError::file(path, "cannot be locked")(error)),
        }
        let path = dir.join(PID);
        replace(&path, format!("{}\n", std::process::id()).as_bytes())
            .map_err(GuardError::file(path, "cannot be written"))?;
        Ok(Self { _file: file })
    }
}

/// The state file of an instance.
#[derive(Debug)]
pub(super) struct StateFile(PathBuf);

impl StateFile {
    pub(super) fn of(dir: &Path) -> Self {
        Self(dir.join(STATE))
    }

    /// What the last guard left; the default for a new instance.
    pub(super) fn read(&self) -> Result<State, GuardError> {
        let text = match std::fs::read(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(State::default()),
            Err(error) => return Err(GuardError::file(&self.0, "cannot be read")(error)),
        };
        serde_json::from_slice(&text).map_err(|error| GuardError::Content {
            path: self.0.clone(),
            why: format!(
                "it is damaged ({error}); it holds the epochs that were promised here, so restore it, or remove it only \
                 after a newer epoch than any it may hold was opened elsewhere"
            ),
        })
    }

    /// Writes `state`; on return it survives a power cut.
    pub(super) fn write(&self, state: &State) -> std::io::Result<()> {
        let text = serde_json::to_vec(state).map_err(std::io::Error::other)?;
        replace(&self.0, &text)
    }
}

/// Replaces a file in one piece: a reader, or a power cut, finds the old content or the new one.
pub(crate) fn replace(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let mut file = private_file(&new)?;
    file.set_len(0)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    // The rename is in the folder, which has to be synced by itself.
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

fn private_file(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// When process `pid` started, in clock ticks since the machine did; `None` if there is no such process or it is a zombie.
pub(super) fn start_ticks(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, also parentheses; what follows is plain.
    let rest = &text[text.rfind(')')? + 1..];
    let mut fields = rest.split_ascii_whitespace();
    // After the name come the state (field 3) and, as field 22, the start.
    let state = fields.next()?;
    let ticks = fields.nth(18)?.parse().ok()?;
    (state != "Z" && state != "X").then_some(ticks)
}

/// Whether `process` still runs, and is no later one with its id.
pub(super) fn is_alive(process: Process) -> bool {
    start_ticks(process.pid) == Some(process.start_ticks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_guard_has_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let first = Lock::take(folder.path()).unwrap();
        let refused = Lock::take(folder.path()).unwrap_err().to_string();
        assert!(refused.contains(&format!("process id {}", std::process::id())), "{refused}");
        drop(first);
        Lock::take(folder.path()).unwrap();
    }

    #[test]
    fn a_state_reads_back_and_a_damaged_one_stops_the_guard() {
        let folder = tempfile::tempdir().unwrap();
        let file = StateFile::of(folder.path());
        assert_eq!(file.read().unwrap(), State::default());
        let state = State { serial: 7, keep_running: true, ..State::default() };
        file.write(&state).unwrap();
        file.write(&state).unwrap();
        assert_eq!(file.read().unwrap(), state);
        std::fs::write(folder.path().join(STATE), "{\"serial\":").unwrap();
        assert!(file.read().unwrap_err().to_string().contains("restore it"));
    }

    #[test]
    fn a_process_is_known_by_its_start() {
        let pid = std::process::id();
        let start = start_ticks(pid).unwrap();
        let process = |start_ticks| Process { pid, start_ticks, since_boot_us: 0 };
        assert!(is_alive(process(start)) && !is_alive(process(start + 1)));
        assert_eq!(start_ticks(u32::MAX), None);
    }
}
