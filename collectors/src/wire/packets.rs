//! MySQL packets: bytes of one direction enter in order; packets leave, each with its first bytes, its whole length and the
//! times of its first and last byte. Payloads of more than 16 MiB, which come in several packets, are one. A packet that lies
//! whole in the input is handed on without a copy. It must never keep more of a payload than the caller asks for.

/// Length that says "another packet continues this payload".
const CONTINUES: usize = 0xff_ffff;

/// A packet, or the sum of the packets of one long payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packet<'a> {
    /// The sequence number of the first packet.
    pub(super) number: u8,
    /// The sequence number of the last packet.
    pub(super) last_number: u8,
    /// The first bytes of the payload, as many as the caller wanted.
    pub(super) head: &'a [u8],
    /// The length of the payload.
    pub(super) length: u64,
    /// The bytes on the wire, with headers.
    pub(super) wire_bytes: u64,
    /// When its first byte was captured.
    pub(super) first_us: i64,
    /// When its last byte was captured.
    pub(super) last_us: i64,
    /// Bytes of it were never captured.
    pub(super) holed: bool,
}

impl Packet<'_> {
    /// The first byte of the payload.
    pub(super) fn tag(&self) -> Option<u8> {
        self.head.first().copied()
    }

    /// The caller got less than the whole payload.
    pub(super) fn is_cut(&self) -> bool {
        (self.head.len() as u64) < self.length
    }
}

/// Reads packets off one direction.
#[derive(Debug, Default)]
pub(super) struct Reader {
    header: [u8; 4],
    header_bytes: usize,
    /// Payload bytes of the current packet that have not come yet.
    left: usize,
    /// The current packet has its header.
    inside: bool,
    /// The current packet's payload goes on in the next.
    continues: bool,
    started: bool,
    number: u8,
    last_number: u8,
    head: Vec<u8>,
    length: u64,
    wire_bytes: u64,
    first_us: i64,
    /// Bytes of the head are missing, so it takes no more.
    head_closed: bool,
    /// The head was handed out and is to be cleared before the next packet.
    handed_out: bool,
}

/// Capacity that the head buffer keeps between packets. 4 KiB: usual statements fit, and thousands of connections do, too.
const HEAD_KEPT: usize = 4 << 10;

impl Reader {
    /// Forgets a packet that has begun.
    pub(super) fn reset(&mut self) {
        let head = std::mem::take(&mut self.head);
        *self = Reader { head, ..Reader::default() };
        self.tidy();
    }

    /// Payload bytes of the packet at hand that have not come yet.
    pub(super) fn announced(&self) -> usize {
        self.left
    }

    /// A packet is whole and waits to be handed out.
    pub(super) fn ready(&self) -> bool {
        self.inside && self.left == 0
    }

    /// Passes over bytes that were never captured; false when they do not all lie in the payload at hand.
    pub(super) fn skip(&mut self, missing: u64) -> bool {
        if !self.inside || missing == 0 || missing > self.left as u64 {
            return false;
        }
        self.left -= missing as usize;
        self.length += missing;
        self.wire_bytes += missing;
        self.head_closed = true;
        true
    }

    /// Bytes of memory that a packet which has begun takes.
    pub(super) fn kept_bytes(&self) -> usize {
        self.head.capacity()
    }

    fn tidy(&mut self) {
        self.head.clear();
        self.head.shrink_to(HEAD_KEPT);
        self.handed_out = false;
        self.head_closed = false;
    }

    /// Takes bytes from `data` and moves on in it, up to the end of one packet. None: all bytes are taken and more must come.
    /// `keep` says how many bytes of a payload are wanted, from its first byte.
    // Inlined: what is handed out else goes through memory, and waits there longer than all of this takes.
    #[inline]
    pub(super) fn next<'a, 'd: 'a>(
        &'a mut self,
        ts_us: i64,
        data: &mut &'d [u8],
        keep: fn(u8) -> usize,
    ) -> Option<Packet<'a>> {
        if self.handed_out {
            self.tidy();
        }
        if !self.started
            && let [a, b, c, number, rest @ ..] = *data
        {
            let length = usize::from(*a) | usize::from(*b) << 8 | usize::from(*c) << 16;
            if length < CONTINUES && rest.len() >= length {
                let (payload, rest) = rest.split_at(length);
                *data = rest;
                let wanted = payload.first().map_or(0, |tag| keep(*tag)).min(length);
                return Some(Packet {
                    number: *number,
                    last_number: *number,
                    head: &payload[..wanted],
                    length: length as u64,
                    wire_bytes: length as u64 + 4,
                    first_us: ts_us,
                    last_us: ts_us,
                    holed: false,
                });
            }
        }
        self.collect(ts_us, data, keep)
    }

    #[inline(never)]
    fn collect(&mut self, ts_us: i64, data: &mut &[u8], keep: fn(u8) -> usize) -> Option<Packet<'_>> {
        loop {
            if !self.inside && !self.take_header(ts_us, data) {
                return None;
            }
            let taken = self.left.min(data.len());
            let (payload, rest) = data.split_at(taken);
            *data = rest;
            self.left -= taken;
            self.length += taken as u64;
            self.wire_bytes += taken as u64;
            self.keep_head(payload, keep);
            if self.left > 0 {
                return None;
            }
            self.inside = false;
            if !self.continues {
                return Some(self.hand_out(ts_us));
            }
        }
    }

    fn take_header(&mut self, ts_us: i64, data: &mut &[u8]) -> bool {
        if !self.started && !data.is_empty() {
            self.started = true;
            self.first_us = ts_us;
            (self.length, self.wire_bytes) = (0, 0);
        }
        while self.header_bytes < 4 {
            let Some((byte, rest)) = data.split_first() else { return false };
            self.header[self.header_bytes] = *byte;
            self.header_bytes += 1;
            self.wire_bytes += 1;
            *data = rest;
        }
        let [a, b, c, number] = self.header;
        self.left = usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16;
        if !self.continues {
            self.number = number;
        }
        self.last_number = number;
        self.continues = self.left == CONTINUES;
        self.header_bytes = 0;
        self.inside = true;
        true
    }

    fn keep_head(&mut self, payload: &[u8], keep: fn(u8) -> usize) {
        let Some(tag) = self.head.first().or(payload.first()).filter(|_| !self.head_closed) else { return };
        let wanted = keep(*tag).saturating_sub(self.head.len()).min(payload.len());
        self.head.extend_from_slice(&payload[..wanted]);
    }

    fn hand_out(&mut self, ts_us: i64) -> Packet<'_> {
        self.started = false;
        self.handed_out = true;
        Packet {
            number: self.number,
            last_number: self.last_number,
            head: &self.head,
            length: self.length,
            wire_bytes: self.wire_bytes,
            first_us: self.first_us,
            last_us: ts_us,
            holed: self.head_closed,
        }
    }
}

