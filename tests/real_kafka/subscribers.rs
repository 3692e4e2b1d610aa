//! The programs that the README gives to people who consume, run as they are: `kcat`, and `deploy/examples/subscribe.py` with the
//! grants of a subscriber. What they read are the golden samples of `routes` and `alerts`.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use millrace_test_servers::KafkaOptions;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::*;

const ROUTE: &str = include_str!("../../schemas/src/golden/routes.millrace.route.v1.json");
const ALERT: &str = include_str!("../../schemas/src/golden/alerts.millrace.alert.v1.json");

/// A broker with one route, which was delivered twice, and one alert.
async fn told() -> Kafka {
    let kafka = Kafka::start(&KafkaOptions { open: false, ..KafkaOptions::default() }).await;
    create_topics(&kafka).await;
    kafka.grant(&[list("subscriber")]);
    let producer: BaseProducer =
        client(&kafka.with_certificate("admin")).create().expect("the settings are librdkafka's");
    let alert = ALERT.replace("48c27b19d035c35536e411567f5b5da5", "48c27b19d035c35536e411567f5b5da6");
    for (topic, value) in [("routes", ROUTE), ("routes", ROUTE), ("alerts", &alert)] {
        let topic = format!("millrace.{topic}");
        // One line a record, as Millrace writes them.
        let line = serde_json::from_str::<serde_json::Value>(value).expect("a golden sample is JSON").to_string();
        producer
            .send(BaseRecord::to(&topic).key("c1").payload(&line))
            .map_err(|(error, _)| error)
            .expect("the record is queued");
        producer.flush(WAIT_MAX).expect("the broker answers");
    }
    kafka
}

/// `NAME=VALUE`, as both programs take settings.
fn pairs(settings: &Settings) -> Vec<String> {
    let others = settings.iter().filter(|(name, _)| **name != "bootstrap.servers");
    others.map(|(name, value)| format!("{name}={value}")).collect()
}

/// Ends a program that would follow for ever.
struct Following(Child);

impl Drop for Following {
    fn drop(&mut self) {
        // It fails only if it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The first lines that a program prints.
fn lines(command: &mut Command, count: usize) -> Vec<String> {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut child = Following(child);
    let output = child.0.stdout.take().expect("the output is a pipe");
    let mut lines: Vec<String> =
        BufReader::new(output).lines().take(count).map(|line| line.expect("what it prints is text")).collect();
    lines.sort();
    lines
}

/// The Python that `scripts/kafka.sh` gives the client of the example.
fn python() -> PathBuf {
    let output = Command::new(root().join("scripts/kafka.sh")).arg("python").output().expect("bash is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim_end())
}

#[tokio::test]
async fn python_follows_routes_and_alerts_as_the_readme_says() {
    let kafka = told().await;
    let mut with_password = kafka.with_password("subscriber");
    with_password.remove("sasl.password");
    let password_file = format!("password-file={}", kafka.password_file("subscriber").display());
    let mut command = Command::new(python());
    command.arg(root().join("deploy/examples/subscribe.py")).arg(kafka.bootstrap_scram());
    command.args(pairs(&with_password)).arg(password_file);
    let expected = [
        "2023-11-14T22:13:20.000000Z c1 critical PrimaryDown firing: db1, the primary of shop, exited on signal 9",
        "2023-11-14T22:13:20.000000Z c1 epoch 2: write to 127.0.0.1:33062",
    ];
    assert_eq!(lines(&mut command, 2), expected);
}

#[tokio::test]
async fn kcat_reads_the_routes_as_the_readme_says() {
    let kafka = told().await;
    let mut command = Command::new("kcat");
    command.args([
        "-b",
        kafka.bootstrap_tls(),
        "-C",
        "-t",
        "millrace.routes",
        "-o",
        "beginning",
        "-e",
        "-q",
        "-f",
        "%k %s\n",
    ]);
    for pair in pairs(&kafka.with_certificate("subscriber")) {
        command.args(["-X", &pair]);
    }
    let read = lines(&mut command, 3);
    assert_eq!(read.len(), 2, "{read:?}");
    for line in read {
        let (key, value) = line.split_once(' ').unwrap();
        assert_eq!(key, "c1");
        let sample: serde_json::Value = serde_json::from_str(ROUTE).unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(value).unwrap(), sample);
    }
}
