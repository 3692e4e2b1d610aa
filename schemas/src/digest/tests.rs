//! The statement digest under tables and properties.

use proptest::prelude::*;

use super::*;

fn check(sql: &str, expected: &str) {
    let digest = Scanner::new().digest(sql.as_bytes());
    assert_eq!((digest.text.as_str(), digest.truncated), (expected, false), "{sql}");
    let again = Scanner::new().digest(digest.text.as_bytes());
    assert_eq!((again.id, again.text), (digest.id, digest.text), "scanned again: {sql}");
}

fn check_same(statements: &[&str]) {
    let mut scanner = Scanner::new();
    let ids: Vec<DigestId> = statements.iter().map(|sql| scanner.id_of(sql.as_bytes())).collect();
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1]), "{statements:?}");
}

fn check_differ(a: &str, b: &str) {
    let mut scanner = Scanner::new();
    assert_ne!(scanner.id_of(a.as_bytes()), scanner.id_of(b.as_bytes()), "{a} | {b}");
}

#[test]
fn prints_what_the_server_prints() {
    check("select c from sbtest1 where id=5", "SELECT `c` FROM `sbtest1` WHERE `id` = ?");
    check("INSERT INTO t (a, b) VALUES (1, 'x')", "INSERT INTO `t` ( `a` , `b` ) VALUES (...)");
    check("select distinct a, count(*), sum(b) from t", "SELECT DISTINCTROW `a` , COUNT ( * ) , SUM ( `b` ) FROM `t`");
    check("select sleep(1)", "SELECT `sleep` (?)");
    check("call p()", "CALL `p` ( )");
    check("set @a=1", "SET @? = ?");
    check("SET @@session.autocommit = OFF", "SET @@SESSION . `autocommit` = OFF");
    check("select _utf8mb4'x', 'y'", "SELECT (_charset) ?, ...");
    check("select _binary 0x41, _utf8mb4 x'41'", "SELECT (_charset) ? , (_charset) ?");
    check("select 'a' 'b', N'x', date'2020-01-01'", "SELECT ? ?, ... , DATE ?");
    check("CREATE USER 'u'@'h' IDENTIFIED BY 'x'", "CREATE SYSTEM_USER ? @? IDENTIFIED BY ?");
    check("CREATE USER u@localhost IDENTIFIED BY 'x'", "CREATE SYSTEM_USER `u` @? IDENTIFIED BY ?");
    check("select null, 1, null", "SELECT ?, ...");
    check(
        "select not null, a is not null from t where not null",
        "SELECT NOT ? , `a` IS NOT NULL FROM `t` WHERE NOT ?",
    );
    check("select @`v w`, @v, @'v', @a.b", "SELECT @`v w` , @? , @? , @?");
    check("select f(@v, 1, -2), (@v), 5, @v", "SELECT `f` ( @?, ... ) , ( @? ) , ? , @?");
    check("drop user 'a'@'h', 'b'@'h'", "DROP SYSTEM_USER ? @?, ... @?");
    check(
        "alter table t add foreign key (a) references u (b) on delete set null",
        "ALTER TABLE `t` ADD FOREIGN KEY ( `a` ) REFERENCES `u` ( `b` ) ON DELETE SET NULL",
    );
    check("select high_priority null from t", "SELECT HIGH_PRIORITY ? FROM `t`");
    check("select a from t where -1 < -1 having -a", "SELECT `a` FROM `t` WHERE - ? < ? HAVING - `a`");
    check("set @a := -1, @b = -1", "SET @? := - ? , @? = ?");
    check("select all -1, -1 from t order by -1", "SELECT ALL - ?, ... FROM `t` ORDER BY - ?");
    check("select if(a is null, null, 1)", "SELECT IF ( `a` IS NULL , ?, ... )");
    check(
        "create table t (a int not null, b varchar(10) null)",
        "CREATE TABLE `t` ( `a` INTEGER NOT NULL , `b` VARCHARACTER (?) NULL )",
    );
    check("select mid(a,1,2), now(), current_timestamp", "SELECT SUBSTRING ( `a` , ?, ... ) , NOW ( ) , NOW");
    check("select -1, - 1, +1, (-1)", "SELECT ?, ... , (?)");
    check("select a-1, a - -1, a in (b, -1, c)", "SELECT `a` - ? , `a` - ? , `a` IN ( `b` , ? , `c` )");
    check("select * from t limit 5 offset 6", "SELECT * FROM `t` LIMIT ? OFFSET ?");
    check("select a.status, status from a", "SELECT `a` . `status` , STATUS FROM `a`");
    check("select a . status from a", "SELECT `a` . STATUS FROM `a`");
    check("create procedure p() begin select 1; end;", "CREATE PROCEDURE `p` ( ) BEGIN SELECT ? ; END");
    check("select --1", "SELECT ?");
    check("select `a``b` from `db`.t", "SELECT `a``b` FROM `db` . `t`");
    check("", "");
}

