//! Who the demo tells of its alerts: an Alertmanager of its own over a channel; and over Kafka the consumer that the README shows, in
//! Python. In: the scripts that run them. Out: what they heard of the failover. They end with the demo.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::beside::{Beside, LOOK_EVERY};
use crate::config::Kafka;

/// The port that people know an Alertmanager by.
const PORT: u16 = 9_093;
/// What both must have heard of.
const FAILOVER: &str = "FailoverDone";
/// 10 s for an answer of the Alertmanager.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
/// 10 s until both have heard of it: a channel takes milliseconds, a group of consumers some seconds to be formed.
const HEARS_WITHIN: Duration = Duration::from_secs(10);

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The script that runs an Alertmanager.
    pub script: PathBuf,
    /// A Python with a client of Kafka, and the consumer; only over Kafka.
    pub consumer: Option<(PathBuf, PathBuf)>,
}

/// Lines that were heard, each once.
type Heard = Arc<Mutex<Vec<String>>>;

/// They listen.
#[derive(Debug)]
pub(super) struct Listeners {
    manager: Beside,
    watch: JoinHandle<()>,
    /// The alerts that the Alertmanager showed, by their names.
    shown: Heard,
    consumer: Option<Consumer>,
}

/// The consumer in Python.
#[derive(Debug)]
struct Consumer {
    process: Child,
    said: Heard,
}

impl Listeners {
    /// Starts an Alertmanager.
    pub(super) fn start(wanted: &Wanted, dir: &Path) -> anyhow::Result<Self> {
        let manager = Beside::start(&wanted.script, "alertmanager", dir, PORT)?;
        let shown = Heard::default();
        let watch = tokio::spawn(watch(manager.url(), Arc::clone(&shown)));
        Ok(Self { manager, watch, shown, consumer: None })
    }

    /// Starts the consumer, once the topics are there.
    pub(super) fn consume(&mut self, wanted: &Wanted, kafka: &Kafka) -> anyhow::Result<()> {
        if let Some((python, program)) = &wanted.consumer {
            self.consumer = Some(Consumer::start(python, program, kafka)?);
        }
        Ok(())
    }

    /// The channel to the Alertmanager, as a section of a configuration.
    pub(super) fn section(&self) -> String {
        format!("[[channel]]\nname = \"demo\"\nkind = \"alertmanager\"\nurl = \"{}\"\n", self.manager.url())
    }

    /// Where its alerts can be looked at.
    pub(super) fn page(&self) -> String {
        format!("{}/api/v2/alerts", self.manager.url())
    }

    /// What each of them heard, and whether the failover was among it.
    pub(super) async fn check(&mut self) -> Vec<(bool, String)> {
        let until = Instant::now() + HEARS_WITHIN;
        let heard = |heard: &Heard| heard.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let knows = |heard: &[String]| heard.iter().any(|line| line.contains(FAILOVER));
        loop {
            let shown = heard(&self.shown);
            let said = self.consumer.as_ref().map(|consumer| heard(&consumer.said));
            let all = knows(&shown) && said.as_deref().is_none_or(knows);
            if all || Instant::now() > until {
                let mut held = vec![(knows(&shown), format!("an Alertmanager was told: {}", listed(&shown)))];
                held.extend(said.map(|said| {
                    let line = said.iter().find(|line| line.contains(FAILOVER)).cloned();
                    (line.is_some(), format!("a consumer in Python read: {}", line.unwrap_or_else(|| listed(&said))))
                }));
                return held;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

impl Consumer {
    fn start(python: &Path, program: &Path, kafka: &Kafka) -> anyhow::Result<Self> {
        let mut process = Command::new(python)
            .arg(program)
            .arg(&kafka.servers)
            .arg(format!("prefix={}", kafka.prefix))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} cannot be started", python.display()))?;
        let output = process.stdout.take().context("its output is a pipe")?;
        let said = Heard::default();
        let lines = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        Ok(Self { process, said })
    }
}

/// Asks the Alertmanager what fires, again and again: it forgets what is over.
async fn watch(url: String, shown: Heard) {
    let Ok(client) = reqwest::Client::builder().no_proxy().timeout(ANSWERS_WITHIN).build() else { return };
    let url = format!("{url}/api/v2/alerts");
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Ok(answer) = client.get(&url).send().await else { continue };
        let Ok(text) = answer.text().await else { continue };
        let alerts: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap_or_default();
        let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
        for name in alerts.iter().filter_map(|alert| alert["labels"]["alertname"].as_str()) {
            if !shown.iter().any(|known| known == name) {
                shown.push(name.to_owned());
            }
        }
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
