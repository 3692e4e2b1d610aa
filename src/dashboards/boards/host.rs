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

fn by_host(query: Query, called: &str) -> Query {
    query.by(&["host"]).called(called)
}

fn processors() -> Vec<Panel> {
    let cpu = || rate("millrace_host_cpu_seconds_total");
    let load = |name: &str, called: &str| by_host(now(&format!("millrace_host_{name}")), called);
    vec![
        Panel::lines(
            "Cores in use",
            Unit::Count,
            "Cores by what they do, without idle. `steal`: another machine has them; `iowait`: they would work, but for the disk.",
            vec![cpu().only("mode", Only::Unlike("idle")).by(&["host", "mode"]).called("{host} {mode}")],
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
            "Load average",
            Unit::Count,
            "Processes that run or wait for the disk, over 1, 5 and 15 minutes, and the cores. Above the cores, they queue.",
            vec![
                load("load1", "{host} 1 min"),
                load("load5", "{host} 5 min"),
                load("load15", "{host} 15 min"),
                load("cores", "{host} cores"),
            ],
        ),
    ]
}

fn memory() -> Vec<Panel> {
    let gauge = |name: &str| now(&format!("millrace_host_{name}"));
    vec![
        Panel::lines(
            "Memory",
            Unit::Bytes,
            "All memory, what programs can still have, and what holds contents of files. Available near 0: the kernel ends the largest program.",
            vec![
                by_host(gauge("memory_bytes"), "{host} all"),
                by_host(gauge("memory_available_bytes"), "{host} available"),
                by_host(gauge("memory_cached_bytes"), "{host} files"),
            ],
        ),
        Panel::lines(
            "Share in use",
            Unit::Share,
            "Memory that programs cannot have any more. Above 0.95 the next large query may end the server.",
            vec![by_host(gauge("memory_available_bytes").per(gauge("memory_bytes")).rest(), "{host}")],
        )
        .bad(Bad::From(0.95)),
        Panel::lines(
            "Swap in use",
            Unit::Bytes,
            "Memory that lies on disk. A server whose pages are there stalls: swap that grows is too large a buffer pool.",
            vec![by_host(gauge("swap_bytes").less(gauge("swap_free_bytes")), "{host}")],
        ),
    ]
}

fn disk() -> Vec<Panel> {
    let gauge = |name: &str| now(&format!("millrace_host_datadir_{name}"));
    let rate = |name: &str, called: &str| {
        rate(&format!("millrace_host_datadir_{name}_total")).by(&["instance"]).called(called)
    };
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
            vec![rate("busy_seconds", "{instance}")],
        )
        .bad(Bad::From(0.95)),
        Panel::lines(
            "Bytes",
            Unit::BytesPerSecond,
            "Read from and written to the disk with the data directory. Flat at the top is the disk's limit, or the cloud's.",
            vec![rate("read_bytes", "{instance} read"), rate("written_bytes", "{instance} written")],
        )
        .wide(12),
        Panel::lines(
            "Operations",
            Unit::InputsPerSecond,
            "Reads and writes per second. Flat at the top is the disk's limit, or the cloud's.",
            vec![rate("reads", "{instance} reads"), rate("writes", "{instance} writes")],
        )
        .wide(12),
    ]
}

fn network() -> Vec<Panel> {
    let packets = |name: &str, called: &str| by_host(rate(&format!("millrace_host_network_{name}_total")), called);
    vec![
        Panel::lines(
            "Bytes",
            Unit::BytesPerSecond,
            "Received and sent over all interfaces but the loopback. Near what the link can carry, answers and replication wait.",
            vec![packets("receive_bytes", "{host} in"), packets("transmit_bytes", "{host} out")],
        )
        .wide(12),
        Panel::lines(
            "Lost packets",
            Unit::PerSecond,
            "Packets that were dropped or broken. A steady rate is a cable, a driver, or a queue that is too short.",
            vec![packets("dropped_packets", "{host} dropped"), packets("errors", "{host} broken")],
        )
        .wide(12),
    ]
}
