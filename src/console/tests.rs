//! The console over HTTP on loopback, fed by a memory bus that tells the story of a failover.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use millrace_processors::Folds;
use millrace_test_servers::settled;
use reqwest::{Client, StatusCode};
use serde_json::Value;

use super::*;
use crate::journal::story::Story;

struct Served {
    base: String,
    client: Client,
    stop: watch::Sender<bool>,
    running: tokio::task::JoinHandle<anyhow::Result<()>>,
    action: String,
}

async fn served() -> Served {
    // The story appends to the bus and waits, which async threads may not.
    let (bus, action) = tokio::task::spawn_blocking(|| {
        let story = Story::failover();
        (story.shared(), story.actions[0].id.to_string())
    })
    .await
    .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = watch::channel(false);
    let registry = Arc::new(Registry::new());
    registry.add(&millrace_schemas::metrics::BUS_APPENDED, &["journal"], 3);
    let running = tokio::spawn({
        let shown = Shown::follow(&bus, stopped.clone());
        serve(bus, shown, listener, registry, stopped)
    });
    let client = Client::builder().no_proxy().build().unwrap();
    let served = Served { base, client, stop, running, action };
    served.wait_until_read().await;
    served
}

impl Served {
    async fn get(&self, path: &str) -> (StatusCode, String) {
        let answer = self.client.get(format!("{}{path}", self.base)).send().await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    }

    async fn page(&self, path: &str) -> String {
        let (status, text) = self.get(path).await;
        assert_eq!(status, StatusCode::OK, "{path}: {text}");
        text
    }

    /// Until the view has the failover. The view reads topic after topic, so a page may still wait for its own: see [`Self::shows`].
    async fn wait_until_read(&self) {
        settled("the console reads the story", async || {
            let (_, text) = self.get("/api/state").await;
            let state: Value = serde_json::from_str(&text).unwrap();
            let so = state["clusters"][0]["primary"] == "db2" && state["digests"][0]["per_second"].is_number();
            // Topics are read side by side: the last alert of the story may come later than its last route.
            if so && state["alerts"].to_string().contains("FailoverDone") { Ok(()) } else { Err(text) }
        })
        .await;
    }

