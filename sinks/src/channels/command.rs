//! A program of the operator's own, without a shell: the webhook's body on its standard input, the most needed of it in its environment,
//! and its exit code is the answer. What runs too long is ended with all that it started.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use millrace_schemas::event::Event;
use millrace_schemas::topics::alerts::Notice;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncWriteExt as _;

use super::style::{self, Style, alert, runbook_url};
use super::{Failed, webhook, words};

/// `EX_DATAERR` of sysexits(3): it will never take this message.
const NEVER: i32 = 65;

/// The environment for one alert, or for several in one message: of those only what holds for all.
pub fn environment(events: &[Event<Notice>], style: &Style) -> Vec<(&'static str, String)> {
    let mut all = vec![
        ("MILLRACE_CHANNEL", style.receiver.clone()),
        ("MILLRACE_ID", style::message_id(events).to_string()),
        ("MILLRACE_COUNT", events.len().to_string()),
        ("MILLRACE_TITLE", style::title(events)),
        ("MILLRACE_STATE", style::state(style::joint_state(events)).to_owned()),
        ("MILLRACE_SEVERITY", style::joint_severity(events).name().to_owned()),
    ];
    let [event] = events else { return all };
    let alert = alert(event);
    all.extend([
        ("MILLRACE_RULE", alert.name.clone()),
        ("MILLRACE_CLUSTER", event.subject.cluster.to_string()),
        ("MILLRACE_SUMMARY", alert.summary.clone()),
        ("MILLRACE_SINCE", alert.starts_at.to_string()),
        ("MILLRACE_RUNBOOK", runbook_url(alert, style).unwrap_or_else(|| alert.runbook.clone())),
        ("MILLRACE_FINGERPRINT", alert.fingerprint.to_string()),
    ]);
    all.extend(alert.instance.as_ref().map(|instance| ("MILLRACE_INSTANCE", instance.to_string())));
    all.extend(alert.told.map(|told| ("MILLRACE_TOLD", told.name().to_owned())));
    all.extend(alert.ends_at.map(|at| ("MILLRACE_UNTIL", at.to_string())));
    all
}

/// Runs it.
pub(super) async fn run(
    program: &Path,
    arguments: &[String],
    events: &[Event<Notice>],
    style: &Style,
    within: Duration,
) -> Result<String, Failed> {
    let body = webhook::body(events, style).to_string();
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).envs(environment(events, style)).process_group(0).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let started = command.spawn();
    let mut child =
        started.map_err(|error| Failed::away(format!("{} cannot be started: {error}", program.display())))?;
    let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let input = child.stdin.take();
    let write = async move {
        if let Some(mut input) = input {
            let _ = input.write_all(body.as_bytes()).await; // it need not read it
        }
    };
    let talk = async move { tokio::join!(write, child.wait_with_output()).1 };
    let Ok(ended) = tokio::time::timeout(within, talk).await else {
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL); // it fails only if all have ended
        }
        return Err(Failed::not_now(format!("it did not end within {within:?}, and was ended"), false));
    };
    answered(&ended.map_err(|error| Failed::away(error.to_string()))?)
}

fn answered(ended: &Output) -> Result<String, Failed> {
    let said = if ended.stderr.is_empty() { &ended.stdout } else { &ended.stderr };
    let said = words(&String::from_utf8_lossy(said));
    let said = if said.is_empty() { ended.status.to_string() } else { format!("{}: {said}", ended.status) };
    match ended.status.code() {
        Some(0) => Ok(said),
        Some(NEVER) => Err(Failed::Refused(said)),
        // It may be this message that it stumbles over: others are tried.
        _ => Err(Failed::not_now(said, false)),
    }
}
