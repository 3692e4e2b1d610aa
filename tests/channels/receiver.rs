//! A receiver of webhooks as they are out there: it takes what comes, or answers what a test wants, slowly or not at all; it can go away
//! and come back at the same address.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use millrace_schemas::time::Timestamp;
use serde_json::Value;

/// What it got.
#[derive(Clone, Debug)]
pub(super) struct Got {
    pub(super) at: Timestamp,
    pub(super) headers: HeaderMap,
    pub(super) bytes: Bytes,
    pub(super) body: Value,
    /// What it answered.
    pub(super) status: u16,
}

impl Got {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .unwrap_or_else(|| panic!("{name} is not there: {:?}", self.headers))
            .to_str()
            .expect("text")
    }

    /// Rule and state of each alert.
    pub(super) fn alerts(&self) -> Vec<(String, String)> {
        let alerts = self.body["alerts"].as_array().expect("a list");
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        alerts.iter().map(|alert| (text(&alert["labels"]["alertname"]), text(&alert["status"]))).collect()
    }
}

/// What it answers.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) retry_after: Option<u64>,
    pub(super) delay: Duration,
}

impl Answer {
    pub(super) fn status(status: u16) -> Self {
        Self { status, retry_after: None, delay: Duration::ZERO }
    }
}

/// What it answers a body: the first rule that says something.
type Rule = dyn Fn(&Value) -> Option<Answer> + Send + Sync;

#[derive(Clone, Default)]
struct Shared {
    got: Arc<Mutex<Vec<Got>>>,
    script: Arc<Mutex<VecDeque<Answer>>>,
    rule: Arc<Mutex<Option<Box<Rule>>>>,
}

pub(super) struct Receiver {
    address: std::net::SocketAddr,
    shared: Shared,
    server: Option<tokio::task::JoinHandle<()>>,
}

impl Receiver {
    pub(super) fn start() -> Self {
        let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let mut receiver = Self { address: any, shared: Shared::default(), server: None };
        receiver.come_back();
        receiver
    }

    pub(super) fn come_back(&mut self) {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("allowed");
        socket.bind(self.address).expect("the port is free");
        let listener = socket.listen(64).expect("it listens");
        self.address = listener.local_addr().expect("an address");
        let app = Router::new().fallback(take).with_state(self.shared.clone());
        self.server = Some(tokio::spawn(async move { axum::serve(listener, app).await.expect("it serves") }));
    }

    pub(super) async fn go_away(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
            let _ = server.await; // it was aborted
        }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// It answers these first, one request each, then 200.
    pub(super) fn answers(&self, answers: impl IntoIterator<Item = Answer>) {
        self.shared.script.lock().expect("no panic").extend(answers);
    }

    /// It answers so what the rule knows.
    pub(super) fn rule(&self, rule: impl Fn(&Value) -> Option<Answer> + Send + Sync + 'static) {
        *self.shared.rule.lock().expect("no panic") = Some(Box::new(rule));
    }

    pub(super) fn got(&self) -> Vec<Got> {
        self.shared.got.lock().expect("no panic").clone()
    }

    /// What it took, in order: rule and state.
    pub(super) fn taken(&self) -> Vec<(String, String)> {
        self.got().iter().filter(|got| got.status < 300).flat_map(Got::alerts).collect()
    }

    /// Waits until it took so many alerts.
    pub(super) async fn takes(&self, count: usize) -> Vec<(String, String)> {
        super::until(&format!("{count} alerts are taken"), || (self.taken().len() >= count).then(|| self.taken())).await
    }
}

async fn take(State(shared): State<Shared>, headers: HeaderMap, bytes: Bytes) -> Response {
    let at = Timestamp(jiff::Timestamp::now().as_microsecond());
    let body: Value = serde_json::from_slice(&bytes).expect("JSON");
    let ruled = shared.rule.lock().expect("no panic").as_ref().and_then(|rule| rule(&body));
    let answer = ruled.or_else(|| shared.script.lock().expect("no panic").pop_front()).unwrap_or(Answer::status(200));
    shared.got.lock().expect("no panic").push(Got { at, headers, bytes, body, status: answer.status });
    tokio::time::sleep(answer.delay).await;
    let status = StatusCode::from_u16(answer.status).expect("legal");
    let mut response = (status, format!("the answer is {status}")).into_response();
    if let Some(seconds) = answer.retry_after {
        response.headers_mut().insert("retry-after", seconds.into());
    }
    response
}
