//! One instance: what a DBA looks at first, in the order that dashboards of MySQL have had for ten years.

use super::super::board::{Bad, Board, CLUSTERS, HOST_OF_INSTANCE, INSTANCE, Panel, Row, Unit};
use super::super::query::{Only, Query, highest, now, per_second, rate, status, variable};
use super::{TOP, uid};

/// Handlers that are about transactions.
const TRANSACTIONS: &str = "commit|rollback|savepoint|savepoint_rollback|prepare";

pub(super) fn board() -> Board {
    Board {
        uid: uid::INSTANCE,
        title: "Instance",
        description: "One server: connections, statements, temporary tables, sorts, locks, memory, caches, and the host under it.",
        variables: vec![CLUSTERS, INSTANCE, HOST_OF_INSTANCE],
        rows: vec![
            Row { title: "Now", panels: first() },
            Row { title: "Connections", panels: connections() },
            Row { title: "Statements", panels: statements() },
            Row { title: "Work per statement", panels: work() },
            Row { title: "Locks, network, memory", panels: locks() },
            Row { title: "Handlers", panels: handlers() },
            Row { title: "Files and tables", panels: files() },
            Row { title: "The host", panels: host() },
        ],
    }
}

/// A status counter as a rate.
fn rates(names: &[(&str, &str)]) -> Vec<Query> {
    names.iter().map(|(name, called)| rate(&status(name)).called(called)).collect()
}

fn first() -> Vec<Panel> {
    vec![
        Panel::stat(
            "Uptime",
            Unit::Seconds,
            "Since the server started. A small number that nobody asked for is a crash or a failover.",
            now(&status("uptime")),
        )
        .bad(Bad::Below(300.0)),
        Panel::stat(
            "Version",
            Unit::Text,
            "What the server says it is. Replicas must not be older than their source.",
            now("mysql_version_info").by(&["version"]).called("{version}"),
        )
        .label(),
        Panel::stat(
            "Open for writes",
            Unit::Flag,
            "Whether clients can write. No on a primary: the cluster takes no writes. Yes on a replica: it will differ from its source.",
            now("millrace_instance_open"),
        ),
        Panel::stat(
            "Statements",
            Unit::PerSecond,
            "Statements per second, now. Compare it with the line below: far off its usual level is worth a look.",
            per_second("millrace_load_queries"),
        ),
        Panel::stat(
            "Buffer pool",
            Unit::Bytes,
            "Memory that InnoDB keeps pages in. Much smaller than what is read often: the disk answers instead.",
            now(&variable("innodb_buffer_pool_size")),
        ),
        Panel::stat(
            "Buffer pool of memory",
            Unit::Share,
            "Share of the host's memory that the buffer pool has. Above 0.8 there is little left for connections, and the kernel may end the server.",
            now(&variable("innodb_buffer_pool_size")).by(&["host"]).per(now("millrace_host_memory_bytes")),
        )
        .bad(Bad::From(0.85)),
    ]
}

fn connections() -> Vec<Panel> {
    vec![
        Panel::lines(
            "Connections",
            Unit::Count,
            "Open connections, the most since the start, and the limit. Near the limit clients are turned away with error 1040.",
            vec![
                now(&status("threads_connected")).called("open"),
                now(&status("max_used_connections")).called("most since the start"),
                now(&variable("max_connections")).called("limit"),
            ],
        ),
        Panel::lines(
            "Client thread activity",
            Unit::Count,
            "Threads that are connected and that run. Running threads above the number of cores: statements queue for processors, locks or the disk.",
            vec![
                now(&status("threads_connected")).called("connected"),
                now(&status("threads_running")).called("running"),
            ],
        ),
        Panel::lines(
            "Thread cache",
            Unit::Count,
            "Threads that are kept for connections to come, and threads made per second. Many made per second: the cache is too small, or clients do not keep connections.",
            vec![
                now(&status("threads_cached")).called("kept"),
                now(&variable("thread_cache_size")).called("room"),
                rate(&status("threads_created")).called("made per second"),
            ],
        ),
        Panel::lines(
            "Aborted connections",
            Unit::PerSecond,
            "Log-ins that failed, and sessions that ended without a word. A steady rate: wrong passwords, a scanner, or clients that are killed.",
            rates(&[("aborted_connects", "could not connect"), ("aborted_clients", "ended without a word")]),
        ),
        Panel::lines(
            "Connection errors",
            Unit::PerSecond,
            "Connections that failed inside the server, by where. `max_connections` above 0: clients are turned away.",
            vec![rate("mysql_global_status_connection_errors_total").by(&["error"]).called("{error}")],
        ),
        Panel::lines(
            "Process states",
            Unit::Count,
            "Threads by what they do, without those that wait for their client. Many that wait for a lock: look for who holds it; many that close or open tables: the table cache is too small.",
            vec![now("mysql_info_schema_threads").only("state", Only::Unlike("idle")).by(&["state"]).called("{state}")],
        )
        .stacked(),
        Panel::bars(
            "Process states, now",
            Unit::Count,
            "What most threads do now, the idle ones among them. Thousands that are idle: clients open connections and do not close them.",
            now("mysql_info_schema_threads").by(&["state"]).top(TOP).called("{state}"),
        ),
        Panel::lines(
            "Prepared statements",
            Unit::Count,
            "Prepared statements that are open, and their limit. A line that only rises: a client prepares and never closes.",
            vec![
                now(&status("prepared_stmt_count")).called("open"),
                now(&variable("max_prepared_stmt_count")).called("limit"),
            ],
        ),
    ]
}

