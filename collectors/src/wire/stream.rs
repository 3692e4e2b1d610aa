//! Reassembly of one direction of a connection: segments enter in the order of capture; bytes leave in the order of their
//! sequence numbers, each once, and holes are named. What comes early waits here, bounded; what came before is a duplicate.
//! A hole is given up when the receiver has acknowledged it and others follow, when waiting grows too long, or when too much
//! waits. It must never deliver a byte twice, or out of order.

/// Most bytes of one direction that wait for a hole to be filled. 1 MiB: a whole window of a fast local connection.
pub(super) const WAITING_BYTES_MAX: usize = 1 << 20;

/// Most segments that wait: at 1,448 bytes each they fill the limit above.
const WAITING_SEGMENTS_MAX: usize = 720;

/// How long a hole that the receiver has acknowledged may still be filled: captures reorder by far less than 100 ms.
const ACKNOWLEDGED_HOLE_US: i64 = 100_000;

/// How long any hole may still be filled. 3 s: beyond the second retransmission of a lost segment.
const HOLE_US: i64 = 3_000_000;

/// A segment this far behind belongs to another connection with the same ports, whose start was not captured. 256 MiB: far
/// more than any window, so no repeat lies there.
const OTHER_CONNECTION_BYTES: u32 = 1 << 28;

/// What a stream hands on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// The next bytes, and of which segment they are.
    Bytes(Origin, &'a [u8]),
    /// So many bytes were never captured, as was found at this time.
    Hole(i64, u64),
}

/// Where bytes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin {
    /// When their segment was captured.
    pub(super) ts_us: i64,
    /// The sequence number of the first of them.
    pub(super) sequence: u32,
    /// Up to where its sender had received the other direction.
    pub(super) acknowledges: Option<u32>,
}

/// How a segment was received.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Received {
    /// Captured bytes that had been received before.
    pub(super) duplicate: u64,
    /// Nothing in the segment was new.
    pub(super) repeated: bool,
    /// Earlier ones have not come yet.
    pub(super) early: bool,
}

#[derive(Debug)]
struct Waiting {
    origin: Origin,
    bytes: Box<[u8]>,
    cut: u32,
}

/// One direction of a connection.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// The sequence number of the first byte; none before the first segment.
    base: Option<u32>,
    /// The sequence number of the next byte.
    next: Option<u32>,
    /// Segments behind a hole, by sequence number.
    waiting: Vec<Waiting>,
    waiting_bytes: usize,
    /// The highest byte that the receiver acknowledged.
    acknowledged: Option<u32>,
    /// When the newest bytes that were delivered came.
    delivered_us: i64,
}

/// Whether `a` lies before `b` on the circle of sequence numbers.
pub(super) fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

impl Stream {
    /// Starts at a known sequence number: the byte behind a SYN.
    pub(super) fn start(&mut self, sequence: u32) {
        *self = Stream { base: Some(sequence), next: Some(sequence), ..Stream::default() };
    }

    /// The sequence number of the first byte; none before the first segment.
    pub(super) fn base(&self) -> Option<u32> {
        self.base
    }

    /// Bytes that wait for a hole to be filled.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// The receiver acknowledged everything before `sequence`.
    pub(super) fn acknowledge(&mut self, sequence: u32) {
        if self.acknowledged.is_none_or(|old| before(old, sequence)) {
            self.acknowledged = Some(sequence);
        }
    }

    fn start_keeping_acknowledgement(&mut self, sequence: u32) {
        (self.base, self.next) = (Some(sequence), Some(sequence));
    }

