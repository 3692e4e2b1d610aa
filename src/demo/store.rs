//! The demo's store of time series: a VictoriaMetrics of its own, which the sink fills. In: the script that runs one. Out: its address,
//! and what it says of an instance. It ends with the demo, and its folder goes with the demo's.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use millrace_schemas::ids::{ClusterId, InstanceId};
use millrace_schemas::metrics::LOAD_QUERIES;

use super::beside::{Beside, LOOK_EVERY};

/// The port that people know it by, where it is free.
const PORT: u16 = 8_428;
/// 40 s for a number to be there: a window closes 12 s after it began, and the store shows it a second or two later.
const SHOWS_WITHIN: Duration = Duration::from_secs(40);
/// 2 s for an answer to a question that needs no thought.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);
/// A window has ten seconds.
const WINDOW_SECONDS: f64 = 10.0;

/// A running store.
#[derive(Debug)]
pub(super) struct Store {
    program: Beside,
    /// Debian's build leaves its page of graphs out; others have it.
    has_graphs: bool,
}

impl Store {
    /// Starts one with its data in `dir`.
    pub(super) fn start(script: &Path, dir: &Path) -> anyhow::Result<Self> {
        let program = Beside::start(script, "start", dir, PORT)?;
        let has_graphs = answers(program.port(), "/vmui/").unwrap_or(false);
        Ok(Self { program, has_graphs })
    }

    fn url(&self) -> String {
        self.program.url()
    }

    /// Where its numbers can be looked at.
    pub(super) fn page(&self) -> String {
        if self.has_graphs {
            format!("its graphs: {}/vmui", self.url())
        } else {
            // An address that answers in numbers is no picture, and says so.
            format!(
                "ask it: {0}/api/v1/query?query={1}; to see it, give a Grafana {0} as a Prometheus and the boards of \
                 `millrace dashboards --out DIR --datasource prometheus`",
                self.url(),
                LOAD_QUERIES.name
            )
        }
    }

    /// How a sink writes to it, as a section of a configuration.
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
