//! Topic `queries`: Arrow batches, one row per second, instance, schema, user and digest. Rows enter and IPC bytes leave, and
//! back. The columns are fixed; later versions add columns and never change one, so a reader takes the columns that it knows
//! and lets others be. It must never guess: a missing or mistyped column is an error that names it.

mod laid;
mod read;
mod write;

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use serde::{Deserialize, Serialize};

use crate::ids::{BadId, DigestId, InstanceId};
use crate::sketch::{BadSketch, Sketch};

pub(super) use read::{Columns, read, rows_of};
pub use read::{Seen, decode, with_rows};
pub(super) use write::{Body, Writer, measures};

/// Most digests of an instance and second that have rows of their own; the rest is folded into `other`. 2,000: more than a
/// person or a window can use, and at most about 400 KB per instance-second.
pub const DIGESTS_PER_SECOND_MAX: usize = 2_000;

/// An xxh3 hash of 64 bits behind the stream.
const CHECKSUM_BYTES: usize = 8;

/// Where the numbers come from. One source per instance is authoritative; sources are never summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Captured packets.
    Wire,
    /// The slow log.
    SlowLog,
    /// The server's own counters.
    PerformanceSchema,
}

impl Source {
    /// The name in the column.
    pub fn as_str(self) -> &'static str {
        match self {
            Source::Wire => "wire",
            Source::SlowLog => "slow_log",
            Source::PerformanceSchema => "performance_schema",
        }
    }

    fn named(name: &str) -> Option<Source> {
        [Source::Wire, Source::SlowLog, Source::PerformanceSchema].into_iter().find(|source| source.as_str() == name)
    }
}

/// One row: what one digest did in one second on one instance, by schema and user. It holds its own copy of every text and of the
/// response times, or refers to where they are.
#[derive(Clone, Debug, PartialEq)]
pub struct Row<Instance = InstanceId, Text = String, Times = Sketch> {
    /// Seconds since 1970-01-01 UTC, in which the statements ended.
    pub second: i64,
    /// The instance, by a legal id.
    pub instance: Instance,
    /// The default schema of the sessions; empty when none or unknown.
    pub schema: Text,
    /// The account's user name; empty when unknown.
    pub user: Text,
    /// The digest, or a reserved id.
    pub digest: DigestId,
    /// Where the numbers come from.
    pub source: Source,
    /// Each counted statement stands for this many; 1 when nothing was left out.
    pub sample_factor: u32,
    /// Statements.
    pub count: u64,
    /// Statements that the server answered with an error.
    pub errors: u64,
    /// Rows sent to clients.
    pub rows_sent: u64,
    /// Rows changed, as the server says.
    pub rows_affected: u64,
    /// Rows read; the wire does not tell.
    pub rows_examined: Option<u64>,
    /// Time spent waiting for locks; the wire does not tell.
    pub lock_us: Option<u64>,
    /// Payload bytes from clients.
    pub bytes_in: u64,
    /// Payload bytes to clients.
    pub bytes_out: u64,
    /// Sum of response times (to the last response packet).
    pub rt_sum_us: u64,
    /// Shortest response time.
    pub rt_min_us: u64,
    /// Longest response time.
    pub rt_max_us: u64,
    /// Response times to the first response packet.
    pub rt_first: Times,
    /// Response times to the last response packet.
    pub rt_last: Times,
    /// How many digests this row folds; 0 unless it is `other`.
    pub folded: u32,
    /// Statements among the errors that somebody killed, where that can be known.
    pub killed: Option<u64>,
    /// Statements among the errors that ran into a time limit, where that can be known.
    pub timed_out: Option<u64>,
}

impl<Instance, Text, Times> Row<Instance, Text, Times> {
    /// The same measures under these names, with `times` of the response times.
    pub fn with<'a, I, T, S>(
        &'a self,
        instance: I,
        schema: T,
        user: T,
        times: impl Fn(&'a Times) -> S,
    ) -> Row<I, T, S> {
        Row {
            second: self.second,
            instance,
            schema,
            user,
            digest: self.digest,
            source: self.source,
            sample_factor: self.sample_factor,
            count: self.count,
            errors: self.errors,
            rows_sent: self.rows_sent,
            rows_affected: self.rows_affected,
            rows_examined: self.rows_examined,
            lock_us: self.lock_us,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            rt_sum_us: self.rt_sum_us,
            rt_min_us: self.rt_min_us,
            rt_max_us: self.rt_max_us,
            rt_first: times(&self.rt_first),
            rt_last: times(&self.rt_last),
            folded: self.folded,
            killed: self.killed,
            timed_out: self.timed_out,
        }
    }

