//! A connection in which both sides send any bytes, in segments that are lost, repeated, early and cut. In: segments, each behind four
//! bytes: what happens to it, how much time passes, and how long it is. The books must balance after every one, what is kept must
//! stay within its bound, and what ended must make sense.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace_collectors::wire::{Decoder, Ended, Flags, Server};
use millrace_schemas::digest::Syntax;
use millrace_schemas::ids::InstanceId;

/// A raw IP packet.
const RAW: i32 = 101;
/// Bits of what happens to a segment.
const FROM_SERVER: u8 = 1;
const LOST: u8 = 2;
const REPEATED: u8 = 4;
const CUT: u8 = 8;
const EARLY: u8 = 16;
const SYN: u8 = 32;
const FIN: u8 = 64;
/// 2 MiB for one connection, far more than what the segments of one input hold.
const MEMORY_MAX: usize = 2 << 20;

/// Both ends as they number their bytes.
struct Ends {
    sequences: [u32; 2],
}

impl Ends {
    /// A segment of one side at a sequence number; the other side's bytes are acknowledged up to now.
    fn packet(&self, side: usize, sequence: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0];
        packet.extend((40 + payload.len() as u16).to_be_bytes());
        packet.extend([0, 0, 0, 0, 64, 6, 0, 0]);
        let addresses = [[10, 0, 0, 1], [10, 0, 0, 2]];
        let ports = [40_000_u16, 3_306];
        packet.extend(addresses[side]);
        packet.extend(addresses[1 - side]);
        packet.extend(ports[side].to_be_bytes());
        packet.extend(ports[1 - side].to_be_bytes());
        packet.extend(sequence.to_be_bytes());
        packet.extend(self.sequences[1 - side].to_be_bytes());
        packet.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        packet.extend(payload);
        packet
    }
}

fuzz_target!(|bytes: &[u8]| {
    let instance = InstanceId::parse("db").expect("legal");
    let mut decoder = Decoder::new(&[Server { address: None, port: 3306, instance, syntax: Syntax::default() }]);
    decoder.keep_ended();
    let mut ends = Ends { sequences: [100, u32::MAX - 40] };
    let (mut ts_us, mut rest) = (0, bytes);
    while let [what, time, low, high, more @ ..] = rest {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(more.len());
        let (payload, behind) = more.split_at(length);
        rest = behind;
        ts_us += i64::from(*time) * i64::from(*time) * 100;
        let side = usize::from(what & FROM_SERVER);
        let mut sequence = ends.sequences[side];
        let flags = 0x10 | if what & SYN != 0 { 2 } else { 0 } | if what & FIN != 0 { 1 } else { 0 };
        if what & EARLY != 0 {
            sequence = sequence.wrapping_add(u32::from(*time));
        } else {
            ends.sequences[side] = sequence.wrapping_add(length as u32).wrapping_add(u32::from(what & SYN != 0));
        }
        let mut packet = ends.packet(side, sequence, flags, payload);
        if what & CUT != 0 {
            packet.truncate(40 + length / 2);
        }
        for _ in 0..[1, 0, 2, 0][usize::from((what & LOST) / LOST + 2 * ((what & REPEATED) / REPEATED))] {
            decoder.packet(ts_us, &packet, RAW);
            assert!(decoder.books().balance(), "{:?}", decoder.books());
            assert!(decoder.memory() <= MEMORY_MAX, "{} bytes are kept", decoder.memory());
            decoder.take_ended().iter().for_each(check);
        }
        decoder.tick(ts_us);
    }
    decoder.finish();
    decoder.take_ended().iter().for_each(check);
    assert!(decoder.books().balance() && decoder.books().waiting == 0, "{:?}", decoder.books());
});

fn check(ended: &Ended) {
    assert!(ended.rt_us.is_none_or(|(first, last)| first <= last), "{ended:?}");
    assert!(ended.rt_us.is_none() || !ended.flags.has(Flags::UNANSWERED), "{ended:?}");
    assert_eq!((ended.client.port(), ended.server.port(), ended.connection > 0), (40_000, 3_306, true));
}
