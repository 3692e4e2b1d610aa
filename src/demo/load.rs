//! The demo's load: several connections that follow the published route, text and prepared statements, some slow ones, at most
//! 200 writes a second. Every acknowledged write is recorded with its time: these rows must all be found in the end.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use millrace_schemas::topics::routes::Route;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Opts, OptsBuilder};
use tokio::sync::watch;
use tokio::time::timeout;

/// 4 writers at 40 ms: 100 writes a second, the harness that other systems were measured with.
const WRITERS: usize = 4;
const WRITE_EVERY: Duration = Duration::from_millis(40);
/// 2 readers at 20 ms: text and prepared in turn.
const READERS: usize = 2;
const READ_EVERY: Duration = Duration::from_millis(20);
/// One slow statement every 3 s, over the slow log's limit of 0.5 s.
const SLOW_EVERY: Duration = Duration::from_secs(3);
/// 1 s for a write: a client that waits longer tries another connection. What became of it is then unknown to it.
const WRITE_WITHIN: Duration = Duration::from_secs(1);
/// 20 ms before the next attempt to connect.
const AGAIN: Duration = Duration::from_millis(20);

/// How clients log in.
#[derive(Clone, Debug)]
pub(super) struct Login {
    /// The account.
    pub(super) user: String,
    /// Its password.
    pub(super) password: String,
    /// The schema.
    pub(super) schema: String,
}

/// What the load has done.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// Keys of acknowledged writes with when the acknowledgement came.
    acknowledged: Mutex<Vec<(u64, Instant)>>,
    /// Writes whose fate the client does not know.
    pub(super) unknown: AtomicU64,
    next: AtomicU64,
    paused: AtomicBool,
    busy: AtomicU64,
}

impl Done {
    /// The keys of all acknowledged writes.
    pub(super) fn keys(&self) -> Vec<u64> {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|(key, _)| *key).collect()
    }

    /// The longest time without an acknowledgement after `from`.
    pub(super) fn gap_after(&self, from: Instant) -> Option<Duration> {
        let all = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        let last_before = all.iter().map(|(_, at)| *at).filter(|at| *at <= from).max()?;
        let first_after = all.iter().map(|(_, at)| *at).filter(|at| *at > from + Duration::from_millis(5)).min()?;
        // Writes acknowledged in the first milliseconds were on their way already.
        let last = all.iter().map(|(_, at)| *at).filter(|at| *at < first_after).max().unwrap_or(last_before);
        Some(first_after.duration_since(last))
    }

    /// Pauses the load, and resolves once nothing is in flight.
    pub(super) async fn pause(&self) {
        self.paused.store(true, Ordering::SeqCst);
        while self.busy.load(Ordering::SeqCst) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Goes on.
    pub(super) fn resume(&self) {
        self.paused.store(false, Ordering::SeqCst);
    }

    /// Runs `work` unless the load is paused.
    async fn turn<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.busy.fetch_add(1, Ordering::SeqCst);
        let outcome = if self.paused.load(Ordering::SeqCst) { None } else { Some(work.await) };
        self.busy.fetch_sub(1, Ordering::SeqCst);
        outcome
    }
}

/// The statements that make the load's tables.
pub(super) const TABLES: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS orders(order_key BIGINT PRIMARY KEY, writer INT NOT NULL, amount INT NOT NULL, note VARCHAR(64))",
    "CREATE TABLE IF NOT EXISTS articles(article_key INT PRIMARY KEY, title VARCHAR(64) NOT NULL, price INT NOT NULL)",
];

/// Starts the load; it stops when `stop` becomes true.
pub(super) fn start(routes: &watch::Receiver<Option<Route>>, login: &Login, stop: &watch::Receiver<bool>) -> Arc<Done> {
    let done = Arc::new(Done::default());
    for worker in 0..=(WRITERS + READERS) {
        let (done, routes, login, stop) = (Arc::clone(&done), routes.clone(), login.clone(), stop.clone());
        tokio::spawn(async move {
            let mut client = Client { conn: None, routes, login, worker };
            while !*stop.borrow() {
                client.turn(&done).await;
            }
        });
    }
    done
}

