//! Facts and explanations as people read them: 80 columns, times in UTC.

use std::fmt;

use millrace_schemas::cluster::Process;
use millrace_schemas::topics::actions::StepOutcome;
use millrace_schemas::topics::alerts::{AlertState, Word};
use millrace_schemas::topics::journal::{Canary, Command, Fact, Heartbeat, Outcome};

use super::{StepLine, Why};

/// The width of a terminal that nobody has made wider.
const COLUMNS: usize = 80;

/// What a fact says, in a line; nothing for ticks, renewals, loads and what is only unusual, which are no reasons.
pub fn describe(fact: &Fact) -> Option<String> {
    Some(match fact {
        Fact::Heartbeat(heartbeat) => beat(heartbeat),
        Fact::ProcessChanged(change) => format!("its process {}", process(&change.process)),
        Fact::Gap(gap) => {
            let seconds = gap.to_boot_us.saturating_sub(gap.from_boot_us) / 1_000_000;
            format!("the agent of {} could not report for {seconds} s", gap.host)
        }
        Fact::Command(command) => match command {
            Command::CreateCluster(spec) => {
                format!("asked to create {} with {} members", spec.name, spec.members.len())
            }
            Command::Enrol(spec) => format!("asked to watch {} with {} members", spec.name, spec.members.len()),
            Command::SetMode { mode } => format!("mode set to {mode:?}").to_lowercase(),
            Command::Approve { epoch } => format!("epoch {epoch} approved"),
        },
        Fact::Claimed(claimed) => {
            format!("{} claimed {} of epoch {}", claimed.executor, claimed.action.kind.name(), claimed.action.epoch)
        }
        Fact::StepDone(result) => {
            let took = millis(result.took_us);
            format!("step {} {}: {} ({took})", result.number, result.step, outcome_of(&result.outcome))
        }
        Fact::Ended(ended) => format!("action of epoch {} ended: {}", ended.epoch, ending_of(&ended.outcome)),
        Fact::PermitAsked(asked) => {
            format!(
                "{} asked the fleet for a permit for epoch {}, because {}",
                asked.cluster, asked.epoch, asked.reason
            )
        }
        Fact::PermitAnswered(answer) if answer.granted => {
            format!("the fleet permitted epoch {}: {}", answer.epoch, answer.reason)
        }
        Fact::PermitAnswered(answer) => {
            format!("the fleet refused epoch {} until {}: {}", answer.epoch, answer.until, answer.reason)
        }
        Fact::PermitReturned(returned) => {
            format!("{} gave its permit back to the fleet, because {}", returned.cluster, returned.reason)
        }
        Fact::Finding(finding) if finding.state == AlertState::Firing => {
            format!("{}: {}", finding.rule, finding.summary)
        }
        Fact::Finding(finding) => format!("{} is over", finding.rule),
        Fact::AlertWord(word) => match word {
            Word::Silence(silence) => {
                let (from, until) = (silence.from, silence.until);
                format!("{} silenced alerts from {from} until {until}: {}", silence.by, silence.reason)
            }
            Word::Unsilence { silence } => format!("the silence {silence} was ended"),
            Word::Acknowledge { fingerprint, by } => format!("{by} acknowledged the alert {fingerprint}"),
            Word::Test { rule, by, until, .. } => format!("{by} tests the alert {rule} until {until}"),
        },
        Fact::Renewed(_) | Fact::Load(_) | Fact::Unusual(_) | Fact::UnusualDay(_) | Fact::Tick {} => return None,
    })
}

fn beat(heartbeat: &Heartbeat) -> String {
    let mut parts = vec![format!("process {}", process(&heartbeat.process))];
    if let Some(server) = &heartbeat.server {
        parts.push(if server.open { "open" } else { "read-only" }.to_owned());
        if let Some(receiver) = &server.receiver {
            let delay = receiver.delay_us.map_or("delay unknown".to_owned(), |us| format!("{} behind", millis(us)));
            let running = if receiver.runs() { "" } else { ", replication stopped" };
            parts.push(format!("follows {}, {delay}{running}", receiver.source));
            let other = server.stopped_channel.as_ref();
            parts.extend(other.map(|other| format!("replication from {} ({}) stopped", other.channel, other.source)));
        }
        if server.semi_sync.source_active {
            parts.push(format!("{} acknowledgers", server.semi_sync.acknowledgers));
        }
    }
    parts.extend(heartbeat.server_error.as_ref().map(|error| format!("not readable: {error}")));
    match &heartbeat.canary {
        Canary::Off => {}
        Canary::Written { took_us } => parts.push(format!("canary write {}", millis(*took_us))),
        Canary::Waiting { since_us } => parts.push(format!("canary write waiting for {}", millis(*since_us))),
        Canary::Failed { error } => parts.push(format!("canary write failed: {error}")),
    }
    parts.join(", ")
}

