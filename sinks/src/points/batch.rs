//! What the headers of a batch of `queries` say, whoever counted: whose it is, and at which moments its points lie.

use millrace_schemas::event::Unreadable;
use millrace_schemas::marks::Sequence;
use millrace_schemas::record::Record;
use millrace_schemas::time::Timestamp;

/// 1,000 batches of an instance have a place of their own in a second: an agent sends one to five in it. Stores keep milliseconds.
const PLACES: u64 = 1_000;

/// A batch, before it is unpacked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch<'a> {
    pub(super) cluster: &'a str,
    pub(super) producer: &'a str,
    pub(super) value: &'a [u8],
    place: u64,
}

impl<'a> Batch<'a> {
    pub(super) fn of(record: &'a Record) -> Result<Self, Unreadable> {
        let malformed = |what: &str| Unreadable::Malformed(what.to_owned());
        let header = |name: &str| {
            record.headers.get(name).map(String::as_str).ok_or_else(|| malformed(&format!("no header says the {name}")))
        };
        let (cluster, producer, sequence) = (header("cluster")?, header("producer")?, header("sequence")?);
        let sequence = Sequence::parse(sequence)
            .ok_or_else(|| malformed(&format!("the header 'sequence' is '{sequence}', not INCARNATION-COUNTER")))?;
        let value = record.value.as_deref().ok_or_else(|| malformed("the record has no value"))?;
        Ok(Self { cluster, producer, value, place: sequence.incarnation.wrapping_add(sequence.counter) % PLACES })
    }

    /// Where its points of a second lie: at a millisecond that this batch alone has there, so that two batches of one second are both
    /// there, and one that is read again is there once.
    pub(super) fn at(&self, second: i64) -> Timestamp {
        Timestamp(second.saturating_mul(1_000_000).saturating_add(self.place as i64 * 1_000))
    }
}
