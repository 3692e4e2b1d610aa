//! The storage engine of one instance: buffer pool, redo log, purge, row locks, files.

use super::super::board::{Bad, Board, CLUSTERS, INSTANCE, Panel, Row, Unit};
use super::super::query::{Only, Query, now, rate, status, variable};
use super::uid;

pub(super) fn board() -> Board {
    Board {
        uid: uid::INNODB,
        title: "InnoDB",
        description: "Inside one server's storage engine: what the buffer pool spares, how old the checkpoint is, what purge has left, who waits for rows.",
        variables: vec![CLUSTERS, INSTANCE],
        rows: vec![
            Row { title: "Rows", panels: rows() },
            Row { title: "Buffer pool", panels: buffer_pool() },
            Row { title: "Redo log", panels: redo() },
            Row { title: "Files", panels: files() },
        ],
    }
}

fn rates(names: &[(&str, &str)]) -> Vec<Query> {
    names.iter().map(|(name, called)| rate(&status(&format!("innodb_{name}"))).called(called)).collect()
}

fn engine(name: &str) -> Query {
    now(&status(&format!("innodb_{name}")))
}

fn rows() -> Vec<Panel> {
    vec![
        Panel::lines(
            "Row operations (MySQL)",
            Unit::RowsPerSecond,
            "Rows read, inserted, updated and deleted per second. Many read for each that is sent: an index is missing. MariaDB counts them no more: see the handlers on the board Instance.",
            vec![rate("mysql_global_status_innodb_row_ops_total").by(&["operation"]).called("{operation}")],
        ),
        Panel::lines(
            "Row lock waits",
            Unit::PerSecond,
            "Waits for row locks per second. Many: transactions touch the same rows, or hold them for long.",
            rates(&[("row_lock_waits", "waits")]),
        ),
        Panel::lines(
            "Time in row locks",
            Unit::Milliseconds,
            "Milliseconds per second that sessions spent waiting for row locks: 1,000 are one session that did nothing else.",
            rates(&[("row_lock_time", "all waits")]),
        )
        .bad(Bad::From(1_000.0)),
        Panel::lines(
            "Row locks that are waited for now",
            Unit::Count,
            "Sessions that stand at a row lock. A number that stays says that one transaction holds up the others.",
            vec![engine("row_lock_current_waits").called("waiting")],
        ),
        Panel::lines(
            "Deadlocks (MariaDB)",
            Unit::PerSecond,
            "Deadlocks per second. Single ones are normal, a steady rate says that transactions take the same rows in other orders. MySQL has no such counter.",
            rates(&[("deadlocks", "deadlocks")]),
        ),
        Panel::lines(
            "History list (MariaDB)",
            Unit::Count,
            "Transactions that purge has not dealt with. It grows while a transaction stays open, and makes all reads slower.",
            vec![engine("history_list_length").called("transactions")],
        )
        .bad(Bad::From(1_000_000.0)),
    ]
}

fn buffer_pool() -> Vec<Panel> {
    let request = |name: &str| rate(&status(&format!("innodb_buffer_pool_{name}")));
    vec![
        Panel::lines(
            "Misses",
            Unit::Share,
            "Share of page requests that memory could not answer. From one in a hundred on, on a busy server, the disk decides the response time: its hit ratio is below 0.99.",
            vec![request("reads").per(request("read_requests")).called("from disk")],
        )
        .bad(Bad::From(0.01)),
        Panel::lines(
            "Page requests",
            Unit::PerSecond,
            "Pages asked for, and those that had to be read from disk.",
            rates(&[("buffer_pool_read_requests", "asked for"), ("buffer_pool_reads", "read from disk")]),
        ),
        Panel::lines(
            "Pages by content",
            Unit::Count,
            "Pages of the buffer pool. No free ones is normal; none with data means that the server has just started.",
            vec![now("mysql_global_status_buffer_pool_pages").only("state", Only::Unlike("old")).by(&["state"]).called("{state}")],
        )
        .stacked(),
        Panel::lines(
            "Dirty pages",
            Unit::Count,
            "Changed pages that are not on disk. They rise while more is written than flushed, until writes have to wait.",
            vec![now(&status("buffer_pool_dirty_pages")).called("dirty")],
        ),
        Panel::lines(
            "Read ahead",
            Unit::PerSecond,
            "Pages read because they would be needed soon, and those that were thrown away unused. Many of these: reading ahead costs more than it gives.",
            rates(&[("buffer_pool_read_ahead", "read"), ("buffer_pool_read_ahead_evicted", "thrown away unused")]),
        ),
        Panel::lines(
            "Waits for a free page",
            Unit::PerSecond,
            "Times per second that nothing was free and a page had to be flushed first. More than 0: flushing does not keep up.",
            rates(&[("buffer_pool_wait_free", "waits")]),
        )
        .bad(Bad::From(1.0)),
    ]
}

