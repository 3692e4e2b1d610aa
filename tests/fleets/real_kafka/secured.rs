//! A fleet whose brokers ask everybody who they are and let nobody do more than `deploy/kafka/acls` lists, and whose roles believe
//! only the keys of their roster: the real roles work so, and are told what is wrong where they do more, or are not who they say.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace::bus::kafka::KafkaBus;
use millrace::bus::signed::trusting;
use millrace::bus::{Assignment, Bus as _, Error, From, Reader, Snapshot};
use millrace::config::{self, Sasl, Tls};
use millrace::trust::Trust;
use millrace_schemas::event::{Event, Subject};
use millrace_schemas::ids::EventId;
use millrace_schemas::marks::Sequence;
use millrace_schemas::metrics::Registry;
use millrace_schemas::record::{Bytes, Headers, NewRecord};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::{Topic, examples};
use millrace_test_servers::{Kafka, KafkaOptions, free_port};

use super::fleet::{CLUSTER, Fleet};
use super::keys::Keys;
use super::trusted;
use crate::real::site::{PATIENCE, millrace};

/// Who has a list in `deploy/kafka/acls` and is of Millrace.
const PRINCIPALS: [&str; 6] = ["agent", "process", "execute", "sink", "console", "operator"];
/// 10,000 records make a whole file of the archive.
const ARCHIVED: u64 = 10_000;
/// 15 s: what is refused is told in one or two waits of 5 s, and not after the 20 s and more that the library goes on by itself.
const TOLD_WITHIN: Duration = Duration::from_secs(15);

/// Brokers that ask who one is, with the grants of every role.
async fn brokers() -> Kafka {
    let kafka = Kafka::start(&KafkaOptions { open: false, ..KafkaOptions::default() }).await;
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("deploy/kafka/acls");
    let lists: Vec<PathBuf> = PRINCIPALS.iter().map(|role| folder.join(format!("{role}.acls"))).collect();
    kafka.grant(&lists);
    kafka
}

/// As whom a role of a fleet comes.
fn principal(name: &str) -> &'static str {
    match name {
        "admin" => "admin",
        "operator" => "operator",
        _ => match name.as_bytes()[0] {
            b'p' => "process",
            b'e' => "execute",
            b's' => "sink",
            b'c' => "console",
            _ => "agent",
        },
    }
}

fn authority(kafka: &Kafka) -> String {
    format!("[bus.tls]\nca-file = \"{}\"\n", kafka.ca().display())
}

/// The lines for who logs in as `user` with the password of `whose`.
fn by_password(kafka: &Kafka, user: &str, whose: &str) -> (String, String) {
    let file = kafka.password_file(whose);
    let sasl = format!("[bus.sasl]\nuser = \"{user}\"\npassword-file = \"{}\"\n", file.display());
    (kafka.bootstrap_scram().to_owned(), authority(kafka) + &sasl)
}

fn by_certificate(kafka: &Kafka, name: &str) -> (String, String) {
    let (certificate, key) = (kafka.certificate(name), kafka.key(name));
    let own = format!("cert-file = \"{}\"\nkey-file = \"{}\"\n", certificate.display(), key.display());
    (kafka.bootstrap_tls().to_owned(), authority(kafka) + &own)
}

/// The bus of who logs in as `user`.
fn settings(kafka: &Kafka, user: &str) -> config::Kafka {
    config::Kafka {
        servers: kafka.bootstrap_scram().to_owned(),
        prefix: "millrace.".to_owned(),
        partitions: 6,
        replication: 1,
        tls: Some(Tls { authority: kafka.ca(), own: None }),
        sasl: Some(Sasl { user: user.to_owned(), password_file: kafka.password_file(user) }),
        state: std::env::temp_dir(),
    }
}

fn bus(kafka: &Kafka, user: &str) -> KafkaBus {
    KafkaBus::new(&settings(kafka, user), user, Arc::new(Registry::new())).expect("a client")
}

