//! A record of Arrow rows, of `queries` or of `windows`: its headers say whose rows they are, who made them, and as his which. A record
//! enters and a [`Batch`] leaves, or back; the rows themselves are the topic's. What the headers do not say is an error: rows of nobody
//! can be added to nothing, and rows without a number may be there twice.

use std::error::Error;

use super::Topic;
use crate::ids::{ClusterId, InstanceId};
use crate::marks::{BadSequence, Sequence};
use crate::record::{Bytes, Headers, NewRecord, Record};

/// A batch of rows, not yet unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch<'a> {
    /// Whose rows they are.
    pub cluster: ClusterId,
    /// Who made them.
    pub producer: &'a str,
    /// Which of its batches it is.
    pub sequence: Sequence,
    /// The rows, an Arrow stream.
    pub value: Bytes,
}

impl<'a> Batch<'a> {
    /// What the headers of `record` say; or which of them is missing or wrong.
    pub fn of(record: &'a Record) -> Result<Self, String> {
        let header = |name: &str| {
            record.headers.get(name).map(String::as_str).ok_or_else(|| format!("the header '{name}' is missing"))
        };
        let wrong = |name: &str, error: &dyn Error| format!("the header '{name}': {error}");
        let cluster = ClusterId::parse(header("cluster")?).map_err(|error| wrong("cluster", &error))?;
        let sequence = header("sequence")?.parse().map_err(|error: BadSequence| wrong("sequence", &error))?;
        let value = record.value.clone().ok_or("the record has no value")?;
        Ok(Self { cluster, producer: header("producer")?, sequence, value })
    }

    /// The record that carries it: `instance` is whom its rows are about.
    pub fn into_record(self, topic: Topic, instance: &InstanceId) -> NewRecord {
        let headers = [
            ("cluster", self.cluster.to_string()),
            ("content-type", "application/vnd.apache.arrow.stream".to_owned()),
            ("producer", self.producer.to_owned()),
            ("sequence", self.sequence.to_string()),
        ];
        NewRecord {
            topic,
            partition_key: self.cluster.to_string(),
            key: instance.to_string(),
            headers: headers.map(|(name, value)| (name.to_owned(), value)).into_iter().collect::<Headers>(),
            value: Some(self.value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    fn batch() -> Batch<'static> {
        Batch {
            cluster: ClusterId::parse("c1").expect("legal"),
            producer: "agent/h1",
            sequence: Sequence { incarnation: 7, counter: 0xab },
            value: Bytes::from_static(b"rows"),
        }
    }

    fn record() -> Record {
        let instance = InstanceId::parse("db1").expect("legal");
        batch().into_record(Topic::Queries, &instance).stored(0, 0, Timestamp::ZERO)
    }

    #[test]
    fn a_batch_is_read_as_it_was_written() {
        assert_eq!(record().headers["sequence"], "0000000000000007-00000000000000ab");
        assert_eq!(Batch::of(&record()).expect("readable"), batch());
    }

    #[test]
    fn what_the_headers_do_not_say_is_named() {
        let check = |name: &str, value: Option<&str>, expected: &str| {
            let mut record = record();
            match value {
                Some(value) => drop(record.headers.insert(name.to_owned(), value.to_owned())),
                None => drop(record.headers.remove(name)),
            }
            let error = Batch::of(&record).expect_err("unreadable");
            assert!(error.contains(expected), "{error}");
        };
        for name in ["cluster", "producer", "sequence"] {
            check(name, None, &format!("the header '{name}' is missing"));
        }
        check("cluster", Some("../c1"), "the header 'cluster': ");
        check("sequence", Some("7"), "the header 'sequence': '7' is not INCARNATION-COUNTER");
        let empty = Record { value: None, ..record() };
        assert_eq!(Batch::of(&empty).expect_err("unreadable"), "the record has no value");
    }
}
