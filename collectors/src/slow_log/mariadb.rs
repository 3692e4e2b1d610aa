//! Headers of MariaDB's slow log: one line enters, an entry knows more. `# Time:` comes only when the second changes, in the
//! server's time zone and without fractions, so the time is taken from `SET timestamp=` instead; pairs come on several lines,
//! and a plan may follow.

use memchr::memmem;

use super::SlowEntry;
use super::fields::Fields;

/// Takes a header line, without `# `; none when it cannot be read.
pub(super) fn header(line: &[u8], entry: &mut SlowEntry, fields: &mut Fields) -> Option<()> {
    if line.starts_with(b"Time: ") || line.starts_with(b"explain: ") {
        return Some(());
    }
    if line.starts_with(b"Thread_id: ") {
        schema(line, entry);
    }
    fields.take(line, entry)
}

/// The name between `Schema:` and `QC_hit:` may hold blanks.
fn schema(line: &[u8], entry: &mut SlowEntry) {
    const BEFORE: &[u8] = b"Schema: ";
    if let Some(at) = memmem::find(line, BEFORE)
        && let rest = &line[at + BEFORE.len()..]
        && let Some(end) = memmem::rfind(rest, b"QC_hit:")
    {
        let name = String::from_utf8_lossy(&rest[..end]);
        name.trim().clone_into(&mut entry.schema);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_verbose_lines() {
        let (mut entry, mut fields) = (SlowEntry::default(), Fields::new(true));
        for line in [
            "Thread_id: 93  Schema: my shop  QC_hit: No",
            "Query_time: 0.000226  Lock_time: 0.000102  Rows_sent: 1  Rows_examined: 1",
            "Rows_affected: 7  Bytes_sent: 197",
            "Full_scan: Yes  Full_join: No",
            "",
            "explain: 1\tSIMPLE\tsbtest3",
        ] {
            assert_eq!(header(line.as_bytes(), &mut entry, &mut fields), Some(()), "{line}");
            entry.attributes.push_line(line);
        }
        assert_eq!((entry.schema.as_str(), entry.thread, entry.rows_affected), ("my shop", Some(93), Some(7)));
        assert_eq!((entry.query_time_us, entry.lock_time_us), (226, 102));
        let names: Vec<&str> = entry.attributes.pairs().map(|(name, _)| name).collect();
        assert_eq!(names, ["QC_hit", "Full_scan", "Full_join", "explain"]);
    }

    #[test]
    fn an_empty_schema_is_empty() {
        let mut entry = SlowEntry::default();
        assert_eq!(header(b"Thread_id: 93  Schema:   QC_hit: No", &mut entry, &mut Fields::new(true)), Some(()));
        assert_eq!(entry.schema, "");
    }
}
