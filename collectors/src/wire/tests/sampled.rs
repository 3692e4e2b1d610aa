//! When only some connections are followed, what is counted of them stands for all.

use millrace_schemas::digest::Syntax;

use super::decoder;
use super::script::{Script, query, rows};

/// Frames of a script as another client's.
fn of_client(script: &Script, port: u16) -> impl Iterator<Item = (i64, Vec<u8>)> {
    script.frames.iter().map(move |(ts_us, frame)| {
        let mut frame = frame.clone();
        for at in [20, 22] {
            if frame[at..at + 2] == 40_000_u16.to_be_bytes() {
                frame[at..at + 2].copy_from_slice(&port.to_be_bytes());
            }
        }
        (*ts_us, frame)
    })
}

#[test]
fn one_of_so_many_connections_stands_for_all() {
    const CLIENTS: u16 = 512;
    const EACH: u64 = 20;
    let mut script = Script::login(0);
    for second in 0..8 {
        script.wait(second * 1_000_000 - script.now() + 10_000);
        for _ in 0..EACH {
            script.turn(&query(b"select 1"), &rows(1, false, 1, 1));
        }
    }
    let mut frames: Vec<_> = (0..CLIENTS).flat_map(|client| of_client(&script, 10_000 + client)).collect();
    frames.sort_by_key(|(ts_us, _)| *ts_us);
    let mut decoder = decoder(Syntax::default());
    for (ts_us, frame) in &frames {
        // One of three is rounded up to one of four; and later all of them again.
        match ts_us / 1_000_000 {
            1 => decoder.sample_one_of(3, *ts_us),
            5 => decoder.sample_one_of(1, *ts_us),
            _ => {}
        }
        decoder.packet(*ts_us, frame, 101);
        assert!(decoder.books().balance(), "{:?}", decoder.books());
    }
    let flushed = decoder.finish();
    assert_eq!(flushed.totals.len(), 8);
    for totals in &flushed.totals {
        let rows = flushed.rows.iter().filter(|row| row.second == totals.second);
        let sampled = (2..6).contains(&totals.second);
        let (factor, count) = (if sampled { 4 } else { 1 }, totals.statements);
        assert_eq!(totals.sample_factor, factor, "{totals:?}");
        assert!(rows.clone().all(|row| row.sample_factor == factor), "{totals:?}");
        assert_eq!(rows.map(|row| row.count).sum::<u64>(), count);
        if sampled {
            // All of a connection or nothing, and five standard deviations of their number.
            assert!(count.is_multiple_of(EACH) && (count / EACH).abs_diff(128) < 49, "{totals:?}");
        } else {
            assert_eq!(count, u64::from(CLIENTS) * EACH, "{totals:?}");
        }
    }
    let books = decoder.books();
    assert!(books.shed > 0 && books.connections_shed > 300, "{books:?}");
    assert_eq!((books.connections_midstream, books.unanswered), (books.connections_shed, 0));
}
