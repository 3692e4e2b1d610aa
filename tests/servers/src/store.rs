//! A real VictoriaMetrics, a real InfluxDB 1.6 or 2.7, a real Prometheus, a server of S3, or a real Alertmanager. In: what `scripts/store.sh` unpacks. Out: a store on loopback with a folder and
//! a port of its own, which can be killed and started again with what it kept, and be asked in its language; it ends with the test.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::parent;
use crate::ports::{Port, free_port};
use crate::{LOOK_EVERY, WAIT_MAX};

/// The token of an InfluxDB 2.7.
pub const TOKEN: &str = "a-token-of-the-test";

/// Nothing can be asked of it in plain text.
const OVER_TLS: &str = "";

/// What `DuckDB` says to `sql`: a line of JSON for each row.
pub fn duckdb(sql: &str) -> String {
    let asked = Command::new(script()).arg("duckdb").arg(sql).output().expect("the script runs");
    assert!(asked.status.success(), "{sql}: {}", String::from_utf8_lossy(&asked.stderr));
    String::from_utf8(asked.stdout).expect("text")
}

/// A store.
#[derive(Debug)]
pub struct Store {
    /// How the script is told to start it.
    start: &'static str,
    /// What answers as soon as it runs.
    health: &'static str,
    /// What else the program is told.
    more: Vec<String>,
    child: Option<Child>,
    port: Port,
    /// Ports of its that nobody else may get meanwhile.
    _others: Vec<Port>,
    folder: tempfile::TempDir,
}

impl Store {
    /// Starts a VictoriaMetrics that has nothing yet.
    pub fn start() -> Self {
        Self::of("start", "/health")
    }

    /// Starts a VictoriaMetrics that has nothing yet, and takes Graphite's lines at the address beside it.
    pub fn graphite() -> (Self, String) {
        let port = free_port();
        let address = format!("127.0.0.1:{}", port.number);
        let more = vec![format!("-graphiteListenAddr={address}")];
        (Self::with("start", "/health", more, vec![port]), address)
    }

    /// Starts a VictoriaMetrics that has nothing yet, and answers over TLS too, at the port beside it, with this certificate and key.
    pub fn tls([certificate, key]: [&Path; 2]) -> (Self, u16) {
        let port = free_port();
        let number = port.number;
        let mut more = vec![format!("-httpListenAddr=127.0.0.1:{number}"), "-tls=false,true".to_owned()];
        // One for each address.
        for _ in 0..2 {
            more.push(format!("-tlsCertFile={}", certificate.display()));
            more.push(format!("-tlsKeyFile={}", key.display()));
        }
        (Self::with("start", "/health", more, vec![port]), number)
    }

    /// Starts an InfluxDB 2.7 whose organisation `o` has a bucket `b`, which keeps an hour, and a token [`TOKEN`] that may do
    /// everything. Somebody must have built it.
    pub fn influxdb2() -> Self {
        let store = Self::of("influxdb2", "/health");
        let set_up = format!(
            "{{\"username\":\"u\",\"password\":\"password-of-u\",\"org\":\"o\",\"bucket\":\"b\",\"token\":\"{TOKEN}\",\"retentionPeriodSeconds\":3600}}"
        );
        store.post("/api/v2/setup", "Content-Type: application/json\r\n", &set_up);
        store
    }

    /// Starts a server that speaks S3 and has nothing.
    pub fn s3() -> Self {
        Self::of("s3", "/moto-api/")
    }

    /// Starts one that speaks over TLS alone, with this certificate and key.
    pub fn s3_over_tls([certificate, key]: [&Path; 2]) -> Self {
        let more = [certificate, key].map(|file| file.display().to_string());
        Self::with("s3", OVER_TLS, more.into(), Vec::new())
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
        Self::with(start, health, Vec::new(), Vec::new())
    }

    fn with(start: &'static str, health: &'static str, more: Vec<String>, others: Vec<Port>) -> Self {
        let folder = tempfile::Builder::new().prefix("mr-store-").tempdir().expect("a folder");
        let mut store = Self { start, health, more, child: None, port: free_port(), _others: others, folder };
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
        command.args(&self.more);
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log_file()).expect("writable");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(parent::start(command).expect("setpriv is there"));
        let began = std::time::Instant::now();
        while !self.answers() {
            assert!(began.elapsed() < WAIT_MAX, "the store does not answer: {}", self.log());
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// What speaks TLS alone is not asked anything: it takes a connection when it is ready.
    fn answers(&self) -> bool {
        match self.health {
            OVER_TLS => std::net::TcpStream::connect(("127.0.0.1", self.port.number)).is_ok(),
            path => ask(self.port.number, path).is_some(),
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

    /// The answer to a POST of `body` with more headers, each with its end of line.
    pub fn post(&self, path: &str, headers: &str, body: &str) -> String {
        let head = format!("{headers}Content-Length: {}\r\n", body.len());
        let asked = request(self.port.number, &format!("POST {path}"), &head, body);
        asked.unwrap_or_else(|| panic!("{path}: no success; {}", self.log()))
    }

    /// The answer to any other request, such as `PUT /a`, or a `GET` with headers.
    pub fn ask(&self, what: &str, headers: &str) -> Option<String> {
        request(self.port.number, what, headers, "")
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
    request(port, &format!("GET {path}"), "", "")
}

fn request(port: u16, what: &str, headers: &str, body: &str) -> Option<String> {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?; // a query of a test takes milliseconds
    write!(stream, "{what} HTTP/1.0\r\nHost: 127.0.0.1\r\n{headers}\r\n{body}").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.lines().next()?.contains(" 20").then(|| body.to_owned())
}