fn redo() -> Vec<Panel> {
    vec![
        Panel::lines(
            "Checkpoint age",
            Unit::Bytes,
            "Redo log that is not in the data files yet, and the room for it. Near the room, writes are held up until pages are flushed.",
            vec![
                engine("redo_log_logical_size").called("used (MySQL)"),
                now(&variable("innodb_redo_log_capacity")).called("room (MySQL)"),
                engine("checkpoint_age").called("age (MariaDB)"),
                engine("checkpoint_max_age").called("room (MariaDB)"),
            ],
        ),
        Panel::lines(
            "Redo log written",
            Unit::BytesPerSecond,
            "Bytes per second written to the redo log. Beside the capacity it says how many seconds of writes fit.",
            rates(&[("os_log_written", "written")]),
        ),
        Panel::lines(
            "Waits for the log buffer",
            Unit::PerSecond,
            "Times per second that the log buffer was full. More than 0: innodb_log_buffer_size is too small for the transactions.",
            rates(&[("log_waits", "waits")]),
        )
        .bad(Bad::From(1.0)),
    ]
}

fn files() -> Vec<Panel> {
    vec![
        Panel::lines(
            "Data read and written",
            Unit::BytesPerSecond,
            "Bytes per second. Much read in a steady state: the buffer pool is too small for what is in use.",
            rates(&[("data_read", "read"), ("data_written", "written")]),
        ),
        Panel::lines(
            "Reads, writes, syncs",
            Unit::InputsPerSecond,
            "Requests per second to the files. Syncs are what a commit waits for: few per second at high load is a slow disk.",
            rates(&[("data_reads", "reads"), ("data_writes", "writes"), ("data_fsyncs", "syncs")]),
        ),
        Panel::lines(
            "Requests under way",
            Unit::Count,
            "Reads, writes and syncs that wait for the disk. Numbers that stay above 0: it is the bottleneck.",
            vec![
                engine("data_pending_reads").called("reads"),
                engine("data_pending_writes").called("writes"),
                engine("data_pending_fsyncs").called("syncs"),
            ],
        ),
        Panel::lines(
            "Pages",
            Unit::PerSecond,
            "Pages made, read and written per second. Many made: tables grow.",
            rates(&[("pages_created", "made"), ("pages_read", "read"), ("pages_written", "written")]),
        ),
        Panel::lines(
            "Doublewrite",
            Unit::PerSecond,
            "Pages that went through the doublewrite buffer, and writes of it. Nothing while pages are written: it is off, and a power cut can tear pages.",
            rates(&[("dblwr_pages_written", "pages"), ("dblwr_writes", "writes")]),
        ),
        Panel::lines(
            "Adaptive hash index (MariaDB)",
            Unit::PerSecond,
            "Searches that the hash index answered, and that it did not. Few hits: it costs latches for nothing.",
            rates(&[("adaptive_hash_hash_searches", "by hash"), ("adaptive_hash_non_hash_searches", "by tree")]),
        ),
    ]
}