/// Connects to whatever the route names.
pub(super) async fn connect(address: &str, port: u16, login: &Login) -> mysql_async::Result<Conn> {
    let options = OptsBuilder::default()
        .ip_or_hostname(address)
        .tcp_port(port)
        .user(Some(&login.user))
        .pass(Some(&login.password))
        .db_name(Some(&login.schema))
        .prefer_socket(false); // packets are what the agents watch
    Conn::new(Opts::from(options)).await
}

struct Client {
    conn: Option<Conn>,
    routes: watch::Receiver<Option<Route>>,
    login: Login,
    worker: usize,
}

impl Client {
    async fn turn(&mut self, done: &Done) {
        if self.routes.has_changed().unwrap_or(false) {
            self.routes.borrow_and_update();
            self.conn = None; // another primary: whatever was in flight is over
        }
        if self.conn.is_none() && !self.open(done).await {
            tokio::time::sleep(AGAIN).await;
            return;
        }
        let Some(mut conn) = self.conn.take() else { return };
        let worker = self.worker;
        let every = if worker < WRITERS {
            WRITE_EVERY
        } else if worker < WRITERS + READERS {
            READ_EVERY
        } else {
            SLOW_EVERY
        };
        let mut routes = self.routes.clone();
        let outcome = tokio::select! {
            outcome = done.turn(work(&mut conn, worker, done)) => outcome,
            _ = routes.changed() => Some(false), // do not wait for a server that is gone
        };
        match outcome {
            Some(true) => self.conn = Some(conn),
            Some(false) => {}
            None => {
                self.conn = Some(conn);
                tokio::time::sleep(AGAIN).await;
                return;
            }
        }
        tokio::time::sleep(every).await;
    }

    async fn open(&mut self, done: &Done) -> bool {
        let Some(primary) = self.routes.borrow().as_ref().and_then(|route| route.primary.clone()) else { return false };
        let connecting = done.turn(timeout(WRITE_WITHIN, connect(&primary.address, primary.port, &self.login)));
        if let Some(Ok(Ok(conn))) = connecting.await {
            self.conn = Some(conn);
        }
        self.conn.is_some()
    }
}

/// One turn of a worker; false when the connection is of no use any more.
async fn work(conn: &mut Conn, worker: usize, done: &Done) -> bool {
    if worker < WRITERS {
        return write(conn, worker, done).await;
    }
    let reading = async {
        match worker - WRITERS {
            0 => {
                let key = done.next.load(Ordering::Relaxed) % 100;
                conn.query_drop(format!("SELECT title, price FROM articles WHERE article_key = {key}")).await?;
                conn.query_drop("SELECT COUNT(*), SUM(amount) FROM orders WHERE writer = 1 AND amount > 50").await
            }
            1 => conn.exec_drop("SELECT title FROM articles WHERE price > ? ORDER BY price LIMIT 3", (50,)).await,
            _ => conn.query_drop("SELECT SLEEP(0.6), COUNT(*) FROM orders").await,
        }
    };
    reading.await.is_ok()
}

async fn write(conn: &mut Conn, worker: usize, done: &Done) -> bool {
    let key = done.next.fetch_add(1, Ordering::Relaxed);
    let amount = key % 100;
    let writing = async {
        if worker.is_multiple_of(2) {
            conn.query_drop(format!("INSERT INTO orders VALUES({key}, {worker}, {amount}, 'text')")).await
        } else {
            let statement = "INSERT INTO orders(order_key, writer, amount, note) VALUES(?, ?, ?, ?)";
            conn.exec_drop(statement, (key, worker, amount, "prepared")).await
        }
    };
    if timeout(WRITE_WITHIN, writing).await.is_ok_and(|outcome| outcome.is_ok()) {
        done.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).push((key, Instant::now()));
        return true;
    }
    done.unknown.fetch_add(1, Ordering::Relaxed);
    false
}
