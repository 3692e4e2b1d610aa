//! Whole sessions, made packet by packet, through the decoder: what statements are counted, and that the books balance
//! whatever happens to the packets.

mod live;
mod packed;
mod sampled;
mod script;

use millrace_schemas::digest::{Charset, DigestId, Scanner, SqlMode, Syntax};
use millrace_schemas::topics::queries::Row;
use proptest::prelude::*;

use super::decoder::{Decoder, Server};
use super::ended::{Ended, Flags};
use super::handshake::capability as c;
use super::table::Flushed;
use super::watched::{Named, Unnamed};
use millrace_schemas::ids::InstanceId;
use script::{Script, eof, error, ok, packet, query, rows};

fn decoder(syntax: Syntax) -> Decoder {
    let instance = InstanceId::parse("db-1").expect("an id");
    Decoder::new(&[Server { address: None, port: 3306, instance, syntax }])
}

fn run(script: &Script) -> (Decoder, Flushed) {
    run_on(script, Syntax::default())
}

/// On a server whose sessions begin with this.
fn run_on(script: &Script, syntax: Syntax) -> (Decoder, Flushed) {
    let mut decoder = decoder(syntax);
    for (ts_us, frame) in &script.frames {
        decoder.packet(*ts_us, frame, 101);
        assert!(decoder.books().balance(), "{:?}", decoder.books());
    }
    let flushed = decoder.finish();
    (decoder, flushed)
}

fn find<'a>(flushed: &'a Flushed, sql: &str) -> &'a Row {
    let id = Scanner::new().id_of(sql.as_bytes());
    let found: Vec<&Row> = flushed.rows.iter().filter(|row| row.digest == id).collect();
    assert_eq!(found.len(), 1, "{sql}: {:#?}", flushed.rows);
    found[0]
}

const MODERN: u64 = c::DEPRECATE_EOF | c::QUERY_ATTRIBUTES;

#[test]
fn a_query_has_its_times_rows_and_names() {
    for capabilities in [0, c::DEPRECATE_EOF] {
        let mut script = Script::login(capabilities);
        script.client(1_000, &query(b"select a from t where b = 5"));
        script.server(1_300, &rows(1, capabilities != 0, 3, 2)[..20]);
        script.server(1_900, &rows(1, capabilities != 0, 3, 2)[20..]);
        let (decoder, flushed) = run(&script);
        let row = find(&flushed, "select a from t where b = ?");
        assert_eq!((row.user.as_str(), row.schema.as_str()), ("app", "shop"));
        assert_eq!((row.count, row.errors, row.rows_sent), (1, 0, 3));
        assert_eq!((row.rt_sum_us, row.rt_min_us, row.rt_max_us), (900, 900, 900));
        assert_eq!(row.rt_first.quantile(0.5).map(|us| us.abs_diff(300) <= 3), Some(true));
        let books = decoder.books();
        assert_eq!((books.captured, books.connections_midstream), (books.decoded, 0));
    }
}

#[test]
fn errors_and_changes_are_counted() {
    let mut script = Script::login(0);
    script.turn(&query(b"update t set a = 1"), &packet(1, &ok(7, false)));
    script.turn(&query(b"update t set a = 2"), &packet(1, &error(1213)));
    let (_, flushed) = run(&script);
    let row = find(&flushed, "update t set a = ?");
    assert_eq!((row.count, row.errors, row.rows_affected), (2, 1, 7));
}

/// An OK with these bits in its status.
fn ok_with(status: u16) -> Vec<u8> {
    let [low, high] = (2 | status).to_le_bytes();
    packet(1, &[0, 0, 0, low, high, 0, 0])
}

