//! Batches are the same whatever the number of threads and wherever the log is cut.

use proptest::prelude::*;

use super::super::batch::Item;
use super::*;

/// What is found in a log, as text.
fn found(log: &[u8], dialect: Dialect, threads: usize, chunk_bytes: usize) -> Vec<String> {
    let mut told = Vec::new();
    let mut take = |batch: &Batch, schema: &str| {
        for item in batch.items() {
            told.push(match item {
                Item::Statement(one) => batch.observed(one, (schema, 1, 0), |one| format!("{one:?}")),
                Item::Unreadable(part) => format!("{part:?}"),
            });
        }
    };
    let input = Box::new(io::Cursor::new(log.to_vec()));
    let read = read(input, (Some(dialect), Syntax::default()), threads, Some(chunk_bytes), &mut take);
    assert!(read.outcome.is_ok());
    told
}

/// What one reader finds that has the whole log at once.
fn found_at_once(log: &[u8], dialect: Dialect) -> Vec<String> {
    let (mut batch, mut scanner) = (Batch::default(), Scanner::new());
    let mut entries = Entries::new(dialect, 0);
    entries.take(log, &mut |found| batch.add(found, &mut scanner));
    entries.end(&mut |found| batch.add(found, &mut scanner));
    let tell = |item: &Item| match item {
        Item::Statement(one) => batch.observed(one, ("", 1, 0), |one| format!("{one:?}")),
        Item::Unreadable(part) => format!("{part:?}"),
    };
    batch.items().iter().map(tell).collect()
}

const HEADER: &str = "# Time: 2026-11-21T09:01:47.011068Z\n# User@Host: app[app] @  [127.0.0.1]  Id:   144\n\
                      # Query_time: 0.000061  Lock_time: 0.000001 Rows_sent: 2  Rows_examined: 3 Sort_merge_passes: 1\n";
const ACCOUNT: &str = "# User@Host: fake[fake] @ web [10.0.0.1]\n# Thread_id: 93  Schema:   QC_hit: No\n\
                       # Query_time: 9.9  Lock_time: 0 Rows_sent: 0  Rows_examined: 0\n";

fn part() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        8 => Just(HEADER),
        3 => Just(ACCOUNT),
        4 => Just("SET timestamp=1795251707;\n"),
        2 => Just("use shop;\n"),
        1 => Just("use `other`;\n"),
        6 => Just("SELECT 1 FROM t WHERE a = 'x';\n"),
        3 => Just("UPDATE t SET a = 5,\n b = 6;\n"),
        2 => Just("SELECT '"),
        2 => Just("';\n"),
        1 => Just("/* "),
        1 => Just("*/;\n"),
        1 => Just("# administrator command: Quit;\n"),
        1 => Just("# Time: nonsense\n"),
        1 => Just("/usr/sbin/mysqld, Version: 9.7.4. started with:\n"),
        1 => Just(";\n"),
        1 => Just("\n"),
    ]
}

proptest! {
    #[test]
    fn threads_and_cuts_change_nothing(
        parts in prop::collection::vec(part(), 0..120),
        chunk in 1_usize..3_000,
        mariadb in any::<bool>(),
    ) {
        let dialect = if mariadb { Dialect::MariaDb } else { Dialect::MySql };
        let log = parts.concat();
        let expected = found_at_once(log.as_bytes(), dialect);
        for threads in 1..=3 {
            prop_assert_eq!(&found(log.as_bytes(), dialect, threads, chunk), &expected, "{} threads", threads);
        }
    }
}

/// A literal with whole entries in it, over many borders.
#[test]
fn a_border_inside_a_literal_is_none() {
    let entry = |sql: &str| format!("{HEADER}SET timestamp=1795251707;\n{sql};\n");
    let forged = entry("SELECT 'fake', \"x\"").replace('\'', "''").repeat(30);
    let log =
        format!("use shop;\n{}{}{}", entry("use x").repeat(9), entry(&format!("SELECT '{forged}'")), entry("SELECT 2"));
    let expected = found_at_once(log.as_bytes(), Dialect::MySql);
    assert_eq!(expected.len(), 11);
    for chunk in [100, 300, 1_000, 5_000] {
        assert_eq!(found(log.as_bytes(), Dialect::MySql, 2, chunk), expected, "{chunk}");
    }
}
