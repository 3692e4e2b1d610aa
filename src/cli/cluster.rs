//! `millrace cluster`: an operator's words. Each is a fact of the journal; deciders and executors do the rest, and this command
//! follows the journal to say what came of it. It changes no server itself.

mod follow;

use std::fmt::Write as _;
use std::io::{BufRead as _, IsTerminal as _};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use millrace_processors::failover::{Failover, State};
use millrace_schemas::cluster::{ClusterSpec, Member, Mode};
use millrace_schemas::flavour::Flavour;
use millrace_schemas::ids::{ClusterId, Epoch, HostId, InstanceId, fleet};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::journal::{self, Fact};
use serde::Serialize;

use super::End;
use super::ledger::Ledger;
use super::output::{Form, answer, say};
use crate::journal::SCHEMA_VERSION;
use follow::Wanted;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show every cluster: its mode, epoch and primary, and what is under way or waits for approval.
    List(Asking),
    /// Make a new cluster from a template, and wait until it is there.
    Create(Create),
    /// Say how much Millrace may do to a cluster.
    Mode {
        /// The cluster; `fleet` ends a pause of the fleet's permits.
        cluster: ClusterId,
        /// observe: change nothing, say what would be done. approve: propose, and wait for you. auto: act.
        mode: Mode,
        #[command(flatten)]
        asking: Asking,
    },
    /// Let a failover that waits for an operator be carried out, and wait for its end.
    Approve {
        /// The cluster.
        cluster: ClusterId,
        /// The epoch that was proposed. Without it, what is proposed is shown, and you are asked.
        epoch: Option<u64>,
        #[command(flatten)]
        asking: Asking,
    },
}

/// Whom to ask, and in which form to answer.
#[derive(Debug, Args)]
pub(super) struct Asking {
    /// The configuration that says where the bus is.
    #[arg(long, value_name = "FILE", default_value = "/etc/millrace/millrace.toml")]
    pub(super) config: PathBuf,
    /// The form of the answer.
    #[arg(short, long, value_enum, default_value = "text")]
    pub(super) output: Form,
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// Its id: chosen once, never reused.
    #[arg(value_parser = |text: &str| ClusterId::declared(text))]
    cluster: ClusterId,
    /// Which server.
    #[arg(long, value_name = "mysql|mariadb")]
    flavour: Flavour,
    /// The template that data directories are copied from, by its name in the agents' templates-dir.
    #[arg(long, value_name = "NAME")]
    template: String,
    /// A member, and the host whose agent makes it. Once for each; the first one is the first primary.
    #[arg(long = "member", value_name = "INSTANCE@HOST:ADDRESS:PORT", required = true)]
    members: Vec<Member>,
    /// Another first primary.
    #[arg(long, value_name = "INSTANCE")]
    primary: Option<InstanceId>,
    /// Members that may acknowledge each other's writes (semi-sync); all, when it is not given.
    #[arg(long, value_name = "INSTANCE,...", value_delimiter = ',')]
    acknowledgers: Option<Vec<InstanceId>>,
    /// Acknowledgements that each write waits for. 0: asynchronous, and no failover without a person.
    #[arg(long, value_name = "K", default_value_t = 1)]
    acknowledgements: u32,
    /// How much Millrace may do to it.
    #[arg(long, value_name = "observe|approve|auto", default_value = "auto")]
    mode: Mode,
    /// A name for people.
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    asking: Asking,
}

/// A cluster in a line.
#[derive(Debug, Serialize)]
struct Line {
    cluster: ClusterId,
    name: String,
    mode: Mode,
    epoch: Epoch,
    primary: Option<InstanceId>,
    /// What is under way.
    under_way: Option<String>,
    /// The epoch that waits for approval.
    proposed: Option<Epoch>,
}

pub(super) fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::List(asking) => list(&asking),
        Command::Create(create) => self::create(create),
        Command::Mode { cluster, mode, asking } => set_mode(cluster, mode, &asking),
        Command::Approve { cluster, epoch, asking } => approve(&cluster, epoch.map(Epoch), &asking),
    }
}

fn list(asking: &Asking) -> anyhow::Result<()> {
    #[derive(Serialize)]
    struct Listed {
        schema_version: u32,
        clusters: Vec<Line>,
    }
    let ledger = Ledger::open(&asking.config, Failover)?;
    let clusters = ledger.clusters().filter_map(|(cluster, state)| line(cluster, state)).collect();
    answer(asking.output, &Listed { schema_version: SCHEMA_VERSION, clusters }, |listed| table(&listed.clusters))
}

fn line(cluster: &ClusterId, state: &State) -> Option<Line> {
    let spec = state.spec.as_ref()?;
    let current = state.current.as_ref().map(|current| &current.action);
    Some(Line {
        cluster: cluster.clone(),
        name: spec.name.clone(),
        mode: state.effective_mode(),
        epoch: state.epoch,
        primary: state.primary.clone(),
        under_way: current.map(|action| format!("{} in epoch {}", action.kind.name(), action.epoch)),
        proposed: state.proposed,
    })
}

