//! What the demo writes to the terminal: chapters, sentences, and the live table, in 80 columns.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::console::Shown;
use crate::console::table::table;

/// The table is printed every 5 s: four times in the demo, and readable in a log.
const TABLE_EVERY: Duration = Duration::from_secs(5);
/// Writes a line; a terminal that is gone is no reason to stop.
pub(super) fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
    let _ = std::io::stdout().flush();
}

pub(super) fn chapter(number: usize, title: &str) {
    say(&format!("\n[{number}/6] {title}"));
}

/// Shows the live table for a while.
pub(super) async fn watch(shown: &Shown, console: SocketAddr, long: Duration) {
    say(&format!("  the same, live, with the topology: http://{console}"));
    let until = Instant::now() + long;
    while Instant::now() < until {
        tokio::time::sleep(TABLE_EVERY.min(until.saturating_duration_since(Instant::now()))).await;
        say(&table(&shown.view()));
    }
}
