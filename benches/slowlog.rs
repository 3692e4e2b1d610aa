//! How fast slow logs are read and their statements digested, against what people use today, on the same bytes in the same run:
//! `millrace digest` on one core against pt-query-digest on one core; the digest alone against sqlparser's tokenizer; two cores
//! against one; what statements that somebody made to hurt take; and the memory that a million digests take.
//! `cargo bench --bench slowlog`; with `--test` (as `cargo test --benches` runs it) only some megabytes.
//! `MILLRACE_SAMPLES=DIR` takes the slow logs (`*.slow.log.zst`) of a folder instead of one that it makes up.
#![allow(clippy::print_stdout)] // the numbers are what it is for

use std::fs::File;
use std::hint::black_box;
use std::io::{BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use millrace_collectors::slow_log::{Dialect, Entries, Found};
use millrace_schemas::digest::Scanner;
use rustix::thread::{CpuSet, sched_setaffinity};
use sqlparser::dialect::MySqlDialect;
use sqlparser::tokenizer::Tokenizer;

/// 500 MB: a day of a busy server.
const BYTES: u64 = 500_000_000;
/// 25 MB for the peer, which takes seconds for them; both are told by the second.
const PEER_BYTES: u64 = 25_000_000;
/// 4 MB where only a moment is wanted.
const SHORT_BYTES: u64 = 4_000_000;
/// A million digests.
const DIGESTS: usize = 1_000_000;
/// 2 s for each turn of what runs in this process.
const TURN: Duration = Duration::from_secs(2);
/// The goals.
const TIMES_PEER: f64 = 80.0;
const TIMES_TOKENIZER: f64 = 12.0;
const TIMES_ONE_CORE: f64 = 1.7;
const MEMORY_MIB: f64 = 64.0;
const HARD_MS_A_MIB: f64 = 10.0;
/// 16 MiB: four times what a server takes by default.
const HARD_BYTES: usize = 16 << 20;

fn main() {
    let short = std::env::args().any(|argument| argument == "--test");
    let folder = tempfile::Builder::new().prefix("millrace-bench-").tempdir().expect("a folder");
    let bytes = if short { SHORT_BYTES } else { BYTES };
    for (name, sample) in samples() {
        let log = repeated(folder.path(), &name, &sample, bytes);
        whole(&name, &log, &repeated(folder.path(), "peer", &sample, bytes.min(PEER_BYTES)));
        alone(&name, &statements(&sample), if short { TURN / 20 } else { TURN });
    }
    hard(if short { HARD_BYTES / 16 } else { HARD_BYTES });
    million(folder.path(), if short { DIGESTS / 100 } else { DIGESTS });
}

/// What is printed behind a goal.
fn held(good: bool) -> &'static str {
    if good { "held" } else { "MISSED" }
}

/// Slow logs, by their names.
fn samples() -> Vec<(String, Vec<u8>)> {
    let Some(folder) = std::env::var_os("MILLRACE_SAMPLES") else {
        return vec![("made up".to_owned(), made_up(20_000))];
    };
    let entries = std::fs::read_dir(&folder).expect("MILLRACE_SAMPLES is a folder").flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    let of_it = paths.into_iter().filter_map(|path| {
        let name = path.file_name()?.to_str()?.strip_suffix(".slow.log.zst")?.to_owned();
        let mut log = Vec::new();
        zstd::Decoder::new(File::open(&path).ok()?).ok()?.read_to_end(&mut log).ok()?;
        Some((name, log))
    });
    of_it.collect()
}

/// A log as MySQL writes it with `log_slow_extra`, of statements as applications send them.
fn made_up(entries: usize) -> Vec<u8> {
    let mut log = b"/usr/sbin/mysqld, Version: 9.7.0 (MySQL Community Server). started with:\nTcp port: 3306  Unix socket: /run/mysqld/mysqld.sock\nTime                 Id Command    Argument\n".to_vec();
    for at in 0..entries {
        write_entry(&mut log, at, &statement(at));
    }
    log
}

