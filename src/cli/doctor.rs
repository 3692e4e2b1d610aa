//! `millrace doctor`: what this machine and the configured servers lack, what each lack costs, and what to do. In: the
//! configuration, or nothing for the machine alone. Out: findings, and an exit code: 0 no problem, 1 problems, 2 the
//! configuration is wrong. It changes nothing on any server, and what could not be found out is a problem, never "fine".

mod machine;
mod server;
mod store;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use millrace_collectors::wire::Live;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Negative;
use super::output::{Form, answer};
use crate::config;

/// 15 s for one check: the longest asks a server some twenty things of milliseconds, behind a connection of 2 s at most; the
/// check of a bus file of 256 MiB takes a second.
const CHECK_WITHIN: Duration = Duration::from_secs(15);
/// The width that every terminal has.
const COLUMNS: usize = 80;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The configuration. Without it only the machine is looked at.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The form of the answer.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Level {
    Ok,
    /// It costs something, and may be meant so.
    Note,
    Problem,
}

/// What one look found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    level: Level,
    /// What was looked at.
    check: String,
    /// How it is.
    found: String,
    /// What that costs.
    #[serde(skip_serializing_if = "Option::is_none")]
    costs: Option<String>,
    /// What to do about it.
    #[serde(rename = "do", skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

impl Finding {
    fn ok(check: impl Into<String>, found: impl Into<String>) -> Self {
        Self { level: Level::Ok, check: check.into(), found: found.into(), costs: None, remedy: None }
    }

    fn note(
        check: impl Into<String>,
        found: impl Into<String>,
        costs: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { costs: Some(costs.into()), remedy: Some(remedy.into()), level: Level::Note, ..Self::ok(check, found) }
    }

    fn problem(
        check: impl Into<String>,
        found: impl Into<String>,
        costs: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { level: Level::Problem, ..Self::note(check, found, costs, remedy) }
    }
}

/// The whole answer.
#[derive(Debug, Serialize)]
struct Report {
    schema_version: u32,
    problems: usize,
    notes: usize,
    findings: Vec<Finding>,
}

impl Report {
    fn of(findings: Vec<Finding>) -> Self {
        let count = |level| findings.iter().filter(|finding| finding.level == level).count();
        Self { schema_version: 1, problems: count(Level::Problem), notes: count(Level::Note), findings }
    }
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let settings = arguments.config.as_deref().map(config::load).transpose()?;
    super::async_runtime(async {
        let report = Report::of(examine(settings.as_ref()).await);
        answer(arguments.output, &report, text)?;
        if report.problems == 0 { Ok(()) } else { Err(Negative.into()) }
    })
}

/// Checks under way, and the findings of each in the order of their start.
#[derive(Debug, Default)]
struct Checks {
    running: JoinSet<(usize, Vec<Finding>)>,
    names: Vec<String>,
}

impl Checks {
    /// Starts a check that waits for others.
    fn start(&mut self, name: impl Into<String>, check: impl Future<Output = Vec<Finding>> + Send + 'static) {
        let (name, at) = (name.into(), self.names.len());
        self.names.push(name.clone());
        self.running.spawn(async move {
            let found = timeout(CHECK_WITHIN, check).await;
            (at, found.unwrap_or_else(|_| vec![unfinished(&name)]))
        });
    }

    /// Starts a check that blocks: a look at files, an address, an interface.
    fn start_blocking(&mut self, name: &str, check: impl FnOnce() -> Vec<Finding> + Send + 'static) {
        let unknown = vec![unfinished(name)];
        self.start(name, async move { tokio::task::spawn_blocking(check).await.unwrap_or(unknown) });
    }

    async fn finish(mut self) -> Vec<Finding> {
        let mut found: Vec<Vec<Finding>> = self.names.iter().map(|name| vec![unfinished(name)]).collect();
        while let Some(joined) = self.running.join_next().await {
            if let Ok((at, findings)) = joined {
                found[at] = findings;
            }
        }
        found.into_iter().flatten().collect()
    }
}

fn unfinished(name: &str) -> Finding {
    let found = format!("the check did not come to an end within {} s", CHECK_WITHIN.as_secs());
    Finding::problem(name, found, "how it is there is not known", "see whether a disk or a server hangs, and try again")
}

