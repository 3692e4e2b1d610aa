//! Sessions with a server. In: where it is, who asks, how long to wait. Out: rows, or an error that names everything.
//! A server may hang at any point (a stopped process, a full disk, a commit that waits for an acknowledgement), so every
//! single wait is bounded, and a session that timed out is closed, since its next answer would belong to the old question.
//! Passwords come from files only, are read at each connect (so that they can be changed), and are never logged.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder, Params};
use tokio::time::timeout;

use crate::error::{CONNECT, Error, shortened};
use crate::rows::Row;

/// 2 s to connect: a server on a healthy network answers within 50 ms; what takes longer than this is reported, not awaited.
pub const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// 5 s for a statement: status statements take milliseconds; a server that takes longer is one that hangs.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// 200 ms to say goodbye: it is a courtesy, and a server that hangs will not notice it.
const GOODBYE_WITHIN: Duration = Duration::from_millis(200);

/// 16 MiB for one row: the longest thing read is a GTID set, which is refused above 1 MiB.
const ROW_BYTES_MAX: usize = 16 * 1024 * 1024;

/// 4 KiB: no password is longer; a larger file is the wrong file.
const PASSWORD_BYTES_MAX: usize = 4096;

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A host (name or IP address) and a port.
    Tcp {
        /// Name or address of the host.
        host: String,
        /// The port.
        port: u16,
    },
    /// A Unix socket on this host.
    Socket(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Socket(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The user's name.
    pub user: String,
    /// The file that holds the password and nothing else; its last line end is ignored. `None` for no password.
    pub password_file: Option<PathBuf>,
}

/// A server to connect to.
#[derive(Debug, Clone)]
pub struct Target {
    /// The instance's name, as people know it.
    pub instance: String,
    /// Where it listens.
    pub address: Address,
    /// Who asks.
    pub account: Account,
    /// How long a connection may take to come about.
    pub connect_within: Duration,
    /// How long a statement may take unless it says otherwise.
    pub answer_within: Duration,
}

impl Target {
    /// A target with the usual limits.
    pub fn new(instance: impl Into<String>, address: Address, account: Account) -> Self {
        Self {
            instance: instance.into(),
            address,
            account,
            connect_within: CONNECT_WITHIN,
            answer_within: ANSWER_WITHIN,
        }
    }

    fn described(&self) -> Arc<str> {
        format!("{} at {} as user {}", self.instance, self.address, self.account.user).into()
    }
}

/// One connection. It belongs to one task; there is no pool, because who asks a server must know what it holds open there.
#[derive(Debug)]
pub struct Session {
    /// `None` after a timeout or a broken connection.
    conn: Option<Conn>,
    target: Arc<str>,
    answer_within: Duration,
    id: u32,
}

impl Session {
    /// Connects and logs in within `target.connect_within`.
    pub async fn open(target: &Target) -> Result<Self, Error> {
        let described = target.described();
        let attempt = async {
            let password = password_of(&target.account, &described).await?;
            let opts = options(target, password);
            Conn::new(opts).await.map_err(|error| Error::from_client(&described, CONNECT, error))
        };
        let conn = timeout(target.connect_within, attempt).await.map_err(|_| Error::Timeout {
            target: Arc::clone(&described),
            statement: CONNECT.into(),
            after: target.connect_within,
        })??;
        Ok(Self { id: conn.id(), conn: Some(conn), target: described, answer_within: target.answer_within })
    }

    /// The server's id of this connection, for another session's `KILL`.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Whether the session can still be used. It cannot after a timeout or a broken connection.
    pub fn is_usable(&self) -> bool {
        self.conn.is_some()
    }

    /// Runs a statement and drops what it returns.
    pub async fn execute(&mut self, statement: &str) -> Result<(), Error> {
        self.execute_within(statement, self.answer_within).await
    }

    /// Runs a statement that may take as long as `within`, and drops what it returns.
    pub async fn execute_within(&mut self, statement: &str, within: Duration) -> Result<(), Error> {
        self.bounded(statement, within, async |conn| conn.query_drop(statement).await).await
    }

    /// Runs a statement with `?` placeholders and drops what it returns.
    pub async fn execute_with(&mut self, statement: &str, params: impl Into<Params>) -> Result<(), Error> {
        let params = params.into();
        self.bounded(statement, self.answer_within, async |conn| conn.exec_drop(statement, params).await).await
    }

    /// Runs a statement and returns its rows.
    pub async fn rows(&mut self, statement: &str) -> Result<Vec<Row>, Error> {
        self.rows_within(statement, self.answer_within).await
    }

    /// Runs a statement that may take as long as `within`, and returns its rows.
    pub async fn rows_within(&mut self, statement: &str, within: Duration) -> Result<Vec<Row>, Error> {
        let rows =
            self.bounded(statement, within, async |conn| conn.query::<mysql_async::Row, _>(statement).await).await?;
        Ok(rows.into_iter().map(Row::new).collect())
    }

    /// Runs a statement and returns its first row.
    pub async fn first(&mut self, statement: &str) -> Result<Option<Row>, Error> {
        Ok(self.rows(statement).await?.into_iter().next())
    }

    /// Runs a statement and returns the first column of its first row as text; `None` for no row or NULL.
    pub async fn value(&mut self, statement: &str) -> Result<Option<String>, Error> {
        Ok(self.first(statement).await?.and_then(|row| row.nth(0)))
    }

    /// Says goodbye and closes the connection. Dropping a session closes it too, without waiting.
    pub async fn close(mut self) {
        self.hang_up().await;
    }

    /// The error for an answer to `statement` that makes no sense.
    pub(crate) fn unreadable(&self, statement: &str, why: impl fmt::Display) -> Error {
        Error::Unreadable {
            target: Arc::clone(&self.target),
            statement: shortened(statement),
            why: why.to_string().into(),
        }
    }

    async fn bounded<T>(
        &mut self,
        statement: &str,
        within: Duration,
        ask: impl AsyncFnOnce(&mut Conn) -> Result<T, mysql_async::Error>,
    ) -> Result<T, Error> {
        let Some(conn) = self.conn.as_mut() else {
            return Err(Error::Lost {
                target: Arc::clone(&self.target),
                statement: shortened(statement),
                why: "this session was closed after an earlier failure".into(),
            });
        };
        match timeout(within, ask(conn)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                if error.is_fatal() {
                    self.hang_up().await;
                }
                Err(Error::from_client(&self.target, statement, error))
            }
            Err(_) => {
                self.hang_up().await;
                Err(Error::Timeout { target: Arc::clone(&self.target), statement: shortened(statement), after: within })
            }
        }
    }

    /// Closes the connection in bounded time. `disconnect` marks it as closed before it waits for anything, so that dropping
    /// it afterwards leaves no task behind that reads from a server that hangs.
    async fn hang_up(&mut self) {
        if let Some(conn) = self.conn.take() {
            let farewell = timeout(GOODBYE_WITHIN, conn.disconnect()).await;
            if !matches!(farewell, Ok(Ok(()))) {
                tracing::debug!(target_server = %self.target, "connection closed without goodbye");
            }
        }
    }
}

