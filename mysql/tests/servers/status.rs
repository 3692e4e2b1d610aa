//! What servers say of themselves, read from real ones.

use std::os::unix::fs::PermissionsExt as _;

use millrace_mysql::status::source::AttachedReplicas;
use millrace_mysql::status::{self, Status, replica::Receiver};
use millrace_mysql::{Account, Flavour, GtidSet, Session};
use millrace_test_servers::{Cluster, Options, Server, eventually, settled};

async fn status_of(server: &Server) -> Status {
    let mut session = server.session().await;
    let read = status::read(&mut session).await.unwrap_or_else(|error| panic!("{error}"));
    session.close().await;
    read
}

async fn a_fresh_server_is_closed_and_alone(flavour: Flavour) {
    let server = Server::start(flavour, &Options::default()).await;
    let read = status_of(&server).await;
    let found = &read.server;
    assert_eq!(found.dialect.flavour, flavour);
    assert_eq!(found.dialect.version.to_string(), server.template().version);
    assert_eq!((found.port, found.server_id), (server.port(), u32::from(server.port())));
    assert_eq!((found.report_host.as_deref(), found.report_port), (Some("127.0.0.1"), Some(server.port())));
    assert!(!found.is_open() && found.read_only && found.log_bin && found.performance_schema && found.slow_log);
    let mysql = flavour == Flavour::MySql;
    assert_eq!(found.super_read_only, mysql.then_some(true));
    assert_eq!(found.offline_mode, mysql.then_some(false));
    assert_eq!(found.server_uuid.is_some(), mysql);
    assert_eq!(found.gtid_mode.as_deref(), mysql.then_some("ON"));
    assert_eq!(found.gtid_strict_mode, (!mysql).then_some(true));
    assert_eq!(found.log_replica_updates, Some(true));
    assert_eq!(found.slow_log_file, Some(server.folder().join("slow.log")));
    assert_eq!(found.error_log, Some(server.folder().join("error.log")));
    assert_eq!(found.socket, Some(server.socket()));
    assert_eq!(found.pid_file, Some(server.folder().join("pid")));
    assert_eq!(found.long_query_time, Some(std::time::Duration::from_millis(500)));
    assert!(found.uptime.is_some() && found.hostname.is_some() && found.max_connections.is_some());
    assert_eq!(read.channels, []);
    assert_eq!(read.source.attached, AttachedReplicas::Known(Vec::new()));
    assert_eq!(read.source.executed, GtidSet::empty(flavour));
    assert!(read.source.file.is_some() && read.source.position.is_some());
    assert!(read.semi_sync.available && !read.semi_sync.source_enabled && !read.semi_sync.replica_enabled);
    assert!(read.counters.get("queries").is_some() && read.counters.get("threads_running").is_some());
}

/// `Err` names what is not as a cluster is once it is at rest.
fn is(what: &str, so: bool, seen: &impl std::fmt::Debug) -> Result<(), String> {
    if so { Ok(()) } else { Err(format!("{what}: {seen:#?}")) }
}

/// The primary with all its replicas attached and acknowledging.
async fn primary_at_rest(cluster: &Cluster) -> Status {
    let mut expected: Vec<u16> = cluster.replicas.iter().map(Server::port).collect();
    expected.sort_unstable();
    settled("the primary has its replicas", async || {
        let read = status_of(&cluster.primary).await;
        let mut ports: Vec<u16> = read.source.attached.known().iter().map(|replica| replica.port).collect();
        ports.sort_unstable();
        is("all are attached", ports == expected, &read.source.attached)?;
        is("all acknowledge", read.semi_sync.clients == expected.len() as u64, &read.semi_sync)?;
        Ok::<_, String>(read)
    })
    .await
}

/// The replica with its receiver connected and everything of the primary applied, down to its place in the primary's binlog, which
/// a parallel applier notes a moment after the transactions.
async fn replica_at_rest(replica: &Server, primary: &Status) -> Status {
    let file = primary.source.file.clone().zip(primary.source.position);
    settled("the replica follows", async || {
        let read = status_of(replica).await;
        let [channel] = read.channels.as_slice() else { return Err(format!("one channel: {:?}", read.channels)) };
        is("it receives", channel.receiver == Receiver::Running && channel.receiver_error.is_none(), channel)?;
        is("it has received all", channel.received_position == file, channel)?;
        is("it notes its place", channel.applied_position == file, channel)?;
        is("it is not behind", channel.seconds_behind == Some(0), channel)?;
        is("it acknowledges", read.semi_sync.replica_active, &read.semi_sync)?;
        Ok(read)
    })
    .await
}

