//! `[[channel]]`: where people are told of alerts. In: a section. Out: a channel, or every problem with its line. Secrets are files:
//! tokens, passwords, keys, and addresses that are secrets themselves.

use std::path::PathBuf;
use std::time::Duration;

use millrace_schemas::ids::ClusterId;
use millrace_schemas::topics::alerts::Severity;
use millrace_sinks::channels::email::{Email, Mailbox, is_here};
use millrace_sinks::channels::way::Hook;
use millrace_sinks::channels::{Address, Kind, Style, pagerduty};
use reqwest::Url;

use super::read::{Problems, Section};
use super::store::named;

/// Messages in a minute: from one to ten in a second, more than any service takes for long.
const RATES: std::ops::RangeInclusive<u32> = 1..=600;
/// 30 in a minute: Slack takes 60, `PagerDuty` 120, and nobody reads more.
const RATE: u32 = 30;
/// From 1 s to 1 minute for an answer: while one is waited for, others wait, and a group of readers misses its member after 5.
const TIMEOUTS: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_mins(1);
/// 10 s: services answer in a second; one that takes longer hangs.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The port for mail from programs (submission), and the one of a mail server on this host.
const SUBMISSION: u16 = 587;
const SMTP: u16 = 25;
/// From 1 minute, in which nobody has read a mail yet, to a day: an alert that waits for longer needs no channel of its own.
const UNTAKEN: std::ops::RangeInclusive<Duration> = Duration::from_mins(1)..=Duration::from_hours(24);
/// 64 characters hold the name of any rule.
const RULE_MAX: usize = 64;
/// Every key that only some kinds have.
const OF_KINDS: [&str; 14] = [
    "url",
    "url-file",
    "token-file",
    "key-file",
    "routing-key-file",
    "template-file",
    "address",
    "from",
    "to",
    "user",
    "password-file",
    "plain",
    "program",
    "arguments",
];

/// A channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// What it speaks, and where to.
    pub kind: Kind,
    /// Its name, under which positions and metrics are kept, and how it says things.
    pub style: Style,
    /// Only alerts of these clusters; none: of all.
    pub clusters: Vec<ClusterId>,
    /// Only alerts that are at least as bad.
    pub severity: Severity,
    /// Only alerts of these rules; none: of all.
    pub rules: Vec<String>,
    /// Only alerts that were escalated.
    pub escalations: bool,
    /// Only alerts that nobody took for so long; absent: all at once.
    pub untaken_for: Option<Duration>,
    /// Messages in a minute; what is above it is bundled.
    pub rate: u32,
    /// How long an answer may take.
    pub timeout: Duration,
    /// The file with who may sign its certificates; absent: who this host believes.
    pub ca_file: Option<PathBuf>,
}

impl Channel {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.style.receiver
    }
}

/// Reads all of them.
pub(super) fn read_all(root: &mut Section<'_, '_>, problems: &mut Problems<'_>) -> Vec<Channel> {
    let mut channels: Vec<Channel> = Vec::new();
    for section in root.sections("channel", problems) {
        let at = section.at_key("name");
        let Some(channel) = channel(section, problems) else { continue };
        if channels.iter().any(|other| other.name() == channel.name()) {
            let what = format!("channel.name {} is there already: positions are kept under it", channel.name());
            problems.note(at, what);
        }
        channels.push(channel);
    }
    channels
}

fn channel(mut section: Section<'_, '_>, problems: &mut Problems<'_>) -> Option<Channel> {
    let receiver = section.parsed("name", problems, named);
    let kind = section.required("kind", problems).and_then(|(kind, at)| read_kind(&kind, at, &mut section, problems));
    let clusters = section.all_parsed("clusters", problems, |text| ClusterId::parse(text));
    let severity = section.optional("severity", problems, str::parse).unwrap_or(Severity::Info);
    let rules = section.all_parsed("rules", problems, rule);
    let escalations = section.flag("escalations", problems).is_some_and(|(on, _)| on);
    let untaken_for = section.duration_in("untaken-for", UNTAKEN, problems);
    if escalations && untaken_for.is_some() {
        let what =
            "channel.untaken-for and escalations: give one of them; escalate-after of [alerts] says when those are";
        problems.note(section.at_key("untaken-for"), what);
    }
    let ca_file = section.path("ca-file", problems);
    if ca_file.is_some() && matches!(kind, Some(Kind::Command { .. })) {
        problems
            .note(section.at_key("ca-file"), "channel.ca-file is for kinds that go over TLS, and a command does not");
    }
    let rate = section.number("rate", RATES, problems).unwrap_or(RATE);
    let timeout = section.duration_in("timeout", TIMEOUTS, problems).unwrap_or(TIMEOUT);
    let runbooks = section.optional("runbooks", problems, address);
    section.finish(problems);
    let style = Style { receiver: receiver?, runbooks };
    Some(Channel { kind: kind?, style, clusters, severity, rules, escalations, untaken_for, rate, timeout, ca_file })
}

