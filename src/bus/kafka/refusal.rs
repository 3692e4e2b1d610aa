//! Why the brokers do not do what was asked. Errors of the library in, the bus's own with what to do out. A call that no broker
//! takes says only that nobody answered; why is told apart, to whoever listens to its client: it is kept here and put together.
//! It must never call an outage a refusal: who is refused ends, and an outage is waited for.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode as Code;

use crate::bus::Error;
use crate::config;

/// 60 s: the library tells the same refusal again only every 30.
const KEPT: Duration = Duration::from_mins(1);

/// What the clients of a process were last refused for. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Why(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    servers: String,
    login: String,
    authority: String,
    /// The own certificate; absent: none is shown.
    certificate: Option<String>,
    /// Why no connection came to be.
    connections: Kept,
    /// Why no producer came to be.
    producers: Kept,
    /// What was said of connections that broke.
    outages: Kept,
}

/// The last refusal of a kind.
type Kept = Mutex<Option<(Instant, String)>>;

fn last(kept: &Kept) -> Option<String> {
    let kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    kept.as_ref().filter(|(at, _)| at.elapsed() < KEPT).map(|(_, problem)| problem.clone())
}

impl Why {
    pub(super) fn new(settings: &config::Kafka) -> Self {
        let shown = |path: &Path| path.display().to_string();
        let (tls, sasl) = (settings.tls.as_ref(), settings.sasl.as_ref());
        let login = sasl.map_or_else(
            || {
                "the broker wants a log-in: name [bus.sasl] user and password-file, or a certificate in [bus.tls]"
                    .to_owned()
            },
            |sasl| {
                let file = sasl.password_file.display();
                format!("the user {} and the password in {file} are not accepted: look at [bus.sasl]", sasl.user)
            },
        );
        Self(Arc::new(Shared {
            servers: settings.servers.clone(),
            login,
            authority: tls.map_or_else(|| "[bus.tls] ca-file".to_owned(), |tls| shown(&tls.authority)),
            certificate: tls.and_then(|tls| tls.own.as_ref()).map(|(certificate, _)| shown(certificate)),
            connections: Mutex::default(),
            producers: Mutex::default(),
            outages: Mutex::default(),
        }))
    }

