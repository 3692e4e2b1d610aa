//! The profile: what `millrace digest` says of slow logs and captures, as one JSON value. Times are UTC, durations whole
//! microseconds in fields that end in `_us`; what the input does not tell is null, never zero. A later version adds fields and
//! changes none, so that a profile that was kept can be compared with any later one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::DigestId;

/// The layout of a profile.
pub const SCHEMA_VERSION: u32 = 1;

/// What a group of statements has in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GroupBy {
    /// The statement digest.
    #[default]
    Digest,
    /// A table: a statement that names several counts for each of them.
    Table,
    /// The account's user name.
    User,
    /// The client's host name, or its address.
    Host,
    /// The default schema.
    Schema,
}

/// What the first group has most of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OrderBy {
    /// Time in all.
    #[default]
    Time,
    /// Calls.
    Count,
    /// The longest call.
    Max,
    /// Rows examined; rows sent where the input does not tell.
    Rows,
    /// Time spent waiting for locks.
    Lock,
}

/// A profile of statements.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Profile {
    /// The layout, [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// What was read.
    pub inputs: Vec<Input>,
    /// What a group has in common.
    pub group_by: GroupBy,
    /// What the groups are ranked by.
    pub order_by: OrderBy,
    /// The filter, as it was written; null without one.
    pub filter: Option<String>,
    /// Entries that the filter, or the asked span of time, left out.
    pub filtered: u64,
    /// All statements together, also those of groups that are not listed.
    pub overall: Measures,
    /// Seconds from the first to the last statement.
    pub seconds: f64,
    /// Time in statements per second of the clock: how many ran at once on average.
    pub concurrency: f64,
    /// Calls and time over the clock.
    pub load: Load,
    /// The groups, the first has most.
    pub groups: Vec<Group>,
    /// What is not listed: beyond the limit, or folded to bound memory.
    pub other: Option<Other>,
    /// What changed from an earlier profile; null without one.
    #[serde(default)]
    pub comparison: Option<Comparison>,
}

/// One file that was read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Input {
    /// Its name, `-` for standard input.
    pub file: String,
    /// What it is.
    pub kind: InputKind,
    /// Entries of a log; rows of a second and digest, of a capture.
    pub entries: u64,
    /// Parts that could not be read; each was named on standard error, up to a limit.
    pub unreadable: u64,
    /// Why it could not be read to its end; null where it could.
    pub error: Option<String>,
    /// What is missing from the numbers of a capture.
    pub gaps: Option<Gaps>,
}

/// What a file is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InputKind {
    /// A slow log of MySQL or Percona Server.
    #[default]
    MysqlSlowLog,
    /// A slow log of MariaDB.
    MariadbSlowLog,
    /// Captured packets.
    Capture,
    /// A server's own counters between two looks. It tells sums: latencies are those of each digest's average call.
    PerformanceSchema,
}

/// What a capture does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Gaps {
    /// Bytes of payload that were captured.
    pub captured_bytes: u64,
    /// Bytes that were sent and not captured.
    pub missing_bytes: u64,
    /// Bytes of TLS sessions, whose statements are counted as `(encrypted)`.
    pub encrypted_bytes: u64,
    /// Bytes that were captured and could not be used.
    pub unusable_bytes: u64,
    /// Requests whose answer was not seen: they count, without a time.
    pub unanswered: u64,
    /// Executions of statements that were prepared before the capture.
    pub unknown_statements: u64,
}

/// What statements did, in sum. All sums are exact; quantiles are within 1 %.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Measures {
    /// Statements, those that sampling left out put back.
    pub calls: u64,
    /// Statements that were seen.
    pub entries: u64,
    /// The highest factor of sampling; 1 when nothing was left out.
    pub sample_factor: u64,
    /// Time in all.
    pub time_us: u64,
    /// Shortest call.
    pub min_us: u64,
    /// Longest call.
    pub max_us: u64,
    /// Average call.
    pub mean_us: u64,
    /// Half of the calls took no longer.
    pub p50_us: u64,
    /// Where the median of very many such calls would lie at least, but for one case in a thousand.
    pub p50_low_us: u64,
    /// Where it would lie at most.
    pub p50_high_us: u64,
    /// 95 % took no longer.
    pub p95_us: u64,
    /// 99 % took no longer.
    pub p99_us: u64,
    /// Time spent waiting for locks.
    pub lock_time_us: Option<u64>,
    /// Rows sent to clients.
    pub rows_sent: u64,
    /// Rows read.
    pub rows_examined: Option<u64>,
    /// Rows read for each row sent; null also where none was sent.
    pub rows_examined_per_row_sent: Option<f64>,
    /// Rows changed.
    pub rows_affected: Option<u64>,
    /// Bytes sent to clients.
    pub bytes_sent: Option<u64>,
    /// Calls that ended with an error, where the input tells.
    pub errors: Option<u64>,
    /// Of these, killed or timed out (1317, 1969, 3024).
    pub killed: u64,
    /// When the first call ended, RFC 3339 UTC; null without any.
    pub first_seen: Option<String>,
    /// When the last call ended.
    pub last_seen: Option<String>,
}

