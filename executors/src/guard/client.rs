//! The agent's side of a guard's socket. In: requests. Out: answers, and the guard's state as it changes. It reconnects for ever,
//! since a guard outlives agents and may itself be replaced; while none answers, the state is `None`: unknown, not down.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::protocol::{MESSAGE_BYTES_MAX, Message, Numbered, Request, State};
use super::{GuardError, LOG, SOCKET};

/// 10 s for an answer: a guard answers in milliseconds, plus one sync of the disk, which a starved host stretches to seconds.
/// Whoever has less time, as a fence has, bounds the wait itself.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// 50 ms between attempts to connect: a new guard is found at once, and a missing one costs nothing.
const RECONNECT_AFTER: Duration = Duration::from_millis(50);

/// 16 requests may wait: an agent performs one step at a time per instance.
const WAITING_MAX: usize = 16;

/// Why a guard did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// It would not.
    #[error("the guard of {} refused: {why}", .dir.display())]
    Refused {
        /// The instance's folder.
        dir: PathBuf,
        /// Its reason.
        why: String,
    },
    /// It did not answer; whether it did what was asked is unknown.
    #[error("the guard of {} did not answer within {within:?}; see that `millrace guard` runs there, and its log", .dir.display())]
    Away {
        /// The instance's folder.
        dir: PathBuf,
        /// How long was waited.
        within: Duration,
    },
}

struct Ask {
    request: Request,
    answer: oneshot::Sender<(Option<String>, State)>,
}

/// A lasting connection to the guard of one instance. Cloning shares it.
#[derive(Debug, Clone)]
pub struct GuardClient {
    dir: PathBuf,
    asks: mpsc::Sender<Ask>,
    states: watch::Receiver<Option<State>>,
}

impl GuardClient {
    /// Connects to the guard of the instance in `dir`, now and whenever there is one. Ends with its last clone. To be called
    /// within a tokio runtime.
    pub fn connect(dir: &Path) -> Self {
        let (asks, waiting) = mpsc::channel(WAITING_MAX);
        let (publish, states) = watch::channel(None);
        tokio::spawn(keep_connected(dir.join(SOCKET), waiting, publish));
        Self { dir: dir.to_owned(), asks, states }
    }

    /// The guard's state, as it changes. Each value is whole; a value that was not looked at is replaced by the next.
    pub fn states(&self) -> watch::Receiver<Option<State>> {
        self.states.clone()
    }

    /// The last state, or `None` while no guard answers.
    pub fn state(&self) -> Option<State> {
        self.states.borrow().clone()
    }

    /// Waits until a guard that should be there answers, at most 10 s.
    pub async fn ready(&self) -> Result<State, AskError> {
        self.ready_within(ANSWER_WITHIN).await
    }

    /// Waits until a guard answers.
    pub async fn ready_within(&self, within: Duration) -> Result<State, AskError> {
        let mut states = self.states.clone();
        let ready = timeout(within, states.wait_for(Option::is_some)).await;
        let state = ready.ok().and_then(Result::ok).and_then(|state| state.clone());
        state.ok_or_else(|| AskError::Away { dir: self.dir.clone(), within })
    }

    /// Asks and waits for the answer, at most 10 s. A request that timed out before it was sent is not sent any more.
    pub async fn ask(&self, request: Request) -> Result<State, AskError> {
        let (answer, answered) = oneshot::channel();
        let exchange = async {
            self.asks.send(Ask { request, answer }).await.ok()?;
            answered.await.ok()
        };
        match timeout(ANSWER_WITHIN, exchange).await {
            Ok(Some((None, state))) => Ok(state),
            Ok(Some((Some(why), _))) => Err(AskError::Refused { dir: self.dir.clone(), why }),
            Ok(None) | Err(_) => Err(AskError::Away { dir: self.dir.clone(), within: ANSWER_WITHIN }),
        }
    }
}

async fn keep_connected(socket: PathBuf, mut waiting: mpsc::Receiver<Ask>, publish: watch::Sender<Option<State>>) {
    loop {
        if let Ok(stream) = UnixStream::connect(&socket).await {
            if talk(stream, &mut waiting, &publish).await.is_none() {
                return;
            }
            publish.send_replace(None);
        }
        if waiting.is_closed() && waiting.is_empty() {
            return;
        }
        tokio::time::sleep(RECONNECT_AFTER).await;
    }
}

/// Talks until the connection breaks; `None` when nobody holds the client any more.
async fn talk(
    stream: UnixStream,
    waiting: &mut mpsc::Receiver<Ask>,
    publish: &watch::Sender<Option<State>>,
) -> Option<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read);
    let mut open: HashMap<u64, oneshot::Sender<(Option<String>, State)>> = HashMap::new();
    let mut next = 0;
    let mut line = Vec::new();
    loop {
        let mut limited = (&mut lines).take(MESSAGE_BYTES_MAX);
        tokio::select! {
            // A line that is read in part stays in `line` when the other branch comes first.
            taken = limited.read_until(b'\n', &mut line) => {
                if taken.is_err() || line.last() != Some(&b'\n') {
                    return Some(());
                }
                match serde_json::from_slice(&line) {
                    Ok(Message::State { state }) => drop(publish.send_replace(Some(state))),
                    Ok(Message::Answer { id, refused, state }) => {
                        publish.send_replace(Some(state.clone()));
                        if let Some(answer) = open.remove(&id) {
                            // Nobody waits any more if this fails.
                            let _ = answer.send((refused, state));
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a guard sent what cannot be read; is it of another version?");
                        return Some(());
                    }
                }
                line.clear();
            }
            ask = waiting.recv() => {
                let Ask { request, answer } = ask?;
                if answer.is_closed() {
                    continue;
                }
                next += 1;
                let Ok(mut text) = serde_json::to_vec(&Numbered { id: next, request }) else { continue };
                text.push(b'\n');
                open.insert(next, answer);
                if write.write_all(&text).await.is_err() {
                    return Some(());
                }
            }
        }
    }
}

/// Starts `PROGRAM guard --dir DIR` detached: in a session of its own, so that nothing that ends the caller ends it, and with
/// its words in `guard.log`. It refuses by itself if a guard is there. Returns its process id.
pub fn spawn(program: &Path, dir: &Path) -> Result<u32, GuardError> {
    let path = dir.join(LOG);
    let log = OpenOptions::new().append(true).create(true).open(&path);
    let log = log.map_err(GuardError::file(&path, "cannot be opened"))?;
    let errors = log.try_clone().map_err(GuardError::file(&path, "cannot be opened twice"))?;
    let mut child = Command::new(program)
        .arg("guard")
        .arg("--dir")
        .arg(dir)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .spawn()
        .map_err(GuardError::file(program, "cannot be started"))?;
    let pid = child.id();
    // A guard that ends while its starter lives must not stay a zombie.
    std::thread::spawn(move || child.wait());
    Ok(pid)
}
