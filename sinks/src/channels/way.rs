//! The way to a channel of any kind. Settings and events enter; leaves what the other side said. Secrets are read when a way is
//! opened: after a failure it is opened anew, so that a secret that was put right is used.

use std::path::{Path, PathBuf};
use std::time::Duration;

use millrace_schemas::event::Event;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::alerts::{AlertState, Notice};
use serde_json::Value;

use super::chat::Template;
use super::email::{Email, Login};
use super::http::{Header, Http};
use super::style::{self, Style, alert};
use super::{Failed, alertmanager, chat, command, pagerduty, sign, slack, webhook};
use crate::http::because;

/// Names a message; it is the same when the message is sent again.
pub const ID_HEADER: &str = "idempotency-key";

/// What a channel speaks, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Alertmanager's webhook body.
    Webhook(Hook),
    /// Alertmanager's own API.
    Alertmanager(Hook),
    /// The Events API of `PagerDuty`.
    Pagerduty {
        /// Where it takes events.
        url: String,
        /// The file with the key of the integration.
        routing_key_file: PathBuf,
    },
    /// An incoming webhook like Slack's.
    Slack(Hook),
    /// A chat with a body by template.
    Chat {
        /// The way.
        hook: Hook,
        /// The file with the template.
        template_file: PathBuf,
    },
    /// Mail.
    Email(Email),
    /// A program.
    Command {
        /// Its path.
        program: PathBuf,
        /// Its arguments.
        arguments: Vec<String>,
    },
}

/// Where to post, and how to prove who it is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// The address.
    pub url: Address,
    /// The file with the token that it wants.
    pub token_file: Option<PathBuf>,
    /// The file with the key that messages are signed with.
    pub key_file: Option<PathBuf>,
}

/// An address, which may be a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// It may be shown.
    Open(String),
    /// It is in a file.
    File(PathBuf),
}

/// A way that is open.
#[derive(Debug)]
pub struct Way {
    kind: Kind,
    style: Style,
    within: Duration,
    http: Http,
    url: String,
    /// Token, password or routing key.
    secret: Option<String>,
    key: Option<Vec<u8>>,
    template: Option<Template>,
    /// Who may sign the certificates of a mail server, in PEM.
    authority: Option<Vec<u8>>,
    runtime: tokio::runtime::Runtime,
}

impl Way {
    /// Opens a way, over which an answer must come `within` a time. Certificates are signed by who is in `ca_file`; absent: by who
    /// this host believes. Nothing is sent yet.
    pub fn open(kind: &Kind, style: &Style, within: Duration, ca_file: Option<&Path>) -> Result<Self, Failed> {
        let hook = match kind {
            Kind::Webhook(hook) | Kind::Alertmanager(hook) | Kind::Slack(hook) | Kind::Chat { hook, .. } => Some(hook),
            _ => None,
        };
        let url = match (kind, hook.map(|hook| &hook.url)) {
            (_, Some(Address::File(file))) => read(file)?,
            (Kind::Alertmanager(_), Some(Address::Open(url))) => {
                format!("{}/{}", url.trim_end_matches('/'), alertmanager::PATH)
            }
            (_, Some(Address::Open(url))) | (Kind::Pagerduty { url, .. }, None) => url.clone(),
            _ => String::new(),
        };
        let secret = match kind {
            Kind::Pagerduty { routing_key_file, .. } => Some(routing_key_file),
            Kind::Email(email) => email.password_file.as_ref(),
            _ => hook.and_then(|hook| hook.token_file.as_ref()),
        };
        let secret = secret.map(read).transpose()?;
        let key = hook.and_then(|hook| hook.key_file.as_ref()).map(read).transpose()?.map(String::into_bytes);
        let template = match kind {
            Kind::Chat { template_file, .. } => {
                Some(Template::parse(&read(template_file)?).map_err(|error| Failed::away(&error))?)
            }
            _ => None,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failed::away(because(&error)))?;
        let authority = ca_file.map(read).transpose()?.map(String::into_bytes);
        let (kind, style, http) = (kind.clone(), style.clone(), Http::new(ca_file)?);
        Ok(Self { kind, style, within, http, url, secret, key, template, authority, runtime })
    }

