//! Batches that lie as our own writer lays them: one batch of exactly the columns of the schema, none of them packed. Sealed bytes
//! in, rows out, without a copy: Arrow's reader copies the batch and builds each column anew, which costs as much as adding up its
//! rows. Whatever is otherwise, or wrong, is left to that reader, which knows more layouts and says what is wrong.

use std::slice::Iter;

use arrow::ipc::{Buffer, FieldNode, MetadataVersion, root_as_message};

use super::write::{ALIGNMENT, BEGIN, END};
use super::{Seen, Source};
use crate::ids::{DigestId, InstanceId};
use crate::sketch::Packed;

/// The rows of a stream that begins with `head`; none where it lies otherwise.
pub(super) fn rows<'a>(stream: &'a [u8], head: &[u8]) -> Option<Vec<Seen<'a>>> {
    let (length, rest) = stream.strip_prefix(head)?.strip_prefix(&BEGIN)?.split_first_chunk()?;
    let (description, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    let message = root_as_message(description).ok()?;
    let batch = message.header_as_record_batch()?;
    let body = rest.strip_suffix(&END)?;
    let is_known = message.version() == MetadataVersion::V5 && batch.compression().is_none();
    if !is_known || body.len() as i64 != message.bodyLength() {
        return None;
    }
    let (nodes, parts) = (batch.nodes()?, batch.buffers()?);
    let (nodes, parts): (Vec<_>, Vec<_>) = (nodes.iter().collect(), parts.iter().collect());
    let rows = usize::try_from(batch.length()).ok()?;
    let mut body = Body { bytes: body, rows, columns: nodes.iter(), parts: parts.iter(), next: 0 };
    let columns = Columns::of(&mut body)?;
    if body.columns.next().is_some() || body.parts.next().is_some() {
        return None;
    }
    let mut found: Vec<Seen<'a>> = Vec::with_capacity(rows);
    for row in 0..rows {
        let seen = columns.row(row)?;
        // Most batches are of one instance.
        if found.last().is_none_or(|before| before.instance != seen.instance) {
            InstanceId::parse(seen.instance).ok()?;
        }
        found.push(seen);
    }
    Some(found)
}

/// The bytes of a batch, and which columns and parts of them come next.
struct Body<'a, 'm> {
    bytes: &'a [u8],
    rows: usize,
    columns: Iter<'m, &'m FieldNode>,
    parts: Iter<'m, &'m Buffer>,
    /// Where the next part begins.
    next: usize,
}

impl<'a> Body<'a, '_> {
    /// How many values the next column lacks.
    fn column(&mut self) -> Option<usize> {
        let node = self.columns.next()?;
        (node.length() == self.rows as i64).then_some(())?;
        usize::try_from(node.null_count()).ok().filter(|missing| *missing <= self.rows)
    }

    /// Begins a column that lacks none: nothing needs to say which.
    fn whole(&mut self) -> Option<()> {
        (self.column()? == 0).then_some(())?;
        self.part().map(|_| ())
    }

    fn part(&mut self) -> Option<&'a [u8]> {
        let part = self.parts.next()?;
        let (from, length) = (usize::try_from(part.offset()).ok()?, usize::try_from(part.length()).ok()?);
        let part = self.bytes.get(from..from.checked_add(length)?).filter(|_| from == self.next)?;
        self.next = (from + length).next_multiple_of(ALIGNMENT);
        Some(part)
    }

    /// The values of one part, each of as many bytes.
    fn values<const N: usize>(&mut self, number: usize) -> Option<&'a [[u8; N]]> {
        let (values, rest) = self.part()?.as_chunks();
        (rest.is_empty() && values.len() == number).then_some(values)
    }

    fn fixed<const N: usize>(&mut self) -> Option<&'a [[u8; N]]> {
        self.whole()?;
        self.values(self.rows)
    }

    fn maybe(&mut self) -> Option<Maybe<'a>> {
        let missing = self.column()?;
        let known = self.part()?;
        let known = if missing > 0 { Some(known.get(..self.rows.div_ceil(8))?) } else { None };
        Some(Maybe { known, values: self.values(self.rows)? })
    }

    fn varied(&mut self) -> Option<Varied<'a>> {
        self.whole()?;
        Some(Varied { ends: self.values(self.rows + 1)?, bytes: self.part()? })
    }

    fn texts(&mut self) -> Option<Texts<'a>> {
        let Varied { ends, bytes } = self.varied()?;
        let used = bytes.get(..at(ends, self.rows)?)?;
        Some(Texts { ends, text: std::str::from_utf8(used).ok()? })
    }
}

/// Numbers of which some may be missing; then a bit for each says which are known.
struct Maybe<'a> {
    known: Option<&'a [u8]>,
    values: &'a [[u8; 8]],
}

