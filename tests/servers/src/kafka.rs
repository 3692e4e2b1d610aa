//! One real Kafka, of one broker or three, as children of the test. In: options. Out: addresses, certificates, signals, restarts.
//! `scripts/kafka.sh` prepares its folder and becomes each broker; see there for what is in the folder. Dropping it kills and
//! removes it, and the kernel kills it when the test process ends.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal};
use tempfile::TempDir;

use crate::ports::{Port, free_port};
use crate::proxy::Proxy;
use crate::{all_stopped, eventually, parent};

/// What `scripts/kafka.sh` gives each broker: plain, TLS, SCRAM, proxied, the proxy, between brokers, between controllers.
const PORTS_PER_BROKER: usize = 7;

/// A broker writes this once all its listeners are open and the controller has let it in.
const STARTED: &str = "Kafka Server started";

/// Settings of a client, by the names that librdkafka gives them.
pub type Settings = BTreeMap<&'static str, String>;

/// How a test wants its Kafka.
#[derive(Debug, Clone, Copy)]
pub struct KafkaOptions {
    /// 1 or 3.
    pub brokers: usize,
    /// Whether who comes over the plain listener may do everything; otherwise nobody but `admin` may do anything without a grant.
    pub open: bool,
    /// The certificate that brokers show to clients: `broker`, or for a test of refusal `wrong-host` or `expired`.
    pub certificate: &'static str,
    /// Where clients of the proxied listener find the proxies.
    pub behind: Ipv4Addr,
}

impl Default for KafkaOptions {
    fn default() -> Self {
        Self { brokers: 1, open: true, certificate: "broker", behind: Ipv4Addr::LOCALHOST }
    }
}

/// Running brokers (or some that the test killed), numbered from 1.
#[derive(Debug)]
pub struct Kafka {
    brokers: Vec<Option<Child>>,
    places: BTreeMap<String, String>,
    _ports: Vec<Port>,
    folder: TempDir,
}

impl Kafka {
    /// Prepares the brokers and starts them; returns when all answer.
    pub async fn start(options: &KafkaOptions) -> Self {
        let folder = tempfile::Builder::new().prefix("millrace-kafka-").tempdir().expect("a temporary folder");
        let ports: Vec<Port> = (0..options.brokers * PORTS_PER_BROKER).map(|_| free_port()).collect();
        let list: Vec<String> = ports.iter().map(|port| port.number.to_string()).collect();
        let mut prepare = script();
        prepare.arg("prepare").arg(folder.path()).args(["--ports", &list.join(",")]);
        prepare.args(["--brokers", &options.brokers.to_string(), "--certificate", options.certificate]);
        prepare.args(["--behind", &options.behind.to_string()]);
        if options.open {
            prepare.arg("--open");
        }
        run(prepare);
        remove_when_orphaned(folder.path());
        let places = read_places(&folder.path().join("kafka.env"));
        let brokers = (0..options.brokers).map(|_| None).collect();
        let mut kafka = Self { brokers, places, _ports: ports, folder };
        // All first and then one after another: three need each other to form a quorum.
        for n in 1..=options.brokers {
            kafka.spawn(n);
        }
        for n in 1..=options.brokers {
            kafka.answers(n).await;
        }
        kafka
    }

    /// Starts broker `n` again after [`Kafka::kill9`] or [`Kafka::stop`]; returns when it answers.
    pub async fn start_again(&mut self, n: usize) {
        self.spawn(n);
        self.answers(n).await;
    }

    /// Starts broker `n` again, without waiting until it answers.
    pub fn spawn(&mut self, n: usize) {
        self.kill9(n);
        let log = self.log(n);
        if log.exists() {
            // Who awaits the start reads the log from its first line.
            std::fs::rename(&log, log.with_extension("log.before")).expect("the log of the last run can be renamed");
        }
        let mut command = Command::new("setpriv");
        // The script becomes the broker, so the process id is the broker's.
        command.args(["--pdeathsig", "KILL"]).arg(script().get_program());
        command.arg("run").arg(self.folder.path()).arg(n.to_string()).stdin(Stdio::null());
        let child = parent::start(command).expect("setpriv of util-linux starts the broker");
        self.brokers[n - 1] = Some(child);
    }

