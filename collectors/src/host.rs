//! What the host says of itself, from /proc: load, memory, kernel, and the clock that lateness is judged by.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use procfs::Current as _;

/// The one-minute load average; `None` where /proc does not say.
pub fn load_one_minute() -> Option<f64> {
    procfs::LoadAverage::current().ok().map(|load| f64::from(load.one))
}

/// Memory of the machine in bytes; zero where /proc does not say.
pub fn memory_bytes() -> u64 {
    procfs::Meminfo::current().map_or(0, |memory| memory.mem_total)
}

/// The kernel's release.
pub fn kernel() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// Resident memory of this process in bytes.
pub fn own_memory_bytes() -> u64 {
    let pages = procfs::process::Process::myself().and_then(|own| own.statm()).map_or(0, |statm| statm.resident);
    pages * procfs::page_size()
}

/// Whether an address is one of this host. Asks the kernel, which talks to an address of its own from that same address; nothing
/// is sent.
pub fn is_own(address: IpAddr) -> bool {
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // Any port: a datagram socket that is connected has only chosen its own address.
    let from = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((address, 9))?;
        socket.local_addr()
    });
    address.is_loopback() || from.is_ok_and(|from| from.ip() == address)
}

/// `CLOCK_BOOTTIME` in microseconds: it also runs while the machine sleeps, and nobody sets it.
pub fn boot_us() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_this_host_are_its_own() {
        let check =
            |address: &str, expected| assert_eq!(is_own(address.parse().expect("an address")), expected, "{address}");
        check("127.0.0.1", true);
        check("127.3.2.1", true);
        check("::1", true);
        // Of the ranges that are kept for documentation: no host has them.
        check("192.0.2.1", false);
        check("2001:db8::1", false);
    }
}
