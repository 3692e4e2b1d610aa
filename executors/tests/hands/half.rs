//! Half a transaction in the relay log: the source died, or the line broke, while it was being sent. MySQL's coordinator waits a
//! minute for the other half before it lets itself be stopped. No step may wait so long, and nothing that was received whole
//! may be lost on the way.

use std::time::Instant;

use millrace_executors::hands::server::{self, Owned};
use millrace_mysql::flavour::Source;
use millrace_mysql::{Dialect, Flavour, GtidSet};
use millrace_schemas::cluster::Member;
use millrace_schemas::ids::{HostId, InstanceId};
use millrace_test_servers::{Options, Server, WAIT_MAX, eventually};

use crate::link::Link;

/// One transaction of some 900 kB, in row events of 8 kB.
const LARGE: &str = "INSERT INTO shop.t WITH RECURSIVE s AS (SELECT 2 AS n UNION ALL SELECT n + 1 FROM s WHERE n < 900) \
    SELECT n, REPEAT('x', 1000) FROM s";
/// A third of it.
const HALF_BYTES: u64 = 300_000;

/// Whether the coordinator stands in the middle of a transaction.
const IN_THE_MIDDLE: &str = "SELECT COUNT(*) FROM performance_schema.replication_applier_status_by_coordinator \
    WHERE PROCESSING_TRANSACTION <> ''";

/// A source that is gone, and a replica that has one row and half a transaction, and whose receiver is stopped.
struct Half {
    source: Server,
    replica: Server,
    /// What the replica received whole.
    received: GtidSet,
    _link: Link,
}

impl Half {
    async fn make() -> Self {
        let mut source = Server::start(Flavour::MySql, &Options::default()).await;
        let replica = Server::start(Flavour::MySql, &Options::default()).await;
        let link = Link::to(source.port()).await;
        let mut session = replica.session().await;
        let dialect = Dialect::detect(&mut session).await.unwrap();
        let account = source.replication();
        let spec = Source {
            host: "127.0.0.1".into(),
            port: link.port,
            user: account.user,
            password: account.password,
            tls: false,
            was_primary: false,
        };
        source.run(dialect.open()).await;
        source.run(&["CREATE TABLE shop.t (id INT PRIMARY KEY, x TEXT)", "INSERT INTO shop.t VALUES (1, 'x')"]).await;
        for statement in [dialect.change_source(&spec).unwrap(), dialect.start_replication()] {
            session.execute(&statement).await.unwrap();
        }
        eventually("the replica has the first row", async || {
            let count = session.value("SELECT COUNT(*) FROM shop.t").await.ok()?;
            (count.as_deref() == Some("1")).then_some(())
        })
        .await;
        link.cut_after(HALF_BYTES);
        source.run(&[LARGE]).await;
        eventually("half a transaction arrives", async || {
            (session.value(IN_THE_MIDDLE).await.unwrap().as_deref() == Some("1")).then_some(())
        })
        .await;
        source.kill();
        let mut owned = Owned::take(&replica.target("b")).await.unwrap();
        let report = server::stop_receiver(&mut owned).await.unwrap_or_else(|error| panic!("{error}"));
        owned.release().await;
        assert_eq!(session.value(IN_THE_MIDDLE).await.unwrap().as_deref(), Some("1"), "the half is still there");
        session.close().await;
        Self { source, replica, received: report.received.unwrap(), _link: link }
    }
}

#[tokio::test]
async fn half_a_transaction_does_not_hold_up_a_promotion() {
    let half = Half::make().await;
    assert_eq!(half.received.count(), 2);
    let mut owned = Owned::take(&half.replica.target("b")).await.unwrap();
    let report = server::promote(&mut owned, &half.received, 0, Instant::now() + WAIT_MAX).await;
    let report = report.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(report.executed, Some(half.received.clone()));
    owned.release().await;
    half.replica.run(&["INSERT INTO shop.t VALUES (2, 'new')"]).await;
    assert_eq!(half.replica.value("SELECT COUNT(*) FROM shop.t").await.as_deref(), Some("2"));
}

#[tokio::test]
async fn half_a_transaction_does_not_hold_up_a_quarantine_and_is_fetched_anew() {
    let mut half = Half::make().await;
    let mut owned = Owned::take(&half.replica.target("b")).await.unwrap();
    let report = server::quarantine(&mut owned).await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(report.executed, Some(half.received.clone()));
    half.source.start_again().await;
    let source = Member {
        instance: InstanceId::parse("a").unwrap(),
        host: HostId::parse("h1").unwrap(),
        address: "127.0.0.1".to_owned(),
        port: half.source.port(),
    };
    let until = Instant::now() + WAIT_MAX;
    server::follow(&mut owned, &source, &half.source.replication(), until)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    let mut theirs = Owned::take(&half.source.target("a")).await.unwrap();
    let executed = theirs.executed().await.unwrap();
    assert_eq!(executed.count(), 3);
    let until = Instant::now() + WAIT_MAX;
    server::catch_up(&mut owned, &executed, until).await.unwrap_or_else(|error| panic!("{error}"));
    owned.release().await;
    assert_eq!(half.replica.value("SELECT COUNT(*) FROM shop.t").await.as_deref(), Some("900"));
}
