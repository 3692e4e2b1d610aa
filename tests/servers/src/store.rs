//! A real VictoriaMetrics, a real InfluxDB 1.6, or a real Alertmanager. In: what `scripts/store.sh` unpacks. Out: a store on loopback with a folder and
//! a port of its own, which can be killed and started again with what it kept, and be asked in its language; it ends with the test.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::parent;
use crate::ports::{Port, free_port};
use crate::{LOOK_EVERY, WAIT_MAX};

/// A store.
#[derive(Debug)]
pub struct Store {
    /// How the script is told to start it.
    start: &'static str,
    /// What answers as soon as it runs.
    health: &'static str,
    child: Option<Child>,
    port: Port,
    folder: tempfile::TempDir,
}

impl Store {
    /// Starts a VictoriaMetrics that has nothing yet.
    pub fn start() -> Self {
        Self::of("start", "/health")
    }

    /// Starts an InfluxDB that has nothing yet.
    pub fn influxdb() -> Self {
        Self::of("influxdb", "/query?q=SHOW+DATABASES")
    }

    /// Starts a Prometheus that has nothing yet, and takes what is written to it.
    pub fn prometheus() -> Self {
        Self::of("prometheus", "/-/ready")
    }

    /// Starts an Alertmanager that has nothing yet, and tells nobody.
    pub fn alertmanager() -> Self {
        Self::of("alertmanager", "/-/ready")
    }

    fn of(start: &'static str, health: &'static str) -> Self {
        let folder = tempfile::Builder::new().prefix("mr-store-").tempdir().expect("a folder");
        let mut store = Self { start, health, child: None, port: free_port(), folder };
        store.start_again();
        store
    }

    /// Starts it again, with what it kept.
    pub fn start_again(&mut self) {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(script());
        command.args([
            self.start,
            &self.folder.path().join("data").display().to_string(),
            &self.port.number.to_string(),
        ]);
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log_file()).expect("writable");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(parent::start(command).expect("setpriv is there"));
        let began = std::time::Instant::now();
        while ask(self.port.number, self.health).is_none() {
            assert!(began.elapsed() < WAIT_MAX, "the store does not answer: {}", self.log());
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Kills it (SIGKILL).
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port.number)
    }

    /// Makes what was written visible to queries.
    pub fn flush(&self) {
        ask(self.port.number, "/internal/force_flush").expect("the store answers");
    }

    /// The answer to a request for `path`.
    pub fn get(&self, path: &str) -> String {
        ask(self.port.number, path).unwrap_or_else(|| panic!("{path}: no answer; {}", self.log()))
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.kill();
    }
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/store.sh")
}

/// The body of a successful answer; a request this plain needs no client.
fn ask(port: u16, path: &str) -> Option<String> {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?; // a query of a test takes milliseconds
    write!(stream, "GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.lines().next()?.contains(" 200 ").then(|| body.to_owned())
}
