//! The only place that touches libpcap: an interface or a file enters; batches leave, one per second, also for quiet seconds.
//! Live capture only ever reads, a thread for each share of the connections; times are the kernel's, so that a late wake-up costs
//! no accuracy. A second is closed when the wall clock has passed it by a little. It must never wait without looking whether it
//! is to stop, and never hide what the kernel dropped.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use millrace_schemas::topics::queries::Row;
use pcap::{Active, Capture, Error as PcapError, Offline};

use super::books::Books;
use super::decoder::{Decoder, Server};
use super::ended::Ended;
use super::frames;
use super::loopback;
use super::lots;
use super::sampling::{Load, Pressure};
use super::shares::{self, Share};
use super::table::{Flushed, Totals};
use super::watched::Watched;
use crate::statements::NewDigest;

/// How long after its end a second is closed: the kernel hands packets over every 10 ms, and 150 ms let a busy machine catch up.
const CLOSE_AFTER_US: i64 = 150_000;
/// How long the kernel may gather packets before it hands them over.
const GATHER_MS: i32 = 10;
/// Sleep when nothing was captured: as long as the kernel gathers.
const PAUSE: Duration = Duration::from_millis(GATHER_MS as u64);
/// Packets read between two looks at the clock.
const PACKETS_PER_ROUND: usize = 4_096;
/// The kernel's buffer. 16 MiB: half a second at 300 Mbit/s, while this thread waits for a core.
const BUFFER_BYTES: i32 = 16 << 20;
/// Commands that wait until they are handed on, of a file: some hundred kilobytes.
const ENDED_PER_BATCH: usize = 512;
/// Longest packet on a loopback interface with segmentation offload, with its headers.
const SNAP_BYTES: i32 = 262_144;

/// Where to capture, and by how many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// The interface: `lo`, `eth0`, or `any` for all.
    pub interface: String,
    /// Threads, at least one: each takes its share of the connections, and has a buffer of 16 MiB in the kernel. One core decodes
    /// half a gigabyte a second; a second thread is for hosts with more than that, or whose cores are slow.
    pub threads: usize,
}

/// What the kernel says about a capture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kernel {
    /// Packets that passed the filter.
    pub received: u64,
    /// Packets dropped because this program was too slow.
    pub dropped: u64,
    /// Packets dropped by the interface.
    pub interface_dropped: u64,
}

/// What one second gave; or, where commands are kept as they end, a part of it: its commands and what they added to the books,
/// without rows and totals.
#[derive(Debug, Default)]
pub struct Batch {
    /// Commands as they ended, where they are kept.
    pub ended: Vec<Ended>,
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
    let mut capture = open(live)?;
    let link_type = capture.get_datalink().0;
    if !frames::understands(link_type) {
        return Err(CaptureError::LinkType(link_type));
    }
    let (mut reported, mut passed) = (Reported::default(), Passed::default());
    let mut closed = now_us().div_euclid(1_000_000);
    let (mut pressure, mut idle) = (Pressure::default(), Idle::new());
    passed.renew(&mut capture, &mut decoder, watched).map_err(|error| interface_error(live, &error))?;
    // For a moment libpcap lets nothing through while it sets a filter: it begins behind that, not with some packets from before it.
    let begun_us = now_us();
    while !stop.load(Ordering::Relaxed) {
        passed.renew(&mut capture, &mut decoder, watched).map_err(|error| interface_error(live, &error))?;
        let round = read_round(&mut capture, &mut decoder, link_type, begun_us);
        let round = round.map_err(|error| interface_error(live, &error))?;
        // Who is behind has not come to now.
        let now = round.unless_all.map_or_else(now_us, |last_us| last_us.min(now_us()));
        let due = (now - CLOSE_AFTER_US).div_euclid(1_000_000);
        if due > closed {
            closed = due;
            decoder.tick(now);
            watched.exchange(&mut decoder);
            let flushed = decoder.flush(due);
            let kernel = reported.kernel_since(&mut capture);
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
        } else if decoder.keeps_ended() && !emit(reported.part(&mut decoder, now - CLOSE_AFTER_US)) {
            return Ok(());
        }
        if round.unless_all.is_none() {
            idle.sleep(PAUSE);
        }
    }
    let kernel = reported.kernel_since(&mut capture);
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
    let failed = |error: &PcapError| CaptureError::File { path: path.display().to_string(), reason: error.to_string() };
    let mut capture = Capture::<Offline>::from_file(path).map_err(|error| failed(&error))?;
    let link_type = capture.get_datalink().0;
    if !frames::understands(link_type) {
        return Err(CaptureError::LinkType(link_type));
    }
    let mut reported = Reported::default();
    let (mut second, mut last_us) = (None, 0);
    let outcome = loop {
        let packet = match capture.next_packet() {
            Ok(packet) => packet,
            Err(PcapError::NoMorePackets) => break Ok(()),
            Err(error) => break Err(failed(&error)),
        };
        let ts_us = packet_us(packet.header);
        // Packets are nearly in order: a second is closed when the next is over, as late packets count in the open one.
        let due = (ts_us - CLOSE_AFTER_US).div_euclid(1_000_000);
        if second.is_some_and(|second| due > second) {
            decoder.tick(ts_us);
            let flushed = decoder.flush(due);
            if !emit(reported.batch(&mut decoder, flushed, Kernel::default(), ts_us - CLOSE_AFTER_US)) {
                return Ok(decoder.books());
            }
        } else if decoder.ended_waiting() >= ENDED_PER_BATCH
            && !emit(reported.part(&mut decoder, ts_us - CLOSE_AFTER_US))
        {
            return Ok(decoder.books());
        }
        last_us = last_us.max(ts_us);
        second = Some(second.map_or(due, |second: i64| second.max(due)));
        decoder.packet(ts_us, packet.data, link_type);
    };
    let flushed = decoder.finish();
    emit(reported.batch(&mut decoder, flushed, Kernel::default(), last_us));
    outcome.map(|()| decoder.books())
}

