//! Writing batches: rows in, sealed bytes out. Who writes one after the other keeps a [`Sealer`] and a [`Room`]: what is written in
//! them is overwritten by the next batch, since fresh memory for 100 KB costs more than the writing. The bytes are those of Arrow's
//! own stream writer, whatever was written before.

use std::borrow::Borrow;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, FixedSizeBinaryArray, Int64Array, RecordBatch, StringArray, UInt32Array, UInt64Array,
};
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::datatypes::Schema;
use arrow::ipc::writer::StreamWriter;
use xxhash_rust::xxh3::xxh3_64;

use super::{BadBatch, Row};
use crate::ids::DigestId;
use crate::sketch::Sketch;

/// What ends a stream of Arrow: a message of no bytes.
const END: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];

/// Writes batches of one schema, each as a stream of its own with a checksum behind its end.
pub(in crate::topics) struct Sealer {
    /// Its bytes begin with what the stream says of its columns, which is the same for each batch.
    writer: StreamWriter<Vec<u8>>,
    head: usize,
}

impl Sealer {
    pub(in crate::topics) fn new(schema: &Schema) -> Result<Self, BadBatch> {
        let writer = StreamWriter::try_new(Vec::new(), schema)?;
        let head = writer.get_ref().len();
        Ok(Self { writer, head })
    }

    /// The batch as bytes, until the next one.
    pub(in crate::topics) fn seal(&mut self, batch: &RecordBatch) -> Result<&[u8], BadBatch> {
        self.writer.get_mut().truncate(self.head);
        self.writer.write(batch)?;
        let bytes = self.writer.get_mut();
        bytes.extend_from_slice(&END);
        bytes.extend_from_slice(&xxh3_64(bytes).to_be_bytes());
        Ok(bytes)
    }
}

/// The batch as bytes, for who writes no other.
pub(in crate::topics) fn sealed(batch: &RecordBatch) -> Result<Vec<u8>, BadBatch> {
    Sealer::new(&batch.schema())?.seal(batch).map(<[u8]>::to_vec)
}

/// Room for the sketches of a batch.
#[derive(Default)]
pub(in crate::topics) struct Room([Vec<u8>; 2]);

impl Room {
    /// That of a batch which nobody holds any more; nothing where somebody does.
    pub(in crate::topics) fn of(batch: RecordBatch) -> Self {
        let column = |name| batch.column_by_name(name).and_then(|column| column.as_any().downcast_ref::<BinaryArray>());
        let [first, last] = ["rt_first", "rt_last"].map(|name| column(name).map(|column| column.values().clone()));
        drop(batch);
        let back = |bytes: Option<Buffer>| bytes.and_then(|bytes| bytes.into_vec().ok()).unwrap_or_default();
        Self([back(first), back(last)])
    }
}

/// The columns that [`fields`](super::fields) names.
pub(in crate::topics) fn columns<'a, I: AsRef<str> + 'a, T: AsRef<str> + 'a, S: Borrow<Sketch> + 'a>(
    rows: impl ExactSizeIterator<Item = &'a Row<I, T, S>> + Clone,
    Room([first, last]): Room,
) -> Result<Vec<ArrayRef>, BadBatch> {
    let smalls =
        |get: fn(&Row<I, T, S>) -> u32| -> ArrayRef { Arc::new(UInt32Array::from_iter_values(rows.clone().map(get))) };
    let mut digests = Vec::with_capacity(rows.len() * size_of::<DigestId>());
    rows.clone().for_each(|row| digests.extend_from_slice(&row.digest.0));
    Ok(vec![
        Arc::new(Int64Array::from_iter_values(rows.clone().map(|r| r.second))),
        texts(rows.clone().map(|r| r.instance.as_ref())),
        texts(rows.clone().map(|r| r.schema.as_ref())),
        texts(rows.clone().map(|r| r.user.as_ref())),
        Arc::new(FixedSizeBinaryArray::try_new(16, Buffer::from_vec(digests), None)?),
        texts(rows.clone().map(|r| r.source.as_str())),
        smalls(|r| r.sample_factor),
        numbers(rows.clone().map(|r| r.count)),
        numbers(rows.clone().map(|r| r.errors)),
        numbers(rows.clone().map(|r| r.rows_sent)),
        numbers(rows.clone().map(|r| r.rows_affected)),
        Arc::new(rows.clone().map(|r| r.rows_examined).collect::<UInt64Array>()),
        Arc::new(rows.clone().map(|r| r.lock_us).collect::<UInt64Array>()),
        numbers(rows.clone().map(|r| r.bytes_in)),
        numbers(rows.clone().map(|r| r.bytes_out)),
        numbers(rows.clone().map(|r| r.rt_sum_us)),
        numbers(rows.clone().map(|r| r.rt_min_us)),
        numbers(rows.clone().map(|r| r.rt_max_us)),
        sketches(rows.clone().map(|r| r.rt_first.borrow()), first)?,
        sketches(rows.clone().map(|r| r.rt_last.borrow()), last)?,
        smalls(|r| r.folded),
    ])
}

fn numbers(values: impl Iterator<Item = u64>) -> ArrayRef {
    Arc::new(UInt64Array::from_iter_values(values))
}

fn texts<'a>(values: impl Iterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

/// All sketches of a column, one behind the other.
fn sketches<'a>(sketches: impl Iterator<Item = &'a Sketch>, mut bytes: Vec<u8>) -> Result<ArrayRef, BadBatch> {
    bytes.clear();
    let lengths: Vec<usize> = sketches
        .map(|sketch| {
            let before = bytes.len();
            sketch.write_to(&mut bytes);
            bytes.len() - before
        })
        .collect();
    Ok(Arc::new(BinaryArray::try_new(OffsetBuffer::from_lengths(lengths), Buffer::from_vec(bytes), None)?))
}