#[test]
fn merges_what_is_one_class() {
    check_same(&["select 1 where a in (1)", "select 2 where a in (1,2,3)", "select 1 where `a` IN (-1 , 'x')"]);
    check_same(&[
        "insert into t values (1,2)",
        "insert into t values (1,2),(3,4)",
        "insert into t values(1,2),(3,4),(5,6)",
    ]);
    check_same(&["insert into t values (1,now())", "insert into t values (1,now()),(2, NOW( )),(3,now())"]);
    check_same(&["select 1 where (a,b) in ((true,2))", "select 1 where (a,b) in ((true,2),(true,4),(true,-1))"]);
    check_same(&["select 1 where (a,b) in ((1,2))", "select 1 where (a,b) in ((1,2),(3,4))"]);
    check_same(&[
        "select a /* c */ from t -- x\n",
        "select a from t;",
        "SELECT  `a`\nFROM t # y",
        "/*!50000 select */ a from t",
    ]);
    check_same(&["select 1", "select 'x'", "select 0x1F", "select x'1f'", "select 1.5e3", "select NULL", "select ?"]);
    check_same(&["select /*+ max_execution_time(1) */ 1", "select 1"]);
    check_same(&["create schema x", "create database x"]);
    check_same(&["select 1 where a <> 1", "select 1 where a != 2"]);
    check_same(&["insert into t values (?) /* , ... */", "insert into t values (1)", "insert into t values (1),(2)"]);
}

#[test]
fn parts_what_is_not_one_class() {
    check_differ("select a-1", "select a");
    check_differ("select * from db1.t", "select * from db2.t");
    check_differ("select T.a from T", "select t.a from t");
    check_differ("select 1 where a in (1,b)", "select 1 where a in (1,2)");
    check_differ("select true", "select 1");
    check_differ("select 1 limit 5", "select 1 limit 5,10");
    check_differ("insert into t values (1,now()),(2,null)", "insert into t values (1,now())");
    check_differ("select a from t", "select a x from t");
}

#[test]
fn cut_input_has_the_digest_of_its_prefix() {
    let mut scanner = Scanner::new();
    let mut cut = |sql: &str, whole: &str| {
        let digest = scanner.digest(sql.as_bytes());
        assert!(digest.truncated, "{sql}");
        assert_eq!(digest.id, scanner.id_of(whole.as_bytes()), "{sql}: {}", digest.text);
    };
    cut("select 'secr", "select 'secret'");
    cut("insert into t values (1, 'long lon", "insert into t values (1, 'x')");
    cut("insert into t values (1, 'x'), (2, 'lo", "insert into t values (1, 'x')");
    cut("select 1 /* secr", "select 1");
    let long = format!("select {}", "abcdefgh, ".repeat(2_000));
    let digest = scanner.digest(long.as_bytes());
    assert!(digest.truncated && digest.text.len() <= TEXT_BYTES_MAX);
}

/// One of a list that was cut at the limit was closed with a parenthesis that had been cut off, which ended the process.
#[test]
fn what_is_cut_at_the_limit_may_end_in_any_list() {
    let mut scanner = Scanner::new();
    for unit in [" h(5(w )Ait", "(1(a", "(1,(", "in(1,(a)"] {
        let digest = scanner.digest(unit.repeat(1 + TEXT_BYTES_MAX / unit.len()).as_bytes());
        assert!(digest.truncated && digest.text.len() <= TEXT_BYTES_MAX, "{unit}");
    }
}

/// A byte that is no UTF-8 takes three in the text, which was longer than its limit then.
#[test]
fn the_limit_is_that_of_readable_text() {
    let mut scanner = Scanner::new();
    let mut check = |sql: &[u8], truncated| {
        let digest = scanner.digest(sql);
        assert_eq!((digest.truncated, digest.text.len() <= TEXT_BYTES_MAX), (truncated, true), "{}", digest.text.len());
        if !truncated {
            assert_eq!(scanner.digest(digest.text.as_bytes()), digest);
        }
    };
    check(&[&b"select "[..], &[0xff; 2_000]].concat(), false);
    check(&[&b"select "[..], &[0xff; 4_000]].concat(), true);
    check(&b"select \xff, ".repeat(800), true);
}

