//! Where entries begin and end, under forgeries and cuts.

use proptest::prelude::*;

use super::*;

fn read(dialect: Dialect, log: &[u8], chunk: usize) -> (Vec<SlowEntry>, Vec<Unreadable>) {
    let (mut entries, mut unreadable) = (Vec::new(), Vec::new());
    let mut found = |found: Found<'_>| match found {
        Found::Entry(entry) => entries.push(entry.clone()),
        Found::Unreadable(part) => unreadable.push(part),
    };
    let mut reader = Entries::new(dialect, 0);
    for part in log.chunks(chunk) {
        reader.take(part, &mut found);
    }
    reader.end(&mut found);
    (entries, unreadable)
}

fn mysql_entry(statement: &str) -> String {
    format!(
        "# Time: 2026-11-21T09:01:47.011068Z\n# User@Host: app[app] @  [127.0.0.1]  Id:   144\n\
         # Query_time: 0.000061  Lock_time: 0.000001 Rows_sent: 2  Rows_examined: 3\n\
         SET timestamp=1795251707;\n{statement};\n"
    )
}

const BANNER: &str = "/usr/sbin/mysqld, Version: 9.7.4 ((Debian)). started with:\nTcp port: 3306  Unix socket: /s\n\
                      Time                 Id Command    Argument\n";

fn sqls(entries: &[SlowEntry]) -> Vec<String> {
    entries.iter().map(|entry| String::from_utf8_lossy(&entry.sql).into_owned()).collect()
}

#[test]
fn reads_mysql() {
    let log = format!("{BANNER}{}{BANNER}{}", mysql_entry("SELECT 1"), mysql_entry("SELECT c\nFROM\n  t"));
    for chunk in [1, 7, log.len()] {
        let (entries, unreadable) = read(Dialect::MySql, log.as_bytes(), chunk);
        assert_eq!((sqls(&entries), unreadable), (vec!["SELECT 1".into(), "SELECT c\nFROM\n  t".into()], vec![]));
        let entry = &entries[0];
        assert_eq!((entry.ts, entry.query_time_us, entry.rows_examined), (Timestamp(1_795_251_707_011_068), 61, 3));
        assert_eq!(entry.offset, BANNER.len() as u64);
    }
}

/// The forms of other versions: Percona Server's, which has lines of its own, and MySQL 5.7's with the server's time zone.
#[test]
fn reads_relatives_of_mysql() {
    let log = "# Time: 2026-11-21T10:01:47.500000+01:00\n# User@Host: app[app] @ web1 [10.0.0.9]  Id:     8\n\
               # Schema: shop  Last_errno: 1062  Killed: 0\n\
               # Query_time: 0.000500  Lock_time: 0.000100  Rows_sent: 1  Rows_examined: 10  Rows_affected: 2\n\
               # Bytes_sent: 77  Tmp_tables: 0  Tmp_disk_tables: 0  Tmp_table_sizes: 0\n# InnoDB_trx_id: 1F2E\n\
               # QC_Hit: No  Full_scan: Yes  Full_join: No  Tmp_table: No  Tmp_table_on_disk: No\n\
               #   InnoDB_IO_r_ops: 3  InnoDB_IO_r_bytes: 49152  InnoDB_IO_r_wait: 0.000120\n\
               SET timestamp=1795251707;\nINSERT INTO t VALUES (1);\n";
    let (entries, unreadable) = read(Dialect::MySql, log.as_bytes(), 40);
    assert_eq!((entries.len(), unreadable), (1, vec![]));
    let entry = &entries[0];
    assert_eq!((entry.ts, entry.schema.as_str()), (Timestamp(1_795_251_707_500_000), "shop"));
    assert_eq!((entry.error, entry.rows_affected, entry.bytes_sent), (Some(1062), Some(2), Some(77)));
    let attributes: Vec<&str> = entry.attributes.pairs().map(|(name, _)| name).collect();
    assert_eq!(attributes[..3], ["Killed", "Tmp_tables", "Tmp_disk_tables"]);
    assert_eq!(entry.attributes.pairs().last(), Some(("InnoDB_IO_r_wait", "0.000120")));
}

