//! How fast captures are decoded, against what people use today, on the same file in the same run: the whole way from the file over
//! statements and their digests to the table of each second, on one core, against tshark; and the compressed protocol against the
//! bare inflating of the same frames. `cargo bench --bench wire`; with `--test` (as `cargo test --benches` runs it) only a megabyte.
//! `MILLRACE_SAMPLES=DIR` takes the captures of a folder instead of a small one of the project, which is mostly log-ins.
#![allow(clippy::print_stdout)] // the numbers are what it is for

use std::collections::HashMap;
use std::fs::File;
use std::hint::black_box;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use millrace_collectors::wire::{Books, Decoder, Server, read_file};
use millrace_schemas::digest::Syntax;
use millrace_schemas::ids::InstanceId;
use rustix::thread::{CpuSet, sched_setaffinity};

/// 400 MB of text, and 100 of the others: seconds for us, a minute for the peer.
const BYTES: u64 = 400_000_000;
const OTHER_BYTES: u64 = 100_000_000;
const SHORT_BYTES: u64 = 1_000_000;
/// The goals.
const TIMES_PEER_TEXT: f64 = 40.0;
const TIMES_PEER_PREPARED: f64 = 30.0;
const SHARE_OF_INFLATE: f64 = 0.6;
/// Best of three: what disturbs a run only makes it slower.
const RUNS: usize = 3;
/// The header of an Ethernet frame, of an IPv4 packet without options, and of a TCP segment without options.
const ETHERNET: usize = 14;
const IP: usize = 20;

/// Packets of a capture with their times.
struct Sample {
    name: &'static str,
    port: u16,
    packets: Vec<(i64, Vec<u8>)>,
}

fn main() {
    let short = std::env::args().any(|argument| argument == "--test");
    let folder = tempfile::Builder::new().prefix("millrace-bench-").tempdir().expect("a folder");
    bind_to_one_core();
    let bytes = |long: u64| if short { SHORT_BYTES } else { long };
    let Some(samples) = std::env::var_os("MILLRACE_SAMPLES").map(PathBuf::from) else {
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("collectors/tests/data/mysql97-text.pcap");
        let sample = Sample { name: "own", port: 33_999, packets: packets(&own) };
        return against_peer(folder.path(), &sample, bytes(OTHER_BYTES), None);
    };
    let sample = |name| Sample { name, port: 33_120, packets: unpacked(&samples, folder.path(), name) };
    against_peer(folder.path(), &sample("mysql97-text"), bytes(BYTES), Some(TIMES_PEER_TEXT));
    against_peer(folder.path(), &sample("mysql97-prepared"), bytes(OTHER_BYTES), Some(TIMES_PEER_PREPARED));
    against_inflate(folder.path(), &sample("mysql97-sysbench-zlib"), bytes(OTHER_BYTES));
}

/// What is printed behind a goal.
fn held(good: bool) -> &'static str {
    if good { "held" } else { "MISSED" }
}

fn bind_to_one_core() {
    let mut set = CpuSet::new();
    set.set(0);
    sched_setaffinity(None, &set).expect("a thread may choose its own cores");
}

fn unpacked(samples: &Path, folder: &Path, name: &str) -> Vec<(i64, Vec<u8>)> {
    let path = folder.join(format!("{name}.sample.pcap"));
    let packed = File::open(samples.join(format!("{name}.pcap.zst"))).expect("the folder has it");
    zstd::stream::copy_decode(packed, File::create(&path).expect("writable")).expect("it is whole");
    let packets = packets(&path);
    std::fs::remove_file(&path).expect("it was written");
    packets
}

fn packets(path: &Path) -> Vec<(i64, Vec<u8>)> {
    let mut capture = pcap::Capture::from_file(path).expect("a capture");
    let mut all = Vec::new();
    while let Ok(packet) = capture.next_packet() {
        all.push((packet.header.ts.tv_sec * 1_000_000 + packet.header.ts.tv_usec, packet.data.to_vec()));
    }
    all
}

/// The capture again and again, until it has so many bytes: each time later, and from clients of another address.
fn repeated(folder: &Path, sample: &Sample, bytes: u64) -> PathBuf {
    let path = folder.join(format!("{}.pcap", sample.name));
    let mut file = BufWriter::new(File::create(&path).expect("writable"));
    let mut written = 24;
    for word in [0xa1b2_c3d4_u32, 4 << 16 | 2, 0, 0, 262_144, 1] {
        file.write_all(&word.to_le_bytes()).expect("room for the capture");
    }
    let (first, last) = (sample.packets[0].0, sample.packets[sample.packets.len() - 1].0);
    for round in 0.. {
        for (ts_us, packet) in &sample.packets {
            let ts_us = ts_us + i64::from(round) * (last - first + 1_000);
            let packet = from_another(packet, sample.port, round);
            let header = [ts_us / 1_000_000, ts_us % 1_000_000, packet.len() as i64, packet.len() as i64];
            for word in header {
                file.write_all(&(word as u32).to_le_bytes()).expect("room for the capture");
            }
            file.write_all(&packet).expect("room for the capture");
            written += 16 + packet.len() as u64;
        }
        if written >= bytes {
            break;
        }
    }
    file.flush().expect("room for the capture");
    path
}

/// The packet with another address of the client.
fn from_another(packet: &[u8], port: u16, round: u32) -> Vec<u8> {
    let mut packet = packet.to_vec();
    let from = u16::from_be_bytes([packet[ETHERNET + IP], packet[ETHERNET + IP + 1]]);
    let at = ETHERNET + if from == port { 16 } else { 12 };
    packet[at..at + 4].copy_from_slice(&(0x0a00_0000 + round).to_be_bytes());
    packet
}

