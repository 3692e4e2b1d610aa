//! The demo's store of time series: a VictoriaMetrics of its own, which the sink fills. In: the script that runs one. Out: its address,
//! and what it says of an instance. It ends with the demo, and its folder goes with the demo's.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use millrace_schemas::ids::{ClusterId, InstanceId};
use millrace_schemas::metrics::{LOAD_QUERIES, SERIES_PER_INSTANCE};
use millrace_sinks::store::Api;

use crate::config;

/// The port that people know it by, where it is free.
const PORT: u16 = 8_428;
/// 2 minutes to answer: it may have to be fetched first.
const STARTS_WITHIN: Duration = Duration::from_mins(2);
/// 40 s for a number to be there: a window closes 12 s after it began, and the store shows it a second or two later.
const SHOWS_WITHIN: Duration = Duration::from_secs(40);
/// 2 s for an answer to a question that needs no thought.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);
/// 100 ms between looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A window has ten seconds.
const WINDOW_SECONDS: f64 = 10.0;

/// A running store.
#[derive(Debug)]
pub(super) struct Store {
    process: Child,
    port: u16,
    /// Debian's build leaves its page of graphs out; others have it.
    has_graphs: bool,
}

impl Store {
    /// Starts one with its data in `dir`.
    pub(super) fn start(script: &Path, dir: &Path) -> anyhow::Result<Self> {
        let free = TcpListener::bind(("127.0.0.1", PORT)).or_else(|_| TcpListener::bind("127.0.0.1:0"))?;
        let port = free.local_addr()?.port();
        drop(free);
        let log = dir.join("store.log");
        let process = Command::new(script)
            .arg("start")
            .arg(dir.join("store"))
            .arg(port.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log)?)
            .spawn()
            .with_context(|| format!("{} cannot be started", script.display()))?;
        let mut store = Self { process, port, has_graphs: false };
        let until = Instant::now() + STARTS_WITHIN;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = store.process.try_wait()?;
            if ended.is_some() || Instant::now() > until {
                bail!("the store does not run: {}", std::fs::read_to_string(&log).unwrap_or_default().trim());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        store.has_graphs = answers(port, "/vmui/").unwrap_or(false);
        Ok(store)
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Where its numbers can be looked at.
    pub(super) fn page(&self) -> String {
        if self.has_graphs {
            format!("its graphs: {}/vmui", self.url())
        } else {
            format!("ask it: {}/api/v1/query?query={}", self.url(), LOAD_QUERIES.name)
        }
    }

    /// How a sink writes to it.
    pub(super) fn settings(&self) -> config::Store {
        let api = Api::V2 { org: "millrace".to_owned(), bucket: "millrace".to_owned() };
        config::Store { name: "demo".to_owned(), url: self.url(), api, token_file: None, series: SERIES_PER_INSTANCE }
    }

    /// The same as a section of a configuration.
    pub(super) fn section(&self) -> String {
        format!("[[store]]\nname = \"demo\"\nurl = \"{}\"\nkind = \"influx-v2\"\nbucket = \"millrace\"\n", self.url())
    }

    /// The most statements a second of an instance that it can tell, once it can.
    pub(super) async fn queries_per_second(&self, cluster: &ClusterId, instance: &InstanceId) -> anyhow::Result<f64> {
        let series = format!("{}{{cluster=\"{cluster}\",instance=\"{instance}\"}}", LOAD_QUERIES.name);
        let query = format!("max_over_time({series}[10m]) / {WINDOW_SECONDS}");
        let url = reqwest::Url::parse_with_params(&format!("{}/api/v1/query", self.url()), [("query", &query)])?;
        let client = reqwest::Client::builder().no_proxy().build()?;
        let until = Instant::now() + SHOWS_WITHIN;
        loop {
            let answer = client.get(url.clone()).send().await?.error_for_status()?;
            let answer: serde_json::Value = serde_json::from_str(&answer.text().await?)?;
            let value = answer["data"]["result"][0]["value"][1].as_str().and_then(|value| value.parse().ok());
            match value {
                Some(value) => return Ok(value),
                None if Instant::now() > until => return Ok(0.0),
                None => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }
}

/// Whether there is something at `path` of the server on this port.
fn answers(port: u16, path: &str) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(ANSWERS_WITHIN))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line.split(' ').nth(1) == Some("200"))
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
