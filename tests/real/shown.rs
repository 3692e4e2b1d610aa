//! The console shows what the servers say of themselves: numbers of a cluster under a steady load, asked of both while it runs. Digests
//! of windows that have passed are not shown any more, so nothing here is compared afterwards.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use millrace_mysql::{Flavour, GtidSet, Session, numbers, status};
use millrace_schemas::cluster::Member;
use millrace_schemas::digest::Scanner;
use millrace_test_servers::free_port;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, OptsBuilder};
use serde_json::Value;

use super::site::{CLUSTER, PATIENCE, Role, Site};

/// 25 a second of each statement.
const EVERY: Duration = Duration::from_millis(40);
const UPDATE: &str = "UPDATE marked SET n = n + 1 WHERE id <= 5";
const ROWS: f64 = 5.0;
const FAILS: &str = "CALL no_such_procedure()";
/// 20 s are counted: what the console shows is of the last 10 to 20 s.
const COUNTED: Duration = Duration::from_secs(20);
/// Of 10 s that are shown one may be missing or be there twice.
const A_SECOND: f64 = 0.1;
/// A heartbeat comes each second, and is shown some time after that.
const BEAT: Duration = Duration::from_secs(3);
/// Connections and threads of agents that come and go.
const AGENTS: f64 = 4.0;
/// Connections that only stand, and such that sleep in a statement.
const IDLE: usize = 9;
const BUSY: usize = 5;

/// A cluster with the packets of its servers, and a console.
struct Watched {
    site: Site,
    console: SocketAddr,
    _port: millrace_test_servers::Port,
}

impl Watched {
    fn start(flavour: Flavour) -> Self {
        let mut site = Site::new(flavour);
        let port = free_port();
        let console = SocketAddr::from(([127, 0, 0, 1], port.number));
        let file = site.dir.join("millrace.toml");
        let mut config = std::fs::read_to_string(&file).expect("readable");
        config = config.replace("[[agent]]\n", "[[agent]]\ncapture = \"lo\"\n");
        let _ = write!(config, "[console]\nlisten = \"{console}\"\n");
        std::fs::write(&file, config).expect("writable");
        site.start(Role::Up, None);
        site.create("auto");
        Self { site, console, _port: port }
    }

    /// What the console shows.
    async fn shown(&self) -> Value {
        let url = format!("http://{}/api/state", self.console);
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        client.get(url).send().await.expect("it answers").json().await.expect("JSON")
    }

    /// A member of the cluster, as it is shown.
    async fn member(&self, member: &Member) -> Value {
        let shown = self.shown().await;
        let members = shown["clusters"][0]["members"].as_array().expect("members").clone();
        let own = members.into_iter().find(|one| one["instance"] == member.instance.as_str());
        own.unwrap_or_else(|| panic!("{} is not shown: {shown}", member.instance))
    }

    /// A client of an application.
    async fn client(&self, member: &Member) -> Conn {
        let instance = self.site.instance(member).expect("it is there");
        let account = &instance.accounts.application;
        let password = account.password(&instance.dir).expect("readable");
        let schema = account.schema.clone().or_else(|| Some("shop".to_owned()));
        let options = OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(instance.port).prefer_socket(false);
        let options = options.user(Some(account.user.clone())).pass(Some(password)).db_name(schema);
        Conn::new(options).await.expect("it lets applications in")
    }
}

/// Sends both statements at a steady rate until it is told to stop.
async fn load(mut client: Conn, stop: Arc<AtomicBool>) {
    client.query_drop("CREATE TABLE marked (id INT PRIMARY KEY, n INT)").await.expect("a table");
    client.query_drop("INSERT INTO marked VALUES (1, 0), (2, 0), (3, 0), (4, 0), (5, 0), (6, 0)").await.expect("rows");
    let mut next = tokio::time::interval(EVERY);
    while !stop.load(Ordering::Relaxed) {
        next.tick().await;
        client.query_drop(UPDATE).await.expect("updated");
        client.query_drop(FAILS).await.expect_err("there is no such procedure");
    }
    client.disconnect().await.expect("it ends");
}

/// The server's own counters.
async fn counters(session: &mut Session) -> BTreeMap<String, f64> {
    numbers::status(session).await.expect("it answers").into_iter().collect()
}

