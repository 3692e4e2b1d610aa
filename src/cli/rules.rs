//! `millrace rules`: what is judged, and by which numbers. `check` tells everything that is wrong with a file, `list` shows the rules
//! in force, `export` says them in another language. Nothing is asked of anybody.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use millrace_processors::rules::Rules;
use millrace_processors::rules::export::prometheus;
use millrace_processors::rules::rule::{Judge, Limit, Rule, Side, Unit};
use millrace_processors::rules::summary::{duration, number};
use millrace_schemas::topics::alerts::Severity;
use serde::Serialize;

use super::Negative;
use super::output::{Form, answer, cut, say};
use crate::config;
use crate::journal::SCHEMA_VERSION;

/// What of the rules is wanted.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Say everything that is wrong with a file of rules, each with its line. Exit code 1: something is.
    Check(Check),
    /// Show the rules in force: those that are shipped, and a file over them.
    List(List),
    /// Write the rules in force as a file of rules for something else; what cannot be said there is a comment.
    Export(Export),
}

/// Which file.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// The file of rules.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// How it is told.
    #[arg(short, long, value_name = "FORM", default_value = "text")]
    output: Form,
}

/// Which rules.
#[derive(Debug, Args)]
struct InForce {
    /// The configuration whose file of rules is in force.
    #[arg(long, value_name = "FILE", conflicts_with = "rules")]
    config: Option<PathBuf>,
    /// A file of rules, over those that are shipped.
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
}

/// For whom.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Reader {
    /// Prometheus, and what reads its files: vmalert.
    Prometheus,
}

/// What is written.
#[derive(Debug, Args)]
pub(super) struct Export {
    /// Who is to read it.
    #[arg(long = "for", value_name = "READER")]
    reader: Reader,
    #[command(flatten)]
    in_force: InForce,
}

/// How they are shown.
#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    in_force: InForce,
    /// How it is told.
    #[arg(short, long, value_name = "FORM", default_value = "text")]
    output: Form,
}

#[derive(Debug, Serialize)]
struct Checked {
    schema_version: u32,
    problems: Vec<Problem>,
    rules: usize,
    changed: usize,
    off: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Problem {
    line: usize,
    what: String,
}

#[derive(Debug, Serialize)]
struct Listed {
    schema_version: u32,
    rules: Vec<Shown>,
    off: Vec<String>,
}

/// A rule, as programs read it: limits in the unit of the number that is judged.
#[derive(Debug, Serialize)]
struct Shown {
    name: String,
    severity: Severity,
    judge: &'static str,
    input: &'static str,
    about: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    metric: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    per: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    above: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    below: Option<f64>,
    clear: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    critical: Option<f64>,
    for_seconds: u64,
    notifies: bool,
    changed: bool,
    overrides: usize,
    runbook: String,
    /// The limit in words.
    when: String,
}

pub(super) fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Check(arguments) => check(&arguments),
        Command::List(arguments) => list(&arguments),
        Command::Export(Export { reader: Reader::Prometheus, in_force }) => say(&prometheus(&in_force.rules()?)),
    }
}

fn check(arguments: &Check) -> anyhow::Result<()> {
    let file = &arguments.file;
    let (rules, problems) = match config::rules(Some(file)) {
        Ok(rules) => (Some(rules), Vec::new()),
        Err(config::Error::Problems { problems, .. }) => (None, problems),
        Err(error) => return Err(error.into()),
    };
    let problems = problems.into_iter().map(|one| Problem { line: one.line, what: one.what });
    let checked = Checked {
        schema_version: SCHEMA_VERSION,
        problems: problems.collect(),
        rules: rules.as_ref().map_or(0, |rules| rules.all.len()),
        changed: rules.as_ref().map_or(0, |rules| rules.all.iter().filter(|rule| rule.changed).count()),
        off: rules.map_or_else(Vec::new, |rules| rules.off),
    };
    answer(arguments.output, &checked, |checked| {
        let mut text = String::new();
        for Problem { line, what } in &checked.problems {
            let _ = writeln!(text, "{}:{line}: {what}", file.display());
        }
        if checked.problems.is_empty() {
            let Checked { rules, changed, off, .. } = checked;
            let _ = writeln!(text, "{rules} rules, {changed} of them by this file, {} switched off", off.len());
        }
        text
    })?;
    if checked.problems.is_empty() { Ok(()) } else { Err(Negative.into()) }
}

