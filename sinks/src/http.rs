//! The HTTP client of sinks, with TLS where the address says so. Certificates are checked against those that this host believes, or
//! those of a file; a host that believes none reaches plain addresses all the same, and says of others that nobody vouches for them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{HeaderMap, RETRY_AFTER};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// 1 hour: a longer `Retry-After` is a mistake, and would keep alerts and numbers back for as long.
const AFTER_MAX: Duration = Duration::from_hours(1);

/// Sends requests.
pub(crate) type Client = legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// One that keeps `idle` connections between requests, and believes those in the file alone, or, without one, those that this host does.
pub(crate) fn believing(idle: usize, ca_file: Option<&Path>) -> Result<Client, String> {
    Ok(client_of(idle, ca_file.map_or_else(|| Ok(of_host()), of_file)?))
}

/// The certificates of a PEM file.
fn of_file(file: &Path) -> Result<RootCertStore, String> {
    let unread =
        |error: &dyn std::fmt::Display| format!("the certificates in {} cannot be read: {error}", file.display());
    let mut believed = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| unread(&error))? {
        let certificate = certificate.map_err(|error| unread(&error))?;
        believed.add(certificate).map_err(|error| unread(&error))?;
    }
    if believed.is_empty() { Err(unread(&"there is none in it")) } else { Ok(believed) }
}

fn of_host() -> RootCertStore {
    let mut believed = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (_, unread) = believed.add_parsable_certificates(found.certs);
    if believed.is_empty() || unread > 0 || !found.errors.is_empty() {
        tracing::debug!(believed = believed.len(), unread, errors = ?found.errors, "certificates of this host");
    }
    believed
}

fn client_of(idle: usize, believed: RootCertStore) -> Client {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config =
        config.expect("ring has what these versions need").with_root_certificates(believed).with_no_client_auth();
    let connector = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1().build();
    legacy::Client::builder(TokioExecutor::new()).pool_max_idle_per_host(idle).build(connector)
}

/// When the other side wants to be asked again: in so many seconds, or at a time.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if let Ok(seconds) = text.parse() {
        Duration::from_secs(seconds)
    } else {
        let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
        Duration::try_from(at.duration_since(jiff::Timestamp::now())).unwrap_or_default()
    };
    Some(wait.min(AFTER_MAX))
}

/// An error with what caused it, each said once.
pub(crate) fn because(error: &dyn std::error::Error) -> String {
    let mut why = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !why.contains(&next) {
            why = format!("{why}: {next}");
        }
        cause = error.source();
    }
    why
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_certificates_that_has_none_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("ca.pem");
        let check = |expected: &str| {
            let why = believing(0, Some(&file)).err().unwrap_or_default();
            assert!(why.contains("ca.pem") && why.contains(expected), "{why}");
        };
        check("cannot be read");
        std::fs::write(&file, "nothing of the kind\n").expect("writable");
        check("there is none in it");
        std::fs::write(&file, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").expect("writable");
        check("cannot be read");
        assert!(believing(0, None).is_ok());
    }

    #[test]
    fn retry_after_is_seconds_or_a_time() {
        let check = |text: &str| retry_after(&HeaderMap::from_iter([(RETRY_AFTER, text.parse().expect("a value"))]));
        assert_eq!(check("7"), Some(Duration::from_secs(7)));
        assert_eq!(check("999999"), Some(AFTER_MAX));
        assert_eq!(check("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        assert_eq!(check("soon"), None);
        let in_a_minute = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(60);
        let text = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&in_a_minute);
        let wait = check(&text.expect("a time")).expect("a time");
        assert!(wait > Duration::from_secs(50) && wait <= Duration::from_mins(1), "{wait:?}");
    }
}
