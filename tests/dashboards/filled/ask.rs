//! Asking stores as Grafana does: variables of a query are replaced, and what comes back is counted. An error of the store is one of
//! the test.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use millrace::dashboards::Edition;
use millrace_test_servers::Store;
use serde_json::Value;

use super::query;

/// 5 min are shown.
const RANGE_SECONDS: u64 = 300;
/// 30 s a step, as the panels say.
const STEP_SECONDS: u64 = 30;

/// The stores.
pub(super) struct Asked<'a> {
    pub(super) victoria: &'a Store,
    pub(super) influx: &'a Store,
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs()
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().expect("a client")
}

/// A request, with what its answer's status and text are.
async fn get(url: &str, arguments: &[(&str, &str)]) -> (u16, String) {
    let url = reqwest::Url::parse_with_params(url, arguments).expect("a URL");
    let answer = client().get(url).send().await.expect("the store answers");
    (answer.status().as_u16(), answer.text().await.expect("text"))
}

/// Makes the database that the sink writes to.
pub(super) async fn make_database(influx: &Store) {
    let url = format!("{}/query", influx.url());
    let url = reqwest::Url::parse_with_params(&url, [("q", "CREATE DATABASE millrace")]).expect("a URL");
    let answer = client().post(url).send().await.expect("the store answers");
    assert!(answer.status().is_success());
}

/// A query as Grafana sends it. Longer names first: each begins another.
fn expanded(text: &str, choice: &BTreeMap<&'static str, String>) -> String {
    let (to, from) = (now() * 1_000, (now() - RANGE_SECONDS) * 1_000);
    let mut text = text
        .replace("$timeFilter", &format!("time >= {from}ms and time <= {to}ms"))
        .replace("$__rate_interval", "40s")
        .replace("$__interval_ms", &(STEP_SECONDS * 1_000).to_string())
        .replace("$__interval", &format!("{STEP_SECONDS}s"))
        .replace("$__range_s", &RANGE_SECONDS.to_string())
        .replace("$__range", &format!("{RANGE_SECONDS}s"))
        .replace("$__from", &from.to_string())
        .replace("$__to", &to.to_string());
    for (name, value) in choice {
        text = text.replace(&format!("${name}"), value);
    }
    assert!(!text.contains('$') || text.contains("$/"), "a variable is left in {text}");
    text
}

/// Numbers in the answer of a store that speaks PromQL.
fn of_promql(answer: &Value) -> usize {
    let series = answer["data"]["result"].as_array().expect("series");
    let pairs = series.iter().flat_map(|one| match &one["value"] {
        Value::Null => one["values"].as_array().expect("values").clone(),
        pair => vec![pair.clone()],
    });
    pairs.filter(|pair| pair[1].as_str().and_then(|text| text.parse::<f64>().ok()).is_some_and(f64::is_finite)).count()
}

/// Numbers in the answer of a store that speaks InfluxQL, beside the times.
fn of_influxql(answer: &Value) -> usize {
    let series = answer["results"][0]["series"].as_array().cloned().unwrap_or_default();
    let rows = series.iter().flat_map(|one| one["values"].as_array().cloned().unwrap_or_default());
    rows.map(|row| row.as_array().expect("a row").iter().skip(1).filter(|value| value.is_number()).count()).sum()
}

