//! The only place that touches libpcap. Of a live capture, its end in the kernel: which packets it is to pass on enters, packets leave
//! to the decoder, and how many the kernel counted. Of a file its packets leave. While libpcap sets a filter it lets nothing through;
//! so a capture that is to pass on others is followed by a second one, and both are read until the second has all. It must never lose
//! a packet to that, or hand one on twice.

use std::collections::HashMap;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pcap::{Activated, Active, Capture, Error as PcapError, Offline};
use tracing::warn;
use xxhash_rust::xxh3::xxh3_64;

use super::capture::{CaptureError, Live};
use super::decoder::{Decoder, Server};
use super::frames;
use super::loopback;
use super::lots;
use super::watched::Watched;

/// 20 ms in which the kernel may gather packets before it hands them over: nobody looks sooner, and each look costs a busy core what
/// it has in its caches.
pub(super) const GATHER: Duration = Duration::from_millis(20);
/// Packets read between two looks at the clock.
const PACKETS_PER_ROUND: usize = 4_096;
/// The kernel's buffer. 16 MiB: half a second at 300 Mbit/s, while this thread waits for a core.
const BUFFER_BYTES: i32 = 16 << 20;
/// Longest packet on a loopback interface with segmentation offload, with its headers.
const SNAP_BYTES: i32 = 262_144;
/// 1 ms in which two captures are read: the kernel may give a packet another time in each, some microseconds apart.
const BOTH_US: i64 = 1_000;
/// 100 ms until nothing more can come of a capture that is over: five times as long as the kernel gathers.
const REST: Duration = Duration::from_millis(5 * GATHER.as_millis() as u64);
/// 2 s for what waits in the buffer of a capture that is over, four times as long as reading a full one takes.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// What the kernel says about a capture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kernel {
    /// Packets that passed the filter; where a second capture follows the first, some that came while it opened are counted twice.
    pub received: u64,
    /// Packets dropped because this program was too slow.
    pub dropped: u64,
    /// Packets dropped by the interface.
    pub interface_dropped: u64,
}

impl Kernel {
    fn plus(self, more: Self) -> Self {
        Kernel {
            received: self.received + more.received,
            dropped: self.dropped + more.dropped,
            interface_dropped: self.interface_dropped + more.interface_dropped,
        }
    }

    /// What is more here than there.
    fn beyond(self, told: Self) -> Self {
        Kernel {
            received: self.received.saturating_sub(told.received),
            dropped: self.dropped.saturating_sub(told.dropped),
            interface_dropped: self.interface_dropped.saturating_sub(told.interface_dropped),
        }
    }
}

/// What was read of what waits in the kernel's buffer.
pub(super) struct Round {
    /// The time of the last packet, where not all was read.
    pub(super) unless_all: Option<i64>,
}

/// A live capture.
pub(super) struct Tap<'a> {
    live: &'a Live,
    socket: Socket,
    passed: Passed,
    /// What the kernel is to pass on in place of what it does, until its capture begins to be opened; and that capture.
    wanted: Option<String>,
    opening: Option<JoinHandle<Opened>>,
    /// Packets that the capture before this one had too.
    had: Had,
    /// What was counted of captures that are over, and what was told of all.
    over: Kernel,
    told: Kernel,
}

impl<'a> Tap<'a> {
    /// Captures what the decoder needs of these servers.
    pub(super) fn open(live: &'a Live, decoder: &mut Decoder, watched: &Watched) -> Result<Self, CaptureError> {
        let (passed, packets) = Passed::first(decoder, watched);
        let socket = Socket::open(live, &packets)?;
        let (over, told) = (Kernel::default(), Kernel::default());
        Ok(Tap { live, socket, passed, wanted: None, opening: None, had: Had::default(), over, told })
    }