    /// Delivers a message of these alerts; leaves what the other side said. Nothing that it says has a secret of ours in it.
    pub fn deliver(&self, events: &[Event<Notice>]) -> Result<String, Failed> {
        let sent = self.runtime.block_on(async {
            // A program is given its time by itself: it must be ended after it.
            if let Kind::Command { program, arguments } = &self.kind {
                return command::run(program, arguments, events, &self.style, self.within).await;
            }
            let late = || Failed::away(format!("no answer within {:?}", self.within));
            tokio::time::timeout(self.within, self.send(events)).await.unwrap_or_else(|_| Err(late()))
        });
        match sent {
            Ok(said) => Ok(self.without_secrets(said)),
            Err(Failed::Refused(why)) => Err(Failed::Refused(self.without_secrets(why))),
            Err(Failed::Later { why, again, all }) => Err(Failed::Later { why: self.without_secrets(why), again, all }),
        }
    }

    async fn send(&self, events: &[Event<Notice>]) -> Result<String, Failed> {
        let body = match &self.kind {
            Kind::Email(email) => {
                let login = Login { password: self.secret.clone(), authority: self.authority.as_deref() };
                return email.send(events, &self.style, login, self.within).await;
            }
            Kind::Command { .. } | Kind::Webhook(_) => webhook::body(events, &self.style),
            Kind::Alertmanager(_) => alertmanager::body(events, &self.style, now()),
            Kind::Pagerduty { .. } => pagerduty::body(events, &self.style, self.secret.as_deref().unwrap_or_default()),
            Kind::Slack(_) => slack::body(events, &self.style),
            Kind::Chat { .. } => self.template.as_ref().map_or(Value::Null, |one| chat::body(events, &self.style, one)),
        };
        let body = body.to_string().into_bytes();
        self.http.post(&self.url, &self.headers(events, &body), body).await
    }

    fn headers(&self, events: &[Event<Notice>], body: &[u8]) -> Vec<Header> {
        let mut headers = vec![(ID_HEADER, style::message_id(events).to_string())];
        if let (Some(token), false) = (&self.secret, matches!(self.kind, Kind::Pagerduty { .. })) {
            headers.push(("authorization", format!("Bearer {token}")));
        }
        if let Some(key) = &self.key {
            headers.push((sign::HEADER, sign::signature(key, jiff::Timestamp::now().as_second(), body)));
        }
        headers
    }

    /// What the other side says may repeat what it was sent.
    fn without_secrets(&self, words: String) -> String {
        let address = matches!(
            &self.kind,
            Kind::Webhook(Hook { url: Address::File(_), .. })
                | Kind::Alertmanager(Hook { url: Address::File(_), .. })
                | Kind::Slack(Hook { url: Address::File(_), .. })
                | Kind::Chat { hook: Hook { url: Address::File(_), .. }, .. }
        );
        let path = self.url.splitn(4, '/').nth(3).filter(|path| address && !path.is_empty());
        let secrets = self.secret.as_deref().into_iter().chain(path);
        secrets.filter(|secret| !secret.is_empty()).fold(words, |words, secret| words.replace(secret, "(a secret)"))
    }
}

/// Whether the channel is told that somebody has taken an alert. `PagerDuty` stops calling the next person, and a chat is where the
/// others look before they begin too; an Alertmanager and its webhooks have no word for it, and mail comes too late for it.
pub const fn hears_who_took_it(kind: &Kind) -> bool {
    matches!(kind, Kind::Pagerduty { .. } | Kind::Slack(_) | Kind::Chat { .. })
}

/// Which of these may go in one message. What a channel would have to resolve goes alone.
pub fn may_bundle(kind: &Kind, event: &Event<Notice>) -> bool {
    let alert = alert(event);
    let resolves = alert.state == AlertState::Resolved || alert.acknowledged_by.is_some();
    !(matches!(kind, Kind::Pagerduty { .. }) && resolves)
}

fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_microsecond())
}

/// The text of a file without the line's end.
fn read(file: impl AsRef<Path>) -> Result<String, Failed> {
    let file = file.as_ref();
    let text = std::fs::read_to_string(file);
    let text = text.map_err(|error| Failed::away(format!("{} cannot be read: {error}", file.display())))?;
    match text.trim() {
        "" => Err(Failed::away(format!("{} is empty", file.display()))),
        text => Ok(text.to_owned()),
    }
}