fn close(what: &str, shown: f64, own: f64, tolerance: f64) -> Result<(), String> {
    println!("{what}: shown {shown:.2}, the server says {own:.2}");
    if (shown - own).abs() <= tolerance {
        Ok(())
    } else {
        Err(format!("{what}: shown {shown:.2}, the server says {own:.2} (within {tolerance:.2})"))
    }
}

/// The rates of the two statements and of all, shown and by the server's counters over the same seconds.
async fn rates(watched: &Watched, primary: &Member) -> Result<(), String> {
    let mut session = watched.site.session(primary).await;
    let (before, began) = (counters(&mut session).await, Instant::now());
    tokio::time::sleep(COUNTED).await;
    let shown = watched.shown().await;
    let server = watched.member(primary).await["server"].clone();
    let (after, seconds) = (counters(&mut session).await, began.elapsed().as_secs_f64());
    session.close().await;
    let own = |name: &str| (after[name] - before[name]) / seconds;
    let of = |text: &str, field: &str| {
        let id = Scanner::new().id_of(text.as_bytes()).to_string();
        let digests = shown["digests"].as_array().expect("digests");
        digests
            .iter()
            .find(|one| one["digest"] == id.as_str())
            .map_or(0.0, |one| one[field].as_f64().expect("a number"))
    };
    let within = |own: f64| own * A_SECOND + 0.5;
    let updates = own("Com_update");
    close("updates per second", of(UPDATE, "per_second"), updates, within(updates))?;
    // The heartbeat row and the canary are rows too. Newer MariaDB does not count InnoDB's, MySQL's handlers count more than rows.
    let counter = if before.contains_key("Innodb_rows_updated") { "Innodb_rows_updated" } else { "Handler_update" };
    let rows = own(counter);
    close("rows changed per second", of(UPDATE, "rows_per_second"), rows, within(rows) + 3.0)?;
    close("rows of an update", of(UPDATE, "rows_per_second") / of(UPDATE, "per_second"), ROWS, 0.01)?;
    let calls = own("Com_call_procedure");
    close("calls per second", of(FAILS, "per_second"), calls, within(calls))?;
    close("errors per second", of(FAILS, "errors_per_second"), calls, within(calls))?;
    let all = own("Questions");
    // It is of the last second alone.
    close("statements per second", server["queries_per_second"].as_f64().expect("a number"), all, all / 4.0 + AGENTS)
}

/// What a server is and how it stands, shown and by itself.
async fn standing(watched: &Watched, member: &Member) -> Result<(), String> {
    let mut session = watched.site.session(member).await;
    let before = status::read(&mut session).await.expect("it answers");
    tokio::time::sleep(BEAT).await;
    let shown = watched.member(member).await;
    let page = page(watched).await;
    let now = status::read(&mut session).await.expect("it answers");
    let counted = counters(&mut session).await;
    session.close().await;
    let (server, name) = (&shown["server"], &member.instance);
    let number = |field: &str| server[field].as_f64().expect("a number");
    let mut same = vec![
        ("version", server["version"].clone(), Value::from(now.server.version_text.clone())),
        ("server_id", server["server_id"].clone(), Value::from(now.server.server_id)),
        ("open", server["open"].clone(), Value::from(now.server.is_open())),
        ("role", shown["role"].clone(), Value::from(if now.server.is_open() { "primary" } else { "replica" })),
    ];
    let source = now.channels.first().map(|channel| format!("{}:{}", channel.source_host, channel.source_port));
    same.push(("source", shown["source"].clone(), source.map_or(Value::Null, Value::from)));
    for (what, shown, own) in same {
        println!("{name} {what}: shown {shown}, the server says {own}");
        if shown != own {
            return Err(format!("{name} {what}: shown {shown}, the server says {own}"));
        }
    }
    for text in [name.as_str(), &now.server.version_text] {
        assert!(page.contains(text), "{text} is not on the page of the cluster");
    }
    close(&format!("{name} connections"), number("connections"), counted["Threads_connected"], AGENTS)?;
    close(&format!("{name} threads running"), number("threads_running"), counted["Threads_running"], AGENTS)?;
    let executed: GtidSet =
        serde_json::from_value(server["executed"].clone()).map_err(|error| format!("{name}: {error}: {server}"))?;
    println!("{name} executed: shown {executed}, the server says {}", now.source.executed);
    let after = |older: &GtidSet, newer: &GtidSet| older.is_subset(newer).expect("of one flavour");
    if after(&before.source.executed, &executed) && after(&executed, &now.source.executed) {
        return Ok(());
    }
    Err(format!("{name} executed: shown {executed}, the server had {}", before.source.executed))
}