    /// Adds the counts of `more`, `times` over: everything but the distributions of response times and what the rows are about.
    /// What one side does not know, the sum does not know.
    pub fn add_counts<I, T, S>(&mut self, more: &Row<I, T, S>, times: u64) {
        let plus = |sum: &mut u64, part: u64| *sum = sum.saturating_add(part.saturating_mul(times));
        let maybe = |sum: &mut Option<u64>, part: Option<u64>| {
            *sum = sum.zip(part).map(|(sum, part)| sum.saturating_add(part.saturating_mul(times)));
        };
        if more.count > 0 {
            self.rt_min_us = if self.count == 0 { more.rt_min_us } else { self.rt_min_us.min(more.rt_min_us) };
            self.rt_max_us = self.rt_max_us.max(more.rt_max_us);
        }
        plus(&mut self.count, more.count);
        plus(&mut self.errors, more.errors);
        plus(&mut self.rows_sent, more.rows_sent);
        plus(&mut self.rows_affected, more.rows_affected);
        plus(&mut self.bytes_in, more.bytes_in);
        plus(&mut self.bytes_out, more.bytes_out);
        plus(&mut self.rt_sum_us, more.rt_sum_us);
        maybe(&mut self.rows_examined, more.rows_examined);
        maybe(&mut self.lock_us, more.lock_us);
        maybe(&mut self.killed, more.killed);
        maybe(&mut self.timed_out, more.timed_out);
    }
}

impl Row {
    /// Adds a row of the same sample factor whole.
    pub fn merge(&mut self, more: &Self) {
        self.add_counts(more, 1);
        self.rt_first.merge(&more.rt_first);
        self.rt_last.merge(&more.rt_last);
        self.folded = self.folded.saturating_add(more.folded);
    }
}