#[test]
fn statements_are_read_as_their_session_means_them() {
    const PLAIN: &[u8] = br"select 'x\', 'y' as plain";
    const ANSI: &[u8] = br#"select "x" as ansi"#;
    let mut script = Script::login(0);
    script.turn(&query(PLAIN), &ok_with(0));
    // MySQL says in each answer whether backslashes are characters, MariaDB whether double quotes are those of names, too.
    script.turn(&query(b"set sql_mode = @modes"), &ok_with(0x0200));
    script.turn(&query(PLAIN), &ok_with(0x8200));
    script.turn(&query(ANSI), &ok_with(0));
    script.turn(&query(ANSI), &ok_with(0));
    // Without the bits, what was set tells.
    script.turn(&query(b"set sql_mode = 'ANSI_QUOTES'"), &packet(1, &error(1231)));
    script.turn(&query(ANSI), &ok_with(0));
    script.turn(&query(b"set names gbk"), &ok_with(0));
    script.turn(&query(b"select '\xbf\\', 'y' as gbk"), &ok_with(0));
    script.turn(&packet(0, b"\x1f"), &ok_with(0));
    script.turn(&query("select 'ä\\', 'y' as utf8".as_bytes()), &ok_with(0));
    let (_, flushed) = run(&script);
    // Where escapes hold, what these two seem to say cannot be, and is read up to the string in doubt.
    assert_eq!(find(&flushed, "select 1").count, 2);
    assert_eq!(find(&flushed, "select 1, 2 as plain").count, 1);
    assert_eq!(find(&flushed, "select x as ansi").count, 1);
    assert_eq!(find(&flushed, "select 1 as ansi").count, 2);
    assert_eq!(find(&flushed, "select 1, 2 as gbk").count, 1);
}