    /// Passes on other packets where other servers are watched, or fewer or more connections are followed. What the kernel need not pass
    /// on takes no room in its buffer: that is what lets a capture catch up that gets too little time.
    pub(super) fn renew(&mut self, decoder: &mut Decoder, watched: &Watched) -> Result<(), CaptureError> {
        let factor = self.passed.factor;
        if let Some(packets) = self.passed.renew(decoder, watched) {
            let is_behind = self.passed.factor > factor;
            if is_behind {
                // It is relieved at once: what is missed in this moment is little beside what it would lose.
                self.socket.pass_on(self.live, &packets)?;
            }
            // A capture that is on its way still passes what was wanted before.
            if self.opening.is_some() || !is_behind {
                self.wanted = Some(packets);
            }
        }
        if let Some(opening) = self.opening.take_if(|opening| opening.is_finished()) {
            let Opened { packets, socket } = opening.join().expect("opening a capture does not panic");
            match socket {
                Ok(next) => self.follow(decoder, next)?,
                Err(error) => self.set(&packets, &error.to_string())?,
            }
        }
        if self.opening.is_none() {
            self.open_next()?;
        }
        Ok(())
    }

    /// Begins to open the capture that is to follow, if one is wanted. A busy machine may take seconds for it, in which this one is read on.
    fn open_next(&mut self) -> Result<(), CaptureError> {
        let Some(packets) = self.wanted.take() else { return Ok(()) };
        let (live, of_thread) = (self.live.clone(), packets.clone());
        let open = move || Opened { socket: Socket::open(&live, &of_thread), packets: of_thread };
        match std::thread::Builder::new().name("capture-next".to_owned()).spawn(open) {
            Ok(opening) => self.opening = Some(opening),
            Err(error) => self.set(&packets, &format!("no thread can be started: {error}"))?,
        }
        Ok(())
    }

    /// Sets the filter of the capture that there is, as none can follow it.
    fn set(&mut self, packets: &str, why: &str) -> Result<(), CaptureError> {
        warn!(why, "no second capture, so packets that come while the filter is set are missed");
        self.socket.pass_on(self.live, packets)
    }

    /// Goes over to another capture, which runs already.
    fn follow(&mut self, decoder: &mut Decoder, mut next: Socket) -> Result<(), CaptureError> {
        let from_us = now_us();
        next.early = Some(Early::before(from_us));
        self.had = self.drain(decoder, from_us + BOTH_US)?;
        let Kernel { dropped, interface_dropped, .. } = self.socket.counted();
        // What still waits there has its follower.
        self.over = self.over.plus(Kernel { received: self.socket.read.handed + dropped, dropped, interface_dropped });
        let over = std::mem::replace(&mut self.socket, next);
        // The kernel takes its time to let go of a buffer.
        let closing = std::thread::Builder::new().name("capture-close".to_owned());
        drop(closing.spawn(move || drop(over)));
        Ok(())
    }

    /// Decodes what the capture has of before `until_us`, and tells what its follower may have too.
    fn drain(&mut self, decoder: &mut Decoder, until_us: i64) -> Result<Had, CaptureError> {
        let mut had = Had { until_us: until_us + BOTH_US, packets: HashMap::new() };
        let began = Instant::now();
        loop {
            let Some(waiting) = self.socket.next(self.live)? else {
                if began.elapsed() >= REST {
                    return Ok(had);
                }
                std::thread::sleep(GATHER / 10);
                continue;
            };
            // Only of a clock that was set back nothing comes that is late enough.
            if waiting.packet.ts_us >= until_us || began.elapsed() >= DRAIN_MAX {
                return Ok(had);
            }
            if waiting.packet.ts_us >= until_us - 2 * BOTH_US {
                // Nearly as late as its follower begins, or later.
                *had.packets.entry(xxh3_64(waiting.packet.data)).or_default() += 1;
            }
            waiting.hand_to(decoder, &mut self.had);
        }
    }

    /// Decodes what waits in the kernel's buffer, or as much of it as may be read without a look at the clock.
    pub(super) fn round(&mut self, decoder: &mut Decoder) -> Result<Round, CaptureError> {
        let mut last_us = 0;
        for _ in 0..PACKETS_PER_ROUND {
            let Some(waiting) = self.socket.next(self.live)? else { return Ok(Round { unless_all: None }) };
            last_us = waiting.packet.ts_us;
            waiting.hand_to(decoder, &mut self.had);
        }
        Ok(Round { unless_all: Some(last_us) })
    }

    /// What the kernel counted since it was last asked, of packets that were handed on.
    pub(super) fn counted(&mut self) -> Kernel {
        let all = self.over.plus(self.socket.counted());
        let news = all.beyond(self.told);
        self.told = self.told.plus(news);
        news
    }
}