fn open(live: &Live) -> Result<Capture<Active>, CaptureError> {
    let opened = Capture::from_device(live.interface.as_str()).and_then(|capture| {
        capture.snaplen(SNAP_BYTES).buffer_size(BUFFER_BYTES).timeout(GATHER_MS).open().and_then(Capture::setnonblock)
    });
    let capture = opened.map_err(|error| interface_error(live, &error))?;
    loopback::spare(&live.interface, &capture);
    Ok(capture)
}

fn interface_error(live: &Live, error: &PcapError) -> CaptureError {
    let reason = error.to_string();
    let denied = ["permission", "Permission", "not permitted"].iter().any(|word| reason.contains(word));
    let interface = live.interface.clone();
    if !denied {
        return CaptureError::Interface { interface, reason };
    }
    let executable = std::env::current_exe().map_or_else(|_| "millrace".to_owned(), |path| path.display().to_string());
    CaptureError::Permission { interface, executable }
}

/// What the kernel was told to pass on.
#[derive(Debug, Default)]
struct Passed {
    version: u64,
    servers: Vec<Server>,
    /// One of so many connections; none before anything was told.
    factor: Option<u32>,
}

impl Passed {
    /// Tells the kernel anew where other servers are watched, or fewer or more connections are followed. What it need not pass on takes
    /// no room in its buffer: that is what lets a capture catch up that gets too little time.
    fn renew(
        &mut self,
        capture: &mut Capture<Active>,
        decoder: &mut Decoder,
        watched: &Watched,
    ) -> Result<(), PcapError> {
        let (newer, factor) = (watched.newer_than(self.version), decoder.passed_factor());
        if newer.is_none() && self.factor == Some(factor) {
            return Ok(());
        }
        if let Some((version, servers)) = newer {
            decoder.set_servers(&servers);
            (self.version, self.servers) = (version, servers);
        }
        self.factor = Some(factor);
        let of_ports = || lots::ports(self.servers.iter().map(|server| server.port));
        let packets = if decoder.detects() { "tcp".to_owned() } else { of_ports() };
        let packets = lots::filter(&packets, decoder.share(), factor);
        // Some link types know no VLAN tags.
        capture.filter(&lots::tagged(&packets), true).or_else(|_| capture.filter(&packets, true))
    }
}

/// What was read of what waits in the kernel's buffer.
struct Round {
    /// The time of the last packet, where not all was read.
    unless_all: Option<i64>,
}

/// Decodes what waits in the kernel's buffer, or as much of it as may be read without a look at the clock; of this time on.
fn read_round(
    capture: &mut Capture<Active>,
    decoder: &mut Decoder,
    link_type: i32,
    begun_us: i64,
) -> Result<Round, PcapError> {
    let mut last_us = 0;
    for _ in 0..PACKETS_PER_ROUND {
        match capture.next_packet() {
            Ok(packet) => {
                last_us = packet_us(packet.header);
                if last_us >= begun_us {
                    decoder.packet(last_us, packet.data, link_type);
                }
            }
            Err(PcapError::TimeoutExpired | PcapError::NoMorePackets) => return Ok(Round { unless_all: None }),
            Err(error) => return Err(error),
        }
    }
    Ok(Round { unless_all: Some(last_us) })
}

