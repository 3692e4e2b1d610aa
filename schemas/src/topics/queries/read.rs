//! Reading batches: sealed bytes in, rows out; checked whole before the first row is handed on, so that a batch counts whole or not
//! at all. Who only adds rows up reads them where they lie: a copy of every text and sketch costs more than the adding.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::array::{
    Array, BinaryArray, FixedSizeBinaryArray, Int64Array, RecordBatch, StringArray, UInt32Array, UInt64Array,
};
use arrow::datatypes::Schema;
use arrow::ipc::reader::StreamReader;
use xxhash_rust::xxh3::xxh3_64;

use super::{BadBatch, CHECKSUM_BYTES, HEAD, Row, SCHEMA, Source, laid};
use crate::ids::{DigestId, InstanceId};
use crate::sketch::{Packed, Sketch};

/// A row where it lies in its batch.
pub type Seen<'a> = Row<&'a str, &'a str, Packed<'a>>;

impl Seen<'_> {
    /// A copy that stands for itself.
    pub fn to_row(&self) -> Result<Row, BadBatch> {
        let unpacked = |packed: &Packed<'_>| {
            let mut sketch = Sketch::new();
            sketch.merge_packed(packed, 1);
            sketch
        };
        let instance = InstanceId::parse(self.instance)?;
        Ok(self.with(instance, self.schema.to_owned(), self.user.to_owned(), unpacked))
    }
}

/// Reads what [`encode`](super::encode) wrote, also from a later version that added columns.
pub fn decode(bytes: &[u8]) -> Result<Vec<Row>, BadBatch> {
    read(bytes, |batch, rows| rows_of(&Columns { batch, schema: &SCHEMA }, "second", rows))
}

