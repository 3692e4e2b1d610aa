//! One real server as a child of the test. In: a flavour and options. Out: sessions, signals, restarts.
//! It starts closed (read-only, replication not started), as every server of Millrace does.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use millrace_executors::hands::files::{Template, TemplateAccount};
use millrace_executors::hands::server::Replication;
use millrace_mysql::flavour::Source;
use millrace_mysql::{Address, Flavour, Session, Target};
use rustix::process::{Pid, Signal};
use tempfile::TempDir;

use crate::ports::{Port, free_port};
use crate::template::template_of;
use crate::{WAIT_MAX, eventually};

/// How a test wants its server.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whether the replica side of semi-synchronous replication is on.
    pub semi_sync_replica: bool,
    /// Lines for the configuration file, after all others.
    pub lines: Vec<String>,
}

/// A running server (or one that the test killed). Dropping it kills and removes it.
#[derive(Debug)]
pub struct Server {
    flavour: Flavour,
    template: Template,
    child: Option<Child>,
    port: Port,
    folder: TempDir,
}

impl Server {
    /// Makes an instance and starts it; returns when it answers.
    pub async fn start(flavour: Flavour, options: &Options) -> Self {
        let template = template_of(flavour);
        let folder = tempfile::Builder::new().prefix("millrace-test-").tempdir().expect("a temporary folder");
        let port = free_port();
        copy_data(&template.data, &folder.path().join("data"));
        let text = configuration(&template, folder.path(), port.number, options);
        std::fs::write(folder.path().join("my.cnf"), text).expect("the configuration can be written");
        let mut server = Self { flavour, template, child: None, port, folder };
        server.start_again().await;
        server
    }

    /// Starts the server again after [`Server::kill`] or an exit of its own.
    pub async fn start_again(&mut self) {
        self.reap();
        self.child = Some(self.spawn());
        eventually("the server answers", async || {
            let exited = self.child.as_mut().and_then(|child| child.try_wait().expect("a child can be waited for"));
            if let Some(status) = exited {
                panic!("{} ended with {status} while starting:\n{}", self.flavour, self.error_log_tail());
            }
            Session::open(&self.target("starting")).await.ok()
        })
        .await
        .close()
        .await;
    }