/// Bytes that are no batch of this topic, or of `windows`, whose batches are made here too.
#[derive(Debug, thiserror::Error)]
pub enum BadBatch {
    /// Arrow could not read or write it.
    #[error("the batch cannot be read or written: {0}")]
    Arrow(#[from] ArrowError),
    /// The checksum does not fit the bytes, or they contradict themselves.
    #[error("the batch is damaged: {0} bytes that do not fit their checksum")]
    Damaged(usize),
    /// A column of the schema is not there.
    #[error("the batch has no column '{0}'")]
    Missing(&'static str),
    /// A column has another type.
    #[error("column '{column}' has type {found}, expected {expected}")]
    Type {
        /// The column.
        column: &'static str,
        /// Its type in the batch.
        found: DataType,
        /// Its type in the schema.
        expected: DataType,
    },
    /// A column that must have a value has none.
    #[error("column '{column}' has no value in row {row}")]
    Null {
        /// The column.
        column: &'static str,
        /// The row, from 0.
        row: usize,
    },
    /// A value of `source` is unknown.
    #[error("column 'source' has the unknown value '{0}'")]
    Source(String),
    /// A value of `instance` is no id.
    #[error("column 'instance': {0}")]
    Instance(#[from] BadId),
    /// A value of a sketch column is no sketch.
    #[error("column '{column}': {error}")]
    Sketch {
        /// The column.
        column: &'static str,
        /// What is wrong.
        error: BadSketch,
    },
}

/// What stands between the agent and the instance in the name of who counts slow statements.
const SLOW_LOG: &str = "/slow-log/";

/// Who counts the slow statements of an instance: it numbers for itself, apart from the other sources of the agent.
pub fn slow_log_producer(agent: &str, instance: &InstanceId) -> String {
    format!("{agent}{SLOW_LOG}{instance}")
}

/// Whether a batch is of slow statements, by its producer, so that who wants them need not read the others.
pub fn is_of_slow_log(producer: &str) -> bool {
    producer.contains(SLOW_LOG)
}

static SCHEMA: LazyLock<Arc<Schema>> = LazyLock::new(|| Arc::new(Schema::new(fields("second"))));

/// What each batch of ours says first.
static HEAD: LazyLock<Vec<u8>> =
    LazyLock::new(|| write::head(&SCHEMA).expect("Arrow writes any schema of these types"));

/// The fields of the measures; `first` names the column of [`Row::second`].
pub(super) fn fields(first: &'static str) -> Vec<Field> {
    let text = |name| Field::new(name, DataType::Utf8, false);
    let number = |name| Field::new(name, DataType::UInt64, false);
    let maybe = |name| Field::new(name, DataType::UInt64, true);
    let sketch = |name| Field::new(name, DataType::Binary, false);
    vec![
        Field::new(first, DataType::Int64, false),
        text("instance"),
        text("schema"),
        text("user"),
        Field::new("digest", DataType::FixedSizeBinary(16), false),
        text("source"),
        Field::new("sample_factor", DataType::UInt32, false),
        number("count"),
        number("errors"),
        number("rows_sent"),
        number("rows_affected"),
        maybe("rows_examined"),
        maybe("lock_us"),
        number("bytes_in"),
        number("bytes_out"),
        number("rt_sum_us"),
        number("rt_min_us"),
        number("rt_max_us"),
        sketch("rt_first"),
        sketch("rt_last"),
        Field::new("folded", DataType::UInt32, false),
        maybe("killed"),
        maybe("timed_out"),
    ]
}

/// The Arrow schema of the topic.
pub fn schema() -> Arc<Schema> {
    Arc::clone(&SCHEMA)
}

/// The rows as one Arrow IPC stream with a checksum behind its end: the value of a record of the topic. Readers of Arrow that
/// know nothing of the checksum stop before it.
pub fn encode(rows: &[Row]) -> Result<Vec<u8>, BadBatch> {
    Ok(Writer::new(&SCHEMA)?.write(rows.len(), |body| measures(body, rows.iter())).to_vec())
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, RecordBatch, UInt64Array};
    use arrow::ipc::reader::StreamReader;
    use arrow::ipc::writer::StreamWriter;
    use proptest::prelude::*;

    use super::*;

    fn row(second: i64, count: u64, rows_examined: Option<u64>) -> Row {
        let mut rt_last = Sketch::new();
        rt_last.add_n(count, 3);
        Row {
            second,
            instance: InstanceId::parse("db-1").expect("an id"),
            schema: "shop".into(),
            user: "app".into(),
            digest: DigestId([7; 16]),
            source: Source::Wire,
            sample_factor: 1,
            count,
            errors: 1,
            rows_sent: 2,
            rows_affected: 3,
            rows_examined,
            lock_us: None,
            bytes_in: 4,
            bytes_out: 5,
            rt_sum_us: 6,
            rt_min_us: 1,
            rt_max_us: 9,
            rt_first: Sketch::new(),
            rt_last,
            folded: 0,
            killed: rows_examined.map(|_| 1),
            timed_out: None,
        }
    }

    /// The rows as Arrow's own reader sees them.
    fn batch(rows: &[Row]) -> RecordBatch {
        let bytes = encode(rows).expect("encodes");
        StreamReader::try_new(bytes.as_slice(), None).expect("a stream").next().expect("a batch").expect("reads")
    }

    /// The batch as Arrow's own writer writes it.
    fn encoded(batch: &RecordBatch) -> Vec<u8> {
        let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).expect("a writer");
        writer.write(batch).expect("writes");
        let mut bytes = writer.into_inner().expect("ends");
        bytes.extend_from_slice(&xxhash_rust::xxh3::xxh3_64(&bytes).to_be_bytes());
        bytes
    }

    /// The rows as they are read where they lie.
    fn laid_out(bytes: &[u8]) -> Option<Vec<Row>> {
        let (stream, _) = bytes.split_last_chunk::<CHECKSUM_BYTES>()?;
        laid::rows(stream, &HEAD)?.iter().map(|row| row.to_row().ok()).collect()
    }

    #[test]
    fn a_column_of_a_later_version_is_let_be() {
        let rows = vec![row(1, 2, None)];
        let batch = batch(&rows);
        let mut fields: Vec<Field> = batch.schema().fields().iter().map(|f| f.as_ref().clone()).collect();
        fields.insert(3, Field::new("later", DataType::UInt64, false));
        let mut columns = batch.columns().to_vec();
        columns.insert(3, Arc::new(UInt64Array::from(vec![1])));
        let later = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("fits");
        assert_eq!(decode(&encoded(&later)).expect("decodes"), rows);
        let seen = |rows: &[Seen<'_>]| rows.iter().map(|row| row.to_row().expect("legal")).collect::<Vec<_>>();
        assert_eq!(with_rows(&encoded(&later), seen).expect("reads"), rows);
    }

    #[test]
    fn a_column_that_an_earlier_version_did_not_have_is_unknown() {
        let rows = vec![row(1, 2, Some(3))];
        let earlier = batch(&rows).project(&(0..21).collect::<Vec<_>>()).expect("projects");
        assert_eq!(decode(&encoded(&earlier)).expect("decodes"), vec![Row { killed: None, ..rows[0].clone() }]);
    }

    #[test]
    fn errors_name_the_column() {
        let full = batch(&[row(1, 2, None)]);
        let without = full.project(&(0..20).collect::<Vec<_>>()).expect("projects");
        let error = decode(&encoded(&without)).expect_err("a column is missing");
        assert_eq!(error.to_string(), "the batch has no column 'folded'");
        let mut fields: Vec<Field> = full.schema().fields().iter().map(|f| f.as_ref().clone()).collect();
        fields[7] = Field::new("count", DataType::Int64, false);
        let mut columns = full.columns().to_vec();
        columns[7] = Arc::new(Int64Array::from(vec![1]));
        let mistyped = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("fits");
        let error = decode(&encoded(&mistyped)).expect_err("a type differs");
        assert_eq!(error.to_string(), "column 'count' has type Int64, expected UInt64");
        assert!(decode(b"no arrow at all").is_err());
    }

    proptest! {
        #[test]
        fn bytes_are_those_of_arrows_own_writer(values in prop::collection::vec((any::<i64>(), any::<u64>(), any::<Option<u64>>()), 0..20)) {
            let rows: Vec<Row> = values.into_iter().map(|(second, count, examined)| row(second, count, examined)).collect();
            prop_assert_eq!(encode(&rows).expect("encodes"), encoded(&batch(&rows)));
        }

        #[test]
        fn rows_are_read_where_our_own_writer_lays_them(values in prop::collection::vec((any::<i64>(), any::<u64>(), any::<Option<u64>>()), 0..20)) {
            let rows: Vec<Row> = values.into_iter().map(|(second, count, examined)| row(second, count, examined)).collect();
            prop_assert_eq!(laid_out(&encode(&rows).expect("encodes")), Some(rows));
        }

        #[test]
        fn what_is_read_where_it_lies_is_what_arrow_reads(at in 0..2_000_usize, bit in 0..8) {
            let mut bytes = encode(&[row(1, 2, None), row(2, 3, Some(4))]).expect("encodes");
            let (at, end) = (at % (bytes.len() - CHECKSUM_BYTES), bytes.len() - CHECKSUM_BYTES);
            bytes[at] ^= 1_u8 << bit;
            let checksum = xxhash_rust::xxh3::xxh3_64(&bytes[..end]).to_be_bytes();
            bytes[end..].copy_from_slice(&checksum);
            if let Some(rows) = laid_out(&bytes) {
                prop_assert_eq!(decode(&bytes).expect("Arrow reads it too"), rows);
            }
        }

        #[test]
        fn rows_survive_a_round_trip(values in prop::collection::vec((any::<i64>(), any::<u64>(), any::<Option<u64>>()), 0..20)) {
            let rows: Vec<Row> = values.into_iter().map(|(second, count, examined)| row(second, count, examined)).collect();
            prop_assert_eq!(decode(&encode(&rows).expect("encodes")).expect("decodes"), rows);
        }

        #[test]
        fn damaged_bytes_are_an_error_or_rows(at in 0..2_000_usize, bit in 0..8) {
            let mut bytes = encode(&[row(1, 2, None), row(2, 3, Some(4))]).expect("encodes");
            let at = at % bytes.len();
            bytes[at] ^= 1_u8 << bit;
            let _ = decode(&bytes);
            let _ = decode(&bytes[..at]);
        }
    }
}
