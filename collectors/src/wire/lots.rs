//! Which lot a connection draws: its two ends enter; a number of 16 bits leaves, the same for both directions and in every run.
//! Threads and samples take their connections by it. The kernel can draw the same lots from a packet, so that what nobody follows is
//! not even handed over: the buffer is not filled with it, and it costs no time.

use std::net::{IpAddr, SocketAddr};

use super::shares::Share;

/// Odd numbers whose bits are as good as random: neighbouring ports, as clients have them, get lots that are far apart. The first is
/// 2^32 divided by the golden ratio.
const PORTS: u32 = 2_654_435_761;
const ADDRESSES: u32 = 2_246_822_519;

/// The lot of the connection between two ends.
pub(super) fn lot(one: SocketAddr, other: SocketAddr) -> u32 {
    let ports = u32::from(one.port()) + u32::from(other.port());
    let addresses = last_bytes(one.ip()).wrapping_add(last_bytes(other.ip()));
    ports.wrapping_mul(PORTS).wrapping_add(addresses.wrapping_mul(ADDRESSES)) >> 16
}

fn last_bytes(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(address) => address.to_bits(),
        IpAddr::V6(address) => address.to_bits() as u32,
    }
}

/// Whether one of `factor` connections of a share is this one.
pub(super) fn is_followed(lot: u32, share: Share, factor: u32) -> bool {
    (lot / share.of as u32).is_multiple_of(factor)
}

/// What a filter passes on of a share, one of `factor` connections. A header between that of IPv6 and that of TCP is rare: packets with
/// one are all of the first share, and never left out.
pub(super) fn filter(packets: &str, share: Share, factor: u32) -> String {
    let Share { number, of } = share;
    if of == 1 && factor == 1 {
        return packets.to_owned();
    }
    let drawn = |ports: &str, addresses: &str| {
        let lot = format!("((({ports}) * {PORTS} + ({addresses}) * {ADDRESSES}) >> 16)");
        format!("({lot} % {of}) = {number} and (({lot} / {of}) % {factor}) = 0")
    };
    let v4 = drawn("tcp[0:2] + tcp[2:2]", "ip[12:4] + ip[16:4]");
    let v6 = drawn("ip6[40:2] + ip6[42:2]", "ip6[20:4] + ip6[36:4]");
    let rest = if number == 0 { " or (ip6 and ip6[6] != 6)" } else { "" };
    format!("({packets}) and ((ip and {v4}) or (ip6 and ip6[6] = 6 and {v6}){rest})")
}

/// The same also behind a VLAN tag.
pub(super) fn tagged(packets: &str) -> String {
    format!("({packets}) or (vlan and ({packets}))")
}

/// Packets of TCP from or to these ports.
pub(super) fn ports(ports: impl Iterator<Item = u16>) -> String {
    let mut ports: Vec<u16> = ports.collect();
    ports.sort_unstable();
    ports.dedup();
    if ports.is_empty() {
        // No server yet: no packet has port 0.
        ports.push(0);
    }
    let ports: Vec<String> = ports.iter().map(|port| format!("port {port}")).collect();
    format!("tcp and ({})", ports.join(" or "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_chosen_by_port() {
        assert_eq!(ports([3307, 3306, 3307].into_iter()), "tcp and (port 3306 or port 3307)");
        assert_eq!(ports(std::iter::empty()), "tcp and (port 0)");
    }

    #[test]
    fn lots_are_spread_whatever_ports_clients_have() {
        let server: SocketAddr = "10.0.0.7:3306".parse().expect("an address");
        for step in [1, 2, 4] {
            for parts in [2, 3, 4, 8, 16, 64] {
                let mut counts = vec![0_i32; parts as usize];
                for at in 0..6_400 {
                    let client = SocketAddr::from(([10, 0, 0, (at % 3) as u8], 20_000 + at * step));
                    let lot = lot(client, server);
                    assert_eq!(lot, super::lot(server, client));
                    counts[(lot % parts) as usize] += 1;
                }
                let expected = 6_400 / parts as i32;
                // Five standard deviations of chance.
                let most = (5.0 * f64::from(expected).sqrt()) as i32;
                assert!(counts.iter().all(|count| (count - expected).abs() < most), "{step} {parts}: {counts:?}");
            }
        }
    }

    #[test]
    fn who_is_followed_with_less_is_followed_with_more() {
        let share = Share { number: 1, of: 3 };
        for lot in (0..65_536).filter(|lot| is_followed(*lot, share, 64)) {
            assert!([1, 2, 4, 8, 16, 32].iter().all(|factor| is_followed(lot, share, *factor)), "{lot}");
        }
    }
}
