//! Every statement that differs between dialects, sent to real servers in the order in which a failover would.

use millrace_mysql::flavour::Source;
use millrace_mysql::{Dialect, Error, Flavour, GtidSet, Session, status};
use millrace_test_servers::{Cluster, Options, Server, WAIT_MAX, eventually};
use tokio::task::JoinHandle;

async fn send(session: &mut Session, statement: impl AsRef<str>) {
    session.execute(statement.as_ref()).await.unwrap_or_else(|error| panic!("{error}"));
}

/// The replica is promoted by hand, and the old primary becomes its replica.
async fn roles_are_changed(flavour: Flavour) {
    let mut cluster = Cluster::start(flavour, 1).await;
    cluster.primary.run(&["CREATE TABLE shop.t (id INT PRIMARY KEY)", "INSERT INTO shop.t VALUES (1)"]).await;
    let mut old = cluster.primary.session().await;
    let dialect = Dialect::detect(&mut old).await.unwrap();
    let executed = status::read(&mut old).await.unwrap().source.executed;
    old.close().await;
    cluster.primary.kill();

    let replica = &cluster.replicas[0];
    let mut new = replica.session().await;
    send(&mut new, dialect.stop_receiver()).await;
    let wait = dialect.wait_for(&executed, WAIT_MAX).unwrap();
    assert_eq!(new.value(&wait).await.unwrap().as_deref(), Some("0"));
    for statement in [dialect.stop_replication(), dialect.forget_source()] {
        send(&mut new, statement).await;
    }
    assert_eq!(status::read(&mut new).await.unwrap().channels, []);
    for statement in dialect.open() {
        send(&mut new, statement).await;
    }
    assert!(status::read(&mut new).await.unwrap().server.is_open());
    send(&mut new, "INSERT INTO shop.t VALUES (2)").await;

    cluster.primary.start_again().await;
    let account = replica.replication();
    let source = Source {
        host: "127.0.0.1".into(),
        port: replica.port(),
        user: account.user,
        password: account.password,
        tls: false,
        was_primary: true,
    };
    let mut old = cluster.primary.session().await;
    send(&mut old, dialect.change_source(&source).unwrap()).await;
    send(&mut old, dialect.start_applier()).await;
    send(&mut old, dialect.start_replication()).await;
    eventually("the old primary follows the new one", async || {
        (old.value("SELECT COUNT(*) FROM shop.t").await.unwrap().as_deref() == Some("2")).then_some(())
    })
    .await;
}

/// A cluster whose primary has a client that waits for an acknowledgement which cannot come, and a session of the hands.
async fn a_commit_that_waits(flavour: Flavour) -> (Cluster, Session, JoinHandle<Result<(), Error>>) {
    let cluster = Cluster::start(flavour, 1).await;
    cluster.primary.run(&["CREATE TABLE shop.t (id INT PRIMARY KEY)"]).await;
    let mut hands = cluster.primary.session().await;
    let dialect = Dialect::detect(&mut hands).await.unwrap();
    cluster.replicas[0].run(&[&dialect.stop_replication()]).await;
    let mut client = application(&cluster.primary).await;
    let waiting = tokio::spawn(async move { client.execute_within("INSERT INTO shop.t VALUES (1)", WAIT_MAX).await });
    eventually("the commit waits", async || {
        (status::read(&mut hands).await.unwrap().semi_sync.waiting == 1).then_some(())
    })
    .await;
    (cluster, hands, waiting)
}

/// Read-only and the killing of all sessions, at once, close it.
#[tokio::test]
async fn a_waiting_commit_does_not_keep_mariadb_open() {
    let (cluster, mut hands, waiting) = a_commit_that_waits(Flavour::MariaDb).await;
    let dialect = Dialect::detect(&mut hands).await.unwrap();
    let mut closer = cluster.primary.session().await;
    let closer_id = u64::from(closer.id());
    let closing = tokio::spawn(async move { closer.execute_within(dialect.make_read_only(), WAIT_MAX).await });
    eventually("the server is closed", async || {
        for row in hands.rows(dialect.list_other_sessions()).await.unwrap() {
            let id = row.number("id").unwrap();
            if id != closer_id {
                // It may have ended by itself meanwhile.
                let _ = hands.execute(&dialect.kill_session(id)).await;
            }
        }
        (hands.value(dialect.select_closed()).await.unwrap().as_deref() == Some("1")).then_some(())
    })
    .await;
    closing.await.unwrap().unwrap();
    assert!(waiting.await.unwrap().is_err(), "a commit that no replica has was reported as done");
    assert!(!status::read(&mut hands).await.unwrap().server.is_open());
}

