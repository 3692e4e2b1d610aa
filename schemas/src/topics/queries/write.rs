//! Writing batches: rows in, sealed bytes out. Our columns are always the same, so they are written where they lie in a stream of
//! Arrow, one behind the other, without an array for each; a test holds the bytes against those of Arrow's own writer. Who writes
//! one batch after the other keeps a [`Writer`]: fresh memory for 100 KB costs more than what is written into it.

use std::borrow::Borrow;

use arrow::datatypes::Schema;
use arrow::ipc::writer::StreamWriter;
use arrow::ipc::{Buffer, FieldNode, MessageBuilder, MessageHeader, MetadataVersion, RecordBatchBuilder};
use flatbuffers::FlatBufferBuilder;
use xxhash_rust::xxh3::xxh3_64;

use super::{BadBatch, Row};
use crate::sketch::Sketch;

/// 64 bytes: what Arrow's own writer makes each message and each part of a body a multiple of.
pub(super) const ALIGNMENT: usize = 64;
/// What begins a message: this, and the length of its description.
pub(super) const BEGIN: [u8; 4] = [0xff; 4];
/// A message of no bytes ends the stream.
pub(super) const END: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];

/// Writes batches of one schema, each as a stream of its own with a checksum behind its end.
pub(in crate::topics) struct Writer {
    /// What each stream says first: the columns that follow.
    head: Vec<u8>,
    /// How long the description of the last batch was: that of the next one is as long, unless it is the first without rows.
    room: usize,
    body: Body,
    description: FlatBufferBuilder<'static>,
}

impl Writer {
    pub(in crate::topics) fn new(schema: &Schema) -> Result<Self, BadBatch> {
        Ok(Self { head: head(schema)?, room: 0, body: Body::default(), description: FlatBufferBuilder::new() })
    }

    /// A batch of so many rows, whose columns `write` writes, in the order of the schema. It stands until the next one.
    pub(in crate::topics) fn write(&mut self, rows: usize, write: impl FnOnce(&mut Body)) -> &[u8] {
        let Self { head, room, body, description } = self;
        body.begin(head, *room);
        write(body);
        body.describe(rows, description);
        let description = description.finished_data();
        let length = (BEGIN.len() + 4 + description.len()).next_multiple_of(ALIGNMENT);
        let stream = &mut body.stream;
        if length != *room {
            stream.splice(head.len()..head.len() + *room, std::iter::repeat_n(0, length));
            *room = length;
        }
        let place = &mut stream[head.len()..head.len() + length];
        place.fill(0);
        place[..4].copy_from_slice(&BEGIN);
        place[4..8].copy_from_slice(&((length - BEGIN.len() - 4) as u32).to_le_bytes());
        place[8..8 + description.len()].copy_from_slice(description);
        stream.extend_from_slice(&END);
        stream.extend_from_slice(&xxh3_64(stream).to_be_bytes());
        stream
    }

    /// The same for who keeps the batch. Those of a topic are about as long as each other: so is the memory of the next one.
    pub(in crate::topics) fn hand_over(&mut self, rows: usize, write: impl FnOnce(&mut Body)) -> Vec<u8> {
        let length = self.write(rows, write).len();
        std::mem::replace(&mut self.body.stream, Vec::with_capacity(length + length / 8))
    }
}

/// What a stream of this schema says first.
pub(super) fn head(schema: &Schema) -> Result<Vec<u8>, BadBatch> {
    Ok(StreamWriter::try_new(Vec::new(), schema)?.get_ref().clone())
}

/// The columns of a batch, behind what its stream says before them.
#[derive(Default)]
pub(in crate::topics) struct Body {
    stream: Vec<u8>,
    /// Where they begin.
    from: usize,
    /// How many values each column has, and how many are missing.
    columns: Vec<FieldNode>,
    /// Where the parts of each column lie.
    parts: Vec<Buffer>,
}

impl Body {
    /// A stream that begins with `head`, and has `room` for the description of its batch.
    fn begin(&mut self, head: &[u8], room: usize) {
        self.columns.clear();
        self.parts.clear();
        self.stream.clear();
        self.stream.extend_from_slice(head);
        self.stream.resize(head.len() + room, 0);
        self.from = self.stream.len();
    }

    /// Numbers, and what else has always as many bytes.
    pub(in crate::topics) fn fixed<const N: usize>(&mut self, values: impl ExactSizeIterator<Item = [u8; N]>) {
        self.column(values.len());
        self.part(|bytes| {
            let from = bytes.len();
            bytes.resize(from + N * values.len(), 0);
            let places = bytes[from..].as_chunks_mut().0;
            places.iter_mut().zip(values).for_each(|(place, value)| *place = value);
        });
    }

    /// Numbers of which some may be missing.
    pub(in crate::topics) fn maybe(&mut self, values: impl ExactSizeIterator<Item = Option<u64>> + Clone) {
        let missing = values.clone().filter(Option::is_none).count();
        self.columns.push(FieldNode::new(values.len() as i64, missing as i64));
        self.part(|bytes| {
            if missing > 0 {
                put_bits(bytes, values.clone().map(|value| value.is_some()));
            }
        });
        self.part(|bytes| values.for_each(|value| bytes.extend_from_slice(&value.unwrap_or(0).to_le_bytes())));
    }

