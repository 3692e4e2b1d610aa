//! A primary and its replicas with GTID and lossless semi-synchronous replication, for tests. In: a flavour and how many.
//! Out: running servers, the first of which is open. Set up here with plain statements and not by Millrace's runbooks, so
//! that the runbooks are tested against something that they did not make.

use millrace_mysql::{Dialect, Flavour, status};

use crate::eventually;
use crate::server::{Options, Server};

/// A primary and its replicas.
#[derive(Debug)]
pub struct Cluster {
    /// The one that is open.
    pub primary: Server,
    /// The others, which acknowledge.
    pub replicas: Vec<Server>,
}

impl Cluster {
    /// Starts `1 + replicas` servers, each write needing one acknowledgement, and returns when all replicas acknowledge.
    pub async fn start(flavour: Flavour, replicas: usize) -> Self {
        let member = Options { semi_sync_replica: true, ..Options::default() };
        let primary = Server::start(flavour, &member).await;
        let mut cluster = Self { primary, replicas: Vec::with_capacity(replicas) };
        for _ in 0..replicas {
            let replica = Server::start(flavour, &member).await;
            cluster.attach(&replica).await;
            cluster.replicas.push(replica);
        }
        cluster.open().await;
        cluster
    }

    /// Points `replica` at the primary and starts replication.
    pub async fn attach(&self, replica: &Server) {
        let mut session = replica.session().await;
        let dialect = Dialect::detect(&mut session).await.unwrap_or_else(|error| panic!("{error}"));
        let change = dialect.change_source(&self.primary.as_source()).expect("the template's password can be quoted");
        for statement in [change, dialect.start_replication()] {
            session.execute(&statement).await.unwrap_or_else(|error| panic!("{error}"));
        }
        session.close().await;
    }

    async fn open(&self) {
        let mut session = self.primary.session().await;
        let dialect = Dialect::detect(&mut session).await.unwrap_or_else(|error| panic!("{error}"));
        let enable = dialect.enable_semi_sync_source(1).expect("one acknowledgement is what both flavours can do");
        for statement in enable.iter().map(String::as_str).chain(dialect.open().iter().copied()) {
            session.execute(statement).await.unwrap_or_else(|error| panic!("{error}"));
        }
        let wanted = self.replicas.len() as u64;
        eventually("all replicas acknowledge", async || {
            let read = status::read(&mut session).await.unwrap_or_else(|error| panic!("{error}"));
            (read.semi_sync.clients == wanted).then_some(())
        })
        .await;
        session.close().await;
    }

    /// Waits until every replica executed all that the primary has now.
    pub async fn caught_up(&self) {
        let executed = executed(&self.primary).await;
        for replica in &self.replicas {
            eventually("the replica catches up", async || {
                let theirs = self::executed(replica).await;
                executed.is_subset(&theirs).expect("a cluster has one flavour").then_some(())
            })
            .await;
        }
    }
}

async fn executed(server: &Server) -> millrace_mysql::GtidSet {
    let mut session = server.session().await;
    let read = status::read(&mut session).await.unwrap_or_else(|error| panic!("{error}"));
    session.close().await;
    read.source.executed
}
