//! No literal leaves the host: statements with planted ones run on a real server that is captured, whose slow log is followed and
//! whose counters are read; then everything that Millrace wrote is searched for them: topics, the bus file, the log, the pages,
//! what the commands print.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use millrace_mysql::{Flavour, Session};
use millrace_schemas::topics::Topic;
use millrace_test_servers::{Options, Server};

use super::beside::Beside;
use super::site::{PATIENCE, millrace};

/// What is planted: a number, a word, hexadecimal digits, a date, and letters of several bytes. None is a part of anything else.
const PLANTED: [&str; 5] = ["7319246058", "plantedword", "b17beef5ec7e70", "1913-07-19", "gepflänzt"];

/// A statement is refused, or not, as the server likes: each is on the wire and in the slow log.
const STATEMENTS: [&str; 24] = [
    "SELECT c FROM secrets WHERE nr = 7319246058 AND c = 'plantedword'",
    "INSERT INTO secrets VALUES (7319246058, 'plantedword', '1913-07-19')",
    "INSERT INTO secrets VALUES (7319246058, 'plantedword', '1913-07-19')", // the key is there: the error names it
    "SELECT 0xb17beef5ec7e70, x'b17beef5ec7e70', N'plantedword', _utf8mb4'gepflänzt'",
    "SELECT c FROM secrets WHERE d > DATE '1913-07-19' AND c LIKE 'gepflänzt%'",
    "SELECT '{\"word\": \"plantedword\", \"number\": 7319246058}'",
    "SELECT /* plantedword */ 1 # 7319246058",
    "SELECT 1 -- plantedword\n+ 7319246058.5e1",
    "SELECT 'a''plantedword', 'a\\'plantedword', \"plantedword\"",
    "CREATE USER IF NOT EXISTS masked@'192.0.2.1' IDENTIFIED BY 'plantedword'",
    "SET @planted = 'plantedword', @number = 7319246058",
    "SELECT 'plantedword", // never closed
    "SELECT c FROM secrets WHERE nosuch = 'plantedword' OR nr IN (7319246058, 7319246058)",
    "SELECT SLEEP(0.01), 'line\n# Time: 1913-07-19T00:00:00.000000Z\n# User@Host: plantedword[plantedword] @ [7319246058]\n'",
    "CALL nosuch('plantedword', 7319246058)",
    "SET sql_mode = 'NO_BACKSLASH_ESCAPES'",
    r"SELECT 'x\', 'plantedword' AS no_escapes",
    "SET sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'",
    r#"SELECT "c\", 'x\', 'plantedword' AS ansi_quotes FROM secrets"#,
    "SET sql_mode = DEFAULT, NAMES gbk",
    r"SELECT '表\', 'plantedword' AS half_a_character", // its last byte and the backslash are one character
    "SET NAMES utf8mb4, sql_mode = ''",
    r"SELECT 'it\'s', 'plantedword' AS escapes",
    "SET sql_mode = DEFAULT",
];

/// What is read of those that a session's mode or character set decides.
const READ: [&str; 4] = [
    "SELECT ?, ... AS `no_escapes`",
    r"SELECT `c\\` , ?, ... AS `ansi_quotes` FROM `secrets`",
    "SELECT ?, ... AS `half_a_character`",
    "SELECT ?, ... AS `escapes`",
];

/// One server and `millrace up` beside it.
struct Watched {
    server: Server,
    up: Beside,
}

async fn no_literal_leaves(flavour: Flavour) {
    let lines = vec!["long-query-time=0".to_owned()];
    let server = Server::start(flavour, &Options { lines, ..Options::default() }).await;
    server.run(&["SET GLOBAL read_only = OFF"]).await;
    server.run(&["CREATE TABLE shop.secrets (nr BIGINT PRIMARY KEY, c VARCHAR(80), d DATE)"]).await;
    let up = Beside::start(&server, "capture = \"lo\"", "");
    let mut watched = Watched { server, up };
    watched.plant().await;
    let told = watched.told();
    watched.up.end();
    let files = files(watched.up.folder.path());
    assert!(files.iter().any(|(name, _)| name.ends_with("bus.db")), "the bus file was not found");
    for (what, text) in told.iter().chain(&files) {
        for planted in PLANTED {
            let found = text.to_lowercase().find(planted);
            assert!(found.is_none(), "{flavour}: {planted} is in {what}: {:?}", around(text, found.unwrap_or(0)));
        }
    }
}

