//! Real captures against what the servers counted: `MILLRACE_SAMPLES` names a folder of captures with their truth. Ignored without;
//! the project's own small captures are tested in `wire_files.rs`.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use millrace_collectors::statements::NewDigest;
use millrace_collectors::wire::{Batch, Books, Decoder, Server, read_file};
use millrace_schemas::digest::{DigestId, Scanner, Syntax, server_text};
use millrace_schemas::ids::InstanceId;

fn samples() -> PathBuf {
    std::env::var_os("MILLRACE_SAMPLES").map(PathBuf::from).expect("MILLRACE_SAMPLES names the folder of the captures")
}

/// Counts and a text by key.
type Counts = BTreeMap<DigestId, (u64, String)>;

/// Bytes before the first packet of a file, and before each packet.
const FILE_HEADER_BYTES: usize = 24;
const PACKET_HEADER_BYTES: usize = 16;

struct Run {
    batches: Vec<Batch>,
    books: Books,
    truth: serde_json::Value,
}

fn unpacked(folder: &Path, name: &str) -> Vec<u8> {
    let packed = std::fs::File::open(folder.join(format!("{name}.pcap.zst"))).expect("the capture");
    zstd::stream::decode_all(packed).expect("unpacks")
}

fn run(folder: &Path, name: &str) -> Run {
    run_from(folder, name, 0)
}

/// The same of a capture that began later, without the first packets.
fn run_from(folder: &Path, name: &str, packets: usize) -> Run {
    let whole = unpacked(folder, name);
    let mut from = FILE_HEADER_BYTES;
    for _ in 0..packets {
        let length = whole[from + 8..from + 12].try_into().expect("four bytes");
        from += PACKET_HEADER_BYTES + u32::from_le_bytes(length) as usize;
    }
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(&whole[..FILE_HEADER_BYTES]).expect("room");
    file.write_all(&whole[from..]).expect("room");
    let truth = std::fs::read(folder.join(format!("{name}.truth.json"))).expect("the truth");
    let truth: serde_json::Value = serde_json::from_slice(&truth).expect("JSON");
    let port = truth["port"].as_u64().expect("a port") as u16;
    let servers = [Server {
        address: None,
        port,
        instance: InstanceId::parse("db-1").expect("an id"),
        syntax: Syntax::default(),
    }];
    let mut batches = Vec::new();
    let books = read_file(file.path(), Decoder::new(&servers), |batch| {
        batches.push(batch);
        true
    })
    .expect("reads");
    assert!(books.balance(), "{name}: {books:?}");
    Run { batches, books, truth }
}

impl Run {
    fn count(&self, digest: DigestId) -> u64 {
        self.rows().filter(|row| row.digest == digest).map(|row| row.count).sum()
    }

    fn rows(&self) -> impl Iterator<Item = &millrace_schemas::topics::queries::Row> {
        self.batches.iter().flat_map(|batch| &batch.rows)
    }

    fn digests(&self) -> impl Iterator<Item = &NewDigest> {
        self.batches.iter().flat_map(|batch| &batch.new_digests)
    }

    /// Counts by what our text and the server's have in common: ours, and the server's without prepares and closes.
    fn by_key(&self) -> (Counts, Counts) {
        let mut scanner = Scanner::new();
        let mut ours = BTreeMap::new();
        for digest in self.digests() {
            let entry = ours.entry(scanner.match_key(digest.text.as_bytes())).or_insert((0, digest.text.clone()));
            entry.0 += self.count(digest.id);
        }
        ours.retain(|_, (count, _)| *count > 0);
        let mut theirs = BTreeMap::new();
        for digest in self.truth["digests"].as_array().expect("digests") {
            let text = digest["DIGEST_TEXT"].as_str().expect("a text");
            let (prefix, text) = server_text(text);
            if matches!(prefix, None | Some(millrace_schemas::digest::ServerPrefix::Execute)) {
                let entry = theirs.entry(scanner.match_key(text.as_bytes())).or_insert((0, text.to_owned()));
                entry.0 += digest["COUNT_STAR"].as_u64().expect("a count");
            }
        }
        (ours, theirs)
    }

    fn differences(&self) -> Vec<String> {
        let (ours, theirs) = self.by_key();
        let keys: std::collections::BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
        keys.into_iter()
            .filter(|key| ours.get(*key).map(|(n, _)| n) != theirs.get(*key).map(|(n, _)| n))
            .map(|key| format!("ours {:?}, server {:?}", ours.get(key), theirs.get(key)))
            .collect()
    }

    fn statements(&self) -> u64 {
        self.batches.iter().flat_map(|batch| &batch.totals).map(|totals| totals.statements).sum()
    }
}

#[test]
#[ignore = "needs MILLRACE_SAMPLES=DIR with captures"]
fn text_is_exact() {
    let folder = samples();
    let run = run(&folder, "mysql97-text");
    assert_eq!(run.statements(), 60_000);
    assert_eq!(run.differences(), Vec::<String>::new());
}

