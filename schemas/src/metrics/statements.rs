//! What stores get from windows, heartbeats and digests: the statements of an instance and of each digest in 10 s, and the series
//! that say what changes or is long (roles, sources, texts), so that nothing else carries it as a label.

use super::own::catalogue;
use super::{Metric, Type};

catalogue! {
    STATEMENTS;
    LOAD_QUERIES: Gauge, "millrace_load" "queries", "statements", ["cluster", "instance"], "windows", "Statements of an instance in the 10 s that end at the time of the number.";
    LOAD_ERRORS: Gauge, "millrace_load" "errors", "statements", ["cluster", "instance"], "windows", "Statements of an instance that ended in an error, in 10 s.";
    LOAD_ROWS_SENT: Gauge, "millrace_load" "rows_sent", "rows", ["cluster", "instance"], "windows", "Rows that an instance sent, in 10 s.";
    LOAD_ROWS_AFFECTED: Gauge, "millrace_load" "rows_affected", "rows", ["cluster", "instance"], "windows", "Rows that were changed on an instance, in 10 s.";
    LOAD_BYTES_RECEIVED: Gauge, "millrace_load" "bytes_received", "bytes", ["cluster", "instance"], "windows", "Payload that an instance received, in 10 s.";
    LOAD_BYTES_SENT: Gauge, "millrace_load" "bytes_sent", "bytes", ["cluster", "instance"], "windows", "Payload that an instance sent, in 10 s.";
    LOAD_SECONDS: Gauge, "millrace_load" "seconds", "seconds", ["cluster", "instance"], "windows", "Response times of an instance's statements added up, in 10 s.";
    LOAD_P50: Gauge, "millrace_load" "p50_seconds", "seconds", ["cluster", "instance"], "windows", "Response time that half of an instance's statements did not exceed, in 10 s.";
    LOAD_P95: Gauge, "millrace_load" "p95_seconds", "seconds", ["cluster", "instance"], "windows", "Response time that 95 of 100 statements of an instance did not exceed, in 10 s.";
    LOAD_P99: Gauge, "millrace_load" "p99_seconds", "seconds", ["cluster", "instance"], "windows", "Response time that 99 of 100 statements of an instance did not exceed, in 10 s.";
    SECOND_QUERIES: Gauge, "millrace_second" "queries", "statements", ["cluster", "instance"], "queries", "Statements of an instance in one second, seconds after it; a second may have several points, of which it is the sum.";
    SECOND_ERRORS: Gauge, "millrace_second" "errors", "statements", ["cluster", "instance"], "queries", "Statements of an instance that ended in an error, in one second, which may have several points, of which it is the sum.";
    SECOND_SECONDS: Gauge, "millrace_second" "seconds", "seconds", ["cluster", "instance"], "queries", "Response times of an instance's statements added up, in one second, which may have several points, of which it is the sum.";
    BY_DIGEST_QUERIES: Gauge, "millrace_statements" "queries", "statements", ["cluster", "instance", "schema", "user", "digest"], "windows", "Statements of a digest in the 10 s that end at the time of the number.";
    BY_DIGEST_ERRORS: Gauge, "millrace_statements" "errors", "statements", ["cluster", "instance", "schema", "user", "digest"], "windows", "Statements of a digest that ended in an error, in 10 s.";
    BY_DIGEST_ROWS_SENT: Gauge, "millrace_statements" "rows_sent", "rows", ["cluster", "instance", "schema", "user", "digest"], "windows", "Rows that a digest sent, in 10 s.";
    BY_DIGEST_ROWS_AFFECTED: Gauge, "millrace_statements" "rows_affected", "rows", ["cluster", "instance", "schema", "user", "digest"], "windows", "Rows that a digest changed, in 10 s.";
    BY_DIGEST_BYTES_RECEIVED: Gauge, "millrace_statements" "bytes_received", "bytes", ["cluster", "instance", "schema", "user", "digest"], "windows", "Payload of a digest's requests, in 10 s.";
    BY_DIGEST_BYTES_SENT: Gauge, "millrace_statements" "bytes_sent", "bytes", ["cluster", "instance", "schema", "user", "digest"], "windows", "Payload of a digest's answers, in 10 s.";
    BY_DIGEST_SECONDS: Gauge, "millrace_statements" "seconds", "seconds", ["cluster", "instance", "schema", "user", "digest"], "windows", "Response times of a digest added up, in 10 s: its load.";
    BY_DIGEST_P50: Gauge, "millrace_statements" "p50_seconds", "seconds", ["cluster", "instance", "schema", "user", "digest"], "windows", "Response time that half of a digest's statements did not exceed, in 10 s.";
    BY_DIGEST_P95: Gauge, "millrace_statements" "p95_seconds", "seconds", ["cluster", "instance", "schema", "user", "digest"], "windows", "Response time that 95 of 100 statements of a digest did not exceed, in 10 s.";
    BY_DIGEST_P99: Gauge, "millrace_statements" "p99_seconds", "seconds", ["cluster", "instance", "schema", "user", "digest"], "windows", "Response time that 99 of 100 statements of a digest did not exceed, in 10 s.";
    BY_DIGEST_FOLDED: Gauge, "millrace_statements" "folded", "digests", ["cluster", "instance"], "windows", "Rows of a window that are together in the digest 'other', because there were more than the budget of series allows.";
    SLOW_DIGEST_QUERIES: Gauge, "millrace_slow" "queries", "statements", ["cluster", "instance", "schema", "user", "digest"], "slow logs", "Slow statements of a digest in one second, by the server's slow log; all of them are among `millrace_statements_queries` too.";
    SLOW_DIGEST_ERRORS: Gauge, "millrace_slow" "errors", "statements", ["cluster", "instance", "schema", "user", "digest"], "slow logs", "Slow statements of a digest that ended in an error, in one second; 0 where the log does not tell.";
    SLOW_DIGEST_SECONDS: Gauge, "millrace_slow" "seconds", "seconds", ["cluster", "instance", "schema", "user", "digest"], "slow logs", "Time that slow statements of a digest took, added up, of those that ended in one second.";
    SLOW_DIGEST_HIGHEST: Gauge, "millrace_slow" "highest_seconds", "seconds", ["cluster", "instance", "schema", "user", "digest"], "slow logs", "Time that the slowest statement of a digest took, of those that ended in one second.";
    SLOW_DIGEST_LOCK: Gauge, "millrace_slow" "lock_seconds", "seconds", ["cluster", "instance", "schema", "user", "digest"], "slow logs", "Time that slow statements of a digest waited for locks, added up.";
    SLOW_DIGEST_EXAMINED: Gauge, "millrace_slow" "rows_examined", "rows", ["cluster", "instance", "schema", "user", "digest"], "slow logs", "Rows that slow statements of a digest read.";
    SLOW_DIGEST_SENT: Gauge, "millrace_slow" "rows_sent", "rows", ["cluster", "instance", "schema", "user", "digest"], "slow logs", "Rows that slow statements of a digest sent.";
    SLOW_DIGEST_FOLDED: Gauge, "millrace_slow" "folded", "digests", ["cluster", "instance"], "slow logs", "Rows of slow statements of one second that are together in the digest 'other', because there were more than the budget of series allows.";
    DIGEST_INFO: Gauge, "millrace_digest" "info", "boolean", ["digest", "kind", "text"], "digests", "1: what a digest is, with the first 200 bytes of its text.";
    DIGEST_TABLES: Gauge, "millrace_digest_tables" "info", "boolean", ["digest", "tables"], "digests", "1: the tables that a digest names, with the first 200 bytes of their list; absent until the parser has looked at it.";
    INSTANCE_ROLE: Gauge, "millrace" "instance_role", "boolean", ["cluster", "instance", "host", "role"], "journal", "1 for what an instance is now, 0 for the others: primary (it is open), replica (it has a source), closed.";
    VERSION_INFO: Gauge, "mysql" "version_info", "boolean", ["cluster", "instance", "host", "version"], "journal", "1: the version that a server runs.";
    REPLICA_SOURCE: Gauge, "millrace" "replica_source", "boolean", ["cluster", "instance", "host", "source"], "journal", "1: the source that a replica has now.";
}
