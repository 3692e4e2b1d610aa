//! Every panel against real stores that the real pipeline fills: a cluster of MySQL that Millrace made, a MariaDB that it watches, load
//! on both, agents, the sink, and the pages of numbers as a scrape takes them. Each query answers with a number, or is named below
//! with why a healthy small fleet has none. Empty stores answer without an error.

mod ask;
mod load;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use millrace::dashboards::Edition;
use millrace_mysql::Flavour;
use millrace_test_servers::{Options, Port, Server, Store, free_port};
use serde_json::Value;

use super::rules::{Board, query};
use super::{EDITIONS, boards};
use crate::real::site::{CLUSTER, Role, Site};

use ask::Asked;

/// 4 min for what takes 90 s: rates want samples over 40 s, settings come once a minute, and machines are busy.
const PATIENCE: Duration = Duration::from_mins(4);
/// 3 s between looks: they are some 300 queries.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// 5 s between scrapes.
const SCRAPE_EVERY: Duration = Duration::from_secs(5);

/// Queries without a number, by a part of them, and why: all of these count what should not happen, or what this fleet has not.
const NOTHING: [(&str, &str); 10] = [
    ("millrace_bus_refused_records_total", "no append fails"),
    ("millrace_refused_records_total", "no signatures are asked for"),
    ("millrace_bus_unreadable_records_total", "no batch is damaged"),
    ("millrace_slow_log_suppressed_total", "no digest is over its limit"),
    ("millrace_windows_dropped_rows_total", "no row is late"),
    ("millrace_statements_folded", "there are fewer digests than the budget"),
    ("millrace_slow_folded", "there are fewer digests than the budget"),
    ("digest=\"other\"", "there are fewer digests than the budget"),
    ("\"folded\"::field", "there are fewer digests than the budget"),
    ("\"digest\" = 'other'", "there are fewer digests than the budget"),
];

/// The fleet and its stores.
struct Fleet {
    site: Site,
    maria: Server,
    victoria: Store,
    influx: Store,
    console: SocketAddr,
    _port: Port,
}

impl Fleet {
    async fn start() -> Self {
        let (victoria, influx) = (Store::start(), Store::influxdb());
        ask::make_database(&influx).await;
        let maria =
            Server::start(Flavour::MariaDb, &Options { lines: vec!["read-only=OFF".to_owned()], ..Options::default() })
                .await;
        let mut site = Site::new(Flavour::MySql);
        let port = free_port();
        let console = SocketAddr::from(([127, 0, 0, 1], port.number));
        let file = site.dir.join("millrace.toml");
        let mut config = std::fs::read_to_string(&file).expect("readable");
        let target = maria.target("m1");
        let password = target.account.password_file.as_ref();
        let password = password.map_or_else(String::new, |file| format!("password-file = \"{}\"\n", file.display()));
        let _ = write!(
            config,
            "[[agent]]\nhost = \"h4\"\nstate-dir = \"{0}/h4-agent\"\ncapture = \"lo\"\n\
             [[agent.instance]]\nid = \"m1\"\ncluster = \"watched\"\nport = {1}\nuser = \"{2}\"\n{password}\
             [[cluster]]\nid = \"watched\"\nflavour = \"mariadb\"\nprimary = \"m1\"\n\
             [console]\nlisten = \"{console}\"\n\
             [[channel]]\nname = \"people\"\nkind = \"command\"\nprogram = \"/bin/true\"\n\
             [[store]]\nname = \"victoria\"\nurl = \"{3}\"\nkind = \"influx-v2\"\norg = \"o\"\nbucket = \"b\"\n\
             [[store]]\nname = \"influx\"\nurl = \"{4}\"\nkind = \"influx-v1\"\ndatabase = \"millrace\"\n",
            site.dir.display(),
            maria.port(),
            target.account.user,
            victoria.url(),
            influx.url(),
        );
        std::fs::write(&file, config).expect("writable");
        site.start(Role::Up, None);
        site.create("auto");
        Self { site, maria, victoria, influx, console, _port: port }
    }
}

/// What is chosen.
type Choice = BTreeMap<&'static str, String>;

/// Instances, each of another kind, and a digest.
struct Chosen {
    instances: [String; 2],
    digest: String,
}

impl Chosen {
    /// What the variables of a board may be: all where it lets people choose all, else one instance after another, so that what only
    /// one of them has is found.
    fn on(&self, board: &Board) -> Vec<Choice> {
        let one = board.variables().iter().any(|variable| variable["name"] == "instance" && variable["multi"] == false);
        let all = || ".+".to_owned();
        let of = |instance: String| {
            let digest = self.digest.clone();
            BTreeMap::from([("cluster", all()), ("host", all()), ("instance", instance), ("digest", digest)])
        };
        if one { self.instances.iter().cloned().map(of).collect() } else { vec![of(all())] }
    }
}

