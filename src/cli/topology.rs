//! `millrace topology`: who replicates from whom, asked from the servers themselves, starting at one. In: an address and an
//! account that all of them know. Out: a tree, JSON or a graph, and an exit code: 0 healthy, 1 something is broken, 2 wrong
//! usage, 3 part could not be asked. It only reads; a server that does not answer costs a bounded time and is called unknown.

mod judge;
#[cfg(test)]
mod samples;
mod view;
mod walk;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use millrace_mysql::status::source::AttachedReplicas;
use millrace_mysql::{Account, Address, GtidSet, Session, Target, status};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::login::{Login, Place};
use super::output::say;
use super::{End, Negative};
use judge::Report;
use walk::{AT_ONCE, Node, Seen, Walk};

/// 8 s for everything asked of one server: ten statements of some milliseconds each, behind a connection that takes 2 s at most.
const SERVER_WITHIN: Duration = Duration::from_secs(8);

/// Sessions that read the binlog, with the host that each comes from. Both families name the command so.
const READERS: &str = "SELECT HOST FROM information_schema.PROCESSLIST WHERE COMMAND LIKE 'Binlog Dump%'";

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The server to start from: mysql://USER@HOST:PORT. Without a password: that comes from a file.
    #[arg(long, value_name = "DSN")]
    from: Option<String>,
    /// The file with the account's password (chmod 600).
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// An option file of the servers' own clients: its [client] section may name host, port, user and password.
    #[arg(long, value_name = "FILE")]
    defaults_file: Option<PathBuf>,
    /// The form of the answer.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
}

/// The form of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For people, 80 columns.
    Text,
    /// One JSON value.
    Json,
    /// A graph for Graphviz.
    Dot,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let files = (arguments.password_file.as_deref(), arguments.defaults_file.as_deref());
    let login =
        Login::new(arguments.from.as_deref(), files.0, files.1).map_err(|error| End::Usage(error.to_string()))?;
    super::async_runtime(async {
        let report = explore(&login).await;
        match arguments.output {
            Form::Text => say(&view::text(&report))?,
            Form::Json => say(&serde_json::to_string(&report)?)?,
            Form::Dot => say(&view::dot(&report))?,
        }
        verdict(&report)
    })
}

/// What is broken counts for more than what is not known.
fn verdict(report: &Report) -> anyhow::Result<()> {
    if !report.problems.is_empty() {
        return Err(Negative.into());
    }
    match report.unknown.len() {
        0 => Ok(()),
        unknown => Err(End::Partial(format!("{unknown} things could not be asked; the answer names them")).into()),
    }
}

async fn explore(login: &Login) -> Report {
    let mut walk = Walk::from(login.place.clone());
    loop {
        let wants = walk.next();
        if wants.is_empty() {
            break;
        }
        let places = wants.iter().map(|want| want.place.clone()).collect();
        let answers = at_once(places, |place| ask(place, login.account.clone())).await;
        for (want, answer) in wants.into_iter().zip(answers) {
            walk.told(want, answer);
        }
    }
    let (mut nodes, left_out) = walk.finish();
    confirm(&mut nodes, &login.account).await;
    judge::report(&login.place, &nodes, left_out)
}

/// Asks all of `places` at the same time; the answers come in their order.
async fn at_once<T, F>(places: Vec<Place>, ask: impl Fn(Place) -> F) -> Vec<Result<T, String>>
where
    T: Send + 'static,
    F: Future<Output = Result<T, String>> + Send + 'static,
{
    let mut answers: Vec<Result<T, String>> = places.iter().map(|_| Err("asking it broke off".to_owned())).collect();
    let mut asking = JoinSet::new();
    for (at, place) in places.into_iter().enumerate() {
        let answer = ask(place);
        asking.spawn(async move {
            let slow = || format!("no whole answer within {} s", SERVER_WITHIN.as_secs());
            (at, timeout(SERVER_WITHIN, answer).await.unwrap_or_else(|_| Err(slow())))
        });
    }
    while let Some(joined) = asking.join_next().await {
        if let Ok((at, answer)) = joined {
            answers[at] = answer;
        }
    }
    answers
}

async fn open(place: &Place, account: Account) -> Result<Session, String> {
    let address = Address::Tcp { host: place.host.clone(), port: place.port };
    Session::open(&Target::new("server", address, account)).await.map_err(|error| words(&error))
}

