//! A record of `dead`, as what it was: where it lay, what was wrong, and the record that would be appended if it were replayed.
//! In: records of `dead`. Out: letters, each with whether it may be replayed, and why not. It must never make up what is not in
//! the record: whose place cannot be known stays where it is.

use std::fmt;
use std::str::FromStr;

use millrace_processors::refusals;
use millrace_schemas::record::{Headers, NewRecord, Record, partition_of};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;

/// What the names of the headers begin with that tell of the death.
const ERRORS: &str = "millrace.errors.";
/// Rows of an agent or a window say here which cluster places them; their key is the instance.
const CLUSTER: &str = "cluster";

/// A place in a topic, as people write it: `PARTITION-OFFSET`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::cli) struct Place {
    pub(super) partition: u32,
    pub(super) offset: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}-{}", self.partition, self.offset))
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('-').and_then(|(partition, offset)| {
            Some(Self { partition: partition.parse().ok()?, offset: offset.parse().ok()? })
        });
        parts.ok_or_else(|| format!("'{text}' is no place: PARTITION-OFFSET, as `millrace dead list` shows it"))
    }
}

/// Where a letter lay before, and who could not use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) topic: Topic,
    pub(super) place: Place,
    pub(super) stage: String,
    pub(super) reason: String,
}

/// A record of `dead`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Letter {
    pub(super) place: Place,
    pub(super) appended: Timestamp,
    pub(super) record: Record,
    /// Or which header cannot be used.
    pub(super) origin: Result<Origin, String>,
}

impl Letter {
    pub(super) fn new(record: Record) -> Self {
        let place = Place { partition: record.partition, offset: record.offset };
        Self { place, appended: record.appended, origin: origin(&record.headers), record }
    }

    /// The topic that it was of, when that is known.
    pub(super) fn topic(&self) -> Option<Topic> {
        self.origin.as_ref().ok().map(|origin| origin.topic)
    }

    /// What replaying it appends, on a bus whose topics have so many partitions; or why it must stay where it is.
    pub(super) fn replayed(&self, partitions: u32) -> Result<NewRecord, String> {
        let origin = self.origin.as_ref().map_err(Clone::clone)?;
        if origin.stage == refusals::NAME {
            return Err(format!("it was refused, and would be again: {}", origin.reason));
        }
        if origin.topic == Topic::Dead {
            return Err("it says that it was of dead itself".to_owned());
        }
        if self.record.value.is_none() {
            return Err(
                "it has no value: what would be appended says nothing, and in a compacted topic removes".to_owned()
            );
        }
        let mut headers = self.record.headers.clone();
        headers.retain(|name, _| !name.starts_with(ERRORS));
        let key = &self.record.key;
        let partition_key = placing(&headers, key, origin.place.partition, partitions).ok_or_else(|| {
            format!(
                "its key '{key}' does not lead back to partition {} of {}, which has {partitions} partitions now",
                origin.place.partition, origin.topic
            )
        })?;
        Ok(NewRecord {
            topic: origin.topic,
            partition_key,
            key: key.clone(),
            headers,
            value: self.record.value.clone(),
        })
    }
}

/// What of a record placed it in partition `at`: the cluster of its rows, the cluster that its key begins with, or its key.
fn placing(headers: &Headers, key: &str, at: u32, partitions: u32) -> Option<String> {
    let before = key.split('/').next().unwrap_or_default();
    let mut candidates = headers.get(CLUSTER).map(String::as_str).into_iter().chain([before, key]);
    candidates.find(|one| partition_of(one, partitions) == at).map(str::to_owned)
}

fn origin(headers: &Headers) -> Result<Origin, String> {
    fn parsed<T: FromStr>(headers: &Headers, name: &str) -> Result<T, String> {
        let name = format!("{ERRORS}{name}");
        let text =
            headers.get(&name).ok_or_else(|| format!("it has no header {name}: no stage of Millrace put it there"))?;
        text.parse().map_err(|_| format!("its header {name} says '{text}', which cannot be read"))
    }
    Ok(Origin {
        topic: parsed(headers, "topic")?,
        place: Place { partition: parsed(headers, "partition")?, offset: parsed(headers, "offset")? },
        stage: parsed(headers, "stage")?,
        reason: parsed(headers, "message")?,
    })
}

