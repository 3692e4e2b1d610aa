//! Backups of a real MariaDB, by its own programs: a policy under which none was ever seen is told of, with where was looked; a real copy
//! is found when it is whole and has rested, one that was cut short is not; what the server keeps of its backups is read too.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use millrace_collectors::backups::Finder;
use millrace_mysql::{Flavour, backups as tables};
use millrace_schemas::event::Event;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::alerts::{AlertState, Finding};
use millrace_schemas::topics::journal::Fact;
use millrace_test_servers::{Options, Server};

use super::beside::Beside;
use super::site::PATIENCE;

/// The shipped rule without its 10 min.
const RULES: &str = "[[rule]]\nname = \"BackupStale\"\nfor = \"0s\"\n";
/// Longer than a backup must rest.
const RESTED: Duration = Duration::from_mins(6);

/// Lets one of the server's programs run as the agent's account.
fn program(server: &Server, name: &str, arguments: &[&str]) -> Vec<u8> {
    let account = server.target("db1").account;
    let password = std::fs::read_to_string(account.password_file.expect("it has one")).expect("readable");
    let mut command = Command::new(server.template().basedir.join("bin").join(name));
    command.arg("--no-defaults").arg(format!("--port={}", server.port())).arg("--host=127.0.0.1");
    command.arg(format!("--user={}", account.user)).arg(format!("--password={}", password.trim())).args(arguments);
    let output = command.output().unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Lets everything below a path be as old as that.
fn rest(path: &Path) {
    if path.is_dir() {
        std::fs::read_dir(path).expect("readable").flatten().for_each(|entry| rest(&entry.path()));
        return;
    }
    let file = std::fs::File::options().write(true).open(path).expect("writable");
    file.set_modified(SystemTime::now() - RESTED).expect("a time");
}

fn found(beside: &Beside) -> Vec<Finding> {
    let facts = beside.told(Topic::Journal).into_iter().filter_map(|record| Event::<Fact>::from_record(&record).ok());
    let findings = facts.filter_map(|event| if let Fact::Finding(one) = event.payload { Some(*one) } else { None });
    findings.filter(|one| one.rule == "BackupStale").collect()
}

async fn until<T>(beside: &Beside, what: &str, look: impl Fn(&[Finding]) -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        let found = found(beside);
        if let Some(one) = look(&found) {
            return one;
        }
        assert!(Instant::now() < until, "{what}: {found:#?}\n{}", beside.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_backups_are_found_when_they_are_whole_and_none_at_all_is_told_of() {
    let server = Server::start(Flavour::MariaDb, &Options::default()).await;
    server
        .run(&["SET GLOBAL read_only = 0", "CREATE DATABASE kept", "CREATE TABLE kept.orders (id INT PRIMARY KEY)"])
        .await;
    let folder = tempfile::tempdir().expect("a folder");
    let (backups, rules) = (folder.path().join("backups"), folder.path().join("rules.toml"));
    std::fs::create_dir(&backups).expect("a folder");
    std::fs::write(&rules, RULES).expect("writable");
    let policy =
        format!("\n[[agent.backup]]\ncluster = \"c1\"\nwithin = \"26h\"\nfind = [\"{}\"]\n", backups.display());
    let beside = Beside::start(&server, "", &format!("{policy}[alerts]\nrules = \"{}\"\n", rules.display()));
    let stale = until(&beside, "nothing is told", |found| found.first().cloned()).await;
    let words =
        format!("none was ever seen; db1 looked in {}, mysql.backup_history, mysql.mariadb_backup", backups.display());
    assert!(stale.summary.contains(&words), "{}", stale.summary);

    // A dump: whole, and without its end.
    let dump = program(&server, "mariadb-dump", &["--all-databases"]);
    let (whole, cut) = (folder.path().join("whole/d.sql"), folder.path().join("cut/d.sql"));
    for (file, bytes) in [(&whole, &dump[..]), (&cut, &dump[..dump.len() / 2])] {
        std::fs::create_dir(file.parent().expect("a folder")).expect("a folder");
        std::fs::write(file, bytes).expect("writable");
    }
    let newest = |folder: &Path| Finder::default().newest(&[folder.to_owned()], SystemTime::now());
    assert_eq!(newest(&folder.path().join("whole")), None, "it is new");
    rest(&whole);
    rest(&cut);
    assert!(newest(&folder.path().join("whole")).is_some(), "{}", String::from_utf8_lossy(&dump[..200]));
    assert_eq!(newest(&folder.path().join("cut")), None, "half of it is none");

    // A copy of the server: before it says what it is, and whole.
    let copy = backups.join("full");
    program(&server, "mariadb-backup", &["--backup", &format!("--target-dir={}", copy.display())]);
    let (end, away) = (copy.join("xtrabackup_info"), folder.path().join("away"));
    assert!(copy.join("backup-my.cnf").exists() && end.exists());
    assert_eq!(newest(&backups), None, "it has not rested");
    std::fs::rename(&end, &away).expect("it is there");
    rest(&copy);
    assert_eq!(newest(&backups), None, "its end is missing");
    std::fs::rename(&away, &end).expect("it is there");
    rest(&copy);
    let at = newest(&backups).expect("it is whole");
    let age = SystemTime::now().duration_since(at).expect("a past time");
    assert!((RESTED..RESTED + Duration::from_mins(1)).contains(&age), "{age:?}");
    let over = |found: &[Finding]| found.iter().find(|one| one.state == AlertState::Resolved).cloned();
    let over = until(&beside, "the backup is not found", over).await;
    assert_eq!((over.fingerprint, &over.instance), (stale.fingerprint, &None));
    assert!(over.value.is_some_and(|share| share > 0.0 && share < 0.1), "{over:?}");

    // What the server keeps, where mariadb-backup writes it.
    let mut session = server.session().await;
    assert_eq!(tables::newest(&mut session).await, None);
    let other = format!("--target-dir={}", folder.path().join("other").display());
    program(&server, "mariadb-backup", &["--backup", "--history=nightly", &other]);
    let ended = tables::newest(&mut session).await.expect("a row");
    let now = jiff::Timestamp::now().as_second();
    assert!((now - 60..=now).contains(&ended), "{ended} at {now}");
    session.execute("SET SESSION time_zone = '+09:00'").await.expect("it may");
    assert_eq!(tables::newest(&mut session).await, Some(ended), "whatever the session's zone is");
    session.close().await;
}
