//! `millrace doctor` as a user runs it: what it says to grant is enough, on real servers of both families.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use millrace_mysql::Flavour;
use millrace_test_servers::{Options, Server, settled};
use serde_json::Value;

/// Runs the program and returns its exit code and its findings about the server's grants and settings.
fn doctor(config: &Path) -> (Option<i32>, Vec<Value>) {
    let output = Command::new(env!("CARGO_BIN_EXE_millrace"))
        .args(["doctor", "--output", "json", "--config"])
        .arg(config)
        .output()
        .expect("the program runs");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (output.status.code(), report["findings"].as_array().expect("findings").clone())
}

/// The findings, once it ends with `code` and they are `so`: a server that starves may be late to answer the program, which then
/// rightly calls that a problem.
async fn ends_with(config: &Path, code: i32, so: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    settled(&format!("doctor ends with {code} and the findings that are expected"), async || {
        let (ended, findings) = doctor(config);
        if ended == Some(code) && so(&findings) { Ok(findings) } else { Err(format!("{ended:?}: {findings:#?}")) }
    })
    .await
}

/// What it says to grant.
fn grants(findings: &[Value]) -> Vec<String> {
    let remedies = problems(findings).into_iter().filter_map(|finding| finding["do"].as_str());
    remedies.filter(|text| text.starts_with("GRANT ")).map(str::to_owned).collect()
}

fn problems(findings: &[Value]) -> Vec<&Value> {
    findings.iter().filter(|finding| finding["level"] == "problem").collect()
}

async fn what_doctor_says_to_grant_is_enough(flavour: Flavour) {
    let server = Server::start(flavour, &Options::default()).await;
    let (open, attached): (&[&str], &str) = match flavour {
        Flavour::MySql => (&["SET GLOBAL super_read_only=OFF", "SET GLOBAL read_only=OFF"], "REPLICATION SLAVE"),
        Flavour::MariaDb => (&["SET GLOBAL read_only=OFF"], "REPLICATION MASTER ADMIN"),
    };
    server.run(open).await;
    server.run(&["CREATE USER poor@'127.0.0.1' IDENTIFIED BY 's3cret-Poor'"]).await;
    let home = tempfile::tempdir().expect("a folder");
    let password = home.path().join("password");
    std::fs::write(&password, "s3cret-Poor\n").expect("the password is written");
    std::fs::set_permissions(&password, std::fs::Permissions::from_mode(0o600)).expect("it is closed");
    let config = home.path().join("millrace.toml");
    let text = format!(
        "[bus]\nfile = \"{home}/bus.db\"\n[[agent]]\nhost = \"h1\"\nstate-dir = \"{home}/state\"\n[[agent.instance]]\n\
         id = \"db1\"\ncluster = \"shop\"\nport = {}\nuser = \"poor\"\npassword-file = \"{}\"\n\
         [[cluster]]\nid = \"shop\"\nflavour = \"{flavour}\"\nprimary = \"db1\"\n",
        server.port(),
        password.display(),
        home = home.path().display(),
    );
    std::fs::write(&config, text).expect("the configuration is written");

    let findings = ends_with(&config, 1, |findings| grants(findings).len() >= 4).await;
    let grants = grants(&findings);
    assert!(!grants.iter().any(|grant| grant.contains(attached)), "the agent works without it: {findings:#?}");
    server.run(&grants.iter().map(String::as_str).collect::<Vec<_>>()).await;

    let findings = ends_with(&config, 0, |findings| problems(findings).is_empty()).await;
    let told = |findings: &[Value], what: &str| {
        let check = format!("server db1: {what}");
        findings.iter().find(|finding| finding["check"] == *check).expect("is told").clone()
    };
    let transport = told(&findings, "transport");
    assert!(!transport["found"].to_string().contains("not known"), "{transport}");
    // Who is attached is not known, which costs something, and is told with the grant that would change it.
    let replicas = told(&findings, "attached replicas");
    assert!(replicas["level"] == "note" && replicas["costs"].is_string(), "{replicas}");
    let grant = replicas["do"].as_str().expect("a remedy");
    assert_eq!(grant, format!("GRANT {attached} ON *.* TO 'poor'@'127.0.0.1'"));
    server.run(&[grant]).await;
    let known = |finding: &Value| finding["check"] == "server db1: attached replicas" && finding["level"] == "ok";
    ends_with(&config, 0, |findings| findings.iter().any(known)).await;

    std::fs::write(&password, "wrong\n").expect("the password is written");
    let names_the_file = |finding: &&Value| finding["do"].to_string().contains("password-file");
    ends_with(&config, 1, |findings| problems(findings).first().is_some_and(names_the_file)).await;
}

#[tokio::test]
async fn what_doctor_says_to_grant_on_mysql_is_enough() {
    what_doctor_says_to_grant_is_enough(Flavour::MySql).await;
}

#[tokio::test]
async fn what_doctor_says_to_grant_on_mariadb_is_enough() {
    what_doctor_says_to_grant_is_enough(Flavour::MariaDb).await;
}

#[test]
fn a_wrong_configuration_ends_with_2() {
    let home = tempfile::tempdir().expect("a folder");
    let config = home.path().join("millrace.toml");
    std::fs::write(&config, "[bus]\nfil = 1\n").expect("it is written");
    let output = Command::new(env!("CARGO_BIN_EXE_millrace")).args(["doctor", "--config"]).arg(&config).output();
    assert_eq!(output.expect("the program runs").status.code(), Some(2));
}
