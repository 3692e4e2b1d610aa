//! A client on an island that sends a line every 50 ms, and what of it arrives here.

use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use super::*;

/// Sends lines from the island to `listener`; our end of the connection.
fn sending(island: &Island, listener: &TcpListener) -> (Child, TcpStream) {
    let address = listener.local_addr().unwrap();
    let mut send = Command::new("bash");
    let lines =
        format!("exec 3<>/dev/tcp/{}/{}; while echo line >&3; do sleep 0.05; done", address.ip(), address.port());
    let sender = island.enter(send.args(["-c", &lines])).stdin(Stdio::null()).spawn().unwrap();
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    (sender, stream)
}

/// Whether something arrives within half a second.
fn arrives(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 4_096]) {
        Ok(0) => panic!("the connection ended"),
        Ok(_) => true,
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => false,
        Err(error) => panic!("the connection was reset: {error}"),
    }
}

#[test]
fn what_is_sent_over_a_cut_link_vanishes_and_comes_later() {
    let island = match Island::new() {
        Ok(island) => island,
        Err(why) => return eprintln!("left out: no island can be had here: {why}"),
    };
    let outer = Path::new("/sys/class/net").join(island.outer(Link::Brokers));
    let brokers = TcpListener::bind((island.way_to_brokers(), 0)).unwrap();
    let servers = TcpListener::bind((island.way_to_servers(), 0)).unwrap();
    let (mut one, mut to_brokers) = sending(&island, &brokers);
    let (mut other, mut to_servers) = sending(&island, &servers);
    assert!(arrives(&mut to_brokers) && arrives(&mut to_servers));
    island.cut();
    // What was under way may still come.
    arrives(&mut to_brokers);
    assert!(!arrives(&mut to_brokers) && !arrives(&mut to_brokers));
    assert!(arrives(&mut to_servers), "the other link is whole");
    island.heal();
    let start = Instant::now();
    while !arrives(&mut to_brokers) {
        assert!(start.elapsed() < WAIT_MAX, "nothing comes after the link was mended");
    }
    for sender in [&mut one, &mut other] {
        sender.kill().unwrap();
        sender.wait().unwrap();
    }
    drop(island);
    let start = Instant::now();
    while outer.exists() {
        assert!(start.elapsed() < WAIT_MAX, "{} is left", outer.display());
        std::thread::sleep(LOOK_EVERY);
    }
}
