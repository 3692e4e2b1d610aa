//! Frames: the bytes of one captured frame and its link type enter; the TCP segment in it leaves. What is no whole TCP
//! segment (another protocol, an IP fragment, a frame too short to read) is told apart, so that it can be counted. It must
//! never trust a length field beyond the captured bytes.

use std::net::{IpAddr, SocketAddr};

use etherparse::{EtherType, IpNumber, Ipv4HeaderSlice, LaxNetSlice, LaxSlicedPacket, TcpSlice, TransportSlice};

/// Link types of libpcap that are understood, by their registered numbers.
const NULL: i32 = 0;
const ETHERNET: i32 = 1;
const RAW_OLD: i32 = 12;
const RAW: i32 = 101;
const LINUX_SLL: i32 = 113;
const IPV4: i32 = 228;
const IPV6: i32 = 229;
const LINUX_SLL2: i32 = 276;

/// One TCP segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment<'a> {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) sequence: u32,
    pub(super) acknowledges: Option<u32>,
    pub(super) syn: bool,
    pub(super) fin: bool,
    pub(super) rst: bool,
    /// The captured payload.
    pub(super) payload: &'a [u8],
    /// Payload bytes that were sent but not captured, because the capture cuts long packets.
    pub(super) cut: u32,
}

impl Segment<'_> {
    /// It carries nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.payload.is_empty() && self.cut == 0
    }
}

/// Why a frame holds no segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoSegment {
    /// Another protocol.
    Foreign,
    /// A fragment of an IP packet.
    Fragment,
    /// Too short to read its headers, or contradictory.
    Unreadable,
    /// A link type that is not understood.
    LinkType,
}

/// Whether frames of this link type can be read.
pub(super) fn understands(link_type: i32) -> bool {
    matches!(link_type, NULL | ETHERNET | RAW_OLD | RAW | LINUX_SLL | IPV4 | IPV6 | LINUX_SLL2)
}

/// The segment in a frame.
pub(super) fn segment(link_type: i32, frame: &[u8]) -> Result<Segment<'_>, NoSegment> {
    let (kind, packet) = match link_type {
        ETHERNET => (frame.get(12..14), frame.get(14..)),
        LINUX_SLL => (frame.get(14..16), frame.get(16..)),
        LINUX_SLL2 => (frame.get(0..2), frame.get(20..)),
        RAW_OLD | RAW | IPV4 | IPV6 => (None, Some(frame)),
        NULL => (None, frame.get(4..)),
        _ => return Err(NoSegment::LinkType),
    };
    let packet = packet.ok_or(NoSegment::Unreadable)?;
    let kind = kind.map(|kind| EtherType(u16::from_be_bytes([kind[0], kind[1]])));
    if kind.is_none_or(|kind| kind == EtherType::IPV4)
        && let Some(segment) = plain(packet)
    {
        return Ok(segment);
    }
    let sliced = match kind {
        Some(kind) => Ok(LaxSlicedPacket::from_ether_type(kind, packet)),
        None => LaxSlicedPacket::from_ip(packet),
    };
    of(&sliced.map_err(|_| NoSegment::Unreadable)?)
}

/// The segment of nearly every frame: IPv4, whole, with TCP right behind its header. The parser that knows all the others moves 1.3 KB
/// for each frame, which shows where a capture is read as fast as it can be; anything odd is left to it.
fn plain(packet: &[u8]) -> Option<Segment<'_>> {
    let header = Ipv4HeaderSlice::from_slice(packet).ok()?;
    let (length, declared) = (header.slice().len(), usize::from(header.total_len()));
    if header.protocol() != IpNumber::TCP || header.is_fragmenting_payload() || declared < length {
        return None;
    }
    let tcp = TcpSlice::from_slice(&packet[length..declared.min(packet.len())]).ok()?;
    let (from, to) = (header.source_addr(), header.destination_addr());
    Some(carried(&tcp, IpAddr::V4(from), IpAddr::V4(to), declared - length))
}

