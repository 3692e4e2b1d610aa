//! How fast the sink fills a store of time series: closed windows on a local bus enter the sink as `millrace sink` runs it, lines arrive in
//! a real `VictoriaMetrics` on the same machine; against a bare client that posts the same bytes, prepared and packed before, to the
//! same store in the same run, turn by turn. Goal: 0.7 of it.
//! `cargo bench --bench store`; with `--test` (as `cargo test --benches` runs it) only a second's worth.
#![allow(clippy::print_stdout)] // the numbers are what it is for

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use millrace::bus::local::LocalBus;
use millrace::bus::{Assignment, From, Polled, SharedBus};
use millrace::config;
use millrace::roles::lag::Lags;
use millrace::roles::store;
use millrace_schemas::ids::{DigestId, InstanceId};
use millrace_schemas::metrics::{Registry, SERIES_PER_INSTANCE, STORE_LINES};
use millrace_schemas::record::NewRecord;
use millrace_schemas::topics::queries::Row;
use millrace_schemas::topics::windows::{TOTAL, Window};
use millrace_schemas::topics::{Topic, examples};
use millrace_sinks::points::Points;
use millrace_sinks::store::Api;
use millrace_test_servers::Store;

/// 20 instances with as many digests as have series of their own: 180 lines of ten numbers for each window.
const INSTANCES: usize = 20;
const DIGESTS: u8 = 179;
/// Windows of each instance: some seconds' work for the store.
const WINDOWS: i64 = 60;
const WINDOWS_SHORT: i64 = 2;
/// Turns of both.
const TURNS: usize = 7;
/// What a request of the sink has at most.
const LINES: usize = 5_000;
const BYTES: usize = 1 << 20;
/// The goal.
const RATIO: f64 = 0.7;

fn record(instance: usize, start: i64) -> NewRecord {
    let like = examples::rows().remove(0);
    let window = |at: u8| {
        let digest = if at == DIGESTS { TOTAL } else { DigestId([at; 16]) };
        let instance = InstanceId::parse(format!("db{instance}")).expect("legal");
        let count = like.count + u64::from(at);
        let row = Row { second: start, instance, digest, count, ..like.clone() };
        Window { width_seconds: 10, revision: 1, closed: true, row }
    };
    let windows: Vec<Window> = (0..=DIGESTS).map(window).collect();
    examples::windowed("c1", 0, &windows)
}

fn api() -> Api {
    Api::V2 { org: "o".to_owned(), bucket: "b".to_owned() }
}

/// The bodies that the sink would send, packed as it packs them; and how many lines they have.
fn prepared(bus: &SharedBus) -> (Vec<Vec<u8>>, usize) {
    let from = vec![(Topic::Windows, From::Start)];
    let mut reader = bus.reader(Assignment::Manual(from)).expect("a reader");
    let mut points = Points::new(SERIES_PER_INSTANCE);
    let (mut bodies, mut body, mut lines, mut all) = (Vec::new(), Vec::new(), 0, 0);
    loop {
        let polled = reader.poll(Duration::from_millis(300)).expect("readable");
        let records = polled.iter().filter_map(|item| match item {
            Polled::Record(record) => Some(record),
            _ => None,
        });
        let mut any = false;
        for record in records {
            any = true;
            for point in points.of(record).expect("a window") {
                if lines == LINES || body.len() > BYTES - 1_000 {
                    bodies.push(packed(&std::mem::take(&mut body)));
                    lines = 0;
                }
                api().encode(&point, &mut body).expect("a line");
                lines += 1;
                all += 1;
            }
        }
        if !any && all > 0 {
            bodies.push(packed(&body));
            return (bodies, all);
        }
    }
}

fn packed(lines: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(lines).expect("memory");
    packer.finish().expect("memory")
}