/// Some bytes before and behind a place.
fn around(text: &str, at: usize) -> String {
    let lower = text.to_lowercase();
    lower.char_indices().filter(|(i, _)| i.abs_diff(at) < 120).map(|(_, char)| char).collect()
}

impl Watched {
    /// Runs the statements again and again, until they were seen on the wire and in the slow log.
    async fn plant(&self) {
        let until = Instant::now() + PATIENCE;
        let seen = [Topic::SlowQueries, Topic::Queries, Topic::Digests, Topic::Windows];
        let records = |topic| self.up.told(topic).len();
        while seen.into_iter().any(|topic| records(topic) < 4) {
            assert!(Instant::now() < until, "{:?}\n{}", seen.map(records), self.up.log());
            let mut session = self.server.session().await;
            session.execute("USE shop").await.expect("it answers");
            for statement in STATEMENTS {
                let _ = session.execute(statement).await;
                let _ = session.rows(statement).await;
            }
            self.prepared(&mut session).await;
            session.close().await;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    async fn prepared(&self, session: &mut Session) {
        let sql = "SELECT c FROM secrets WHERE nr = ? AND c = ? AND d <> '1913-07-19'";
        session.execute_with(sql, (7_319_246_058_u64, "plantedword")).await.expect("executed");
    }

    /// What can be read of it while it runs: topics, pages, and what the commands say of the slow log.
    fn told(&self) -> Vec<(String, String)> {
        let mut told = Vec::new();
        for topic in Topic::ALL {
            for record in self.up.told(topic) {
                let value = record.value.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
                told.push((format!("the topic {topic}"), format!("{} {:?} {value}", record.key, record.headers)));
            }
        }
        let digests: String =
            told.iter().filter(|(what, _)| what == "the topic digests").map(|(_, text)| &**text).collect();
        for read in READ {
            assert!(digests.contains(read), "no digest reads {read}: {digests}");
        }
        let get = |path: &str| {
            let url = format!("http://{}{path}", self.up.console);
            let page = reqwest::blocking::get(url).and_then(reqwest::blocking::Response::text);
            (format!("the page {path}"), page.expect("a page"))
        };
        let pages: Vec<_> = std::thread::scope(|scope| {
            let all = ["/", "/cluster/c1", "/digests", "/events", "/api/state", "/api/why/c1", "/metrics"];
            // A thread of its own, since this one belongs to a runtime.
            scope.spawn(move || all.map(get).to_vec()).join().expect("pages")
        });
        assert!(pages[2].1.contains("secrets"), "the page of digests shows none of them");
        told.extend(pages);
        let slow = self.server.folder().join("slow.log");
        // All groups: on a machine that stalls, a statement that took long may push the others out.
        let digest = ["digest", "--limit", "all"];
        let forms: [&[&str]; 3] = [&[], &["-o", "json"], &["-o", "html"]];
        let commands = forms.into_iter().map(|form| [&digest, form].concat()).chain([vec!["slowlog"]]);
        for command in commands {
            let output = millrace().args(&command).arg(&slow).stdin(Stdio::null()).output().expect("it runs");
            let text =
                [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
            assert!(text.contains("secrets"), "{command:?} shows none of them: {text}");
            told.push((format!("{command:?}"), text));
        }
        told
    }
}

/// Everything in a folder, as text.
fn files(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        if entry.path().is_dir() {
            found.extend(files(&entry.path()));
        } else if let Ok(bytes) = std::fs::read(entry.path()) {
            found.push((entry.path().display().to_string(), String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_literal_leaves_a_host_of_mysql() {
    no_literal_leaves(Flavour::MySql).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_literal_leaves_a_host_of_mariadb() {
    no_literal_leaves(Flavour::MariaDb).await;
}
