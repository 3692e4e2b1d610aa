//! Starting and ending the server of an instance, through its guard. In: an epoch and what is to be so. Out: the guard's state once
//! it is so, or why not. Each can be asked again: what is already so is left as it is. No step here opens a server.

use std::path::{Path, PathBuf};
use std::time::Duration;

use millrace_mysql::{Dialect, Session, Target};
use millrace_schemas::ids::Epoch;
use tokio::time::{Instant, sleep, timeout};

use super::files::Instance;
use crate::guard::client::AskError;
use crate::guard::{GuardClient, GuardError, Request, Server, State, spawn};

/// 20 ms between looks at a server that is starting, which takes half a second to two.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// 250 ms for a guard that runs to answer a new connection, before another is started: it answers in one, and a second guard
/// is refused anyway.
const GUARD_ANSWERS_WITHIN: Duration = Duration::from_millis(250);

/// 30 s for a guard that was just started: it is there in 20 ms, but a host whose cores are all taken, as after a power cut, needs
/// seconds to start a process, and a guard that is late is no failure. Every step has a limit of its own besides.
const GUARD_STARTS_WITHIN: Duration = Duration::from_secs(30);

/// The end of the error log that is shown when a server did not start: its last words are there.
const LOG_LINES: usize = 5;

/// Why a server is not as it was to be.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The guard would not, or does not answer.
    #[error(transparent)]
    Guard(#[from] AskError),
    /// No guard could be started.
    #[error(transparent)]
    Spawn(#[from] GuardError),
    /// The server ended while it was starting.
    #[error("{instance}: the server ended while it was starting: {how}; its error log ends with: {log}")]
    Died {
        /// The instance.
        instance: String,
        /// Code, signal or error.
        how: String,
        /// The last lines of its log.
        log: String,
    },
    /// It runs, and lets clients write.
    #[error("{instance}: the server runs and is open; it has to be fenced before it can count as started closed")]
    Open {
        /// The instance.
        instance: String,
    },
    /// It is not so in time.
    #[error("{instance}: the server is not {wanted} after {within:?}: {last}")]
    Late {
        /// The instance.
        instance: String,
        /// What was to be.
        wanted: &'static str,
        /// How long was waited.
        within: Duration,
        /// What was seen last.
        last: String,
    },
}

/// The process of one instance.
#[derive(Debug, Clone)]
pub struct Process {
    instance: String,
    error_log: PathBuf,
    target: Target,
    guard: GuardClient,
}

impl Process {
    /// Connects to the guard of `instance`, and starts one (`PROGRAM guard --dir DIR`) if none answers.
    pub async fn ensure_guard(program: &Path, instance: &Instance) -> Result<Self, ProcessError> {
        let guard = GuardClient::connect(&instance.dir);
        let mut states = guard.states();
        if timeout(GUARD_ANSWERS_WITHIN, states.wait_for(Option::is_some)).await.is_err() {
            spawn(program, &instance.dir)?;
            guard.ready_within(GUARD_STARTS_WITHIN).await?;
        }
        Ok(Self {
            instance: instance.instance.to_string(),
            error_log: instance.error_log(),
            target: instance.target(),
            guard,
        })
    }

    /// The connection to the guard, for its states.
    pub fn guard(&self) -> &GuardClient {
        &self.guard
    }

    /// The server runs, answers, and is closed.
    pub async fn start_closed(&self, epoch: Epoch, superseded: bool, within: Duration) -> Result<State, ProcessError> {
        let asked = self.guard.ask(Request::Start { epoch, superseded }).await?;
        let deadline = Instant::now() + within;
        loop {
            let state = self.guard.state().unwrap_or_else(|| asked.clone());
            // The answer came after the start, so a server that is down ended since.
            if state.server == Server::Down {
                return Err(self.died(&state));
            }
            let last = match self.is_closed().await {
                Ok(true) => return Ok(state),
                Ok(false) => return Err(ProcessError::Open { instance: self.instance.clone() }),
                Err(error) => error.to_string(),
            };
            self.wait_until(deadline, within, "answering", last).await?;
        }
    }

    /// The server is down by SIGKILL, and stays down until a request of this epoch or a newer one: the fence that needs nothing
    /// from the server.
    pub async fn kill_and_hold(&self, epoch: Epoch, within: Duration) -> Result<State, ProcessError> {
        self.guard.ask(Request::Kill { epoch }).await?;
        self.until(within, "held down", |state| state.is_held_down_for(epoch)).await
    }

    /// A server that is down stays down; one that runs goes on. Tells which.
    pub async fn hold(&self, epoch: Epoch) -> Result<State, ProcessError> {
        Ok(self.guard.ask(Request::Hold { epoch }).await?)
    }

    /// A hold is over; a server that should run is started, closed.
    pub async fn release(&self, epoch: Epoch) -> Result<State, ProcessError> {
        Ok(self.guard.ask(Request::Release { epoch }).await?)
    }

    /// The server was closed and stopped in good order (or killed, if closing could not be confirmed), and stays down.
    pub async fn stop(&self, epoch: Epoch, within: Duration) -> Result<State, ProcessError> {
        self.guard.ask(Request::Stop { epoch }).await?;
        self.until(within, "stopped", |state| state.server == Server::Down && !state.keep_running).await
    }

    async fn until(
        &self,
        within: Duration,
        wanted: &'static str,
        so: impl Fn(&State) -> bool,
    ) -> Result<State, ProcessError> {
        let mut states = self.guard.states();
        let reached = timeout(within, states.wait_for(|state| state.as_ref().is_some_and(&so))).await;
        if let Ok(Ok(state)) = reached
            && let Some(state) = state.clone()
        {
            return Ok(state);
        }
        let last = self.guard.state().map_or("its guard does not answer".into(), |state| format!("{:?}", state.server));
        Err(ProcessError::Late { instance: self.instance.clone(), wanted, within, last })
    }

    async fn wait_until(
        &self,
        deadline: Instant,
        within: Duration,
        wanted: &'static str,
        last: String,
    ) -> Result<(), ProcessError> {
        if Instant::now() >= deadline {
            return Err(ProcessError::Late { instance: self.instance.clone(), wanted, within, last });
        }
        sleep(LOOK_EVERY).await;
        Ok(())
    }

    async fn is_closed(&self) -> Result<bool, millrace_mysql::Error> {
        let mut session = Session::open(&self.target).await?;
        let dialect = Dialect::detect(&mut session).await?;
        let closed = session.value(dialect.select_closed()).await?;
        session.close().await;
        Ok(closed.as_deref() == Some("1"))
    }

    fn died(&self, state: &State) -> ProcessError {
        let how = state.last_exit.as_ref().map_or("nobody knows how".into(), |exit| {
            let code = exit.code.map(|code| format!("exit code {code}"));
            let signal = exit.signal.map(|signal| format!("signal {signal}"));
            exit.error.clone().or(code).or(signal).unwrap_or_else(|| "nobody knows how".into())
        });
        let text = std::fs::read(&self.error_log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let log = lines[lines.len().saturating_sub(LOG_LINES)..].join(" | ");
        ProcessError::Died { instance: self.instance.clone(), how, log }
    }
}
