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

fn run(folder: &Path, name: &str) -> Run {
    run_from(folder, name, 0)
}

/// The same of a capture that began later, without the first packets.
fn run_from(folder: &Path, name: &str, packets: usize) -> Run {
    let packed = std::fs::File::open(folder.join(format!("{name}.pcap.zst"))).expect("the capture");
    let whole = zstd::stream::decode_all(packed).expect("unpacks");
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
