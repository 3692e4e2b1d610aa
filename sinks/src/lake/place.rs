//! Where the lake is: a folder, or a bucket of what speaks like S3. Files enter and are there whole when this says so; who reads beside
//! it never sees half a one. S3 is reached by the HTTP client of all sinks, so that TLS is the same everywhere. Credentials come from
//! a file or the environment, and are in no error.

use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Request, Response};
use object_store::aws::AmazonS3Builder;
use object_store::client::{
    ClientOptions, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService,
};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, RetryConfig};

use crate::http::{Client, because, believing};

/// 60 s for an answer: a file is some MiB, and a slow line takes as long.
const ANSWER_WITHIN: Duration = Duration::from_mins(1);
/// 1 MiB of an answer: those to what is asked here are lists of a few names, and words.
const ANSWER_BYTES: usize = 1 << 20;
/// One connection is kept: files go one after the other.
const IDLE: usize = 1;
/// 2 attempts beside the first, within 10 s; who writes tries again after that, and says so.
const RETRIES: usize = 2;
const RETRY_WITHIN: Duration = Duration::from_secs(10);

/// Where the lake is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A folder; it is made when the first file comes.
    Folder(PathBuf),
    /// A bucket.
    S3(Bucket),
}

/// A bucket of what speaks like S3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// What names in it begin with.
    pub prefix: String,
    /// Where it is, if not at the provider that invented it.
    pub endpoint: Option<String>,
    /// Its region, if the environment does not say it.
    pub region: Option<String>,
    /// The file with the credentials, if they are not in the environment: lines `aws_access_key_id = ...` and so on, as the provider's
    /// own programs have them.
    pub credentials_file: Option<PathBuf>,
    /// The file with who may sign its certificates; absent: who this host believes.
    pub ca_file: Option<PathBuf>,
}

/// Why there is no way to a place, or why it does not have a file.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// It cannot be used as it is configured.
    #[error("{0}")]
    Unusable(String),
    /// It cannot now; it may later.
    #[error("it cannot be written to now: {0}")]
    Away(String),
}

/// A way to a place.
#[derive(Debug)]
pub struct Place {
    location: Location,
    store: Option<Box<dyn ObjectStore>>,
    prefix: Path,
    runtime: tokio::runtime::Runtime,
}

impl Place {
    /// Nothing is asked and nothing is made yet, but the credentials are read.
    pub fn open(location: &Location) -> Result<Self, Failed> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(unusable)?;
        let (store, prefix): (Option<Box<dyn ObjectStore>>, _) = match location {
            Location::Folder(_) => (None, ""),
            Location::S3(bucket) => (Some(Box::new(s3(bucket)?)), bucket.prefix.as_str()),
        };
        Ok(Self { location: location.clone(), store, prefix: Path::from(prefix), runtime })
    }

    /// The folder has to be there for its store to be opened.
    fn store(&mut self) -> Result<&dyn ObjectStore, Failed> {
        if let (None, Location::Folder(folder)) = (&self.store, &self.location) {
            std::fs::create_dir_all(folder).map_err(away)?;
            let store = LocalFileSystem::new_with_prefix(folder).map_err(away)?.with_fsync(true);
            self.store = Some(Box::new(store));
        }
        self.store.as_deref().ok_or_else(|| Failed::Unusable("there is no way to it".to_owned()))
    }

    fn path(&self, name: &str) -> Result<Path, Failed> {
        let name = Path::parse(name).map_err(unusable)?;
        Ok(self.prefix.parts().chain(name.parts()).collect())
    }

    /// Writes a file, over the one of that name if there is one. It is there, synced, when this returns.
    pub fn put(&mut self, name: &str, bytes: Vec<u8>) -> Result<(), Failed> {
        let path = self.path(name)?;
        self.store()?;
        let Some(store) = &self.store else { return Ok(()) };
        self.runtime.block_on(store.put(&path, bytes.into())).map(drop).map_err(away)
    }

    /// True when a file of that name is there.
    pub fn has(&mut self, name: &str) -> Result<bool, Failed> {
        let path = self.path(name)?;
        self.store()?;
        let Some(store) = &self.store else { return Ok(false) };
        match self.runtime.block_on(store.head(&path)) {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(away(error)),
        }
    }

    /// Asks a bucket for the first name in it, to see whether it answers; of a folder nothing is asked.
    pub fn ask(&self) -> Result<(), Failed> {
        let Some(store) = &self.store else { return Ok(()) };
        match self.runtime.block_on(async { store.list(Some(&self.prefix)).next().await }) {
            Some(Err(error)) => Err(away(error)),
            Some(Ok(_)) | None => Ok(()),
        }
    }
}

fn s3(bucket: &Bucket) -> Result<impl ObjectStore, Failed> {
    let retry = RetryConfig { max_retries: RETRIES, retry_timeout: RETRY_WITHIN, ..RetryConfig::default() };
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(&bucket.name).with_retry(retry);
    let client = believing(IDLE, bucket.ca_file.as_deref()).map_err(Failed::Unusable)?;
    builder = builder.with_http_connector(Own(client));
    if let Some(endpoint) = &bucket.endpoint {
        builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
    }
    if let Some(region) = &bucket.region {
        builder = builder.with_region(region);
    }
    if let Some(file) = &bucket.credentials_file {
        let unread = |error| Failed::Unusable(format!("the credentials in {} cannot be read: {error}", file.display()));
        let text = std::fs::read_to_string(file).map_err(unread)?;
        let value = |name: &str| {
            let pairs = text.lines().filter_map(|line| line.split_once('='));
            pairs.filter(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned()).next()
        };
        let needed = |name: &str| {
            let none = || Failed::Unusable(format!("{} has no line \"{name} = ...\"", file.display()));
            value(name).ok_or_else(none)
        };
        builder = builder.with_access_key_id(needed("aws_access_key_id")?);
        builder = builder.with_secret_access_key(needed("aws_secret_access_key")?);
        if let Some(token) = value("aws_session_token") {
            builder = builder.with_token(token);
        }
    }
    builder.build().map_err(unusable)
}

fn unusable(error: impl std::error::Error) -> Failed {
    Failed::Unusable(because(&error))
}

fn away(error: impl std::error::Error) -> Failed {
    Failed::Away(because(&error))
}

/// Makes the client of all sinks that of the store.
#[derive(Debug)]
struct Own(Client);

impl HttpConnector for Own {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Service(self.0.clone())))
    }
}

#[derive(Debug)]
struct Service(Client);

impl HttpService for Service {
    fn call<'s, 'f>(
        &'s self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'f>>
    where
        's: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            let answered = tokio::time::timeout(ANSWER_WITHIN, self.answered(request)).await;
            answered.unwrap_or_else(|late| Err(HttpError::new(HttpErrorKind::Timeout, late)))
        })
    }
}

impl Service {
    async fn answered(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (head, body) = request.into_parts();
        let body = Full::new(body.collect().await?.to_bytes());
        let answer = self.0.request(Request::from_parts(head, body)).await.map_err(|error| {
            let kind = if error.is_connect() { HttpErrorKind::Connect } else { HttpErrorKind::Interrupted };
            HttpError::new(kind, error)
        })?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| HttpError::new_boxed(HttpErrorKind::Interrupted, error))?;
        let body = Full::<Bytes>::new(body.to_bytes()).map_err(|never| match never {});
        Ok(Response::from_parts(head, HttpResponseBody::new(body)))
    }
}

#[cfg(test)]
#[path = "place_tests.rs"]
mod tests;