impl Maybe<'_> {
    fn get(&self, row: usize) -> Option<u64> {
        let is_known = self.known.is_none_or(|known| (known[row / 8] >> (row % 8)) & 1 == 1);
        is_known.then(|| number(self.values, row))
    }
}

/// Values one behind the other, and where each ends; before them all, where the first begins.
struct Varied<'a> {
    ends: &'a [[u8; 4]],
    bytes: &'a [u8],
}

impl<'a> Varied<'a> {
    fn get(&self, row: usize) -> Option<&'a [u8]> {
        self.bytes.get(at(self.ends, row)?..at(self.ends, row + 1)?)
    }
}

struct Texts<'a> {
    ends: &'a [[u8; 4]],
    text: &'a str,
}

impl<'a> Texts<'a> {
    fn get(&self, row: usize) -> Option<&'a str> {
        self.text.get(at(self.ends, row)?..at(self.ends, row + 1)?)
    }
}

fn at(ends: &[[u8; 4]], row: usize) -> Option<usize> {
    usize::try_from(i32::from_le_bytes(*ends.get(row)?)).ok()
}

fn number(values: &[[u8; 8]], row: usize) -> u64 {
    u64::from_le_bytes(values[row])
}

/// The columns that [`fields`](super::fields) names.
struct Columns<'a> {
    second: &'a [[u8; 8]],
    instance: Texts<'a>,
    schema: Texts<'a>,
    user: Texts<'a>,
    digest: &'a [[u8; 16]],
    source: Texts<'a>,
    sample_factor: &'a [[u8; 4]],
    count: &'a [[u8; 8]],
    errors: &'a [[u8; 8]],
    rows_sent: &'a [[u8; 8]],
    rows_affected: &'a [[u8; 8]],
    rows_examined: Maybe<'a>,
    lock_us: Maybe<'a>,
    bytes_in: &'a [[u8; 8]],
    bytes_out: &'a [[u8; 8]],
    rt_sum_us: &'a [[u8; 8]],
    rt_min_us: &'a [[u8; 8]],
    rt_max_us: &'a [[u8; 8]],
    rt_first: Varied<'a>,
    rt_last: Varied<'a>,
    folded: &'a [[u8; 4]],
    killed: Maybe<'a>,
    timed_out: Maybe<'a>,
}

impl<'a> Columns<'a> {
    /// In the order in which they lie.
    fn of(body: &mut Body<'a, '_>) -> Option<Self> {
        Some(Self {
            second: body.fixed()?,
            instance: body.texts()?,
            schema: body.texts()?,
            user: body.texts()?,
            digest: body.fixed()?,
            source: body.texts()?,
            sample_factor: body.fixed()?,
            count: body.fixed()?,
            errors: body.fixed()?,
            rows_sent: body.fixed()?,
            rows_affected: body.fixed()?,
            rows_examined: body.maybe()?,
            lock_us: body.maybe()?,
            bytes_in: body.fixed()?,
            bytes_out: body.fixed()?,
            rt_sum_us: body.fixed()?,
            rt_min_us: body.fixed()?,
            rt_max_us: body.fixed()?,
            rt_first: body.varied()?,
            rt_last: body.varied()?,
            folded: body.fixed()?,
            killed: body.maybe()?,
            timed_out: body.maybe()?,
        })
    }

    #[inline]
    fn row(&self, row: usize) -> Option<Seen<'a>> {
        Some(Seen {
            second: i64::from_le_bytes(self.second[row]),
            instance: self.instance.get(row)?,
            schema: self.schema.get(row)?,
            user: self.user.get(row)?,
            digest: DigestId(self.digest[row]),
            source: Source::named(self.source.get(row)?)?,
            sample_factor: u32::from_le_bytes(self.sample_factor[row]),
            count: number(self.count, row),
            errors: number(self.errors, row),
            rows_sent: number(self.rows_sent, row),
            rows_affected: number(self.rows_affected, row),
            rows_examined: self.rows_examined.get(row),
            lock_us: self.lock_us.get(row),
            bytes_in: number(self.bytes_in, row),
            bytes_out: number(self.bytes_out, row),
            rt_sum_us: number(self.rt_sum_us, row),
            rt_min_us: number(self.rt_min_us, row),
            rt_max_us: number(self.rt_max_us, row),
            rt_first: Packed::read(self.rt_first.get(row)?).ok()?,
            rt_last: Packed::read(self.rt_last.get(row)?).ok()?,
            folded: u32::from_le_bytes(self.folded[row]),
            killed: self.killed.get(row),
            timed_out: self.timed_out.get(row),
        })
    }
}
