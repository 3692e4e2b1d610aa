//! Anomalies and alerts: what fires, what is unusual, and whether people are told of it.

use super::super::board::{Bad, Board, CLUSTERS, Panel, Row, Unit};
use super::super::query::{Across, Only, Query, last, now, rate, whole};
use super::{TOP, uid};

/// 60 s: a message waits for its turn or for one attempt; what waits for longer has a channel that does not take it.
const WAITS_SECONDS: f64 = 60.0;

pub(super) fn board() -> Board {
    Board {
        uid: uid::ALERTS,
        title: "Anomalies and alerts",
        description: "What fires and since when, what of instances and statements is unusual, and whether those who are to know of it are told.",
        variables: vec![CLUSTERS],
        rows: vec![
            Row { title: "Now", panels: now_panels() },
            Row { title: "Alerts", panels: alerts() },
            Row { title: "Anomalies", panels: anomalies() },
            Row { title: "Who is told", panels: channels() },
        ],
    }
}

/// Alerts that fire, of one severity where it is named. Every process that folds the journal says all of them.
fn firing(severity: Option<&'static str>, quiet: &'static str) -> Query {
    let query = now("millrace_alerts_firing").repeated().across(Across::Sum).only("quiet", Only::Is(quiet));
    match severity {
        Some(severity) => query.only("severity", Only::Is(severity)),
        None => query,
    }
}

fn number(query: Query) -> Query {
    query.by(&[]).called("value")
}

fn now_panels() -> Vec<Panel> {
    vec![
        Panel::stat(
            "Critical",
            Unit::Count,
            "Critical alerts that fire and that people are told of. Any: something is down or about to be, and its runbook says what to do.",
            number(firing(Some("critical"), "false")),
        )
        .bad(Bad::From(1.0)),
        Panel::stat(
            "Warnings",
            Unit::Count,
            "Warnings that fire and that people are told of. One that stays for days is one that nobody takes seriously: mend it or change its rule.",
            number(firing(Some("warning"), "false")),
        ),
        Panel::stat(
            "Told to nobody",
            Unit::Count,
            "Alerts that fire and that nobody is told of: they follow from another one, are silenced, or are only shown. Many beside no other alert: a silence that is too wide.",
            number(firing(None, "true")),
        ),
        Panel::stat(
            "Anomalies",
            Unit::Count,
            "What is unusual now by its own past and is not explained by a failover, a restart or an operator's word. Many at once: look for what changed before them.",
            number(now("millrace_anomalies_firing").repeated().across(Across::Sum)),
        ),
        Panel::stat(
            "Longest wait to be told",
            Unit::Seconds,
            "How old the oldest alert is that a channel has not taken yet. Above a minute: the channel is away or refuses, and people do not know what fires.",
            number(now("millrace_channel_oldest_seconds")),
        )
        .bad(Bad::From(WAITS_SECONDS)),
    ]
}

fn alerts() -> Vec<Panel> {
    let by: &[&'static str] = &["cluster", "instance", "alertname", "severity"];
    let over_time = |quiet| firing(None, quiet).by(&["severity"]).called("{severity}");
    vec![
        Panel::table(
            "Alerts of the time that is shown",
            Unit::Count,
            "Each alert of which something was said: whether it fires by the last word, whether people are told, and how often it was said to fire. \
             Yes under Fires is what to work on; many words with No at the end is an alert that comes and goes. An alert whose severity changed has a row for each, and fires in one of them.",
            vec![
                last("millrace_alert_firing").by(by).called("Fires").unit(Unit::Flag),
                last("millrace_alert_quiet").by(by).called("Told to nobody").unit(Unit::Flag),
                whole("millrace_alert_firing").by(by).called("Words while it fired"),
            ],
        )
        .to(uid::INSTANCE, "instance"),
        Panel::lines(
            "Alerts that fire",
            Unit::Count,
            "Alerts that people are told of, by severity, without the watchdog. Several at once have one cause as a rule: begin with the oldest in the table above.",
            vec![over_time("false")],
        )
        .wide(12)
        .stacked(),
        Panel::lines(
            "Alerts that nobody is told of",
            Unit::Count,
            "Alerts that follow from others, are silenced or are only shown. A line that stays after its cause is over: a silence that was forgotten.",
            vec![over_time("true")],
        )
        .wide(12)
        .stacked(),
    ]
}

fn anomalies() -> Vec<Panel> {
    vec![
        Panel::lines(
            "Anomalies that hold",
            Unit::Count,
            "What of an instance and its statements is unusual, of the ten with most of it. A step on one of several replicas is that host; on all at once, the clients.",
            vec![now("millrace_anomalies_firing").repeated().by(&["cluster", "instance"]).top(TOP).called("{cluster} {instance}")],
        )
        .to(uid::INSTANCE, "instance"),
        Panel::lines(
            "Series that are judged",
            Unit::Count,
            "Series that are judged by their own past: five of each digest that is followed. Nothing while statements run: no process judges, and nothing unusual is found.",
            vec![now("millrace_anomalies_series").by(&[]).called("series")],
        ),
        Panel::lines(
            "Left out",
            Unit::PerSecond,
            "Rows of digests that are not judged because a thousand others of their instance have more load, and numbers that no rule judged because a cluster has too many. \
             A steady rate: statements with literals in their names, or tables made per user.",
            vec![
                rate("millrace_anomalies_beyond_total").across(Across::Max).by(&[]).called("rows of digests"),
                rate("millrace_rules_beyond_total").across(Across::Max).by(&[]).called("numbers of rules"),
            ],
        ),
    ]
}

fn channels() -> Vec<Panel> {
    let by = |name: &str, called: &str| {
        rate(&format!("millrace_channel_{name}_total")).by(&["channel"]).called(&format!("{{channel}} {called}"))
    };
    vec![
        Panel::lines(
            "Alerts that channels took",
            Unit::PerSecond,
            "Alerts per second that each channel took, alone or with others. Nothing for longer than its watchdog repeats: nobody would be told of anything.",
            vec![by("delivered", "taken"), by("bundled", "in bundles")],
        ),
        Panel::lines(
            "Oldest alert that waits",
            Unit::Seconds,
            "How old the oldest alert is that a channel has not taken. A line that climbs by a second per second: the channel is away, and nobody is told through it.",
            vec![now("millrace_channel_oldest_seconds").by(&["channel"]).called("{channel}")],
        )
        .bad(Bad::From(WAITS_SECONDS)),
        Panel::lines(
            "Messages that failed",
            Unit::PerSecond,
            "Messages that a channel did not take and that are sent again. A steady rate: its address, its password or the network is wrong; the log of the sink says which.",
            vec![by("failed_messages", "failed")],
        ),
        Panel::lines(
            "Dead letters",
            Unit::PerSecond,
            "Alerts that a channel refused for ever or did not take within a day. Any: people were not told of them. `millrace dead list` shows them with the reason.",
            vec![by("dead", "dead")],
        )
        .wide(12),
        Panel::lines(
            "States that were passed over",
            Unit::PerSecond,
            "States of alerts that had waited for an hour when a newer state of the same alert was there. Any: the channel was away for so long.",
            vec![by("passed_over", "passed over")],
        )
        .wide(12),
    ]
}