    /// Takes a segment. Bytes that are next go to `deliver` at once; others wait.
    pub(super) fn receive(
        &mut self,
        origin: Origin,
        payload: &[u8],
        cut: u32,
        deliver: &mut impl FnMut(Piece<'_>),
    ) -> Received {
        let Origin { ts_us, sequence, .. } = origin;
        if payload.is_empty() && cut == 0 {
            return Received::default();
        }
        if self.next.is_none() {
            self.start_keeping_acknowledgement(sequence);
        }
        let mut next = self.next.unwrap_or(sequence);
        let mut received = Received::default();
        if before(sequence, next) && next.wrapping_sub(sequence) > OTHER_CONNECTION_BYTES {
            received = self.give_up(deliver);
            deliver(Piece::Hole(ts_us, 0));
            self.start(sequence);
            next = sequence;
        }
        if before(next, sequence) {
            self.wait(origin, payload, cut, &mut received);
            received.early = !received.repeated;
        } else {
            let end = sequence.wrapping_add(payload.len() as u32).wrapping_add(cut);
            received.repeated = !before(next, end);
            self.take(origin, payload, cut, &mut received, deliver);
            self.take_waiting(&mut received, deliver);
        }
        while self.hole_is_given_up(ts_us) {
            self.skip_hole(&mut received, deliver);
        }
        received
    }

    /// Gives up every hole: the connection ends, or memory is short.
    pub(super) fn give_up(&mut self, deliver: &mut impl FnMut(Piece<'_>)) -> Received {
        let mut received = Received::default();
        while !self.waiting.is_empty() {
            self.skip_hole(&mut received, deliver);
        }
        received
    }

    /// Gives up holes that are too old at `now_us`.
    pub(super) fn expire(&mut self, now_us: i64, deliver: &mut impl FnMut(Piece<'_>)) -> Received {
        let mut received = Received::default();
        while self.hole_is_given_up(now_us) {
            self.skip_hole(&mut received, deliver);
        }
        received
    }

    fn wait(&mut self, origin: Origin, payload: &[u8], cut: u32, received: &mut Received) {
        let at = self.waiting.partition_point(|w| before(w.origin.sequence, origin.sequence));
        if let Some(same) = self.waiting.get_mut(at)
            && same.origin.sequence == origin.sequence
        {
            // The longer copy stays; what it repeats is a duplicate.
            if same.bytes.len() >= payload.len() {
                received.duplicate += payload.len() as u64;
                received.repeated = true;
                return;
            }
            received.duplicate += same.bytes.len() as u64;
            self.waiting_bytes += payload.len() - same.bytes.len();
            (same.bytes, same.cut) = (payload.into(), cut);
            return;
        }
        self.waiting_bytes += payload.len();
        self.waiting.insert(at, Waiting { origin, bytes: payload.into(), cut });
    }

    /// Delivers what of a segment is new; it starts at or before the next byte.
    fn take(
        &mut self,
        origin: Origin,
        payload: &[u8],
        cut: u32,
        received: &mut Received,
        deliver: &mut impl FnMut(Piece<'_>),
    ) {
        let Origin { ts_us, sequence, .. } = origin;
        let next = self.next.unwrap_or(sequence);
        let known = next.wrapping_sub(sequence) as usize;
        let duplicate = known.min(payload.len());
        received.duplicate += duplicate as u64;
        let fresh = &payload[duplicate..];
        let mut after = next;
        if !fresh.is_empty() {
            self.delivered_us = ts_us;
            deliver(Piece::Bytes(Origin { sequence: next, ..origin }, fresh));
            after = after.wrapping_add(fresh.len() as u32);
        }
        let end = sequence.wrapping_add(payload.len() as u32).wrapping_add(cut);
        if before(after, end) {
            deliver(Piece::Hole(ts_us, u64::from(end.wrapping_sub(after))));
            after = end;
        }
        self.next = Some(after);
    }

    /// Delivers what waited for the bytes that have just come.
    fn take_waiting(&mut self, received: &mut Received, deliver: &mut impl FnMut(Piece<'_>)) {
        while let (Some(next), Some(first)) = (self.next, self.waiting.first()) {
            if before(next, first.origin.sequence) {
                return;
            }
            let waiting = self.waiting.remove(0);
            self.waiting_bytes -= waiting.bytes.len();
            // The receiver had them when it had those before them.
            let ts_us = waiting.origin.ts_us.max(self.delivered_us);
            self.take(Origin { ts_us, ..waiting.origin }, &waiting.bytes, waiting.cut, received, deliver);
        }
    }

    fn hole_is_given_up(&self, now_us: i64) -> bool {
        let Some(first) = self.waiting.first() else { return false };
        let waited_us = now_us - self.waiting.iter().map(|w| w.origin.ts_us).min().unwrap_or(now_us);
        let acknowledged = self.acknowledged.is_some_and(|ack| !before(ack, first.origin.sequence));
        self.waiting_bytes > WAITING_BYTES_MAX
            || self.waiting.len() > WAITING_SEGMENTS_MAX
            || waited_us > HOLE_US
            || (acknowledged && waited_us > ACKNOWLEDGED_HOLE_US)
    }

    fn skip_hole(&mut self, received: &mut Received, deliver: &mut impl FnMut(Piece<'_>)) {
        if let (Some(next), Some(first)) = (self.next, self.waiting.first()) {
            deliver(Piece::Hole(first.origin.ts_us, u64::from(first.origin.sequence.wrapping_sub(next))));
            self.next = Some(first.origin.sequence);
        }
        self.take_waiting(received, deliver);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(sequence: u32) -> Origin {
        Origin { ts_us: 0, sequence, acknowledges: None }
    }

    /// Feeds segments `(start, length)` of a known text from sequence number `base` and returns what was delivered, with
    /// holes as `_`, and the duplicates.
    fn run(base: u32, segments: &[(usize, usize)]) -> (Vec<u8>, u64) {
        let text: Vec<u8> = (0..=255_u8).cycle().take(4096).collect();
        let mut stream = Stream::default();
        stream.start(base);
        let mut out = Vec::new();
        let mut deliver = |piece: Piece<'_>| match piece {
            Piece::Bytes(_, bytes) => out.extend_from_slice(bytes),
            Piece::Hole(_, length) => out.extend(std::iter::repeat_n(b'_', length as usize)),
        };
        let mut duplicate = 0;
        for (start, length) in segments {
            let payload = &text[*start..start + length];
            let sequence = base.wrapping_add(*start as u32);
            duplicate += stream.receive(at(sequence), payload, 0, &mut deliver).duplicate;
        }
        duplicate += stream.give_up(&mut deliver).duplicate;
        assert_eq!(stream.waiting_bytes(), 0);
        (out, duplicate)
    }

    #[test]
    fn orders_and_drops_repeats() {
        let text: Vec<u8> = (0..20).collect();
        for base in [0, u32::MAX - 5] {
            assert_eq!(run(base, &[(0, 5), (10, 10), (5, 5)]), (text.clone(), 0));
            assert_eq!(run(base, &[(0, 10), (0, 10), (5, 15)]), (text.clone(), 15));
            assert_eq!(run(base, &[(10, 10), (10, 5), (0, 10)]), (text.clone(), 5));
        }
    }

    #[test]
    fn what_came_early_is_there_when_what_is_before_it_is() {
        let mut stream = Stream::default();
        stream.start(0);
        let mut times = Vec::new();
        for (ts_us, sequence, bytes) in [(5, 2, "cd"), (7, 6, "gh"), (9, 0, "ab"), (20, 8, "i")] {
            stream.receive(Origin { ts_us, ..at(sequence) }, bytes.as_bytes(), 0, &mut |piece| {
                if let Piece::Bytes(origin, _) = piece {
                    times.push((origin.ts_us, origin.sequence));
                }
            });
        }
        stream.give_up(&mut |piece| {
            if let Piece::Bytes(origin, _) = piece {
                times.push((origin.ts_us, origin.sequence));
            }
        });
        assert_eq!(times, [(9, 0), (9, 2), (9, 6), (20, 8)]);
    }

    #[test]
    fn names_holes() {
        assert_eq!(run(7, &[(0, 2), (4, 2)]), (vec![0, 1, b'_', b'_', 4, 5], 0));
    }

    #[test]
    fn an_acknowledged_hole_is_given_up_after_a_while() {
        let mut stream = Stream::default();
        stream.start(0);
        stream.acknowledge(10);
        let mut pieces = 0;
        stream.receive(at(5), b"12345", 0, &mut |_| pieces += 1);
        assert_eq!(pieces, 0);
        stream.expire(ACKNOWLEDGED_HOLE_US + 1, &mut |_| pieces += 1);
        assert_eq!(pieces, 2);
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut stream = Stream::default();
        stream.start(0);
        let mut holes = 0;
        for i in 0..10_000_u32 {
            stream.receive(at(10 + i * 2_000), &[0; 1_000], 0, &mut |piece| {
                holes += u64::from(matches!(piece, Piece::Hole(..)));
            });
            assert!(stream.waiting_bytes() <= WAITING_BYTES_MAX);
        }
        assert!(holes > 0);
    }

    proptest! {
        #[test]
        fn every_byte_is_delivered_once_or_a_duplicate(
            base in any::<u32>(),
            segments in prop::collection::vec((0..1000_usize, 1..200_usize), 1..60),
        ) {
            let captured: usize = segments.iter().map(|(_, length)| length).sum();
            let (out, duplicate) = run(base, &segments);
            let text: Vec<u8> = (0..=255_u8).cycle().take(4096).collect();
            let holes = out.iter().zip(&text).filter(|(found, sent)| **found == b'_' && found != sent).count();
            prop_assert!(out.iter().zip(&text).all(|(found, sent)| found == sent || *found == b'_'));
            // A hole over the byte that stands for holes looks like that byte, so the sum may only miss those.
            let delivered = out.len() - holes;
            let ambiguous = text[..out.len()].split(|b| *b == b'_').count() - 1;
            prop_assert!(delivered + duplicate as usize >= captured);
            prop_assert!(delivered + duplicate as usize <= captured + ambiguous);
        }
    }
}