/// MySQL 9.7 cuts the client off without OK, but its thread goes on waiting, and so does `super_read_only` behind it: who closes
/// cannot have it confirmed, and must kill the server. Started again it is closed.
#[tokio::test]
async fn a_waiting_commit_of_mysql_is_cut_off_without_ok_but_closing_is_not_confirmed() {
    let (mut cluster, mut hands, waiting) = a_commit_that_waits(Flavour::MySql).await;
    let dialect = Dialect::detect(&mut hands).await.unwrap();
    send(&mut hands, dialect.shut_clients_out().unwrap()).await;
    assert!(waiting.await.unwrap().is_err(), "a commit that no replica has was reported as done");
    let target = cluster.primary.target_as("test", &cluster.primary.template().accounts.application);
    assert_eq!(Session::open(&target).await.unwrap_err().code(), Some(3032));
    let mut closer = cluster.primary.session().await;
    send(&mut closer, "SET SESSION lock_wait_timeout=1").await;
    let error = closer.execute(dialect.make_read_only()).await.unwrap_err();
    assert_eq!(error.code(), Some(1205), "{error}");
    assert_eq!(hands.value(dialect.select_closed()).await.unwrap().as_deref(), Some("0"));
    cluster.primary.kill();
    cluster.primary.start_again().await;
    assert_eq!(cluster.primary.value(dialect.select_closed()).await.as_deref(), Some("1"));
}

async fn application(server: &Server) -> Session {
    let target = server.target_as("test", &server.template().accounts.application);
    Session::open(&target).await.unwrap_or_else(|error| panic!("{error}"))
}

async fn positions_can_be_set_on_a_fresh_server(flavour: Flavour) {
    let text = match flavour {
        Flavour::MySql => "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5",
        Flavour::MariaDb => "0-1-5",
    };
    let set = GtidSet::parse(flavour, text).unwrap();
    let server = Server::start(flavour, &Options::default()).await;
    let mut session = server.session().await;
    let dialect = Dialect::detect(&mut session).await.unwrap();
    send(&mut session, dialect.reset_binlog()).await;
    send(&mut session, dialect.set_position(&set).unwrap()).await;
    assert_eq!(status::read(&mut session).await.unwrap().source.executed, set);
    for on in [true, false] {
        send(&mut session, dialect.set_semi_sync_replica(on)).await;
        assert_eq!(status::read(&mut session).await.unwrap().semi_sync.replica_enabled, on);
    }
    for statement in dialect.enable_semi_sync_source(1).unwrap() {
        send(&mut session, statement).await;
    }
    assert!(status::read(&mut session).await.unwrap().semi_sync.source_enabled);
    send(&mut session, dialect.disable_semi_sync_source()).await;
    assert!(!status::read(&mut session).await.unwrap().semi_sync.source_enabled);
}

#[tokio::test]
async fn an_empty_transaction_takes_a_foreign_number_on_mysql() {
    let server = Server::start(Flavour::MySql, &Options::default()).await;
    let mut session = server.session().await;
    let dialect = Dialect::detect(&mut session).await.unwrap();
    let set = GtidSet::parse(Flavour::MySql, "3e11fa47-71ca-11e1-9e33-c80aa9429562:7:tag:2").unwrap();
    let GtidSet::MySql(inner) = &set else { unreachable!("it was parsed as MySQL's") };
    for statement in dialect.open() {
        send(&mut session, statement).await;
    }
    for gtid in inner.gtids() {
        for statement in dialect.write_empty_transaction(&gtid).unwrap() {
            send(&mut session, statement).await;
        }
    }
    assert_eq!(status::read(&mut session).await.unwrap().source.executed, set);
}

#[tokio::test]
async fn roles_are_changed_on_mysql() {
    roles_are_changed(Flavour::MySql).await;
}

#[tokio::test]
async fn roles_are_changed_on_mariadb() {
    roles_are_changed(Flavour::MariaDb).await;
}

#[tokio::test]
async fn positions_can_be_set_on_mysql() {
    positions_can_be_set_on_a_fresh_server(Flavour::MySql).await;
}

#[tokio::test]
async fn positions_can_be_set_on_mariadb() {
    positions_can_be_set_on_a_fresh_server(Flavour::MariaDb).await;
}
