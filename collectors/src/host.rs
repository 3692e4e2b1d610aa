//! What the host says of itself, from /proc: load, memory, kernel, and the clock that lateness is judged by.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::path::Path;

use millrace_schemas::metrics::{
    HOST_CORES, HOST_CPU, HOST_DISK, HOST_DISK_BUSY, HOST_DISK_FREE, HOST_DISK_READ, HOST_DISK_READS, HOST_DISK_WRITES,
    HOST_DISK_WRITTEN, HOST_LOAD, HOST_LOAD5, HOST_LOAD15, HOST_MEMORY, HOST_MEMORY_AVAILABLE, HOST_MEMORY_CACHED,
    HOST_NETWORK_DROPS, HOST_NETWORK_ERRORS, HOST_NETWORK_IN, HOST_NETWORK_OUT, HOST_SWAP, HOST_SWAP_FREE, Metric,
    series,
};
use procfs::{Current as _, CurrentSI as _};

use crate::numbers::Values;

/// 512 bytes: the kernel counts a disk's work in sectors of this size, whatever the disk has.
const SECTOR_BYTES: u64 = 512;

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

/// The numbers of this host, and of the disk with `datadir`. It may hang where that disk does: not for a thread that others need.
pub fn numbers(datadir: Option<&Path>) -> Values {
    let mut values = Values::new();
    processors(&mut values);
    memory(&mut values);
    network(&mut values);
    if let Some(datadir) = datadir {
        disk(&mut values, datadir);
    }
    values
}

fn put(values: &mut Values, metric: &Metric, value: f64) {
    values.insert(series::text(metric, &[]), value);
}

fn processors(values: &mut Values) {
    if let Ok(load) = procfs::LoadAverage::current() {
        put(values, &HOST_LOAD, f64::from(load.one));
        put(values, &HOST_LOAD5, f64::from(load.five));
        put(values, &HOST_LOAD15, f64::from(load.fifteen));
    }
    let Ok(stat) = procfs::KernelStats::current() else { return };
    put(values, &HOST_CORES, stat.cpu_time.len() as f64);
    let cpu = &stat.total;
    let modes = [
        ("user", Some(cpu.user_duration())),
        ("nice", Some(cpu.nice_duration())),
        ("system", Some(cpu.system_duration())),
        ("idle", Some(cpu.idle_duration())),
        ("iowait", cpu.iowait_duration()),
        ("irq", cpu.irq_duration()),
        ("softirq", cpu.softirq_duration()),
        ("steal", cpu.steal_duration()),
    ];
    for (mode, spent) in modes {
        if let Some(spent) = spent {
            values.insert(series::text(&HOST_CPU, &[mode]), spent.as_secs_f64());
        }
    }
}

fn memory(values: &mut Values) {
    let Ok(memory) = procfs::Meminfo::current() else { return };
    put(values, &HOST_MEMORY, memory.mem_total as f64);
    if let Some(available) = memory.mem_available {
        put(values, &HOST_MEMORY_AVAILABLE, available as f64);
    }
    put(values, &HOST_MEMORY_CACHED, memory.cached as f64);
    put(values, &HOST_SWAP, memory.swap_total as f64);
    put(values, &HOST_SWAP_FREE, memory.swap_free as f64);
}

fn network(values: &mut Values) {
    let Ok(interfaces) = procfs::net::dev_status() else { return };
    let (mut received, mut sent, mut dropped, mut errors) = (0, 0, 0, 0);
    for interface in interfaces.values().filter(|interface| interface.name != "lo") {
        received += interface.recv_bytes;
        sent += interface.sent_bytes;
        dropped += interface.recv_drop + interface.sent_drop;
        errors += interface.recv_errs + interface.sent_errs;
    }
    put(values, &HOST_NETWORK_IN, received as f64);
    put(values, &HOST_NETWORK_OUT, sent as f64);
    put(values, &HOST_NETWORK_DROPS, dropped as f64);
    put(values, &HOST_NETWORK_ERRORS, errors as f64);
}

fn disk(values: &mut Values, datadir: &Path) {
    if let Ok(space) = rustix::fs::statvfs(datadir) {
        put(values, &HOST_DISK, (space.f_blocks * space.f_frsize) as f64);
        put(values, &HOST_DISK_FREE, (space.f_bavail * space.f_frsize) as f64);
    }
    let Ok(device) = rustix::fs::stat(datadir).map(|stat| stat.st_dev) else { return };
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let is_it = |disk: &procfs::DiskStat| disk.major as u32 == major && disk.minor as u32 == minor;
    // A file system of its own kind (overlay, ZFS) has no disk that the kernel counts for it.
    let Some(disk) = procfs::diskstats().ok().and_then(|disks| disks.into_iter().find(is_it)) else { return };
    put(values, &HOST_DISK_READ, (disk.sectors_read * SECTOR_BYTES) as f64);
    put(values, &HOST_DISK_WRITTEN, (disk.sectors_written * SECTOR_BYTES) as f64);
    put(values, &HOST_DISK_READS, disk.reads as f64);
    put(values, &HOST_DISK_WRITES, disk.writes as f64);
    put(values, &HOST_DISK_BUSY, disk.time_in_progress as f64 / 1e3);
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
    fn the_host_says_what_it_has() {
        let values = numbers(Some(Path::new("/")));
        let get = |series: &str| *values.get(series).unwrap_or_else(|| panic!("{series} is missing: {values:?}"));
        assert!(get("millrace_host_cores") >= 1.0);
        assert!(get("millrace_host_cpu_seconds_total{mode=\"idle\"}") > 0.0);
        assert!(get("millrace_host_memory_bytes") >= get("millrace_host_memory_available_bytes"));
        assert!(get("millrace_host_datadir_bytes") >= get("millrace_host_datadir_free_bytes"));
        assert!(values.keys().all(|text| series::parse(text).is_ok()), "{values:?}");
    }

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
