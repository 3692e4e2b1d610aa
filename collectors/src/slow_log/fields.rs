//! The pairs of header lines: `Key: value  Key: value`. A line enters, an entry knows more. Servers write the same keys in the same
//! order entry after entry, so that the key which came next the last time is tried first. It must never give a value to another key
//! than the one that it stands behind, and remembers no more keys than its limit.

use super::SlowEntry;
use super::text::{integer, micros};

/// 64 keys are remembered; servers write some thirty. What comes beyond is looked up each time.
const KNOWN_MAX: usize = 64;

/// What a server says of a statement, and its name here. MariaDB and Percona Server say `Yes`, MySQL counts.
const MARKS: [(&[u8], u16); 12] = [
    (b"Full_scan", 1),
    (b"Full_join", 1 << 1),
    (b"Tmp_table", 1 << 2),
    (b"Created_tmp_tables", 1 << 2),
    (b"Tmp_table_on_disk", 1 << 3),
    (b"Created_tmp_disk_tables", 1 << 3),
    (b"Filesort", 1 << 4),
    (b"Sort_scan_count", 1 << 4),
    (b"Sort_range_count", 1 << 4),
    (b"Filesort_on_disk", 1 << 5),
    (b"Sort_merge_passes", 1 << 5),
    (b"QC_hit", 1 << 6),
];
const NAMES: [&str; 7] =
    ["full_scan", "full_join", "tmp_table", "tmp_table_on_disk", "filesort", "filesort_on_disk", "query_cache_hit"];

/// How a statement was carried out, as far as the server says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks(u16);

impl Marks {
    /// Nothing is said.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What is said, each once.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES.into_iter().enumerate().filter_map(move |(bit, name)| (self.0 & (1 << bit) != 0).then_some(name))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    QueryTime,
    LockTime,
    RowsSent,
    RowsExamined,
    RowsAffected,
    BytesSent,
    BytesReceived,
    Thread,
    Error,
    Schema,
    Mark(u16),
    Sampled,
    Other,
}

impl Field {
    fn of(key: &[u8]) -> Field {
        match key {
            b"Query_time" => Field::QueryTime,
            b"Lock_time" => Field::LockTime,
            b"Rows_sent" => Field::RowsSent,
            b"Rows_examined" => Field::RowsExamined,
            b"Rows_affected" => Field::RowsAffected,
            b"Bytes_sent" => Field::BytesSent,
            b"Bytes_received" => Field::BytesReceived,
            b"Thread_id" => Field::Thread,
            // Percona Server calls it the last one.
            b"Errno" | b"Last_errno" => Field::Error,
            b"Schema" => Field::Schema,
            // Percona Server says in each entry that it wrote only one of so many.
            b"Log_slow_rate_limit" => Field::Sampled,
            _ => MARKS.iter().find(|(known, _)| *known == key).map_or(Field::Other, |(_, bit)| Field::Mark(*bit)),
        }
    }

    /// Takes the value; numbers that are none make the header unreadable.
    #[inline]
    fn take(self, value: &[u8], entry: &mut SlowEntry) -> Option<()> {
        match self {
            Field::QueryTime => entry.query_time_us = micros(value)?,
            Field::LockTime => entry.lock_time_us = micros(value)?,
            Field::RowsSent => entry.rows_sent = integer(value)?,
            Field::RowsExamined => entry.rows_examined = integer(value)?,
            Field::RowsAffected => entry.rows_affected = Some(integer(value)?),
            Field::BytesSent => entry.bytes_sent = Some(integer(value)?),
            Field::BytesReceived => entry.bytes_received = integer(value)?,
            Field::Thread => entry.thread = Some(integer(value)?),
            Field::Error => entry.error = Some(integer(value)?.try_into().ok()?),
            Field::Schema => String::from_utf8_lossy(value).as_ref().clone_into(&mut entry.schema),
            Field::Mark(bit) if value != b"0" && (value == b"Yes" || integer(value).is_some_and(|count| count > 0)) => {
                entry.marks.0 |= bit;
            }
            Field::Other | Field::Mark(_) => {}
            Field::Sampled => {
                entry.sampled = entry.sampled.max(1).saturating_mul(integer(value).unwrap_or(1).max(1));
            }
        }
        Some(())
    }
}

/// Whether the value of a key has a place of its own in an entry.
pub(super) fn has_place(key: &str) -> bool {
    !matches!(Field::of(key.as_bytes()), Field::Other | Field::Mark(_) | Field::Sampled | Field::BytesReceived)
}

/// Keys in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Fields {
    known: Vec<(Vec<u8>, Field)>,
    /// Which is likely to come.
    next: usize,
    /// The schema has a form of its own, and is taken elsewhere.
    without_schema: bool,
}

impl Fields {
    /// Nothing came yet.
    pub(super) fn new(without_schema: bool) -> Self {
        Fields { without_schema, ..Fields::default() }
    }

