//! Topic `windows`: Arrow batches, what a digest or a whole instance did in 10 s, 1 min or 1 h. The measures and their columns
//! are those of `queries`; `start` stands for `second`, and `width_seconds`, `revision` and `final` are added. Each row stands
//! on its own and holds everything since the start of its window: of two revisions the higher one is right, the other is to be
//! forgotten, never added. Counts are already multiplied by the sample factors of what they were made of.

use std::borrow::Borrow;
use std::cell::RefCell;
use std::sync::{Arc, LazyLock};

use arrow::array::{BooleanArray, RecordBatch, UInt32Array};
use arrow::datatypes::{DataType, Field, Schema};

use super::queries::{BadBatch, Body, Columns, Row, Writer, fields, measures, read, rows_of};
use crate::ids::{DigestId, EventId};
use crate::record::{Bytes, Headers};
use crate::sketch::Sketch;

/// The widths in seconds: 10 to watch, 60 to compare, 3,600 to remember.
pub const WIDTHS: [u32; 3] = [10, 60, 3_600];

/// The digest of the rows that hold everything of an instance; their schema and user are empty. No statement has it: its bytes
/// are those of no reserved id, and no hash is known that is all ones.
pub const TOTAL: DigestId = DigestId([0xff; 16]);

/// Header that says whether the windows of a record are closed, `true` or `false`: a window that is open is revised each second, and who
/// needs closed ones only need not read the others. Records of before have none.
pub const FINAL: &str = "final";

/// False for a record of which its headers say that nothing in it is closed.
pub fn may_be_closed(headers: &Headers) -> bool {
    headers.get(FINAL).is_none_or(|closed| closed != "false")
}

/// One row: what one digest, or an instance, did in one window.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// How long the window is.
    pub width_seconds: u32,
    /// Rises with what was counted: the highest one holds.
    pub revision: u32,
    /// Nothing will be added.
    pub closed: bool,
    /// The measures; `second` is the start of the window.
    pub row: Row,
}

impl Window {
    /// Seconds since 1970-01-01 UTC at which the window starts.
    pub fn start(&self) -> i64 {
        self.row.second
    }

    /// Names this revision: two copies of a processor that counted the same rows mint the same.
    pub fn id(&self, processor: &str) -> EventId {
        let window = format!("{}/{}/{}", self.row.instance, self.width_seconds, self.row.second);
        let subject = format!("{}/{}/{}", self.row.digest, self.row.schema, self.row.user);
        EventId::derive(&[processor, &window, &subject, &self.revision.to_string()])
    }
}

static SCHEMA: LazyLock<Arc<Schema>> = LazyLock::new(|| {
    let mut fields = fields("start");
    fields.push(Field::new("width_seconds", DataType::UInt32, false));
    fields.push(Field::new("revision", DataType::UInt32, false));
    fields.push(Field::new("final", DataType::Boolean, false));
    Arc::new(Schema::new(fields))
});

/// The Arrow schema of the topic.
pub fn schema() -> Arc<Schema> {
    Arc::clone(&SCHEMA)
}

/// The rows as the value of a record of the topic, checked as batches of `queries` are.
pub fn encode(windows: &[Window]) -> Result<Vec<u8>, BadBatch> {
    let part = |window: &Window| Revision {
        width_seconds: window.width_seconds,
        revision: window.revision,
        closed: window.closed,
    };
    let rows = windows.iter().map(|window| &window.row);
    let write = |body: &mut Body| all(body, rows, windows.iter().map(part));
    Ok(Writer::new(&SCHEMA)?.write(windows.len(), write).to_vec())
}

/// What all rows of one window have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revision {
    /// How long the window is.
    pub width_seconds: u32,
    /// Rises with what was counted.
    pub revision: u32,
    /// Nothing will be added.
    pub closed: bool,
}

thread_local! {
    /// What [`encode_one`] writes with: a thread writes one window after the other.
    static WRITER: RefCell<Option<Writer>> = const { RefCell::new(None) };
}

