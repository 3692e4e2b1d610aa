//! Our digests against the server's own: a running MySQL gives its `STATEMENT_DIGEST_TEXT` of thousands of statements, and ours
//! must be the same but for the differences that `schemas/src/digest/text.rs` declares, each counted here. `mariadb` does the same with a
//! running MariaDB.

mod declared;
mod mariadb;
mod statements;
mod syntax;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use millrace_mysql::{Flavour, Session};
use millrace_schemas::digest::Scanner;
use millrace_test_servers::{Options, Server};

use declared::{Difference, as_ours};
use statements::{collected, generated};

/// 4,000 generated statements: the server does not take each of them.
const GENERATED: usize = 4_000;
/// 2,000 statements that a server digested are the least that says anything about all.
const DIGESTED_MIN: usize = 2_000;
/// 250 of the collected ones: all but those of plugins that a test server has not.
const COLLECTED_MIN: usize = 250;

/// Ids never change between releases: `MILLRACE_GOLDEN=write cargo test --test main digests` adds those of new statements.
#[test]
fn ids_are_those_of_before() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/digests/golden.txt");
    let mut scanner = Scanner::new();
    let line = |sql: String| {
        let digest = scanner.digest(sql.as_bytes());
        format!("{} {}\n", digest.id, digest.text)
    };
    let now: String = collected().into_iter().map(line).collect();
    let before = std::fs::read_to_string(&file).unwrap_or_default();
    if std::env::var("MILLRACE_GOLDEN").is_ok_and(|value| value == "write") {
        assert!(now.starts_with(&before), "statements are added at the end, and ids of before stay");
        std::fs::write(&file, &now).expect("written");
        return;
    }
    for (before, now) in before.lines().zip(now.lines()) {
        assert_eq!(before, now, "an id that was released changed");
    }
    assert_eq!(before.lines().count(), now.lines().count(), "MILLRACE_GOLDEN=write adds the new ones");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mysql_prints_the_same_text_but_for_what_is_declared() {
    let server = Server::start(Flavour::MySql, &Options::default()).await;
    let mut session = server.session().await;
    for statement in ["SET sql_mode = ''", "USE shop"] {
        session.execute(statement).await.expect("it answers");
    }
    let mut scanner = Scanner::new();
    let mut counted: BTreeMap<Option<Difference>, usize> = BTreeMap::new();
    let (mut digested, mut of_collection, mut wrong) = (0, 0, Vec::new());
    let collected = collected();
    let first_generated = collected.len();
    for (at, sql) in collected.into_iter().chain(generated(GENERATED)).enumerate() {
        let literal = format!("'{}'", sql.replace('\\', "\\\\").replace('\'', "''"));
        // What the server cannot parse has no digest there.
        let Ok(Some(theirs)) = session.value(&format!("SELECT STATEMENT_DIGEST_TEXT({literal})")).await else {
            continue;
        };
        digested += 1;
        of_collection += usize::from(at < first_generated);
        let ours = scanner.digest(sql.as_bytes()).text;
        let (expected, differences) = as_ours(&theirs);
        if expected != ours {
            wrong.push(format!("{sql}\n  theirs: {theirs}\n  ours:   {ours}"));
        }
        if differences.is_empty() {
            *counted.entry(None).or_default() += 1;
        }
        for difference in differences {
            *counted.entry(Some(difference)).or_default() += 1;
        }
    }
    let _ = writeln!(std::io::stderr(), "{digested} statements, {of_collection} of them collected: {counted:?}");
    assert!(wrong.is_empty(), "{} undeclared differences:\n{}", wrong.len(), wrong.join("\n"));
    assert!(digested >= DIGESTED_MIN && of_collection >= COLLECTED_MIN, "{digested}, {of_collection} collected");
    let met = Difference::ALL.iter().filter(|difference| counted.contains_key(&Some(**difference)));
    assert_eq!(met.count(), Difference::ALL.len(), "a declared difference was never met: {counted:?}");
}

/// 230 of the 316 collected statements: others are not parsed without a plugin, are refused before they are counted, end the server
/// or the session, or ask for the counters themselves.
const COUNTED_MIN: usize = 230;

/// What each statement is called is what the server counts it as (`Com_select` is `select`), also where it then refuses it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mysql_counts_each_kind_under_our_name() {
    let server = Server::start(Flavour::MySql, &Options::default()).await;
    let mut scanner = Scanner::new();
    let (mut counted, mut wrong) = (0, Vec::new());
    let ends = |sql: &String| ["shutdown", "restart", "clone"].iter().any(|verb| sql.starts_with(verb));
    for sql in collected().into_iter().filter(|sql| !ends(sql)) {
        // A session of its own: some leave locks and transactions behind.
        let mut session = server.session().await;
        session.execute("USE shop").await.expect("it answers");
        let before = counters(&mut session).await;
        let _ = session.rows(&sql).await;
        let after = counters(&mut session).await;
        session.close().await;
        if before.is_empty() || after.is_empty() {
            continue; // it ended the session
        }
        // `FLUSH STATUS` sets some back.
        let rises = |(name, count): &(&String, &u64)| before.get(*name).copied().unwrap_or(0) < **count;
        let rose: Vec<&String> = after.iter().filter(rises).map(|(name, _)| name).collect();
        let kind = scanner.digest(sql.as_bytes()).kind;
        if rose.iter().any(|name| *name == kind.as_str()) {
            counted += 1;
        } else if !rose.is_empty() {
            wrong.push(format!("{sql}: ours is {}, the server's {rose:?}", kind.as_str()));
        }
    }
    let _ = writeln!(std::io::stderr(), "{counted} statements are counted under our names");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(counted >= COUNTED_MIN, "{counted}");
}

/// The session's counters of statements, but for those that rise by being asked for.
async fn counters(session: &mut Session) -> BTreeMap<String, u64> {
    let rows = session.rows("SHOW SESSION STATUS LIKE 'Com\\_%'").await.unwrap_or_default();
    let counters = rows.iter().filter_map(|row| Some((row.text("Variable_name")?, row.number("Value")?)));
    counters
        .map(|(name, count)| (name["Com_".len()..].to_owned(), count))
        .filter(|(name, _)| name != "show_status")
        .collect()
}