    /// An entry begins.
    pub(super) fn begin(&mut self) {
        self.next = 0;
    }

    /// Takes the pairs of a line. A key without a value has an empty one; words that are neither are passed over.
    pub(super) fn take(&mut self, line: &[u8], entry: &mut SlowEntry) -> Option<()> {
        let mut at = blanks_end(line, 0);
        while at < line.len() {
            let key_end = match self.known.get(self.next) {
                Some((key, _)) if begins_with_word(&line[at..], key) => at + key.len(),
                _ => {
                    let end = word_end(line, at);
                    if !is_key(&line[at..end]) {
                        at = blanks_end(line, end);
                        continue;
                    }
                    self.seek(&line[at..end]);
                    end
                }
            };
            let field = match self.known.get(self.next) {
                Some((_, field)) => *field,
                None => Field::of(&line[at..key_end - 1]),
            };
            self.next += 1;
            let begin = blanks_end(line, key_end);
            let end = word_end(line, begin);
            let value = &line[begin..end];
            let empty = is_key(value);
            at = if empty { begin } else { blanks_end(line, end) };
            if field != Field::Schema || !self.without_schema {
                field.take(if empty { b"" } else { value }, entry)?;
            }
        }
        Some(())
    }

    /// Turns to a key, with its colon, that came out of turn, and remembers one that is new.
    fn seek(&mut self, key: &[u8]) {
        let found = self.known.iter().position(|(known, _)| known == key);
        self.next = found.unwrap_or(self.known.len());
        if found.is_none() {
            if self.known.len() < KNOWN_MAX {
                self.known.push((key.to_vec(), Field::of(&key[..key.len() - 1])));
            } else {
                self.next = usize::MAX - 1;
            }
        }
    }
}

#[inline]
fn begins_with_word(line: &[u8], word: &[u8]) -> bool {
    line.get(word.len()).is_none_or(u8::is_ascii_whitespace) && line.starts_with(word)
}

#[inline]
fn is_key(word: &[u8]) -> bool {
    word.len() > 1 && word.ends_with(b":")
}

#[inline]
fn blanks_end(line: &[u8], mut at: usize) -> usize {
    while line.get(at).is_some_and(u8::is_ascii_whitespace) {
        at += 1;
    }
    at
}

#[inline]
fn word_end(line: &[u8], mut at: usize) -> usize {
    while line.get(at).is_some_and(|byte| !byte.is_ascii_whitespace()) {
        at += 1;
    }
    at
}

/// The pairs of a line as text.
pub(super) fn pairs(line: &str) -> impl Iterator<Item = (&str, &str)> {
    let key_of = |word: &'_ str| is_key(word.as_bytes());
    let mut words = line.split_ascii_whitespace().peekable();
    std::iter::from_fn(move || {
        let key = words.find(|word| key_of(word))?;
        Some((&key[..key.len() - 1], words.next_if(|word| !key_of(word)).unwrap_or("")))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_pairs() {
        let check = |line, expected: &[(&str, &str)]| assert_eq!(pairs(line).collect::<Vec<_>>(), expected, "{line}");
        check("Thread_id: 9  Schema:   QC_hit: No", &[("Thread_id", "9"), ("Schema", ""), ("QC_hit", "No")]);
        check("a : b: : c d: e f g:", &[("b", ":"), ("d", "e"), ("g", "")]);
    }

    #[test]
    fn marks_are_named_once() {
        let mut entry = SlowEntry::default();
        let line = b"Created_tmp_tables: 2 Tmp_table: Yes  Sort_scan_count: 0 Full_scan: No QC_hit: Yes";
        assert_eq!(Fields::default().take(line, &mut entry), Some(()));
        assert_eq!(entry.marks.names().collect::<Vec<_>>(), ["tmp_table", "query_cache_hit"]);
    }

    proptest! {
        /// Whatever came before, a line says the same; and it says what its pairs say.
        #[test]
        fn the_order_of_keys_changes_nothing(
            lines in prop::collection::vec(
                prop::collection::vec(
                    prop_oneof![
                        "[A-Z]_[a-c]:?", Just("Rows_sent:".to_owned()), Just("Schema:".to_owned()), Just(":".to_owned()),
                        "[0-9]{1,3}", Just("Rows_sent".to_owned()), Just("Bytes_sent:".to_owned()), Just(" ".to_owned()),
                    ],
                    0..12,
                ),
                1..6,
            ),
        ) {
            let mut fields = Fields::default();
            for words in lines {
                let line = words.join(" ");
                let (mut entry, mut expected) = (SlowEntry::default(), SlowEntry::default());
                fields.begin();
                let read = fields.take(line.as_bytes(), &mut entry);
                let simple = pairs(&line).try_for_each(|(key, value)| {
                    Field::of(key.as_bytes()).take(value.as_bytes(), &mut expected)
                });
                prop_assert_eq!((read, entry), (simple, expected), "{}", line);
            }
        }
    }
}