fn write_entry(log: &mut impl std::io::Write, at: usize, sql: &str) {
    let (second, micros) = (at / 1_000 % 60, at % 1_000_000);
    write!(
        log,
        "# Time: 2026-11-21T09:01:{second:02}.{micros:06}Z\n# User@Host: app[app] @ web{} [10.0.0.{}]  Id: {:>5}\n\
         # Query_time: 0.{:06}  Lock_time: 0.{:06} Rows_sent: {}  Rows_examined: {} Thread_id: {} Errno: 0 Killed: 0 \
         Bytes_received: {} Bytes_sent: {} Read_first: 0 Read_last: 0 Read_key: 1 Read_next: {} Read_prev: 0 Read_rnd: 0 \
         Read_rnd_next: 0 Sort_merge_passes: 0 Sort_range_count: 0 Sort_rows: 0 Sort_scan_count: 0 Created_tmp_disk_tables: 0 \
         Created_tmp_tables: 0 Start: 2026-11-21T09:01:{second:02}.000000Z End: 2026-11-21T09:01:{second:02}.{micros:06}Z\n\
         SET timestamp={};\n{sql};\n",
        at % 4,
        at % 250,
        at % 300,
        500 + at % 900_000,
        at % 500,
        at % 20,
        at % 5_000,
        at % 300,
        sql.len() + 1,
        100 + at % 9_000,
        at % 200,
        1_795_251_600 + at / 1_000,
    )
    .expect("memory and files take it");
}

/// 40 statements of a shop, with other values each time.
fn statement(at: usize) -> String {
    let (table, id, price) = (at % 10, at * 7_919 % 100_003, at % 997);
    match at % 4 {
        0 => format!("SELECT c FROM sbtest{table} WHERE id={id}"),
        1 => format!(
            "SELECT o.id, o.total, c.name, c.email FROM orders{table} o JOIN customers c ON c.id = o.customer_id WHERE o.created_at >= '2026-11-{:02} 00:00:00' AND o.status IN ('paid', 'sent', {id}) AND c.country = 'DE' ORDER BY o.created_at DESC LIMIT {}",
            1 + at % 28,
            10 + at % 90
        ),
        2 => format!(
            "INSERT INTO line_items{table} (order_id, product_id, quantity, price, note) VALUES ({id}, {price}, {}, {price}.99, 'as ordered by \\'{id}\\''), ({id}, {}, 1, 0.50, NULL)",
            at % 7,
            price + 1
        ),
        _ => format!(
            "UPDATE stock{table} SET quantity = quantity - {}, changed_at = NOW(), changed_by = 'worker-{}' WHERE product_id = {id} AND quantity >= {}",
            at % 5,
            at % 32,
            at % 5
        ),
    }
}

/// The log again and again, until it has so many bytes.
fn repeated(folder: &Path, name: &str, sample: &[u8], bytes: u64) -> PathBuf {
    let path = folder.join(format!("{}.slow.log", name.replace(' ', "-")));
    let mut file = BufWriter::new(File::create(&path).expect("writable"));
    for _ in 0..bytes.div_ceil(sample.len() as u64).max(1) {
        file.write_all(sample).expect("room for the log");
    }
    file.flush().expect("room for the log");
    path
}

fn statements(sample: &[u8]) -> Vec<Vec<u8>> {
    let dialect = Dialect::of_log(&sample[..sample.len().min(Dialect::START_BYTES)]).unwrap_or(Dialect::MySql);
    let (mut entries, mut all) = (Entries::new(dialect, 0), Vec::new());
    let mut take = |found: Found<'_>| {
        if let Found::Entry(entry) = found {
            all.push(entry.sql.clone());
        }
    };
    entries.take(sample, &mut take);
    entries.end(&mut take);
    all
}

/// Nine runs of each, in turn: a machine that gets slower for a while does so for both, and four that were disturbed move no median.
const RUNS: usize = 9;

