//! A store that is stricter than the one behind it: requests with a certain word are refused whole, with words of its own, as
//! InfluxDB refuses a line that does not fit what it has. All others are handed on.

use std::io::Read as _;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};

/// What it says of lines that it does not like.
pub(super) const WORDS: &str = "this word is not liked";

#[derive(Clone)]
struct Behind {
    store: String,
    refused: &'static str,
    client: reqwest::Client,
}

pub(super) struct Picky(std::net::SocketAddr);

impl Picky {
    /// In front of `store`.
    pub(super) async fn start(store: String, refused: &'static str) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let app = Router::new().fallback(hand_on).with_state(Behind { store, refused, client });
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self(address)
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.0)
    }
}

async fn hand_on(State(behind): State<Behind>, uri: Uri, headers: HeaderMap, body: Bytes) -> (StatusCode, String) {
    assert_eq!(headers.get("content-encoding").expect("packed"), "gzip");
    let mut lines = String::new();
    flate2::read::GzDecoder::new(&body[..]).read_to_string(&mut lines).expect("text");
    if lines.contains(behind.refused) {
        return (StatusCode::BAD_REQUEST, WORDS.to_owned());
    }
    let url = format!("{}{}", behind.store, uri.path_and_query().expect("a path"));
    let sent = behind.client.post(url).header("content-encoding", "gzip").body(body).send().await;
    let answer = sent.expect("the store behind it runs");
    let status = StatusCode::from_u16(answer.status().as_u16()).expect("a status");
    (status, answer.text().await.expect("text"))
}