fn options(target: &Target, password: Option<String>) -> OptsBuilder {
    let builder = OptsBuilder::default()
        .user(Some(target.account.user.clone()))
        .pass(password)
        // Whoever asked for TCP means it: the socket would hide that the port is closed.
        .prefer_socket(false)
        .tcp_nodelay(true)
        // Both are given so that the client does not ask the server for them at each connect.
        .max_allowed_packet(Some(ROW_BYTES_MAX))
        .wait_timeout(Some(28_800));
    match &target.address {
        Address::Tcp { host, port } => builder.ip_or_hostname(host.clone()).tcp_port(*port),
        Address::Socket(path) => builder.socket(Some(path.to_string_lossy().into_owned())),
    }
}

async fn password_of(account: &Account, target: &Arc<str>) -> Result<Option<String>, Error> {
    let Some(path) = &account.password_file else { return Ok(None) };
    let read = read_password(path).await;
    read.map(Some).map_err(|why| Error::PasswordFile {
        target: Arc::clone(target),
        path: path.clone(),
        why: why.into(),
    })
}

/// Reads a password file that nobody but its owner can read.
async fn read_password(path: &Path) -> Result<String, String> {
    use std::os::unix::fs::PermissionsExt;

    let metadata = tokio::fs::metadata(path).await.map_err(|error| error.to_string())?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(format!("others can read it (mode {mode:o}); run chmod 600 on it"));
    }
    if metadata.len() > PASSWORD_BYTES_MAX as u64 {
        return Err(format!("it has {} bytes, and no password has more than {PASSWORD_BYTES_MAX}", metadata.len()));
    }
    let text = tokio::fs::read_to_string(path).await.map_err(|error| error.to_string())?;
    Ok(text.strip_suffix('\n').unwrap_or(&text).trim_end_matches('\r').to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    async fn check_password(content: &str, mode: u32, expected: Result<&str, &str>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        match (read_password(&path).await, expected) {
            (Ok(read), Ok(wanted)) => assert_eq!(read, wanted),
            (Err(why), Err(part)) => assert!(why.contains(part), "{why}"),
            (read, expected) => panic!("{read:?} instead of {expected:?}"),
        }
    }

    #[tokio::test]
    async fn a_password_is_the_file_without_its_last_line_end() {
        check_password("s3 cret\n", 0o600, Ok("s3 cret")).await;
        check_password("s3cret", 0o400, Ok("s3cret")).await;
        check_password("s3cret\r\n", 0o600, Ok("s3cret")).await;
        check_password("s3cret\n\n", 0o600, Ok("s3cret\n")).await;
        check_password("s3cret\n", 0o640, Err("chmod 600")).await;
        check_password(&"x".repeat(5000), 0o600, Err("5000 bytes")).await;
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_named() {
        let account = Account { user: "millrace".into(), password_file: None };
        let free = millrace_test_servers::free_port();
        let port = free.number;
        let mut target = Target::new("a-1", Address::Tcp { host: "127.0.0.1".into(), port }, account);
        target.connect_within = Duration::from_mins(1);
        let error = Session::open(&target).await.unwrap_err();
        assert!(matches!(error, Error::Connect { .. }));
        assert!(error.to_string().starts_with(&format!("a-1 at 127.0.0.1:{port} as user millrace: cannot connect")));
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_is_given_up() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let account = Account { user: "millrace".into(), password_file: None };
        let mut target = Target::new("a-1", Address::Tcp { host: "127.0.0.1".into(), port }, account);
        target.connect_within = Duration::from_millis(50);
        let error = Session::open(&target).await.unwrap_err();
        assert!(matches!(error, Error::Timeout { .. }), "{error}");
        assert!(error.outcome_unknown());
    }
}