/// `bytes` as people look at what is no text: offset, 16 bytes, and the characters that can be shown.
pub(super) fn hex_dump(bytes: &[u8]) -> String {
    let line = |(row, chunk): (usize, &[u8])| {
        let hex: Vec<String> = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
        let shown = |byte: &u8| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' };
        format!("{:08x}  {:47}  |{}|", row * 16, hex.join(" "), chunk.iter().map(shown).collect::<String>())
    };
    bytes.chunks(16).enumerate().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use millrace_schemas::record::Bytes;

    use super::*;

    /// A letter of `stage` from partition `at` of `topic`, of two.
    fn letter(topic: &str, at: u32, stage: &str, key: &str, cluster: Option<&str>) -> Letter {
        let told =
            [("topic", topic), ("partition", &at.to_string()), ("offset", "9"), ("stage", stage), ("message", "why")];
        let mut headers: Headers = told.map(|(name, value)| (format!("{ERRORS}{name}"), value.to_owned())).into();
        headers.extend(cluster.map(|cluster| (CLUSTER.to_owned(), cluster.to_owned())));
        Letter::new(Record {
            topic: Topic::Dead,
            partition: 0,
            offset: 3,
            appended: Timestamp(1),
            key: key.to_owned(),
            headers,
            value: Some(Bytes::from(&b"{}"[..])),
        })
    }

    #[test]
    fn a_letter_goes_back_to_where_its_cluster_is() {
        let check = |topic: &str, key: &str, cluster: Option<&str>, placed_by: &str| {
            let at = partition_of(placed_by, 2);
            let replayed = letter(topic, at, "failover", key, cluster).replayed(2).expect("it may");
            assert_eq!((replayed.topic.name(), replayed.partition_key.as_str()), (topic, placed_by));
            assert_eq!(replayed.key, key);
            assert!(replayed.headers.keys().all(|name| !name.starts_with(ERRORS)), "{:?}", replayed.headers);
        };
        check("journal", "c1", None, "c1");
        check("inventory", "c2/host/h1", None, "c2");
        check("queries", "db1", Some("c2"), "c2");
        check("queries", "db1", Some("c1"), "c1");
    }

    #[test]
    fn what_must_not_be_replayed_says_why() {
        let check = |letter: Letter, expected: &str| {
            let why = letter.replayed(2).expect_err(expected);
            assert!(why.contains(expected), "{why}");
        };
        let here = partition_of("c1", 2);
        check(letter("journal", here, "refusals", "c1", None), "it was refused, and would be again: why");
        check(letter("dead", here, "failover", "c1", None), "of dead itself");
        check(letter("journal", 1 - here, "failover", "c1", None), "does not lead back to partition");
        check(letter("journals", here, "failover", "c1", None), "says 'journals', which cannot be read");
        let mut empty = letter("journal", here, "failover", "c1", None);
        empty.record.value = None;
        check(empty, "it has no value");
        let mut foreign = letter("journal", here, "failover", "c1", None).record;
        foreign.headers.remove("millrace.errors.stage");
        check(Letter::new(foreign), "it has no header millrace.errors.stage");
    }

    #[test]
    fn places_are_read_as_they_are_written() {
        let check = |text: &str, expected: Option<(u32, u64)>| {
            let place = text.parse::<Place>().ok();
            assert_eq!(place.map(|place| (place.partition, place.offset)), expected, "{text}");
            assert!(place.is_none_or(|place| place.to_string() == text), "{text}");
        };
        check("0-17", Some((0, 17)));
        check("23-18446744073709551615", Some((23, u64::MAX)));
        for wrong in ["", "17", "0-", "-1", "0-x", "0-1-2", "99999999999-1"] {
            check(wrong, None);
        }
    }

    #[test]
    fn a_dump_shows_offsets_bytes_and_characters() {
        assert_eq!(hex_dump(b""), "");
        let dump = hex_dump(b"0123456789abcdef\x00\xff z");
        let lines: Vec<&str> = dump.lines().collect();
        assert_eq!(lines[0], "00000000  30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66  |0123456789abcdef|");
        assert_eq!(lines[1], format!("00000010  {:47}  |.. z|", "00 ff 20 7a"));
        assert!(lines.iter().all(|line| line.len() <= 80));
    }
}
