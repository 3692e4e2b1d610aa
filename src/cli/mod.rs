//! The command line: what can be asked, and with which exit code it ends. 0 done; 1 a negative answer; 2 usage, configuration
//! or environment; 3 part of the input could not be read; 4 refused for safety, nothing changed; 5 outcome unknown.

mod alerts;
mod anomaly;
mod backtest;
mod captures;
mod channels;
mod cluster;
mod dashboards;
mod dead;
mod decode;
mod digest;
mod doctor;
mod events;
mod fingerprint;
mod input;
mod journal;
mod key;
mod ledger;
mod login;
mod logs;
mod metrics;
mod output;
mod rt;
mod rules;
mod site;
mod slowlog;
mod syntax;
mod topics;
mod topology;
mod why;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use millrace_collectors::wire::CaptureError;
use millrace_schemas::flavour::Flavour;

use crate::bus;
use crate::config;
use crate::console::table::table;
use crate::demo::{Wanted, Wish};
use crate::roles::up::{Roles, Taken, Up, stopped};
use crate::trust;

/// Operates fleets of MySQL and MariaDB servers as one event-sourced stream pipeline.
#[derive(Debug, Parser)]
#[command(name = "millrace", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run every role in this process, on the local bus.
    Up(Configured),
    /// Run the agents alone.
    Agent(Configured),
    /// Run the processors alone.
    Process(Configured),
    /// Run an executor alone.
    Execute(Configured),
    /// Run the archive, stores and channels alone.
    Sink(Configured),
    /// Serve the console alone: to look at the bus file of a site that is stopped, for instance.
    Console(Configured),
    /// The main job on real servers: create a cluster, load it, kill its primary, check everything.
    Demo {
        /// Which server.
        #[arg(long, value_name = "mariadb|mysql", default_value = "mariadb")]
        server: Flavour,
        /// The template that instances are copied from.
        #[arg(long, value_name = "DIR")]
        template: PathBuf,
        /// Leave everything running at the end.
        #[arg(long)]
        keep: bool,
        /// Where the console listens.
        #[arg(long, default_value = "127.0.0.1:7070")]
        console: std::net::SocketAddr,
        /// Run every role in a process of its own over these brokers, and kill some of them on the way.
        #[arg(long, value_name = "HOST:PORT")]
        kafka: Option<String>,
        /// Write the numbers to a store too, which this script runs (scripts/store.sh).
        #[arg(long, value_name = "SCRIPT")]
        store: Option<PathBuf>,
        /// Tell an Alertmanager of alerts too, which this script runs (scripts/store.sh).
        #[arg(long, value_name = "SCRIPT")]
        alerts: Option<PathBuf>,
        /// And over Kafka a consumer in Python: the interpreter that has a client, and the program.
        #[arg(long, value_names = ["PYTHON", "PROGRAM"], num_args = 2, requires = "alerts")]
        consumer: Vec<PathBuf>,
    },
    /// Create a cluster, say how much may be done to it, approve what waits for you.
    Cluster {
        #[command(subcommand)]
        command: cluster::Command,
    },
    /// Show what fires, say that you have taken it, or that nobody wants to hear of it for a while.
    Alerts {
        #[command(subcommand)]
        command: alerts::Command,
    },
    /// Say which channels people are told by, and try one.
    Channels {
        #[command(subcommand)]
        command: channels::Command,
    },
    /// Make keys, and say which key may speak as whom and about what.
    Key {
        #[command(subcommand)]
        command: key::Command,
    },
    /// Look at what no stage could use, and append it once more where it lay before.
    Dead {
        #[command(subcommand)]
        command: dead::Command,
    },
    /// Export the journal to an archive, or replay one.
    Journal {
        #[command(subcommand)]
        command: journal::Command,
    },
    /// Say why a cluster is as it is, or why something was done or not.
    Why(why::Arguments),
    /// Follow a topic.
    Events(events::Arguments),
    /// Show, check or make the topics on Kafka.
    Topics(topics::Arguments),
    /// Say which metrics there are: names, units, labels, and what they say.
    Metrics(metrics::Arguments),
    /// Check a file of rules, or show the rules in force: what is judged, by which numbers.
    Rules {
        #[command(subcommand)]
        command: rules::Command,
    },
    /// Write the dashboards for Grafana, and the files that it finds them and the store by.
    Dashboards(dashboards::Arguments),
    /// Read statements from standard input, one a line, and say the digest of each.
    Fingerprint(fingerprint::Arguments),
    /// Profile slow logs and captures: which statements took the time. Exit code 1: `--compare` found regressions; 3: parts could
    /// not be read.
    Digest(Box<digest::Arguments>),
    /// Read slow logs of MySQL, Percona Server and MariaDB: one line of JSON per entry. Exit code 3: parts could not be read.
    Slowlog(slowlog::Arguments),
    /// Show the commands that a capture or an interface holds, one line each. Exit code 3: parts could not be read.
    Decode(decode::Arguments),
    /// Show response times per interval, as tcprstat does. Exit code 3: parts could not be read.
    Rt(rt::Arguments),
    /// Score how unusual each value of a series is: CSV in, row by row, and CSV out. Exit code 3: rows could not be read.
    Anomaly(anomaly::Arguments),
    /// Say what would have fired: rules and anomalies over what a bus or an archive has, or series as CSV. Exit code 3: parts could
    /// not be read.
    Backtest(backtest::Arguments),
    /// Show who replicates from whom, asked from the servers. Exit code 1: something is broken; 3: part could not be asked.
    Topology(topology::Arguments),
    /// Say what is missing on this machine and its servers, what that costs, and what to do.
    Doctor(doctor::Arguments),
    /// Be the parent of one server. Started by agents; needs no bus and no network.
    #[command(hide = true)]
    Guard {
        /// The instance's folder.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
    },
}

