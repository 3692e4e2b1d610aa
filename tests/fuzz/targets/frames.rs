//! Captured frames with any bytes, of every link type. In: a byte that chooses the link type, and frames, each behind two bytes that
//! say how long it is. The books must balance after every one, and the memory must stay within its bound.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace_collectors::wire::{Decoder, Server};
use millrace_schemas::digest::Syntax;
use millrace_schemas::ids::InstanceId;

/// Those that are understood, and one that is not.
const LINK_TYPES: [i32; 9] = [0, 1, 12, 101, 113, 228, 229, 276, 105];

fuzz_target!(|bytes: &[u8]| {
    let Some((which, mut rest)) = bytes.split_first() else { return };
    let link_type = LINK_TYPES[usize::from(*which) % LINK_TYPES.len()];
    let instance = InstanceId::parse("db").expect("legal");
    let mut decoder = Decoder::new(&[Server { address: None, port: 3306, instance, syntax: Syntax::default() }]);
    decoder.detect(Syntax::default());
    decoder.keep_ended();
    let mut ts_us = 0;
    while let [low, high, more @ ..] = rest {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(more.len());
        let (frame, behind) = more.split_at(length);
        rest = behind;
        ts_us += 1_000;
        decoder.packet(ts_us, frame, link_type);
        assert!(decoder.books().balance(), "{:?}", decoder.books());
        decoder.take_ended();
    }
    decoder.tick(ts_us + 10_000_000);
    decoder.finish();
    assert!(decoder.books().balance() && decoder.books().waiting == 0, "{:?}", decoder.books());
});