async fn a_cluster_shows_its_channels_and_its_semi_sync(flavour: Flavour) {
    let cluster = Cluster::start(flavour, 2).await;
    cluster.primary.run(&["CREATE TABLE shop.t (id INT PRIMARY KEY)", "INSERT INTO shop.t VALUES (1)"]).await;
    cluster.caught_up().await;
    // A receiver that starves is thrown off for a moment and comes back, so what that changes is waited for.
    let primary = primary_at_rest(&cluster).await;
    assert!(primary.server.is_open() && primary.channels.is_empty());
    let semi_sync = &primary.semi_sync;
    assert!(semi_sync.is_lossless(), "{semi_sync:?}");
    assert_eq!(semi_sync.wait_for_count, 1);
    assert_eq!((semi_sync.acknowledged, semi_sync.unacknowledged), (2, 0));
    assert_eq!(primary.source.executed.count(), 2);
    for replica in &cluster.replicas {
        let read = replica_at_rest(replica, &primary).await;
        let [channel] = read.channels.as_slice() else { panic!("one channel: {:?}", read.channels) };
        assert_eq!((channel.source_host.as_str(), channel.source_port), ("127.0.0.1", cluster.primary.port()));
        assert_eq!(channel.source_server_id, Some(primary.server.server_id));
        assert_eq!(channel.source_server_uuid, primary.server.server_uuid);
        assert_eq!(channel.source_user.as_deref(), Some("millrace_repl"));
        assert!(channel.applier_running && channel.auto_position);
        assert_eq!((&channel.applier_error, channel.delay_seconds), (&None, 0));
        assert_eq!(channel.received, primary.source.executed);
        assert_eq!(channel.executed, primary.source.executed);
        assert_eq!(read.source.executed, primary.source.executed);
        assert!(channel.relay_position.is_some() && channel.relay_bytes.is_some());
        assert!(read.semi_sync.replica_enabled);
        assert!(!read.server.is_open());
    }
}

async fn a_dead_source_shows_as_a_receiver_error(flavour: Flavour) {
    let mut cluster = Cluster::start(flavour, 1).await;
    cluster.primary.kill();
    let error = eventually("the receiver reports that its source is gone", async || {
        let [channel] = status_of(&cluster.replicas[0]).await.channels.try_into().expect("one channel");
        assert!(channel.applier_running);
        channel.receiver_error.filter(|_| channel.receiver == Receiver::Connecting)
    })
    .await;
    assert!(matches!(error.code, 2002 | 2003 | 2013), "{error:?}");
    assert!(error.message.contains(&cluster.primary.port().to_string()), "{error:?}");
}

/// An account that may look at everything but at who is attached reads the rest, and never "nobody is attached".
async fn attached_replicas_are_unknown_to_who_may_not_list_them(flavour: Flavour) {
    let cluster = Cluster::start(flavour, 1).await;
    let (looking, listing) = match flavour {
        Flavour::MySql => ("REPLICATION CLIENT", "REPLICATION SLAVE"),
        Flavour::MariaDb => ("SLAVE MONITOR, BINLOG MONITOR", "REPLICATION MASTER ADMIN"),
    };
    let grant = |privileges| format!("GRANT {privileges} ON *.* TO poor@'127.0.0.1'");
    cluster.primary.run(&["CREATE USER poor@'127.0.0.1' IDENTIFIED BY 's3cret-Poor'", &grant(looking)]).await;
    let password = cluster.primary.folder().join("poor.password");
    std::fs::write(&password, "s3cret-Poor\n").unwrap();
    std::fs::set_permissions(&password, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut target = cluster.primary.target("test");
    target.account = Account { user: "poor".into(), password_file: Some(password) };
    let mut poor = Session::open(&target).await.unwrap();
    let read = status::read(&mut poor).await.unwrap_or_else(|error| panic!("{error}"));
    let AttachedReplicas::Denied { why } = &read.source.attached else { panic!("{:?}", read.source.attached) };
    assert!(why.contains(listing), "{why}");
    assert_eq!((read.source.attached.known(), read.semi_sync.clients), (&[][..], 1));
    assert!(read.source.file.is_some() && !read.source.executed.is_empty());
    poor.close().await;

    cluster.primary.run(&[&grant(listing)]).await;
    let mut allowed = Session::open(&target).await.unwrap();
    let read = status::read(&mut allowed).await.unwrap();
    let ports: Vec<u16> = read.source.attached.known().iter().map(|replica| replica.port).collect();
    assert_eq!((ports, read.source.attached.denied()), (vec![cluster.replicas[0].port()], None));
}

#[tokio::test]
async fn attached_replicas_are_unknown_on_mysql() {
    attached_replicas_are_unknown_to_who_may_not_list_them(Flavour::MySql).await;
}

#[tokio::test]
async fn attached_replicas_are_unknown_on_mariadb() {
    attached_replicas_are_unknown_to_who_may_not_list_them(Flavour::MariaDb).await;
}

#[tokio::test]
async fn a_fresh_mysql_is_closed_and_alone() {
    a_fresh_server_is_closed_and_alone(Flavour::MySql).await;
}

#[tokio::test]
async fn a_fresh_mariadb_is_closed_and_alone() {
    a_fresh_server_is_closed_and_alone(Flavour::MariaDb).await;
}

#[tokio::test]
async fn a_mysql_cluster_shows_its_channels_and_its_semi_sync() {
    a_cluster_shows_its_channels_and_its_semi_sync(Flavour::MySql).await;
}

#[tokio::test]
async fn a_mariadb_cluster_shows_its_channels_and_its_semi_sync() {
    a_cluster_shows_its_channels_and_its_semi_sync(Flavour::MariaDb).await;
}

#[tokio::test]
async fn a_dead_mysql_source_shows_as_a_receiver_error() {
    a_dead_source_shows_as_a_receiver_error(Flavour::MySql).await;
}

#[tokio::test]
async fn a_dead_mariadb_source_shows_as_a_receiver_error() {
    a_dead_source_shows_as_a_receiver_error(Flavour::MariaDb).await;
}
