//! Statements: which digests make the load, and one of them in depth.

use super::super::board::{Board, CLUSTERS, DIGEST, INSTANCES, Panel, Row, Unit};
use super::super::query::{Only, Query, highest, last, peak, per_second, whole, whole_per_second};
use super::{ONE_ROW, TOP, uid};

pub(super) fn board() -> Board {
    Board {
        uid: uid::STATEMENTS,
        title: "Statements",
        description: "Digests by load: how often, how long, how many rows and errors, and the text; a click on a digest shows it alone below.",
        variables: vec![CLUSTERS, INSTANCES, DIGEST],
        rows: vec![Row { title: "All digests", panels: all() }, Row { title: "One digest", panels: one() }],
    }
}

/// A number of each digest, of all instances and users that are chosen. The variable `digest` is for the second row alone.
fn each(query: Query) -> Query {
    query.by(&["digest"]).without("digest")
}

fn all() -> Vec<Panel> {
    let top = |query: Query| vec![each(query).top(TOP).called("{digest}")];
    vec![
        Panel::table(
            "Digests by load",
            Unit::Count,
            "Load is response time per second: 1 is one session that is always busy. The first row is where work pays most; \
             a p99 far above its neighbours is a statement that sometimes waits; errors belong to whoever sends it.",
            vec![
                each(whole_per_second("millrace_statements_seconds")).called("Load"),
                each(per_second("millrace_statements_seconds")).called("Over time").trend(),
                each(whole("millrace_statements_queries")).called("Calls"),
                each(peak("millrace_statements_p99_seconds")).called("Highest p99").unit(Unit::Seconds),
                each(whole("millrace_statements_rows_sent")).called("Rows sent"),
                each(whole("millrace_statements_rows_affected")).called("Rows affected"),
                each(whole("millrace_statements_errors")).called("Errors"),
                last("millrace_digest_info").without("digest").by(&["digest", "kind", "text"]).called("is").labels_only(),
                last("millrace_digest_tables_info").without("digest").by(&["digest", "tables"]).called("on").labels_only(),
            ],
        )
        .to(uid::STATEMENTS, "digest")
        .counted_only(),
        Panel::lines(
            "Load of the first ten",
            Unit::Count,
            "Response time per second of the digests that have most of it. A band that widens is what changed.",
            top(per_second("millrace_statements_seconds")),
        )
        .wide(12)
        .stacked(),
        Panel::lines(
            "Calls of the first ten",
            Unit::PerSecond,
            "Statements per second of the digests that are sent most. A digest that doubles without more users is a loop.",
            top(per_second("millrace_statements_queries")),
        )
        .wide(12)
        .stacked(),
        Panel::lines(
            "Digests without a row of their own",
            Unit::Count,
            "Rows of a window that are together in `other`, because an instance has more digests than its budget of series. \
             A large number: statements with literals in their names, or tables made per user.",
            vec![highest("millrace_statements_folded").by(&["instance"]).called("{instance}")],
        )
        .wide(12),
        Panel::lines(
            "In `other`",
            Unit::PerSecond,
            "Statements per second that have no series of their own. Near all of them: the table above shows little of the load.",
            vec![
                per_second("millrace_statements_queries")
                    .without("digest")
                    .only("digest", Only::Is("other"))
                    .by(&["instance"])
                    .called("{instance}"),
            ],
        )
        .wide(12),
    ]
}

fn one() -> Vec<Panel> {
    let number = |name: &str| format!("millrace_statements_{name}");
    vec![
        Panel::table(
            "What it is",
            Unit::Count,
            "The digest's kind, its tables and the first 200 bytes of its text. Literals are masked: what is shown is what all its statements have in common. \
             A click shows those that were slow; a table that nobody expects there is a client of another service.",
            vec![
                last("millrace_digest_info").by(&["digest", "kind", "text"]).called("is").labels_only(),
                last("millrace_digest_tables_info").by(&["digest", "tables"]).called("on").labels_only(),
            ],
        )
        .to(uid::SLOW, "digest")
        .high(ONE_ROW),
        Panel::lines(
            "Calls",
            Unit::PerSecond,
            "Statements of this digest per second, by instance. A fall to nothing after a release: it is sent no more, or in another form.",
            vec![per_second(&number("queries")).by(&["instance"]).called("{instance}")],
        ),
        Panel::lines(
            "Response time",
            Unit::Seconds,
            "What half, 95 and 99 of 100 did not exceed, on the slowest instance. The upper lines alone rise: some of them wait for locks or the disk.",
            vec![
                highest(&number("p50_seconds")).by(&[]).called("p50"),
                highest(&number("p95_seconds")).by(&[]).called("p95"),
                highest(&number("p99_seconds")).by(&[]).called("p99"),
            ],
        ),
        Panel::lines(
            "Load",
            Unit::Count,
            "Response time per second, by instance: how many sessions it keeps busy.",
            vec![per_second(&number("seconds")).by(&["instance"]).called("{instance}")],
        ),
        Panel::lines(
            "Rows",
            Unit::RowsPerSecond,
            "Rows sent and changed per second. More rows at equal calls: its data grew, or a condition was lost.",
            vec![
                per_second(&number("rows_sent")).by(&[]).called("sent"),
                per_second(&number("rows_affected")).by(&[]).called("changed"),
            ],
        ),
        Panel::lines(
            "Errors",
            Unit::PerSecond,
            "Statements of this digest per second that ended in an error. Any steady rate is worth the client's log.",
            vec![per_second(&number("errors")).by(&["instance"]).called("{instance}")],
        ),
        Panel::lines(
            "Traffic",
            Unit::BytesPerSecond,
            "Bytes of its requests and answers. Much out per call: columns or rows that nobody reads.",
            vec![
                per_second(&number("bytes_received")).by(&[]).called("in"),
                per_second(&number("bytes_sent")).by(&[]).called("out"),
            ],
        ),
    ]
}
