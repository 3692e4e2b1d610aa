//! Connections that were found in the middle and are compressed.

use super::script::{Script, ok, packet, query, rows};
use super::{Flags, ended, find, run};

type Pack = fn(&[u8]) -> Vec<u8>;

/// A frame of the compressed protocol; short ones go as they are.
fn frame(number: u8, plain: &[u8], pack: Pack) -> Vec<u8> {
    let (body, length) = if plain.len() < 50 { (plain.to_vec(), 0) } else { (pack(plain), plain.len()) };
    let mut bytes = (body.len() as u32).to_le_bytes()[..3].to_vec();
    bytes.push(number);
    bytes.extend(&(length as u32).to_le_bytes()[..3]);
    bytes.extend(body);
    bytes
}

#[test]
fn compression_is_recognised_in_the_middle() {
    let zlib = |plain: &[u8]| {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut encoder, plain).expect("packs");
        encoder.finish().expect("packs")
    };
    let zstd = |plain: &[u8]| zstd::encode_all(plain, 3).expect("packs");
    let packers: [Pack; 2] = [zlib, zstd];
    let long = format!("select a from t where b = '{}'", "x".repeat(200));
    for (pack, first) in packers.into_iter().flat_map(|pack| [(pack, "do 1"), (pack, &*long)]) {
        let mut script = Script::midstream();
        // The end of an answer.
        script.server(script.now(), &frame(3, &[b'r'; 80], pack)[20..]);
        for sql in [first, "do 1", &*long] {
            let answer = if sql == long { rows(1, false, 9, 20) } else { packet(1, &ok(0, false)) };
            script.turn(&frame(0, &query(sql.as_bytes()), pack), &frame(1, &answer, pack));
        }
        let (decoder, flushed) = run(&script);
        let longs = if first == long { 2 } else { 1 };
        let row = find(&flushed, "select a from t where b = ?");
        assert_eq!((row.count, row.rows_sent), (longs, 9 * longs));
        assert_eq!(find(&flushed, "do 1").count, 3 - longs);
        let books = decoder.books();
        assert_eq!((books.unanswered, books.resyncs, books.connections_midstream), (0, 0, 1), "{books:?}");
        let ended = ended(&script);
        assert!(ended.iter().all(|one| one.flags == Flags::MIDSTREAM.with(Flags::COMPRESSED, true)), "{ended:?}");
    }
}
