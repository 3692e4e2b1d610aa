//! Slow statements: which digests the slow logs have, what they cost, and one of them in depth.

use super::super::board::{Board, CLUSTERS, INSTANCES, Panel, Row, SLOW_DIGEST, Unit};
use super::super::query::{Only, Query, highest, last, peak, per_second, rate, status, whole};
use super::{ONE_ROW, TOP, uid};

pub(super) fn board() -> Board {
    Board {
        uid: uid::SLOW,
        title: "Slow statements",
        description: "Digests of the slow logs by the time that they took: how often, how long, locks, rows examined, who sent them; a click on a digest shows it alone below.",
        variables: vec![CLUSTERS, INSTANCES, SLOW_DIGEST],
        rows: vec![
            Row { title: "All digests", panels: vec![digests()] },
            Row { title: "Over time", panels: over_time() },
            Row { title: "By whom, and how much of it is seen", panels: whole_of_it() },
            Row { title: "One digest", panels: one() },
        ],
    }
}

fn number(name: &str) -> String {
    format!("millrace_slow_{name}")
}

/// A number of each digest, of all instances and users that are chosen. The variable `digest` is for the last row alone.
fn each(query: Query) -> Query {
    query.by(&["digest"]).without("digest")
}

fn each_per_statement(name: &str) -> Query {
    each(whole(&number(name))).per(each(whole(&number("queries"))))
}

fn digests() -> Panel {
    Panel::table(
        "Digests by time",
        Unit::Count,
        "Digests that the slow logs have in the time that is shown, those that took most first. Many rows examined for each statement: an index is missing or not used. \
         Much of the time in locks: it waits for others. A high mean with few rows: the disk, or a wait that the log does not name.",
        vec![
            each(whole(&number("seconds"))).called("Time").unit(Unit::Seconds),
            each(per_second(&number("seconds"))).called("Over time").trend(),
            each(whole(&number("queries"))).called("Statements"),
            each_per_statement("seconds").called("Mean").unit(Unit::Seconds),
            each(peak(&number("highest_seconds"))).called("Longest").unit(Unit::Seconds),
            each(whole(&number("lock_seconds"))).called("In locks").unit(Unit::Seconds),
            each_per_statement("rows_examined").called("Rows examined, each"),
            each_per_statement("rows_sent").called("Rows sent, each"),
            each(whole(&number("errors"))).called("Errors"),
            last("millrace_digest_info").without("digest").by(&["digest", "kind", "text"]).called("is").labels_only(),
        ],
    )
    .to(uid::SLOW, "digest")
    .counted_only()
}

fn over_time() -> Vec<Panel> {
    let top = |query: Query| vec![each(query).top(TOP).called("{digest}")];
    let by_instance = |name: &str| per_second(&number(name)).without("digest").by(&["instance"]).called("{instance}");
    vec![
        Panel::lines(
            "Time of the first ten",
            Unit::Count,
            "Time of slow statements per second, by the digests that have most of it: 1 is one session that is always in a slow one. A band that begins is what to look at.",
            top(per_second(&number("seconds"))),
        )
        .wide(12)
        .stacked(),
        Panel::lines(
            "Statements of the first ten",
            Unit::PerSecond,
            "Slow statements per second of the digests that are slow most often. A step up without more users: its plan, its data or its host got worse.",
            top(per_second(&number("queries"))),
        )
        .wide(12)
        .stacked(),
        Panel::lines(
            "Time",
            Unit::Count,
            "Time of slow statements per second, by instance. One instance above its peers: its data, its plans or its disk differ.",
            vec![by_instance("seconds")],
        ),
        Panel::lines(
            "Rows examined",
            Unit::RowsPerSecond,
            "Rows that slow statements read per second, by instance. Millions beside few statements: tables are read whole.",
            vec![by_instance("rows_examined")],
        ),
        Panel::lines(
            "In locks",
            Unit::Count,
            "Time that slow statements waited for locks per second: so many sessions stand at any moment. A rise with equal load: a transaction that stays open.",
            vec![by_instance("lock_seconds")],
        ),
    ]
}