impl Asked<'_> {
    /// How many numbers a target of a panel has.
    pub(super) async fn numbers(
        &self,
        edition: Edition,
        target: &Value,
        choice: &BTreeMap<&'static str, String>,
    ) -> usize {
        match edition {
            Edition::Prometheus => self.promql(query(target), target["instant"] == true, choice).await,
            Edition::Influxql => of_influxql(&self.influxql(query(target), choice).await),
        }
    }

    /// How many values a variable has.
    pub(super) async fn values(
        &self,
        edition: Edition,
        variable: &Value,
        choice: &BTreeMap<&'static str, String>,
    ) -> usize {
        let text = variable["query"].as_str().expect("a query");
        if edition == Edition::Influxql {
            let answer = self.influxql(text, choice).await;
            return answer["results"][0]["series"][0]["values"].as_array().map_or(0, Vec::len);
        }
        let inside = text.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')).expect("label_values");
        let (selector, label) = inside.rsplit_once(", ").expect("a label");
        let url = format!("{}/api/v1/label/{label}/values", self.victoria.url());
        let (status, answer) = get(&url, &[("match[]", &expanded(selector, choice))]).await;
        assert_eq!(status, 200, "{text}: {answer}");
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        answer["data"].as_array().expect("values").len()
    }

    /// How many numbers a query has, now or over time.
    pub(super) async fn promql(&self, text: &str, instant: bool, choice: &BTreeMap<&'static str, String>) -> usize {
        let (status, answer) = self.ask_victoria(text, instant, choice).await;
        assert_eq!(status, 200, "{text}: {answer}");
        of_promql(&serde_json::from_str(&answer).expect("JSON"))
    }

    async fn ask_victoria(&self, text: &str, instant: bool, choice: &BTreeMap<&'static str, String>) -> (u16, String) {
        let text = expanded(text, choice);
        let (start, end, step) = ((now() - RANGE_SECONDS).to_string(), now().to_string(), STEP_SECONDS.to_string());
        let url = self.victoria.url();
        if instant {
            return get(&format!("{url}/api/v1/query"), &[("query", &text), ("time", &end)]).await;
        }
        let arguments = [("query", text.as_str()), ("start", &start), ("end", &end), ("step", &step)];
        get(&format!("{url}/api/v1/query_range"), &arguments).await
    }

    async fn ask_influx(&self, text: &str, choice: &BTreeMap<&'static str, String>) -> (u16, Value) {
        let arguments = [("db", "millrace"), ("epoch", "ms"), ("q", &expanded(text, choice))];
        let (status, answer) = get(&format!("{}/query", self.influx.url()), &arguments).await;
        (status, serde_json::from_str(&answer).expect("JSON"))
    }

    async fn influxql(&self, text: &str, choice: &BTreeMap<&'static str, String>) -> Value {
        let (status, answer) = self.ask_influx(text, choice).await;
        assert!(status == 200 && answer["results"][0]["error"].is_null(), "{text}: {answer}");
        answer
    }

    /// Whether the stores refuse what is no query.
    pub(super) async fn refuses(
        &self,
        promql: &str,
        influxql: &str,
        choice: &BTreeMap<&'static str, String>,
    ) -> [bool; 2] {
        let victoria = self.ask_victoria(promql, true, choice).await.0;
        [victoria != 200, self.ask_influx(influxql, choice).await.0 != 200]
    }

    /// The one number that a query has now.
    pub(super) async fn number(&self, text: &str, choice: &BTreeMap<&'static str, String>) -> Option<f64> {
        let (status, answer) = self.ask_victoria(text, true, choice).await;
        assert_eq!(status, 200, "{text}: {answer}");
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        let series = answer["data"]["result"].as_array().expect("series");
        assert!(series.len() <= 1, "{text}: {} numbers", series.len());
        series.first().and_then(|one| one["value"][1].as_str()).and_then(|number| number.parse().ok())
    }

    /// The digest with most response time so far.
    pub(super) async fn digest(&self) -> Option<String> {
        let text = "topk(1, sum by (digest) (sum_over_time(millrace_statements_seconds[5m])))";
        let (_, answer) = self.ask_victoria(text, true, &BTreeMap::new()).await;
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        answer["data"]["result"][0]["metric"]["digest"].as_str().map(str::to_owned)
    }

    /// Takes the page of numbers of a process into the store, as a scrape with `honor_labels` does: what the sink writes too is there
    /// twice then, with and without the label of the scrape.
    pub(super) async fn scrape(&self, console: SocketAddr) {
        let (status, page) = get(&format!("http://{console}/metrics"), &[]).await;
        assert_eq!(status, 200, "{page}");
        let url = format!("{}/api/v1/import/prometheus?extra_label=job=millrace", self.victoria.url());
        let taken = client().post(url).body(page).send().await.expect("the store answers");
        assert!(taken.status().is_success());
    }
}