async fn examine(settings: Option<&config::Settings>) -> Vec<Finding> {
    let mut checks = Checks::default();
    checks.start_blocking("machine", machine::clock_and_memory);
    let Some(settings) = settings else {
        // The interface that the examples name, for want of a configured one.
        checks.start_blocking("capture on lo", || vec![machine::capture("lo")]);
        return checks.finish().await;
    };
    start_stores(settings, &mut checks).await;
    let (bus, console) = (settings.bus.clone(), settings.console);
    checks.start_blocking("bus", move || machine::bus_and_console(&bus, console));
    if let Some(archive) = settings.archive.clone() {
        checks.start_blocking("archive", move || vec![machine::folder("archive", &archive)]);
    }
    for agent in &settings.agents {
        if let Some(Live { interface, .. }) = agent.capture.clone() {
            let name = format!("capture on {interface}");
            checks.start_blocking(&name, move || vec![machine::capture(&interface)]);
        }
        let (host, state) = (agent.host.to_string(), agent.state.clone());
        checks.start_blocking(&format!("state of {host}"), move || {
            vec![machine::folder(&format!("state of {host}"), &state)]
        });
        if let (Some(instances), Some(templates)) = (agent.instances.clone(), agent.templates.clone()) {
            checks.start_blocking("instances", move || vec![machine::folder("instances", &instances)]);
            checks.start_blocking("templates", move || machine::templates(&templates));
        }
        for server in &agent.servers {
            checks.start(format!("server {}", server.instance), server::examine(server.clone()));
        }
    }
    checks.finish().await
}

/// Starts a check for each store. Their positions are asked for before: a bus file is opened by one check at a time.
async fn start_stores(settings: &config::Settings, checks: &mut Checks) {
    let asked = settings.clone();
    let asked = timeout(CHECK_WITHIN, tokio::task::spawn_blocking(move || store::positions(&asked)));
    let positions = Arc::new(asked.await.ok().and_then(Result::ok).unwrap_or_default());
    for one in settings.stores.clone() {
        let positions = Arc::clone(&positions);
        checks.start_blocking(&format!("store {}", one.name), move || {
            vec![store::examine(&one, positions.get(&one.name))]
        });
    }
    for one in settings.lakes.clone() {
        let positions = Arc::clone(&positions);
        checks
            .start_blocking(&format!("store {}", one.name), move || vec![store::lake(&one, positions.get(&one.name))]);
    }
}

/// The findings for people: each with what it costs and what to do, and a count at the end.
fn text(report: &Report) -> String {
    let mut lines = Vec::new();
    for finding in &report.findings {
        let level = match finding.level {
            Level::Ok => "ok       ",
            Level::Note => "note     ",
            Level::Problem => "problem  ",
        };
        wrap(&mut lines, level, "         ", &format!("{}: {}", finding.check, finding.found));
        for (what, text) in [("costs: ", &finding.costs), ("do: ", &finding.remedy)] {
            if let Some(text) = text {
                wrap(&mut lines, &format!("         {what}"), "           ", text);
            }
        }
    }
    let all = report.findings.len();
    lines.push(format!("{all} checked: {} problems, {} notes", report.problems, report.notes));
    lines.join("\n")
}

/// Adds `text` in lines of at most 80 columns. A word stays whole even when it is longer, so that commands can be copied.
fn wrap(lines: &mut Vec<String>, first: &str, rest: &str, text: &str) {
    let (mut line, mut empty) = (first.to_owned(), true);
    for word in text.split_whitespace() {
        if !empty && line.chars().count() + 1 + word.chars().count() > COLUMNS {
            lines.push(std::mem::replace(&mut line, rest.to_owned()));
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    lines.push(line);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_says_what_it_costs_and_what_to_do() {
        let long = "the rest of this sentence is only here so that the line is too long for a terminal";
        let report = Report::of(vec![
            Finding::ok("clock", "runs"),
            Finding::note("a", "b", "c", "d"),
            Finding::problem("bus", "it is away", long, "free some"),
        ]);
        let expected = "\
ok       clock: runs
note     a: b
         costs: c
         do: d
problem  bus: it is away
         costs: the rest of this sentence is only here so that the line is too
           long for a terminal
         do: free some
3 checked: 1 problems, 1 notes";
        assert_eq!(text(&report), expected);
    }

    #[test]
    fn the_json_begins_with_its_version_and_says_do() {
        let report = Report::of(vec![Finding::problem("a", "b", "c", "d")]);
        let expected = "{\"schema_version\":1,\"problems\":1,\"notes\":0,\"findings\":[{\"level\":\"problem\",\
                        \"check\":\"a\",\"found\":\"b\",\"costs\":\"c\",\"do\":\"d\"}]}";
        assert_eq!(serde_json::to_string(&report).unwrap(), expected);
    }

    #[tokio::test]
    async fn a_check_that_breaks_off_is_a_problem_and_the_order_stays() {
        let mut checks = Checks::default();
        checks.start_blocking("first", || panic!("this check breaks off"));
        checks.start("second", async { vec![Finding::ok("second", "fine")] });
        let found = checks.finish().await;
        let levels: Vec<Level> = found.iter().map(|finding| finding.level).collect();
        assert_eq!(levels, [Level::Problem, Level::Ok]);
        assert_eq!((found[0].check.as_str(), found[1].check.as_str()), ("first", "second"));
    }

    #[tokio::test]
    async fn without_a_configuration_the_machine_alone_is_looked_at() {
        let found = examine(None).await;
        let names: Vec<&str> = found.iter().map(|finding| finding.check.as_str()).collect();
        assert_eq!(names, ["clock", "memory", "capture on lo"]);
    }
}
