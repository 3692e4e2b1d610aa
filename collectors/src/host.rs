//! What the host says of itself, from /proc: load, memory, kernel, and the clock that lateness is judged by.

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

/// `CLOCK_BOOTTIME` in microseconds: it also runs while the machine sleeps, and nobody sets it.
pub fn boot_us() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000
}
