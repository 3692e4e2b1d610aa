//! The other processes' side: calls of the `Bus` trait in, requests to the owner out, its answers back.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use millrace_schemas::metrics::Registry;
use millrace_schemas::record::NewRecord;
use millrace_schemas::topics::Topic;

use super::line::Line;
use super::reader::HttpReader;
use super::{Answer, Request};
use crate::bus::{Assignment, Bus, Error, Reader, Receipt, Snapshot};

/// The bus of another process. Clones and readers share its thread, which ends with the last of them.
#[derive(Clone, Debug)]
pub struct HttpBus(Arc<Line>);

impl HttpBus {
    /// The bus of the process that listens at `address`, which wants the token in `token_file`. Asks nothing yet: an owner
    /// that is away now may come.
    pub fn new(address: SocketAddr, token_file: &Path) -> Result<Self, Error> {
        Self::counted(address, token_file, Arc::default())
    }

    /// The same, and what it could not append is counted in `metrics`.
    pub fn counted(address: SocketAddr, token_file: &Path, metrics: Arc<Registry>) -> Result<Self, Error> {
        Ok(Self(Arc::new(Line::open(address, token_file, metrics)?)))
    }

    /// Fails when the owner does not answer, or does not serve this process.
    pub fn ping(&self) -> Result<(), Error> {
        self.partitions(Topic::Journal).map(|_| ())
    }
}

impl Bus for HttpBus {
    fn append(&self, records: Vec<NewRecord>) -> Receipt {
        self.0.append(records)
    }

    fn reader(&self, assignment: Assignment) -> Result<Box<dyn Reader>, Error> {
        Ok(Box::new(HttpReader::open(Arc::clone(&self.0), assignment)?))
    }

    fn partitions(&self, topic: Topic) -> Result<u32, Error> {
        match self.0.ask(Request::Partitions(topic), Duration::ZERO)? {
            Answer::Partitions(partitions) => Ok(partitions),
            other => Err(self.0.unexpected(&other)),
        }
    }

    fn ends(&self, topic: Topic) -> Result<Vec<u64>, Error> {
        match self.0.ask(Request::Ends(topic), Duration::ZERO)? {
            Answer::Ends(ends) => Ok(ends),
            other => Err(self.0.unexpected(&other)),
        }
    }

    fn save(&self, snapshots: Vec<Snapshot>) -> Result<(), Error> {
        match self.0.ask(Request::Save(snapshots), Duration::ZERO)? {
            Answer::Done => Ok(()),
            other => Err(self.0.unexpected(&other)),
        }
    }

    fn load(&self, processor: &str) -> Result<Vec<Snapshot>, Error> {
        match self.0.ask(Request::Load(processor.to_owned()), Duration::ZERO)? {
            Answer::Loaded(snapshots) => Ok(snapshots),
            other => Err(self.0.unexpected(&other)),
        }
    }
}
