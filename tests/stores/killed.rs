//! A sink that is killed: between what a store took and the position, between what it began to write and the files, between those and the
//! position, and anywhere. The stores have each row once.

use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use millrace::bus::failpoint::VARIABLE;
use millrace_test_servers::free_port;

use super::lakes::{closed, lake, lake_has};
use super::*;

/// Where it dies, and then wherever it is after so many seconds.
const DEATHS: [&str; 5] = ["store.sent:vm", "store.sent:graphite", "lake.planned:lake", "lake.written:lake", ""];
/// 3 s: long enough to start, read, and send for the first time.
const ANYWHERE: Duration = Duration::from_secs(3);

/// `millrace sink` as a process of its own.
struct Sink {
    config: PathBuf,
    child: Option<Child>,
}

impl Sink {
    fn start(&mut self, dies_at: &str) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
        command.args(["sink", "--config"]).arg(&self.config).env(VARIABLE, dies_at);
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.config.with_extension("log"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.expect("writable"));
        self.child = Some(command.spawn().expect("it starts"));
    }

    /// Waits until it has killed itself.
    async fn died(&mut self, at: &str) {
        let until = Instant::now() + PATIENCE;
        let child = self.child.as_mut().expect("it was started");
        let ended = loop {
            if let Some(ended) = child.try_wait().expect("a child") {
                break ended;
            }
            assert!(Instant::now() < until, "it never came to {at}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let log = std::fs::read_to_string(self.config.with_extension("log")).unwrap_or_default();
        assert_eq!(ended.signal(), Some(9), "{at}: {ended}: {log}");
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill(); // it fails only if it has ended
            let _ = child.wait();
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.kill();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_is_killed_between_writing_and_its_position_loses_and_doubles_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let (vm, (graphite, lines), port) = (Store::start(), Store::graphite(), free_port());
    let mut of_bus = settings(folder.path(), Vec::new());
    if let config::Bus::File { listen, .. } = &mut of_bus.bus {
        *listen = Some(([127, 0, 0, 1], port.number).into());
    }
    let up = Up::start(&of_bus, Roles { process: true, ..Roles::NONE }).expect("it starts");
    let config = folder.path().join("sink.toml");
    let root = folder.path().display();
    let text = format!(
        "name = \"sink\"\n[bus]\nurl = \"http://127.0.0.1:{}\"\ntoken-file = \"{root}/bus.token\"\nstate-dir = \"{root}/sink\"\n\
         [[store]]\nname = \"vm\"\nurl = \"{}\"\nkind = \"influx-v2\"\nbucket = \"b\"\n\
         [[store]]\nname = \"graphite\"\nurl = \"tcp://{lines}\"\nkind = \"graphite\"\ntags = true\n\
         [[store]]\nname = \"lake\"\nurl = \"file://{root}/lake\"\nkind = \"parquet\"\nroll-after = \"{}s\"\n",
        port.number,
        vm.url(),
        lakes::ROLL_AFTER.as_secs()
    );
    std::fs::write(&config, text).expect("writable");
    let mut sink = Sink { config, child: None };
    let server = Server::start(Arc::clone(&up.bus));
    let mut deaths = 0;
    for dies_at in DEATHS.into_iter().chain(DEATHS) {
        sink.start(dies_at);
        if dies_at.is_empty() {
            tokio::time::sleep(ANYWHERE).await;
        } else {
            sink.died(dies_at).await;
        }
        sink.kill();
        deaths += 1;
    }
    let counted = server.end();
    let expected = closed(&up.bus, counted).await;
    sink.start("");
    has(&vm, &expected, "the store of a sink that was killed").await;
    has(&graphite, &expected, "the same by Graphite's lines").await;
    lake_has(folder.path(), &expected).await;
    let begun = lake(folder.path());
    println!(
        "{deaths} deaths of the sink; {} window rows exactly once in {}, by Graphite's lines, and in {}",
        expected.len(),
        vm.url(),
        begun.name
    );
    sink.kill();
    up.stop().await;
}
