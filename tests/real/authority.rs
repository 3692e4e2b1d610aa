//! The agent finds out by itself where the statements of a server can be counted: from packets while they are in the clear, by the
//! server's own counters while they are encrypted or cannot be captured. Whatever it does, no second has two sources and no
//! statement is counted twice.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use millrace_mysql::Flavour;
use millrace_schemas::digest::{DigestId, Scanner};
use millrace_schemas::topics::queries::{Row, Source};
use millrace_test_servers::{Options, Server};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, OptsBuilder, SslOpts};

use super::beside::Beside;
use super::site::PATIENCE;

const INSERT: &str = "INSERT INTO shop.moved VALUES (1)";
/// 20 a second.
const PAUSE: Duration = Duration::from_millis(50);
const A_SECOND: u64 = 20;
/// A change may leave two seconds uncounted, and one more of a busy machine.
const LOST_BY_A_CHANGE: u64 = 3 * A_SECOND;
/// A server may count one or two wrongly, and turns of a log-in are turns too.
const TOO_MANY: u64 = 6;

async fn server(flavour: Flavour) -> Server {
    let server = Server::start(flavour, &Options::default()).await;
    server.run(&["SET GLOBAL read_only = OFF", "CREATE TABLE shop.moved (nr INT)"]).await;
    server
}

fn inserted(rows: &[Row]) -> u64 {
    let digest = Scanner::new().id_of(INSERT.as_bytes());
    rows.iter().filter(|row| row.digest == digest).map(|row| row.count).sum()
}

fn source(name: &str) -> String {
    format!("millrace_statements_source{{instance=\"db1\",source=\"{name}\"}}")
}

/// How a client comes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Clear,
    Tls,
    Socket,
}

/// An application's account.
pub(crate) async fn client(server: &Server, way: Way) -> Conn {
    let account = server.template().accounts.application.clone();
    let password = account.password(&server.template().folder).expect("readable");
    let options = OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(server.port()).prefer_socket(false);
    let options =
        options.user(Some(account.user)).pass(Some(password)).max_allowed_packet(Some(1 << 20)).wait_timeout(Some(600));
    let accept = SslOpts::default().with_danger_accept_invalid_certs(true).with_danger_skip_domain_validation(true);
    let options = options.ssl_opts((way == Way::Tls).then_some(accept));
    let socket = (way == Way::Socket).then(|| server.socket().display().to_string());
    Conn::new(options.socket(socket)).await.expect("it lets applications in")
}

/// Inserts until `name` counts, and for `more` beyond; how many it were.
async fn insert_until(server: &Server, up: &Beside, way: Way, name: &str, more: Duration) -> u64 {
    let mut client = client(server, way).await;
    let (mut count, mut asked, mut ends) = (0, Instant::now(), None);
    let until = Instant::now() + PATIENCE + PATIENCE;
    while ends.is_none_or(|ends| Instant::now() < ends) {
        client.query_drop(INSERT).await.expect("inserted");
        count += 1;
        if ends.is_none() && asked.elapsed() > Duration::from_secs(1) {
            asked = Instant::now();
            ends = (up.metric(&source(name)).await == Some(1.0)).then(|| Instant::now() + more);
        }
        assert!(Instant::now() < until, "{name} does not count\n{}", up.log());
        tokio::time::sleep(PAUSE).await;
    }
    client.disconnect().await.expect("it ends");
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn encrypted_traffic_is_counted_by_the_server_until_it_is_in_the_clear_again() {
    let server = server(Flavour::MySql).await;
    let up = Beside::start(&server, "capture = \"lo\"", "");
    up.until("rows of packets", |rows| rows.iter().any(|row| row.source == Source::Wire).then_some(())).await;
    assert_eq!(up.metric(&source("wire")).await, Some(1.0), "packets count first");

    let more = Duration::from_secs(15); // a look of the counters, at least
    let encrypted = insert_until(&server, &up, Way::Tls, "performance_schema", more).await;
    let clear = insert_until(&server, &up, Way::Clear, "wire", Duration::from_secs(5)).await;
    tokio::time::sleep(Duration::from_secs(3)).await; // the last seconds are closed

    let rows = up.rows();
    let mut sources: BTreeMap<i64, Vec<Source>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.source != Source::SlowLog) {
        let of = sources.entry(row.second).or_default();
        if !of.contains(&row.source) {
            of.push(row.source);
        }
    }
    let twice: Vec<_> = sources.iter().filter(|(_, of)| of.len() > 1).collect();
    assert!(twice.is_empty(), "seconds of two sources: {twice:?}");
    let before: u64 = rows.iter().filter(|row| row.digest == DigestId::ENCRYPTED).map(|row| row.count).sum();
    let (all, counted) = (encrypted + clear, before + inserted(&rows));
    assert!(counted <= all + TOO_MANY, "{counted} of {all} were counted");
    assert!(counted + 2 * LOST_BY_A_CHANGE >= all, "{counted} of {all} were counted\n{}", up.log());
    let changes =
        |name: &str| format!("millrace_statements_source_changes_total{{instance=\"db1\",source=\"{name}\"}}");
    for name in ["wire", "performance_schema"] {
        assert_eq!(up.metric(&changes(name)).await, Some(1.0), "{name}");
    }
    let aside = "millrace_statements_set_aside_total{instance=\"db1\",source=\"wire\"}";
    assert!(
        up.metric(aside).await.is_some_and(|aside| aside >= clear as f64 / 2.0),
        "what packets tell meanwhile is told"
    );
}

