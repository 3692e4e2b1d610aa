//! What the hands do to a server over SQL: follow, stop the receiver, promote, open, close, read sets. Each function first
//! looks whether it is done already, changes, and looks again; what it reports it has read, not assumed.
//! All of it runs in a session that holds `GET_LOCK('millrace')`, writes no binlog, and waits at most a second for locks.

mod extra;
mod stop;

use std::time::{Duration, Instant};

use millrace_mysql::flavour::{Source as SourceSpec, Unspeakable};
use millrace_mysql::status::replica::Receiver;
use millrace_mysql::status::{Channel, replica, semi_sync, source};
use millrace_mysql::{Dialect, Error, GtidSet, Session, Target};
use millrace_schemas::cluster::Member;
use millrace_schemas::topics::actions::Report;

pub use extra::{name_extra, neutralise};
use stop::{Stopped, stop_replication};

/// 5 s: stopping a receiver whose source is frozen takes `replica_net_timeout`, 2 s.
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// 20 ms between looks: attaching takes 10 to 50 ms.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// 1 s for acknowledgers to attach before the server is opened; without them it opens too, and its writes wait.
const ATTACH_WITHIN: Duration = Duration::from_secs(1);
/// 1 s: a server that does not confirm that it is closed is killed.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);
/// The lock of the server that the session of a step holds: whoever takes it over cuts off the session of an older step.
pub(super) const LOCK_NAME: &str = "millrace";

