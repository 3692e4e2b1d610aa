//! An interface or a file enters; batches leave, one per second, also for quiet seconds.
//! Live capture only ever reads, a thread for each share of the connections; times are the kernel's, so that a late wake-up costs
//! no accuracy. A second is closed when the wall clock has passed it by a little. It must never wait without looking whether it
//! is to stop, and never hide what the kernel dropped.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use millrace_schemas::topics::queries::Row;

use super::books::Books;
use super::decoder::Decoder;
use super::ended::{Ended, Timed};
use super::sampling::{Load, Pressure};
use super::shares::{self, Share};
use super::table::{Flushed, Totals};
use super::tap::{File, GATHER, Kernel, Packet, Tap, now_us};
use super::watched::Watched;
use crate::statements::NewDigest;

/// How long after its end a second is closed: the kernel hands packets over every 20 ms, and 150 ms let a busy machine catch up.
const CLOSE_AFTER_US: i64 = 150_000;
/// Sleep when nothing was captured: as long as the kernel gathers.
const PAUSE: Duration = GATHER;
/// Commands that wait until they are handed on, of a file: some hundred kilobytes.
const ENDED_PER_BATCH: usize = 512;

/// Where to capture, and by how many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// The interface: `lo`, `eth0`, or `any` for all.
    pub interface: String,
    /// Threads, at least one: each takes its share of the connections, and has a buffer of 16 MiB in the kernel. One core decodes
    /// half a gigabyte a second; a second thread is for hosts with more than that, or whose cores are slow.
    pub threads: usize,
}

/// What one second gave; or, where commands are told one by one, a part of it: its commands and what they added to the books,
/// without rows and totals.
#[derive(Debug, Default)]
pub struct Batch {
    /// Commands as they ended, where they are kept.
    pub ended: Vec<Ended>,
    /// How long commands took, where that is kept.
    pub times: Vec<Timed>,
    /// Everything that was captured before this time was decoded, in microseconds since 1970-01-01 UTC.
    pub until_us: i64,
    /// Rows of topic `queries`, of the seconds that were closed.
    pub rows: Vec<Row>,
    /// Totals by instance and second.
    pub totals: Vec<Totals>,
    /// Digests that were seen for the first time.
    pub new_digests: Vec<NewDigest>,
    /// How many of each command came since the batch before, by their names in the protocol.
    pub commands: Vec<(&'static str, u64)>,
    /// What was added to the books since the batch before.
    pub books: Books,
    /// What the kernel counted since the batch before; zeros for a file.
    pub kernel: Kernel,
    /// Each connection that is followed stands for so many; of several threads, where it stands for most.
    pub sample_factor: u32,
}

/// Why nothing is captured.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The process may not capture.
    #[error("no permission to capture on '{interface}': run `setcap cap_net_raw+ep {executable}`, or start as root")]
    Permission {
        /// The interface.
        interface: String,
        /// The program that needs the capability.
        executable: String,
    },
    /// The interface cannot be opened, or went away.
    #[error("cannot capture on '{interface}': {reason}")]
    Interface {
        /// The interface.
        interface: String,
        /// What libpcap says.
        reason: String,
    },
    /// The file cannot be read.
    #[error("cannot read capture file '{path}': {reason}")]
    File {
        /// The file.
        path: String,
        /// What libpcap says.
        reason: String,
    },
    /// Frames of this kind are not understood.
    #[error("captures of link type {0} are not understood; capture on an Ethernet, loopback or 'any' interface")]
    LinkType(i32),
}

/// Opens the interface as a capture would, and closes it again.
pub fn can_capture(interface: &str) -> Result<(), CaptureError> {
    // A capture that is told to stop before it begins opens the interface, looks once at what was counted, and ends.
    let live = Live { interface: interface.to_owned(), threads: 1 };
    run(&live, || Decoder::new(&[]), &Watched::default(), &AtomicBool::new(true), |_| true)
}

/// Captures until `stop` is set or `emit` returns false, which says that nobody listens any more. The servers are those that are
/// watched. Each thread has a decoder; of several, batches of the same time come one after the other, with the rows of a second in
/// the last of them.
pub fn run(
    live: &Live,
    decoder: impl Fn() -> Decoder,
    watched: &Watched,
    stop: &AtomicBool,
    mut emit: impl FnMut(Batch) -> bool,
) -> Result<(), CaptureError> {
    if live.threads <= 1 {
        return share(live, decoder(), watched, stop, &mut emit);
    }
    let decoders = Share::all(live.threads).map(|share| {
        let mut decoder = decoder();
        decoder.take_share(share);
        decoder
    });
    shares::run(decoders.collect(), |decoder, emit| share(live, decoder, watched, stop, emit), emit)
}