    /// Waits until broker `n` answers.
    pub async fn answers(&mut self, n: usize) {
        let log = self.log(n);
        eventually("the broker answers", async || {
            let child = self.brokers[n - 1].as_mut().expect("the broker was started");
            if let Some(status) = child.try_wait().expect("a child can be waited for") {
                panic!("broker {n} ended with {status} while starting:\n{}", tail(&log));
            }
            std::fs::read_to_string(&log).is_ok_and(|text| text.contains(STARTED)).then_some(())
        })
        .await;
    }

    /// Kills broker `n` (SIGKILL) and waits until the process is gone. Does nothing if it does not run.
    pub fn kill9(&mut self, n: usize) {
        if let Some(mut child) = self.brokers[n - 1].take() {
            // It fails only if the broker has ended, which is what is wanted.
            let _ = child.kill();
            child.wait().expect("a child can be waited for");
        }
    }

    /// Asks broker `n` to end (SIGTERM), which hands its partitions over first, and waits until it has.
    pub async fn stop(&mut self, n: usize) {
        self.signal(n, Signal::TERM);
        let mut child = self.brokers[n - 1].take().expect("the broker runs");
        eventually("the broker ends", async || child.try_wait().expect("a child can be waited for")).await;
    }

    /// Stops broker `n` in its tracks (SIGSTOP); returns when no thread of it runs.
    pub async fn pause(&self, n: usize) {
        self.signal(n, Signal::STOP);
        eventually("the broker stands still", async || all_stopped(self.pid(n))).await;
    }

    /// Lets broker `n` go on after [`Kafka::pause`].
    pub fn resume(&self, n: usize) {
        self.signal(n, Signal::CONT);
    }

    fn signal(&self, n: usize, signal: Signal) {
        let pid = Pid::from_raw(self.pid(n).cast_signed()).expect("a process id is not 0");
        rustix::process::kill_process(pid, signal).expect("the broker is our child, so it can be signalled");
    }

    /// The process id of broker `n`, which must run.
    pub fn pid(&self, n: usize) -> u32 {
        self.brokers[n - 1].as_ref().expect("the broker runs").id()
    }

    /// Where clients without TLS come in: `bootstrap.servers`.
    pub fn bootstrap(&self) -> &str {
        self.place("KAFKA_PLAIN")
    }

    /// Where clients with a certificate come in (`security.protocol=ssl`).
    pub fn bootstrap_tls(&self) -> &str {
        self.place("KAFKA_TLS")
    }

    /// Where users with a password come in (`security.protocol=sasl_ssl`, `sasl.mechanism=SCRAM-SHA-512`).
    pub fn bootstrap_scram(&self) -> &str {
        self.place("KAFKA_SCRAM")
    }

    /// Where clients without TLS come in through the proxies of [`Kafka::proxies`], and through nothing else.
    pub fn bootstrap_proxied(&self) -> &str {
        self.place("KAFKA_PROXY")
    }

    /// The settings of librdkafka for a client without TLS.
    pub fn plain(&self) -> Settings {
        BTreeMap::from([("bootstrap.servers", self.bootstrap().to_owned())])
    }

    /// Those of a client with the certificate of `name`: a role, `admin`, `stranger`, `foreign-agent` or `expired-agent`.
    pub fn with_certificate(&self, name: &str) -> Settings {
        let path = |path: PathBuf| path.display().to_string();
        BTreeMap::from([
            ("bootstrap.servers", self.bootstrap_tls().to_owned()),
            ("security.protocol", "ssl".to_owned()),
            ("ssl.ca.location", path(self.ca())),
            ("ssl.certificate.location", path(self.certificate(name))),
            ("ssl.key.location", path(self.key(name))),
        ])
    }