/// What went wrong, without the server's name: the report says it once.
fn words(error: &millrace_mysql::Error) -> String {
    let text = error.to_string();
    let named = text.starts_with("server at ").then(|| text.split_once(": ")).flatten();
    named.map_or_else(|| text.clone(), |(_, words)| words.to_owned())
}

async fn ask(place: Place, account: Account) -> Result<Seen, String> {
    let mut session = open(&place, account).await?;
    let status = status::read(&mut session).await.map_err(|error| words(&error))?;
    // Who may not see other sessions still sees the replicas that register.
    let rows = session.rows(READERS).await.unwrap_or_default();
    session.close().await;
    let hosts: BTreeSet<String> = rows.iter().filter_map(|row| row.nth(0)).map(|host| without_port(&host)).collect();
    Ok(Seen { status, readers: hosts.into_iter().collect(), confirmed: None })
}

/// The host of `host:port`, as a process list shows it.
fn without_port(host: &str) -> String {
    host.rsplit_once(':').map_or(host, |(host, _)| host).trim_matches(['[', ']']).to_owned()
}

/// Asks each server that has replicas once more what it executed, now that all the replicas have said what they have.
async fn confirm(nodes: &mut [Node], account: &Account) {
    let sources: BTreeSet<Place> = nodes
        .iter()
        .filter_map(|node| Some((&node.place, node.answer.as_ref().ok()?)))
        .flat_map(|(place, seen)| seen.status.channels.iter().map(|channel| walk::source_place(place, channel)))
        .collect();
    let is_source = |node: &Node| {
        // Where replicas may be attached unseen, it may be a source too.
        let attached = |attached: &AttachedReplicas| attached.denied().is_some() || !attached.known().is_empty();
        let attached = node.answer.as_ref().is_ok_and(|seen| attached(&seen.status.source.attached));
        attached || sources.contains(&node.place) || node.also.iter().any(|place| sources.contains(place))
    };
    let again: Vec<usize> = (0..nodes.len()).filter(|at| nodes[*at].answer.is_ok() && is_source(&nodes[*at])).collect();
    for some in again.chunks(AT_ONCE) {
        let places = some.iter().map(|at| nodes[*at].place.clone()).collect();
        let answers = at_once(places, |place| executed(place, account.clone())).await;
        for (at, answer) in some.iter().zip(answers) {
            if let Ok(seen) = &mut nodes[*at].answer {
                seen.confirmed = answer.ok();
            }
        }
    }
}

async fn executed(place: Place, account: Account) -> Result<GtidSet, String> {
    let mut session = open(&place, account).await?;
    let read = async {
        let dialect = millrace_mysql::Dialect::detect(&mut session).await?;
        status::source::read(&mut session, dialect).await
    };
    let read = read.await.map_err(|error| words(&error))?;
    session.close().await;
    Ok(read.executed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_session_is_what_stands_before_its_port() {
        let check = |text: &str, expected: &str| assert_eq!(without_port(text), expected);
        check("db2:51234", "db2");
        check("[::1]:51234", "::1");
        check("localhost", "localhost");
    }

    #[test]
    fn the_exit_code_tells_what_is_broken_before_what_is_unknown() {
        let report = judge::report(&samples::place("a"), &samples::fleet(), 0);
        let check = |report: &Report, expected: &str| {
            let told = verdict(report).map_or_else(|error| error.to_string(), |()| "healthy".to_owned());
            assert!(told.contains(expected), "{told}");
        };
        check(&report, "1 things could not be asked");
        check(&Report { problems: vec!["x".into()], ..report.clone() }, "negative");
        check(&Report { unknown: Vec::new(), ..report }, "healthy");
    }

    #[tokio::test]
    async fn a_server_that_nobody_runs_is_named_and_costs_no_error() {
        let free = millrace_test_servers::free_port();
        let login = Login::new(Some(&format!("mysql://millrace@127.0.0.1:{}", free.number)), None, None).unwrap();
        let report = explore(&login).await;
        assert!(!report.healthy && !report.servers[0].asked);
        let reason = report.servers[0].reason.clone().unwrap();
        assert!(reason.starts_with("cannot connect: "), "{reason}");
    }
}