/// What comes by a Unix socket has no packets: the server tells how much that is, and counts it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_by_socket_is_counted_by_the_server() {
    let server = server(Flavour::MySql).await;
    let up = Beside::start(&server, "capture = \"lo\"", "");
    up.until("rows of packets", |rows| rows.iter().any(|row| row.source == Source::Wire).then_some(())).await;
    insert_until(&server, &up, Way::Socket, "performance_schema", Duration::from_secs(15)).await;
    let unseen = up.metric("millrace_statements_unseen_ratio{instance=\"db1\"}").await;
    assert!(unseen.is_some_and(|share| share > 0.9), "{unseen:?} were not seen");
    assert!(inserted(&up.rows()) > A_SECOND, "the server counts them");
}

/// Who had connected before the capture began is named by the server's list of sessions.
async fn earlier_connections_get_their_names(flavour: Flavour) {
    let server = server(flavour).await;
    let mut client = client(&server, Way::Clear).await;
    client.query_drop("USE shop").await.expect("it is there");
    let up = Beside::start(&server, "capture = \"lo\"", "");
    let until = Instant::now() + PATIENCE;
    let digest = Scanner::new().id_of(INSERT.as_bytes());
    let user = &server.template().accounts.application.user;
    loop {
        client.query_drop(INSERT).await.expect("inserted");
        tokio::time::sleep(PAUSE).await;
        let rows = up.rows();
        let mut ours = rows.iter().filter(|row| row.digest == digest && row.source == Source::Wire);
        if ours.any(|row| (&row.user, row.schema.as_str()) == (user, "shop")) {
            break;
        }
        assert!(Instant::now() < until, "no row has a user\n{}", up.log());
    }
    client.disconnect().await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn earlier_connections_to_mysql_get_their_names() {
    earlier_connections_get_their_names(Flavour::MySql).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn earlier_connections_to_mariadb_get_their_names() {
    earlier_connections_get_their_names(Flavour::MariaDb).await;
}

/// Where no packet can be captured the server counts.
async fn counted_without_a_capture(flavour: Flavour) {
    let server = server(flavour).await;
    let up = Beside::start(&server, "capture = \"nosuch0\"", "");
    let until = Instant::now() + PATIENCE;
    while up.metric(&source("performance_schema")).await != Some(1.0) {
        assert!(Instant::now() < until, "the server does not count\n{}", up.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    up.until("rows of the counters", |rows| (!rows.is_empty()).then_some(())).await;
    let mut client = client(&server, Way::Clear).await;
    for _ in 0..100 {
        client.query_drop(INSERT).await.expect("inserted");
    }
    client.disconnect().await.expect("it ends");
    let all = |rows: &[Row]| (inserted(rows) + 2 >= 100).then(|| inserted(rows));
    assert!(up.until("rows of the inserts", all).await <= 102);
    let other = |row: &&Row| row.source == Source::Wire;
    assert_eq!(up.rows().iter().find(other), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mysql_counts_where_nothing_can_be_captured() {
    counted_without_a_capture(Flavour::MySql).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_counts_where_nothing_can_be_captured() {
    counted_without_a_capture(Flavour::MariaDb).await;
}
