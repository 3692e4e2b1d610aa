//! Mail over SMTP: plain text, one message an alert. The words of TLS: `STARTTLS` wherever the server offers it, and it must offer it
//! unless it is on this host or the configuration says `plain`, and no authority is named; port 465 speaks TLS from the first byte. A password is sent over
//! TLS or to this host alone.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use lettre::message::Mailbox;
use lettre::message::header;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::{self, AsyncSmtpTransport};
use lettre::{AsyncTransport as _, Message, Tokio1Executor};
use millrace_schemas::event::Event;
use millrace_schemas::topics::alerts::Notice;

use super::style::{self, Style, alert, hides, runbook_url};
use super::{Again, Failed, words};
use crate::http::because;

/// Where TLS begins without a word before it.
const WRAPPED: u16 = 465;
/// 1 minute after a log-in that failed: mail servers count those, and shut out who has five in ten minutes or so.
const LOG_IN_AGAIN: Duration = Duration::from_mins(1);

/// Where mail goes, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Email {
    /// The mail server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Who it is from.
    pub from: Mailbox,
    /// Who gets it.
    pub to: Vec<Mailbox>,
    /// Who logs in; absent: nobody does.
    pub user: Option<String>,
    /// The file with the password.
    pub password_file: Option<PathBuf>,
    /// The server need not offer TLS.
    pub plain: bool,
}

/// What is needed to come in.
#[derive(Debug)]
pub(super) struct Login<'a> {
    pub(super) password: Option<String>,
    /// Who may sign the server's certificate, in PEM; absent: who this host believes, and on this host nobody needs to.
    pub(super) authority: Option<&'a [u8]>,
}

/// The subject for one alert, or for several in one message.
pub fn subject(events: &[Event<Notice>]) -> String {
    format!("[millrace] {}", style::title(events))
}

/// The text for one alert, or for several in one message.
pub fn text(events: &[Event<Notice>], style: &Style) -> String {
    let [event] = events else {
        return format!("{}\n\n{}\n", style::title(events), style::lines(events).join("\n"));
    };
    let alert = alert(event);
    let mut lines = vec![alert.summary.clone(), String::new()];
    let mut line = |name: &str, value: String| lines.push(format!("{name:<12} {value}"));
    line("rule", alert.name.clone());
    line("cluster", event.subject.cluster.to_string());
    if let Some(instance) = &alert.instance {
        line("instance", instance.to_string());
    }
    for (name, value) in &alert.labels {
        line(name, value.clone());
    }
    line("severity", alert.severity.name().to_owned());
    line("state", style::state(alert.state).to_owned());
    line("since", alert.starts_at.to_string());
    if let Some(at) = alert.ends_at {
        line("until", at.to_string());
    }
    if let Some(by) = &alert.acknowledged_by {
        line("taken by", by.clone());
    }
    if let Some(hidden) = hides(alert) {
        line("hides", hidden);
    }
    line("what to do", runbook_url(alert, style).unwrap_or_else(|| alert.runbook.clone()));
    line("fingerprint", alert.fingerprint.to_string());
    lines.push(String::new());
    lines.join("\n")
}

impl Email {
    /// The message. Its id is the event's, and it answers the alert, so that mail programs show an alert's life as one thread.
    fn message(&self, events: &[Event<Notice>], style: &Style) -> Result<Message, Failed> {
        let mut message = Message::builder()
            .from(self.from.clone())
            .subject(subject(events))
            .message_id(Some(format!("<{}@millrace>", style::message_id(events))))
            .header(header::ContentTransferEncoding::QuotedPrintable)
            .header(ContentType::TEXT_PLAIN);
        for to in &self.to {
            message = message.to(to.clone());
        }
        if let [event] = events {
            message = message.references(format!("<{}@millrace>", alert(event).fingerprint));
        }
        message.body(text(events, style)).map_err(|error| Failed::Refused(error.to_string()))
    }

    fn transport(&self, login: Login<'_>, within: Duration) -> Result<AsyncSmtpTransport<Tokio1Executor>, Failed> {
        let here = is_here(&self.host);
        let mut parameters = TlsParameters::builder(self.host.clone());
        if let Some(authority) = login.authority {
            let authority = Certificate::from_pem(authority).map_err(|error| Failed::away(because(&error)))?;
            parameters = parameters.certificate_store(CertificateStore::None).add_root_certificate(authority);
        } else {
            // On this host also plain text would do, and mail servers come with a certificate that nobody signed.
            parameters = parameters.dangerous_accept_invalid_certs(here);
        }
        let parameters = parameters.build().map_err(|error| Failed::away(because(&error)))?;
        let tls = match self.port {
            WRAPPED => Tls::Wrapper(parameters),
            // Who names an authority wants its certificate to be seen.
            _ if login.authority.is_none() && (here || self.plain) => Tls::Opportunistic(parameters),
            _ => Tls::Required(parameters),
        };
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&self.host);
        transport = transport.port(self.port).tls(tls).timeout(Some(within));
        if let Some((user, password)) = self.user.clone().zip(login.password) {
            transport = transport.credentials(Credentials::new(user, password));
        }
        Ok(transport.build())
    }

    pub(super) async fn send(
        &self,
        events: &[Event<Notice>],
        style: &Style,
        login: Login<'_>,
        within: Duration,
    ) -> Result<String, Failed> {
        let message = self.message(events, style)?;
        let answer = self.transport(login, within)?.send(message).await.map_err(|error| failed(&error))?;
        let said: Vec<&str> = answer.message().collect();
        Ok(words(&format!("{} {}", answer.code(), said.join(" "))))
    }
}

/// On this host: nothing is sent over a network.
pub fn is_here(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A mail server refuses a message with 5xx; with 530 to 538 it wants another log-in, which somebody may mend.
fn failed(error: &smtp::Error) -> Failed {
    let why = words(&because(error));
    let code = error.status().map(|code| code.to_string().parse::<u16>().unwrap_or_default());
    match code {
        Some(530..=538) => Failed::Later { why, again: Again::After(LOG_IN_AGAIN), all: true },
        Some(500..=599) => Failed::Refused(why),
        Some(_) => Failed::not_now(why, true),
        None => Failed::away(why),
    }
}
