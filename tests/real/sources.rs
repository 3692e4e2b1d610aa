//! A replica of two sources, which is only watched: whichever of its channels stands is told of, by its name, and it is as far behind as the
//! channel that is behind most.

use millrace_mysql::{Dialect, Flavour};
use millrace_schemas::topics::alerts::AlertState;
use millrace_test_servers::{Options, Server};

use super::beside::Beside;
use super::rules::{RULES, until};

/// Lets `replica` replicate from `source` over a channel of its own.
async fn attach(replica: &Server, source: &Server, channel: &str) {
    let mut session = replica.session().await;
    let dialect = Dialect::detect(&mut session).await.expect("it answers");
    let change = dialect.change_source(&source.as_source()).expect("the template's password can be quoted");
    let (change, start) = match replica.flavour() {
        Flavour::MySql => {
            (format!("{change} FOR CHANNEL '{channel}'"), format!("START REPLICA FOR CHANNEL '{channel}'"))
        }
        Flavour::MariaDb => (
            change.replace("CHANGE MASTER TO", &format!("CHANGE MASTER '{channel}' TO")),
            format!("START SLAVE '{channel}'"),
        ),
    };
    for statement in [change, start] {
        session.execute(&statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    session.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_channel_of_a_replica_of_two_sources_is_judged() {
    for flavour in [Flavour::MariaDb, Flavour::MySql] {
        let options = Options::default();
        let (one, other, replica) = tokio::join!(
            Server::start(flavour, &options),
            Server::start(flavour, &options),
            Server::start(flavour, &options)
        );
        attach(&replica, &one, "one").await;
        attach(&replica, &other, "other").await;
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("rules.toml");
        std::fs::write(&file, RULES).expect("writable");
        let beside = Beside::start(&replica, "", &format!("\n[alerts]\nrules = \"{}\"\n", file.display()));
        until(&beside, "Watchdog", AlertState::Firing).await;

        let stop = match flavour {
            Flavour::MySql => "STOP REPLICA SQL_THREAD FOR CHANNEL 'other'",
            Flavour::MariaDb => "STOP SLAVE 'other' SQL_THREAD",
        };
        replica.run(&[stop]).await;
        let stopped = until(&beside, "ReplicationStopped", AlertState::Firing).await;
        let words = format!("replication of db1 from other (127.0.0.1:{}) has stopped", other.port());
        assert_eq!((stopped.summary, stopped.value), (words, Some(0.0)), "{flavour}");
        replica.run(&[&stop.replace("STOP", "START")]).await;
        let over = until(&beside, "ReplicationStopped", AlertState::Resolved).await;
        assert_eq!((over.fingerprint, over.since), (stopped.fingerprint, stopped.since), "{flavour}");

        // One source writes what has to wait on the replica; of the other there is nothing to apply.
        let mut lock = replica.session().await;
        lock.execute("FLUSH TABLES WITH READ LOCK").await.expect("it may");
        other.run(&["SET GLOBAL read_only = 0", "CREATE DATABASE behind"]).await;
        let behind = until(&beside, "LagHigh", AlertState::Firing).await;
        assert!(behind.value.is_some_and(|seconds| seconds > 3.0), "{flavour}: {behind:?}");
        lock.execute("UNLOCK TABLES").await.expect("it may");
        lock.close().await;
        until(&beside, "LagHigh", AlertState::Resolved).await;
    }
}
