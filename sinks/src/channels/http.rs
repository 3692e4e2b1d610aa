//! One POST, and what its answer means. A body and headers enter; leaves what the other side said, or why it does not have it.
//! A connection a message: between two alerts any connection would have been closed. A redirect is not followed: it would take
//! the secrets of the headers elsewhere.

use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};

use super::{Again, Failed, words};
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
    let why = if text.is_empty() { status.to_string() } else { format!("{status}: {text}") };
    let again = after.map(Again::After);
    match status.as_u16() {
        200..=299 => Ok(why),
        // Who stands before it says that it is not there.
        502..=504 => Err(Failed::Later { why, again: again.unwrap_or(Again::Soon), all: true }),
        401 | 403..=405 | 407..=410 | 421 | 423 | 425 | 429 | 100..=199 | 300..=399 => {
            Err(Failed::Later { why, again: again.unwrap_or(Again::Seldom), all: true })
        }
        400..=499 => Err(Failed::Refused(why)),
        // It may be this message that it stumbles over: others are tried.
        _ => Err(Failed::Later { why, again: again.unwrap_or(Again::Seldom), all: again.is_some() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_refused_or_for_later() {
        let check = |status: u16, expected: &str| {
            let status = StatusCode::from_u16(status).expect("legal");
            let seen = match answered(status, "no", None) {
                Ok(_) => "taken",
                Err(Failed::Refused(_)) => "refused",
                Err(Failed::Later { again: Again::Soon, all: true, .. }) => "all soon",
                Err(Failed::Later { again: Again::Seldom, all: true, .. }) => "all later",
                Err(Failed::Later { again: Again::Seldom, all: false, .. }) => "this later",
                Err(other) => panic!("{status}: {other:?}"),
            };
            assert_eq!(seen, expected, "{status}");
            let minute = Duration::from_mins(1);
            if let Err(Failed::Later { again, all, .. }) = answered(status, "no", Some(minute)) {
                assert_eq!((again, all), (Again::After(minute), true), "{status}: it says when");
            }
        };
        for status in [200, 202, 204] {
            check(status, "taken");
        }
        for status in [400, 406, 413, 415, 422] {
            check(status, "refused");
        }
        for status in [301, 307, 401, 403, 404, 408, 410, 429] {
            check(status, "all later");
        }
        for status in [502, 503, 504] {
            check(status, "all soon");
        }
        for status in [500, 501, 507] {
            check(status, "this later");
        }
    }
}
