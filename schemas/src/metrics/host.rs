//! What the agent reads of its host in every sample: processors, memory, network, and the disk of each data directory.

use super::{Metric, Type};

macro_rules! host {
    ($($name:ident: $kind:ident, $field:literal, $unit:literal, [$($label:literal),*], $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $name: Metric = Metric {
                name: concat!("millrace_host_", $field),
                measurement: "millrace_host",
                field: $field,
                unit: $unit,
                kind: Type::$kind,
                labels: &[$($label),*],
                only: None,
                source: "/proc",
                help: $help,
            };
        )*
        /// All of them.
        pub(super) const SAMPLED: &[Metric] = &[$($name),*];
    };
}

host! {
    HOST_CPU: Counter, "cpu_seconds_total", "seconds", ["host", "mode"], "Processor time of the host by what it was used for, over all cores.";
    HOST_CORES: Gauge, "cores", "cores", ["host"], "Cores of the host.";
    HOST_LOAD5: Gauge, "load5", "processes", ["host"], "Five-minute load average of the host.";
    HOST_LOAD15: Gauge, "load15", "processes", ["host"], "Fifteen-minute load average of the host.";
    HOST_MEMORY: Gauge, "memory_bytes", "bytes", ["host"], "Memory of the host.";
    HOST_MEMORY_AVAILABLE: Gauge, "memory_available_bytes", "bytes", ["host"], "Memory that programs can still have, as the kernel reckons.";
    HOST_MEMORY_CACHED: Gauge, "memory_cached_bytes", "bytes", ["host"], "Memory that holds contents of files.";
    HOST_SWAP: Gauge, "swap_bytes", "bytes", ["host"], "Swap of the host.";
    HOST_SWAP_FREE: Gauge, "swap_free_bytes", "bytes", ["host"], "Swap that is free.";
    HOST_NETWORK_IN: Counter, "network_receive_bytes_total", "bytes", ["host"], "Bytes received over all interfaces but the loopback.";
    HOST_NETWORK_OUT: Counter, "network_transmit_bytes_total", "bytes", ["host"], "Bytes sent over all interfaces but the loopback.";
    HOST_NETWORK_DROPS: Counter, "network_dropped_packets_total", "packets", ["host"], "Packets that the host dropped, either way, over all interfaces but the loopback.";
    HOST_NETWORK_ERRORS: Counter, "network_errors_total", "packets", ["host"], "Packets with errors, either way, over all interfaces but the loopback.";
    HOST_DISK: Gauge, "datadir_bytes", "bytes", ["cluster", "instance", "host"], "Size of the file system with the data directory.";
    HOST_DISK_FREE: Gauge, "datadir_free_bytes", "bytes", ["cluster", "instance", "host"], "What the server can still write to the file system with the data directory.";
    HOST_DISK_READ: Counter, "datadir_read_bytes_total", "bytes", ["cluster", "instance", "host"], "Bytes read from the disk with the data directory.";
    HOST_DISK_WRITTEN: Counter, "datadir_written_bytes_total", "bytes", ["cluster", "instance", "host"], "Bytes written to the disk with the data directory.";
    HOST_DISK_READS: Counter, "datadir_reads_total", "reads", ["cluster", "instance", "host"], "Reads from the disk with the data directory.";
    HOST_DISK_WRITES: Counter, "datadir_writes_total", "writes", ["cluster", "instance", "host"], "Writes to the disk with the data directory.";
    HOST_DISK_BUSY: Counter, "datadir_busy_seconds_total", "seconds", ["cluster", "instance", "host"], "Time in which the disk with the data directory had something to do.";
}