/// On one core and on two: the run in the middle of each, and what the second core gains, lowest, middle and highest of the pairs.
fn on_one_and_two(log: &Path) -> (Ran, Ran, [f64; 3]) {
    let pairs = (0..RUNS).map(|_| (run(&mut digest(log), Some(1)), run(&mut digest(log), Some(2))));
    let (ones, twos): (Vec<Ran>, Vec<Ran>) = pairs.unzip();
    let mut gains: Vec<f64> = ones.iter().zip(&twos).map(|(one, two)| one.seconds / two.seconds).collect();
    gains.sort_by(f64::total_cmp);
    (middle(ones), middle(twos), [gains[0], gains[RUNS / 2], gains[RUNS - 1]])
}

/// The run in the middle.
fn middle(mut runs: Vec<Ran>) -> Ran {
    runs.sort_by(|one, other| one.seconds.total_cmp(&other.seconds));
    runs.swap_remove(RUNS / 2)
}

/// The whole way from the file to the profile, as a person runs it.
fn whole(name: &str, log: &Path, peer_log: &Path) {
    let bytes = size(log);
    let (one, two, [least, gain, most]) = on_one_and_two(log);
    let rate = bytes / one.seconds / 1e6;
    println!(
        "{name}: millrace digest, one core: {:.0} MB in {:.2} s, {rate:.0} MB/s, {:.0} MiB",
        bytes / 1e6,
        one.seconds,
        one.mib
    );
    println!(
        "{name}: two cores: {:.2} s, {gain:.2} x in the middle of {RUNS} pairs, {least:.2} to {most:.2}; goal of {TIMES_ONE_CORE} x: {}",
        two.seconds,
        held(gain >= TIMES_ONE_CORE)
    );
    let mut peer = Command::new("pt-query-digest");
    peer.args(["--limit", "20", "--no-version-check"]).arg(peer_log);
    if Command::new("pt-query-digest").arg("--version").output().is_err() {
        println!("{name}: skipped: pt-query-digest is not installed (Debian has it in percona-toolkit)");
        return;
    }
    let peer = run(&mut peer, Some(1));
    let peer_rate = size(peer_log) / peer.seconds / 1e6;
    let times = rate / peer_rate;
    println!(
        "{name}: pt-query-digest, one core: {:.0} MB in {:.2} s, {peer_rate:.1} MB/s; millrace digest is {times:.0} x as fast; goal of {TIMES_PEER} x: {}",
        size(peer_log) / 1e6,
        peer.seconds,
        held(times >= TIMES_PEER)
    );
}

/// The digest of statements that are in memory, against the tokens of the same.
fn alone(name: &str, statements: &[Vec<u8>], turn: Duration) {
    let bytes: usize = statements.iter().map(Vec::len).sum();
    let texts: Vec<String> = statements.iter().map(|sql| String::from_utf8_lossy(sql).into_owned()).collect();
    let mut scanner = Scanner::new();
    let ours = rate(bytes, turn, || {
        for sql in statements {
            black_box(scanner.id_of(black_box(sql)));
        }
    });
    let dialect = MySqlDialect {};
    let peer = rate(bytes, turn, || {
        for sql in &texts {
            black_box(Tokenizer::new(&dialect, black_box(sql)).tokenize().ok());
        }
    });
    let times = ours / peer;
    println!(
        "{name}: digest alone: {ours:.0} MB/s; sqlparser's tokenizer: {peer:.0} MB/s; {times:.1} x; goal of {TIMES_TOKENIZER} x: {}",
        held(times >= TIMES_TOKENIZER)
    );
}