fn record(topic: Topic, value: &str) -> NewRecord {
    let (key, partition_key) = (CLUSTER.to_owned(), CLUSTER.to_owned());
    NewRecord {
        topic,
        key,
        partition_key,
        headers: Headers::new(),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
    }
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A fleet on secured brokers. Its topics are made by an administrator, as the README says; the console listens on `console`.
async fn fleet(console: u16) -> Fleet {
    let mut fleet = Fleet::over(brokers().await, 1, "millrace.");
    let as_admin = settings(&fleet.kafka, "admin");
    fleet.settings = config::Kafka { state: fleet.settings.state.clone(), ..as_admin };
    fleet.access = Some(Box::new(move |kafka, name| {
        // A certificate and a password are the same principal; some of a fleet may have the one, some the other.
        let (servers, mut lines) = match name {
            "s1" | "a-h3" => by_certificate(kafka, principal(name)),
            _ => by_password(kafka, principal(name), principal(name)),
        };
        if name.starts_with('c') {
            write!(lines, "[console]\nlisten = \"127.0.0.1:{console}\"\n").expect("memory suffices");
        }
        (servers, lines)
    }));
    let config = fleet.configure("admin", "");
    let made = millrace().args(["topics", "--apply", "--config"]).arg(config).output().expect("it runs");
    assert!(made.status.success(), "{}", told(&made));
    fleet
}

/// What `millrace ROLE --config` says of itself, once it has ended.
fn ended(command: &[&str], config: &PathBuf) -> Output {
    millrace().args(command).arg("--config").arg(config).output().expect("it runs")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_works_with_the_grants_of_its_roles_and_no_others() {
    let port = free_port();
    let mut fleet = fleet(port.number).await;
    let keys = Keys::give(&mut fleet, &["p1", "e1", "a-h1", "a-h2", "a-h3", "operator"]);
    for name in ["p1", "e1", "s1", "c1", "a-h1", "operator"] {
        let checked = ended(&["topics", "--check"], &fleet.configure(name, ""));
        assert!(checked.status.success(), "{name}: {}", told(&checked));
    }
    for role in ["p1", "e1", "s1", "c1", "a-h1", "a-h2", "a-h3"] {
        fleet.start(role);
    }
    fleet.create();
    let primary = fleet.primary(None).await;
    // Whoever took an agent's password of the brokers, and has no key that is enrolled.
    keys.make("a-stranger");
    let forged = trusted::forge(&bus(&fleet.kafka, "agent"), &keys, &primary, Some("a-stranger"), 0).await;
    trusted::refused(&fleet, &forged, "unknown-key", "is not in the roster").await;
    trusted::nothing_follows(&fleet, &primary).await;
    fleet.kill_server(&primary);
    let next = fleet.primary(Some(&primary)).await;
    fleet.ended("rejoin", 1).await;
    let archived = archived(&fleet, &keys).await;
    let page = reqwest::get(format!("http://127.0.0.1:{}/api/why/{CLUSTER}", port.number)).await.expect("it answers");
    let page = page.text().await.expect("a page");
    assert!(page.contains(next.instance.as_str()) && page.contains("promote"), "{page}\n{}", fleet.logs());
    let why = ended(&["why", CLUSTER], &fleet.configure("operator", ""));
    assert!(why.status.success() && told(&why).contains("promote"), "{}", told(&why));
    println!("over TLS, by passwords and certificates, with the grants of deploy/kafka/acls and a key for each:");
    println!("  a failover from {} to {}, a rejoin, {archived} alerts in the archive", primary.instance, next.instance);
    let dead = fleet.told(Topic::Dead);
    assert_eq!(dead.len(), 1, "what the fleet says itself is believed: {dead:?}\n{}", fleet.logs());
    println!("  of {} facts 1 was refused: an exit told with a stranger's key", fleet.told(Topic::Journal).len());
    fleet.remove().await;
}

/// Fills a file of the archive and waits for it.
async fn archived(fleet: &Fleet, keys: &Keys) -> u64 {
    // As a decider says them: unsigned ones would be refused, and told of.
    let trust = Trust::open(&keys.trust("p1"), Arc::default()).expect("right");
    let decider = trusting(fleet.bus(), Some(&Arc::new(trust)), &Arc::default());
    let alert = |number: u64| {
        Event {
            id: EventId::derive(&["archived", &number.to_string()]),
            source: "failover.0/test".to_owned(),
            sequence: Sequence { incarnation: 1, counter: number },
            at: Timestamp(1),
            appended: Timestamp::ZERO,
            subject: Subject::cluster(CLUSTER.parse().expect("legal")),
            cause: None,
            payload: examples::notices().remove(0),
        }
        .to_record()
    };
    for number in (0..ARCHIVED).step_by(500) {
        decider.append((number..number + 500).map(alert).collect()).await.expect("the brokers take them");
    }
    let until = Instant::now() + PATIENCE;
    loop {
        let topic = fleet.dir.join("archive/alerts");
        let folders = std::fs::read_dir(topic).into_iter().flatten().flatten().map(|folder| folder.path());
        let files = folders.flat_map(|folder| std::fs::read_dir(folder).into_iter().flatten().flatten());
        if files.map(|file| file.path()).any(|file| file.extension().is_some_and(|kind| kind == "parquet")) {
            return ARCHIVED;
        }
        assert!(Instant::now() < until, "nothing is in the archive\n{}", fleet.logs());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Checks that what was tried is refused, soon, and that the error says what to do.
fn refused<T>(what: &str, began: Instant, outcome: Result<T, Error>, words: &[&str]) {
    let error = outcome.err().unwrap_or_else(|| panic!("{what} was not refused"));
    assert!(matches!(error, Error::Refused { .. }), "{what}: {error}");
    let told = error.to_string();
    assert!(words.iter().all(|word| told.contains(word)), "{what}: {told}");
    assert!(began.elapsed() < TOLD_WITHIN, "{what} was told after {:?}", began.elapsed());
}

/// Polls until the bus says that it cannot.
fn polled(mut reader: Box<dyn Reader>, began: Instant) -> Result<(), Error> {
    while began.elapsed() < TOLD_WITHIN {
        reader.poll(Duration::from_millis(100))?;
    }
    Ok(())
}

/// Topics that a role may not write, topics that it may not read, groups that it may not use.
type Beyond = (&'static str, &'static [Topic], &'static [Topic], &'static [&'static str]);

const BEYOND: [Beyond; 6] = [
    ("agent", &[Topic::Actions, Topic::Routes], &[Topic::Journal], &["windows.1"]),
    ("process", &[Topic::Inventory, Topic::Queries], &[Topic::Inventory], &["agent-h1"]),
    ("execute", &[Topic::Routes, Topic::Windows], &[Topic::Queries], &["agent-h1"]),
    ("sink", &[Topic::Journal, Topic::Alerts], &[Topic::Inventory], &["windows.1"]),
    ("console", &[Topic::Journal, Topic::Dead], &[], &["windows.1"]),
    ("operator", &[Topic::Actions, Topic::Windows], &[], &["windows.1"]),
];

fn beyond(kafka: &Kafka, (role, writes, reads, groups): Beyond) {
    let bus = bus(kafka, role);
    bus.ping().unwrap_or_else(|error| panic!("{role} may look at the topics: {error}"));
    for topic in writes {
        let began = Instant::now();
        let outcome = bus.append(vec![record(*topic, "{}")]).wait();
        refused(&format!("{role} writes {topic}"), began, outcome, &["deploy/kafka/acls"]);
    }
    for topic in reads {
        let began = Instant::now();
        // Who may write a topic may look where it ends; that it may not read it is told when it tries.
        let reader = bus.reader(Assignment::Manual(vec![(*topic, From::Start)]));
        let outcome = reader.and_then(|reader| polled(reader, began));
        refused(&format!("{role} reads {topic}"), began, outcome, &["topic", "deploy/kafka/acls"]);
    }
    for group in groups {
        let (name, topics) = ((*group).to_owned(), vec![Topic::Actions]);
        let began = Instant::now();
        let outcome = bus.reader(Assignment::Own { name: name.clone(), topics: topics.clone() });
        refused(&format!("{role} owns {group}"), began, outcome, &["group", "deploy/kafka/acls"]);
        let began = Instant::now();
        let reader = bus.reader(Assignment::Group { group: name, topics }).expect("the group is asked for later");
        let outcome = polled(reader, began);
        refused(&format!("{role} joins {group}"), began, outcome, &["deploy/kafka/acls"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_its_grants_each_role_is_told_what_it_may_not() {
    let fleet = fleet(1).await;
    std::thread::scope(|scope| {
        for one in BEYOND {
            let kafka = &fleet.kafka;
            scope.spawn(move || beyond(kafka, one));
        }
        scope.spawn(|| {
            let began = Instant::now();
            let snapshot = Snapshot {
                processor: "p".to_owned(),
                partition: 0,
                entity: CLUSTER.to_owned(),
                next: 1,
                value: vec![1],
            };
            let outcome = bus(&fleet.kafka, "console").save(vec![snapshot]);
            refused("console saves a state", began, outcome, &["deploy/kafka/acls"]);
        });
        scope.spawn(|| {
            // Who has no grants at all is not even told that there are topics.
            let outcome = bus(&fleet.kafka, "stranger").ping();
            refused("a stranger looks", Instant::now(), outcome, &["may not look at the topic", "describe"]);
        });
    });
    fleet.remove().await;
}

/// What an agent says of itself once it has ended; one that goes on is killed, and its words are told.
fn ended_within(time: Duration, config: &PathBuf) -> Output {
    let mut agent = millrace();
    agent.args(["agent", "--config"]).arg(config).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut agent = agent.spawn().expect("millrace starts");
    let until = Instant::now() + time;
    while agent.try_wait().expect("waitable").is_none() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
    // It fails only if it has ended.
    let _ = agent.kill();
    agent.wait_with_output().expect("waitable")
}

/// Starts an agent with these lines, and checks that it ends with exit code 2 and these words.
fn ends(fleet: &mut Fleet, what: &str, access: (String, String), words: &[&str]) {
    fleet.access = Some(Box::new(move |_, _| access.clone()));
    let began = Instant::now();
    let output = ended_within(PATIENCE, &fleet.configure("a-h1", ""));
    let told = told(&output);
    assert_eq!(output.status.code(), Some(2), "{what}: {told}");
    let last = told.lines().last().unwrap_or_default();
    println!("{what}, after {:?}:\n  {last}", began.elapsed());
    assert!(words.iter().all(|word| last.contains(word)), "{what}: {told}");
    assert!(began.elapsed() < TOLD_WITHIN, "{what} was told after {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_prove_who_it_is_ends_and_says_why() {
    let mut fleet = Fleet::over(brokers().await, 1, "millrace.");
    let kafka = &fleet.kafka;
    let nobody = (kafka.bootstrap_tls().to_owned(), authority(kafka));
    let cases = [
        (
            "a wrong password",
            by_password(kafka, "agent", "sink"),
            vec!["the user agent", "sink.password", "[bus.sasl]"],
        ),
        ("an unknown user", by_password(kafka, "nobody", "sink"), vec!["the user nobody", "[bus.sasl]"]),
        (
            "an expired certificate",
            by_certificate(kafka, "expired-agent"),
            vec!["expired-agent.crt.pem", "it has expired"],
        ),
        (
            "a foreign certificate",
            by_certificate(kafka, "foreign-agent"),
            vec!["foreign-agent.crt.pem", "authority that the broker"],
        ),
        ("no certificate", nobody, vec!["wants a certificate", "cert-file"]),
    ];
    for (what, access, words) in cases {
        ends(&mut fleet, what, access, &words);
    }
    fleet.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_not_who_it_says_is_not_spoken_to() {
    for certificate in ["wrong-host", "expired"] {
        let kafka = Kafka::start(&KafkaOptions { open: false, certificate, ..KafkaOptions::default() }).await;
        let mut fleet = Fleet::over(kafka, 1, "millrace.");
        let access = by_password(&fleet.kafka, "agent", "agent");
        let words = ["not to be trusted", "ca.pem", "name the host"];
        ends(&mut fleet, &format!("a broker with the certificate {certificate}"), access, &words);
        fleet.remove().await;
    }
}

/// A broker that a script started.
struct Tried(PathBuf);

impl Drop for Tried {
    fn drop(&mut self) {
        let stopped = script("kafka.sh").arg("kill").arg(self.0.join("kafka")).status();
        println!("the broker was stopped: {}", stopped.is_ok_and(|status| status.success()));
    }
}

fn script(name: &str) -> Command {
    let mut command = Command::new(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scripts").join(name));
    command.stdin(Stdio::null());
    command
}

#[test]
fn the_fleet_that_the_readme_offers_to_newcomers_can_be_started() {
    let folder = tempfile::tempdir().expect("a folder");
    let tried = Tried(folder.path().join("fleet"));
    let ports: Vec<_> = (0..7).map(|_| free_port()).collect();
    let list: Vec<String> = ports.iter().map(|port| port.number.to_string()).collect();
    let mut make = script("fleet.sh");
    make.arg(&tried.0).args(["--ports", &list.join(","), "--parent", &std::process::id().to_string()]);
    let made = make.env("MILLRACE", millrace().get_program()).output().expect("bash is there");
    assert!(made.status.success(), "{}", told(&made));
    let said = told(&made);
    for role in ["process", "execute", "sink", "console", "agent"] {
        let config = tried.0.join(format!("etc/{role}.toml"));
        assert!(said.contains(&format!("{role} --config {}", config.display())), "{said}");
        let checked = ended(&["topics", "--check"], &config);
        assert!(checked.status.success(), "{role}: {}", told(&checked));
        config::load(&config).unwrap_or_else(|error| panic!("{error}"));
    }
    let keys = millrace().args(["key", "list"]).arg(tried.0.join("etc/roster.toml")).output().expect("it runs");
    assert!(told(&keys).contains("agent/db-host-1") && told(&keys).contains("process-a"), "{}", told(&keys));
}
