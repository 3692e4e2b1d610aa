//! A TCP proxy for tests of slow and broken networks. In: where to listen and what lies behind. Out: the same bytes, later, or not
//! until the network is whole again; and how many they were. It runs on a thread of its own, so that a busy test slows it
//! little. It never alters, drops or reorders a byte within a connection: TCP would not either.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

/// 16 KiB a piece: what a socket gives at once, roughly.
const PIECE_BYTES: usize = 16 * 1024;

/// 1,024 pieces under way per direction, 16 MiB: at 200 ms of delay that still lets 80 MB/s through, and it bounds what a cut
/// connection keeps.
const PIECES_MAX: usize = 1_024;

/// What the network is like.
#[derive(Debug, Clone, Copy, Default)]
struct Weather {
    cut: bool,
    /// To what lies behind, and back.
    delays: [Duration; 2],
    /// Raised to have every connection reset.
    resets: u64,
}

/// A running proxy. Dropping it closes the listener and all connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    passed: Arc<[AtomicU64; 2]>,
    _stop: oneshot::Sender<()>,
}

impl Proxy {
    /// Listens on `front` (port 0 takes any) and passes on to `behind`.
    pub fn start(front: SocketAddr, behind: SocketAddr) -> Self {
        let listener = std::net::TcpListener::bind(front).unwrap_or_else(|error| panic!("proxy on {front}: {error}"));
        listener.set_nonblocking(true).expect("a listener can be made asynchronous");
        let address = listener.local_addr().expect("a listener has an address");
        let (weather, seen) = watch::channel(Weather::default());
        let passed = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
        let (stop, stopped) = oneshot::channel();
        let counted = Arc::clone(&passed);
        let serve = move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be built");
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("the runtime takes the listener");
                tokio::select! {
                    () = accept(&listener, behind, &seen, &counted) => {}
                    // The proxy was dropped; the connections end with the runtime.
                    _ = stopped => {}
                }
            });
        };
        std::thread::Builder::new()
            .name(format!("proxy {}", address.port()))
            .spawn(serve)
            .expect("a thread can be started");
        Self { address, weather, passed, _stop: stop }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on bytes take that long to what lies behind, and back. What is under way keeps its time.
    pub fn delay(&self, there: Duration, back: Duration) {
        self.weather.send_modify(|weather| weather.delays = [there, back]);
    }

    /// Nothing passes any more, and nobody is told: neither bytes nor the end of a connection, and new ones get no answer.
    pub fn cut(&self) {
        self.weather.send_modify(|weather| weather.cut = true);
    }

    /// What [`Proxy::cut`] held back passes, and the rest as before.
    pub fn heal(&self) {
        self.weather.send_modify(|weather| weather.cut = false);
    }

    /// Closes every connection on both sides; new ones are taken.
    pub fn sever(&self) {
        self.weather.send_modify(|weather| weather.resets += 1);
    }

    /// How many bytes have passed, to what lies behind and back.
    pub fn bytes(&self) -> (u64, u64) {
        (self.passed[0].load(Ordering::Relaxed), self.passed[1].load(Ordering::Relaxed))
    }
}

async fn accept(
    listener: &TcpListener,
    behind: SocketAddr,
    weather: &watch::Receiver<Weather>,
    passed: &Arc<[AtomicU64; 2]>,
) {
    loop {
        // Only a lack of file descriptors fails here, and a test that has none left fails by itself.
        let Ok((client, _)) = listener.accept().await else { continue };
        tokio::spawn(connection(client, behind, weather.clone(), Arc::clone(passed)));
    }
}

/// One connection until both directions have ended, or one has failed, or it is reset.
async fn connection(
    client: TcpStream,
    behind: SocketAddr,
    mut weather: watch::Receiver<Weather>,
    passed: Arc<[AtomicU64; 2]>,
) {
    let before = weather.borrow().resets;
    let mut severed = weather.clone();
    let both = async {
        whole(&mut weather).await?;
        let server = TcpStream::connect(behind).await.ok()?;
        // A piece is small enough to wait for the next otherwise, and the delay is ours to choose.
        client.set_nodelay(true).ok()?;
        server.set_nodelay(true).ok()?;
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::try_join!(
            pass(from_client, to_server, 0, weather.clone(), &passed),
            pass(from_server, to_client, 1, weather.clone(), &passed)
        )
        .ok()
    };
    tokio::select! {
        _ = both => {}
        // It ends too when the proxy is dropped.
        _ = severed.wait_for(|now| now.resets != before) => {}
    }
}

/// Waits until the network is whole; `None` if the proxy is gone.
async fn whole(weather: &mut watch::Receiver<Weather>) -> Option<()> {
    weather.wait_for(|now| !now.cut).await.ok().map(|_| ())
}

/// Passes one direction on until its end, then ends it behind too.
async fn pass(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    direction: usize,
    mut weather: watch::Receiver<Weather>,
    passed: &[AtomicU64; 2],
) -> std::io::Result<()> {
    let (pieces, mut due) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES_MAX);
    let delays = weather.clone();
    let read = async move {
        loop {
            let mut piece = vec![0; PIECE_BYTES];
            let length = from.read(&mut piece).await?;
            piece.truncate(length);
            let at = Instant::now() + delays.borrow().delays[direction];
            // An empty piece is the end, and takes as long as any other.
            if pieces.send((at, piece)).await.is_err() || length == 0 {
                return Ok(());
            }
        }
    };
    let write = async move {
        while let Some((at, piece)) = due.recv().await {
            tokio::time::sleep_until(at).await;
            whole(&mut weather).await.ok_or(std::io::ErrorKind::ConnectionAborted)?;
            if piece.is_empty() {
                return to.shutdown().await;
            }
            to.write_all(&piece).await?;
            passed[direction].fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
        Ok(())
    };
    tokio::try_join!(read, write).map(|_: ((), ())| ())
}

#[cfg(test)]
mod tests;
