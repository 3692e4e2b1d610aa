//! Hosts: processors, memory, the disk with the data, the network.

use super::super::board::{Bad, Board, CLUSTERS, HOSTS, Panel, Row, Unit};
use super::super::query::{Only, Query, now, rate};
use super::uid;

pub(super) fn board() -> Board {
    Board {
        uid: uid::HOST,
        title: "Host",
        description: "The machines under the servers: processors, load, memory, swap, the disk with the data directory, the network.",
        variables: vec![CLUSTERS, HOSTS],
        rows: vec![
            Row { title: "Processors", panels: processors() },
            Row { title: "Memory", panels: memory() },
            Row { title: "Data directory", panels: disk() },
            Row { title: "Network", panels: network() },
        ],
    }
}

fn processors() -> Vec<Panel> {
    let cpu = || rate("millrace_host_cpu_seconds_total");
    let gauge = |name: &str| now(&format!("millrace_host_{name}")).by(&["host"]);
    vec![
        Panel::lines(
            "Cores in use",
            Unit::Count,
            "Cores of all hosts that are chosen by what they do, without idle. `steal`: another machine has them; `iowait`: they would work, but for the disk.",
            vec![cpu().only("mode", Only::Unlike("idle")).by(&["mode"]).called("{mode}")],
        )
        .stacked(),
        Panel::lines(
            "Share in use",
            Unit::Share,
            "Processor time in use. Above 0.9 for minutes, every statement waits for a core.",
            vec![cpu().only("mode", Only::Is("idle")).by(&["host"]).per(cpu().by(&["host"])).rest().called("{host}")],
        )
        .bad(Bad::From(0.9)),
        Panel::lines(
            "Load per core",
            Unit::Count,
            "Processes that run or wait for the disk over the last minute, for each core. Above 1, they queue.",
            vec![gauge("load1").per(gauge("cores")).called("{host}")],
        )
        .bad(Bad::From(1.0)),
    ]
}

fn memory() -> Vec<Panel> {
    let gauge = |name: &str| now(&format!("millrace_host_{name}")).by(&["host"]);
    vec![
        Panel::lines(
            "Available",
            Unit::Bytes,
            "Memory that programs can still have. Near 0: the kernel ends the largest program.",
            vec![gauge("memory_available_bytes").called("{host}")],
        )
        .wide(6),
        Panel::lines(
            "Contents of files",
            Unit::Bytes,
            "Memory that holds contents of files, most of which programs can have. A fall to nothing while little is available: every read goes to the disk.",
            vec![gauge("memory_cached_bytes").called("{host}")],
        )
        .wide(6),
        Panel::lines(
            "Share in use",
            Unit::Share,
            "Memory that programs cannot have any more. Above 0.95 the next large query may end the server.",
            vec![gauge("memory_available_bytes").per(gauge("memory_bytes")).rest().called("{host}")],
        )
        .bad(Bad::From(0.95))
        .wide(6),
        Panel::lines(
            "Swap in use",
            Unit::Bytes,
            "Memory that lies on disk. A server whose pages are there stalls: swap that grows is too large a buffer pool.",
            vec![gauge("swap_bytes").less(gauge("swap_free_bytes")).called("{host}")],
        )
        .wide(6),
    ]
}

fn disk() -> Vec<Panel> {
    let gauge = |name: &str| now(&format!("millrace_host_datadir_{name}"));
    let rate = |name: &str| rate(&format!("millrace_host_datadir_{name}_total")).by(&["instance"]).called("{instance}");
    vec![
        Panel::lines(
            "Share in use",
            Unit::Share,
            "Of the file system with the data directory. When it is full every commit waits or fails.",
            vec![gauge("free_bytes").per(gauge("bytes")).rest().called("{instance}")],
        )
        .bad(Bad::From(0.9)),
        Panel::lines(
            "Free",
            Unit::Bytes,
            "What the server can still write. A line that falls steadily says when it will be full.",
            vec![gauge("free_bytes").called("{instance}")],
        ),
        Panel::lines(
            "Disk busy",
            Unit::Share,
            "Share of the time in which the disk had something to do. At 1 requests queue; a disk of many channels may still have room.",
            vec![rate("busy_seconds")],
        )
        .bad(Bad::From(0.95)),
        quarter("Bytes read", Unit::BytesPerSecond, "Read from the disk with the data directory. Flat at the top is the disk's limit, or the cloud's.", rate("read_bytes")),
        quarter("Bytes written", Unit::BytesPerSecond, "Written to the disk with the data directory. Flat at the top is the disk's limit, or the cloud's.", rate("written_bytes")),
        quarter("Reads", Unit::InputsPerSecond, "Reads per second. Flat at the top is the disk's limit; many small ones cost as much as few large ones.", rate("reads")),
        quarter("Writes", Unit::InputsPerSecond, "Writes per second. Flat at the top is the disk's limit, or the cloud's.", rate("writes")),
    ]
}

fn network() -> Vec<Panel> {
    let packets = |name: &str| rate(&format!("millrace_host_network_{name}_total")).by(&["host"]).called("{host}");
    vec![
        quarter(
            "Received",
            Unit::BytesPerSecond,
            "Received over all interfaces but the loopback. Near what the link can carry, statements and replication wait.",
            packets("receive_bytes"),
        ),
        quarter(
            "Sent",
            Unit::BytesPerSecond,
            "Sent over all interfaces but the loopback. Near what the link can carry, answers and replication wait.",
            packets("transmit_bytes"),
        ),
        quarter(
            "Dropped packets",
            Unit::PerSecond,
            "Packets that were dropped. A steady rate is a queue that is too short, or a host that is too slow.",
            packets("dropped_packets"),
        ),
        quarter(
            "Broken packets",
            Unit::PerSecond,
            "Packets that came broken. A steady rate is a cable, a port or a driver.",
            packets("errors"),
        ),
    ]
}

/// A number of each host or instance: two in one panel could not be told apart.
fn quarter(title: &'static str, unit: Unit, description: &'static str, query: Query) -> Panel {
    Panel::lines(title, unit, description, vec![query]).wide(6)
}