/// Reads fields off a payload; every reading fails softly at the end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.bytes(1).map(|b| b[0])
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.bytes(2).map(|b| u16::from_le_bytes([b[0], b[1]]))
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.bytes(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    }

    /// A length-encoded number.
    pub(super) fn number(&mut self) -> Option<u64> {
        let length = match self.u8()? {
            0xfc => 2,
            0xfd => 3,
            0xfe => 8,
            0xfb | 0xff => return None,
            small => return Some(u64::from(small)),
        };
        let bytes = self.bytes(length)?;
        Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    /// A length-encoded string.
    pub(super) fn string(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        self.bytes(length)
    }

    /// A string that ends with a zero byte, or with the payload.
    pub(super) fn zero_ended(&mut self) -> Option<&'a [u8]> {
        let length = self.0.iter().position(|b| *b == 0).unwrap_or(self.0.len());
        let taken = self.bytes(length)?;
        self.0 = self.0.get(1..).unwrap_or_default();
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A payload as packets.
    fn wire(number: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut number = number;
        let mut rest = payload;
        loop {
            let (now, later) = rest.split_at(rest.len().min(CONTINUES));
            out.extend_from_slice(&(now.len() as u32).to_le_bytes()[..3]);
            out.push(number);
            out.extend_from_slice(now);
            number = number.wrapping_add(1);
            rest = later;
            if now.len() < CONTINUES {
                return out;
            }
        }
    }

    fn read(chunks: &[&[u8]]) -> Vec<(u8, Vec<u8>, u64, u64)> {
        let mut reader = Reader::default();
        let mut found = Vec::new();
        for (ts, chunk) in chunks.iter().enumerate() {
            let mut data = *chunk;
            while let Some(packet) = reader.next(ts as i64, &mut data, |_| 8) {
                found.push((packet.number, packet.head.to_vec(), packet.length, packet.wire_bytes));
            }
            assert!(data.is_empty());
        }
        found
    }

    #[test]
    fn long_payloads_are_one_packet() {
        for length in [CONTINUES - 1, CONTINUES, CONTINUES + 1, 2 * CONTINUES] {
            let bytes = wire(0, &vec![b'x'; length]);
            let packets = (length / CONTINUES + 1) as u64;
            let expected = vec![(0, vec![b'x'; 8], length as u64, length as u64 + 4 * packets)];
            assert_eq!(read(&[&bytes]), expected, "{length}");
            assert_eq!(read(&[&bytes[..5], &bytes[5..]]), expected, "{length} in two");
        }
    }

    #[test]
    fn reads_fields_softly() {
        let mut fields = Fields(&[0xfc, 1, 2, 3, b'a', b'b', b'c', b'd', 0, 9]);
        assert_eq!(fields.number(), Some(0x201));
        assert_eq!(fields.string(), Some(&b"abc"[..]));
        assert_eq!(fields.zero_ended(), Some(&b"d"[..]));
        assert_eq!(fields.u16(), None);
        assert_eq!(fields.u8(), Some(9));
        assert_eq!(Fields(&[0xfe, 1]).number(), None);
    }

    proptest! {
        #[test]
        fn cutting_the_input_changes_nothing(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..10),
            cuts in prop::collection::vec(0..400_usize, 0..10),
        ) {
            let bytes: Vec<u8> = payloads.iter().flat_map(|p| wire(3, p)).collect();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            let expected: Vec<_> = payloads
                .iter()
                .map(|p| (3, p[..p.len().min(8)].to_vec(), p.len() as u64, p.len() as u64 + 4))
                .collect();
            prop_assert_eq!(read(&chunks), expected);
        }
    }
}