fn statements() -> Vec<Panel> {
    let commands = || rate("mysql_global_status_commands_total").by(&["command"]).top(TOP).called("{command}");
    vec![
        Panel::lines(
            "Questions",
            Unit::PerSecond,
            "Statements that clients sent, and all that were executed, those inside stored programs too. A fall to nothing is an outage.",
            rates(&[("questions", "from clients"), ("queries", "all")]),
        ),
        Panel::lines(
            "Statements by digest",
            Unit::PerSecond,
            "Statements that have a digest, and those that failed: of packets seconds after they ended, or of the server's own counters, which count what a replica applies too. \
             Packets far below the server's count: clients that come by the socket, or packets that are not seen.",
            vec![
                per_second("millrace_second_queries").called("all"),
                per_second("millrace_second_errors").called("failed"),
            ],
        ),
        Panel::lines(
            "Response time",
            Unit::Seconds,
            "What half, 95 and 99 of 100 statements did not exceed. The upper lines alone rise: a few statements wait. All rise: the server is slow.",
            vec![
                highest("millrace_load_p50_seconds").called("p50"),
                highest("millrace_load_p95_seconds").called("p95"),
                highest("millrace_load_p99_seconds").called("p99"),
            ],
        ),
        Panel::lines(
            "Slow statements",
            Unit::PerSecond,
            "Statements per second that took longer than long_query_time. A step up: look for new or changed digests on the board Statements.",
            rates(&[("slow_queries", "slow")]),
        ),
        Panel::lines(
            "Commands over time",
            Unit::PerSecond,
            "The ten kinds of commands that are executed most. A kind that was not there before is a client that changed.",
            vec![commands()],
        )
        .wide(16)
        .stacked(),
        Panel::bars(
            "Commands now",
            Unit::PerSecond,
            "The same at this moment. Many `show_*` or `set_option`: drivers and monitors ask more than the application does.",
            commands(),
        ),
    ]
}

fn work() -> Vec<Panel> {
    vec![
        Panel::lines(
            "Temporary objects",
            Unit::PerSecond,
            "Temporary tables and files per second. Many of them on disk: results are too large for memory, or have long columns.",
            rates(&[
                ("created_tmp_tables", "tables"),
                ("created_tmp_disk_tables", "tables on disk"),
                ("created_tmp_files", "files"),
            ]),
        ),
        Panel::lines(
            "Kinds of selects",
            Unit::PerSecond,
            "How tables are read. Full joins are never good: each lacks an index. Scans are fine on small tables only.",
            rates(&[
                ("select_full_join", "full join"),
                ("select_full_range_join", "full range join"),
                ("select_range", "range"),
                ("select_range_check", "range check"),
                ("select_scan", "scan"),
            ]),
        ),
        Panel::lines(
            "Sorts",
            Unit::PerSecond,
            "Rows sorted, sorts and merge passes per second. Merge passes: the sort buffer is smaller than what is sorted.",
            rates(&[
                ("sort_rows", "rows"),
                ("sort_range", "of a range"),
                ("sort_scan", "of a scan"),
                ("sort_merge_passes", "merge passes"),
            ]),
        ),
    ]
}