#[test]
fn reads_mariadb() {
    let log = "# Time: 261121  9:02:22\n# User@Host: app[app] @  [127.0.0.1]\n\
               # Thread_id: 93  Schema: sbtest  QC_hit: No\n\
               # Query_time: 0.500000  Lock_time: 0.000000  Rows_sent: 0  Rows_examined: 0\n\
               # Rows_affected: 0  Bytes_sent: 11\n#\n# explain: id\tselect_type\n#\nuse `sbtest`;\n\
               SET timestamp=1795251742;\nBEGIN;\n\
               # User@Host: app[app] @  [127.0.0.1]\n# Thread_id: 93  Schema: sbtest  QC_hit: No\n\
               # Query_time: 0.000000  Lock_time: 0.000000  Rows_sent: 0  Rows_examined: 0\n\
               SET last_insert_id=5,insert_id=6,timestamp=1795251743;\n# administrator command: Quit;\n";
    let (entries, unreadable) = read(Dialect::MariaDb, log.as_bytes(), 50);
    assert_eq!((entries.len(), unreadable), (2, vec![]));
    assert_eq!((entries[0].ts, entries[0].sql.as_slice()), (Timestamp(1_795_251_742_500_000), &b"BEGIN"[..]));
    assert_eq!((entries[0].schema.as_str(), entries[0].bytes_sent), ("sbtest", Some(11)));
    assert_eq!(entries[1].admin_command.as_deref(), Some("Quit"));
    assert_eq!(entries[1].ts, Timestamp(1_795_251_743_000_000));
}

#[test]
fn a_forged_entry_is_part_of_its_literal() {
    let fake = mysql_entry("SELECT fake");
    for statement in [format!("SELECT '{fake}'"), format!("SELECT \"x\n{fake}\"")] {
        let log = format!("{}{}", mysql_entry(&statement), mysql_entry("SELECT 2"));
        let (entries, unreadable) = read(Dialect::MySql, log.as_bytes(), 64);
        assert_eq!((sqls(&entries), unreadable), (vec![statement, "SELECT 2".into()], vec![]));
        assert_eq!([true, false], [entries[0].header_inside, entries[1].header_inside]);
    }
    // In a comment, where no semicolon stands before it.
    let statement = format!("SELECT 1 /*\n{fake}*/");
    let (entries, _) = read(Dialect::MySql, mysql_entry(&statement).as_bytes(), 64);
    assert_eq!(sqls(&entries), [statement]);
}

#[test]
fn what_is_surely_of_a_statement_ends_at_a_header_unless_its_bytes_are_counted() {
    // Never closed: the quote of the next entry closes it, and what was in quotes there stands outside.
    let merged = format!("{}{}", mysql_entry("SELECT 'oops"), mysql_entry("SELECT 'secret'"));
    let (entries, _) = read(Dialect::MySql, format!("{merged}{}", mysql_entry("SELECT ' 2")).as_bytes(), 64);
    assert!(entries[0].header_inside && !entries[0].sure_sql().ends_with(b"secret"), "{entries:?}");
    assert!(entries.iter().all(|entry| !String::from_utf8_lossy(entry.sure_sql()).contains("secret")), "{entries:?}");
    // Written by a client, and the server says how many bytes the request had.
    let forged = format!("SELECT '{}', c", mysql_entry("SELECT fake"));
    let log = mysql_entry(&forged).replacen(
        "Rows_examined: 3\n",
        &format!("Rows_examined: 3 Bytes_received: {}\n", forged.len() + 5),
        1,
    );
    let (entries, _) = read(Dialect::MySql, log.as_bytes(), 64);
    assert!(entries[0].header_inside && entries[0].sure_sql() == forged.as_bytes(), "{entries:?}");
}

/// Behind its semicolon a statement may end in comments of any text, and one of several statements may begin with them.
#[test]
fn a_forged_header_in_comments_is_no_entry() {
    let fake = "# User@Host: fake[fake] @  [10.0.0.1]\n# Query_time: 9.9  Lock_time: 0 Rows_sent: 0  Rows_examined: 0";
    let log = format!("{}{}", mysql_entry(&format!("SELECT 1;\n{fake}\n# x")), mysql_entry("SELECT 2"));
    let (entries, unreadable) = read(Dialect::MySql, log.as_bytes(), 64);
    assert_eq!(sqls(&entries), ["SELECT 1", "SELECT 2"]);
    assert_eq!((unreadable.len(), unreadable[0].reason), (1, "the header has no statement"));
    assert_eq!(entries[1].user, "app");
    let statement = format!("{fake}\nSELECT 1");
    let log = format!("{}{}", mysql_entry(&statement), mysql_entry("SELECT 2"));
    let (entries, unreadable) = read(Dialect::MySql, log.as_bytes(), 64);
    assert_eq!((sqls(&entries), unreadable), (vec![statement, "SELECT 2".into()], vec![]));
    assert!(entries[0].header_inside && entries[0].query_time_us == 61);
}

#[test]
fn an_unclosed_literal_costs_only_its_own_entry() {
    let broken = mysql_entry("SELECT 'oops");
    for following in [3, 200] {
        let rest: String = (0..following).map(|i| mysql_entry(&format!("SELECT {i}, 'x'"))).collect();
        let log = format!("{broken}{rest}");
        let (entries, unreadable) = read(Dialect::MySql, log.as_bytes(), 1000);
        assert_eq!(entries.len(), following);
        assert_eq!(unreadable.len(), 1);
        assert_eq!((unreadable[0].offset, unreadable[0].bytes), (0, broken.len() as u64));
    }
}

