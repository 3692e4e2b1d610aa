//! What an agent costs the host that it watches: a real server under as many statements as the cores give, its packets captured
//! and counted, and the memory of the agent's process at its highest.

use std::io::Write as _;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use millrace::bus::http::HttpBus;
use millrace::bus::{Assignment, Bus as _, From, Polled};
use millrace_mysql::{Flavour, Session};
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::queries;
use millrace_test_servers::{Options, Server, free_port};

use super::site::{PATIENCE, millrace};

/// 128 MiB: what the agent may take beside a server.
const RESIDENT_KIB_MAX: u64 = 128 << 10;
/// 12 s of load: every table that is filled per second has been filled, sent and emptied ten times.
const LOAD_FOR: Duration = Duration::from_secs(12);
const SESSIONS: usize = 8;
/// 400 texts: as many digests as a large application has at once.
const TEXTS: usize = 400;
/// 5,000 statements in each second are what the agent must carry; where cores are starved fewer come.
const STATEMENTS_MIN: u64 = 20_000;

/// Ended when the test is over, however that is.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_under_load_takes_no_more_than_128_mib() {
    let server = Server::start(Flavour::MariaDb, &Options::default()).await;
    let folder = tempfile::tempdir().expect("a folder");
    let (root, port) = (folder.path().display(), free_port());
    let listen = format!("127.0.0.1:{}", port.number);
    let target = server.target("db1");
    let password =
        target.account.password_file.as_ref().map(|file| format!("password-file = \"{}\"\n", file.display()));
    let owner = format!("[bus]\nfile = \"{root}/bus.db\"\nlisten = \"{listen}\"\n");
    let agent = format!(
        "[bus]\nurl = \"http://{listen}\"\ntoken-file = \"{root}/bus.token\"\nstate-dir = \"{root}/state\"\n\
         [[agent]]\nhost = \"h1\"\nstate-dir = \"{root}/agent\"\ncapture = \"lo\"\n[[agent.instance]]\nid = \"db1\"\n\
         cluster = \"c1\"\nport = {}\nuser = \"{}\"\n{}[[cluster]]\nid = \"c1\"\nflavour = \"mariadb\"\nprimary = \"db1\"\n",
        server.port(),
        target.account.user,
        password.unwrap_or_default(),
    );
    let token = folder.path().join("bus.token");
    let _process = start(&folder, "process", &owner);
    let bus = reached(&listen, &token).await;
    let agent = start(&folder, "agent", &agent);
    let mut reader = bus.reader(Assignment::Manual(vec![(Topic::Queries, From::Start)])).expect("the bus answers");
    let mut counted = 0;
    let mut count = |reader: &mut Box<dyn millrace::bus::Reader>| -> u64 {
        for item in reader.poll(Duration::ZERO).unwrap_or_default() {
            if let Polled::Record(record) = item {
                let rows = queries::decode(record.value.as_deref().unwrap_or_default()).expect("rows");
                counted += rows.iter().map(|row| row.count).sum::<u64>();
            }
        }
        counted
    };
    // The capture has begun when it counts what is said.
    let until = Instant::now() + PATIENCE;
    while count(&mut reader) == 0 {
        assert!(Instant::now() < until, "nothing is captured: {}", said(&folder, "agent"));
        let mut session = Session::open(&target).await.expect("it answers");
        session.execute("DO 1").await.expect("done");
        session.close().await;
    }

    let began = Instant::now();
    let load = (0..SESSIONS).map(|number| tokio::spawn(statements(target.clone(), number, began + LOAD_FOR)));
    let mut sent = 0;
    for session in load.collect::<Vec<_>>() {
        sent += session.await.expect("it ends");
    }
    let seconds = began.elapsed().as_secs_f64();
    let until = Instant::now() + PATIENCE;
    while count(&mut reader) < sent {
        assert!(Instant::now() < until, "{sent} were sent: {}", said(&folder, "agent"));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let highest = resident_kib(&agent.0);
    // Not through the test harness, which hides what a good test prints.
    let _ = writeln!(
        std::io::stderr(),
        "an agent that counted {sent} statements at {:.0}/s took {} MiB at most",
        sent as f64 / seconds,
        highest >> 10
    );
    assert!(sent >= STATEMENTS_MIN, "{sent} statements in {seconds:.1} s are no load");
    assert!(highest <= RESIDENT_KIB_MAX, "the agent took {highest} KiB");
}

fn start(folder: &tempfile::TempDir, role: &str, config: &str) -> Running {
    let file = folder.path().join(format!("{role}.toml"));
    std::fs::write(&file, config).expect("writable");
    let log = std::fs::File::create(folder.path().join(format!("{role}.log"))).expect("a log");
    let mut command = millrace();
    command.arg(role).arg("--config").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    Running(command.spawn().expect("it starts"))
}

fn said(folder: &tempfile::TempDir, role: &str) -> String {
    std::fs::read_to_string(folder.path().join(format!("{role}.log"))).unwrap_or_default()
}

async fn reached(listen: &str, token: &std::path::Path) -> HttpBus {
    let until = Instant::now() + PATIENCE;
    loop {
        match HttpBus::new(listen.parse().expect("an address"), token).and_then(|bus| bus.ping().map(|()| bus)) {
            Ok(bus) => return bus,
            Err(error) => assert!(Instant::now() < until, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Statements one after the other, of many texts; how many.
async fn statements(target: millrace_mysql::Target, number: usize, until: Instant) -> u64 {
    let mut session = Session::open(&target).await.expect("it answers");
    let mut sent = 0;
    while Instant::now() < until {
        let text = (number * 53 + sent as usize) % TEXTS;
        session.value(&format!("SELECT {sent} AS column_{text}")).await.expect("answered");
        sent += 1;
    }
    session.close().await;
    sent
}

/// The most memory that the process ever had.
fn resident_kib(child: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("the kernel tells it");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}
