//! The compressed protocol: frames of one direction enter; the packets' bytes leave. Both algorithms that servers offer, zlib
//! and zstd; what was agreed on need not be known, since no bytes begin both. A frame is undone when it is whole, so that at most
//! one frame per direction waits. It must never unpack more than a frame's header announces.

use std::io::Read;

use super::commands;

/// Bytes of a frame's header: packed length, number, unpacked length.
const HEADER_BYTES: usize = 7;
/// What begins a frame of zstd (RFC 8878, 3.1.1); a stream of zlib that began so would fail its own check (RFC 1950, 2.2).
const ZSTD_MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();

/// A frame that cannot be unpacked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Damaged;

/// Undoes the compression of one direction.
#[derive(Debug, Default)]
pub(super) struct Unpacker {
    frame: Vec<u8>,
    plain: Vec<u8>,
}

/// Capacity kept between frames, as most frames are small.
const KEPT: usize = 64 << 10;

impl Unpacker {
    /// Forgets a frame that has begun.
    pub(super) fn reset(&mut self) {
        self.frame.clear();
    }

    /// Bytes of memory in use.
    pub(super) fn kept_bytes(&self) -> usize {
        self.frame.capacity() + self.plain.capacity()
    }

    /// Takes bytes; whole frames go to `deliver`, unpacked.
    pub(super) fn take(&mut self, mut data: &[u8], mut deliver: impl FnMut(&[u8])) -> Result<(), Damaged> {
        while !data.is_empty() {
            let wanted = self.wanted().saturating_sub(self.frame.len()).min(data.len());
            self.frame.extend_from_slice(&data[..wanted]);
            data = &data[wanted..];
            if self.frame.len() >= HEADER_BYTES && self.frame.len() == self.wanted() {
                self.unpack(&mut deliver)?;
                self.frame.clear();
                self.frame.shrink_to(KEPT);
                self.plain.shrink_to(KEPT);
            }
        }
        Ok(())
    }

    /// The length of the frame at hand, as far as it is known.
    fn wanted(&self) -> usize {
        match self.frame[..] {
            [a, b, c, _, _, _, _, ..] => HEADER_BYTES + number(a, b, c),
            _ => HEADER_BYTES,
        }
    }

    fn unpack(&mut self, deliver: &mut impl FnMut(&[u8])) -> Result<(), Damaged> {
        let length = number(self.frame[4], self.frame[5], self.frame[6]);
        let body = &self.frame[HEADER_BYTES..];
        if length == 0 {
            deliver(body);
            return Ok(());
        }
        self.plain.clear();
        let limit = length as u64 + 1;
        let unpacked = if body.starts_with(&ZSTD_MAGIC) {
            zstd::stream::read::Decoder::new(body).and_then(|decoder| decoder.take(limit).read_to_end(&mut self.plain))
        } else {
            flate2::read::ZlibDecoder::new(body).take(limit).read_to_end(&mut self.plain)
        };
        if !matches!(unpacked, Ok(found) if found == length) {
            return Err(Damaged);
        }
        deliver(&self.plain);
        Ok(())
    }
}

/// Whether a segment of a client is a frame with a request in it, and nothing else: then the connection is compressed.
pub(super) fn plausible(data: &[u8]) -> bool {
    if !is_first_frame(data) {
        return false;
    }
    let mut asks = false;
    let unpacked = Unpacker::default().take(data, |plain| asks = commands::plausible(plain));
    asks && unpacked.is_ok()
}

/// Whether a segment is exactly the first frame of what a client sends.
pub(super) fn is_first_frame(data: &[u8]) -> bool {
    matches!(*data, [a, b, c, 0, _, _, _, ..] if number(a, b, c) + HEADER_BYTES == data.len())
}

fn number(a: u8, b: u8, c: u8) -> usize {
    usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn frame(packed: &[u8], plain: usize) -> Vec<u8> {
        let mut bytes = (packed.len() as u32).to_le_bytes()[..3].to_vec();
        bytes.push(0);
        bytes.extend(&(plain as u32).to_le_bytes()[..3]);
        bytes.extend(packed);
        bytes
    }

    fn check(packed: &[u8], plain: &[u8]) {
        let bytes = [frame(packed, plain.len()), frame(b"short", 0)].concat();
        for chunk in [1, 5, 7, bytes.len()] {
            let mut unpacker = Unpacker::default();
            let mut out = Vec::new();
            for part in bytes.chunks(chunk) {
                unpacker.take(part, |bytes| out.extend_from_slice(bytes)).expect("unpacks");
            }
            assert_eq!(out, [plain, b"short"].concat());
        }
        let mut unpacker = Unpacker::default();
        assert_eq!(unpacker.take(&frame(packed, plain.len() - 1), |_| {}), Err(Damaged));
        assert_eq!(unpacker.take(&frame(b"no such thing", 10), |_| {}), Err(Damaged));
    }

    #[test]
    fn undoes_both_algorithms() {
        let plain = b"select 1".repeat(20);
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(&plain).expect("packs");
        check(&encoder.finish().expect("packs"), &plain);
        check(&zstd::encode_all(&plain[..], 1).expect("packs"), &plain);
    }
}