/// Reads the same, and gives `work` all rows as they lie, once every one of them was checked.
pub fn with_rows<T>(bytes: &[u8], work: impl FnOnce(&[Seen<'_>]) -> T) -> Result<T, BadBatch> {
    if let Some(rows) = laid::rows(sealed(bytes)?, &HEAD) {
        return Ok(work(&rows));
    }
    let batches = read(bytes, |batch, batches| {
        batches.push(batch.clone());
        Ok(())
    })?;
    let rows = guarded(bytes, || {
        let mut rows = Vec::with_capacity(batches.iter().map(RecordBatch::num_rows).sum());
        for batch in &batches {
            seen(&Columns { batch, schema: &SCHEMA }, "second", &mut rows)?;
        }
        Ok(rows)
    })?;
    Ok(work(&rows))
}

/// Reads sealed bytes batch by batch.
pub(in crate::topics) fn read<T>(
    bytes: &[u8],
    each: fn(&RecordBatch, &mut Vec<T>) -> Result<(), BadBatch>,
) -> Result<Vec<T>, BadBatch> {
    let stream = sealed(bytes)?;
    guarded(bytes, || {
        let mut rows = Vec::new();
        for batch in StreamReader::try_new(Cursor::new(stream), None)? {
            each(&batch?, &mut rows)?;
        }
        Ok(rows)
    })
}

/// The stream before a checksum that fits it.
fn sealed(bytes: &[u8]) -> Result<&[u8], BadBatch> {
    let sealed = bytes.split_last_chunk::<CHECKSUM_BYTES>();
    let sealed = sealed.filter(|(stream, checksum)| xxh3_64(stream).to_be_bytes() == **checksum);
    sealed.map(|(stream, _)| stream).ok_or(BadBatch::Damaged(bytes.len()))
}

/// The Arrow reader trusts offsets inside the bytes and panics when they lie; the checksum rules out accidents, this forgeries.
fn guarded<T>(bytes: &[u8], read: impl FnOnce() -> Result<T, BadBatch>) -> Result<T, BadBatch> {
    // What was half read is dropped.
    catch_unwind(AssertUnwindSafe(read)).unwrap_or(Err(BadBatch::Damaged(bytes.len())))
}

/// Reads the columns that [`fields`](super::fields) names.
pub(in crate::topics) fn rows_of(
    columns: &Columns<'_>,
    first: &'static str,
    rows: &mut Vec<Row>,
) -> Result<(), BadBatch> {
    let mut found = Vec::with_capacity(columns.batch.num_rows());
    seen(columns, first, &mut found)?;
    for row in found {
        rows.push(row.to_row()?);
    }
    Ok(())
}

/// The rows of a batch where they lie, each checked.
fn seen<'a>(columns: &Columns<'a>, first: &'static str, rows: &mut Vec<Seen<'a>>) -> Result<(), BadBatch> {
    let second: &Int64Array = columns.get(first)?;
    let (instance, schema, user): (&StringArray, &StringArray, &StringArray) =
        (columns.get("instance")?, columns.get("schema")?, columns.get("user")?);
    let digest: &FixedSizeBinaryArray = columns.get("digest")?;
    let source: &StringArray = columns.get("source")?;
    let (sample_factor, folded): (&UInt32Array, &UInt32Array) = (columns.get("sample_factor")?, columns.get("folded")?);
    let number = |column| columns.get::<UInt64Array>(column);
    let (count, errors) = (number("count")?, number("errors")?);
    let (rows_sent, rows_affected) = (number("rows_sent")?, number("rows_affected")?);
    let (rows_examined, lock_us) = (number("rows_examined")?, number("lock_us")?);
    let (bytes_in, bytes_out) = (number("bytes_in")?, number("bytes_out")?);
    let (rt_sum_us, rt_min_us, rt_max_us) = (number("rt_sum_us")?, number("rt_min_us")?, number("rt_max_us")?);
    let (rt_first, rt_last): (&BinaryArray, &BinaryArray) = (columns.get("rt_first")?, columns.get("rt_last")?);
    let (killed, timed_out) = (columns.later::<UInt64Array>("killed")?, columns.later::<UInt64Array>("timed_out")?);
    let maybe = |array: &UInt64Array, row| (!array.is_null(row)).then(|| array.value(row));
    for row in 0..columns.batch.num_rows() {
        let mut id = [0; 16];
        id.copy_from_slice(digest.value(row));
        let instance = instance.value(row);
        // Most batches are of one instance.
        if rows.last().is_none_or(|before| before.instance != instance) {
            InstanceId::parse(instance)?;
        }
        rows.push(Seen {
            second: second.value(row),
            instance,
            schema: schema.value(row),
            user: user.value(row),
            digest: DigestId(id),
            source: Source::named(source.value(row)).ok_or_else(|| BadBatch::Source(source.value(row).to_owned()))?,
            sample_factor: sample_factor.value(row),
            count: count.value(row),
            errors: errors.value(row),
            rows_sent: rows_sent.value(row),
            rows_affected: rows_affected.value(row),
            rows_examined: maybe(rows_examined, row),
            lock_us: maybe(lock_us, row),
            bytes_in: bytes_in.value(row),
            bytes_out: bytes_out.value(row),
            rt_sum_us: rt_sum_us.value(row),
            rt_min_us: rt_min_us.value(row),
            rt_max_us: rt_max_us.value(row),
            rt_first: packed("rt_first", rt_first.value(row))?,
            rt_last: packed("rt_last", rt_last.value(row))?,
            folded: folded.value(row),
            killed: killed.and_then(|killed| maybe(killed, row)),
            timed_out: timed_out.and_then(|timed_out| maybe(timed_out, row)),
        });
    }
    Ok(())
}

fn packed<'a>(column: &'static str, bytes: &'a [u8]) -> Result<Packed<'a>, BadBatch> {
    Packed::read(bytes).map_err(|error| BadBatch::Sketch { column, error })
}

/// The columns of a batch by name, checked against the schema.
pub(in crate::topics) struct Columns<'a> {
    /// The batch.
    pub(in crate::topics) batch: &'a RecordBatch,
    /// What it should be.
    pub(in crate::topics) schema: &'a Schema,
}

impl<'a> Columns<'a> {
    /// The column of this name, with the type and the values that the schema asks for.
    pub(in crate::topics) fn get<A: Array + 'static>(&self, column: &'static str) -> Result<&'a A, BadBatch> {
        let field = self.schema.field_with_name(column)?;
        let array = self.batch.column_by_name(column).ok_or(BadBatch::Missing(column))?;
        let mistyped =
            || BadBatch::Type { column, found: array.data_type().clone(), expected: field.data_type().clone() };
        if array.data_type() != field.data_type() {
            return Err(mistyped());
        }
        if !field.is_nullable()
            && array.null_count() > 0
            && let Some(row) = (0..array.len()).find(|row| array.is_null(*row))
        {
            return Err(BadBatch::Null { column, row });
        }
        array.as_any().downcast_ref().ok_or_else(mistyped)
    }

    /// The same for a column that batches of earlier versions do not have.
    fn later<A: Array + 'static>(&self, column: &'static str) -> Result<Option<&'a A>, BadBatch> {
        self.batch.column_by_name(column).map(|_| self.get(column)).transpose()
    }
}
