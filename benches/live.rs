//! What a live capture costs its host: the share of a core that `millrace rt` takes beside a server at two rates, whether it sees every
//! statement, and the server's throughput with and without it, in pairs of one run. `cargo bench --bench live` (ten minutes, on a machine
//! that does nothing else); with `--test` (as `cargo test --benches` runs it) a second of each. The load is sysbench's, point selects,
//! over loopback and over a link to another network namespace, as from another host; client, server and capture share the cores.
//! `-- loopback` or `-- link` leaves the other one out.
#![allow(clippy::print_stdout)] // the numbers are what it is for

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use millrace_mysql::Flavour;
use millrace_test_servers::{Island, Options, Server};
use serde_json::Value;

/// The rates that are asked for, 0 for as many as there can be (40,000 where client and server have a core each), and the most of a
/// core that each may take.
const RATES: [(u32, f64); 2] = [(10_000, 0.02), (0, 0.10)];
/// What is left of the throughput at 70 % of it, and with all cores busy.
const LEFT_AT_70: f64 = 0.99;
const LEFT_SATURATED: f64 = 0.96;
/// Twenty pairs: one varies by a twentieth on a machine whose cores are shared.
const PAIRS: usize = 20;
const CONNECTIONS: u32 = 8;
const ROWS: u32 = 10_000;

struct Lab {
    server: Server,
    password: String,
    /// Where the client is, unless on this host.
    island: Option<Island>,
    /// How long each rate is held, and each half of a pair. All pairs are of one run: where its threads are placed, and what they have
    /// in their caches, varies more from run to run than a capture takes.
    rate_seconds: u64,
    pair_seconds: u64,
    pairs: usize,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    if Command::new("sysbench").arg("--version").output().is_err() {
        return println!("left out: sysbench is not installed (`make bench-live` installs it)");
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let server = runtime.block_on(async {
        // Clients come over loopback and over the link.
        let options = Options { lines: vec!["bind-address=0.0.0.0".to_owned()], ..Options::default() };
        let server = Server::start(Flavour::MariaDb, &options).await;
        server.run(&["SET GLOBAL read_only=OFF"]).await;
        server
    });
    let account = server.template().accounts.application.clone();
    let password = account.password(&server.template().folder).expect("readable");
    let (rate_seconds, pair_seconds, pairs) = if has("--test") { (1, 1, 1) } else { (15, 3, PAIRS) };
    let mut lab = Lab { server, password, island: None, rate_seconds, pair_seconds, pairs };
    lab.sysbench(&["prepare"]).output().expect("sysbench runs");
    if !has("link") {
        lab.measure("over loopback");
    }
    if !has("loopback") {
        match Island::new() {
            Ok(island) => lab.island = Some(island),
            Err(why) => return println!("over a link: left out: {why}"),
        }
        lab.measure("over a link");
    }
}

/// What is printed behind a goal.
fn held(good: bool) -> &'static str {
    if good { "held" } else { "MISSED" }
}

impl Lab {
    fn measure(&self, way: &str) {
        let Some(probe) = self.capture() else {
            return println!("{way}: left out: this user may not capture on {}", self.interface());
        };
        probe.end();
        for (rate, most) in RATES {
            self.at_rate(way, rate, most);
        }
        let most = self.load(0, self.pair_seconds);
        self.pairs(&format!("{way}, with all cores busy"), 0, LEFT_SATURATED);
        self.pairs(&format!("{way}, at 70 % of that"), (most * 0.7) as u32, LEFT_AT_70);
    }

    /// Where the server's packets pass.
    fn interface(&self) -> String {
        self.island.as_ref().map_or_else(|| "lo".to_owned(), Island::link_to_servers)
    }

    fn sysbench(&self, arguments: &[&str]) -> Command {
        let account = &self.server.template().accounts.application;
        let mut command = Command::new("sysbench");
        command.args(["oltp_point_select", "--mysql-ssl=off", "--db-ps-mode=disable", "--tables=1"]);
        let host = self.island.as_ref().map_or(Ipv4Addr::LOCALHOST, Island::way_to_servers);
        command.arg(format!("--mysql-host={host}"));
        command.arg(format!("--mysql-port={}", self.server.port()));
        command.arg(format!("--mysql-user={}", account.user));
        command.arg(format!("--mysql-password={}", self.password));
        command.arg(format!("--mysql-db={}", account.schema.as_deref().unwrap_or("shop")));
        command.arg(format!("--table-size={ROWS}")).arg(format!("--threads={CONNECTIONS}")).args(arguments);
        match &self.island {
            Some(island) => island.enter(&command),
            None => command,
        }
    }