/// The segment in any packet.
fn of<'a>(packet: &LaxSlicedPacket<'a>) -> Result<Segment<'a>, NoSegment> {
    let (from, to, declared) = match &packet.net {
        Some(LaxNetSlice::Ipv4(ip)) => {
            let header = ip.header();
            let declared = usize::from(header.total_len()).saturating_sub(header.slice().len());
            (IpAddr::V4(header.source_addr()), IpAddr::V4(header.destination_addr()), declared)
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            let header = ip.header();
            let extensions = ip.extensions().slice().len();
            let declared = usize::from(header.payload_length()).saturating_sub(extensions);
            (IpAddr::V6(header.source_addr()), IpAddr::V6(header.destination_addr()), declared)
        }
        _ => return Err(NoSegment::Foreign),
    };
    if packet.ip_payload().is_some_and(|payload| payload.fragmented) {
        return Err(NoSegment::Fragment);
    }
    match &packet.transport {
        Some(TransportSlice::Tcp(tcp)) => Ok(carried(tcp, from, to, declared)),
        None if packet.stop_err.is_some() => Err(NoSegment::Unreadable),
        _ => Err(NoSegment::Foreign),
    }
}

/// The segment that an IP packet carries, which says that it has `declared` bytes of it.
fn carried<'a>(tcp: &TcpSlice<'a>, from: IpAddr, to: IpAddr, declared: usize) -> Segment<'a> {
    let payload = tcp.payload();
    Segment {
        from: SocketAddr::new(from, tcp.source_port()),
        to: SocketAddr::new(to, tcp.destination_port()),
        sequence: tcp.sequence_number(),
        acknowledges: tcp.ack().then(|| tcp.acknowledgment_number()),
        syn: tcp.syn(),
        fin: tcp.fin(),
        rst: tcp.rst(),
        payload,
        cut: declared.saturating_sub(tcp.header_slice().len() + payload.len()) as u32,
    }
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    use super::*;

    fn ip(payload: &[u8]) -> Vec<u8> {
        let builder = PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).tcp(4000, 3306, 77, 1000).ack(5);
        let mut packet = Vec::new();
        builder.write(&mut packet, payload).expect("writes");
        packet
    }

    fn check(link_type: i32, header: &[u8]) {
        let mut frame = header.to_vec();
        frame.extend(ip(b"hello"));
        let found = segment(link_type, &frame).expect("a segment");
        assert_eq!(found.payload, b"hello");
        assert_eq!((found.from.port(), found.to.port()), (4000, 3306));
        assert_eq!((found.sequence, found.acknowledges, found.cut), (77, Some(5), 0));
        let cut = segment(link_type, &frame[..frame.len() - 2]).expect("a segment");
        assert_eq!((cut.payload, cut.cut), (&b"hel"[..], 2));
        for length in 0..frame.len() - 5 {
            let _ = segment(link_type, &frame[..length]);
        }
    }

    #[test]
    fn reads_every_link_type() {
        check(RAW, &[]);
        check(NULL, &[2, 0, 0, 0]);
        check(ETHERNET, &[0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 2, 8, 0]);
        check(ETHERNET, &[0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 2, 0x81, 0, 0, 5, 8, 0]);
        check(LINUX_SLL, &[0, 0, 3, 4, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0]);
        check(LINUX_SLL2, &[8, 0, 0, 0, 0, 0, 0, 1, 3, 4, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(segment(999, &[]).expect_err("unknown"), NoSegment::LinkType);
    }

    #[test]
    fn padding_of_short_frames_is_no_payload() {
        let mut frame = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 2, 8, 0];
        frame.extend(ip(b""));
        frame.extend([0; 6]);
        assert_eq!(segment(ETHERNET, &frame).expect("a segment").payload, b"");
    }

    proptest! {
        /// Whatever is done to a packet, the short way tells what the long way tells, or leaves it to that.
        #[test]
        fn both_ways_tell_the_same(
            payload in prop::collection::vec(any::<u8>(), 0..40),
            changes in prop::collection::vec((0..45_usize, any::<u8>()), 0..3),
            length in 0..90_usize,
        ) {
            let mut packet = ip(&payload);
            for (at, byte) in changes {
                if let Some(place) = packet.get_mut(at) {
                    *place = byte;
                }
            }
            packet.truncate(length);
            if let Some(segment) = plain(&packet) {
                let sliced = LaxSlicedPacket::from_ip(&packet).expect("readable");
                prop_assert_eq!(segment, of(&sliced).expect("a segment"));
            }
        }
    }
}