    pub(in crate::topics) fn bits(&mut self, values: impl ExactSizeIterator<Item = bool>) {
        self.column(values.len());
        self.part(|bytes| put_bits(bytes, values));
    }

    pub(in crate::topics) fn texts<'a>(&mut self, values: impl ExactSizeIterator<Item = &'a str>) {
        self.varied(values, |text, bytes| bytes.extend_from_slice(text.as_bytes()));
    }

    pub(in crate::topics) fn sketches<'a>(&mut self, values: impl ExactSizeIterator<Item = &'a Sketch>) {
        self.varied(values, Sketch::write_to);
    }

    /// What `write` writes of each value, one behind the other; before all of it, where each ends.
    fn varied<T>(&mut self, values: impl ExactSizeIterator<Item = T>, write: impl Fn(T, &mut Vec<u8>)) {
        self.column(values.len());
        let ends = self.stream.len();
        self.part(|bytes| bytes.resize(ends + 4 * (1 + values.len()), 0));
        self.part(|bytes| {
            let from = bytes.len();
            for (at, value) in values.enumerate() {
                write(value, bytes);
                let end = i32::try_from(bytes.len() - from).expect("a batch is far below 2 GiB");
                let place = ends + 4 * (1 + at);
                bytes[place..place + 4].copy_from_slice(&end.to_le_bytes());
            }
        });
    }

    /// Begins a column of so many values, of which none is missing.
    fn column(&mut self, values: usize) {
        self.columns.push(FieldNode::new(values as i64, 0));
        self.part(|_| {});
    }

    /// Adds a part of the column that was begun.
    fn part(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let from = self.stream.len() - self.from;
        write(&mut self.stream);
        let to = self.stream.len() - self.from;
        self.parts.push(Buffer::new(from as i64, (to - from) as i64));
        self.stream.resize(self.from + to.next_multiple_of(ALIGNMENT), 0);
    }

    /// Says what it is, as Arrow's own writer does, in the same order.
    fn describe(&self, rows: usize, into: &mut FlatBufferBuilder<'_>) {
        into.reset();
        let parts = into.create_vector(&self.parts);
        let columns = into.create_vector(&self.columns);
        let mut batch = RecordBatchBuilder::new(into);
        batch.add_length(rows as i64);
        batch.add_nodes(columns);
        batch.add_buffers(parts);
        let batch = batch.finish();
        let mut message = MessageBuilder::new(into);
        message.add_version(MetadataVersion::V5);
        message.add_header_type(MessageHeader::RecordBatch);
        message.add_bodyLength((self.stream.len() - self.from) as i64);
        message.add_header(batch.as_union_value());
        let message = message.finish();
        into.finish(message, None);
    }
}

/// Appends a bit for each, the first lowest.
fn put_bits(bytes: &mut Vec<u8>, bits: impl ExactSizeIterator<Item = bool>) {
    let from = bytes.len();
    bytes.resize(from + bits.len().div_ceil(8), 0);
    for (at, bit) in bits.enumerate() {
        bytes[from + at / 8] |= u8::from(bit) << (at % 8);
    }
}

/// Writes the columns that [`fields`](super::fields) names.
pub(in crate::topics) fn measures<'a, I: AsRef<str> + 'a, T: AsRef<str> + 'a, S: Borrow<Sketch> + 'a>(
    body: &mut Body,
    rows: impl ExactSizeIterator<Item = &'a Row<I, T, S>> + Clone,
) {
    body.fixed(rows.clone().map(|row| row.second.to_le_bytes()));
    body.texts(rows.clone().map(|row| row.instance.as_ref()));
    body.texts(rows.clone().map(|row| row.schema.as_ref()));
    body.texts(rows.clone().map(|row| row.user.as_ref()));
    body.fixed(rows.clone().map(|row| row.digest.0));
    body.texts(rows.clone().map(|row| row.source.as_str()));
    body.fixed(rows.clone().map(|row| row.sample_factor.to_le_bytes()));
    body.fixed(rows.clone().map(|row| row.count.to_le_bytes()));
    body.fixed(rows.clone().map(|row| row.errors.to_le_bytes()));
    body.fixed(rows.clone().map(|row| row.rows_sent.to_le_bytes()));
    body.fixed(rows.clone().map(|row| row.rows_affected.to_le_bytes()));
    body.maybe(rows.clone().map(|row| row.rows_examined));
    body.maybe(rows.clone().map(|row| row.lock_us));
    body.fixed(rows.clone().map(|row| row.bytes_in.to_le_bytes()));
    body.fixed(rows.clone().map(|row| row.bytes_out.to_le_bytes()));
    body.fixed(rows.clone().map(|row| row.rt_sum_us.to_le_bytes()));
    body.fixed(rows.clone().map(|row| row.rt_min_us.to_le_bytes()));
    body.fixed(rows.clone().map(|row| row.rt_max_us.to_le_bytes()));
    body.sketches(rows.clone().map(|row| row.rt_first.borrow()));
    body.sketches(rows.clone().map(|row| row.rt_last.borrow()));
    body.fixed(rows.clone().map(|row| row.folded.to_le_bytes()));
    body.maybe(rows.clone().map(|row| row.killed));
    body.maybe(rows.map(|row| row.timed_out));
}
