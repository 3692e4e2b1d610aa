//! What a capture hands on, and which packets the kernel passes on to it.

use etherparse::PacketBuilder;

use super::super::shares::Share;
use super::*;

#[test]
fn a_missing_permission_names_its_remedy() {
    let live = Live { interface: "lo".into(), threads: 1 };
    let error = interface_error(&live, &PcapError::PcapError("socket: Operation not permitted".into()));
    assert!(error.to_string().contains("setcap cap_net_raw+ep /"), "{error}");
}

#[test]
fn what_two_captures_had_is_handed_on_once() {
    let mut had = Had { until_us: 100, packets: HashMap::from([(xxh3_64(b"twice"), 2), (xxh3_64(b"once"), 1)]) };
    let said = [(10, b"twice".as_slice()), (11, b"new"), (12, b"twice"), (13, b"twice"), (100, b"once")];
    let had_them: Vec<bool> = said.into_iter().map(|(ts_us, data)| had.has(ts_us, data)).collect();
    assert_eq!(had_them, [true, false, true, false, false]);
}

/// A frame from one end to the other.
fn frame(v6: bool, tagged: bool, client: (u8, u16), to_server: bool) -> Vec<u8> {
    let server = (7, 3306);
    let (from, to) = if to_server { (client, server) } else { (server, client) };
    let builder = PacketBuilder::ethernet2([0; 6], [1; 6]);
    let mut frame = Vec::new();
    let address = |last| [[0x20, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last], [0; 16]][0];
    let done = match (v6, tagged) {
        (false, false) => {
            builder.ipv4([10, 0, 0, from.0], [10, 0, 0, to.0], 9).tcp(from.1, to.1, 1, 9).write(&mut frame, b"x")
        }
        (false, true) => {
            let inner = builder.single_vlan(5.try_into().expect("a tag")).ipv4([10, 0, 0, from.0], [10, 0, 0, to.0], 9);
            inner.tcp(from.1, to.1, 1, 9).write(&mut frame, b"x")
        }
        (true, false) => {
            builder.ipv6(address(from.0), address(to.0), 9).tcp(from.1, to.1, 1, 9).write(&mut frame, b"x")
        }
        (true, true) => {
            let inner = builder.single_vlan(5.try_into().expect("a tag")).ipv6(address(from.0), address(to.0), 9);
            inner.tcp(from.1, to.1, 1, 9).write(&mut frame, b"x")
        }
    };
    done.expect("it is written");
    frame
}

/// The kernel draws the lots that the decoder draws, for both directions of a connection.
#[test]
fn the_kernel_chooses_what_the_decoder_follows() {
    let dead = Capture::dead(pcap::Linktype::ETHERNET).expect("it opens");
    let packets = lots::ports([3306].into_iter());
    for (of, factor) in [(1, 8), (4, 1), (3, 2), (2, 64)] {
        let program = |share| dead.compile(&lots::tagged(&lots::filter(&packets, share, factor)), true);
        let programs: Vec<_> = Share::all(of).map(|share| (share, program(share).expect("a program"))).collect();
        for (v6, tagged) in [(false, false), (false, true), (true, false), (true, true)] {
            // As Linux gives them out: every other port, in turn.
            for client in (0..200).map(|n| (n as u8 % 3, 40_000 + 2 * n)) {
                let (there, back) = (frame(v6, tagged, client, true), frame(v6, tagged, client, false));
                let segment = frames::segment(1, &there).expect("a segment");
                let lot = lots::lot(segment.from, segment.to);
                for (share, program) in &programs {
                    let expected = lot as usize % of == share.number && lots::is_followed(lot, *share, factor);
                    let taken = [&there, &back].map(|frame| program.filter(frame));
                    assert_eq!(taken, [expected; 2], "{client:?} {share:?} {factor} {v6} {tagged}");
                }
            }
        }
    }
}
