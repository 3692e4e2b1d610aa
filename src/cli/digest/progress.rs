//! How far it is, for people who wait at a terminal: nothing for the first moments, and nothing where nobody looks.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// 1 s of work goes by unseen: a bar that flashes says nothing.
const QUIET: Duration = Duration::from_secs(1);
/// Looks at the clock every 1,024 entries: some milliseconds apart.
const EVERY: u64 = 1 << 10;

/// The bar.
pub(super) struct Progress {
    /// Bytes read of all files, as they are on disk.
    pub(super) read: Arc<AtomicU64>,
    begun: Instant,
    calls: u64,
    bar: ProgressBar,
    watched: bool,
}

impl Progress {
    /// A bar for so many bytes; none where the end is not known.
    pub(super) fn new(total: Option<u64>) -> Self {
        let template = match total {
            Some(_) => "reading {wide_bar} {percent:>3}%  {bytes_per_sec}  {eta} left",
            None => "reading {spinner} {bytes}  {bytes_per_sec}",
        };
        let style = ProgressStyle::with_template(template).expect("the template is a constant");
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden()).with_style(style);
        Self { read: Arc::default(), begun: Instant::now(), calls: 0, bar, watched: std::io::stderr().is_terminal() }
    }

    /// Called for every entry.
    pub(super) fn tick(&mut self) {
        self.calls += 1;
        if !self.watched || !self.calls.is_multiple_of(EVERY) {
            return;
        }
        // Hidden at first, but told from the beginning on: so the rate is right when it shows.
        self.bar.set_position(self.read.load(Ordering::Relaxed));
        if self.bar.is_hidden() && self.begun.elapsed() > QUIET {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }

    /// Lets `say` write to standard error.
    pub(super) fn aside(&self, say: impl FnOnce()) {
        self.bar.suspend(say);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