fn table(lines: &[Line]) -> String {
    if lines.is_empty() {
        return "no cluster yet: `millrace cluster create --help` says how to make one".to_owned();
    }
    let width = lines.iter().map(|line| line.cluster.as_str().len()).max().unwrap_or(0).max("CLUSTER".len());
    let mut text = format!("{:width$}  MODE     EPOCH  PRIMARY", "CLUSTER");
    for line in lines {
        let primary = line.primary.as_ref().map_or("none", InstanceId::as_str);
        let _ = write!(text, "\n{:width$}  {:7}  {:>5}  {primary}", line.cluster, line.mode, line.epoch);
        if let Some(under_way) = &line.under_way {
            let _ = write!(text, "\n  under way: {under_way}");
        }
        if let Some(epoch) = line.proposed {
            let _ = write!(text, "\n  waits for you: millrace cluster approve {} {epoch}", line.cluster);
        }
    }
    text
}

fn create(create: Create) -> anyhow::Result<()> {
    let Create { cluster, flavour, template, members, primary, acknowledgers, acknowledgements, mode, name, asking } =
        create;
    let everybody = || members.iter().map(|member| member.instance.clone()).collect();
    let spec = ClusterSpec {
        name: name.unwrap_or_else(|| cluster.to_string()),
        flavour,
        primary: primary.unwrap_or_else(|| members[0].instance.clone()),
        acknowledgers: acknowledgers.unwrap_or_else(everybody),
        acknowledgements: if members.len() > 1 { acknowledgements } else { 0 },
        mode,
        template: Some(template),
        members,
    };
    let problems = spec.problems();
    if !problems.is_empty() {
        return Err(End::Usage(problems.join("\n")).into());
    }
    let mut ledger = Ledger::open(&asking.config, Failover)?;
    let heard = ledger.hosts()?;
    if let Some(member) = spec.members.iter().find(|member| !heard.contains(&member.host)) {
        let known: Vec<&str> = heard.iter().map(HostId::as_str).collect();
        return Err(End::Refused(format!(
            "no agent of host {} has been heard, so nobody would make {}; heard: {}; nothing was changed",
            member.host,
            member.instance,
            if known.is_empty() { "none".to_owned() } else { known.join(", ") }
        ))
        .into());
    }
    ledger.make_way(&cluster)?;
    let command = journal::Command::CreateCluster(Box::new(spec));
    let said = ledger.say(&cluster, Fact::Command(command))?;
    ledger.follow(&cluster, Wanted::RestsOn(said), asking.output)
}

fn set_mode(cluster: ClusterId, mode: Mode, asking: &Asking) -> anyhow::Result<()> {
    #[derive(Serialize)]
    struct Changed {
        schema_version: u32,
        cluster: ClusterId,
        before: Option<Mode>,
        mode: Mode,
    }
    let mut ledger = Ledger::open(&asking.config, Failover)?;
    // The fleet itself has no mode but a pause, which this ends.
    let before = if cluster == fleet() { None } else { Some(ledger.known(&cluster)?.effective_mode()) };
    ledger.say(&cluster, Fact::Command(journal::Command::SetMode { mode }))?;
    let changed = Changed { schema_version: SCHEMA_VERSION, cluster, before, mode };
    answer(asking.output, &changed, |changed| {
        let before = changed.before.map_or_else(String::new, |before| format!(" (was {before})"));
        format!("{}: {}{before}", changed.cluster, changed.mode)
    })
}

fn approve(cluster: &ClusterId, epoch: Option<Epoch>, asking: &Asking) -> anyhow::Result<()> {
    let mut ledger = Ledger::open(&asking.config, Failover)?;
    let state = ledger.known(cluster)?;
    let Some(proposed) = state.proposed else {
        return Err(End::Refused(format!("nothing of {cluster} waits for approval: nothing was changed")).into());
    };
    if epoch.is_some_and(|epoch| epoch != proposed) {
        return Err(End::Refused(format!(
            "what waits for approval is epoch {proposed}, not {}: look at `millrace why {cluster}`; nothing was changed",
            epoch.unwrap_or_default()
        ))
        .into());
    }
    if epoch.is_none() && !agreed(cluster, proposed, state, ledger.now())? {
        return Err(End::Refused("nothing was changed".to_owned()).into());
    }
    ledger.say(cluster, Fact::Command(journal::Command::Approve { epoch: proposed }))?;
    ledger.follow(cluster, Wanted::Changes(proposed), asking.output)
}

/// Shows what is proposed, and asks.
fn agreed(cluster: &ClusterId, epoch: Epoch, state: &State, now: Timestamp) -> anyhow::Result<bool> {
    let explained = millrace_processors::failover::explain::explain(state, now);
    say(&format!("{}\n{}", explained.sentence, explained.therefore))?;
    if !std::io::stdin().is_terminal() {
        return Err(End::Usage(format!("no terminal to ask on: millrace cluster approve {cluster} {epoch}")).into());
    }
    eprint!("approve epoch {epoch} of {cluster}? [y/N] ");
    let mut said = String::new();
    std::io::stdin().lock().read_line(&mut said)?;
    Ok(matches!(said.trim(), "y" | "Y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_names_what_waits_for_the_operator() {
        let line = Line {
            cluster: ClusterId::parse("shop").expect("legal"),
            name: "shop".to_owned(),
            mode: Mode::Approve,
            epoch: Epoch(3),
            primary: Some(InstanceId::parse("db1").expect("legal")),
            under_way: None,
            proposed: Some(Epoch(4)),
        };
        let expected = "CLUSTER  MODE     EPOCH  PRIMARY\nshop     approve      3  db1\n  waits for you: millrace cluster approve shop 4";
        assert_eq!(table(&[line]), expected);
        assert!(table(&[]).contains("cluster create"));
    }
}
