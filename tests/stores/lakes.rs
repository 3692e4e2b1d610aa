//! Files for other programs, as another program reads them: the real window processor fills a lake, `DuckDB` counts its rows.

use millrace::roles::lake::ROWS_MAX;
use millrace_schemas::topics::slow_queries::{Slow, SlowQuery};
use millrace_sinks::lake::place::Location;
use millrace_test_servers::duckdb;

use super::*;

/// How long rows gather in tests: several files come about within a test.
pub(super) const ROLL_AFTER: Duration = Duration::from_secs(4);

pub(super) fn lake(folder: &Path) -> config::Lake {
    let location = Location::Folder(folder.join("lake"));
    config::Lake { name: "lake".to_owned(), location, roll_after: ROLL_AFTER }
}

/// What the lake says of windows of 10 s, each row of it: one that is there twice fails.
pub(super) fn in_the_lake(folder: &Path) -> Counted {
    let lake = folder.join("lake/windows");
    if !lake.exists() {
        return Counted::new();
    }
    let rows = duckdb(&format!(
        "SELECT digest, epoch_ms(start) + 10000 AS at, queries, cluster, day::VARCHAR AS day, strftime(start AT TIME ZONE 'UTC', '%Y-%m-%d') AS of \
         FROM read_parquet('{}/*/*/*.parquet', hive_partitioning = true) WHERE width_seconds = 10",
        lake.display()
    ));
    let mut counted = Counted::new();
    for line in rows.lines() {
        let row: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert_eq!((&row["cluster"], &row["day"]), (&"c1".into(), &row["of"]), "it is where it belongs");
        let digest = row["digest"].as_str().expect("text").to_owned();
        let key = (digest, row["at"].as_i64().expect("milliseconds"));
        let before = counted.insert(key.clone(), row["queries"].as_f64().expect("a number"));
        assert_eq!(before, None, "{key:?} is there twice");
    }
    counted
}