/// The page of the cluster, as people see it.
async fn page(watched: &Watched) -> String {
    let url = format!("http://{}/cluster/{CLUSTER}", watched.console);
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    client.get(url).send().await.expect("it answers").text().await.expect("text")
}

/// How far a replica is behind whose applier stands, shown and by the row of the heartbeat that it has.
async fn delay(watched: &Watched, replica: &Member) -> Result<(), String> {
    let mut session = watched.site.session(replica).await;
    session.execute("STOP REPLICA SQL_THREAD").await.expect("it stops");
    tokio::time::sleep(BEAT + BEAT).await;
    let shown = watched.member(replica).await;
    let newest = session.value("SELECT MAX(at_us) FROM millrace.heartbeat").await.expect("readable").expect("a row");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs_f64();
    let behind = now - newest.parse::<f64>().expect("a time") / 1e6;
    session.execute("START REPLICA SQL_THREAD").await.expect("it starts");
    session.close().await;
    let told = shown["delay_us"].as_f64().ok_or_else(|| format!("no delay is shown: {shown}"))? / 1e6;
    assert!(behind > BEAT.as_secs_f64(), "its applier stood");
    close("delay in seconds", told, behind, BEAT.as_secs_f64())
}

/// A machine that is busy with other things may hold up a heartbeat: five looks, and one of them has to be right.
async fn in_five_looks(what: &str, watched: &Watched, mut look: impl AsyncFnMut() -> Result<(), String>) {
    let mut wrong = Vec::new();
    for _ in 0..5 {
        match look().await {
            Ok(()) => return,
            Err(why) => wrong.push(why),
        }
    }
    panic!("{what}: {wrong:#?}\n{}", watched.site.log());
}

async fn the_console_shows_the_numbers_of_the_servers(flavour: Flavour) {
    let watched = Watched::start(flavour);
    let primary = watched.site.settled().await;
    let replica = watched.site.spec.members.iter().find(|one| one.instance != primary.instance).expect("one").clone();
    let (mut idle, mut busy) = (Vec::new(), Vec::new());
    for _ in 0..IDLE {
        idle.push(watched.client(&primary).await);
    }
    for _ in 0..BUSY {
        let mut client = watched.client(&primary).await;
        busy.push(tokio::spawn(async move { client.query_drop("SELECT SLEEP(600)").await }));
    }
    let stop = Arc::<AtomicBool>::default();
    let loaded = tokio::spawn(load(watched.client(&primary).await, Arc::clone(&stop)));
    let digest = Scanner::new().id_of(UPDATE.as_bytes()).to_string();
    let until = Instant::now() + PATIENCE;
    while !watched.shown().await["digests"].to_string().contains(&digest) {
        assert!(Instant::now() < until, "the load is not shown\n{}", watched.site.log());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    in_five_looks("rates", &watched, async || rates(&watched, &primary).await).await;
    for member in [&primary, &replica] {
        in_five_looks("standing", &watched, async || standing(&watched, member).await).await;
    }
    let busy_shown = watched.member(&primary).await["server"]["threads_running"].as_u64();
    assert!(busy_shown.is_some_and(|running| running >= BUSY as u64), "{busy_shown:?} run");
    in_five_looks("delay", &watched, async || delay(&watched, &replica).await).await;
    stop.store(true, Ordering::Relaxed);
    loaded.await.expect("the load ran until the end");
    busy.iter().for_each(tokio::task::JoinHandle::abort);
    drop(idle);
    watched.site.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_console_shows_the_numbers_of_mysql() {
    the_console_shows_the_numbers_of_the_servers(Flavour::MySql).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_console_shows_the_numbers_of_mariadb() {
    the_console_shows_the_numbers_of_the_servers(Flavour::MariaDb).await;
}