    /// The page, once it shows all of `expected`.
    async fn shows(&self, path: &str, expected: &[&str]) -> String {
        settled(&format!("{path} shows {expected:?}"), async || {
            let page = self.page(path).await;
            match expected.iter().find(|text| !page.contains(**text)) {
                None => Ok(page),
                Some(text) => Err(format!("it lacks '{text}': {page}")),
            }
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_show_the_failover() {
    let served = served().await;
    let check = async |path: &str, expected: &[&str]| {
        let page = served.shows(path, expected).await;
        assert!(!page.contains("style=\""), "{path} has inline styles, which the policy forbids");
    };
    check("/", &["shop", "FailoverDone", "docs/alerts.md#failoverdone", "href=\"/cluster/c1\""]).await;
    check(
        "/cluster/c1",
        &[
            "<svg class=\"topology\"",
            "exited on signal 9",
            "promote",
            "36.0 ms",
            "epoch 1",
            "packets; 12 % are in no packet",
        ],
    )
    .await;
    check("/digests", &["SELECT * FROM `t` WHERE `id` = ?", "(administrative command)", "<polyline"]).await;
    check("/digests?instance=db2", &["aria-current=\"true\">db2"]).await;
    check("/digests?instance=db1", &["Counted from packets; 12 % are in no packet."]).await;
    check("/digest/07070707070707070707070707070707", &["By instance", "select"]).await;
    check("/events", &["process", "action", "firing", "resolved"]).await;
    check("/events?topic=alerts", &["PrimaryDown"]).await;
    check("/metrics", &["millrace_bus_appended_records_total{topic=\"journal\"} 3"]).await;
    check("/healthz", &["ok"]).await;
    check("/live.js", &["EventSource"]).await;
    check("/console.css", &["prefers-color-scheme"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_not_found_and_nothing_is_echoed_unescaped() {
    let served = served().await;
    for path in ["/nothing", "/cluster/c2", "/cluster/%3Cscript%3E", "/digest/x", "/api/why/c9", "/api/events/%3Cb%3E"]
    {
        let (status, text) = served.get(path).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        assert!(!text.contains("<script>"), "{path}: {text}");
    }
    let (status, _) = served.get("/api/events/journal?from=yesterday").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_carry_the_policy_and_foreign_names_are_refused() {
    let served = served().await;
    let answer = served.client.get(&served.base).send().await.unwrap();
    let policy = answer.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    let foreign = served.client.get(&served.base).header("host", "evil.example").send().await.unwrap();
    assert_eq!(foreign.status(), StatusCode::MISDIRECTED_REQUEST);
    let posted = served.client.post(&served.base).send().await.unwrap();
    assert_eq!(posted.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test(flavor = "multi_thread")]
async fn json_begins_with_its_version_and_explains() {
    let served = served().await;
    for path in ["/api/state".to_owned(), "/api/why/c1".to_owned(), format!("/api/why/{}", served.action)] {
        let text = served.page(&path).await;
        assert!(text.starts_with("{\"schema_version\":1,"), "{path}: {text}");
    }
    let why: Value = serde_json::from_str(&served.page(&format!("/api/why/{}", served.action)).await).unwrap();
    assert_eq!(why["action"]["kind"], "fail-over");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_gives_records_with_ids_and_ends_with_the_console() {
    let served = served().await;
    let mut answer = served.client.get(format!("{}/api/events/routes?from=start", served.base)).send().await.unwrap();
    let mut text = String::new();
    while !text.contains("\n\n") {
        text.push_str(&String::from_utf8_lossy(&answer.chunk().await.unwrap().unwrap()));
    }
    assert!(text.contains("id: 0-0") && text.contains("millrace.route.v1"), "{text}");
    let again = served.client.get(format!("{}/api/events/journal", served.base)).header("last-event-id", "0-4");
    let mut again = again.send().await.unwrap();
    let first = String::from_utf8_lossy(&again.chunk().await.unwrap().unwrap()).into_owned();
    assert!(first.contains("id: 0-5"), "{first}");
    served.stop.send(true).unwrap();
    while answer.chunk().await.is_ok_and(|chunk| chunk.is_some()) {}
    while again.chunk().await.is_ok_and(|chunk| chunk.is_some()) {}
    served.running.await.unwrap().unwrap();
}

#[test]
fn only_loopback_names_are_ours() {
    let check = |host: &str, expected| assert_eq!(is_loopback(host), expected, "{host}");
    check("127.0.0.1:7070", true);
    check("127.0.0.1", true);
    check("localhost", true);
    check("localhost:7070", true);
    check("[::1]:7070", true);
    check("[::1]", true);
    check("10.0.0.1:7070", false);
    check("localhost.evil.example", false);
    check("evil.example:7070", false);
}

/// 3 minutes: a browser starts in a second or two, but it may have to share starved cores with servers. Only a failure takes so long.
const BROWSER_WITHIN: Duration = Duration::from_mins(3);

/// The browser that `scripts/build-deps.sh --test` installs, or another of its family.
fn browser() -> PathBuf {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates = std::env::split_paths(&path).flat_map(|dir| names.map(|name| dir.join(name)));
    candidates.find(|candidate| candidate.is_file()).unwrap_or_else(|| {
        panic!("no browser to show the console's pages: none of {names:?} is in PATH; run scripts/build-deps.sh --test")
    })
}

/// Runs the browser over one page, with a profile of its own: one that still ends must not answer for the next.
async fn browse(arguments: &[&str]) -> Output {
    let profile = tempfile::tempdir().unwrap();
    let mut command = tokio::process::Command::new(browser());
    // A container's /dev/shm has 64 MiB, which is too small for a page's memory.
    command.kill_on_drop(true).args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]);
    command.arg(format!("--user-data-dir={}", profile.path().display())).args(arguments);
    let output = tokio::time::timeout(BROWSER_WITHIN, command.output()).await;
    let output = output.unwrap_or_else(|_| panic!("the browser took more than {BROWSER_WITHIN:?} for {arguments:?}"));
    output.unwrap()
}

/// The pages in a real browser. `MILLRACE_SCREENSHOTS=DIR` keeps the pictures. Without a browser the test fails.
#[tokio::test(flavor = "multi_thread")]
async fn pages_render_in_a_browser() {
    let served = served().await;
    let pictures = std::env::var_os("MILLRACE_SCREENSHOTS");
    for (page, expected) in
        [("/", "badge"), ("/cluster/c1", "topology"), ("/digests", "spark"), ("/events", "PrimaryDown")]
    {
        served.shows(page, &[expected]).await;
        let url = format!("{}{page}", served.base);
        if let Some(dir) = &pictures {
            for (name, size) in [("wide", "1280,900"), ("phone", "400,850")] {
                let file =
                    Path::new(dir).join(format!("{}-{name}.png", page.trim_start_matches('/').replace('/', "-")));
                let (file, size) = (format!("--screenshot={}", file.display()), format!("--window-size={size}"));
                let output = browse(&["--hide-scrollbars", &file, &size, &url]).await;
                assert!(output.status.success(), "{output:?}");
            }
        }
        let output = browse(&["--dump-dom", &url]).await;
        let dom = String::from_utf8_lossy(&output.stdout);
        assert!(dom.contains(expected), "{page} lacks '{expected}': {output:?}");
        // The script ran under the policy: without it the frame says "not live".
        assert!(!dom.contains(">not live<"), "{page}: the live script did not run: {dom}");
    }
}

#[test]
fn a_view_that_goes_on_from_snapshots_shows_what_one_that_read_everything_shows() {
    let bus = Story::failover().shared();
    let records: Vec<_> = crate::journal::appended(&bus).unwrap().map(Result::unwrap).collect();
    let mut whole = View::default();
    for record in &records {
        whole.take(record);
    }
    for next in [1, records.len() / 2, records.len()] {
        let mut folds = Folds::new(Failover);
        for record in &records[..next] {
            folds.fold(record);
        }
        let mut view = View::default();
        view.go_on_from(folds);
        // What the pages show besides is read from further back.
        for record in &records[next / 2..] {
            view.take(record);
        }
        let states = |view: &View| view.clusters().map(|(id, state)| (id.clone(), state.clone())).collect::<Vec<_>>();
        assert_eq!(states(&view), states(&whole), "from {next} of {}", records.len());
        let told = |view: &View| view.switches().filter(|one| !view.is_older(one)).count();
        assert!(next > 1 || told(&view) == told(&whole), "all of its actions are told whole");
    }
}

#[test]
fn the_watchdog_leaves_no_line_among_events() {
    let bus = Story::failover().shared();
    let mut words: Vec<_> = crate::journal::appended_to(&bus, Topic::Alerts).unwrap().map(Result::unwrap).collect();
    let mut view = View::default();
    for record in &words {
        view.take(record);
    }
    let shown = view.tail().count();
    assert!(shown > 0, "the story has alerts");
    for record in &mut words {
        let text = String::from_utf8(record.value.take().unwrap().to_vec()).unwrap();
        let watchdog = text.replace("\"PrimaryDown\"", "\"Watchdog\"").replace("\"FailoverDone\"", "\"Watchdog\"");
        record.value = Some(watchdog.into());
        view.take(record);
    }
    assert_eq!((view.tail().count(), view.dropped()), (shown, 0));
}
