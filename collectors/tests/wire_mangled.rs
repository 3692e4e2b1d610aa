//! Captures that lose, repeat, reorder and cut packets: the books balance after every one, and nothing is decoded that was not sent.
//! The project's own captures always; those of `MILLRACE_SAMPLES`, of which the first packets are taken, where there are any.

use std::collections::HashMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use millrace_collectors::wire::{Decoder, Ended, Flags, Server};
use millrace_schemas::digest::Syntax;
use millrace_schemas::ids::InstanceId;
use pcap::Capture;
use proptest::prelude::*;

/// 4,000 packets of a large capture: some hundred commands of each of its connections.
const PACKETS_MAX: usize = 4_000;

/// A capture: its link type, and its packets with their times.
struct Trace {
    name: String,
    port: u16,
    link_type: i32,
    packets: Vec<(i64, Vec<u8>)>,
}

fn read(path: &Path, name: &str, port: u16) -> Trace {
    let mut capture = Capture::from_file(path).expect("a capture");
    let link_type = capture.get_datalink().0;
    let mut packets = Vec::new();
    while packets.len() < PACKETS_MAX
        && let Ok(packet) = capture.next_packet()
    {
        packets.push((packet.header.ts.tv_sec * 1_000_000 + packet.header.ts.tv_usec, packet.data.to_vec()));
    }
    Trace { name: name.to_owned(), port, link_type, packets }
}

fn captures() -> &'static [Trace] {
    static ALL: OnceLock<Vec<Trace>> = OnceLock::new();
    ALL.get_or_init(|| {
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
        let mut all: Vec<Trace> = ["mysql97-text.pcap", "mysql97-tls.pcap"]
            .into_iter()
            .map(|name| read(&own.join(name), name, 33_999))
            .collect();
        if let Some(folder) = std::env::var_os("MILLRACE_SAMPLES").map(PathBuf::from) {
            for name in ["mysql97-text", "mysql97-prepared", "mysql97-sysbench-zlib", "mysql97-odd"] {
                let packed = std::fs::File::open(folder.join(format!("{name}.pcap.zst"))).expect("the capture");
                let mut file = tempfile::NamedTempFile::new().expect("a file");
                zstd::stream::copy_decode(packed, &mut file).expect("unpacks");
                file.flush().expect("written");
                all.push(read(file.path(), name, 33_120));
            }
        }
        all
    })
}

fn decoded(capture: &Trace, packets: &[(i64, Vec<u8>)]) -> (Vec<Ended>, u64) {
    let instance = InstanceId::parse("db-1").expect("an id");
    let mut decoder =
        Decoder::new(&[Server { address: None, port: capture.port, instance, syntax: Syntax::default() }]);
    decoder.keep_ended();
    let mut ended = Vec::new();
    for (ts_us, packet) in packets {
        decoder.packet(*ts_us, packet, capture.link_type);
        assert!(decoder.books().balance(), "{}: {:?}", capture.name, decoder.books());
        ended.extend(decoder.take_ended());
    }
    decoder.finish();
    ended.extend(decoder.take_ended());
    let books = decoder.books();
    assert!(books.balance() && books.waiting == 0, "{}: {books:?}", capture.name);
    (ended, books.captured)
}