/// Each explanation that is explained took room on the stack.
#[test]
fn explained_explanations_take_no_stack() {
    let on_small_stack = std::thread::Builder::new().stack_size(128 << 10).spawn(|| {
        let kind = |sql: &str| Scanner::new().digest(sql.as_bytes()).kind;
        assert_eq!(kind(&"explain (".repeat(2_000)), Kind::OTHER);
        assert_eq!(kind(&format!("{} select 1", "explain (".repeat(600))), Kind::SELECT);
    });
    on_small_stack.expect("a thread starts").join().expect("it fits");
}

#[test]
fn joins_with_what_either_server_prints() {
    let mut scanner = Scanner::new();
    let mut join = |sql: &str, server: &str| {
        let ours = scanner.digest(sql.as_bytes()).text;
        let (_, theirs) = server_text(server);
        assert_eq!(scanner.match_key(ours.as_bytes()), scanner.match_key(theirs.as_bytes()), "{ours} | {theirs}");
    };
    join("select c from t where id=5", "SELECT `c` FROM `t` WHERE ID = ? ");
    join("select c from t where id=5", "EXECUTE SELECT `c` FROM `t` WHERE `id` = ?");
    join("insert into sl values (1),(2)", "INSERT INTO `sl` VALUES (?) /* , ... */ ");
    join("select 1 where a in (1)", "SELECT ? WHERE `a` IN (?)");
    join("select 1 where a = -1", "SELECT ? WHERE `a` = - ?");
    join("set global slow_query_log = off", "SET GLOBAL `slow_query_log` = `OFF` ");
    join("select a from t order by 1", "SELECT `a` FROM `t` ORDER BY 1");
    join("commit", "EXECUTE COMMIT");
    assert_eq!(server_text("EXECUTE `s` USING @?").0, None);
    assert_eq!(server_text("PREPARE `s` FROM ?").0, None);
}

#[test]
fn ids_are_hexadecimal_text() {
    let id = Scanner::new().id_of(b"select 1");
    assert_eq!(id.to_string().parse(), Ok(id));
    assert!("xyz".parse::<DigestId>().is_err());
    assert_eq!(DigestId::OTHER.reserved(), Some("(other statements)"));
    assert_eq!(id.reserved(), None);
}

/// Fragments that exercise every state of the lexer, in any order.
fn fragment() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("select "),
        Just("values "),
        Just("in"),
        Just("("),
        Just(")"),
        Just(","),
        Just(" - "),
        Just("+"),
        Just("`a b`"),
        Just("id"),
        Just(" null "),
        Just("is "),
        Just("not "),
        Just("."),
        Just("@"),
        Just("@@"),
        Just(";"),
        Just("/*"),
        Just("*/"),
        Just("/*!50000 "),
        Just("-- "),
        Just("\n"),
        Just("#"),
        Just("'"),
        Just("\""),
        Just("`"),
        Just("\\"),
        Just("?"),
        Just("..."),
        Just("_utf8"),
        Just("count"),
        Just(" "),
        Just("x'1f'"),
        Just("(1,2)"),
        Just("(1,now())"),
        Just("0x1f"),
        Just("1e3"),
        Just("ß"),
        Just(":="),
        Just("->>"),
        Just("x"),
        Just("\0"),
    ]
    .prop_map(str::to_owned)
}

