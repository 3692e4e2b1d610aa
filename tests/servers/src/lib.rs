//! Real servers for tests. In: the templates that `make servers` leaves. Out: running instances on loopback, each with a
//! directory and a port of its own, which are killed, reaped and removed when dropped (or when the test process dies);
//! Kafka brokers likewise; and a slow or broken network between them: a proxy, and a namespace whose link can be cut.
//! Used only by tests, so it panics with the remedy where a product would return an error: a missing server must fail a test
//! and never skip it. Not part of the product: Millrace creates its own instances with the hands of its executors.

mod bomb;
mod cluster;
mod island;
mod kafka;
mod mail;
mod parent;
mod ports;
mod proxy;
mod server;
mod shared_kafka;
mod store;
mod template;

use std::fmt::Display;
use std::time::{Duration, Instant};

pub use bomb::bomb;
pub use cluster::Cluster;
pub use island::Island;
pub use kafka::{Kafka, KafkaOptions, Settings};
pub use mail::{Mail, certificate, signed};
pub use ports::{Port, free_port};
pub use proxy::Proxy;
pub use server::{Options, Server};
pub use shared_kafka::shared_kafka;
pub use store::{Store, TOKEN, duckdb};
pub use template::template_of;

/// 3 minutes: starting a server or applying a backlog takes 1 to 5 s here, but the tests may have to share starved cores. Only a
/// failure takes so long.
pub const WAIT_MAX: Duration = Duration::from_mins(3);

/// 10 ms between looks: short beside everything that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// `Some` once no thread of the process runs. A SIGSTOP reaches thread after thread, and one that still runs would answer.
pub fn all_stopped(pid: u32) -> Option<()> {
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        let stat = std::fs::read_to_string(task.path().join("stat")).ok()?;
        let (_, after_name) = stat.rsplit_once(')')?;
        after_name.trim_start().starts_with('T').then_some(())?;
    }
    Some(())
}

/// Asks until the answer is `Some`, and panics with `what` if it never is.
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    settled(what, async || ask().await.ok_or("nothing yet")).await
}

/// Asks until the answer is `Ok`, and panics with `what` and the last error if it never is.
pub async fn settled<T, E: Display>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, E>) -> T {
    let start = Instant::now();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(last) => assert!(start.elapsed() < WAIT_MAX, "waited {WAIT_MAX:?} in vain for: {what}; last: {last}"),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