fn read_kind(kind: &str, at: usize, section: &mut Section<'_, '_>, problems: &mut Problems<'_>) -> Option<Kind> {
    match kind {
        "webhook" => Some(Kind::Webhook(hook(section, problems)?)),
        "alertmanager" => Some(Kind::Alertmanager(hook(section, problems)?)),
        "slack" => Some(Kind::Slack(secret_hook(section, problems)?)),
        "chat" => {
            let (hook, template) = (hook(section, problems), section.required("template-file", problems));
            Some(Kind::Chat { hook: hook?, template_file: PathBuf::from(template?.0) })
        }
        "pagerduty" => {
            let url = section.optional("url", problems, address).unwrap_or_else(|| pagerduty::URL.to_owned());
            let routing_key_file = PathBuf::from(section.required("routing-key-file", problems)?.0);
            Some(Kind::Pagerduty { url, routing_key_file })
        }
        "email" => email(section, problems).map(Kind::Email),
        "command" => {
            let program = section.parsed("program", problems, absolute);
            let arguments = section.all_parsed("arguments", problems, |text| Ok::<_, String>(text.to_owned()));
            Some(Kind::Command { program: program?, arguments })
        }
        _ => {
            let known = "\"webhook\", \"alertmanager\", \"pagerduty\", \"slack\", \"chat\", \"email\" or \"command\"";
            problems.note(at, format!("channel.kind = \"{kind}\" is not known: {known}"));
            // What belongs to any kind is no further problem.
            section.pass_over(&OF_KINDS);
            None
        }
    }
}

fn hook(section: &mut Section<'_, '_>, problems: &mut Problems<'_>) -> Option<Hook> {
    let at = section.at();
    let (open, file) = (section.optional("url", problems, address), section.path("url-file", problems));
    let given = section.at_key("url") != at;
    let (token_file, key_file) = (section.path("token-file", problems), section.path("key-file", problems));
    let url = match (open, file) {
        (Some(_), Some(_)) => {
            problems.note(section.at_key("url-file"), "channel.url and url-file: give one of them");
            return None;
        }
        (Some(url), None) => Address::Open(url),
        (None, Some(file)) => Address::File(file),
        (None, None) => {
            if !given {
                problems.note(at, "[channel] needs url = \"...\", or url-file = \"...\" where the address is a secret");
            }
            return None;
        }
    };
    Some(Hook { url, token_file, key_file })
}

/// Who knows the address may write: it is a secret.
fn secret_hook(section: &mut Section<'_, '_>, problems: &mut Problems<'_>) -> Option<Hook> {
    let url = Address::File(PathBuf::from(section.required("url-file", problems)?.0));
    Some(Hook { url, token_file: None, key_file: section.path("key-file", problems) })
}

fn email(section: &mut Section<'_, '_>, problems: &mut Problems<'_>) -> Option<Email> {
    let server = section.parsed("address", problems, mail_server);
    let from = section.parsed("from", problems, str::parse::<Mailbox>);
    let at = section.at_key("to");
    let before = problems.found.len();
    let to = section.all_parsed("to", problems, str::parse::<Mailbox>);
    if to.is_empty() && problems.found.len() == before {
        problems.note(at, "[channel] needs to = [\"...\"], who gets the mail");
    }
    let user = section.text("user", problems).map(|(user, _)| user);
    let password_file = section.path("password-file", problems);
    let plain = section.flag("plain", problems).is_some_and(|(on, _)| on);
    if user.is_some() != password_file.is_some() {
        problems.note(section.at(), "channel.user and password-file go together: give both, or neither");
    }
    let (host, port) = server?;
    Some(Email { host, port, from: from?, to, user, password_file, plain })
}

/// `HOST` or `HOST:PORT`; an IPv6 address in brackets.
fn mail_server(text: &str) -> Result<(String, u16), String> {
    let bad = || format!("\"{text}\" is no mail server: \"mail.example.org:587\" is an example");
    let url = Url::parse(&format!("smtp://{text}")).map_err(|_| bad())?;
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(bad)?.trim_matches(['[', ']']).to_owned();
    if url.path().len() > 1 || !url.username().is_empty() || url.query().is_some() {
        return Err(bad());
    }
    let port = url.port().unwrap_or(if is_here(&host) { SMTP } else { SUBMISSION });
    Ok((host, port))
}

fn address(text: &str) -> Result<String, String> {
    let example = "\"https://alerts.example.org/hook\" is an example";
    let url = Url::parse(text).map_err(|error| format!("\"{text}\": {error}; {example}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(format!("\"{text}\": {} is not known; {example}", url.scheme()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a secret stands in it: put the whole address into a file, and name that with url-file".to_owned());
    }
    Ok(text.to_owned())
}

/// There is no shell, so nothing looks for it.
fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_absolute() { Ok(path) } else { Err(format!("\"{text}\" is no whole path: it begins with /")) }
}

fn rule(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > RULE_MAX || !text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(format!("\"{text}\" is no rule: \"PrimaryDown\" is an example"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
#[path = "channel_tests.rs"]
mod tests;