proptest! {
    #[test]
    fn canonical_text_is_a_fixed_point(parts in prop::collection::vec(fragment(), 0..40)) {
        let sql = parts.concat();
        let mut scanner = Scanner::new();
        let digest = scanner.digest(sql.as_bytes());
        if !digest.truncated {
            let again = scanner.digest(digest.text.as_bytes());
            prop_assert_eq!(&again.text, &digest.text, "{:?}", sql);
            prop_assert_eq!(again.id, digest.id);
        }
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut scanner = Scanner::new();
        let _ = scanner.digest(&bytes);
        let _ = scanner.match_key(&bytes);
        for (ansi_quotes, no_backslash_escapes) in [(false, false), (true, false), (false, true), (true, true)] {
            let mode = SqlMode { ansi_quotes, no_backslash_escapes };
            for charset in ["utf8mb4", "gbk", "gb18030", "sjis", "big5", "euckr", "ujis", "latin1", "cp850"] {
                let syntax = Syntax { mode, charset: Charset::named(charset).expect("a set") };
                scanner.read_as(syntax);
                let _ = scanner.digest(&bytes);
                let _ = mask(&bytes, syntax);
                let _ = split(&syntax.to_utf8(&bytes), mode).count();
            }
        }
    }

    #[test]
    fn no_literal_gets_out(secret in "[0-9]{6}", before in "[a-f ,=(]{0,20}", after in "[a-f ,=)]{0,20}", quote in 0..6) {
        let literal = match quote {
            0 => format!("'{secret}'"),
            1 => format!("\"x''{secret}\\\" \""),
            2 => format!(" {secret}"),
            3 => format!("/* {secret} */"),
            4 => format!("' \\'{secret}"),
            _ => format!(" {secret}.{secret}e5 "),
        };
        let sql = format!("{before} {literal} {after}");
        let masked = mask(sql.as_bytes(), Syntax::default());
        prop_assert!(!masked.contains(&secret), "{}", masked);
        let text = Scanner::new().digest(sql.as_bytes()).text;
        prop_assert!(!text.contains(&secret), "{}", text);
    }

    /// A session that says nothing of its mode, and a reader that takes the other for granted.
    #[test]
    fn no_literal_gets_out_in_the_wrong_mode(
        contents in prop::collection::vec("[a-c\\\\' ]{0,4}x7319246058[a-c\\\\' ]{0,4}", 1..5),
        escapes in any::<bool>(),
    ) {
        let quoted = |content: &String| {
            let content = content.replace('\'', "''");
            if escapes { content.replace('\\', "\\\\").replace("''", "\\'") } else { content }
        };
        let strings: Vec<String> = contents.iter().map(|content| format!("'{}'", quoted(content))).collect();
        let sql = format!("SELECT a FROM t WHERE b IN ({}) AND c = 1", strings.join(", "));
        let session = SqlMode { ansi_quotes: false, no_backslash_escapes: !escapes };
        let other = SqlMode { ansi_quotes: false, no_backslash_escapes: escapes };
        for mode in [session, other] {
            let syntax = Syntax { mode, charset: Charset::default() };
            let (masked, text) = (mask(sql.as_bytes(), syntax), Scanner::reading(syntax).digest(sql.as_bytes()).text);
            prop_assert!(!masked.contains("7319246058") && !text.contains("7319246058"), "{}: {} {}", sql, masked, text);
        }
        let known = Scanner::reading(Syntax { mode: session, charset: Charset::default() }).digest(sql.as_bytes());
        prop_assert_eq!(known.text, "SELECT `a` FROM `t` WHERE `b` IN (...) AND `c` = ?");
    }
}

#[test]
fn what_a_wrong_mode_leaves_in_doubt_is_not_digested() {
    let digest = |sql: &str| Scanner::new().digest(sql.as_bytes());
    // Read with escapes, the first string would end where the next begins.
    let doubted = digest(r"SELECT a FROM t WHERE b = 'x\' AND c = 'secret'");
    assert_eq!((doubted.text.as_str(), doubted.truncated), ("SELECT `a` FROM `t` WHERE `b` = ?", true));
    let list = digest(r"INSERT INTO t VALUES (1, 'a'), (2, 'x\'), (3, 'secret')");
    assert_eq!((list.text.as_str(), list.truncated), ("INSERT INTO `t` VALUES (...)", true));
    let known = SqlMode { ansi_quotes: false, no_backslash_escapes: true };
    let mut scanner = Scanner::reading(Syntax { mode: known, charset: Charset::default() });
    let whole = scanner.digest(br"SELECT a FROM t WHERE b = 'x\' AND c = 'secret'");
    assert_eq!((whole.text.as_str(), whole.truncated), ("SELECT `a` FROM `t` WHERE `b` = ? AND `c` = ?", false));
    // Escapes where the mode has none.
    let other = scanner.digest(br"SELECT a FROM t WHERE b = 'it\'s' AND c = 'secret'");
    assert_eq!((other.text.as_str(), other.truncated), ("SELECT `a` FROM `t` WHERE `b` = ?", true));
}

