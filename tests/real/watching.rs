//! `millrace up` on a server that Millrace did not create: it is watched, and nothing on it changes. And the command line's
//! answers to a wrong configuration and to a file that is in use.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use millrace_mysql::{Flavour, Session};
use millrace_schemas::event::Event;
use millrace_schemas::topics::journal::Fact;
use millrace_test_servers::{Options, Server};

use super::beside::Beside;
use super::site::{PATIENCE, millrace};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_server_is_watched_and_not_touched() {
    for flavour in [Flavour::MariaDb, Flavour::MySql] {
        let server = Server::start(flavour, &Options::default()).await;
        let before = state(&server).await;
        let mut up = Beside::start(&server, "", "");
        let heartbeat = heartbeat(up.console.port());
        let Fact::Heartbeat(heartbeat) = heartbeat else { panic!("{heartbeat:?}") };
        assert_eq!(heartbeat.server.expect("the server was asked").flavour, flavour);

        let second = millrace().args(["up", "--config"]).arg(up.file()).output().expect("it runs");
        assert_eq!(second.status.code(), Some(4), "a second process is refused");
        let pid = format!("pid {}", up.child.id());
        assert!(String::from_utf8_lossy(&second.stderr).contains(&pid), "{}", String::from_utf8_lossy(&second.stderr));

        let began = Instant::now();
        up.end();
        assert!(began.elapsed() < Duration::from_secs(10), "it stops in {:?}", began.elapsed());
        assert_eq!(state(&server).await, before, "{flavour}: a watched server was changed");
    }
}

/// What must not change.
async fn state(server: &Server) -> Vec<Option<String>> {
    let mut session = Session::open(&server.target("db1")).await.expect("it answers");
    let executed = match server.flavour() {
        Flavour::MySql => "SELECT @@GLOBAL.gtid_executed",
        Flavour::MariaDb => "SELECT @@GLOBAL.gtid_binlog_state",
    };
    let mut state = Vec::new();
    for statement in [executed, "SELECT @@GLOBAL.read_only", "SELECT COUNT(*) FROM information_schema.TABLES"] {
        state.push(session.value(statement).await.expect("readable"));
    }
    state
}

/// The first heartbeat with a server in it, as `millrace events` prints it.
fn heartbeat(console: u16) -> Fact {
    let url = format!("http://127.0.0.1:{console}");
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        let mut events = millrace()
            .args(["events", "journal", "--from", "start", "--console", &url, "-n", "100"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it runs");
        let lines = BufReader::new(events.stdout.take().expect("piped")).lines();
        for line in lines.map_while(Result::ok) {
            let line: serde_json::Value = serde_json::from_str(&line).expect("each line is JSON");
            assert_eq!(line["schema_version"], 1);
            if let Ok(event) = Event::<Fact>::from_json(line["value"].to_string().as_bytes(), true)
                && matches!(&event.payload, Fact::Heartbeat(heartbeat) if heartbeat.server.is_some())
            {
                let _ = events.kill();
                let _ = events.wait();
                return event.payload;
            }
        }
        let _ = events.wait();
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("no heartbeat with a server within {PATIENCE:?}");
}

#[test]
fn a_wrong_configuration_is_told_whole_and_ends_with_2() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("millrace.toml");
    std::fs::write(&file, "[bus]\nkind = \"pulsar\"\n[console]\nlisten = \"0.0.0.0:1\"\n").expect("writable");
    let output = millrace().args(["up", "--config"]).arg(&file).output().expect("it runs");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{told}");
    for expected in ["millrace.toml:2: bus.kind", "millrace.toml:1:", "millrace.toml:4: console.listen"] {
        assert!(told.contains(expected), "{expected} is not in\n{told}");
    }
}
