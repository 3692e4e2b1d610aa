//! What can go wrong between Millrace and a server, told to the person who has to repair it: which instance, which address,
//! which user, what the server said, and what to do. Must never repeat a password: statements are quoted only up to their
//! first literal, and the server's own echo of a statement is cut off.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A statement is quoted with at most this many characters: enough to recognise it, short enough for one line.
const QUOTED_CHARS_MAX: usize = 80;

/// `ER_PARSE_ERROR`: its message repeats a piece of the statement.
const PARSE_ERROR: u16 = 1064;

/// Why something asked of a server did not happen. `target` reads like `a-1 at 127.0.0.1:3306 as user millrace`.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The password cannot be taken from its file.
    #[error("{target}: the password file {path:?} is no use: {why}")]
    PasswordFile {
        /// Who was to be asked.
        target: Arc<str>,
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and the remedy.
        why: Box<str>,
    },
    /// No connection came about: nobody listens, the host is away, or the handshake broke.
    #[error("{target}: cannot connect: {why}; see that the server runs and listens there")]
    Connect {
        /// Who was to be asked.
        target: Arc<str>,
        /// What the system or the client library said.
        why: Box<str>,
    },
    /// The server answered in time, with an error.
    #[error("{target}: {statement}: server error {code}: {message}{}", remedy_for(*.code))]
    Server {
        /// Who was asked.
        target: Arc<str>,
        /// What was asked, shortened, without literals; `connect` for the handshake.
        statement: Box<str>,
        /// The server's error code.
        code: u16,
        /// The server's words.
        message: Box<str>,
    },
    /// The server did not answer in time. Whether it did what was asked is unknown; the session is closed.
    #[error("{target}: {statement}: no answer within {after:?}; whether it was done is unknown")]
    Timeout {
        /// Who was asked.
        target: Arc<str>,
        /// What was asked, shortened, without literals; `connect` for the handshake.
        statement: Box<str>,
        /// How long was waited.
        after: Duration,
    },
    /// The connection broke while the answer was awaited, or earlier. Whether it was done is unknown.
    #[error("{target}: {statement}: the connection broke: {why}; whether it was done is unknown")]
    Lost {
        /// Who was asked.
        target: Arc<str>,
        /// What was asked, shortened, without literals.
        statement: Box<str>,
        /// What the client library said.
        why: Box<str>,
    },
    /// The server answered something that this version of Millrace cannot read.
    #[error("{target}: {statement}: the answer cannot be read: {why}")]
    Unreadable {
        /// Who was asked.
        target: Arc<str>,
        /// What was asked, shortened, without literals.
        statement: Box<str>,
        /// The column and what is wrong with it.
        why: Box<str>,
    },
}

impl Error {
    /// The server's error code, if it was the server that refused.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Server { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether nobody knows if the server did what was asked.
    pub fn outcome_unknown(&self) -> bool {
        matches!(self, Self::Timeout { .. } | Self::Lost { .. })
    }

    /// Whether the server refused who asked, so that trying again at once is pointless.
    pub fn is_credentials(&self) -> bool {
        // 1045 wrong password, 1044 no such schema for this user, 1130 not from this host, 1698 no password login.
        matches!(self, Self::PasswordFile { .. }) || matches!(self.code(), Some(1044 | 1045 | 1130 | 1698))
    }

    pub(crate) fn from_client(target: &Arc<str>, statement: &str, error: mysql_async::Error) -> Self {
        let target = Arc::clone(target);
        match error {
            mysql_async::Error::Server(server) => Self::Server {
                target,
                statement: shortened(statement),
                code: server.code,
                message: without_echo(server.code, &server.message),
            },
            other if statement == CONNECT => Self::Connect { target, why: in_words(&other) },
            other => Self::Lost { target, statement: shortened(statement), why: in_words(&other) },
        }
    }
}

/// The name under which the handshake appears where otherwise a statement stands.
pub(crate) const CONNECT: &str = "connect";