#[test]
fn what_is_no_entry_is_counted() {
    let log = "# Time: 2026-11-21T09:01:47.011068Z\n# User@Host: nonsense\nSELECT 1;\n";
    let (entries, unreadable) = read(Dialect::MySql, log.as_bytes(), 10);
    assert_eq!((entries.len(), unreadable.len()), (0, 1));
    assert_eq!(unreadable[0].reason, "the header cannot be read");
    let log =
        format!("{}# Time: 2026-11-21T09:01:47.011068Z\n# User@Host: a[a] @ h [] Id: 1\n", mysql_entry("SELECT 1"));
    let (entries, unreadable) = read(Dialect::MySql, log.as_bytes(), 10);
    assert_eq!((entries.len(), unreadable[0].reason), (1, "the log ends inside the entry"));
}

#[test]
fn long_statements_are_cut() {
    let statement = format!("SELECT '{}'", "x".repeat(3 << 20));
    let log = format!("{}{}", mysql_entry(&statement), mysql_entry("SELECT 2"));
    let (entries, unreadable) = read(Dialect::MySql, log.as_bytes(), 1 << 16);
    assert_eq!((entries.len(), unreadable), (2, vec![]));
    assert_eq!((entries[0].sql.len(), entries[0].sql_bytes), (SQL_KEPT, statement.len() as u64));
}

/// Lines beyond the limit are read in the same pieces, whatever pieces the file comes in.
#[test]
fn long_lines_read_the_same_however_they_come() {
    let long = "x".repeat(LINE_MAX);
    let header = mysql_entry("SELECT 1").replacen(
        "# Query_time",
        &format!("# Rows_sent: 1 Key: {long} Rows_sent: x\n# Query_time"),
        1,
    );
    let begin = LINE_MAX - "SELECT '' --".len();
    // The second dash is the last byte of a piece: what follows says whether they begin a comment.
    let dashes = |behind: &str| mysql_entry(&format!("SELECT '{}' --{behind}'\n", &long[..begin]));
    let log = [header, mysql_entry(&format!("SELECT '{long}', 2")), dashes(" "), mysql_entry("SELECT 3")].concat();
    let whole = read(Dialect::MySql, log.as_bytes(), log.len());
    assert_eq!((whole.0.len(), &whole.1), (4, &vec![]));
    for chunk in [1_000, LINE_MAX - 1, LINE_MAX, LINE_MAX + 1] {
        assert_eq!(read(Dialect::MySql, log.as_bytes(), chunk), whole, "in pieces of {chunk}");
    }
    // Two signs and an open literal: the next entries belong to it until it is closed.
    let (entries, _) = read(Dialect::MySql, [dashes("a"), mysql_entry("SELECT ' 4")].concat().as_bytes(), 1_000);
    assert_eq!(entries.len(), 1);
}

/// A client's comment behind a semicolon may look like a header, and be as long as a packet.
#[test]
fn a_header_without_end_is_given_up() {
    let line = format!("# {}\n", "x".repeat(1_000));
    let log = format!("# Time: 2026-11-21T09:01:47.011068Z\n{}{}", line.repeat(2_000), mysql_entry("SELECT 1"));
    for dialect in [Dialect::MySql, Dialect::MariaDb] {
        let (entries, unreadable) = read(dialect, log.as_bytes(), 999);
        assert_eq!((sqls(&entries), unreadable.len()), (vec!["SELECT 1".into()], 1));
        let Unreadable { offset, bytes, reason } = unreadable[0];
        assert_eq!((offset, reason), (0, "the header is too long"));
        assert!(bytes > HEADER_MAX && bytes <= HEADER_MAX + line.len() as u64, "{bytes}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(parts in prop::collection::vec(prop_oneof![
        Just("# Time: 2026-11-21T09:01:47.011068Z\n"), Just("# User@Host: a[a] @ h [] Id: 1\n"), Just("'"), Just(";\n"),
        Just("# Query_time: 1.0 Lock_time: 0\n"), Just("SET timestamp=1;\n"), Just("SELECT 1"), Just("\n"), Just("/*"),
        Just("# administrator command: Quit;\n"), Just("use db;\n"), Just("\\"), Just("#"), Just("-- x"),
    ], 0..60), chunk in 1..40_usize) {
        let log = parts.concat();
        let (entries, unreadable) = read(Dialect::MySql, log.as_bytes(), chunk);
        let whole = read(Dialect::MySql, log.as_bytes(), log.len().max(1));
        prop_assert_eq!((entries, unreadable), whole);
    }
}
