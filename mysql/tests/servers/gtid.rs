//! GTID sets against the servers' own arithmetic and their own histories.

use millrace_mysql::{Flavour, GtidSet, status};
use millrace_test_servers::{Cluster, Options, Server};

const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
const B: &str = "4350f323-7565-4e59-8763-4b1b83a0ce0e";

#[tokio::test]
async fn sets_are_compared_as_mysql_compares_them() {
    let server = Server::start(Flavour::MySql, &Options::default()).await;
    let mut session = server.session().await;
    let sets = [
        String::new(),
        format!("{A}:1-5"),
        format!("{A}:1-3:5:9-12"),
        format!("{A}:4-10,{B}:1"),
        format!("{B}:1-7:backup:1-3"),
        format!("{A}:2:backup:2-9:other:1,{B}:7"),
        format!("{}:6-9:BACKUP:1", A.to_uppercase()),
    ];
    for left in &sets {
        for right in &sets {
            let parse = |text: &str| GtidSet::parse(Flavour::MySql, text).unwrap();
            let (l, r) = (parse(left), parse(right));
            let statement = format!("SELECT GTID_SUBSET('{left}', '{right}'), GTID_SUBTRACT('{left}', '{right}')");
            let row = session.first(&statement).await.unwrap().unwrap();
            assert_eq!(row.nth(0).as_deref() == Some("1"), l.is_subset(&r).unwrap(), "{left} in {right}");
            assert_eq!(parse(&row.nth(1).unwrap()), l.subtract(&r).unwrap(), "{left} without {right}");
        }
    }
}

#[tokio::test]
async fn tagged_transactions_are_read_from_a_real_mysql() {
    let server = Server::start(Flavour::MySql, &Options::default()).await;
    let open = ["SET GLOBAL super_read_only=OFF", "SET GLOBAL read_only=OFF"];
    server.run(&[&open[..], &["SET gtid_next='AUTOMATIC:backup'", "CREATE TABLE shop.t (id INT)"]].concat()).await;
    let mut session = server.session().await;
    let read = status::read(&mut session).await.unwrap();
    let uuid = read.server.server_uuid.unwrap();
    assert_eq!(read.source.executed.to_string(), format!("{uuid}:backup:1"));
}

#[tokio::test]
async fn extra_transactions_of_a_mariadb_that_was_primary_are_named() {
    let mut cluster = Cluster::start(Flavour::MariaDb, 1).await;
    cluster.primary.run(&["CREATE TABLE shop.t (id INT PRIMARY KEY)"]).await;
    cluster.caught_up().await;
    let replica = cluster.replicas.remove(0);
    // The replica goes on as primary; the old one gets two transactions that nobody acknowledged.
    replica.run(&["STOP SLAVE", "RESET SLAVE ALL", "SET GLOBAL read_only=OFF"]).await;
    replica
        .run(&["INSERT INTO shop.t VALUES (1)", "INSERT INTO shop.t VALUES (2)", "INSERT INTO shop.t VALUES (3)"])
        .await;
    cluster.primary.run(&["SET GLOBAL rpl_semi_sync_master_enabled=OFF"]).await;
    cluster.primary.run(&["INSERT INTO shop.t VALUES (7)", "INSERT INTO shop.t VALUES (8)"]).await;
    let (old, new) = (binlog_state(&cluster.primary).await, binlog_state(&replica).await);
    assert!(old.is_subset(&new).unwrap(), "sequence numbers alone hide it: {old} and {new}");
    let extra = old.extra_to(&new).unwrap();
    assert_eq!(extra.to_string(), format!("0:2-3@{}-3", cluster.primary.port()));
    assert!(new.extra_to(&old).unwrap().count() > 0);
}

async fn binlog_state(server: &Server) -> GtidSet {
    let mut session = server.session().await;
    status::read(&mut session).await.unwrap().source.binlog_state.expect("mariadb has a binlog state")
}