/// The beginning of a statement, up to its first literal.
pub(crate) fn shortened(statement: &str) -> Box<str> {
    let head = statement.split(['\'', '"']).next().unwrap_or_default();
    let mut text: String = head.chars().take(QUOTED_CHARS_MAX).collect();
    if text.len() < statement.len() {
        text.push_str("...");
    }
    text.into()
}

/// What the client library means, without the kinds of error that it puts before it, one for each of its own layers.
fn in_words(error: &mysql_async::Error) -> Box<str> {
    let words = match error {
        mysql_async::Error::Io(mysql_async::IoError::Io(system)) => system.to_string(),
        mysql_async::Error::Io(other) => other.to_string(),
        mysql_async::Error::Driver(driver) => driver.to_string(),
        mysql_async::Error::Other(other) => other.to_string(),
        other => other.to_string(),
    };
    words.trim_end_matches('.').into()
}

fn without_echo(code: u16, message: &str) -> Box<str> {
    match message.find(" near ") {
        Some(end) if code == PARSE_ERROR => message[..end].into(),
        _ => message.into(),
    }
}

/// What to do about the server errors that have a usual cause.
fn remedy_for(code: u16) -> &'static str {
    match code {
        1040 | 1203 => "; raise max_connections, or find who holds the connections",
        1044 | 1142 | 1143 | 1227 | 1370 => "; grant the user what the message names",
        1045 | 1698 => "; check the user and its password file, and that the account exists for this host",
        1129 => "; run FLUSH HOSTS there, and find out why connections from here failed",
        1130 => "; create the account for the host that this connection comes from",
        1193 => "; the server's version or plugins do not have it",
        1205 => "; something holds the lock, usually a commit that waits for an acknowledgement",
        1290 | 1792 | 1836 => "; the server is closed to writes, which is right unless it should be the primary",
        2059 | 1251 => "; give the account an authentication plugin that this client knows",
        3032 => "; the server is closed to its clients (offline_mode)",
        3159 => "; the server demands TLS",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_quoted_without_its_literals() {
        let check = |statement: &str, expected: &str| assert_eq!(&*shortened(statement), expected);
        check("STOP REPLICA", "STOP REPLICA");
        check("CHANGE MASTER TO MASTER_PASSWORD='secret'", "CHANGE MASTER TO MASTER_PASSWORD=...");
        check("SET x=\"secret\"", "SET x=...");
        check(&"x".repeat(100), &format!("{}...", "x".repeat(80)));
    }

    #[test]
    fn what_the_client_library_says_is_said_once() {
        let check = |error: mysql_async::Error, expected: &str| {
            assert_eq!(&*in_words(&error), expected);
            let target: Arc<str> = "a-1".into();
            assert!(Error::from_client(&target, CONNECT, error).to_string().contains(&format!(": {expected};")));
        };
        let system = |kind: std::io::ErrorKind| mysql_async::Error::from(std::io::Error::from(kind));
        check(system(std::io::ErrorKind::ConnectionRefused), "connection refused");
        check(system(std::io::ErrorKind::UnexpectedEof), "unexpected end of file");
        check(std::io::Error::from_raw_os_error(104).into(), "Connection reset by peer (os error 104)");
        check(mysql_async::DriverError::ConnectionClosed.into(), "Connection to the server is closed");
        check(mysql_async::Error::Other("no key".into()), "no key");
    }

    #[test]
    fn an_error_names_all_that_is_needed_and_no_secret() {
        let server = mysql_async::ServerError {
            code: 1064,
            message: "You have an error in your SQL syntax near 'PASSWORD=secret'".into(),
            state: "42000".into(),
        };
        let target: Arc<str> = "a-1 at 127.0.0.1:3306 as user millrace".into();
        let error = Error::from_client(&target, "CHANGE X='secret'", mysql_async::Error::Server(server));
        let text = error.to_string();
        assert_eq!(
            text,
            "a-1 at 127.0.0.1:3306 as user millrace: CHANGE X=...: server error 1064: You have an error in your SQL syntax"
        );
        assert_eq!(error.code(), Some(1064));
        assert!(!error.outcome_unknown());
    }
}
