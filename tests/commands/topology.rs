//! `millrace topology` as a user runs it, on a real primary with two replicas of either family: healthy, with a transaction that
//! the primary never had, with one server silent, and with an account that is refused.

use std::process::{Command, Output};

use millrace_mysql::Flavour;
use millrace_test_servers::{Cluster, Server, settled};
use serde_json::Value;

/// Runs the program with the agent's account, starting at `server`.
fn topology(server: &Server, more: &[&str]) -> Output {
    let account = &server.template().accounts.agent;
    let dsn = format!("mysql://{}@127.0.0.1:{}", account.user, server.port());
    Command::new(env!("CARGO_BIN_EXE_millrace"))
        .args(["topology", "--from", &dsn, "--password-file"])
        .arg(&account.password_file)
        .args(more)
        .output()
        .expect("the program runs")
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// The report, once it ends with this code and its part `name` tells of `expected`: a server that starves may be late to answer the
/// program, which then rightly says so.
async fn ends_with(server: &Server, code: i32, name: &str, expected: &str) -> Value {
    settled(&format!("topology ends with {code}, and its {name} with '{expected}'"), async || {
        let output = topology(server, &["--output", "json"]);
        let ended = output.status.code();
        let report = json(&output);
        let so = ended == Some(code) && report[name].to_string().contains(expected);
        if so { Ok(report) } else { Err(format!("{ended:?}: {report}")) }
    })
    .await
}

async fn a_cluster_is_drawn_and_judged(flavour: Flavour) {
    let mut cluster = Cluster::start(flavour, 2).await;
    cluster.primary.run(&["CREATE TABLE shop.t (id INT PRIMARY KEY)", "INSERT INTO shop.t VALUES (1)"]).await;
    cluster.caught_up().await;

    // From a replica it goes up to the primary, and down to the other replica.
    let report = ends_with(&cluster.replicas[0], 0, "servers", "lossless, waits for 1 of 2").await;
    let servers = report["servers"].as_array().expect("servers");
    assert_eq!(servers.len(), 3, "{report}");
    let roles: Vec<&str> = servers.iter().filter_map(|server| server["role"].as_str()).collect();
    assert_eq!(roles.iter().filter(|role| **role == "primary").count(), 1, "{report}");
    assert_eq!(roles.iter().filter(|role| **role == "replica").count(), 2, "{report}");

    let text = settled("the text ends as healthy", async || {
        let text = String::from_utf8(topology(&cluster.primary, &[]).stdout).expect("text");
        if text.ends_with("3 servers asked, 0 could not be asked: healthy\n") { Ok(text) } else { Err(text) }
    })
    .await;
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(text.starts_with(&format!("127.0.0.1:{}  primary  {flavour}", cluster.primary.port())), "{text}");

    // A transaction that only one replica has.
    let errant: &[&str] = match flavour {
        Flavour::MySql => &["SET GLOBAL super_read_only=OFF", "CREATE DATABASE stray", "SET GLOBAL super_read_only=ON"],
        Flavour::MariaDb => &["CREATE DATABASE stray"],
    };
    cluster.replicas[0].run(errant).await;
    let port = cluster.replicas[0].port();
    let expected = if flavour == Flavour::MySql { "1 errant" } else { "at least 1 errant" };
    ends_with(&cluster.primary, 1, "problems", &format!("127.0.0.1:{port}: {expected}")).await;

    // A server that is gone is unknown, and what it leaves broken is told.
    cluster.replicas[1].kill();
    let port = cluster.replicas[1].port();
    let report = ends_with(&cluster.primary, 1, "unknown", &format!("127.0.0.1:{port}")).await;
    assert_eq!(report["healthy"], Value::Bool(false), "{report}");
}

#[tokio::test]
async fn a_mysql_cluster_is_drawn_and_judged() {
    a_cluster_is_drawn_and_judged(Flavour::MySql).await;
}

#[tokio::test]
async fn a_mariadb_cluster_is_drawn_and_judged() {
    a_cluster_is_drawn_and_judged(Flavour::MariaDb).await;
}

#[test]
fn a_password_on_the_command_line_is_refused_and_not_repeated() {
    let output = Command::new(env!("CARGO_BIN_EXE_millrace"))
        .args(["topology", "--from", "mysql://millrace:s3cret@127.0.0.1:1"])
        .output()
        .expect("the program runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("--password-file") && !said.contains("s3cret"), "{said}");
}
