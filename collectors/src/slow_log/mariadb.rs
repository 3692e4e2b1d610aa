//! Headers of MariaDB's slow log: one line enters, an entry knows more. `# Time:` comes only when the second changes, in the
//! server's time zone and without fractions, so the time is taken from `SET timestamp=` instead; pairs come on several lines,
//! and a plan may follow.

use super::SlowEntry;
use super::mysql;
use super::text::pairs;

/// Takes a header line, without `# `; none when it cannot be read.
pub(super) fn header(line: &str, entry: &mut SlowEntry) -> Option<()> {
    if line.starts_with("Time: ") || line.is_empty() {
        return Some(());
    }
    if let Some(account) = line.strip_prefix("User@Host: ") {
        return mysql::user_host(account, entry);
    }
    if let Some(plan) = line.strip_prefix("explain: ") {
        entry.attributes.push("explain", plan);
        return Some(());
    }
    if line.starts_with("Thread_id: ") {
        schema(line, entry);
    }
    for (key, value) in pairs(line) {
        if key != "Schema" {
            mysql::pair(key, value, entry)?;
        }
    }
    Some(())
}

/// The name between `Schema:` and `QC_hit:` may hold blanks.
fn schema(line: &str, entry: &mut SlowEntry) {
    if let Some((_, rest)) = line.split_once("Schema: ")
        && let Some((name, _)) = rest.rsplit_once("QC_hit:")
    {
        name.trim().clone_into(&mut entry.schema);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_verbose_lines() {
        let mut entry = SlowEntry::default();
        for line in [
            "Time: 261121  9:02:22",
            "User@Host: app[app] @  [127.0.0.1]",
            "Thread_id: 93  Schema: my shop  QC_hit: No",
            "Query_time: 0.000226  Lock_time: 0.000102  Rows_sent: 1  Rows_examined: 1",
            "Rows_affected: 7  Bytes_sent: 197",
            "Full_scan: Yes  Full_join: No",
            "",
            "explain: 1\tSIMPLE\tsbtest3",
        ] {
            assert_eq!(header(line, &mut entry), Some(()), "{line}");
        }
        assert_eq!((entry.schema.as_str(), entry.thread, entry.rows_affected), ("my shop", Some(93), Some(7)));
        assert_eq!((entry.query_time_us, entry.lock_time_us), (226, 102));
        let names: Vec<&str> = entry.attributes.pairs().map(|(name, _)| name).collect();
        assert_eq!(names, ["QC_hit", "Full_scan", "Full_join", "explain"]);
    }

    #[test]
    fn an_empty_schema_is_empty() {
        let mut entry = SlowEntry::default();
        assert_eq!(header("Thread_id: 93  Schema:   QC_hit: No", &mut entry), Some(()));
        assert_eq!(entry.schema, "");
    }
}
