//! The loopback interface shows every packet twice: as it goes out and as it comes in. Sockets of captures enter, right after they
//! were opened; told to the kernel is that the copies that go out are not wanted there. libpcap reads past them in any case, but only
//! when the kernel has cloned them, filtered them and copied them to its buffer, and that half of its work is what a server would pay.

use std::os::fd::AsFd;

use nix::sys::socket::setsockopt;
use nix::{libc, setsockopt_impl};
use tracing::debug;

/// What Linux calls it, and where libpcap reads past what goes out. Everywhere else what goes out is there once, and needed.
const LOOPBACK: &str = "lo";

/// Packets that go out are not for this socket.
#[derive(Clone, Copy, Debug)]
struct IgnoreOutgoing;

setsockopt_impl!(
    IgnoreOutgoing,
    libc::SOL_PACKET,
    libc::PACKET_IGNORE_OUTGOING,
    bool,
    nix::sys::socket::sockopt::SetBool
);

/// Spares the kernel the second copies, where the capture is of the loopback interface. Linux before 4.20 does not know how: there
/// the capture sees the same and costs more.
pub(super) fn spare(interface: &str, socket: &impl AsFd) {
    if interface != LOOPBACK {
        return;
    }
    if let Err(error) = setsockopt(socket, IgnoreOutgoing, &true) {
        debug!(interface, %error, "outgoing copies of packets are captured too");
    }
}