/// Queries of boards that no choice gives a number for, as they are in the file.
async fn without_numbers(asked: &Asked<'_>, boards: &[Board], chosen: &Chosen) -> Vec<String> {
    let mut empty = Vec::new();
    for board in boards {
        let choices = chosen.on(board);
        for variable in board.variables().iter().filter(|variable| variable["type"] == "query") {
            let mut values = 0;
            for choice in &choices {
                values += asked.values(board.edition, variable, choice).await;
            }
            if values == 0 {
                empty.push(format!("{}: the variable {}", board.name, variable["name"]));
            }
        }
        for annotation in board.json["annotations"]["list"].as_array().expect("a list") {
            if asked.promql(annotation["expr"].as_str().expect("a query"), false, &choices[0]).await == 0 {
                empty.push(format!("{}: the annotation {}", board.name, annotation["name"]));
            }
        }
        for panel in board.panels() {
            for target in panel["targets"].as_array().expect("targets") {
                let mut numbers = 0;
                for choice in &choices {
                    numbers += asked.numbers(board.edition, target, choice).await;
                }
                if numbers == 0 {
                    empty.push(format!("{}: {}: {}", board.name, panel["title"], query(target)));
                }
            }
        }
    }
    empty
}

fn unexplained(empty: &[String]) -> Vec<&String> {
    empty.iter().filter(|one| !NOTHING.iter().any(|(part, _)| one.contains(part))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_panel_has_numbers_of_a_real_fleet() {
    let fleet = Fleet::start().await;
    let primary = fleet.site.settled().await;
    // A healthy fleet has no alert but the watchdog.
    let told = fleet.site.asked(&["alerts", "test", "ErrorsHigh", CLUSTER, "--for", "30m"]);
    assert!(told.contains("ErrorsHigh, warning"), "{told}");
    let loads = load::start(&fleet.site.instance(&primary).expect("it is there"), &fleet.maria).await;
    let asked = Asked { victoria: &fleet.victoria, influx: &fleet.influx };
    let until = Instant::now() + PATIENCE;
    let mut scraped = Instant::now();
    let mut missing: BTreeMap<&str, Vec<String>> =
        BTreeMap::from([("prometheus", Vec::new()), ("influxql", Vec::new())]);
    loop {
        if scraped.elapsed() >= SCRAPE_EVERY {
            scraped = Instant::now();
            asked.scrape(fleet.console).await;
        }
        if let Some(digest) = asked.digest().await {
            let chosen = Chosen { instances: [primary.instance.to_string(), "m1".to_owned()], digest };
            for edition in EDITIONS {
                missing.insert(edition.name(), without_numbers(&asked, &boards(edition), &chosen).await);
            }
            if missing.values().all(|empty| unexplained(empty).is_empty()) {
                break;
            }
        }
        let all: Vec<&String> = missing.values().flat_map(|empty| unexplained(empty)).collect();
        assert!(
            Instant::now() < until,
            "{} queries without a number in {CLUSTER} and watched: {all:#?}\n{}",
            all.len(),
            fleet.site.log()
        );
        tokio::time::sleep(LOOK_EVERY).await;
    }
    counted_once(&asked).await;
    for edition in EDITIONS {
        let queries: usize =
            boards(edition).iter().flat_map(|board| board.panels().map(count).collect::<Vec<_>>()).sum();
        println!(
            "{}: {queries} queries, {} without a number, each for a reason",
            edition.name(),
            missing[edition.name()].len()
        );
    }
    for (part, why) in NOTHING {
        assert!(EDITIONS.into_iter().flat_map(boards).any(|board| asks(&board, part)), "nobody asks {part} ({why})");
    }
    loads.end().await;
    fleet.site.remove().await;
}

/// What is both scraped and stored is one: three instances of the cluster and the one that is watched.
async fn counted_once(asked: &Asked<'_>) {
    let boards = boards(Edition::Prometheus);
    let fleet = boards.iter().find(|board| board.name == "millrace-fleet").expect("it is there");
    let all = Choice::from([("cluster", ".+".to_owned())]);
    for (title, expected) in [("Instances", 4.0), ("Up", 4.0), ("Primaries", 2.0)] {
        let panel = fleet.panels().find(|panel| panel["title"] == title).expect("it is there");
        let number = asked.number(query(&panel["targets"][0]), &all).await;
        assert_eq!(number, Some(expected), "{title}");
    }
}

fn count(panel: &Value) -> usize {
    panel["targets"].as_array().map_or(0, Vec::len)
}

fn asks(board: &Board, part: &str) -> bool {
    board
        .panels()
        .flat_map(|panel| panel["targets"].as_array().expect("targets"))
        .any(|target| query(target).contains(part))
}

#[tokio::test]
async fn empty_stores_answer_without_an_error() {
    let (victoria, influx) = (Store::start(), Store::influxdb());
    ask::make_database(&influx).await;
    let asked = Asked { victoria: &victoria, influx: &influx };
    let chosen = Chosen { instances: ["db1".to_owned(), "m1".to_owned()], digest: "00".to_owned() };
    for edition in EDITIONS {
        let all = boards(edition);
        let empty = without_numbers(&asked, &all, &chosen).await;
        let queries: usize = all.iter().flat_map(|board| board.panels().map(count).collect::<Vec<_>>()).sum();
        let parts = all.iter().map(|board| board.variables().len() - 1).sum::<usize>()
            + all
                .iter()
                .map(|board| board.json["annotations"]["list"].as_array().expect("a list").len())
                .sum::<usize>();
        assert_eq!(empty.len(), queries + parts, "an empty store has numbers");
    }
    let choice = &Choice::new();
    let refused =
        tokio::time::timeout(PATIENCE, asked.refuses("sum by (x) (mysql_up", "SELECT last( FROM \"mysql\"", choice))
            .await;
    assert_eq!(refused.expect("they answer"), [true, true], "what is no query is an error");
}
