//! A line between a replica and its source that a test can cut in the middle of a transaction. In: the source's port. Out: a
//! port of its own. What passed the line before the cut has arrived; what comes after it never does, and nobody is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// A line. Its tasks end with the runtime of the test.
pub(crate) struct Link {
    pub(crate) port: u16,
    /// How many bytes more go from the source to the replica.
    left: Arc<AtomicU64>,
}

impl Link {
    /// A line to `source` on this host, not cut.
    pub(crate) async fn to(source: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let left = Arc::new(AtomicU64::new(u64::MAX));
        let link = Self { port, left: Arc::clone(&left) };
        tokio::spawn(async move {
            while let Ok((replica, _)) = listener.accept().await {
                // A source that is away is a closed connection for the replica too.
                let Ok(source) = TcpStream::connect(("127.0.0.1", source)).await else { continue };
                let (from_replica, to_replica) = replica.into_split();
                let (from_source, to_source) = source.into_split();
                tokio::spawn(pass(from_replica, to_source, Arc::new(AtomicU64::new(u64::MAX))));
                tokio::spawn(pass(from_source, to_replica, Arc::clone(&left)));
            }
        });
        link
    }

    /// Lets `bytes` more through to the replica, and then nothing.
    pub(crate) fn cut_after(&self, bytes: u64) {
        self.left.store(bytes, Ordering::SeqCst);
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, left: Arc<AtomicU64>) {
    let mut bytes = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut bytes).await {
        let may = left.load(Ordering::SeqCst).min(read as u64);
        left.fetch_sub(may, Ordering::SeqCst);
        if to.write_all(&bytes[..may as usize]).await.is_err() {
            return;
        }
    }
}
