//! The two ends of a connection, by which each packet is looked up: a segment enters, and leaves as those of the connections that it may
//! be of.

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

use super::connection::Side;
use super::frames::Segment;
use super::lots;
use super::shares::Share;

/// The ends of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) client: SocketAddr,
    pub(super) server: SocketAddr,
}

impl Hash for Ends {
    /// In as few pieces as there are: each packet is looked up by them, and the derived form has ten.
    fn hash<H: Hasher>(&self, state: &mut H) {
        for end in [self.client, self.server] {
            match end.ip() {
                IpAddr::V4(ip) => state.write_u64(u64::from(ip.to_bits()) << 16 | u64::from(end.port())),
                IpAddr::V6(ip) => {
                    state.write_u128(ip.to_bits());
                    state.write_u16(end.port());
                }
            }
        }
    }
}

impl Ends {
    /// Of which connection a segment may be, and by whom it was then sent; the likely one first, as servers listen on lower ports
    /// than those that clients are given.
    pub(super) fn of(segment: &Segment<'_>) -> [(Self, Side); 2] {
        let to_server = (Ends { client: segment.from, server: segment.to }, Side::Client);
        let to_client = (Ends { client: segment.to, server: segment.from }, Side::Server);
        if segment.from.port() > segment.to.port() { [to_server, to_client] } else { [to_client, to_server] }
    }

    /// Whether a share that follows one of so many connections follows the one with these ends.
    pub(super) fn are_followed(&self, share: Share, factor: u32) -> bool {
        factor == 1 || lots::is_followed(lots::lot(self.client, self.server), share, factor)
    }
}