/// Statements that have something in common.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Group {
    /// From 1.
    pub rank: u64,
    /// The digest's id, or the name of the table, user, host or schema; empty for statements without any.
    pub key: String,
    /// What the digest is; null in groups by something else.
    pub digest: Option<Class>,
    /// The id that pt-query-digest gives its sample, the last 16 digits. Statements of one digest may have several such ids, and those
    /// of several digests one. Null unless asked for, in groups by something else, of captures and of samples that are not whole.
    #[serde(default)]
    pub pt_id: Option<String>,
    /// Its part of the time of all statements, 0 to 1.
    pub share_of_time: f64,
    /// Calls per second, from the first to the last statement of the input.
    pub calls_per_second: f64,
    /// What its statements did.
    #[serde(flatten)]
    pub measures: Measures,
    /// Earlier statements of it are in `other`: it was folded to bound memory and came back.
    pub partial: bool,
    /// Accounts, those with most calls first.
    pub users: Names,
    /// Client hosts.
    pub hosts: Names,
    /// Default schemas.
    pub schemas: Names,
    /// What the log says of its statements (`full_scan`, `tmp_table_on_disk`) and what is odd about them (`header_inside`).
    pub flags: Names,
    /// The error numbers that it ended with.
    pub error_codes: Names,
    /// Calls by duration: how many took up to so long, and longer than the one before.
    pub latency: Vec<LatencyBucket>,
    /// Calls and time over the clock.
    pub load: Load,
    /// Its slowest statement; of a capture, the first.
    pub sample: Option<Sample>,
}

/// What a digest is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Class {
    /// Its id.
    pub digest_id: DigestId,
    /// Its canonical text, without literals.
    pub digest_text: String,
    /// The statement type, as the server's `Com_` counters name it.
    pub kind: String,
    /// The tables that it names.
    pub tables: Vec<String>,
    /// The text is that of a part of the statement.
    pub truncated: bool,
}

/// Names and how many calls had them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Names {
    /// Those with most calls first.
    pub named: Vec<NameCount>,
    /// Calls with further names, which are not kept apart.
    pub more_calls: u64,
}

/// A name and how many calls had it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NameCount {
    /// The name.
    pub name: String,
    /// Calls.
    pub calls: u64,
}

/// Calls of about the same duration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LatencyBucket {
    /// The longest duration that counts here.
    pub up_to_us: u64,
    /// Calls.
    pub calls: u64,
}

/// Calls and time over the clock, by when calls ended. Slots are of equal width, without a gap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Load {
    /// When the first slot begins, RFC 3339 UTC; null without any.
    pub from: Option<String>,
    /// How long a slot is.
    pub slot_seconds: u64,
    /// Calls that ended in each.
    pub calls: Vec<u64>,
    /// Their time.
    pub time_us: Vec<u64>,
}

/// One statement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sample {
    /// Its text.
    pub sql: String,
    /// `?` stands for every literal.
    pub masked: bool,
    /// The text is the beginning of a longer one.
    pub cut: bool,
    /// How long the statement is.
    pub bytes: u64,
    /// When it ended, RFC 3339 UTC; null for captures, whose sample is the first statement and not the slowest.
    pub ts: Option<String>,
    /// How long it took; null for captures.
    pub query_time_us: Option<u64>,
    /// Where it is, by the place of the file in `inputs`.
    pub input: u64,
    /// Where in that file; null for captures.
    pub offset: Option<u64>,
}

/// What is not listed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Other {
    /// How many groups that are.
    pub groups: u64,
    /// There may be more: too many to tell apart.
    pub groups_at_least: bool,
    /// Of these, those that were folded to bound memory.
    pub folded: u64,
    /// Their part of the time of all statements, 0 to 1; with groups that overlap, what all groups together would have.
    pub share_of_time: f64,
    /// What their statements did.
    #[serde(flatten)]
    pub measures: Measures,
}

/// What changed from an earlier profile to this one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// The file of the earlier profile.
    pub base: String,
    /// By how many per cent the median must change to count.
    pub threshold_percent: f64,
    /// Seconds of the earlier profile.
    pub base_seconds: f64,
    /// Its calls.
    pub base_calls: u64,
    /// Its time in all.
    pub base_time_us: u64,
    /// Groups that became slower: the exit code is 1 when there are any.
    pub regressions: u64,
    /// Groups that did not change.
    pub same: u64,
    /// Groups with too few calls on one side to tell.
    pub too_few: u64,
    /// Groups that one side has and the other may hold in `other`.
    pub unknown: u64,
    /// Slower ones first, then new, gone and faster ones; of each kind those that matter most first.
    pub changes: Vec<Change>,
}

/// What became of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// Half of its calls take longer than before.
    #[default]
    Slower,
    /// The earlier profile has none of it.
    New,
    /// This profile has none of it.
    Gone,
    /// Half of its calls take less time than before.
    Faster,
}

/// A group that changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// How.
    pub kind: ChangeKind,
    /// The key of the group.
    pub key: String,
    /// What the digest is; null in groups by something else.
    pub digest: Option<Class>,
    /// The median now, in those of before.
    pub ratio: Option<f64>,
    /// What it was.
    pub base: Option<Measured>,
    /// What it is.
    pub now: Option<Measured>,
}

/// A group, in short.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Measured {
    /// Calls.
    pub calls: u64,
    /// Their time.
    pub time_us: u64,
    /// Average call.
    pub mean_us: u64,
    /// Half of the calls took no longer.
    pub p50_us: u64,
    /// 95 % took no longer.
    pub p95_us: u64,
}