/// Statements that are long or deep, or end in what is never closed: the time grows with the bytes and nothing else.
fn hard(bytes: usize) {
    let filled = |start: &str, part: &str, end: &str| {
        let mut sql = start.to_owned();
        while sql.len() + part.len() + end.len() < bytes {
            sql.push_str(part);
        }
        sql + end
    };
    let statements = [
        ("a long literal", filled("SELECT '", "abcdefgh ", "'")),
        ("a literal of quotes", filled("SELECT '", "''\\'", "'")),
        ("an unclosed literal", filled("SELECT '", "abc \\' ", "")),
        ("an unclosed name", filled("SELECT `", "abc `` ", "")),
        ("an unclosed comment", filled("SELECT /*", "* / ", "")),
        ("comments that are code", filled("SELECT ", "/*!50000 ", "1")),
        ("rows", filled("INSERT INTO t VALUES (0, 'x')", ", (1, 'abc''d')", "")),
        ("rows with calls", filled("INSERT INTO t VALUES (0, NOW())", ", (1, NOW())", "")),
        ("a list", filled("SELECT 1 IN (1", ", -1", ")")),
        ("charsets without strings", filled("SELECT ", "_utf8 ", "")),
        ("functions without arguments", filled("SELECT ", "count  ", "")),
        ("10,000 parentheses", format!("SELECT {}1{}", "(".repeat(10_000), ")".repeat(10_000))),
    ];
    let mut scanner = Scanner::new();
    for (name, sql) in &statements {
        let began = Instant::now();
        black_box(scanner.id_of(black_box(sql.as_bytes())));
        let ms = began.elapsed().as_secs_f64() * 1e3 / (sql.len() as f64 / 1024.0 / 1024.0);
        println!(
            "{name}: {:.2} MiB, {ms:.2} ms a MiB; goal of {HARD_MS_A_MIB} ms: {}",
            sql.len() as f64 / 1024.0 / 1024.0,
            held(ms <= HARD_MS_A_MIB)
        );
    }
}

/// MB a second of CPU-bound work over `bytes`, the best of its rounds: what disturbs a round only makes it slower.
fn rate(bytes: usize, turn: Duration, mut work: impl FnMut()) -> f64 {
    let (began, mut best) = (Instant::now(), Duration::MAX);
    while began.elapsed() < turn {
        let round = Instant::now();
        work();
        best = best.min(round.elapsed());
    }
    bytes as f64 / best.as_secs_f64() / 1e6
}

/// As many digests as that, each once.
fn million(folder: &Path, digests: usize) {
    let path = folder.join("million.slow.log");
    let mut log = BufWriter::new(File::create(&path).expect("writable"));
    log.write_all(&made_up(0)).expect("room for the log");
    for at in 0..digests {
        write_entry(&mut log, at, &format!("SELECT c{at} FROM t{} WHERE id = {at}", at % 1_000));
    }
    log.flush().expect("room for the log");
    drop(log);
    let ran = run(&mut digest(&path), Some(1));
    println!(
        "{digests} digests: {:.2} s, {:.0} MiB; goal of {MEMORY_MIB} MiB: {}",
        ran.seconds,
        ran.mib,
        held(ran.mib <= MEMORY_MIB)
    );
}

fn digest(log: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    command.args(["digest", "-o", "json"]).arg(log);
    command
}

fn size(path: &Path) -> f64 {
    path.metadata().expect("it was written").len() as f64
}

struct Ran {
    seconds: f64,
    mib: f64,
}

/// Runs a command on so many cores, all of them when not said, and watches its memory.
fn run(command: &mut Command, cores: Option<usize>) -> Ran {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let began = Instant::now();
    // A thread of its own, since a child runs where its parent may.
    let mut child = std::thread::scope(|scope| {
        let spawn = || {
            if let Some(cores) = cores {
                let mut set = CpuSet::new();
                (0..cores).for_each(|core| set.set(core));
                sched_setaffinity(None, &set).expect("a thread may choose its own cores");
            }
            command.spawn().expect("it starts")
        };
        scope.spawn(spawn).join().expect("it starts")
    });
    let (status, mut mib) = (format!("/proc/{}/status", child.id()), 0.0);
    let ended = loop {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
        mib = line.trim().trim_end_matches(" kB").parse::<f64>().map_or(mib, |kib| kib / 1024.0);
        if let Some(ended) = child.try_wait().expect("waitable") {
            break ended;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    assert!(ended.success(), "{command:?} ended with {ended}");
    Ran { seconds: began.elapsed().as_secs_f64(), mib }
}
