//! A wrong password: named in the log once and in every heartbeat, tried less and less often, mended by mending its file.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use millrace::bus::http::HttpBus;
use millrace::bus::{Assignment, Bus as _, From, Polled, Reader};
use millrace_collectors::pulse::Pulse;
use millrace_mysql::{Dialect, Flavour};
use millrace_schemas::event::Event;
use millrace_schemas::ids::{ClusterId, Epoch};
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::journal::{Canary, Fact, Heartbeat};
use millrace_test_servers::{Options, Server};

use super::site::{PATIENCE, millrace};

/// Heartbeats that are waited for: without patience there would be a failed log-in for each.
const REFUSED: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_named_tried_patiently_and_mended() {
    for flavour in [Flavour::MariaDb, Flavour::MySql] {
        let server = Server::start(flavour, &Options::default()).await;
        let folder = tempfile::tempdir().expect("a folder");
        let target = server.target("db1");
        let right = target.account.password_file.as_ref().expect("the template's agent has a password");
        let password = folder.path().join("password");
        write(&password, b"not the password");
        let port = millrace_test_servers::free_port();
        let listen = SocketAddr::from(([127, 0, 0, 1], port.number));
        let user = &target.account.user;
        let config = format!(
            "[bus]\nfile = \"{0}/bus.db\"\nlisten = \"{listen}\"\n[[agent]]\nhost = \"h1\"\nstate-dir = \"{0}/agent\"\n\
             [[agent.instance]]\nid = \"db1\"\ncluster = \"c1\"\nport = {1}\nuser = \"{user}\"\npassword-file = \"{2}\"\n\
             [[cluster]]\nid = \"c1\"\nflavour = \"{flavour}\"\nprimary = \"db1\"\n",
            folder.path().display(),
            server.port(),
            password.display(),
        );
        let file = folder.path().join("millrace.toml");
        std::fs::write(&file, config).expect("writable");
        let before = refused(&server).await;
        let began = Instant::now();
        let log = std::fs::File::create(folder.path().join("log")).expect("writable");
        let mut up =
            millrace().args(["up", "--config"]).arg(&file).stderr(log).stdout(Stdio::null()).spawn().expect("up");
        let mut heard = reader(listen, &folder.path().join("bus.token"));
        let mut heartbeats = 0;
        while heartbeats < REFUSED {
            let error = next(heard.as_mut()).server_error.expect("the server refuses the account");
            // On starved cores a server may be late with its refusal; that is another error, and no part of this.
            if error.contains("no answer within") {
                continue;
            }
            heartbeats += 1;
            for part in
                ["db1 at 127.0.0.1:", &format!("as user {user}"), "1045", "check the user and its password file"]
            {
                assert!(error.contains(part), "{part} is not in {error}");
            }
        }
        let (attempts, seconds) = (refused(&server).await - before, began.elapsed().as_secs() + 1);
        assert!(attempts >= 1 && (1 << (attempts - 1)) - 1 <= seconds, "{attempts} failed log-ins in {seconds} s");

        write(&password, &std::fs::read(right).expect("readable"));
        while next(heard.as_mut()).server.is_none() {}
        let pid = rustix::process::Pid::from_child(&up);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
        up.wait().expect("waitable");
        let log = std::fs::read_to_string(folder.path().join("log")).expect("readable");
        let (told, late) = (log.matches("1045").count(), log.matches("no answer within").count());
        assert!((1..=1 + late).contains(&told), "{flavour}: it is said once, and again after another error\n{log}");
        assert!(log.contains("the server answers again"), "{log}");
    }
}

fn write(file: &Path, content: &[u8]) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(file, content).expect("writable");
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).expect("ours");
}

/// How many log-ins the server has seen fail.
async fn refused(server: &Server) -> u64 {
    let mut session = server.session().await;
    let row = session.first("SHOW GLOBAL STATUS LIKE 'Aborted_connects'").await.expect("readable").expect("it has one");
    session.close().await;
    row.nth(1).and_then(|count| count.parse().ok()).expect("a number")
}

fn reader(listen: SocketAddr, token: &Path) -> Box<dyn Reader> {
    let until = Instant::now() + PATIENCE;
    loop {
        let bus = HttpBus::new(listen, token).and_then(|bus| bus.ping().map(|()| bus));
        match bus.and_then(|bus| bus.reader(Assignment::Manual(vec![(Topic::Journal, From::Start)]))) {
            Ok(reader) => return reader,
            Err(error) => assert!(Instant::now() < until, "the bus does not answer: {error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The next heartbeat.
fn next(reader: &mut dyn Reader) -> Heartbeat {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        // What was polled with it is let go: there is another every second.
        for polled in reader.poll(Duration::from_millis(200)).expect("the bus answers") {
            if let Polled::Record(record) = polled
                && let Ok(Event { payload: Fact::Heartbeat(heartbeat), .. }) = Event::<Fact>::from_record(&record)
            {
                return *heartbeat;
            }
        }
    }
    panic!("no heartbeat within {PATIENCE:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pulse_of_a_refused_account_is_patient_too() {
    for flavour in [Flavour::MariaDb, Flavour::MySql] {
        let server = Server::start(flavour, &Options::default()).await;
        let mut session = server.session().await;
        let dialect = Dialect::detect(&mut session).await.expect("known");
        session.close().await;
        server.run(dialect.open()).await;
        let mut target = server.target_as("db1", &server.template().accounts.pulse);
        let folder = tempfile::tempdir().expect("a folder");
        let password = folder.path().join("password");
        write(&password, b"not the password");
        let right = target.account.password_file.replace(password.clone()).expect("it has a password");
        let mut pulse = Pulse::new(target, ClusterId::parse("c1").expect("legal"));
        let (before, began) = (refused(&server).await, Instant::now());
        for _ in 0..40 {
            if let Canary::Failed { error } = pulse.beat(Epoch(0), 0) {
                assert!(error.contains("db1 at 127.0.0.1:") && error.contains("1045"), "{error}");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let (attempts, seconds) = (refused(&server).await - before, began.elapsed().as_secs() + 1);
        // Heartbeat row and canary come together the first time; from then on one finds out for both.
        assert!((2..=63).contains(&attempts) && (1 << (attempts - 2)) - 1 <= seconds, "{attempts} in {seconds} s");

        write(&password, &std::fs::read(right).expect("readable"));
        let until = Instant::now() + PATIENCE;
        while !matches!(pulse.beat(Epoch(0), 0), Canary::Written { .. }) {
            assert!(Instant::now() < until, "{flavour}: {:?}", pulse.canary());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