    /// Takes a word of the library; keeps it if it is the refusal of a connection, or of all that a producer could say.
    pub(super) fn heard(&self, error: &KafkaError, reason: &str) {
        let Some(code) = error.rdkafka_error_code() else { return };
        let kept = match code {
            Code::Authentication | Code::SaslAuthenticationFailed | Code::SSL | Code::BrokerTransportFailure => {
                &self.0.connections
            }
            Code::ClusterAuthorizationFailed => &self.0.producers,
            _ => return,
        };
        let (kept, problem) = match self.refusal(code, reason) {
            Some(problem) => (kept, problem),
            None => (&self.0.outages, reason.to_owned()),
        };
        *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), problem));
    }

    /// A broker did what was asked: whatever it refused before, it does not now.
    pub(super) fn answered(&self) {
        for kept in [&self.0.connections, &self.0.outages] {
            *kept.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    /// The bus's own error for one of the library.
    pub(super) fn explain(&self, error: &KafkaError) -> Error {
        let servers = &self.0.servers;
        if let KafkaError::ClientConfig(_, what, key, _) = error {
            return self.refused(format!("the setting {key} is not accepted: {what}"));
        }
        let Some(code) = error.rdkafka_error_code() else { return Error::Unavailable(format!("{servers}: {error}")) };
        if let Some(problem) = self.refusal(code, "") {
            return self.refused(problem);
        }
        let away = match code {
            Code::AllBrokersDown | Code::BrokerTransportFailure | Code::Resolve => {
                format!("no broker of {servers} answers")
            }
            Code::MessageTimedOut | Code::OperationTimedOut | Code::RequestTimedOut => {
                format!("{servers} did not answer in time")
            }
            Code::WaitingForCoordinator | Code::CoordinatorNotAvailable => {
                format!("{servers}: nobody coordinates its consumer group now, or its principal may not use it")
            }
            Code::Fatal | Code::PurgeQueue => format!("{servers}: the producer was given up"),
            Code::QueueFull => return Error::Unavailable("too much waits for the brokers already".to_owned()),
            _ => return Error::Unavailable(format!("{servers}: {error}")),
        };
        let kept = if matches!(code, Code::Fatal | Code::PurgeQueue) { &self.0.producers } else { &self.0.connections };
        match (last(kept), last(&self.0.outages)) {
            (Some(problem), _) => self.refused(problem),
            (None, Some(words)) => Error::Unavailable(format!("{away} ({words})")),
            (None, None) => Error::Unavailable(away),
        }
    }

    pub(super) fn refused(&self, problem: String) -> Error {
        Error::Refused { address: self.0.servers.clone(), problem }
    }

    /// What is refused and what to do, where that is what the code and the library's words mean.
    fn refusal(&self, code: Code, reason: &str) -> Option<String> {
        // A connection that broke is an outage, however far it had come.
        if ["isconnected", "imed out", "onnection refused", "onnection reset"].iter().any(|word| reason.contains(word))
        {
            return None;
        }
        let grant =
            |what: &str| Some(format!("its principal may not {what}: grant what deploy/kafka/acls lists for its role"));
        match code {
            Code::TopicAuthorizationFailed => grant("do this with a topic"),
            Code::GroupAuthorizationFailed => grant("use this consumer group"),
            Code::ClusterAuthorizationFailed => grant("write to any topic"),
            Code::Authentication | Code::SaslAuthenticationFailed => Some(self.0.login.clone()),
            Code::SSL => Some(self.tls(reason)),
            // In TLS 1.3 a broker says only after the handshake what it thinks of a certificate.
            Code::BrokerTransportFailure if reason.contains("alert") => Some(self.tls(reason)),
            Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => {
                Some("a topic is missing: `millrace topics --apply` creates it".to_owned())
            }
            _ => None,
        }
    }

    /// What is wrong with a certificate, by OpenSSL's words.
    fn tls(&self, reason: &str) -> String {
        let Shared { authority, certificate, .. } = &*self.0;
        let own = certificate.as_deref().unwrap_or("[bus.tls] cert-file");
        if reason.contains("alert") && certificate.is_none() {
            return "the broker wants a certificate: name cert-file and key-file in [bus.tls]".to_owned();
        }
        // Also "certificate required": the library does not show one whose authority the broker does not name, and brokers on newer
        // Javas (17.0.21, not 17.0.15) say of none that it is required.
        if reason.contains("alert") {
            return format!(
                "the broker does not accept the certificate in {own}: it has expired, or is signed by an authority that the broker \
                 does not know; `openssl x509 -in {own} -noout -dates -issuer` tells"
            );
        }
        if reason.is_empty()
            || reason.contains("certificate verify failed")
            || reason.contains("verify broker certificate")
        {
            return format!(
                "the broker's certificate is not to be trusted: it must be signed by {authority}, be valid today, and name the \
                 host by which the broker is reached"
            );
        }
        format!("TLS failed: {reason}; [bus.tls] is for a listener that speaks TLS")
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::types::RDKafkaErrorCode;

    use super::*;
    use crate::config::{Sasl, Tls};

    fn why(own: bool, user: bool) -> Why {
        let own = own.then(|| ("own.pem".into(), "own.key".into()));
        let sasl = user.then(|| Sasl { user: "agent".to_owned(), password_file: "p".into() });
        Why::new(&config::Kafka {
            servers: "k1:9093".to_owned(),
            prefix: "millrace.".to_owned(),
            partitions: 1,
            replication: 1,
            tls: Some(Tls { authority: "ca.pem".into(), own }),
            sasl,
            state: "s".into(),
        })
    }

    /// What is said of a call that got no answer, after the library said these words.
    fn check(why: &Why, code: RDKafkaErrorCode, reason: &str, expected: Option<&str>) {
        why.heard(&KafkaError::Global(code), reason);
        let said = why.explain(&KafkaError::MetadataFetch(Code::BrokerTransportFailure));
        match (expected, said) {
            (Some(words), Error::Refused { problem, .. }) => assert!(problem.contains(words), "{problem}"),
            (None, Error::Unavailable(_)) => {}
            (expected, said) => panic!("{expected:?}, and it said {said}"),
        }
        why.answered();
    }

    #[test]
    fn a_refused_connection_is_told_from_an_outage() {
        let verify = "SSL handshake failed: error:0A000086:SSL routines::certificate verify failed: broker certificate";
        let unknown =
            "Receive failed: error:0A000416:SSL routines::sslv3 alert certificate unknown: SSL alert number 46";
        let required =
            "Receive failed: error:0A00045C:SSL routines::tlsv13 alert certificate required: SSL alert number 116";
        let closed = "SSL handshake failed: Disconnected: connecting to a PLAINTEXT broker listener?";
        check(&why(false, true), Code::SSL, verify, Some("must be signed by ca.pem"));
        check(&why(true, false), Code::BrokerTransportFailure, unknown, Some("openssl x509 -in own.pem"));
        check(&why(false, false), Code::BrokerTransportFailure, required, Some("wants a certificate"));
        check(&why(true, false), Code::BrokerTransportFailure, required, Some("openssl x509 -in own.pem"));
        check(&why(true, false), Code::SSL, closed, None);
        check(&why(true, false), Code::BrokerTransportFailure, "Connect to k1 failed: Connection refused", None);
        let away = why(true, false);
        away.heard(&KafkaError::Global(Code::BrokerTransportFailure), "Disconnected: connecting to a SASL listener?");
        let said = away.explain(&KafkaError::MetadataFetch(Code::BrokerTransportFailure));
        assert!(said.to_string().contains("SASL listener"), "an outage says what is known of it: {said}");
        check(
            &why(false, true),
            Code::Authentication,
            "Authentication failed",
            Some("the user agent and the password in p"),
        );
        check(&why(false, true), Code::Authentication, "SASL handshake: Disconnected", None);
        check(&why(false, true), Code::TopicAuthorizationFailed, "Fetch failed", None);
    }

    #[test]
    fn a_producer_that_may_write_nothing_says_so_and_nothing_of_outages() {
        let why = why(true, false);
        let purged = KafkaError::MessageProduction(Code::PurgeQueue);
        assert!(matches!(why.explain(&purged), Error::Unavailable(_)));
        check(&why, Code::ClusterAuthorizationFailed, "Failed to acquire idempotence PID", None);
        let Error::Refused { problem, .. } = why.explain(&purged) else { panic!("it is a refusal") };
        assert!(problem.contains("deploy/kafka/acls"), "{problem}");
    }
}
