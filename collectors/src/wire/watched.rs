//! What a running capture and whoever runs it tell each other: which servers to watch, and, of connections that had begun before the
//! capture, whose they are. Packets do not say that; the server's list of its sessions does.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use millrace_schemas::ids::InstanceId;

use super::decoder::{Decoder, Server};

/// Most connections that are asked about at once: a server with more is asked again when the first have names.
pub(super) const UNNAMED_MAX: usize = 1_000;

/// A connection of which no account is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unnamed {
    /// Its number in this capture: another one with the same ends has another.
    pub number: u64,
    /// The instance that it leads to.
    pub instance: InstanceId,
    /// The client's address and port.
    pub client: SocketAddr,
    /// The server's address and port.
    pub server: SocketAddr,
}

/// Whose a connection is, as the server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The connection.
    pub of: Unnamed,
    /// Its number in the server.
    pub thread: u32,
    /// The user that it logged in as.
    pub user: String,
    /// The schema that was current when the server was asked.
    pub schema: Option<String>,
}

/// Shared with a running capture; whoever holds a copy may tell it something at any time.
#[derive(Debug, Clone, Default)]
pub struct Watched(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    /// How often the servers were set.
    version: u64,
    servers: Vec<Server>,
    unnamed: Vec<Unnamed>,
    named: Vec<Named>,
}

impl Watched {
    /// Watches these servers.
    pub fn new(servers: Vec<Server>) -> Self {
        let watched = Watched::default();
        watched.set(servers);
        watched
    }

    /// Watches these servers from now on.
    pub fn set(&self, servers: Vec<Server>) {
        let mut inner = self.lock();
        inner.version += 1;
        inner.servers = servers;
    }

    /// Connections whose account is not known, a thousand at most of each share: as it was within the last second.
    pub fn unnamed(&self) -> Vec<Unnamed> {
        self.lock().unnamed.clone()
    }

    /// Whose connections are. What is not true any more does no harm.
    pub fn name(&self, named: impl IntoIterator<Item = Named>) {
        self.lock().named.extend(named);
    }

    pub(super) fn newer_than(&self, version: u64) -> Option<(u64, Vec<Server>)> {
        let inner = self.lock();
        (inner.version != version).then(|| (inner.version, inner.servers.clone()))
    }

    /// The capture of a share hears what it was told, and tells what it does not know.
    pub(super) fn exchange(&self, decoder: &mut Decoder) {
        let share = decoder.share();
        let named: Vec<Named> = self.lock().named.extract_if(.., |one| share.has(one.of.number)).collect();
        for one in &named {
            decoder.name(one);
        }
        let unnamed = decoder.unnamed();
        let mut inner = self.lock();
        inner.unnamed.retain(|one| !share.has(one.number));
        inner.unnamed.extend(unnamed);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