    /// Those of the SCRAM user `name`: a role, `admin` or `stranger`.
    pub fn with_password(&self, name: &str) -> Settings {
        let password = std::fs::read_to_string(self.password_file(name)).expect("the user has a password");
        BTreeMap::from([
            ("bootstrap.servers", self.bootstrap_scram().to_owned()),
            ("security.protocol", "sasl_ssl".to_owned()),
            ("ssl.ca.location", self.ca().display().to_string()),
            ("sasl.mechanism", "SCRAM-SHA-512".to_owned()),
            ("sasl.username", name.to_owned()),
            ("sasl.password", password),
        ])
    }

    /// One proxy per broker, for [`Kafka::bootstrap_proxied`].
    pub fn proxies(&self) -> Vec<Proxy> {
        let addresses = |name: &str| self.place(name).split(',').map(|one| one.parse().expect("an address")).collect();
        let (front, behind): (Vec<_>, Vec<_>) = (addresses("KAFKA_PROXY"), addresses("KAFKA_PROXIED"));
        front.into_iter().zip(behind).map(|(front, behind)| Proxy::start(front, behind)).collect()
    }

    /// The certificate of the authority that signed the brokers', in PEM.
    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("tls/ca.pem")
    }

    /// The certificate of `name`, in PEM: a role, or `stranger`, `foreign-agent`, `expired-agent`.
    pub fn certificate(&self, name: &str) -> PathBuf {
        self.folder.path().join("tls").join(format!("{name}.crt.pem"))
    }

    /// The key of [`Kafka::certificate`], in PEM.
    pub fn key(&self, name: &str) -> PathBuf {
        self.folder.path().join("tls").join(format!("{name}.key.pem"))
    }

    /// The file with the password of the SCRAM user `name`: a role, `admin` or `stranger`.
    pub fn password_file(&self, name: &str) -> PathBuf {
        self.folder.path().join("secrets").join(format!("{name}.password"))
    }

    /// Grants what the access lists say (`deploy/kafka/acls`). It takes some seconds: Kafka's tool starts a JVM for each grant.
    pub fn grant(&self, lists: &[PathBuf]) {
        let mut acl = script();
        acl.arg("acl").arg(self.folder.path()).args(lists);
        run(acl);
    }

    /// Its folder, as `scripts/kafka.sh` describes it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn place(&self, name: &str) -> &str {
        self.places.get(name).unwrap_or_else(|| panic!("kafka.env has no {name}"))
    }

    fn log(&self, n: usize) -> PathBuf {
        self.folder.path().join(format!("broker-{n}/broker.log"))
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        for n in 1..=self.brokers.len() {
            if std::thread::panicking() {
                // The captured output of a failed test shows why, after the folder is gone.
                eprintln!("log of broker {n}:\n{}", tail(&self.log(n)));
            }
            self.kill9(n);
        }
    }
}

fn script() -> Command {
    Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/kafka.sh"))
}

fn run(mut command: Command) {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("scripts/kafka.sh: {error}"));
    assert!(
        output.status.success(),
        "no Kafka to test with: {} (`make test` installs what is missing; MILLRACE_KAFKA=none leaves these tests out)",
        String::from_utf8_lossy(&output.stderr).trim_end()
    );
}

/// Has the folder removed when this process ends without dropping it, as it does with a static or when it is killed.
fn remove_when_orphaned(folder: &Path) {
    let mut reaper = Command::new("setsid");
    reaper.arg("--fork").arg(script().get_program()).arg("reap").arg(folder);
    reaper
        .arg(std::process::id().to_string())
        .arg("remove")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let started = reaper.status().is_ok_and(|status| status.success());
    assert!(started, "setsid of util-linux starts the reaper of {}", folder.display());
}

fn read_places(path: &Path) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// The last lines of a log, for messages.
fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_else(|error| format!("{}: {error}", log.display()));
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

#[cfg(test)]
mod real_kafka;
