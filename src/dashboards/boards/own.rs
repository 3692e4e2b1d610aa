//! Millrace itself: whether anything is lost on its way from servers to people. Its processes expose these numbers.

use super::super::board::{Bad, Board, Panel, Row, Unit};
use super::super::query::{Across, Query, now, rate};
use super::{TOP, uid};

pub(super) fn board() -> Board {
    Board {
        uid: uid::OWN,
        title: "Millrace itself",
        description: "Bus, lag, what the capture missed, what was refused, and what stores got.",
        variables: Vec::new(),
        rows: vec![
            Row { title: "Lag", panels: lag() },
            Row { title: "Bus", panels: bus() },
            Row { title: "Capture", panels: capture() },
            Row { title: "Slow logs and samples", panels: slow() },
            Row { title: "Stores", panels: stores() },
        ],
    }
}

fn by(name: &str, label: &'static str) -> Query {
    rate(name).by(&[label]).called(&format!("{{{label}}}"))
}

fn lag() -> Vec<Panel> {
    vec![
        Panel::lines(
            "Age of what is left",
            Unit::Seconds,
            "How old the oldest record is that a stage has not dealt with, of the ten that are furthest behind. A line that climbs: the stage stands, or is too slow.",
            vec![now("millrace_stage_lag_seconds").by(&["stage", "topic"]).top(TOP).called("{stage} {topic}")],
        )
        .bad(Bad::From(30.0)),
        Panel::lines(
            "Records that are left",
            Unit::Count,
            "Records that a stage has not dealt with, of the ten that have most. Some are normal; many that stay are a stage that is too slow.",
            vec![
                now("millrace_stage_lag_records")
                    .across(Across::Sum)
                    .by(&["stage", "topic"])
                    .top(TOP)
                    .called("{stage} {topic}"),
            ],
        ),
        Panel::lines(
            "Folded records",
            Unit::PerSecond,
            "Records that processors dealt with per second. Nothing while heartbeats are sent: the deciders stand.",
            vec![by("millrace_fold_records_total", "processor")],
        ),
    ]
}

fn bus() -> Vec<Panel> {
    vec![
        Panel::lines(
            "Appended records",
            Unit::PerSecond,
            "Records made durable per second, by topic. Nothing in `journal`: no agent speaks, or the bus is away.",
            vec![by("millrace_bus_appended_records_total", "topic")],
        ),
        Panel::lines(
            "Refused appends",
            Unit::PerSecond,
            "Records whose append failed. More than 0: the bus is away, full, or does not let this process write.",
            vec![by("millrace_bus_refused_records_total", "topic")],
        ),
        Panel::lines(
            "Records that nobody believed",
            Unit::PerSecond,
            "Unsigned, forged or expired, by reason. More than 0: a key is missing in the roster, or somebody writes who must not.",
            vec![rate("millrace_refused_records_total").by(&["topic", "reason"]).called("{topic} {reason}")],
        ),
        Panel::lines(
            "Records in dead",
            Unit::PerSecond,
            "Records that processors could not read. `millrace dead` shows them.",
            vec![by("millrace_fold_dead_records_total", "processor")],
        ),
        Panel::lines(
            "Unreadable batches",
            Unit::PerSecond,
            "Records that a reader passed over, because their batch cannot be unpacked. Any are lost.",
            vec![by("millrace_bus_unreadable_records_total", "topic")],
        ),
        Panel::lines(
            "Memory of processes",
            Unit::Bytes,
            "Resident memory of each process that is scraped. A line that only rises for days is a leak: please report it.",
            vec![now("process_resident_memory_bytes").across(Across::Sum).by(&[]).called("all")],
        ),
    ]
}

fn capture() -> Vec<Panel> {
    vec![
        Panel::lines(
            "Payload by fate",
            Unit::BytesPerSecond,
            "Captured bytes by what became of them. Much `shed` or `undecodable`: digests are incomplete. `encrypted` gives counts and times only.",
            vec![by("millrace_wire_payload_bytes_total", "fate")],
        )
        .stacked(),
        Panel::lines(
            "Packets that the kernel dropped",
            Unit::PerSecond,
            "Packets that came faster than the capture read them. More than 0: statements are missing, and the share below says how many.",
            vec![by("millrace_wire_kernel_dropped_packets_total", "host")],
        )
        .bad(Bad::From(1.0)),
        Panel::lines(
            "Missing bytes",
            Unit::BytesPerSecond,
            "Payload that sequence numbers say was never captured: dropped, or sent over another interface.",
            vec![by("millrace_wire_missing_bytes_total", "host")],
        ),
        Panel::lines(
            "Decoded statements",
            Unit::PerSecond,
            "Statements per second from packets, by instance. Nothing while the server counts some: it is not reached by this interface.",
            vec![by("millrace_wire_statements_total", "instance")],
        ),
        Panel::lines(
            "Statements that no packet showed",
            Unit::Share,
            "Share of what the server counted in the last ten seconds. From a fifth on, the server's own counters count instead.",
            vec![now("millrace_statements_unseen_ratio").called("{instance}")],
        )
        .bad(Bad::From(0.2)),
        Panel::lines(
            "One connection of",
            Unit::Count,
            "One of so many connections is followed. More than 1: packets come faster than they can be decoded, and counts are scaled up.",
            vec![now("millrace_wire_sample_factor").called("{host}")],
        )
        .bad(Bad::From(2.0)),
    ]
}

fn slow() -> Vec<Panel> {
    vec![
        Panel::lines(
            "Entries of slow logs",
            Unit::PerSecond,
            "Entries read per second, and those that were not sent because of the limit per digest.",
            vec![
                rate("millrace_slow_log_entries_total").called("{instance}"),
                rate("millrace_slow_log_suppressed_total").called("{instance} over the limit"),
            ],
        ),
        Panel::lines(
            "Series of a sample",
            Unit::Count,
            "Series in the last sample of each instance: more once a minute, when its settings are read. A rise that stays: tables, users or states that its server did not have.",
            vec![now("millrace_series_sampled").called("{instance}")],
        ),
        Panel::lines(
            "Series that were left out",
            Unit::Count,
            "Series beyond the budget of an instance. Any: numbers are missing on these boards.",
            vec![now("millrace_series_left_out").called("{instance}")],
        )
        .bad(Bad::From(1.0)),
        Panel::lines(
            "Rows that were in no window",
            Unit::PerSecond,
            "Rows of statements that came too late, or from a clock that is ahead. More than 0: look at the clocks of the hosts.",
            vec![by("millrace_windows_dropped_rows_total", "reason")],
        ),
    ]
}

fn stores() -> Vec<Panel> {
    vec![
        Panel::lines(
            "Lines that stores took",
            Unit::PerSecond,
            "Lines per second that each store acknowledged. Nothing: the store is away, and the sink waits for it.",
            vec![by("millrace_store_lines_total", "store")],
        ),
        Panel::lines(
            "Failed requests",
            Unit::PerSecond,
            "Requests that failed and were made again. A steady rate: the store is away or overloaded. Nothing is lost by it.",
            vec![by("millrace_store_failed_requests_total", "store")],
        ),
        Panel::lines(
            "Refused lines",
            Unit::PerSecond,
            "Lines that a store did not take; their records are in `dead`. Any: two kinds of a field's type, or a limit of the store.",
            vec![by("millrace_store_bad_lines_total", "store")],
        ),
    ]
}