/// How many queries and executions a capture has, and the sum of the times from the last packet of each to the last packet of its
/// answer: by nothing but which side's packets follow which, since these clients ask one thing after the other.
fn turns(capture: &[u8], port: u16) -> (u64, u64) {
    const ETHERNET: usize = 14;
    #[derive(Default)]
    struct Turn {
        asked: Option<u64>,
        answered: u64,
    }
    let (mut from, mut count, mut sum) = (FILE_HEADER_BYTES, 0, 0);
    let mut turns: BTreeMap<u16, Turn> = BTreeMap::new();
    let mut end = |turn: &mut Turn| {
        if let Some(asked) = turn.asked.take().filter(|asked| turn.answered >= *asked) {
            count += 1;
            sum += turn.answered - asked;
        }
        turn.answered = 0;
    };
    while from < capture.len() {
        let word = |at: usize| u32::from_le_bytes(capture[from + at..from + at + 4].try_into().expect("four bytes"));
        let (ts_us, length) = (u64::from(word(0)) * 1_000_000 + u64::from(word(4)), word(8) as usize);
        let ip = &capture[from + PACKET_HEADER_BYTES + ETHERNET..from + PACKET_HEADER_BYTES + length];
        from += PACKET_HEADER_BYTES + length;
        let tcp = usize::from(ip[0] & 15) * 4;
        let number = |at: usize| u16::from_be_bytes([ip[tcp + at], ip[tcp + at + 1]]);
        let payload = &ip[tcp + usize::from(ip[tcp + 12] >> 4) * 4..usize::from(u16::from_be_bytes([ip[2], ip[3]]))];
        if payload.is_empty() {
            continue;
        }
        if number(0) == port {
            turns.entry(number(2)).or_default().answered = ts_us;
            continue;
        }
        let turn = turns.entry(number(0)).or_default();
        end(turn);
        // A query, or an execution; no other command is a statement.
        turn.asked = matches!(payload, [_, _, _, 0, 0x03 | 0x17, ..]).then_some(ts_us);
    }
    turns.values_mut().for_each(end);
    (count, sum)
}

#[test]
#[ignore = "needs MILLRACE_SAMPLES=DIR with captures"]
fn response_times_are_those_between_the_packets() {
    let folder = samples();
    for name in ["mysql97-text", "mysql97-slap-plain-qattr", "mysql97-prepared"] {
        let run = run(&folder, name);
        let port = run.truth["port"].as_u64().expect("a port") as u16;
        let ours: u64 = run.batches.iter().flat_map(|batch| &batch.totals).map(|totals| totals.rt_sum_us).sum();
        assert_eq!((run.statements(), ours), turns(&unpacked(&folder, name), port), "{name}");
    }
}

#[test]
#[ignore = "needs MILLRACE_SAMPLES=DIR with captures"]
fn query_attributes_are_exact() {
    let folder = samples();
    let run = run(&folder, "mysql97-slap-plain-qattr");
    assert_eq!(run.statements(), 6_000);
    assert_eq!(run.differences(), Vec::<String>::new());
}

#[test]
#[ignore = "needs MILLRACE_SAMPLES=DIR with captures"]
fn prepared_is_exact() {
    let folder = samples();
    let run = run(&folder, "mysql97-prepared");
    assert_eq!(run.statements(), 60_000);
    assert_eq!(run.differences(), Vec::<String>::new());
}

#[test]
#[ignore = "needs MILLRACE_SAMPLES=DIR with captures"]
fn midstream_is_said() {
    let folder = samples();
    let run = run(&folder, "mysql97-prepared-midstream");
    assert_eq!((run.statements(), run.count(DigestId::UNKNOWN)), (45_791 + 2_408, 45_791));
    assert_eq!((run.books.connections_midstream, run.books.unknown_statements), (4, 45_791));
}

#[test]
#[ignore = "needs MILLRACE_SAMPLES=DIR with captures"]
fn compressed_is_exact() {
    let folder = samples();
    for (name, statements) in
        [("mysql97-slap-zlib", 6_000), ("mysql97-slap-zstd", 6_000), ("mysql97-sysbench-zlib", 20_000)]
    {
        let run = run(&folder, name);
        assert_eq!(run.statements(), statements, "{name}");
        assert_eq!(run.differences(), Vec::<String>::new(), "{name}");
    }
}

#[test]
#[ignore = "needs MILLRACE_SAMPLES=DIR with captures"]
fn compressed_is_exact_from_the_middle_on() {
    let folder = samples();
    for name in ["mysql97-slap-zlib", "mysql97-slap-zstd", "mysql97-sysbench-zlib"] {
        let (whole, part) = (run(&folder, name), run_from(&folder, name, 2_000));
        // A request and its answer are a packet each, but for the log-ins; what was begun before is not known.
        let missed = whole.statements() - part.statements();
        assert!((950..=1_010).contains(&missed), "{name}: {missed}");
        assert!(part.books.connections_midstream >= 4, "{name}: {:?}", part.books);
        assert_eq!((part.books.unknown_statements, part.books.undecodable), (0, 0), "{name}");
    }
}

#[test]
#[ignore = "needs MILLRACE_SAMPLES=DIR with captures"]
fn encrypted_is_counted() {
    let folder = samples();
    let run = run(&folder, "mysql97-slap-tls-default");
    let counted = run.count(DigestId::ENCRYPTED);
    assert!((6_000..=6_012).contains(&counted), "{counted}");
    assert_eq!(run.books.encrypted_turns, counted);
}

#[test]
#[ignore = "needs MILLRACE_SAMPLES=DIR with captures"]
fn oddities_are_counted() {
    let folder = samples();
    let run = run(&folder, "mysql97-odd");
    // A statement with a syntax error has no digest in the server, but it was asked ten times.
    let differences = run.differences();
    assert!(differences.len() == 1 && differences[0].contains("SELEC"), "{differences:?}");
    // 154 queries, ten of which hold three statements, and 23 executions.
    assert_eq!(run.statements(), 154 + 20 + 23);
    assert_eq!((run.books.unknown_statements, run.books.missing, run.books.resyncs), (1, 0, 0));
}