/// Waits until the lake has all of `expected`, and nothing else.
pub(super) async fn lake_has(folder: &Path, expected: &Counted) {
    let until = Instant::now() + PATIENCE;
    while in_the_lake(folder) != *expected {
        let there = in_the_lake(folder);
        let missing: Vec<_> = expected.iter().filter(|(key, count)| there.get(key) != Some(count)).collect();
        let more: Vec<_> = there.keys().filter(|key| !expected.contains_key(key)).collect();
        assert!(Instant::now() < until, "{missing:?} missing or otherwise, {more:?} too many");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Waits until all that a server counted is in closed windows of the bus, and says what those have.
pub(super) async fn closed(bus: &SharedBus, counted: f64) -> Counted {
    let until = Instant::now() + PATIENCE;
    let mut expected = on_the_bus(bus);
    while total(&expected) < counted {
        assert!(Instant::now() < until, "only {} of {counted} statements are in closed windows", total(&expected));
        tokio::time::sleep(Duration::from_millis(200)).await;
        expected = on_the_bus(bus);
    }
    expected
}

/// Closed rows of a minute on the bus.
fn wider(bus: &SharedBus) -> usize {
    let decode = |record: Record| windows::decode(record.value.as_deref().expect("rows")).expect("decodes");
    let all = told(bus, Topic::Windows).into_iter().flat_map(decode);
    all.filter(|window| window.closed && window.width_seconds == 60).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_duckdb_counts_in_the_lake_is_what_the_windows_are() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut settings = settings(folder.path(), Vec::new());
    settings.lakes = vec![lake(folder.path())];
    let up = Up::start(&settings, Roles { process: true, sink: true, ..Roles::NONE }).expect("it starts");
    let Some(Slow::Query(like)) = examples::slow().into_iter().next() else { panic!("there is an example") };
    let ended = Timestamp(jiff::Timestamp::now().as_microsecond());
    let slow = |query_time_us: u64| Slow::Query(SlowQuery { ts: ended, query_time_us, ..like.clone() });
    let one = numbered(slow(2_000_000), 1);
    up.bus.append(vec![one.clone(), numbered(slow(3_000_000), 2), one]).await.expect("taken");
    let server = Server::start(Arc::clone(&up.bus));
    tokio::time::sleep(Duration::from_secs(25)).await;
    let counted = server.end();
    // A server whose clock is two minutes ahead: the windows of a minute before it close too.
    let ahead = jiff::Timestamp::now().as_second() + 120;
    up.bus.append(vec![record(&rows(ahead, 0), 1_000)]).await.expect("taken");
    let expected = closed(&up.bus, counted).await;
    lake_has(folder.path(), &expected).await;
    assert_eq!(total(&expected) as u64, counted as u64, "and that is what the server did");

    let files = |table: &str| format!("'{}/lake/{table}/*/*/*.parquet'", folder.path().display());
    let minutes = wider(&up.bus);
    let asked = format!("SELECT count(*)::VARCHAR AS n FROM {} WHERE width_seconds = 60", files("windows"));
    let until = Instant::now() + PATIENCE;
    while !duckdb(&asked).contains(&format!("\"{minutes}\"")) {
        assert!(Instant::now() < until, "not {minutes} rows of a minute: {}", duckdb(&asked));
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert!(minutes > 0, "longer windows are there too");
    let slow =
        duckdb(&format!("SELECT query_us, instance, \"user\", sql FROM {} ORDER BY query_us", files("slow-queries")));
    let lines: Vec<&str> = slow.lines().collect();
    assert_eq!(lines.len(), 2, "what came twice is there once: {slow}");
    assert!(lines[0].contains("\"query_us\": 2000000") && lines[0].contains("WHERE id = ?"), "{slow}");
    // The sketch is there for who wants other quantiles, and says what the columns say.
    let times = duckdb(&format!(
        "SELECT p50_us, p95_us, p99_us, min_us, max_us, hex(sketch) AS sketch FROM {} WHERE digest = 'total' LIMIT 1",
        files("windows")
    ));
    let times: serde_json::Value = serde_json::from_str(&times).expect("a row");
    let hex = times["sketch"].as_str().expect("text").to_owned();
    let bytes: Vec<u8> =
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal")).collect();
    let sketch = millrace_schemas::sketch::Sketch::from_bytes(&bytes).expect("a sketch");
    for (column, q) in [("p50_us", 0.5), ("p95_us", 0.95), ("p99_us", 0.99)] {
        assert_eq!(times[column].as_u64(), sketch.quantile(q), "{column}");
    }
    up.stop().await;
}

/// Rows of a record of windows: as many as a busy instance has digests in 10 s.
const ROWS: u16 = 400;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_rows_become_files_before_their_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut settings = settings(folder.path(), Vec::new());
    settings.lakes = vec![config::Lake { roll_after: Duration::from_hours(1), ..lake(folder.path()) }];
    let up = Up::start(&settings, Roles { sink: true, ..Roles::NONE }).expect("it starts");
    let like = examples::rows().remove(0);
    let begins = jiff::Timestamp::now().as_second() / 86_400 * 86_400;
    let records = ROWS_MAX / usize::from(ROWS) + 2;
    for at in 0..records {
        let window = |digest: u16| {
            let mut id = [9; 16];
            id[..2].copy_from_slice(&digest.to_be_bytes());
            let row = Row { second: begins + 10 * at as i64, digest: DigestId(id), ..like.clone() };
            windows::Window { width_seconds: 10, revision: 1, closed: true, row }
        };
        let rows: Vec<_> = (0..ROWS).map(window).collect();
        let record = examples::windowed(cluster().as_str(), at as u64, &rows);
        up.bus.append(vec![record]).await.expect("taken");
    }
    let until = Instant::now() + PATIENCE;
    let count = || {
        let files = format!("'{}/lake/windows/*/*/*.parquet'", folder.path().display());
        if !folder.path().join("lake/windows").exists() {
            return 0;
        }
        let answer = duckdb(&format!("SELECT count(*) AS n FROM {files}"));
        let row: serde_json::Value = serde_json::from_str(&answer).expect("a row");
        row["n"].as_u64().expect("a number") as usize
    };
    while count() == 0 {
        assert!(Instant::now() < until, "no file before its time");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let there = count();
    assert!(
        there >= ROWS_MAX && there <= records * usize::from(ROWS),
        "{there} rows of {}",
        records * usize::from(ROWS)
    );
    up.stop().await;
}