/// What a role needs.
#[derive(Debug, clap::Args)]
struct Configured {
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = "/etc/millrace/millrace.toml")]
    config: PathBuf,
}

/// Reads the arguments and runs the command.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    log_to_stderr(matches!(arguments.command, Command::Demo { .. }));
    let outcome = match arguments.command {
        Command::Up(arguments) => async_runtime(up(arguments, Roles::ALL)),
        Command::Agent(arguments) => async_runtime(up(arguments, Roles { agents: true, ..Roles::NONE })),
        Command::Process(arguments) => async_runtime(up(arguments, Roles { process: true, ..Roles::NONE })),
        Command::Execute(arguments) => async_runtime(up(arguments, Roles { execute: true, ..Roles::NONE })),
        Command::Sink(arguments) => async_runtime(up(arguments, Roles { sink: true, ..Roles::NONE })),
        Command::Console(arguments) => async_runtime(up(arguments, Roles { console: true, ..Roles::NONE })),
        Command::Demo { server, template, keep, console, kafka, store, alerts, consumer } => {
            let consumer = <[PathBuf; 2]>::try_from(consumer).ok().map(<(PathBuf, PathBuf)>::from);
            let listeners = alerts.map(|script| Wanted { script, consumer });
            async_runtime(demo(Wish { flavour: server, template, keep, console, kafka, store, listeners }))
        }
        Command::Cluster { command } => cluster::run(command),
        Command::Alerts { command } => alerts::run(command),
        Command::Channels { command } => channels::run(command),
        Command::Key { command } => key::run(command),
        Command::Dead { command } => dead::run(command),
        Command::Journal { command } => journal::run(command),
        Command::Why(arguments) => why::run(&arguments),
        Command::Events(arguments) => events::run(&arguments),
        Command::Topics(arguments) => topics::run(&arguments),
        Command::Metrics(arguments) => metrics::run(&arguments),
        Command::Rules { command } => rules::run(command),
        Command::Dashboards(arguments) => dashboards::run(&arguments),
        Command::Fingerprint(arguments) => fingerprint::run(&arguments),
        Command::Digest(arguments) => digest::run(&arguments),
        Command::Slowlog(arguments) => slowlog::run(&arguments),
        Command::Decode(arguments) => decode::run(&arguments),
        Command::Rt(arguments) => rt::run(&arguments),
        Command::Anomaly(arguments) => anomaly::run(&arguments),
        Command::Backtest(arguments) => backtest::run(&arguments),
        Command::Topology(arguments) => topology::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Guard { dir } => millrace_executors::guard::run(&dir).map_err(anyhow::Error::from),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<output::Unread>() => ExitCode::SUCCESS,
        Err(error) if error.is::<Negative>() => ExitCode::from(1),
        Err(error) => {
            eprintln!("millrace: {error:#}");
            ExitCode::from(exit_code(&error))
        }
    }
}

