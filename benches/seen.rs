//! How soon people see what happened: a real server under 5,000 statements a second, its packets captured by `millrace up`, and now and then
//! one marked statement, which fails. How long after its answer is it in the console, are the instance's numbers of that second in a
//! real `VictoriaMetrics`, and is its digest there? All on one machine, with the load, the server and the store on the same cores.
//! `cargo bench --bench seen` (five minutes); with `--test` (as `cargo test --benches` runs it) a few marks.
#![allow(clippy::print_stdout)] // the numbers are what it is for

use std::cell::Cell;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use millrace_mysql::{Flavour, Session};
use millrace_schemas::digest::Scanner;
use millrace_test_servers::{Options, Server, Store, free_port};

/// What the goals were set at.
const RATE: u32 = 5_000;
const CONNECTIONS: u32 = 8;
const ROWS: u32 = 10_000;
/// 100 marks, 2.3 s apart, so that they fall anywhere in a second and in a window.
const MARKS: usize = 100;
const MARKS_SHORT: usize = 2;
const APART: Duration = Duration::from_millis(2_300);
/// 20 ms between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// 2 min for what takes seconds.
const PATIENCE: Duration = Duration::from_mins(2);
/// What is looked for, and what 99 of 100 may take at most.
const GOALS: [(&str, f64); 3] =
    [("in the console", 2.0), ("the instance's numbers in the store", 5.0), ("its digest in the store", 15.0)];

fn main() {
    let short = std::env::args().any(|argument| argument == "--test");
    if Command::new("sysbench").arg("--version").output().is_err() {
        return println!("left out: sysbench is not installed (`make bench-live` installs it)");
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let server = runtime.block_on(async {
        let server = Server::start(Flavour::MariaDb, &Options::default()).await;
        server.run(&["SET GLOBAL read_only=OFF"]).await;
        server
    });
    sysbench(&server, &["prepare"]).output().expect("sysbench runs");
    let (folder, store) = (tempfile::tempdir().expect("a folder"), Store::start());
    let port = free_port();
    let console = SocketAddr::from(([127, 0, 0, 1], port.number));
    let _up = up(&server, folder.path(), console, &store);
    let _load =
        Running(sysbench(&server, &[&format!("--rate={RATE}"), "--time=3600", "run"]).spawn().expect("it runs"));
    let seen = Seen { console, store: &store, asked: Cell::new(0) };
    let mut session = runtime.block_on(Session::open(&server.target("db1"))).expect("it answers");
    let mut mark = |name: String| {
        let sql = format!("SELECT {name} FROM nowhere.{name}");
        let _ = runtime.block_on(session.execute(&sql)).expect_err("there is no such table");
        (jiff::Timestamp::now(), Scanner::new().digest(sql.as_bytes()).id.to_string())
    };
    // The capture has begun, and the store has a first second.
    let (began, mut first) = (Instant::now(), mark("first".to_owned()));
    while seen.is(1, first.0, &first.1) != Some(true) && began.elapsed() < PATIENCE {
        std::thread::sleep(2 * APART);
        if seen.is(1, first.0, &first.1) != Some(true) {
            first = mark("first".to_owned());
        }
    }
    let marks = if short { MARKS_SHORT } else { MARKS };
    let mut waiting: Vec<(usize, Instant, jiff::Timestamp, String)> = Vec::new();
    let (mut took, mut made, mut next) = ([const { Vec::new() }; 3], 0, Instant::now());
    while made < marks || !waiting.is_empty() {
        if made < marks && Instant::now() >= next {
            let (at, digest) = mark(format!("mark_{}", letters(made)));
            waiting.extend((0..GOALS.len()).map(|what| (what, Instant::now(), at, digest.clone())));
            (made, next) = (made + 1, next + APART);
        }
        waiting.retain(|(what, since, at, digest)| {
            assert!(since.elapsed() < PATIENCE, "never seen: {}", GOALS[*what].0);
            let is = seen.is(*what, *at, digest).unwrap_or(false);
            if is {
                took[*what].push(since.elapsed().as_secs_f64());
            }
            !is
        });
        std::thread::sleep(LOOK_EVERY);
    }
    for ((what, most), mut took) in GOALS.into_iter().zip(took) {
        took.sort_by(f64::total_cmp);
        let at = |share: f64| took[((took.len() as f64 * share).ceil() as usize).clamp(1, took.len()) - 1];
        let held = if at(0.99) <= most { "held" } else { "MISSED" };
        println!("{what}: p50 {:.2} s, p99 {:.2} s, of {}; goal {most} s: {held}", at(0.5), at(0.99), took.len());
    }
}

/// A number as letters: digits in a name are a part of it, but nobody has to know that here.
fn letters(number: usize) -> String {
    number.to_string().bytes().map(|digit| char::from(digit - b'0' + b'a')).collect()
}

/// What the console says.
fn asked(console: SocketAddr) -> Option<String> {
    reqwest::blocking::get(format!("http://{console}/api/state")).ok()?.text().ok()
}

/// Where people look.
struct Seen<'a> {
    console: SocketAddr,
    store: &'a Store,
    /// How often the store was asked for a digest.
    asked: Cell<u64>,
}