/// What a client sent.
type Sent = (SocketAddr, Option<&'static str>, Option<Vec<u8>>);

fn sent(ended: &Ended) -> Sent {
    (ended.client, ended.command, ended.sql.as_ref().map(|sql| sql.to_vec()))
}

/// Whether what was decoded is a part of what was sent.
fn is_part(capture: &Trace, found: &[Ended], truth: &[Ended]) -> Result<(), TestCaseError> {
    let mut left: HashMap<Sent, usize> = HashMap::new();
    for ended in truth {
        *left.entry(sent(ended)).or_default() += 1;
    }
    for ended in found {
        // Turns are told by silences and directions: a lost packet may split one.
        if ended.flags.has(Flags::ENCRYPTED) {
            continue;
        }
        let key = sent(ended);
        if let Some(more) = left.get_mut(&key).filter(|more| **more > 0) {
            *more -= 1;
            continue;
        }
        // Who did not see a statement prepared does not know its text; who did not see all of one says so.
        // Where one of several statements ends is not known of the last that was captured.
        let text = key.2.as_deref().unwrap_or_default().trim_ascii_end();
        let text = text.strip_suffix(b";").unwrap_or(text);
        let begins = |other: &Sent| other.2.as_deref().unwrap_or_default().starts_with(text);
        let unsure = ended.sql.is_none() || ended.flags.has(Flags::TRUNCATED) || ended.flags.has(Flags::LOST);
        let known = left.keys().any(|other| (other.0, other.1) == (key.0, key.1) && begins(other));
        prop_assert!(unsure && known, "{}: nobody sent {ended:?}", capture.name);
    }
    Ok(())
}

/// What happens to a packet.
#[derive(Debug, Clone)]
enum Fate {
    Lost,
    Repeated,
    /// It comes so many places later.
    Late(usize),
    /// Only so many bytes are captured.
    Cut(usize),
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        Just(Fate::Lost),
        Just(Fate::Repeated),
        (1..12_usize).prop_map(Fate::Late),
        (40..400_usize).prop_map(Fate::Cut),
    ]
}

/// The capture as a bad one would have it. Times stay in order, as a capture's clock does.
fn mangled(packets: &[(i64, Vec<u8>)], fates: &[(prop::sample::Index, Fate)]) -> Vec<(i64, Vec<u8>)> {
    let mut by_place: HashMap<usize, &Fate> = HashMap::new();
    for (at, fate) in fates {
        by_place.insert(at.index(packets.len()), fate);
    }
    let mut order: Vec<(usize, Vec<u8>)> = Vec::new();
    for (at, (_, packet)) in packets.iter().enumerate() {
        match by_place.get(&at) {
            None => order.push((at * 2, packet.clone())),
            Some(Fate::Lost) => {}
            Some(Fate::Repeated) => order.extend([(at * 2, packet.clone()), (at * 2, packet.clone())]),
            Some(Fate::Late(places)) => order.push((at * 2 + places * 2 + 1, packet.clone())),
            Some(Fate::Cut(length)) => order.push((at * 2, packet[..packet.len().min(*length)].to_vec())),
        }
    }
    order.sort_by_key(|(place, _)| *place);
    let last = packets.len() - 1;
    order.into_iter().map(|(place, packet)| (packets[(place / 2).min(last)].0, packet)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_decoded_that_was_not_sent(
        which in any::<prop::sample::Index>(),
        fates in prop::collection::vec((any::<prop::sample::Index>(), fate()), 0..60),
    ) {
        let capture = &captures()[which.index(captures().len())];
        let (truth, _) = decoded(capture, &capture.packets);
        let (found, _) = decoded(capture, &mangled(&capture.packets, &fates));
        is_part(capture, &found, &truth)?;
    }

    #[test]
    fn what_is_only_repeated_or_late_by_little_is_decoded(
        which in any::<prop::sample::Index>(),
        fates in prop::collection::vec(
            (any::<prop::sample::Index>(), prop_oneof![Just(Fate::Repeated), (1..4_usize).prop_map(Fate::Late)]),
            0..30,
        ),
    ) {
        // The first packets say that there is a connection: what comes before them is of one that had begun.
        let capture = &captures()[which.index(captures().len())];
        let (truth, bytes) = decoded(capture, &capture.packets);
        let fates: Vec<_> = fates.into_iter().filter(|(at, _)| at.index(capture.packets.len()) > 12).collect();
        let (found, captured) = decoded(capture, &mangled(&capture.packets, &fates));
        prop_assert!(captured >= bytes, "{}", capture.name);
        is_part(capture, &found, &truth)?;
        // A packet that comes after its connection has ended, or before it has begun, may be a command that nobody sees.
        let late = fates.iter().filter(|(_, fate)| matches!(fate, Fate::Late(_))).count();
        let commands = |all: &[Ended]| all.iter().filter(|ended| ended.command.is_some()).count();
        let (found, sent) = (commands(&found), commands(&truth));
        prop_assert!(found <= sent && found + late >= sent, "{}: {found} of {sent}", &capture.name);
    }
}