/// A capture that was opened beside the one that is read, or why it cannot be.
struct Opened {
    packets: String,
    socket: Result<Socket, CaptureError>,
}

/// A socket of libpcap.
struct Socket {
    capture: Capture<Active>,
    link_type: i32,
    /// What is passed over at first; none once something later came.
    early: Option<Early>,
    /// The kernel's counters as they were last read, of 32 bits, which wrap; and all that they counted.
    last: [u32; 3],
    counted: Kernel,
    read: Read,
}

/// Packets from before a capture has everything: while its filter was set nothing came through, and before that what passes no filter.
#[derive(Debug, Clone, Copy)]
struct Early {
    before_us: i64,
    /// When the first packet was read.
    since: Option<Instant>,
}

impl Early {
    fn before(before_us: i64) -> Self {
        Early { before_us, since: None }
    }

    /// Whether a packet is one of them. None is for long, so that a clock which is set back does no harm.
    fn is(&mut self, ts_us: i64) -> bool {
        ts_us < self.before_us && self.since.get_or_insert_with(Instant::now).elapsed() < DRAIN_MAX
    }
}

/// How many packets of a capture were handed on, and how many not: those of before, and those that another capture had too.
#[derive(Clone, Copy, Default)]
struct Read {
    handed: u64,
    passed_over: u64,
}

/// A captured packet.
pub(super) struct Packet<'a> {
    pub(super) ts_us: i64,
    pub(super) data: &'a [u8],
    pub(super) link_type: i32,
}

/// A packet that waited in the kernel's buffer.
struct Waiting<'a> {
    packet: Packet<'a>,
    /// From before its capture has everything.
    is_early: bool,
    read: &'a mut Read,
}

impl Waiting<'_> {
    /// Hands it to the decoder, unless another capture did.
    fn hand_to(self, decoder: &mut Decoder, had: &mut Had) {
        let Packet { ts_us, data, link_type } = self.packet;
        if self.is_early || had.has(ts_us, data) {
            self.read.passed_over += 1;
        } else {
            self.read.handed += 1;
            decoder.packet(ts_us, data, link_type);
        }
    }
}

impl Socket {
    fn open(live: &Live, packets: &str) -> Result<Self, CaptureError> {
        let opened = Capture::from_device(live.interface.as_str()).and_then(|capture| {
            let capture = capture.snaplen(SNAP_BYTES).buffer_size(BUFFER_BYTES).timeout(GATHER.as_millis() as i32);
            capture.open().and_then(Capture::setnonblock)
        });
        let capture = opened.map_err(|error| interface_error(live, &error))?;
        loopback::spare(&live.interface, &capture);
        let link_type = understood(&capture)?;
        let (last, counted) = ([0; 3], Kernel::default());
        let mut socket = Socket { capture, link_type, early: None, last, counted, read: Read::default() };
        socket.pass_on(live, packets)?;
        socket.early = Some(Early::before(now_us()));
        Ok(socket)
    }

    /// Sets the filter. Some link types know no VLAN tags.
    fn pass_on(&mut self, live: &Live, packets: &str) -> Result<(), CaptureError> {
        let set = self.capture.filter(&lots::tagged(packets), true).or_else(|_| self.capture.filter(packets, true));
        set.map_err(|error| interface_error(live, &error))
    }

    /// The next packet that waits; none when all were read.
    #[inline]
    fn next(&mut self, live: &Live) -> Result<Option<Waiting<'_>>, CaptureError> {
        match self.capture.next_packet() {
            Ok(packet) => {
                let ts_us = packet_us(packet.header);
                let is_early = self.early.as_mut().is_some_and(|early| early.is(ts_us));
                if !is_early {
                    self.early = None;
                }
                let (data, link_type, read) = (packet.data, self.link_type, &mut self.read);
                Ok(Some(Waiting { packet: Packet { ts_us, data, link_type }, is_early, read }))
            }
            Err(PcapError::TimeoutExpired | PcapError::NoMorePackets) => Ok(None),
            Err(error) => Err(interface_error(live, &error)),
        }
    }

    /// What the kernel counted so far, without what was passed over.
    fn counted(&mut self) -> Kernel {
        if let Ok(now) = self.capture.stats() {
            let now = [now.received, now.dropped, now.if_dropped];
            let [received, dropped, interface_dropped] =
                [0, 1, 2].map(|at| u64::from(now[at].wrapping_sub(self.last[at])));
            self.counted = self.counted.plus(Kernel { received, dropped, interface_dropped });
            self.last = now;
        }
        Kernel { received: self.counted.received.saturating_sub(self.read.passed_over), ..self.counted }
    }
}