#[test]
fn sessions_begin_with_what_their_server_has() {
    let mut script = Script::login(0);
    script.turn(&query(br#"select "x" as a"#), &ok_with(0));
    script.turn(&query(b"set sql_mode = ''"), &ok_with(0));
    script.turn(&query(br#"select "x" as b"#), &ok_with(0));
    script.turn(&query(b"set sql_mode = default"), &ok_with(0));
    script.turn(&query(br#"select "x" as c"#), &ok_with(0));
    let mode = SqlMode { ansi_quotes: true, no_backslash_escapes: false };
    let (_, flushed) = run_on(&script, Syntax { mode, charset: Charset::default() });
    for read in ["select x as a", "select 1 as b", "select x as c"] {
        assert_eq!(find(&flushed, read).count, 1);
    }
}

#[test]
fn each_statement_of_a_request_counts() {
    let mut script = Script::login(MODERN);
    let answer = [packet(1, &ok(1, true)), rows_more(2), packet(6, &ok(2, false))].concat();
    script.turn(&query(b"\x00\x01insert into t values (1); select 2; delete from t where a = ';';"), &answer);
    script.turn(&query(b"\x00\x01select 3; select nonsense"), &[rows_more(1), packet(5, &error(1054))].concat());
    script.turn(&query(b"\x00\x01nonsense; select 3"), &packet(1, &error(1064)));
    let (_, flushed) = run(&script);
    assert_eq!(find(&flushed, "insert into t values (1)").rows_affected, 1);
    assert_eq!(find(&flushed, "select 2").count, 2);
    assert_eq!(find(&flushed, "delete from t where a = ?").rows_affected, 2);
    assert_eq!(find(&flushed, "select nonsense").errors, 1);
    assert_eq!(find(&flushed, "nonsense").errors, 1);
    assert_eq!(flushed.totals[0].statements, 6);
}

/// A result set in the modern form that says that more results follow.
fn rows_more(number: u8) -> Vec<u8> {
    [
        packet(number, b"\x01"),
        packet(number + 1, b"\x03defx"),
        packet(number + 2, b"\x011"),
        packet(number + 3, b"\xfe\0\0\x0a\0\0\0"),
    ]
    .concat()
}

#[test]
fn results_of_a_call_are_one_statement() {
    let mut script = Script::login(MODERN);
    let answer = [rows_more(1), rows_more(5), packet(9, &ok(0, true)), packet(10, &ok(0, false))].concat();
    script.turn(&query(b"\x00\x01call p(1); do 1"), &answer);
    script.turn(&query(b"\x00\x01call p(2)"), &[rows_more(1), packet(5, &ok(0, false))].concat());
    let (_, flushed) = run(&script);
    let call = find(&flushed, "call p(1)");
    assert_eq!((call.count, call.rows_sent), (2, 3));
    assert_eq!(find(&flushed, "do 1").count, 1);
}

fn execute(id: u32) -> Vec<u8> {
    packet(0, &[&[0x17][..], &id.to_le_bytes(), &[0, 1, 0, 0, 0]].concat())
}

/// The answer to a prepare with one parameter and one column, in the classic form.
fn prepared(id: u32) -> Vec<u8> {
    let first = [&[0][..], &id.to_le_bytes(), &[1, 0, 1, 0, 0, 0, 0]].concat();
    [packet(1, &first), packet(2, b"\x03def"), packet(3, &eof(2)), packet(4, b"\x03def"), packet(5, &eof(2))].concat()
}

#[test]
fn prepared_statements_keep_their_text() {
    let mut script = Script::login(0);
    script.turn(&packet(0, b"\x16select a from t where b = ?"), &prepared(9));
    script.turn(&execute(9), &rows(1, false, 2, 2));
    script.turn(&execute(8), &packet(1, &error(1243)));
    // Closed, and executed nevertheless.
    script.client(script.now() + 10, &packet(0, b"\x19\x09\0\0\0"));
    script.turn(&execute(9), &packet(1, &error(1243)));
    let (decoder, flushed) = run(&script);
    assert_eq!(find(&flushed, "select a from t where b = 1").rows_sent, 2);
    assert_eq!(decoder.books().unknown_statements, 2);
    let unknown: Vec<&Row> = flushed.rows.iter().filter(|row| row.digest == DigestId::UNKNOWN).collect();
    assert_eq!((unknown[0].count, unknown[0].errors), (2, 2));
    let commands: Vec<_> = decoder.commands().collect();
    assert_eq!(commands, [("stmt_prepare", 1), ("stmt_execute", 3), ("stmt_close", 1)]);
}

#[test]
fn what_a_session_remembers_is_counted_as_memory() {
    let mut script = Script::login(0);
    for id in 0..1_000 {
        script.turn(&packet(0, b"\x16select a from t where b = ?"), &prepared(id));
    }
    let mut decoder = decoder(Syntax::default());
    for (ts_us, frame) in &script.frames {
        decoder.packet(*ts_us, frame, 101);
    }
    assert!(decoder.memory() > 1_000 * 24, "{}", decoder.memory());
    decoder.finish();
    assert_eq!(decoder.memory(), 0);
}

/// Everything that is told of a script's commands.
fn ended(script: &Script) -> Vec<Ended> {
    let mut decoder = decoder(Syntax::default());
    decoder.keep_ended();
    for (ts_us, frame) in &script.frames {
        decoder.packet(*ts_us, frame, 101);
    }
    decoder.finish();
    decoder.take_ended()
}

#[test]
fn an_answer_that_came_before_its_request_is_not_that_of_the_next() {
    let mut script = Script::login(0);
    let at = script.frames.len();
    script.turn(&packet(0, b"\x16select a from t"), &prepared(1));
    script.turn(&packet(0, b"\x16select b from t"), &prepared(2));
    script.turn(&execute(2), &rows(1, false, 2, 2));
    script.frames.swap(at, at + 1);
    let ended = ended(&script);
    let told: Vec<_> = ended.iter().map(|ended| (ended.command, ended.rt_us.is_some(), ended.flags)).collect();
    let lost = Flags::UNANSWERED.with(Flags::LOST, true);
    assert_eq!(told[0], (Some("stmt_prepare"), false, lost));
    assert_eq!(
        told[1..],
        [(Some("stmt_prepare"), true, Flags::default()), (Some("stmt_execute"), true, Flags::default())]
    );
    assert_eq!(ended[2].sql.as_deref(), Some(&b"select b from t"[..]));
}

#[test]
fn a_greeting_that_was_not_captured_leaves_the_log_in_readable() {
    let mut script = Script::login(0);
    script.turn(&query(b"select 1"), &rows(1, false, 1, 1));
    // Behind the two SYNs.
    script.frames.remove(2);
    let ended = ended(&script);
    assert_eq!((ended[0].user.as_deref(), ended[0].schema.as_deref()), (Some("app"), Some("shop")));
    assert_eq!((ended[0].thread, ended[0].sql.as_deref()), (None, Some(&b"select 1"[..])));
}

#[test]
fn who_had_connected_before_is_named_by_the_server() {
    let mut script = Script::midstream();
    script.turn(&query(b"select 1"), &rows(1, false, 1, 1));
    let mut decoder = decoder(Syntax::default());
    let feed = |decoder: &mut Decoder, frames: &[(i64, Vec<u8>)]| {
        for (ts_us, frame) in frames {
            decoder.packet(*ts_us, frame, 101);
        }
    };
    feed(&mut decoder, &script.frames);
    let [of] = &decoder.unnamed()[..] else { panic!("{:?}", decoder.unnamed()) };
    assert_eq!((of.client.to_string(), of.instance.as_str()), ("10.0.0.1:40000".to_owned(), "db-1"));
    let named = Named { of: of.clone(), thread: 7, user: "app".to_owned(), schema: Some("shop".to_owned()) };
    // Another connection with these ends.
    decoder.name(&Named { of: Unnamed { number: 9, ..of.clone() }, user: "other".to_owned(), ..named.clone() });
    decoder.name(&named);
    assert_eq!(decoder.unnamed(), []);
    // What it says itself is newer.
    decoder.name(&Named { schema: Some("old".to_owned()), ..named });
    let from = script.frames.len();
    script.turn(&query(b"select 2"), &rows(1, false, 1, 1));
    feed(&mut decoder, &script.frames[from..]);
    let flushed = decoder.finish();
    let who: Vec<_> = flushed.rows.iter().map(|row| (row.user.as_str(), row.schema.as_str(), row.count)).collect();
    assert_eq!(who, [("", "", 1), ("app", "shop", 1)]);
}

#[test]
fn pipelined_requests_find_their_answers() {
    let mut script = Script::login(0);
    // MariaDB: prepare, and execute what was prepared last, in one go.
    let requests = [packet(0, b"\x16select a from t where b = ?"), execute(u32::MAX), query(b"do 1")].concat();
    let answers = [prepared(1), rows(1, false, 1, 2), packet(1, &ok(0, false))].concat();
    script.turn(&requests, &answers);
    let (decoder, flushed) = run(&script);
    assert_eq!(find(&flushed, "select a from t where b = ?").rows_sent, 1);
    assert_eq!(find(&flushed, "do 1").count, 1);
    assert_eq!(decoder.books().unanswered, 0);
}

#[test]
fn a_local_file_is_part_of_its_statement() {
    let mut script = Script::login(0);
    script.turn(&query(b"load data local infile 'f' into table t"), &packet(1, b"\xfbf"));
    let file = [packet(2, &[b'x'; 500]), packet(3, b"")].concat();
    script.turn(&file, &packet(4, &ok(50, false)));
    script.turn(&query(b"do 1"), &packet(1, &ok(0, false)));
    let (_, flushed) = run(&script);
    let row = find(&flushed, "load data local infile '' into table t");
    assert_eq!((row.count, row.rows_affected), (1, 50));
    assert!(row.bytes_in > 500);
    assert_eq!(find(&flushed, "do 1").count, 1);
}

#[test]
fn names_change_when_the_server_agrees() {
    let mut script = Script::login(0);
    script.turn(&packet(0, b"\x02other"), &packet(1, &error(1049)));
    script.turn(&query(b"do 1"), &packet(1, &ok(0, false)));
    script.turn(&query(b"use `other`"), &packet(1, &ok(0, false)));
    script.turn(&query(b"do 1 + 1"), &packet(1, &ok(0, false)));
    script.turn(&packet(0, b"\x11eve\0\x02xyback\0"), &packet(1, b"\xfeplugin\0"));
    script.turn(&packet(2, b"secret"), &packet(3, &ok(0, false)));
    script.turn(&query(b"do 1 + 1 + 1"), &packet(1, &ok(0, false)));
    let (_, flushed) = run(&script);
    let names = |sql| {
        let row = find(&flushed, sql);
        (row.user.clone(), row.schema.clone())
    };
    assert_eq!(names("do 1"), ("app".into(), "shop".into()));
    assert_eq!(names("do 1 + 1"), ("app".into(), "other".into()));
    assert_eq!(names("do 1 + 1 + 1"), ("eve".into(), "back".into()));
}

#[test]
fn a_connection_is_picked_up_in_the_middle() {
    let mut script = Script::midstream();
    script.server(1_000, b"the rest of some answer");
    script.turn(&query(b"select 1"), &rows(1, false, 1, 2));
    script.turn(&execute(3), &rows(1, false, 1, 2));
    let (decoder, flushed) = run(&script);
    let row = find(&flushed, "select 1");
    assert_eq!((row.count, row.user.as_str(), row.schema.as_str()), (1, "", ""));
    let books = decoder.books();
    assert_eq!((books.connections_midstream, books.unknown_statements, books.skipped), (1, 1, 23));
}

#[test]
fn a_loss_costs_what_it_hides_and_no_more() {
    let mut script = Script::login(0);
    script.turn(&query(b"select 1"), &rows(1, false, 1, 2));
    script.lose_server(300);
    script.turn(&query(b"select 2, 2"), &rows(1, false, 1, 2));
    script.turn(&query(b"select 3, now()"), &rows(1, false, 1, 2));
    script.wait(5_000_000);
    script.turn(&query(b"select 4, user()"), &rows(1, false, 1, 2));
    script.turn(&query(b"do 5"), &packet(1, &ok(0, false)));
    let (decoder, flushed) = run(&script);
    assert_eq!(decoder.books().missing, 300);
    assert!(decoder.books().resyncs >= 1);
    // Requests were all captured, so all of them count.
    assert_eq!(flushed.totals.iter().map(|totals| totals.statements).sum::<u64>(), 5);
    assert_eq!(find(&flushed, "do 5").rt_last.count(), 1);
}

#[test]
fn other_protocols_are_not_taken_for_statements() {
    let mut script = Script::begun();
    script.client(10, b"GET / HTTP/1.1\r\n\r\n");
    script.server(20, b"HTTP/1.1 400 Bad Request\r\n\r\n");
    let (decoder, flushed) = run(&script);
    assert!(flushed.rows.is_empty());
    assert!(decoder.books().undecodable > 0);
}

#[test]
fn long_statements_are_followed_to_their_end() {
    let mut script = Script::login(0);
    let long = format!("insert into t values (1, '{}')", "x".repeat(17 << 20));
    let payload = [&[3][..], long.as_bytes()].concat();
    let (first, rest) = payload.split_at(0xff_ffff);
    let request = [&[0xff, 0xff, 0xff, 0][..], first, &packet(1, rest)].concat();
    for part in request.chunks(60_000) {
        script.client(script.now() + 1, part);
    }
    script.server(script.now() + 100, &packet(2, &ok(1, false)));
    let (decoder, flushed) = run(&script);
    let row = find(&flushed, "insert into t values (1, 2)");
    assert_eq!((row.count, row.rows_affected, row.rt_sum_us), (1, 1, 100));
    assert!(row.bytes_in > 17 << 20);
    assert!(decoder.memory() < 1 << 20);
}

/// What happens to a packet on its way.
#[derive(Debug, Clone)]
enum Fate {
    Drop(usize),
    Repeat(usize),
    Swap(usize),
    Cut(usize, usize),
    Damage(usize, usize),
}

fn fate() -> impl Strategy<Value = Fate> {
    let at = 0..200_usize;
    prop_oneof![
        at.clone().prop_map(Fate::Drop),
        at.clone().prop_map(Fate::Repeat),
        at.clone().prop_map(Fate::Swap),
        (at.clone(), 0..100_usize).prop_map(|(at, length)| Fate::Cut(at, length)),
        (at, 40..200_usize).prop_map(|(at, byte)| Fate::Damage(at, byte)),
    ]
}

fn long_session(capabilities: u64) -> Script {
    let mut script = Script::login(capabilities);
    let modern = capabilities & c::DEPRECATE_EOF != 0;
    for i in 0..12_u32 {
        script.turn(&query(format!("select a from t where b = {i}").as_bytes()), &rows(1, modern, 3, 40));
        script.turn(
            &query(b"insert into t values (1); do 2"),
            &[packet(1, &ok(1, true)), packet(2, &ok(1, false))].concat(),
        );
        script.turn(&packet(0, b"\x16select 1"), &prepared(i));
        script.turn(&execute(i), &rows(1, modern, 1, 2));
    }
    script.close();
    script
}

proptest! {
    #[test]
    fn books_balance_whatever_happens(
        fates in prop::collection::vec(fate(), 0..20),
        modern in any::<bool>(),
        skip in 0..20_usize,
    ) {
        let mut script = long_session(if modern { c::DEPRECATE_EOF } else { 0 });
        script.frames.drain(..skip);
        for fate in fates {
            let frames = &mut script.frames;
            let length = frames.len();
            match fate {
                Fate::Drop(at) => drop(frames.remove(at % length)),
                Fate::Repeat(at) => frames.push(frames[at % length].clone()),
                Fate::Swap(at) => frames.swap(at % length, (at + 1) % length),
                Fate::Cut(at, bytes) => {
                    let frame = &mut frames[at % length].1;
                    frame.truncate(frame.len().saturating_sub(bytes));
                }
                Fate::Damage(at, byte) => {
                    let frame = &mut frames[at % length].1;
                    let byte = byte % frame.len().max(1);
                    frame.iter_mut().skip(byte).take(1).for_each(|b| *b ^= 0x55);
                }
            }
        }
        let (decoder, flushed) = run(&script);
        let books = decoder.books();
        prop_assert!(books.balance() && books.waiting == 0, "{:?}", books);
        let by_row: u64 = flushed.rows.iter().filter(|row| row.digest != DigestId::ADMIN).map(|row| row.count).sum();
        prop_assert_eq!(by_row, flushed.totals.iter().map(|totals| totals.statements).sum::<u64>());
    }

    #[test]
    fn the_order_of_arrival_does_not_matter(swaps in prop::collection::vec(0..200_usize, 0..30)) {
        let straight = long_session(0);
        let mut script = long_session(0);
        // Neighbours of the same direction change places; the times stay in order.
        for at in swaps {
            let at = at % (script.frames.len() - 1);
            if script::same_direction(&script.frames[at].1, &script.frames[at + 1].1) {
                let (left, right) = script.frames.split_at_mut(at + 1);
                std::mem::swap(&mut left[at].1, &mut right[0].1);
            }
        }
        let (decoder, flushed) = run(&script);
        let (_, expected) = run(&straight);
        prop_assert_eq!(decoder.books().missing, 0);
        let counts = |flushed: &Flushed| {
            let mut counts: Vec<_> = flushed.rows.iter().map(|row| (row.digest, row.count, row.rows_sent)).collect();
            counts.sort_unstable();
            counts
        };
        prop_assert_eq!(counts(&flushed), counts(&expected));
    }
}
