//! `millrace up` beside a server whose statements are counted by its own counters: rows of `queries` with that source, texts in
//! `digests`, and not a row from the wire, though that is captured.

use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace::bus::SharedBus;
use millrace::bus::http::HttpBus;
use millrace::journal::appended_to;
use millrace_mysql::Flavour;
use millrace_schemas::digest::Scanner;
use millrace_schemas::event::Event;
use millrace_schemas::ids::DigestId;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::digests::Entry;
use millrace_schemas::topics::queries::{self, Row, Source};
use millrace_test_servers::{Options, Server};

use super::site::{PATIENCE, millrace};

/// 200 of each; a server may count one or two wrongly, as was measured.
const RUNS: u64 = 200;
const WRONG_MAX: u64 = 2;

struct Up {
    child: Child,
    bus: SocketAddr,
    folder: tempfile::TempDir,
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Up {
    fn beside(server: &Server) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port = millrace_test_servers::free_port();
        let bus = SocketAddr::from(([127, 0, 0, 1], port.number));
        let target = server.target("db1");
        let config = format!(
            "[bus]\nfile = \"{0}/bus.db\"\nlisten = \"{bus}\"\n[[agent]]\nhost = \"h1\"\nstate-dir = \"{0}/agent\"\n\
             capture = \"lo\"\n[[agent.instance]]\nid = \"db1\"\ncluster = \"c1\"\nport = {1}\nuser = \"{2}\"\n\
             password-file = \"{3}\"\nstatements = \"performance-schema\"\n[[cluster]]\nid = \"c1\"\nflavour = \"{4}\"\n\
             primary = \"db1\"\n",
            folder.path().display(),
            server.port(),
            target.account.user,
            target.account.password_file.expect("an account with a password").display(),
            server.flavour(),
        );
        let file = folder.path().join("millrace.toml");
        std::fs::write(&file, config).expect("writable");
        let child = millrace().args(["up", "--config"]).arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Self { child: child.expect("it starts"), bus, folder }
    }

    fn bus(&self) -> Option<SharedBus> {
        let bus = HttpBus::new(self.bus, &self.folder.path().join("bus.token")).ok()?;
        bus.ping().ok().map(|()| Arc::new(bus) as SharedBus)
    }

    /// All rows of `queries` so far.
    fn rows(&self) -> Vec<Row> {
        let Some(bus) = self.bus() else { return Vec::new() };
        let records: Vec<_> = appended_to(&bus, Topic::Queries).and_then(Iterator::collect).expect("readable");
        records
            .iter()
            .flat_map(|record| queries::decode(record.value.as_deref().expect("rows")).expect("decodes"))
            .collect()
    }

    fn text_of(&self, digest: DigestId) -> Option<String> {
        let bus = self.bus()?;
        let records: Vec<_> = appended_to(&bus, Topic::Digests).and_then(Iterator::collect).expect("readable");
        let entries = records.iter().filter_map(|record| Event::<Entry>::from_record(record).ok());
        let mut texts = entries.filter_map(|event| match event.payload {
            Entry::Digest(entry) if entry.digest == digest => Some(entry.text),
            Entry::Digest(_) => None,
        });
        texts.next()
    }
}

async fn counted_by_the_server(flavour: Flavour) {
    let server = Server::start(flavour, &Options::default()).await;
    server.run(&["SET GLOBAL read_only = OFF", "CREATE TABLE shop.counted (nr INT PRIMARY KEY, c INT)"]).await;
    let up = Up::beside(&server);
    let until = Instant::now() + PATIENCE;
    // The agent's own statements come first: it has looked once.
    while up.rows().is_empty() {
        assert!(Instant::now() < until, "no rows came");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let mut session = server.session().await;
    session.execute("USE shop").await.expect("it answers");
    for at in 0..RUNS {
        session.execute(&format!("INSERT INTO counted VALUES ({at}, {at})")).await.expect("inserted");
    }
    session.close().await;
    let digest = Scanner::new().id_of(b"INSERT INTO counted VALUES (1, 1)");
    let counted = loop {
        let rows = up.rows();
        let ours: Vec<&Row> = rows.iter().filter(|row| row.digest == digest).collect();
        let counted: u64 = ours.iter().map(|row| row.count).sum();
        if counted + WRONG_MAX >= RUNS {
            assert!(rows.iter().all(|row| row.source == Source::PerformanceSchema), "the wire counted too: {rows:?}");
            assert!(ours.iter().all(|row| row.schema == "shop" && row.rows_affected == row.count), "{ours:?}");
            break counted;
        }
        assert!(Instant::now() < until, "{counted} of {RUNS} were counted");
        tokio::time::sleep(Duration::from_millis(500)).await;
    };
    assert!(counted <= RUNS + WRONG_MAX, "{counted} of {RUNS}");
    assert_eq!(up.text_of(digest).as_deref(), Some("INSERT INTO `counted` VALUES (...)"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mysql_counts_its_statements_itself() {
    counted_by_the_server(Flavour::MySql).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_counts_its_statements_itself() {
    counted_by_the_server(Flavour::MariaDb).await;
}