#[test]
fn names_in_double_quotes_are_those_in_backticks() {
    let mode = SqlMode { ansi_quotes: true, no_backslash_escapes: false };
    let mut scanner = Scanner::reading(Syntax { mode, charset: Charset::default() });
    let ansi = scanner.digest(br#"select "a""b`c" from "s"."t" where "d" = 'x'"#);
    let plain = Scanner::new().digest(br#"select `a"b``c` from `s`.`t` where `d` = 'x'"#);
    assert_eq!(ansi, plain);
    assert_eq!(ansi.tables, ["s.t"]);
}

#[test]
fn statements_are_read_in_the_character_set_of_their_session() {
    let charset = Charset::named("sjis").expect("a set");
    let mut scanner = Scanner::reading(Syntax { mode: SqlMode::default(), charset });
    // 表 ends with the byte of a backslash.
    let found = scanner.digest(b"SELECT `\x95\x5c` FROM t WHERE a = '\x95\x5c' OR b = 'secret'");
    let utf8 = Scanner::new().digest("SELECT `表` FROM t WHERE a = '表' OR b = 'secret'".as_bytes());
    assert_eq!(found, utf8);
}

proptest! {
    /// Whatever was seen before, a statement has the id of its own text.
    #[test]
    fn shapes_that_were_seen_change_no_id(statements in prop::collection::vec(prop::collection::vec(fragment(), 0..12), 1..12)) {
        let mut scanner = Scanner::new();
        for sql in statements.iter().chain(&statements).map(|parts| parts.concat()) {
            let digest = Scanner::new().digest(sql.as_bytes());
            prop_assert_eq!(scanner.id_of(sql.as_bytes()), digest.id, "{:?} is {:?}", sql, digest.text);
        }
    }
}

fn value() -> impl Strategy<Value = &'static str> {
    let numbers = ["5", "40", "0x1f", "0b1", "0", "1.5", "7e3", "2e-1", ".5", "1.", "1a", "0x", "2x"];
    let strings = ["'a'", "'b''c'", "'\\''", "'", "\"q\"", "x'1f'", "'#'", "?", "null", "a", "/* c */", "(1)", ""];
    prop::sample::select([numbers, strings].concat())
}

proptest! {
    /// What differs in its values, and in nothing else or hardly, has the id of its own text.
    #[test]
    fn shapes_of_other_values_change_no_id(
        parts in prop::collection::vec((fragment(), [value(), value(), value()]), 0..10),
        ansi_quotes: bool,
        no_backslash_escapes: bool,
    ) {
        let syntax = Syntax { mode: SqlMode { ansi_quotes, no_backslash_escapes }, charset: Charset::default() };
        let mut scanner = Scanner::reading(syntax);
        for turn in 0..3 {
            let sql: Vec<&str> = parts.iter().flat_map(|(fragment, values)| [fragment.as_str(), values[turn]]).collect();
            let sql = sql.concat();
            let digest = Scanner::reading(syntax).digest(sql.as_bytes());
            prop_assert_eq!(scanner.id_of(sql.as_bytes()), digest.id, "{:?} is {:?}", sql, digest.text);
        }
    }
}

#[test]
fn a_shape_says_all_that_a_text_depends_on() {
    let statements = [
        "SELECT count(a) FROM t",
        "SELECT count /* c */ (a) FROM t",
        "SELECT count (a) FROM t",
        "SELECT COUNT FROM t",
        "SELECT count FROM t",
        "SELECT a FROM t WHERE b IN (1)",
        "SELECT a FROM t WHERE b IN (1, 2)",
        "SELECT a FROM t WHERE b IN (1, 2, 3, 4)",
        "SELECT a FROM t WHERE b IN (1, 2, -3, 4)",
        "SELECT 1, 2, 3 4, 5",
        "SELECT @a, 1, 2, 3, 4",
        "SELECT @`a`, 1, 2, 3",
        "SELECT @`b`, 1, 2, 3",
        "SELECT `a`.`b`, `a.b`, a.b",
        "SELECT ab, c FROM t",
        "SELECT a, bc FROM t",
        "INSERT INTO count (a) VALUES (1), (2), (3)",
        "INSERT INTO t VALUES (1, now()), (2, now())",
        "SELECT x'41', 1",
        "SELECT x\"41\", 1",
        "SELECT _utf8 0x41",
        "SELECT _utf8 041",
        "SELECT t.5, 't'.5",
        "SELECT 1.5.6",
        "SELECT a/* 'b' */, 1",
        "SELECT a /*!50000 , 1 */",
        "SELECT /*Main*/ 1, 2, 3",
        "SELECT `a 1`, `a 2`",
        "SELECT `a 2`, `a 1`",
        "SELECT a--1",
        "SELECT a-- 1",
        "SELECT @5, @@5, @a5, @'5'",
    ];
    let long = format!("SELECT {0} FROM {0}{0}{0}", "long_name_".repeat(30));
    let mut scanner = Scanner::new();
    for _ in 0..2 {
        for sql in statements.into_iter().chain([long.as_str()]) {
            assert_eq!(scanner.id_of(sql.as_bytes()), Scanner::new().digest(sql.as_bytes()).id, "{sql}");
        }
    }
}
