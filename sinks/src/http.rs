//! The HTTP client of sinks, with TLS where the address says so. Certificates are checked against those that this host believes; a host
//! that believes none reaches plain addresses all the same, and says of others that nobody vouches for them.

use std::sync::Arc;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};

/// Sends requests.
pub(crate) type Client = legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// One that keeps `idle` connections between requests.
pub(crate) fn client(idle: usize) -> Client {
    let mut believed = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (_, unread) = believed.add_parsable_certificates(found.certs);
    if believed.is_empty() || unread > 0 || !found.errors.is_empty() {
        tracing::debug!(believed = believed.len(), unread, errors = ?found.errors, "certificates of this host");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config =
        config.expect("ring has what these versions need").with_root_certificates(believed).with_no_client_auth();
    let connector = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1().build();
    legacy::Client::builder(TokioExecutor::new()).pool_max_idle_per_host(idle).build(connector)
}