/// The rows of one window, as [`encode`] writes them.
pub fn encode_one<I: AsRef<str>, T: AsRef<str>, S: Borrow<Sketch>>(
    of: Revision,
    rows: &[Row<I, T, S>],
) -> Result<Bytes, BadBatch> {
    WRITER.with_borrow_mut(|kept| {
        let writer = match kept {
            Some(writer) => writer,
            None => kept.insert(Writer::new(&SCHEMA)?),
        };
        let write = |body: &mut Body| all(body, rows.iter(), std::iter::repeat_n(of, rows.len()));
        Ok(Bytes::from(writer.hand_over(rows.len(), write)))
    })
}

/// Writes all columns.
fn all<'a, I: AsRef<str> + 'a, T: AsRef<str> + 'a, S: Borrow<Sketch> + 'a>(
    body: &mut Body,
    rows: impl ExactSizeIterator<Item = &'a Row<I, T, S>> + Clone,
    of: impl ExactSizeIterator<Item = Revision> + Clone,
) {
    measures(body, rows);
    body.fixed(of.clone().map(|one| one.width_seconds.to_le_bytes()));
    body.fixed(of.clone().map(|one| one.revision.to_le_bytes()));
    body.bits(of.map(|one| one.closed));
}

/// Reads what [`encode`] wrote, also from a later version that added columns.
pub fn decode(bytes: &[u8]) -> Result<Vec<Window>, BadBatch> {
    read(bytes, windows_of)
}

fn windows_of(batch: &RecordBatch, windows: &mut Vec<Window>) -> Result<(), BadBatch> {
    let columns = Columns { batch, schema: &SCHEMA };
    let mut rows = Vec::with_capacity(batch.num_rows());
    rows_of(&columns, "start", &mut rows)?;
    let width: &UInt32Array = columns.get("width_seconds")?;
    let revision: &UInt32Array = columns.get("revision")?;
    let closed: &BooleanArray = columns.get("final")?;
    windows.extend(rows.into_iter().enumerate().map(|(at, row)| Window {
        width_seconds: width.value(at),
        revision: revision.value(at),
        closed: closed.value(at),
        row,
    }));
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::InstanceId;
    use crate::topics::queries::{self, Source};

    fn row(start: i64, count: u64) -> Row {
        let mut rt_last = Sketch::new();
        rt_last.add_n(count, 2);
        Row {
            second: start,
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
            rows_examined: None,
            lock_us: Some(1),
            bytes_in: 4,
            bytes_out: 5,
            rt_sum_us: 6,
            rt_min_us: 1,
            rt_max_us: 9,
            rt_first: Sketch::new(),
            rt_last,
            folded: 0,
            killed: None,
            timed_out: None,
        }
    }

    #[test]
    fn a_batch_of_queries_is_no_batch_of_windows() {
        let error = decode(&queries::encode(&[row(1, 2)]).expect("encodes")).expect_err("no start");
        assert_eq!(error.to_string(), "the batch has no column 'start'");
    }

    #[test]
    fn a_record_without_the_header_is_to_be_read() {
        let check = |value: Option<&str>, expected| {
            let headers = value.map(|value| (FINAL.to_owned(), value.to_owned())).into_iter().collect();
            assert_eq!(may_be_closed(&headers), expected, "{value:?}");
        };
        check(None, true);
        check(Some("true"), true);
        check(Some("false"), false);
        check(Some("of a later version"), true);
    }

    #[test]
    fn ids_depend_on_window_subject_and_revision() {
        let window = Window { width_seconds: 10, revision: 1, closed: false, row: row(10, 1) };
        let id = window.id("windows.1");
        assert_eq!(Window { closed: true, ..window.clone() }.id("windows.1"), id);
        assert_ne!(Window { revision: 2, ..window.clone() }.id("windows.1"), id);
        assert_ne!(Window { width_seconds: 60, ..window.clone() }.id("windows.1"), id);
        assert_ne!(Window { row: row(20, 1), ..window }.id("windows.1"), id);
    }

    proptest! {
        #[test]
        fn windows_survive_a_round_trip(
            values in prop::collection::vec((any::<i64>(), any::<u64>(), any::<u32>(), any::<bool>()), 0..20)
        ) {
            let windows: Vec<Window> = values
                .into_iter()
                .map(|(start, count, revision, closed)| Window { width_seconds: 60, revision, closed, row: row(start, count) })
                .collect();
            prop_assert_eq!(decode(&encode(&windows).expect("encodes")).expect("decodes"), windows);
        }
    }
}
