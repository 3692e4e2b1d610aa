//! Samples of real servers: their numbers come every 10 s under the names that dashboards know, with those of the host, and no
//! heartbeat is late for them.

use std::time::{Duration, Instant};

use millrace_mysql::{Flavour, Session};
use millrace_schemas::event::Event;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::samples::{Sample, Taken};
use millrace_test_servers::{Options, Server};

use super::beside::Beside;
use super::site::PATIENCE;

/// Two samples show the distance between them.
const SAMPLES: usize = 2;
/// 2 s: heartbeats come every second, and one that is late by another was held up.
const BEATS_APART: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_numbers_of_real_servers_are_told_every_ten_seconds() {
    for flavour in [Flavour::MariaDb, Flavour::MySql] {
        let server = Server::start(flavour, &Options::default()).await;
        server
            .run(&[
                "SET GLOBAL read_only = OFF",
                "CREATE DATABASE full",
                "CREATE TABLE full.counts (id TINYINT AUTO_INCREMENT PRIMARY KEY)",
                "INSERT INTO full.counts VALUES (100)",
                "CREATE TABLE full.filled (id SMALLINT UNSIGNED PRIMARY KEY, other INT)",
                "INSERT INTO full.filled VALUES (13107, 1)",
                "CREATE TABLE full.of_two (id SMALLINT, other SMALLINT, PRIMARY KEY (id, other))",
                "INSERT INTO full.of_two VALUES (30000, 1)",
                "CREATE TABLE full.empty (id INT PRIMARY KEY)",
            ])
            .await;
        let idle = Session::open(&server.target("idle")).await.expect("it answers");
        let mut asleep = Session::open(&server.target("asleep")).await.expect("it answers");
        let asleep = tokio::spawn(async move { asleep.rows_within("SELECT SLEEP(300)", PATIENCE).await });
        let beside = Beside::start(&server, "", "");
        let samples = samples(&beside).await;
        keys_are_known(&beside, flavour).await;
        let apart = samples[1].taken.since(samples[0].taken);
        assert!((8..=12).contains(&apart.as_secs()), "{flavour}: {apart:?} between two samples");
        let values = &samples[0].values;
        let (known, unknown) = samples[0].known();
        assert_eq!((known.len(), unknown, samples[0].left_out), (values.len(), 0, 0), "{flavour}: {values:?}");
        assert!((250..800).contains(&values.len()), "{flavour}: {} numbers", values.len());
        let get = |series: &str| *values.get(series).unwrap_or_else(|| panic!("{flavour}: no {series} in {values:?}"));
        let mut session = Session::open(&server.target("db1")).await.expect("it answers");
        for variable in ["max_connections", "innodb_buffer_pool_size", "server_id", "log_bin"] {
            let own = session.value(&format!("SELECT @@GLOBAL.{variable}")).await.expect("readable").expect("a value");
            let own: f64 = own.parse().expect("a number");
            let told = get(&format!("mysql_global_variables_{variable}"));
            assert!((told - own).abs() < f64::EPSILON, "{flavour} {variable}: {told}, and the server says {own}");
        }
        assert!(get("mysql_global_status_threads_running") >= 1.0);
        assert!(get("mysql_info_schema_threads{state=\"user_sleep\"}") >= 1.0);
        assert!(get("mysql_info_schema_threads{state=\"idle\"}") >= 1.0);
        assert!(get("mysql_global_status_uptime") <= 3_600.0);
        assert!(get("mysql_global_status_commands_total{command=\"show_status\"}") >= 1.0);
        assert!(get("mysql_global_status_handlers_total{handler=\"commit\"}") >= 0.0);
        assert!(get("mysql_global_status_buffer_pool_pages{state=\"free\"}") > 0.0);
        assert!(get("millrace_host_cores") >= 1.0);
        assert!((0.0..3_600.0).contains(&get("millrace_innodb_oldest_transaction_seconds")));
        assert!(get("millrace_innodb_deadlocks_total") >= 0.0);
        assert!(get("millrace_host_datadir_free_bytes") > 0.0);
        beats_in_time(&beside, flavour);
        asleep.abort();
        idle.close().await;
    }
}

/// How full keys are is looked at beside the first sample, and told with the next.
async fn keys_are_known(beside: &Beside, flavour: Flavour) {
    let until = Instant::now() + PATIENCE;
    let of = |table: &str| format!("millrace_key_used_ratio{{schema=\"full\",table=\"{table}\",column=\"id\"}}");
    loop {
        let all = samples(beside).await;
        let told = |table: &str| all.iter().rev().find_map(|sample| sample.values.get(&of(table)).copied());
        if let (Some(counts), Some(filled)) = (told("counts"), told("filled")) {
            assert!((counts - 100.0 / 127.0).abs() < 1e-9, "{flavour}: {counts}");
            assert!((filled - 0.2).abs() < 1e-9, "{flavour}: {filled}");
            assert_eq!((told("of_two"), told("empty")), (None, None), "{flavour}: nothing is known of these");
            return;
        }
        assert!(Instant::now() < until, "{flavour}: no keys were told\n{}", beside.log());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn samples(beside: &Beside) -> Vec<Sample> {
    let until = Instant::now() + PATIENCE;
    loop {
        let told = beside.told(Topic::Samples);
        let read = |record| Event::<Taken>::from_record(record).expect("readable");
        let samples = told.iter().map(read).map(|event| match event.payload {
            Taken::Sample(sample) => sample,
        });
        // The first may have been taken before the server answered.
        let samples: Vec<Sample> =
            samples.filter(|sample| sample.values.contains_key("mysql_global_status_uptime")).collect();
        if samples.len() >= SAMPLES {
            return samples;
        }
        assert!(Instant::now() < until, "only {} samples came\n{}", samples.len(), beside.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn beats_in_time(beside: &Beside, flavour: Flavour) {
    let journal = beside.told(Topic::Journal);
    let beat = |value: &[u8]| String::from_utf8_lossy(value).contains("millrace.heartbeat.v1");
    let beats: Vec<_> = journal.iter().filter(|record| record.value.as_deref().is_some_and(beat)).collect();
    assert!(beats.len() >= 10, "{flavour}: {} heartbeats", beats.len());
    for pair in beats.windows(2) {
        let apart = pair[1].appended.since(pair[0].appended);
        assert!(apart < BEATS_APART, "{flavour}: {apart:?} between heartbeats");
    }
}