/// The whole way; the seconds that it took, the statements and the books.
fn decoded(path: &Path, port: u16) -> (f64, u64, Books) {
    let instance = InstanceId::parse("db-1").expect("legal");
    let server = Server { address: None, port, instance, syntax: Syntax::default() };
    let run = || {
        let (began, mut statements) = (Instant::now(), 0);
        let books = read_file(path, Decoder::new(std::slice::from_ref(&server)), |batch| {
            statements += batch.totals.iter().map(|totals| totals.statements + totals.admin_commands).sum::<u64>();
            black_box(batch);
            true
        });
        (began.elapsed().as_secs_f64(), statements, books.expect("readable"))
    };
    let best = (0..RUNS).map(|_| run()).min_by(|one, other| one.0.total_cmp(&other.0)).expect("it ran");
    assert!(best.2.balance() && best.2.missing == 0, "{:?}", best.2);
    best
}

fn against_peer(folder: &Path, sample: &Sample, bytes: u64, goal: Option<f64>) {
    let (name, path) = (sample.name, repeated(folder, sample, bytes));
    let size = path.metadata().expect("it was written").len() as f64;
    let (seconds, commands, _) = decoded(&path, sample.port);
    println!(
        "{name}: {:.0} MB in {seconds:.2} s, {:.0} MB/s, {:.0} commands/s",
        size / 1e6,
        size / seconds / 1e6,
        commands as f64 / seconds
    );
    let mut peer = Command::new("tshark");
    peer.args(["-n", "-r"]).arg(&path).arg("-d").arg(format!("tcp.port=={},mysql", sample.port));
    peer.args([
        "-Y",
        "mysql.command",
        "-T",
        "fields",
        "-e",
        "frame.time_epoch",
        "-e",
        "mysql.command",
        "-e",
        "mysql.query",
    ]);
    peer.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let began = Instant::now();
    match peer.status() {
        Ok(status) => assert!(status.success(), "tshark ended with {status}"),
        Err(_) => return println!("{name}: skipped: tshark is not installed (Debian has it)"),
    }
    let peer = began.elapsed().as_secs_f64();
    let times = peer / seconds;
    println!("{name}: tshark: {peer:.1} s, {:.1} MB/s; millrace is {times:.0} x as fast", size / peer / 1e6);
    if let Some(goal) = goal {
        println!("{name}: goal of {goal} x: {}", held(times >= goal));
    }
    std::fs::remove_file(path).expect("it was written");
}

/// The compressed protocol, against the inflating of its frames and nothing else.
fn against_inflate(folder: &Path, sample: &Sample, bytes: u64) {
    let (name, path) = (sample.name, repeated(folder, sample, bytes));
    let size = path.metadata().expect("it was written").len() as f64;
    let (seconds, commands, _) = decoded(&path, sample.port);
    let rounds = size / (sample.packets.iter().map(|(_, packet)| packet.len() + 16).sum::<usize>() + 24) as f64;
    let frames = frames(sample);
    let mut plain = vec![0; 1 << 24];
    let inflate = |plain: &mut [u8]| {
        let began = Instant::now();
        for (length, frame) in &frames {
            let mut inflater = flate2::Decompress::new(true);
            inflater.decompress(frame, &mut plain[..*length], flate2::FlushDecompress::Finish).expect("a whole frame");
            black_box(&plain[..*length]);
        }
        began.elapsed().as_secs_f64()
    };
    let bare = (0..RUNS).map(|_| inflate(&mut plain)).fold(f64::MAX, f64::min) * rounds;
    println!(
        "{name}: {:.0} MB in {seconds:.2} s, {:.0} MB/s, {:.0} commands/s; bare inflating of its {} frames: {bare:.2} s",
        size / 1e6,
        size / seconds / 1e6,
        commands as f64 / seconds,
        (frames.len() as f64 * rounds).round()
    );
    let share = bare / seconds;
    println!(
        "{name}: {share:.2} of the speed of bare inflating; goal of {SHARE_OF_INFLATE}: {}",
        held(share >= SHARE_OF_INFLATE)
    );
}

/// The frames of a capture of compressed connections that are packed, with the length that they have unpacked.
fn frames(sample: &Sample) -> Vec<(usize, Vec<u8>)> {
    let mut streams: HashMap<[u8; 12], Vec<u8>> = HashMap::new();
    for (_, packet) in &sample.packets {
        let tcp = ETHERNET + IP;
        let end = ETHERNET + usize::from(u16::from_be_bytes([packet[ETHERNET + 2], packet[ETHERNET + 3]]));
        let payload = tcp + usize::from(packet[tcp + 12] >> 4) * 4;
        let ends = packet[ETHERNET + 12..tcp + 4].try_into().expect("two addresses and two ports");
        streams.entry(ends).or_default().extend_from_slice(&packet[payload..end.max(payload)]);
    }
    let mut frames = Vec::new();
    for stream in streams.values() {
        let mut rest = &stream[..];
        // The log-in is not compressed: its packets have numbers that rise, and behind it they begin anew.
        let mut last = None;
        while let Some(number_of_it) = rest.get(3).copied().filter(|number| last.is_none_or(|last| *number > last)) {
            last = Some(number_of_it);
            rest = rest.get(number(rest) + 4..).unwrap_or_default();
        }
        while rest.len() >= 7 {
            let (packed, plain) = (number(rest), number(&rest[4..]));
            let Some(frame) = rest.get(7..7 + packed) else { break };
            if plain > 0 {
                frames.push((plain, frame.to_vec()));
            }
            rest = &rest[7 + packed..];
        }
    }
    frames
}

fn number(bytes: &[u8]) -> usize {
    bytes.get(..3).map_or(0, |bytes| usize::from(bytes[0]) | usize::from(bytes[1]) << 8 | usize::from(bytes[2]) << 16)
}