// The fields of `timeval` have other types on other machines.
#[allow(clippy::useless_conversion)]
fn packet_us(header: &pcap::PacketHeader) -> i64 {
    i64::from(header.ts.tv_sec) * 1_000_000 + i64::from(header.ts.tv_usec)
}

fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
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
    kernel: [u32; 3],
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
            until_us,
            sample_factor: decoder.sample_factor(),
        }
    }

    /// The kernel's counters are of 32 bits and wrap.
    fn kernel_since(&mut self, capture: &mut Capture<Active>) -> Kernel {
        let Ok(now) = capture.stats() else { return Kernel::default() };
        let now = [now.received, now.dropped, now.if_dropped];
        let [received, dropped, interface_dropped] =
            [0, 1, 2].map(|at| u64::from(now[at].wrapping_sub(self.kernel[at])));
        self.kernel = now;
        Kernel { received, dropped, interface_dropped }
    }
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

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

    #[test]
    fn a_missing_permission_names_its_remedy() {
        let live = Live { interface: "lo".into(), threads: 1 };
        let error = interface_error(&live, &PcapError::PcapError("socket: Operation not permitted".into()));
        assert!(error.to_string().contains("setcap cap_net_raw+ep /"), "{error}");
    }

    /// A frame from one end to the other.
    fn frame(v6: bool, tagged: bool, client: (u8, u16), to_server: bool) -> Vec<u8> {
        let server = (7, 3306);
        let (from, to) = if to_server { (client, server) } else { (server, client) };
        let builder = PacketBuilder::ethernet2([0; 6], [1; 6]);
        let mut frame = Vec::new();
        let address = |last| [[0x20, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last], [0; 16]][0];
        let done = match (v6, tagged) {
            (false, false) => {
                builder.ipv4([10, 0, 0, from.0], [10, 0, 0, to.0], 9).tcp(from.1, to.1, 1, 9).write(&mut frame, b"x")
            }
            (false, true) => {
                let inner =
                    builder.single_vlan(5.try_into().expect("a tag")).ipv4([10, 0, 0, from.0], [10, 0, 0, to.0], 9);
                inner.tcp(from.1, to.1, 1, 9).write(&mut frame, b"x")
            }
            (true, false) => {
                builder.ipv6(address(from.0), address(to.0), 9).tcp(from.1, to.1, 1, 9).write(&mut frame, b"x")
            }
            (true, true) => {
                let inner = builder.single_vlan(5.try_into().expect("a tag")).ipv6(address(from.0), address(to.0), 9);
                inner.tcp(from.1, to.1, 1, 9).write(&mut frame, b"x")
            }
        };
        done.expect("it is written");
        frame
    }

    /// The kernel draws the lots that the decoder draws, for both directions of a connection.
    #[test]
    fn the_kernel_chooses_what_the_decoder_follows() {
        let dead = Capture::dead(pcap::Linktype::ETHERNET).expect("it opens");
        let packets = lots::ports([3306].into_iter());
        for (of, factor) in [(1, 8), (4, 1), (3, 2), (2, 64)] {
            let program = |share| dead.compile(&lots::tagged(&lots::filter(&packets, share, factor)), true);
            let programs: Vec<_> = Share::all(of).map(|share| (share, program(share).expect("a program"))).collect();
            for (v6, tagged) in [(false, false), (false, true), (true, false), (true, true)] {
                // As Linux gives them out: every other port, in turn.
                for client in (0..200).map(|n| (n as u8 % 3, 40_000 + 2 * n)) {
                    let (there, back) = (frame(v6, tagged, client, true), frame(v6, tagged, client, false));
                    let segment = frames::segment(1, &there).expect("a segment");
                    let lot = lots::lot(segment.from, segment.to);
                    for (share, program) in &programs {
                        let expected = lot as usize % of == share.number && lots::is_followed(lot, *share, factor);
                        let taken = [&there, &back].map(|frame| program.filter(frame));
                        assert_eq!(taken, [expected; 2], "{client:?} {share:?} {factor} {v6} {tagged}");
                    }
                }
            }
        }
    }
}