/// Posts all bodies over one connection; lines a second.
fn bare(address: &str, bodies: &[Vec<u8>], lines: usize) -> f64 {
    let began = Instant::now();
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_nodelay(true).expect("a socket");
    let mut answers = BufReader::new(stream.try_clone().expect("a socket"));
    for body in bodies {
        let head = format!(
            "POST /api/v2/write?org=o&bucket=b&precision=ms HTTP/1.1\r\nHost: {address}\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).expect("written");
        stream.write_all(body).expect("written");
        let (mut line, mut length) = (String::new(), 0);
        answers.read_line(&mut line).expect("an answer");
        assert!(line.contains(" 204 "), "{line}");
        while line != "\r\n" {
            line.clear();
            answers.read_line(&mut line).expect("an answer");
            if let Some(text) = line.to_lowercase().strip_prefix("content-length:") {
                length = text.trim().parse().expect("a number");
            }
        }
        std::io::copy(&mut answers.by_ref().take(length), &mut std::io::sink()).expect("an answer");
    }
    lines as f64 / began.elapsed().as_secs_f64()
}

/// Lines a second of the sink, until it has sent nine of ten: the last ones wait a second for more.
fn sink(bus: &SharedBus, url: &str, name: String, lines: usize) -> f64 {
    let settings = config::Store {
        name,
        url: url.to_owned(),
        api: api(),
        token_file: None,
        ca_file: None,
        series: SERIES_PER_INSTANCE,
    };
    let (metrics, stop): (Arc<Registry>, Arc<AtomicBool>) = Default::default();
    let (run, stops, counts, of) = (Arc::clone(bus), Arc::clone(&stop), Arc::clone(&metrics), settings.name.clone());
    let began = Instant::now();
    let thread = std::thread::spawn(move || {
        store::run(&run, &settings, &counts, &Lags::default().stage("store"), &stops).expect("it runs");
    });
    let rate = loop {
        let sent = metrics.get(&STORE_LINES, &[&of]);
        if sent >= lines as f64 * 0.9 {
            break sent / began.elapsed().as_secs_f64();
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    while metrics.get(&STORE_LINES, &[&of]) < lines as f64 {
        std::thread::sleep(Duration::from_millis(10));
    }
    stop.store(true, Ordering::Relaxed);
    thread.join().expect("no panic");
    rate
}

fn filled(folder: &Path, windows: i64) -> SharedBus {
    let bus: SharedBus = Arc::new(LocalBus::open(&folder.join("bus.db"), Arc::default()).expect("a new bus opens"));
    let newest = jiff::Timestamp::now().as_second() / 10 * 10;
    for at in 0..windows {
        let records = (0..INSTANCES).map(|instance| record(instance, newest - 10 * (windows - at))).collect();
        bus.append(records).wait().expect("appended");
    }
    bus
}

fn main() {
    let short = std::env::args().any(|argument| argument == "--test");
    let folder = tempfile::tempdir().expect("a folder");
    let bus = filled(folder.path(), if short { WINDOWS_SHORT } else { WINDOWS });
    let (bodies, lines) = prepared(&bus);
    let vm = Store::start();
    let url = vm.url();
    let address = url.trim_start_matches("http://");
    bare(address, &bodies, lines); // the store learns the series: both find them known
    let mut ratios = Vec::new();
    for turn in 0..if short { 1 } else { TURNS } {
        let (bare, sink) = (bare(address, &bodies, lines), sink(&bus, &url, format!("s{turn}"), lines));
        println!("sink {sink:>9.0} lines/s, bare {bare:>9.0} lines/s, {:.2}", sink / bare);
        ratios.push(sink / bare);
    }
    ratios.sort_by(f64::total_cmp);
    let (least, middle, most) = (ratios[0], ratios[ratios.len() / 2], ratios[ratios.len() - 1]);
    let held = if middle >= RATIO { "held" } else { "MISSED" };
    println!(
        "{lines} lines of ten numbers; the sink is {middle:.2} ({least:.2} to {most:.2}) of a bare client; goal {RATIO}: {held}"
    );
}
