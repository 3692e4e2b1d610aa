//! `millrace up` beside one server that Millrace did not create: what tests of watching begin with.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Instant;

use millrace::bus::SharedBus;
use millrace::bus::http::HttpBus;
use millrace::journal::appended_to;
use millrace_schemas::event::Event;
use millrace_schemas::ids::DigestId;
use millrace_schemas::record::Record;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::digests::Entry;
use millrace_schemas::topics::queries::{self, Row};
use millrace_test_servers::{Port, Server};

use super::site::{PATIENCE, millrace};

/// The server is `db1` of the cluster `c1`.
pub(super) struct Beside {
    pub(super) child: Child,
    pub(super) console: SocketAddr,
    pub(super) folder: tempfile::TempDir,
    bus: SocketAddr,
    _ports: [Port; 2],
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Beside {
    /// Starts it; `agent` are more lines about the agent, `instance` about the server.
    pub(super) fn start(server: &Server, agent: &str, instance: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let ports = [millrace_test_servers::free_port(), millrace_test_servers::free_port()];
        let [bus, console] = [0, 1].map(|at: usize| SocketAddr::from(([127, 0, 0, 1], ports[at].number)));
        let target = server.target("db1");
        let password = target.account.password_file.as_ref();
        let password = password.map_or_else(String::new, |file| format!("password-file = \"{}\"\n", file.display()));
        let config = format!(
            "[bus]\nfile = \"{0}/bus.db\"\nlisten = \"{bus}\"\n[console]\nlisten = \"{console}\"\n\
             [archive]\ndir = \"{0}/archive\"\n[[agent]]\nhost = \"h1\"\nstate-dir = \"{0}/agent\"\n{agent}\n\
             [[agent.instance]]\nid = \"db1\"\ncluster = \"c1\"\nport = {1}\nuser = \"{2}\"\n{password}{instance}\n\
             [[cluster]]\nid = \"c1\"\nflavour = \"{3}\"\nprimary = \"db1\"\n",
            folder.path().display(),
            server.port(),
            target.account.user,
            server.flavour(),
        );
        std::fs::write(folder.path().join("millrace.toml"), config).expect("writable");
        Self { child: Self::up(folder.path()), console, folder, bus, _ports: ports }
    }

    /// Starts it again after [`Beside::end`], as it was.
    pub(super) fn again(&mut self) {
        self.child = Self::up(self.folder.path());
    }

    fn up(folder: &Path) -> Child {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("up.log")).expect("a log");
        let mut command = millrace();
        command.args(["up", "--config"]).arg(folder.join("millrace.toml")).env("MILLRACE_LOG", "debug");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("it starts")
    }

    /// Its configuration.
    pub(super) fn file(&self) -> PathBuf {
        self.folder.path().join("millrace.toml")
    }

    /// What it said.
    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("up.log")).unwrap_or_default()
    }

    /// Asks it to end, and waits until it has, well.
    pub(super) fn end(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
        assert!(self.child.wait().expect("waitable").success(), "SIGTERM is a clean end\n{}", self.log());
    }

    /// Its bus, once that answers.
    pub(super) fn bus(&self) -> Option<SharedBus> {
        let bus = HttpBus::new(self.bus, &self.folder.path().join("bus.token")).ok()?;
        bus.ping().ok().map(|()| Arc::new(bus) as SharedBus)
    }

    /// Everything that is in a topic.
    pub(super) fn told(&self, topic: Topic) -> Vec<Record> {
        self.bus().map_or_else(Vec::new, |bus| {
            appended_to(&bus, topic).and_then(Iterator::collect::<Result<_, _>>).expect("readable")
        })
    }

    /// All rows of `queries` so far.
    pub(super) fn rows(&self) -> Vec<Row> {
        let rows = |record: Record| queries::decode(record.value.as_deref().expect("rows")).expect("decodes");
        self.told(Topic::Queries).into_iter().flat_map(rows).collect()
    }

    /// The text of a digest, if it was told.
    pub(super) fn text_of(&self, digest: DigestId) -> Option<String> {
        let records = self.told(Topic::Digests);
        let entries = records.iter().filter_map(|record| Event::<Entry>::from_record(record).ok());
        let mut texts = entries.filter_map(|event| match event.payload {
            Entry::Digest(entry) if entry.digest == digest => Some(entry.text),
            Entry::Digest(_) => None,
        });
        texts.next()
    }

    /// A metric's line as it stands, without its value, and that.
    pub(super) async fn metric(&self, series: &str) -> Option<f64> {
        let page = reqwest::get(format!("http://{}/metrics", self.console)).await.ok()?.text().await.ok()?;
        page.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
    }

    /// Waits until `look` finds something in the rows.
    pub(super) async fn until<T>(&self, what: &str, look: impl Fn(&[Row]) -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        loop {
            let rows = self.rows();
            if let Some(found) = look(&rows) {
                return found;
            }
            assert!(Instant::now() < until, "{what} did not come: {rows:#?}\n{}", self.log());
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    }
}