impl InForce {
    fn rules(&self) -> Result<Rules, config::Error> {
        let configured = self.config.as_deref().map(config::load).transpose()?.and_then(|settings| settings.rules);
        config::rules(self.rules.as_deref().or(configured.as_deref()))
    }
}

fn list(arguments: &List) -> anyhow::Result<()> {
    let Rules { all, off, .. } = arguments.in_force.rules()?;
    let listed = Listed { schema_version: SCHEMA_VERSION, rules: all.iter().map(shown).collect(), off };
    answer(arguments.output, &listed, table)
}

fn shown(rule: &Rule) -> Shown {
    let Limit { side, at, clear, critical, lasts } = rule.limit;
    let limited = !matches!(rule.judge, Judge::Always | Judge::Absence);
    Shown {
        name: rule.name.clone(),
        severity: rule.severity,
        judge: rule.judge.name(),
        input: rule.input.name(),
        about: rule.about(),
        metric: rule.metric.map(|metric| metric.name),
        per: rule.per.map(|metric| metric.name),
        above: (limited && side == Side::Above).then_some(at),
        below: (limited && side == Side::Below).then_some(at),
        clear,
        critical,
        for_seconds: lasts.as_secs(),
        notifies: rule.notifies,
        changed: rule.changed,
        overrides: rule.overrides.len(),
        runbook: rule.runbook.clone(),
        when: when(rule),
    }
}

/// The condition in a few words.
fn when(rule: &Rule) -> String {
    let limit = number(rule.limit.at, rule.unit());
    let side = if rule.limit.side == Side::Above { "above" } else { "below" };
    let lasts = rule.limit.lasts;
    let held = if lasts.is_zero() { String::new() } else { format!(" for {}", duration(lasts)) };
    match rule.judge {
        Judge::Always => "always".to_owned(),
        _ if rule.unit() == Unit::Boolean => {
            let is = if rule.limit.side == Side::Above { "yes" } else { "no" };
            format!("{is}{held}")
        }
        Judge::Absence => format!("nothing{held}"),
        Judge::Forecast { .. } => format!("reached within {limit}{held}"),
        _ => format!("{side} {limit}{held}"),
    }
}

/// 19 columns of a name, as long as that of the longest shipped rule.
const NAME: usize = 19;
/// What is left of 80 columns for the condition.
const WHEN: usize = 42;

fn table(listed: &Listed) -> String {
    let mut text = format!("{:<NAME$} {:<8} {:<8} WHEN\n", "RULE", "SEVERITY", "OF");
    for one in &listed.rules {
        let severity = format!("{:?}", one.severity).to_lowercase();
        let marks = [(one.changed, "*"), (!one.notifies, "-")];
        let marks: String = marks.into_iter().filter_map(|(holds, mark)| holds.then_some(mark)).collect();
        let (name, when) = (cut(&format!("{}{marks}", one.name), NAME), cut(&one.when, WHEN));
        let _ = writeln!(text, "{name:<NAME$} {severity:<8} {:<8} {when}", one.about);
    }
    for name in &listed.off {
        let _ = writeln!(text, "{:<NAME$} off", cut(name, NAME));
    }
    let marked = |mark: fn(&Shown) -> bool| listed.rules.iter().any(mark);
    if marked(|one| one.changed) {
        text.push_str("* by your file\n");
    }
    if marked(|one| !one.notifies) {
        text.push_str("- nobody is notified\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_eighty_columns_and_says_what_holds() {
        let text =
            "[[rule]]\nname = \"LagHigh\"\nabove = 90\nnotifies = false\n[[rule]]\nname = \"Watchdog\"\noff = true\n";
        let Rules { all, off, .. } = Rules::read(text).expect("right");
        let listed = Listed { schema_version: 1, rules: all.iter().map(shown).collect(), off };
        let table = table(&listed);
        assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
        for line in [
            "LagHigh*-           warning  instance above 90 s for 60 s",
            "ConnectionsHigh     warning  instance above 80% for 60 s",
            "DiskFullSoon        warning  instance reached within 24 h for 30 min",
            "AgentSilent         warning  instance nothing for 30 s",
            "ReplicationStopped  warning  instance no for 30 s",
            "ReadOnlyWrong       critical instance yes for 10 s",
            "Watchdog            off",
        ] {
            assert!(table.lines().any(|other| other == line), "{line} is not in\n{table}");
        }
    }
}