fn locks() -> Vec<Panel> {
    vec![
        Panel::lines(
            "Table locks",
            Unit::PerSecond,
            "Locks of whole tables that were given at once, and that had to be waited for. Waits: tables of an engine without row locks, or LOCK TABLES.",
            rates(&[("table_locks_immediate", "at once"), ("table_locks_waited", "waited for")]),
        ),
        Panel::lines(
            "Network traffic",
            Unit::BytesPerSecond,
            "Bytes that clients sent and got. Much more out at equal statements: a query lost its limit.",
            rates(&[("bytes_received", "in"), ("bytes_sent", "out")]),
        ),
        Panel::lines(
            "Memory inside the server",
            Unit::Bytes,
            "What the large parts of the server hold or may hold. Together near the host's memory, it swaps or is ended by the kernel.",
            vec![
                now(&variable("innodb_buffer_pool_size")).called("buffer pool"),
                now(&status("innodb_buffer_pool_bytes_data")).called("buffer pool, in use"),
                now(&variable("innodb_log_buffer_size")).called("log buffer"),
                now(&variable("key_buffer_size")).called("key buffer"),
                now(&variable("query_cache_size")).called("query cache (MariaDB)"),
                now(&status("memory_used")).called("sessions and caches (MariaDB)"),
                now(&status("innodb_mem_dictionary")).called("dictionary (MariaDB)"),
            ],
        ),
    ]
}

fn handlers() -> Vec<Panel> {
    let handlers =
        |only| rate("mysql_global_status_handlers_total").by(&["handler"]).only("handler", only).called("{handler}");
    vec![
        Panel::lines(
            "Handlers",
            Unit::PerSecond,
            "What storage engines were asked for, per second. Much `read_rnd_next`: whole tables are read, where `read_key` would be an index.",
            vec![handlers(Only::Unlike(TRANSACTIONS))],
        )
        .wide(12),
        Panel::lines(
            "Transaction handlers",
            Unit::PerSecond,
            "Commits, rollbacks and savepoints inside engines. Many rollbacks: conflicts, or clients that give up.",
            vec![handlers(Only::Like(TRANSACTIONS))],
        )
        .wide(12),
    ]
}

fn files() -> Vec<Panel> {
    vec![
        Panel::lines(
            "Query cache (MariaDB)",
            Unit::PerSecond,
            "Answers from the query cache, put into it, and removed for want of memory. Many removed: it costs more than it gives.",
            rates(&[
                ("qcache_hits", "hits"),
                ("qcache_inserts", "inserts"),
                ("qcache_not_cached", "not for the cache"),
                ("qcache_lowmem_prunes", "removed for memory"),
            ]),
        ),
        Panel::lines(
            "Files opened",
            Unit::PerSecond,
            "Files opened per second. A steady rate: the table cache is too small for the tables in use.",
            rates(&[("opened_files", "opened")]),
        ),
        Panel::lines(
            "Open files",
            Unit::Count,
            "Files that are open, with InnoDB's, and the limit. Near it tables cannot be opened any more.",
            vec![
                now(&status("open_files")).called("open"),
                now(&status("innodb_num_open_files")).called("open by InnoDB"),
                now(&variable("open_files_limit")).called("limit"),
            ],
        ),
        Panel::lines(
            "Table cache",
            Unit::PerSecond,
            "Tables that were found open, and not. Many misses or overflows: table_open_cache is too small.",
            rates(&[
                ("table_open_cache_hits", "hits"),
                ("table_open_cache_misses", "misses"),
                ("table_open_cache_overflows", "overflows"),
            ]),
        ),
        Panel::lines(
            "Open tables",
            Unit::Count,
            "Open tables and the room for them. At the limit each new table closes another one.",
            vec![now(&status("open_tables")).called("open"), now(&variable("table_open_cache")).called("room")],
        ),
        Panel::lines(
            "Table definitions",
            Unit::Count,
            "Definitions of tables in memory and the room for them. At the limit they are read from disk again and again.",
            vec![
                now(&status("open_table_definitions")).called("in memory"),
                now(&variable("table_definition_cache")).called("room"),
            ],
        ),
    ]
}

fn host() -> Vec<Panel> {
    let cpu = rate("millrace_host_cpu_seconds_total").by(&["mode"]).only("mode", Only::Unlike("idle"));
    vec![
        Panel::lines(
            "Processors",
            Unit::Count,
            "Cores in use, by what for. Near the number of cores, statements wait for them; much `iowait`, for the disk.",
            vec![cpu.called("{mode}")],
        )
        .stacked()
        .to(uid::HOST, "host"),
        Panel::lines(
            "Memory",
            Unit::Bytes,
            "Memory of the host and what programs can still have. Near nothing, the kernel ends the largest program: the server.",
            vec![
                now("millrace_host_memory_bytes").called("all"),
                now("millrace_host_memory_available_bytes").called("available"),
            ],
        ),
        Panel::lines(
            "Data directory: operations",
            Unit::InputsPerSecond,
            "Reads and writes per second on the disk with the data directory. Flat at the top: the disk gives no more.",
            vec![
                rate("millrace_host_datadir_reads_total").called("reads"),
                rate("millrace_host_datadir_writes_total").called("writes"),
            ],
        ),
    ]
}
