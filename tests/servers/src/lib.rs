//! Real servers for tests. In: the templates that `make servers` leaves. Out: running instances on loopback, each with a
//! directory and a port of its own, which are killed, reaped and removed when dropped (or when the test process dies).
//! Used only by tests, so it panics with the remedy where a product would return an error: a missing server must fail a test
//! and never skip it. Not part of the product: Millrace creates its own instances with the hands of its executors.

mod cluster;
mod ports;
mod server;
mod template;

use std::time::{Duration, Instant};

pub use cluster::Cluster;
pub use ports::{Port, free_port};
pub use server::{Options, Server};
pub use template::template_of;

/// 30 s: starting a server or applying a backlog takes 1 to 5 s here; a loaded machine may need several times that.
pub const WAIT_MAX: Duration = Duration::from_secs(30);

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
    let start = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(start.elapsed() < WAIT_MAX, "waited {WAIT_MAX:?} in vain for: {what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