/// Captures a share of the connections.
fn share(
    live: &Live,
    mut decoder: Decoder,
    watched: &Watched,
    stop: &AtomicBool,
    emit: &mut dyn FnMut(Batch) -> bool,
) -> Result<(), CaptureError> {
    let (mut tap, mut reported) = (Tap::open(live, &mut decoder, watched)?, Reported::default());
    let mut closed = now_us().div_euclid(1_000_000);
    let (mut pressure, mut idle) = (Pressure::default(), Idle::new());
    while !stop.load(Ordering::Relaxed) {
        tap.renew(&mut decoder, watched)?;
        let round = tap.round(&mut decoder)?;
        // Who is behind has not come to now.
        let now = round.unless_all.map_or_else(now_us, |last_us| last_us.min(now_us()));
        let due = (now - CLOSE_AFTER_US).div_euclid(1_000_000);
        if due > closed {
            closed = due;
            decoder.tick(now);
            watched.exchange(&mut decoder);
            let flushed = decoder.flush(due);
            let kernel = tap.counted();
            let load = Load {
                received: kernel.received,
                dropped: kernel.dropped,
                busy: idle.busy(),
                followed: decoder.followed(),
            };
            let factor = pressure.next(decoder.sample_factor(), load);
            if factor != decoder.sample_factor() {
                decoder.sample_one_of(factor, now);
            }
            if !emit(reported.batch(&mut decoder, flushed, kernel, now - CLOSE_AFTER_US)) {
                return Ok(());
            }
        } else if decoder.tells_each() && !emit(reported.part(&mut decoder, now - CLOSE_AFTER_US)) {
            return Ok(());
        }
        if round.unless_all.is_none() {
            idle.sleep(PAUSE);
        }
    }
    let kernel = tap.counted();
    let flushed = decoder.finish();
    emit(reported.batch(&mut decoder, flushed, kernel, now_us()));
    Ok(())
}

/// Decodes a capture file; a batch per second of the capture goes to `emit`, until it returns false. Returns the books. Of a file
/// that ends inside a packet everything before goes to `emit` too.
pub fn read_file(
    path: &Path,
    mut decoder: Decoder,
    mut emit: impl FnMut(Batch) -> bool,
) -> Result<Books, CaptureError> {
    let mut file = File::open(path)?;
    let mut reported = Reported::default();
    let (mut second, mut last_us) = (None, 0);
    let outcome = loop {
        let Packet { ts_us, data, link_type } = match file.next() {
            Ok(Some(packet)) => packet,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        };
        // Packets are nearly in order: a second is closed when the next is over, as late packets count in the open one.
        let due = (ts_us - CLOSE_AFTER_US).div_euclid(1_000_000);
        if second.is_some_and(|second| due > second) {
            decoder.tick(ts_us);
            let flushed = decoder.flush(due);
            if !emit(reported.batch(&mut decoder, flushed, Kernel::default(), ts_us - CLOSE_AFTER_US)) {
                return Ok(decoder.books());
            }
        } else if decoder.waiting() >= ENDED_PER_BATCH && !emit(reported.part(&mut decoder, ts_us - CLOSE_AFTER_US)) {
            return Ok(decoder.books());
        }
        last_us = last_us.max(ts_us);
        second = Some(second.map_or(due, |second: i64| second.max(due)));
        decoder.packet(ts_us, data, link_type);
    };
    let flushed = decoder.finish();
    emit(reported.batch(&mut decoder, flushed, Kernel::default(), last_us));
    outcome.map(|()| decoder.books())
}

/// How much of the time nothing was to be done.
struct Idle {
    since: Instant,
    slept: Duration,
}

impl Idle {
    fn new() -> Self {
        Idle { since: Instant::now(), slept: Duration::ZERO }
    }

    fn sleep(&mut self, time: Duration) {
        let began = Instant::now();
        std::thread::sleep(time);
        self.slept += began.elapsed();
    }

    /// The share of the time since the last call in which something was; also that in which another had the core.
    fn busy(&mut self) -> f64 {
        let last = std::mem::replace(self, Idle::new());
        1.0 - last.slept.as_secs_f64() / self.since.duration_since(last.since).as_secs_f64().max(f64::EPSILON)
    }
}

/// What was reported before, so that each batch says what was added.
#[derive(Debug, Default)]
struct Reported {
    books: Books,
    commands: HashMap<&'static str, u64>,
}

impl Reported {
    /// What there is before the second is over: no sums.
    fn part(&mut self, decoder: &mut Decoder, until_us: i64) -> Batch {
        self.batch(decoder, Flushed::default(), Kernel::default(), until_us)
    }

    fn batch(&mut self, decoder: &mut Decoder, flushed: Flushed, kernel: Kernel, until_us: i64) -> Batch {
        let books = decoder.books();
        let added = books.since(&self.books);
        self.books = books;
        let mut commands = Vec::new();
        for (name, count) in decoder.commands() {
            let before = self.commands.insert(name, count).unwrap_or(0);
            if count > before {
                commands.push((name, count - before));
            }
        }
        Batch {
            commands,
            rows: flushed.rows,
            totals: flushed.totals,
            new_digests: decoder.take_new(),
            books: added,
            kernel,
            ended: decoder.take_ended(),
            times: decoder.take_times(),
            until_us,
            sample_factor: decoder.sample_factor(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_interface_is_named() {
        for threads in [1, 3] {
            let live = Live { interface: "nosuch0".into(), threads };
            let stop = AtomicBool::new(false);
            let error =
                run(&live, || Decoder::new(&[]), &Watched::default(), &stop, |_| true).expect_err("no interface");
            assert!(error.to_string().contains("nosuch0"), "{error}");
        }
    }
}