    fn spawn(&self) -> Child {
        let output = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("stdout.log"))
            .expect("the server's output file can be opened");
        // The kernel kills the server when this thread ends, so that a test that is killed leaves nothing behind. setpriv
        // (of util-linux) becomes the server, so the process id is the server's.
        Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(&self.template.server)
            .arg(format!("--defaults-file={}", self.folder.path().join("my.cnf").display()))
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a file handle can be doubled"))
            .stderr(output)
            .spawn()
            .expect("setpriv of util-linux starts the server")
    }

    /// Sends SIGKILL and waits until the process is gone.
    pub fn kill(&mut self) {
        self.reap();
    }

    /// Sends a signal, for instance SIGSTOP or SIGTERM.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid().cast_signed()).expect("a process id is not 0");
        rustix::process::kill_process(pid, signal).expect("the server is our child, so it can be signalled");
    }

    /// Waits until the process ended by itself, and returns its exit code, or `None` after a signal.
    pub async fn exit_code(&mut self) -> Option<i32> {
        let child = self.child.as_mut().expect("the server was started");
        let status = eventually("the server ends", async || child.try_wait().expect("a child can be waited for")).await;
        self.child = None;
        status.code()
    }

    /// The process id of the running server.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the server runs").id()
    }

    /// The flavour.
    pub fn flavour(&self) -> Flavour {
        self.flavour
    }

    /// The template that it was copied from.
    pub fn template(&self) -> &Template {
        &self.template
    }

    /// The TCP port on 127.0.0.1, which is its `server_id` too.
    pub fn port(&self) -> u16 {
        self.port.number
    }

    /// Its folder: `my.cnf`, `data`, `s` (socket), `error.log`, `slow.log`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    /// How to reach it over TCP as the agent's account, as patiently as tests are: the product's limits tell a server that hangs
    /// from one that is healthy, not from one that shares starved cores.
    pub fn target(&self, instance: &str) -> Target {
        self.target_as(instance, &self.template.accounts.agent)
    }

    /// How to reach it over TCP as `account`, one of its template's.
    pub fn target_as(&self, instance: &str, account: &TemplateAccount) -> Target {
        let address = Address::Tcp { host: "127.0.0.1".into(), port: self.port() };
        let usual = Target::new(instance, address, account.login(&self.template.folder));
        Target { connect_within: WAIT_MAX, answer_within: WAIT_MAX, ..usual }
    }

    /// Whom replicas of it log in as.
    pub fn replication(&self) -> Replication {
        let account = &self.template.accounts.replication;
        let password = account.password(&self.template.folder).unwrap_or_else(|error| panic!("{error}"));
        Replication { user: account.user.clone(), password }
    }

    /// What replicas of it are told of it.
    pub fn as_source(&self) -> Source {
        let Replication { user, password } = self.replication();
        Source { host: "127.0.0.1".into(), port: self.port(), user, password, tls: false, was_primary: false }
    }

    /// A new session of the agent's account.
    pub async fn session(&self) -> Session {
        Session::open(&self.target("test")).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Runs statements, one after another, in one session of their own.
    pub async fn run(&self, statements: &[&str]) {
        let mut session = self.session().await;
        for statement in statements {
            session.execute(statement).await.unwrap_or_else(|error| panic!("{error}"));
        }
        session.close().await;
    }

    /// The first value that a statement returns.
    pub async fn value(&self, statement: &str) -> Option<String> {
        let mut session = self.session().await;
        let value = session.value(statement).await.unwrap_or_else(|error| panic!("{error}"));
        session.close().await;
        value
    }

    /// The last lines of the error log, for messages.
    pub fn error_log_tail(&self) -> String {
        let text = std::fs::read_to_string(self.folder.path().join("error.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    fn reap(&mut self) {
        if let Some(mut child) = self.child.take() {
            // An error means that it is gone already, which is what is wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The captured output of a failed test shows why, after the folder is gone.
            eprintln!("error log of the {} on port {}:\n{}", self.flavour, self.port(), self.error_log_tail());
        }
        self.reap();
    }
}

fn copy_data(from: &Path, to: &Path) {
    let copied = Command::new("cp").args(["-a", "--reflink=auto", "--sparse=always"]).arg(from).arg(to).status();
    assert!(copied.is_ok_and(|status| status.success()), "copying {} to {} failed", from.display(), to.display());
}

// 30 s of network time-out: a replica whose source starves for the two seconds of an instance of the product would look cut off.
const MYSQL: &str = "mysqlx=OFF\nsecure-file-priv=NULL\ngtid-mode=ON\nenforce-gtid-consistency=ON\nsuper-read-only=ON\n\
    skip-replica-start=ON\nreplica-net-timeout=30\ninnodb-redo-log-capacity=32M\n\
    plugin-load-add=semisync_source.so\nplugin-load-add=semisync_replica.so\n";

const MARIADB: &str = "gtid-domain-id=0\ngtid-strict-mode=ON\nlog-slave-updates=ON\nskip-slave-start=ON\n\
    slave-net-timeout=30\ninnodb-log-file-size=32M\ninit-rpl-role=SLAVE\n";

fn configuration(template: &Template, folder: &Path, port: u16, options: &Options) -> String {
    let folder = folder.display();
    let Template { basedir, plugin_dir, lc_messages_dir, character_sets_dir, .. } = template;
    let (plugin_dir, basedir) = (plugin_dir.display(), basedir.display());
    let (messages, sets) = (lc_messages_dir.display(), character_sets_dir.display());
    // As root a server refuses to run unless it is told that this is meant.
    let user = if rustix::process::geteuid().is_root() { "user=root\n" } else { "" };
    let mut text = format!(
        "[mysqld]\n{user}basedir={basedir}\nplugin-dir={plugin_dir}\nlc-messages-dir={messages}\n\
         character-sets-dir={sets}\ndatadir={folder}/data\nport={port}\nbind-address=127.0.0.1\n\
         socket={folder}/s\npid-file={folder}/pid\nlog-error={folder}/error.log\nserver-id={port}\n\
         report-host=127.0.0.1\nreport-port={port}\nskip-name-resolve\nlog-bin={folder}/data/binlog\n\
         relay-log={folder}/data/relay\nbinlog-format=ROW\nread-only=ON\ninnodb-buffer-pool-size=64M\n\
         innodb-flush-method=nosync\nperformance-schema=ON\nslow-query-log=ON\n\
         slow-query-log-file={folder}/slow.log\nlong-query-time=0.5\n"
    );
    match template.flavour {
        Flavour::MySql => {
            text.push_str(MYSQL);
            text.push_str("loose-rpl-semi-sync-replica-enabled=");
        }
        Flavour::MariaDb => {
            text.push_str(MARIADB);
            text.push_str("rpl-semi-sync-slave-enabled=");
        }
    }
    text.push_str(if options.semi_sync_replica { "ON\n" } else { "OFF\n" });
    for line in &options.lines {
        text.push_str(line);
        text.push('\n');
    }
    text
}