impl Seen<'_> {
    /// Whether what happened `at` that moment is there, in the order of [`GOALS`]; none where nobody answers yet.
    fn is(&self, what: usize, at: jiff::Timestamp, digest: &str) -> Option<bool> {
        match what {
            0 => Some(asked(self.console)?.contains(digest)),
            // Nothing else fails, and two marks are two seconds apart.
            1 => {
                let end = (at.as_second() + 1) * 1_000;
                let failed = self.points("millrace_second_errors");
                Some(failed.iter().any(|(at, count)| *count > 0.0 && (end - 2_000..end).contains(at)))
            }
            // The store remembers for ten seconds that a selection found nothing: a new one is asked each time, as by a person who comes.
            _ => {
                let asked = self.asked.replace(self.asked.get() + 1);
                let selection = format!("%7Bdigest=%22{digest}%22,instance!=%22{asked}%22%7D");
                Some(!self.points(&format!("millrace_statements_queries{selection}")).is_empty())
            }
        }
    }

    /// The points of a series, by their times.
    fn points(&self, series: &str) -> Vec<(i64, f64)> {
        let told = self.store.get(&format!("/api/v1/export?match[]={series}"));
        let read = |line: &str| {
            let series: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let (times, values) = (series["timestamps"].as_array()?.iter(), series["values"].as_array()?.iter());
            Some(times.zip(values).filter_map(|(at, value)| Some((at.as_i64()?, value.as_f64()?))).collect::<Vec<_>>())
        };
        told.lines().filter_map(read).flatten().collect()
    }
}

/// A process that ends with this.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Everything in one process, with an agent beside the server.
fn up(server: &Server, folder: &Path, console: SocketAddr, store: &Store) -> Running {
    let target = server.target("db1");
    let password = target.account.password_file.as_ref();
    let password = password.map_or_else(String::new, |file| format!("password-file = \"{}\"\n", file.display()));
    let config = format!(
        "[bus]\nfile = \"{0}/bus.db\"\n[console]\nlisten = \"{console}\"\n[[store]]\nname = \"vm\"\nkind = \"influx-v2\"\n\
         url = \"{1}\"\norg = \"o\"\nbucket = \"b\"\n[[agent]]\nhost = \"h1\"\nstate-dir = \"{0}/agent\"\ncapture = \"lo\"\n\
         [[agent.instance]]\nid = \"db1\"\ncluster = \"c1\"\nport = {2}\nuser = \"{3}\"\n{password}\
         [[cluster]]\nid = \"c1\"\nflavour = \"{4}\"\nprimary = \"db1\"\n",
        folder.display(),
        store.url(),
        server.port(),
        target.account.user,
        server.flavour(),
    );
    std::fs::write(folder.join("millrace.toml"), config).expect("writable");
    let log = std::fs::File::create(folder.join("up.log")).expect("a log");
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    command.args(["up", "--config"]).arg(folder.join("millrace.toml"));
    Running(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("it starts"))
}

fn sysbench(server: &Server, arguments: &[&str]) -> Command {
    let account = &server.template().accounts.application;
    let password = account.password(&server.template().folder).expect("readable");
    let mut command = Command::new("sysbench");
    command.args([
        "oltp_point_select",
        "--mysql-ssl=off",
        "--db-ps-mode=disable",
        "--tables=1",
        "--mysql-host=127.0.0.1",
    ]);
    command.arg(format!("--mysql-port={}", server.port()));
    command.arg(format!("--mysql-user={}", account.user));
    command.arg(format!("--mysql-password={password}"));
    command.arg(format!("--mysql-db={}", account.schema.as_deref().unwrap_or("shop")));
    command.arg(format!("--table-size={ROWS}")).arg(format!("--threads={CONNECTIONS}")).args(arguments);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}
