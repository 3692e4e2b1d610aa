//! What a guard and its clients say to each other: one JSON value per line, over the instance's socket. In: [`Request`]s with a
//! number each. Out: the full [`State`] on connecting and after every change, and one answer per request with its number.
//! States are whole, so a client that lost its connection has missed nothing once it has the next one.

use millrace_schemas::ids::Epoch;
use serde::{Deserialize, Serialize};

/// 4 KiB: no request is a tenth of it; who sends more is no client.
pub const REQUEST_BYTES_MAX: u64 = 4096;

/// 64 KiB: a state has below 2 KiB; who sends more is no guard.
pub const MESSAGE_BYTES_MAX: u64 = 64 * 1024;

/// What a client asks. All but `State` are promises: the guard refuses epochs below the highest that it has heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Request {
    /// Start the server (closed, as its configuration says) if it does not run, and keep it running.
    Start {
        /// The epoch that this is done in.
        epoch: Epoch,
        /// Another server was promoted since it ran: `MariaDB` may then drop what it wrote and nobody acknowledged.
        #[serde(default)]
        superseded: bool,
    },
    /// Close the server, stop it, and leave it down.
    Stop {
        /// The epoch that this is done in.
        epoch: Epoch,
    },
    /// End the server by SIGKILL and hold it down.
    Kill {
        /// The epoch that this is done in.
        epoch: Epoch,
    },
    /// Do not start the server again once it is down. One that runs goes on.
    Hold {
        /// The epoch that this is done in.
        epoch: Epoch,
    },
    /// End a hold; a server that should run is started, closed.
    Release {
        /// The epoch that this is done in.
        epoch: Epoch,
    },
    /// Nothing but the answer.
    State,
}

impl Request {
    /// The epoch that the request promises.
    pub fn epoch(self) -> Option<Epoch> {
        match self {
            Self::Start { epoch, .. }
            | Self::Stop { epoch }
            | Self::Kill { epoch }
            | Self::Hold { epoch }
            | Self::Release { epoch } => Some(epoch),
            Self::State => None,
        }
    }
}

/// A request with the number that its answer will carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbered {
    /// Chosen by the client.
    pub id: u64,
    /// What is asked.
    #[serde(flatten)]
    pub request: Request,
}

/// What a guard sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Message {
    /// Something changed, or the client just connected. It may be ahead of the disk.
    State {
        /// Everything, as it is now.
        state: State,
    },
    /// The answer to a request; what it changed is on the disk.
    Answer {
        /// The request's number.
        id: u64,
        /// Why the request was refused; absent if it was not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refused: Option<String>,
        /// Everything, as it is now.
        state: State,
    },
}

/// The server process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Server {
    /// There is none.
    #[default]
    Down,
    /// It runs.
    Running(Process),
    /// It runs and is being ended.
    Ending(Process),
}

impl Server {
    /// The process, if there is one.
    pub fn process(self) -> Option<Process> {
        match self {
            Self::Down => None,
            Self::Running(process) | Self::Ending(process) => Some(process),
        }
    }
}

/// A process, named so that no later one can be taken for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// When it started, in the kernel's clock ticks since the machine did: with the id, unique on a running machine.
    pub start_ticks: u64,
    /// When it was started: `CLOCK_BOOTTIME` in microseconds.
    pub since_boot_us: u64,
}

/// Why a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExitCause {
    /// The guard ended it, since a client of the guard or a SIGTERM to the guard said so.
    Asked,
    /// Somebody else shut it down in good order: a SHUTDOWN statement, or a SIGTERM to the server.
    Shutdown,
    /// It asked to be started again (MySQL's RESTART, exit code 16).
    Restart,
    /// A signal, another exit code, or a start that failed.
    Crash,
    /// It was gone, and nobody who knows how was there: the guard itself had been restarted.
    Unknown,
}

impl ExitCause {
    /// Whether somebody wanted the server to end.
    pub fn is_requested(self) -> bool {
        matches!(self, Self::Asked | Self::Shutdown | Self::Restart)
    }
}

/// How a server ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Its process id; 0 if it could not even be started.
    pub pid: u32,
    /// The exit code, if it had one.
    pub code: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// Why.
    pub cause: ExitCause,
    /// When: `CLOCK_BOOTTIME` in microseconds.
    pub at_boot_us: u64,
    /// When, by the wall clock, in microseconds since 1970, for people.
    pub at_wall_us: u64,
    /// Why it could not be started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Why a server that is down is not started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The epoch that asked for it and ends it; absent for the hold that follows every crash, which lapses by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// Since when: `CLOCK_BOOTTIME` in microseconds.
    pub since_boot_us: u64,
    /// When it lapses into a closed start; absent if only a request ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lapses_boot_us: Option<u64>,
}

/// Everything that a guard knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Grows with every change.
    pub serial: u64,
    /// The guard's process id.
    pub guard_pid: u32,
    /// The highest epoch that was promised; requests of lower ones are refused.
    pub promised: Epoch,
    /// The server's process.
    pub server: Server,
    /// Whether the server should run, holds aside. False before the first start and after a requested stop.
    pub keep_running: bool,
    /// The next start is one after another server was promoted.
    #[serde(default)]
    pub superseded: bool,
    /// What keeps it down.
    pub hold: Option<Hold>,
    /// How it last ended.
    pub last_exit: Option<Exit>,
    /// Crashes in a row, without a minute of running between.
    pub crashes: u32,
    /// How often it was started since the instance was made.
    pub starts: u64,
}

impl State {
    /// Whether the server is down and stays so until a request of `epoch` or a newer one: what a fence relies on.
    pub fn is_held_down_for(&self, epoch: Epoch) -> bool {
        self.server == Server::Down && self.promised >= epoch && self.hold.is_some_and(|hold| hold.epoch.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_messages_are_one_line_each_and_read_back() {
        let request = Numbered { id: 7, request: Request::Hold { epoch: Epoch(3) } };
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(text, r#"{"id":7,"do":"hold","epoch":3}"#);
        assert_eq!(serde_json::from_str::<Numbered>(&text).unwrap(), request);
        assert!(serde_json::from_str::<Numbered>(r#"{"id":7,"do":"explode"}"#).is_err());
        let process = Process { pid: 12, start_ticks: 34, since_boot_us: 56 };
        let state = State { server: Server::Running(process), ..State::default() };
        let message = Message::Answer { id: 7, refused: Some("why".into()), state };
        let text = serde_json::to_string(&message).unwrap();
        assert!(!text.contains('\n'));
        assert_eq!(serde_json::from_str::<Message>(&text).unwrap(), message);
    }
}
