//! `millrace guard`: the parent process of one server instance. In: `guard.toml` in the instance's folder, and requests over a
//! Unix socket there. Out: the server's process, and at once every change of it to whoever is connected.
//! It exists because only a parent learns how a process ended, and because a server must outlive restarts of the agent. It
//! has no bus, no network and no opinion: which epoch may do what is decided elsewhere, and the guard only refuses older
//! ones. Threads and blocking calls throughout; an asynchronous runtime appears in two corners, to receive signals (the
//! standard library cannot) and to speak SQL while closing (there is one client for that).
//! It must never end a server that may still acknowledge writes by anything but SIGKILL, and never start one that is held.

pub mod client;
mod close;
pub mod config;
mod disk;
pub mod keeper;
pub mod protocol;
mod supervise;

use std::path::{Path, PathBuf};

pub use client::{GuardClient, spawn};
pub use close::{NotClosed, close};
pub use config::GuardFile;
pub(crate) use disk::replace;
pub use protocol::{Exit, ExitCause, Hold, Request, Server, State};

/// The names of a guard's files in the instance's folder.
pub const CONFIG: &str = "guard.toml";
/// The socket that requests come in by, readable by its owner only.
pub const SOCKET: &str = "guard.sock";
/// The guard's process id, for people.
pub const PID: &str = "guard.pid";
/// What it knows, kept over restarts.
pub const STATE: &str = "guard.state";
/// Locked while a guard runs.
pub const LOCK: &str = "guard.lock";
/// What it says.
pub const LOG: &str = "guard.log";
/// What the server prints before it opens its own log.
pub const SERVER_OUTPUT: &str = "server.out";

/// Why a guard cannot do its work.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// Another guard looks after this instance.
    #[error("{}: a guard with process id {pid} runs already; there can be one per instance", .dir.display())]
    AlreadyRunning {
        /// The instance's folder.
        dir: PathBuf,
        /// Its guard, as its pid file says.
        pid: String,
    },
    /// A file cannot be used.
    #[error("{}: {what}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file says something that makes no sense.
    #[error("{}: {why}", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong, and the remedy.
        why: String,
    },
    /// The guard could not set itself up.
    #[error("the guard cannot {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

impl GuardError {
    fn file(path: impl Into<PathBuf>, what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, what, source }
    }

    fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}

/// Looks after the instance in `dir` until SIGTERM: then the server is closed, stopped, and this returns.
/// Returns an error at once when it cannot begin, for instance since another guard is there.
pub fn run(dir: &Path) -> Result<(), GuardError> {
    // A guard that was started by hand keeps its terminal's session if it leads one, which is no harm.
    let _ = rustix::process::setsid();
    supervise::run(dir)
}