/// Why a step did not work.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The server would not.
    #[error(transparent)]
    Server(#[from] Error),
    /// The dialect has no words for it.
    #[error(transparent)]
    Words(#[from] Unspeakable),
    /// GTID sets do not go together.
    #[error(transparent)]
    Gtid(#[from] millrace_mysql::GtidError),
    /// What is there is not what the step needs.
    #[error("{0}")]
    Unfit(String),
}

/// Whom a replica logs in to its source as.
#[derive(Clone, Debug)]
pub struct Replication {
    /// The account.
    pub user: String,
    /// Its password.
    pub password: String,
}

/// A session that owns the server for a step.
#[derive(Debug)]
pub struct Owned {
    session: Session,
    dialect: Dialect,
    /// For a second session, where one statement needs another beside it.
    target: Target,
}

impl Owned {
    /// Connects and takes the lock; who holds it is of an older step and is cut off.
    pub async fn take(target: &Target) -> Result<Self, Trouble> {
        let mut session = Session::open(target).await?;
        session.execute("SET SESSION lock_wait_timeout=1").await?;
        session.execute("SET SESSION sql_log_bin=0").await?;
        let taken = |value: Option<String>| value.as_deref() == Some("1");
        if !taken(session.value(&format!("SELECT GET_LOCK('{LOCK_NAME}', 0)")).await?) {
            if let Some(holder) = session.value(&format!("SELECT IS_USED_LOCK('{LOCK_NAME}')")).await? {
                match session.execute(&format!("KILL {holder}")).await {
                    Err(error) if error.code() != Some(1094) => return Err(error.into()), // 1094: it has gone by itself
                    _ => {}
                }
            }
            if !taken(session.value(&format!("SELECT GET_LOCK('{LOCK_NAME}', 1)")).await?) {
                return Err(Trouble::Unfit(
                    "the lock of an earlier step could not be taken over within 1 s".to_owned(),
                ));
            }
        }
        let dialect = Dialect::detect(&mut session).await?;
        Ok(Self { session, dialect, target: target.clone() })
    }

    async fn channel(&mut self) -> Result<Option<Channel>, Error> {
        Ok(replica::read(&mut self.session, self.dialect).await?.into_iter().next())
    }

    /// Everything executed.
    pub async fn executed(&mut self) -> Result<GtidSet, Error> {
        Ok(source::read(&mut self.session, self.dialect).await?.executed)
    }

    /// What `GtidSet::extra_to` compares: on `MariaDB` the state of the binlog, which names every server.
    pub async fn history(&mut self) -> Result<GtidSet, Error> {
        let source = source::read(&mut self.session, self.dialect).await?;
        Ok(source.binlog_state.unwrap_or(source.executed))
    }

    async fn is_closed(&mut self) -> Result<bool, Error> {
        Ok(self.session.value(self.dialect.select_closed()).await?.as_deref() == Some("1"))
    }

    async fn acknowledgers(&mut self) -> Result<u64, Error> {
        let variables = millrace_mysql::settings::Variables::read(&mut self.session).await?;
        Ok(semi_sync::read(&mut self.session, &variables).await?.clients)
    }

    async fn execute_all<S: AsRef<str>>(&mut self, statements: &[S]) -> Result<(), Error> {
        for statement in statements {
            self.session.execute(statement.as_ref()).await?;
        }
        Ok(())
    }

    /// Ends the session, and with it the lock.
    pub async fn release(self) {
        self.session.close().await;
    }
}

/// Follows `source`, from wherever this server is.
pub async fn follow(
    server: &mut Owned,
    source: &Member,
    account: &Replication,
    until: Instant,
) -> Result<Report, Trouble> {
    if follows(server.channel().await?.as_ref(), source) {
        return Ok(Report { already: true, ..Report::default() });
    }
    let dialect = server.dialect;
    let channel = server.channel().await?;
    let mut spec = SourceSpec {
        host: source.address.clone(),
        port: source.port,
        user: account.user.clone(),
        password: account.password.clone(),
        tls: false,
        was_primary: false,
    };
    match &channel {
        None => {
            // A server without a channel but with transactions of its own was a primary.
            spec.was_primary = !server.executed().await?.is_empty();
            server.session.execute(&dialect.change_source(&spec)?).await?;
            server.session.execute(&dialect.start_replication()).await?;
        }
        Some(channel) => turn(server, channel, &spec, until).await?,
    }
    loop {
        let channel = server.channel().await?;
        if follows(channel.as_ref(), source) {
            return Ok(Report { note: Some(format!("follows {}", source.endpoint())), ..Report::default() });
        }
        let error = channel.and_then(|channel| channel.receiver_error.or(channel.applier_error));
        if Instant::now() >= until {
            let why = error
                .map_or("it is still connecting".to_owned(), |error| format!("{} ({})", error.message, error.code));
            return Err(Trouble::Unfit(format!("it does not follow {}: {why}", source.endpoint())));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Turns a replica from one source to another without losing what it has received.
async fn turn(server: &mut Owned, channel: &Channel, spec: &SourceSpec, until: Instant) -> Result<(), Trouble> {
    let dialect = server.dialect;
    server.session.execute_within(&dialect.stop_receiver(), STOP_WITHIN).await?;
    if channel.applier_running
        && channel.auto_position
        && let Some(change) = dialect.change_receiver(spec)?
    {
        server.session.execute(&change).await?;
        server.session.execute(&dialect.start_replication()).await?;
        return Ok(());
    }
    if channel.applier_running {
        let received = channel.received.clone();
        wait_for(server, &received, until).await?;
    }
    if stop_replication(server).await? == Stopped::CutOff {
        server.session.execute(&dialect.forget_source()).await?;
    }
    server.session.execute(&dialect.change_source(spec)?).await?;
    server.session.execute(&dialect.start_replication()).await?;
    Ok(())
}

fn follows(channel: Option<&Channel>, source: &Member) -> bool {
    channel.is_some_and(|channel| {
        channel.source_host == source.address
            && channel.source_port == source.port
            && channel.receiver == Receiver::Running
            && channel.applier_running
    })
}

/// Stops the receiver and reports what this server holds: no acknowledgement leaves it any more.
pub async fn stop_receiver(server: &mut Owned) -> Result<Report, Trouble> {
    let dialect = server.dialect;
    let before = server.channel().await?;
    let already = before.as_ref().is_none_or(|channel| channel.receiver == Receiver::Stopped);
    if !already {
        server.session.execute_within(&dialect.stop_receiver(), STOP_WITHIN).await?;
    }
    let channel = server.channel().await?;
    let executed = server.executed().await?;
    let Some(channel) = channel else {
        return Ok(Report { already, received: Some(executed.clone()), executed: Some(executed), ..Report::default() });
    };
    if channel.receiver != Receiver::Stopped {
        return Err(Trouble::Unfit("its receiver does not stop".to_owned()));
    }
    // MariaDB throws the relay log away when both threads were stopped: what it says it received is then only a memory.
    if dialect.flavour == millrace_mysql::Flavour::MariaDb
        && !channel.applier_running
        && !channel.received.is_subset(&executed)?
    {
        return Err(Trouble::Unfit(
            "its applier is stopped, so what it received and did not apply cannot be counted on".to_owned(),
        ));
    }
    let received = channel.received.union(&executed)?;
    Ok(Report { already, received: Some(received), executed: Some(executed), ..Report::default() })
}

async fn wait_for(server: &mut Owned, set: &GtidSet, until: Instant) -> Result<(), Trouble> {
    if set.is_subset(&server.executed().await?)? {
        return Ok(());
    }
    let within = until.saturating_duration_since(Instant::now());
    let statement = server.dialect.wait_for(set, within)?;
    let rows = server.session.rows_within(&statement, within + STOP_WITHIN).await?;
    let answer = rows.first().and_then(|row| row.nth(0));
    if answer.as_deref() == Some("0") {
        return Ok(());
    }
    let executed = server.executed().await?;
    Err(Trouble::Unfit(format!("it has not applied {set} within {} ms, only {executed}", within.as_millis())))
}

/// Applies `apply`, ends replication, switches semi-sync's source side on, and opens.
pub async fn promote(server: &mut Owned, apply: &GtidSet, k: u32, until: Instant) -> Result<Report, Trouble> {
    let dialect = server.dialect;
    let channel = server.channel().await?;
    if channel.is_none() && !server.is_closed().await? {
        let executed = Some(server.executed().await?);
        return Ok(Report { already: true, executed, ..Report::default() });
    }
    wait_for(server, apply, until).await?;
    if channel.is_some() {
        stop_replication(server).await?;
        server.session.execute(&dialect.forget_source()).await?;
    }
    open(server, k).await
}

/// Lets clients write. Acknowledgers that attach first make the first write as fast as any other.
pub async fn open(server: &mut Owned, k: u32) -> Result<Report, Trouble> {
    let dialect = server.dialect;
    if server.channel().await?.is_some() {
        return Err(Trouble::Unfit("it still follows a source: it must not be opened".to_owned()));
    }
    if !server.is_closed().await? {
        let executed = Some(server.executed().await?);
        return Ok(Report { already: true, executed, ..Report::default() });
    }
    if k > 0 {
        server.execute_all(&dialect.enable_semi_sync_source(k)?).await?;
    }
    let attach_until = Instant::now() + ATTACH_WITHIN;
    let mut attached = server.acknowledgers().await?;
    while attached < u64::from(k) && Instant::now() < attach_until {
        tokio::time::sleep(LOOK_EVERY).await;
        attached = server.acknowledgers().await?;
    }
    server.execute_all(dialect.open()).await?;
    if server.is_closed().await? {
        return Err(Trouble::Unfit("it is still closed after it was opened".to_owned()));
    }
    let executed = Some(server.executed().await?);
    let note = Some(format!("opened with {attached} acknowledgers attached"));
    Ok(Report { executed, note, ..Report::default() })
}

/// Closes a running server, so that it can acknowledge nothing any more. An error means that it must be killed.
pub async fn close(target: &Target) -> Result<Report, Trouble> {
    let closing = async {
        let mut session = Session::open(target).await?;
        session.execute("SET SESSION lock_wait_timeout=1").await?;
        session.execute("SET SESSION sql_log_bin=0").await?;
        let dialect = Dialect::detect(&mut session).await?;
        let already = session.value(dialect.select_closed()).await?.as_deref() == Some("1");
        if !already {
            if let Some(statement) = dialect.shut_clients_out() {
                session.execute(statement).await?;
            }
            let mut other = Session::open(target).await?;
            let (closed, ()) = tokio::join!(session.execute(dialect.make_read_only()), kill_all(&mut other, dialect));
            closed?;
        }
        if session.value(dialect.select_closed()).await?.as_deref() != Some("1") {
            return Err(Trouble::Unfit("it is not closed after it was closed".to_owned()));
        }
        let mut owned = Owned { session, dialect, target: target.clone() };
        let executed = owned.executed().await?;
        owned.release().await;
        Ok(Report { already, executed: Some(executed), ..Report::default() })
    };
    match tokio::time::timeout(CLOSE_WITHIN, closing).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Trouble::Unfit(format!("it did not close within {} ms", CLOSE_WITHIN.as_millis()))),
    }
}

/// Ends every client's session; on `MariaDB` that is what lets `read_only` through.
async fn kill_all(session: &mut Session, dialect: Dialect) {
    let Ok(rows) = session.rows(dialect.list_other_sessions()).await else { return };
    for row in rows {
        let own = row.text("user").is_some_and(|user| user == "millrace");
        if let Some(id) = row.number("id").filter(|_| !own) {
            let _ = session.execute(&dialect.kill_session(id)).await; // it may have gone by itself
        }
    }
}

/// Makes sure that the server is closed and follows nobody.
pub async fn quarantine(server: &mut Owned) -> Result<Report, Trouble> {
    let dialect = server.dialect;
    if !server.is_closed().await? {
        return Err(Trouble::Unfit("it is open: fence it first".to_owned()));
    }
    let channel = server.channel().await?;
    let already = channel.is_none();
    if let Some(channel) = channel {
        if channel.applier_running {
            server.session.execute_within(&dialect.stop_receiver(), STOP_WITHIN).await?;
            wait_for(server, &channel.received, Instant::now() + STOP_WITHIN).await?;
        }
        stop_replication(server).await?;
        server.session.execute(&dialect.forget_source()).await?;
    }
    let executed = Some(server.history().await?);
    Ok(Report { already, executed, ..Report::default() })
}

/// Reports what was executed.
pub async fn read_sets(server: &mut Owned) -> Result<Report, Trouble> {
    Ok(Report { executed: Some(server.history().await?), ..Report::default() })
}

/// Waits until `executed` is executed.
pub async fn catch_up(server: &mut Owned, executed: &GtidSet, until: Instant) -> Result<Report, Trouble> {
    wait_for(server, executed, until).await?;
    Ok(Report { executed: Some(server.executed().await?), ..Report::default() })
}