fn process(process: &Process) -> String {
    match process {
        Process::Running { pid } => format!("runs as pid {pid}"),
        Process::Exited { code, signal, requested, held } => {
            let how = match (code, signal) {
                (_, Some(signal)) => format!("exited on signal {signal}"),
                (Some(code), None) => format!("exited with code {code}"),
                (None, None) => "exited".to_owned(),
            };
            let asked = if *requested { ", asked for" } else { ", not asked for" };
            let held = if *held { ", held down" } else { "" };
            format!("{how}{asked}{held}")
        }
        Process::Unknown => "unknown".to_owned(),
    }
}

pub(super) fn outcome_of(outcome: &StepOutcome) -> String {
    match outcome {
        StepOutcome::Done(report) if report.already => "done before".to_owned(),
        StepOutcome::Done(_) => "done".to_owned(),
        StepOutcome::Refused { reason } => format!("refused: {reason}"),
        StepOutcome::Failed { error } => format!("failed: {error}"),
        StepOutcome::TimedOut {} => "timed out".to_owned(),
    }
}

pub(super) fn ending_of(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done { primary } => format!("done, primary {primary}"),
        Outcome::Refused { reason, unblock } => format!("refused: {reason}; {unblock} would unblock it"),
        Outcome::Abandoned { reason, may_have_opened } => {
            let open = if *may_have_opened { "; a server may have been opened" } else { "" };
            format!("abandoned: {reason}{open}")
        }
    }
}

fn millis(us: u64) -> String {
    if us < 10_000 { format!("{}.{} ms", us / 1_000, us % 1_000 / 100) } else { format!("{} ms", us / 1_000) }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        wrap(f, 0, &format!("{} at {}", self.cluster, self.at))?;
        writeln!(f, "\nVerdict")?;
        wrap(f, 2, &self.explanation.sentence)?;
        wrap(f, 2, &format!("Therefore: {}", self.explanation.therefore))?;
        section(f, "Members", &self.explanation.members)?;
        section(f, "Candidates", &self.explanation.candidates)?;
        let facts = self.facts.iter().map(|fact| {
            let about = fact.instance.as_ref().map_or("", |instance| instance.as_str());
            format!("{} {about}: {}", clock(&fact.at.to_string()), fact.text)
        });
        section(f, "Facts", &facts.collect::<Vec<_>>())?;
        if let Some(action) = &self.action {
            writeln!(f, "\nAction {}", action.id)?;
            wrap(f, 2, &format!("{} in epoch {}, because {}", action.kind, action.epoch, action.reason))?;
            let evidence: Vec<String> = action.evidence.iter().map(|id| format!("rests on {id}")).collect();
            for line in evidence {
                wrap(f, 2, &line)?;
            }
            section(f, "Steps", &self.steps.iter().map(step).collect::<Vec<_>>())?;
            let ending = action.outcome.as_deref().unwrap_or("under way");
            let took = action.took_us.map_or(String::new(), |us| format!(" after {}", millis(us)));
            writeln!(f)?;
            wrap(f, 0, &format!("Ended{took}: {ending}"))?;
        }
        Ok(())
    }
}

fn step(step: &StepLine) -> String {
    let StepLine { at, number, instance, step, outcome, took_us } = step;
    format!("{} {number} {step} on {instance}: {outcome}, {}", clock(&at.to_string()), millis(*took_us))
}

/// The time of day of a UTC time, to the millisecond.
fn clock(time: &str) -> &str {
    time.get(11..23).unwrap_or(time)
}

fn section(f: &mut fmt::Formatter<'_>, title: &str, lines: &[String]) -> fmt::Result {
    writeln!(f, "\n{title}")?;
    if lines.is_empty() {
        writeln!(f, "  none")?;
    }
    lines.iter().try_for_each(|line| wrap(f, 2, line))
}

/// Writes `text` in lines of at most [`COLUMNS`] where its words allow, the following ones indented further.
fn wrap(f: &mut fmt::Formatter<'_>, indent: usize, text: &str) -> fmt::Result {
    let mut line = " ".repeat(indent);
    let mut fresh = true;
    for word in text.split_whitespace() {
        if !fresh && line.chars().count() + 1 + word.chars().count() > COLUMNS {
            writeln!(f, "{line}")?;
            line = " ".repeat(indent + 4);
            fresh = true;
        }
        if !fresh {
            line.push(' ');
        }
        line.push_str(word);
        fresh = false;
    }
    writeln!(f, "{line}")
}
