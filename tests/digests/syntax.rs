//! Statements as sessions with other modes and character sets mean them, against running servers: texts in every mode, which
//! characters swallow a backslash or a quote, and which collation is of which set.

use std::collections::BTreeMap;

use millrace_mysql::Flavour;
use millrace_schemas::digest::{Charset, Scanner, SqlMode, Syntax};
use millrace_test_servers::{Options, Server};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Error, OptsBuilder};

use super::declared::as_ours;

/// What the modes part.
const STATEMENTS: [&str; 12] = [
    r#"SELECT "a", 'b' FROM t"#,
    r#"SELECT "a""b", 'c"d' FROM "s"."t" WHERE "t"."x" = 1"#,
    r#"SELECT "a`b", `c"d` FROM t"#,
    r"SELECT 'a\\', 'b' FROM t",
    r"SELECT 'a\', 'b' FROM t WHERE c = 'd'",
    r"SELECT 'it\'s', 'b' FROM t",
    r#"SELECT "a\\", `b\`, 'c' FROM t"#,
    r#"SELECT _utf8mb4 "a", _utf8mb4'b' FROM t"#,
    r#"SELECT x'1f', N'a', "x" 'y' FROM t"#,
    r#"SELECT @"a""b", @`c` FROM "t""#,
    r#"SELECT @"a", @'b', @`c` FROM t"#,
    r#"INSERT INTO t ("a", b) VALUES ('\\', "c"), ("d", 'e')"#,
];

/// 30 of the 48 pairs of a statement and a mode have a digest: others are no statements in that mode.
const DIGESTED_MIN: usize = 30;

/// The sets in which a character may have a byte that looks like another, and whether MariaDB 10.11 has them.
const TRAPS: [(&str, bool); 9] = [
    ("gbk", true),
    ("gb18030", false),
    ("sjis", true),
    ("cp932", true),
    ("big5", true),
    ("euckr", true),
    ("gb2312", true),
    ("ujis", true),
    ("eucjpms", true),
];

const SYNTAX_ERROR: u16 = 1064;

/// A connection that sends any bytes.
async fn connect(server: &Server) -> Conn {
    let target = server.target("db1");
    let file = target.account.password_file.expect("an account with a password");
    let password = std::fs::read_to_string(file).expect("a password");
    let options = OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(server.port())
        .user(Some(target.account.user))
        .pass(Some(password.trim_end()))
        .db_name(Some("shop"))
        .prefer_socket(false);
    Conn::new(options).await.expect("it answers")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mysql_prints_the_same_text_in_every_mode() {
    let server = Server::start(Flavour::MySql, &Options::default()).await;
    let mut conn = connect(&server).await;
    let (mut digested, mut wrong) = (0, Vec::new());
    for (ansi_quotes, no_backslash_escapes) in [(false, false), (true, false), (false, true), (true, true)] {
        let names = [(ansi_quotes, "ANSI_QUOTES"), (no_backslash_escapes, "NO_BACKSLASH_ESCAPES")];
        let names: Vec<&str> = names.into_iter().filter_map(|(set, name)| set.then_some(name)).collect();
        let modes = names.join(",");
        assert_eq!(modes.parse(), Ok(SqlMode { ansi_quotes, no_backslash_escapes }));
        conn.query_drop(format!("SET sql_mode = '{modes}'")).await.expect("a mode");
        let mode = SqlMode { ansi_quotes, no_backslash_escapes };
        let mut scanner = Scanner::reading(Syntax { mode, charset: Charset::default() });
        for sql in STATEMENTS {
            let hex = sql.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
            let question = format!("SELECT STATEMENT_DIGEST_TEXT(CONVERT(x'{hex}' USING utf8mb4))");
            let Ok(Some(Some(theirs))) = conn.query_first::<Option<String>, _>(question).await else { continue };
            digested += 1;
            let ours = scanner.digest(sql.as_bytes());
            let (expected, _) = as_ours(&theirs);
            if ours.truncated || ours.text != expected {
                wrong.push(format!("{sql} in '{modes}'\n  theirs: {theirs}\n  ours:   {}", ours.text));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(digested >= DIGESTED_MIN, "{digested}");
}

/// Whether a server of a session with this character set reads a text as a statement.
async fn is_read(conn: &mut Conn, sql: Vec<u8>) -> bool {
    match conn.query_drop(sql).await {
        Ok(()) => true,
        Err(Error::Server(error)) => error.code != SYNTAX_ERROR,
        Err(error) => panic!("the server does not answer: {error}"),
    }
}

async fn characters_end_where_the_server_ends_them(flavour: Flavour) {
    let server = Server::start(flavour, &Options::default()).await;
    let mut conn = connect(&server).await;
    let mut read = BTreeMap::new();
    for (name, everywhere) in TRAPS {
        if !everywhere && flavour == Flavour::MariaDb {
            continue;
        }
        conn.query_drop(format!("SET NAMES {name}")).await.expect("a set of the server");
        let charset: Charset = name.parse().expect("a set of ours");
        let mut scanner = Scanner::reading(Syntax { mode: SqlMode::default(), charset });
        for byte in 0x80..=0xff_u8 {
            // What swallows the backslash lets the quote behind it end the string; what swallows the first of two backticks, the other.
            let string = [b"SELECT '", &[byte][..], b"\\'"].concat();
            let quoted = [b"SELECT 1 AS `", &[byte][..], b"``"].concat();
            for sql in [string, quoted] {
                let theirs = is_read(&mut conn, sql.clone()).await;
                let ours = !scanner.digest(&sql).truncated;
                assert_eq!(ours, theirs, "{flavour} in {name}: {}", sql.escape_ascii());
                *read.entry((name, ours)).or_insert(0) += 1;
            }
        }
    }
    let swallow = ["gbk", "sjis", "cp932", "big5"];
    assert!(swallow.iter().all(|name| read.get(&(*name, true)).is_some_and(|count| *count >= 60)), "{read:?}");
    let collations = "SELECT ID, CHARACTER_SET_NAME FROM information_schema.COLLATIONS \
                      WHERE ID BETWEEN 1 AND 255 AND CHARACTER_SET_NAME IS NOT NULL";
    let collations: Vec<(u8, String)> = conn.query(collations).await.expect("it answers");
    assert!(collations.len() > 150, "{}", collations.len());
    for (number, name) in collations {
        assert_eq!(Some(Charset::of_collation(number)), Charset::named(&name), "{flavour}: {number} of {name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn characters_end_where_mysql_ends_them() {
    characters_end_where_the_server_ends_them(Flavour::MySql).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn characters_end_where_mariadb_ends_them() {
    characters_end_where_the_server_ends_them(Flavour::MariaDb).await;
}