/// A negative answer: everything was said already, and the exit code is 1.
#[derive(Debug, thiserror::Error)]
#[error("a negative answer")]
pub struct Negative;

/// Ends of a command that have an exit code of their own.
#[derive(Debug, thiserror::Error)]
enum End {
    /// 2: the command line cannot be followed.
    #[error("{0}")]
    Usage(String),
    /// 3: part of what was asked could not be read. The rest was said.
    #[error("{0}")]
    Partial(String),
    /// 4: refused for safety; nothing was changed.
    #[error("{0}")]
    Refused(String),
    /// 5: it was begun, and what came of it is not known.
    #[error("{0}")]
    Unknown(String),
}

async fn demo(wish: Wish) -> anyhow::Result<()> {
    if crate::demo::run(wish).await? { Ok(()) } else { Err(Negative.into()) }
}

/// Which exit code an error has, by the kinds that the conventions name.
fn exit_code(error: &anyhow::Error) -> u8 {
    if let Some(end) = error.downcast_ref::<End>() {
        return match end {
            End::Usage(_) => 2,
            End::Partial(_) => 3,
            End::Refused(_) => 4,
            End::Unknown(_) => 5,
        };
    }
    if let Some(error) = error.downcast_ref::<bus::Error>() {
        return match error {
            bus::Error::OpenElsewhere { .. } => 4,
            _ => 2,
        };
    }
    let environment =
        error.is::<config::Error>() || error.is::<trust::Error>() || error.is::<Taken>() || error.is::<CaptureError>();
    if environment { 2 } else { 1 }
}

/// The demo tells its own story; everything else says what it does.
fn log_to_stderr(quiet: bool) {
    use tracing_subscriber::EnvFilter;
    let usual = if quiet { "error" } else { "info" };
    let filter = EnvFilter::try_from_env("MILLRACE_LOG").unwrap_or_else(|_| EnvFilter::new(usual));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}

fn async_runtime(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(work)
}

/// 5 s between two tables on the terminal of `millrace up`: readable while they scroll.
const TABLE_EVERY: Duration = Duration::from_secs(5);

async fn up(arguments: Configured, roles: Roles) -> anyhow::Result<()> {
    let settings = config::load(&arguments.config)?;
    let up = Up::start(&settings, roles)?;
    match &settings.bus {
        config::Bus::File { file, .. } => tracing::info!(bus = %file.display(), "up"),
        config::Bus::Remote { address, .. } => tracing::info!(bus = %address, "up"),
        config::Bus::Kafka(kafka) => tracing::info!(bus = %kafka.servers, "up"),
    }
    // For a person at a terminal: a service that logs to a file has the console.
    let live = (roles == Roles::ALL && std::io::stdout().is_terminal()).then(|| up.shown());
    let tables = async {
        let Some(shown) = live else { return std::future::pending().await };
        loop {
            tokio::time::sleep(TABLE_EVERY).await;
            // A terminal that is gone is no reason to stop.
            let _ = output::say(&table(&shown.view()));
        }
    };
    tokio::select! {
        () = stopped() => {}
        () = tables => {}
    }
    up.stop().await;
    Ok(())
}
