//! The proxy between a client and a server that sends everything back.

use tokio::time::timeout;

use super::*;

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

async fn echo() -> SocketAddr {
    let listener = TcpListener::bind(LOOPBACK).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                // A connection that the test cuts off ends with an error, which is no concern of the server's.
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    address
}

async fn connected() -> (Proxy, TcpStream) {
    let proxy = Proxy::start(LOOPBACK, echo().await);
    let stream = TcpStream::connect(proxy.address()).await.unwrap();
    (proxy, stream)
}

async fn answer(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await.unwrap();
    bytes
}

#[tokio::test]
async fn every_byte_passes_in_order_and_is_counted_and_so_does_the_end() {
    let (proxy, stream) = connected().await;
    let sent: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let (mut from, mut to) = stream.into_split();
    let expected = sent.clone();
    let writer = tokio::spawn(async move {
        to.write_all(&sent).await.unwrap();
        to.shutdown().await.unwrap();
    });
    let mut received = Vec::new();
    from.read_to_end(&mut received).await.unwrap();
    writer.await.unwrap();
    assert!(received == expected, "{} of {} bytes came back, or others", received.len(), expected.len());
    assert_eq!(proxy.bytes(), (3_000_000, 3_000_000));
}

#[tokio::test]
async fn both_delays_are_kept() {
    let (proxy, mut stream) = connected().await;
    proxy.delay(Duration::from_millis(30), Duration::from_millis(50));
    let start = Instant::now();
    stream.write_all(b"late").await.unwrap();
    assert_eq!(answer(&mut stream, 4).await, b"late");
    assert!(start.elapsed() >= Duration::from_millis(80), "back after {:?}", start.elapsed());
}

#[tokio::test]
async fn while_cut_nothing_passes_and_nothing_is_lost() {
    let (proxy, mut stream) = connected().await;
    stream.write_all(b"a").await.unwrap();
    assert_eq!(answer(&mut stream, 1).await, b"a");
    proxy.cut();
    stream.write_all(b"held").await.unwrap();
    let mut newcomer = TcpStream::connect(proxy.address()).await.unwrap();
    newcomer.write_all(b"unanswered").await.unwrap();
    let mut byte = [0];
    assert!(timeout(Duration::from_millis(100), stream.read(&mut byte)).await.is_err(), "cut, and something came");
    assert!(timeout(Duration::from_millis(100), newcomer.read(&mut byte)).await.is_err(), "cut, and something came");
    assert_eq!(proxy.bytes(), (1, 1));
    proxy.heal();
    assert_eq!(answer(&mut stream, 4).await, b"held");
    assert_eq!(answer(&mut newcomer, 10).await, b"unanswered");
}

#[tokio::test]
async fn severed_connections_end_and_new_ones_work() {
    let (proxy, mut stream) = connected().await;
    stream.write_all(b"a").await.unwrap();
    assert_eq!(answer(&mut stream, 1).await, b"a");
    proxy.sever();
    let mut byte = [0];
    assert!(!matches!(stream.read(&mut byte).await, Ok(1)), "severed, and something came");
    let mut next = TcpStream::connect(proxy.address()).await.unwrap();
    next.write_all(b"b").await.unwrap();
    assert_eq!(answer(&mut next, 1).await, b"b");
}

#[tokio::test]
async fn a_client_learns_that_nobody_listens_behind() {
    let nobody = std::net::TcpListener::bind(LOOPBACK).unwrap().local_addr().unwrap();
    let proxy = Proxy::start(LOOPBACK, nobody);
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    let mut byte = [0];
    assert!(!matches!(stream.read(&mut byte).await, Ok(1)), "nobody answers, and something came");
}
