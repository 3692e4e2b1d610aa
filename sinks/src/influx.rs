//! The crate `influxdb2`: lines go by the v2 API, over plain HTTP. Packed lines enter; leaves what the store says.

use influxdb2::api::write::TimestampPrecision;
use influxdb2::{ClientBuilder, RequestError};
use reqwest_of_influxdb2::header::{CONTENT_ENCODING, HeaderMap, HeaderValue};

use crate::http::because;
use crate::store::{ANSWER_WITHIN, CONNECT_WITHIN, Failed, Unusable, answered};

/// The way of the crate.
#[derive(Debug)]
pub(crate) struct OfCrate {
    client: influxdb2::Client,
    org: String,
    bucket: String,
}

impl OfCrate {
    /// The crate's client with our limits.
    pub(crate) fn new(url: &str, org: &str, bucket: &str, token: &str) -> Result<Self, Unusable> {
        let headers = HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static("gzip"))]);
        let builder = reqwest_of_influxdb2::ClientBuilder::new();
        let builder =
            builder.default_headers(headers).timeout(ANSWER_WITHIN).connect_timeout(CONNECT_WITHIN).no_proxy();
        let client = ClientBuilder::with_builder(builder, url, org, token).build();
        let client = client.map_err(|error| Unusable::Client(error.to_string()))?;
        Ok(Self { client, org: org.to_owned(), bucket: bucket.to_owned() })
    }

    pub(crate) async fn send(&self, packed: Vec<u8>) -> Result<(), Failed> {
        let precision = TimestampPrecision::Milliseconds;
        let sent = self.client.write_line_protocol_with_precision(&self.org, &self.bucket, packed, precision).await;
        sent.map_err(|error| match error {
            RequestError::Http { status, text } => answered(status.as_u16(), &text, None),
            other => Failed::Away { why: because(&other), after: None },
        })
    }
}

#[cfg(test)]
#[path = "influx_tests.rs"]
mod tests;