/// Packets that a capture decoded before another one followed it: how many of each hash.
#[derive(Default)]
struct Had {
    /// None of them is later, whatever time the second capture gives it.
    until_us: i64,
    packets: HashMap<u64, u32>,
}

impl Had {
    /// Whether this packet is one of them, which is then taken from them.
    fn has(&mut self, ts_us: i64, data: &[u8]) -> bool {
        if self.packets.is_empty() {
            return false;
        }
        if ts_us >= self.until_us {
            self.packets.clear();
            return false;
        }
        let left = self.packets.get_mut(&xxh3_64(data)).filter(|left| **left > 0);
        left.map(|left| *left -= 1).is_some()
    }
}

/// What the kernel was told to pass on.
#[derive(Debug)]
struct Passed {
    version: u64,
    servers: Vec<Server>,
    /// One of so many connections.
    factor: u32,
}

impl Passed {
    /// What is passed on at first, and which packets those are.
    fn first(decoder: &mut Decoder, watched: &Watched) -> (Self, String) {
        let mut passed = Passed { version: 0, servers: Vec::new(), factor: decoder.passed_factor() };
        passed.learn(decoder, watched);
        let packets = passed.packets(decoder);
        (passed, packets)
    }

    /// Which packets are to be passed on, if those are others than before.
    fn renew(&mut self, decoder: &mut Decoder, watched: &Watched) -> Option<String> {
        let factor = std::mem::replace(&mut self.factor, decoder.passed_factor());
        let is_other = self.learn(decoder, watched) || factor != self.factor;
        is_other.then(|| self.packets(decoder))
    }

    /// Which servers are watched; whether those are others than before.
    fn learn(&mut self, decoder: &mut Decoder, watched: &Watched) -> bool {
        let Some((version, servers)) = watched.newer_than(self.version) else { return false };
        decoder.set_servers(&servers);
        (self.version, self.servers) = (version, servers);
        true
    }

    fn packets(&self, decoder: &Decoder) -> String {
        let of_ports = || lots::ports(self.servers.iter().map(|server| server.port));
        let packets = if decoder.detects() { "tcp".to_owned() } else { of_ports() };
        lots::filter(&packets, decoder.share(), self.factor)
    }
}

/// A capture file.
pub(super) struct File<'a> {
    path: &'a Path,
    capture: Capture<Offline>,
    link_type: i32,
}

impl<'a> File<'a> {
    pub(super) fn open(path: &'a Path) -> Result<Self, CaptureError> {
        let capture = Capture::<Offline>::from_file(path).map_err(|error| file_error(path, &error))?;
        let link_type = understood(&capture)?;
        Ok(File { path, capture, link_type })
    }

    /// The next packet; none at the end of the file.
    pub(super) fn next(&mut self) -> Result<Option<Packet<'_>>, CaptureError> {
        match self.capture.next_packet() {
            Ok(packet) => {
                let (ts_us, data) = (packet_us(packet.header), packet.data);
                Ok(Some(Packet { ts_us, data, link_type: self.link_type }))
            }
            Err(PcapError::NoMorePackets) => Ok(None),
            Err(error) => Err(file_error(self.path, &error)),
        }
    }
}

/// The type of a capture's link, if its frames are understood.
fn understood<T: Activated + ?Sized>(capture: &Capture<T>) -> Result<i32, CaptureError> {
    let link_type = capture.get_datalink().0;
    if frames::understands(link_type) { Ok(link_type) } else { Err(CaptureError::LinkType(link_type)) }
}

fn file_error(path: &Path, error: &PcapError) -> CaptureError {
    CaptureError::File { path: path.display().to_string(), reason: error.to_string() }
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

// The fields of `timeval` have other types on other machines.
#[allow(clippy::useless_conversion)]
fn packet_us(header: &pcap::PacketHeader) -> i64 {
    i64::from(header.ts.tv_sec) * 1_000_000 + i64::from(header.ts.tv_usec)
}

pub(super) fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "tap_tests.rs"]
mod tests;