fn whole_of_it() -> Vec<Panel> {
    vec![
        Panel::lines(
            "Time by user",
            Unit::Count,
            "Time of slow statements per second by the account that sent them. A new name at the top: a report or a job that should run on a replica.",
            vec![per_second(&number("seconds")).without("digest").by(&["user"]).called("{user}")],
        )
        .stacked(),
        Panel::lines(
            "Time by schema",
            Unit::Count,
            "Time of slow statements per second by default schema. One schema that grows beside others: its data grew over what its indexes carry.",
            vec![per_second(&number("seconds")).without("digest").by(&["schema"]).called("{schema}")],
        )
        .stacked(),
        Panel::lines(
            "By the log and by the server",
            Unit::PerSecond,
            "Slow statements per second that the log has, and that the server counts. The server's far above the log's: slow_query_log is off, or goes where nobody reads it.",
            vec![
                per_second(&number("queries")).without("digest").by(&["instance"]).called("{instance} in the log"),
                rate(&status("slow_queries")).called("{instance} by the server"),
            ],
        ),
        Panel::lines(
            "Rows without a digest of their own",
            Unit::Count,
            "Rows of a second that are together in `other`, because an instance has more slow digests in it than its budget of series. \
             A large number: statements with literals in their names, or tables made per user.",
            vec![highest(&number("folded")).by(&["instance"]).called("{instance}")],
        )
        .wide(12),
        Panel::lines(
            "In `other`",
            Unit::PerSecond,
            "Slow statements per second that have no series of their own. Near all of them: the table above shows little of what is slow.",
            vec![
                per_second(&number("queries"))
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
    let by_instance = |query: Query| vec![query.by(&["instance"]).called("{instance}")];
    vec![
        Panel::table(
            "What it is",
            Unit::Count,
            "The digest's kind and the first 200 bytes of its text, literals masked. A click shows all its statements, those that were not slow too: slow ones alone say nothing of a rate.",
            vec![last("millrace_digest_info").by(&["digest", "kind", "text"]).called("is").labels_only()],
        )
        .to(uid::STATEMENTS, "digest")
        .high(ONE_ROW),
        Panel::lines(
            "Slow statements",
            Unit::PerSecond,
            "Slow statements of this digest per second, by instance. Only some instances: their plans or caches differ.",
            by_instance(per_second(&number("queries"))),
        ),
        Panel::lines(
            "Longest",
            Unit::Seconds,
            "The longest of this digest, by instance. It climbs while the load is the same: its data grows, or it waits.",
            by_instance(highest(&number("highest_seconds"))),
        ),
        Panel::lines(
            "Time and locks",
            Unit::Count,
            "Time of this digest per second, and how much of it was waiting for locks. Both together: look for who holds the lock.",
            vec![
                per_second(&number("seconds")).by(&[]).called("time"),
                per_second(&number("lock_seconds")).by(&[]).called("in locks"),
            ],
        ),
        Panel::lines(
            "Rows",
            Unit::RowsPerSecond,
            "Rows examined and sent per second. A thousand examined for each that is sent: an index would spare them.",
            vec![
                per_second(&number("rows_examined")).by(&[]).called("examined"),
                per_second(&number("rows_sent")).by(&[]).called("sent"),
            ],
        ),
        Panel::lines(
            "Time by user",
            Unit::Count,
            "Time of this digest per second by the account that sent it. One account alone: ask its owner first.",
            vec![per_second(&number("seconds")).by(&["user"]).called("{user}")],
        ),
        Panel::lines(
            "Errors",
            Unit::PerSecond,
            "Slow statements of this digest per second that ended in an error, where the log tells: killed, timed out, deadlocked. Any steady rate costs its time for nothing.",
            by_instance(per_second(&number("errors"))),
        ),
    ]
}