    /// Runs a load of so many statements a second, 0 for as many as there can be; how many a second it were.
    fn load(&self, rate: u32, seconds: u64) -> f64 {
        let (rate, time) = (format!("--rate={rate}"), format!("--time={seconds}"));
        let output = self.sysbench(&[&rate, &time, "run"]).output().expect("sysbench runs");
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().find(|line| line.trim_start().starts_with("queries:"));
        let rate = line.and_then(|line| line.split('(').nth(1)?.split(' ').next()?.parse().ok());
        rate.unwrap_or_else(|| {
            panic!("no rate in what sysbench said: {text}{}", String::from_utf8_lossy(&output.stderr))
        })
    }

    /// Begins such a load, which goes on until it is dropped.
    fn begin_load(&self, rate: u32) -> Load {
        let mut command = self.sysbench(&[&format!("--rate={rate}"), "--time=0", "--report-interval=1", "run"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("sysbench runs");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let (send, seconds) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let rate = line.split_once("qps: ").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
                if rate.is_some_and(|rate| send.send(rate).is_err()) {
                    return;
                }
            }
        });
        Load { child, seconds }
    }

    /// A capture that has begun; none where this user may not.
    fn capture(&self) -> Option<Watch> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
        command.args(["rt", "-i", &self.interface(), "-o", "jsonl", "-p"]).arg(self.server.port().to_string());
        let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
        let mut watch = Watch { child };
        std::thread::sleep(Duration::from_millis(500));
        watch.child.try_wait().expect("waitable").is_none().then_some(watch)
    }

    fn at_rate(&self, way: &str, rate: u32, most: f64) {
        let watch = self.capture().expect("it may capture");
        let (began, cpu) = (Instant::now(), watch.cpu_seconds());
        let answered = self.load(rate, self.rate_seconds);
        let share = (watch.cpu_seconds() - cpu) / began.elapsed().as_secs_f64();
        // What came last is in the row of a second that must close.
        std::thread::sleep(Duration::from_secs(2));
        let rows = watch.end();
        let sum = |of: &str| rows.iter().filter_map(|row| row[of].as_u64()).sum::<u64>();
        let seen = sum("count") as f64 / (answered * self.rate_seconds as f64);
        println!(
            "{way}, {answered:.0} statements/s: {:.2} % of a core (at most {:.0}: {}), {} packets dropped ({}), {:.2} % seen",
            100.0 * share,
            100.0 * most,
            held(share <= most),
            sum("drops"),
            held(sum("drops") == 0),
            100.0 * seen
        );
    }

    fn pairs(&self, name: &str, rate: u32, least: f64) {
        let load = self.begin_load(rate);
        // Until its connections and the server's caches are there.
        load.rate(self.pair_seconds);
        let pair = |number: usize| {
            let with = || {
                let watch = self.capture().expect("it may capture");
                let rate = load.rate(self.pair_seconds);
                watch.end();
                rate
            };
            let without = || load.rate(self.pair_seconds);
            // In turn: what gets slower or faster with time does so for both.
            if number.is_multiple_of(2) {
                let with = with();
                with / without()
            } else {
                let without = without();
                with() / without
            }
        };
        let ratios: Vec<f64> = (0..self.pairs).map(pair).collect();
        let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
        let squares: f64 = ratios.iter().map(|ratio| (ratio - mean).powi(2)).sum();
        let error = (squares / (ratios.len() - 1).max(1) as f64 / ratios.len() as f64).sqrt();
        let (low, high) = ratios.iter().fold((f64::MAX, 0.0_f64), |(low, high), one| (low.min(*one), high.max(*one)));
        println!(
            "throughput with a capture / without, {name}: {mean:.3} ± {error:.3} of {} pairs, {low:.3} to {high:.3} (at least {least}: {})",
            ratios.len(),
            held(mean >= least)
        );
    }
}

/// A load that goes on, and what each second of it was.
struct Load {
    child: Child,
    seconds: Receiver<f64>,
}

impl Load {
    /// How many statements a second there were in the next so many seconds.
    fn rate(&self, seconds: u64) -> f64 {
        self.seconds.try_iter().for_each(drop);
        let next = || self.seconds.recv().expect("sysbench tells each second");
        // The second that has begun is not whole.
        next();
        (0..seconds).map(|_| next()).sum::<f64>() / seconds as f64
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("waitable");
    }
}

struct Watch {
    child: Child,
}

impl Watch {
    /// Seconds of a core that it has taken.
    fn cpu_seconds(&self) -> f64 {
        let path = format!("/proc/{}/stat", self.child.id());
        let text = std::fs::read_to_string(path).expect("it runs");
        // Behind the name, which may hold anything, user and system time are the 12th and 13th field.
        let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields[at].parse::<u64>().expect("a number");
        (ticks(11) + ticks(12)) as f64 / rustix::param::clock_ticks_per_second() as f64
    }

    /// Ends it as a terminal does; its rows.
    fn end(mut self) -> Vec<Value> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it is our child");
        let mut text = String::new();
        self.child.stdout.take().expect("piped").read_to_string(&mut text).expect("readable");
        self.child.wait().expect("waitable");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }
}
