//! The owner's side: requests in, calls of the bus, answers out. A reader lives as long as somebody polls it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use millrace_schemas::topics::Topic;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::{Answer, BODY_MAX, PATH, Reply, Request, Token, encode, unique};
use crate::bus::{Assignment, Error, Polled, Reader, SharedBus};

/// 10 s without a poll: its process is frozen, and what it held goes to the next member of its group. One whose process ended
/// goes at once, with the connection that stood for it.
const READER_LIVES: Duration = Duration::from_secs(10);
/// 256 readers: a process has some ten, a site some ten processes.
const READERS_MAX: usize = 256;
/// 2 s: the longest that a poll waits here; shorter than a reader lives, so that a quiet one stays.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// What every request may use.
#[derive(Clone)]
struct Owner {
    bus: SharedBus,
    token: Token,
    readers: Arc<Mutex<HashMap<u64, Arc<Session>>>>,
    stop: watch::Receiver<bool>,
}

/// A reader of another process.
struct Session {
    client: u64,
    seen: Mutex<Instant>,
    reading: Mutex<Reading>,
}

struct Reading {
    reader: Box<dyn Reader>,
    /// Number of the batch that was sent last.
    sent: u64,
    /// Its items, until the other side says that it had them: an answer that was lost on the way is given again.
    last: Vec<Polled>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves `bus` on `listener` to whoever shows `token`, until `stop` says so.
pub async fn serve(
    bus: SharedBus,
    listener: TcpListener,
    token: Token,
    mut stop: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let owner = Owner { bus, token, readers: Arc::default(), stop: stop.clone() };
    let router = Router::new().route(PATH, post(answer)).layer(DefaultBodyLimit::max(BODY_MAX)).with_state(owner);
    axum::serve(listener, router)
        .with_graceful_shutdown(async move {
            // An error means that whoever could say stop is gone.
            let _ = stop.wait_for(|stop| *stop).await;
        })
        .await
}

async fn answer(State(owner): State<Owner>, headers: HeaderMap, body: Bytes) -> Response {
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if !shown.is_some_and(|shown| owner.token.is_shown_by(shown)) {
        return (StatusCode::UNAUTHORIZED, "show the token of this bus\n").into_response();
    }
    let request = match postcard::from_bytes::<Request>(&body) {
        Ok(request) => request,
        Err(error) => {
            return (StatusCode::BAD_REQUEST, format!("no request of this version: {error}\n")).into_response();
        }
    };
    let reply: Reply = match request {
        Request::Append(appends) => Ok(append(&owner.bus, appends).await),
        Request::Stay { client } => {
            let mut stop = owner.stop.clone();
            let stays = Stays { owner, client };
            // An error means that whoever could say stop is gone.
            let _ = stop.wait_for(|stop| *stop).await;
            drop(stays);
            Ok(Answer::Done)
        }
        // Everything else may block: on the file, on the writer, or for what is still to come.
        other => match tokio::task::spawn_blocking(move || owner.call(other)).await {
            Ok(reply) => reply,
            Err(error) => Err(Error::Unavailable(format!("a call of the bus failed: {error}"))),
        },
    };
    encode(&reply).into_response()
}

/// The connection of a process that uses the bus. When it ends, so has the process, and its readers go.
struct Stays {
    owner: Owner,
    client: u64,
}

impl Drop for Stays {
    fn drop(&mut self) {
        self.owner.forget(|session| session.client == self.client);
    }
}

async fn append(bus: &SharedBus, appends: Vec<Vec<millrace_schemas::record::NewRecord>>) -> Answer {
    // All are handed over before the first is waited for: they share a commit.
    let receipts: Vec<_> = appends.into_iter().map(|records| bus.append(records)).collect();
    let mut landed = Vec::with_capacity(receipts.len());
    for receipt in receipts {
        landed.push(receipt.await);
    }
    Answer::Appended(landed)
}

impl Owner {
    fn call(&self, request: Request) -> Reply {
        match request {
            Request::Append(_) | Request::Stay { .. } => unreachable!("both are awaited, not called"),
            Request::Open { client, assignment } => self.open(client, assignment),
            Request::Poll { reader, had, wait_ms } => self.poll(reader, had, Duration::from_millis(wait_ms)),
            Request::Commit { reader, topic, partition, next } => self.commit(reader, topic, partition, next),
            Request::Close { reader } => {
                let gone = lock(&self.readers).remove(&reader);
                drop(gone); // outside of the lock: leaving a group takes the bus's own
                Ok(Answer::Done)
            }
            Request::Partitions(topic) => self.bus.partitions(topic).map(Answer::Partitions),
            Request::Ends(topic) => self.bus.ends(topic).map(Answer::Ends),
            Request::Save(snapshots) => self.bus.save(snapshots).map(|()| Answer::Done),
            Request::Load(processor) => self.bus.load(&processor).map(Answer::Loaded),
        }
    }

    /// Opens a reader and polls it once: where it starts is settled before its owner is told that it has one.
    fn open(&self, client: u64, assignment: Assignment) -> Reply {
        self.forget(Session::is_silent);
        if lock(&self.readers).len() >= READERS_MAX {
            return Err(Error::Unavailable(format!(
                "{READERS_MAX} readers are open already: the most that are served"
            )));
        }
        let mut reader = self.bus.reader(assignment)?;
        let items = reader.poll(Duration::ZERO)?;
        let reading = Mutex::new(Reading { reader, sent: 0, last: Vec::new() });
        let session = Arc::new(Session { client, seen: Mutex::new(Instant::now()), reading });
        let number = unique();
        lock(&self.readers).insert(number, session);
        Ok(Answer::Opened { reader: number, items })
    }

    fn session(&self, reader: u64) -> Option<Arc<Session>> {
        self.forget(Session::is_silent);
        let session = lock(&self.readers).get(&reader).cloned()?;
        *lock(&session.seen) = Instant::now();
        Some(session)
    }

    fn poll(&self, reader: u64, had: u64, wait: Duration) -> Reply {
        let Some(session) = self.session(reader) else { return Ok(Answer::Gone) };
        let mut reading = lock(&session.reading);
        if had == reading.sent {
            // Empty while it polls: should that fail, there is nothing to give again.
            reading.last = Vec::new();
            let items = reading.reader.poll(wait.min(WAIT_MAX))?;
            reading.sent += 1;
            reading.last = items;
        }
        *lock(&session.seen) = Instant::now();
        Ok(Answer::Polled { batch: reading.sent, items: reading.last.clone() })
    }

    fn commit(&self, reader: u64, topic: Topic, partition: u32, next: u64) -> Reply {
        let Some(session) = self.session(reader) else { return Ok(Answer::Gone) };
        lock(&session.reading).reader.commit(topic, partition, next).map(|()| Answer::Done)
    }

    fn forget(&self, whom: impl Fn(&Session) -> bool) {
        let mut readers = lock(&self.readers);
        let numbers: Vec<u64> =
            readers.iter().filter(|(_, session)| whom(session)).map(|(number, _)| *number).collect();
        let gone: Vec<_> = numbers.iter().filter_map(|number| readers.remove(number)).collect();
        drop(readers);
        drop(gone); // outside of the lock, as above
    }
}

impl Session {
    fn is_silent(&self) -> bool {
        lock(&self.seen).elapsed() > READER_LIVES
    }
}
