//! One POST, and what its answer means. A body and headers enter; leaves what the other side said, or why it does not have it.
//! A connection a message: between two alerts any connection would have been closed. A redirect is not followed: it would take
//! the secrets of the headers elsewhere.

use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};

use super::{Failed, words};
use crate::http::{Client, because, believing, retry_after};

/// 64 KiB of an answer are read: its first words are shown.
const ANSWER_BYTES: usize = 64 << 10;

/// A header of a request.
pub(super) type Header = (&'static str, String);

/// Sends requests.
#[derive(Debug)]
pub(super) struct Http(Client);

impl Http {
    /// Nothing is asked yet. `ca_file` has who may sign certificates; absent: those that this host believes.
    pub(super) fn new(ca_file: Option<&Path>) -> Result<Self, Failed> {
        Ok(Self(believing(0, ca_file).map_err(Failed::away)?))
    }

    /// Posts `body`, a JSON text.
    pub(super) async fn post(&self, url: &str, headers: &[Header], body: Vec<u8>) -> Result<String, Failed> {
        let agent = concat!("millrace/", env!("CARGO_PKG_VERSION"));
        let mut request = Request::post(url).header("content-type", "application/json").header("user-agent", agent);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        // Neither the address nor a header is shown: both may be secrets.
        let request = request.body(Full::new(Bytes::from(body)));
        let request =
            request.map_err(|_| Failed::away("its address or a secret has characters that HTTP cannot carry"))?;
        let answer = self.0.request(request).await.map_err(|error| Failed::away(because(&error)))?;
        let (head, body) = answer.into_parts();
        let text = match Limited::new(body, ANSWER_BYTES).collect().await {
            Ok(text) => words(&String::from_utf8_lossy(&text.to_bytes())),
            Err(error) => format!("(the answer was cut: {error})"),
        };
        answered(head.status, &text, retry_after(&head.headers))
    }
}

/// What an answer means. What is wrong with the address, the secret or the rights may be mended, and is waited for.
fn answered(status: StatusCode, text: &str, after: Option<Duration>) -> Result<String, Failed> {
    let said = if text.is_empty() { status.to_string() } else { format!("{status}: {text}") };
    match status.as_u16() {
        200..=299 => Ok(said),
        401 | 403..=405 | 407..=410 | 421 | 423 | 425 | 429 | 502..=504 | 100..=199 | 300..=399 => {
            Err(Failed::Later { why: said, after, all: true })
        }
        400..=499 => Err(Failed::Refused(said)),
        // It may be this message that it stumbles over: others are tried.
        _ => Err(Failed::Later { why: said, after, all: after.is_some() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_refused_or_for_later() {
        let check = |status: u16, expected: &str| {
            let answer = answered(StatusCode::from_u16(status).expect("legal"), "no", None);
            let seen = match answer {
                Ok(_) => "taken",
                Err(Failed::Refused(_)) => "refused",
                Err(Failed::Later { all: true, .. }) => "all later",
                Err(Failed::Later { all: false, .. }) => "this later",
            };
            assert_eq!(seen, expected, "{status}");
        };
        for status in [200, 202, 204] {
            check(status, "taken");
        }
        for status in [400, 406, 413, 415, 422] {
            check(status, "refused");
        }
        for status in [301, 307, 401, 403, 404, 408, 410, 429, 502, 503, 504] {
            check(status, "all later");
        }
        for status in [500, 501, 507] {
            check(status, "this later");
        }
    }
}
