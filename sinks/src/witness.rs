//! Whether a store went on running. A store that was killed may forget what it acknowledged in its last seconds, and one that is up
//! again at once shows no error; but a connection to it that says nothing ends with its process. Who holds it looks often: stores
//! close such connections after some seconds themselves, so a new one takes over before.

use std::io::ErrorKind;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

/// 2 s before a connection is followed by a new one: VictoriaMetrics closes those that say nothing after 5 s.
const RENEW_AFTER: Duration = Duration::from_secs(2);
/// 2 s to connect.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// A connection that says nothing.
#[derive(Debug)]
pub struct Witness {
    host: String,
    port: u16,
    stream: Option<(TcpStream, Instant)>,
}

impl Witness {
    /// Of the store at an address. Nothing is connected yet.
    pub fn new(host: String, port: u16) -> Self {
        Self { host, port, stream: None }
    }

    /// Begins anew: true when the store can be reached.
    pub fn begin(&mut self) -> bool {
        self.stream = self.connect();
        self.stream.is_some()
    }

    /// True while the store has run without a break since it was begun, as far as a connection shows. To be asked several times a
    /// second; once it is false it stays so.
    pub fn ran_on(&mut self) -> bool {
        let Some((stream, since)) = &self.stream else { return false };
        let fresh = (since.elapsed() >= RENEW_AFTER).then(|| self.connect());
        // After the new one was made: while the old one stands then, both are to the same process.
        let stands = stands(stream);
        if !stands {
            self.stream = None;
        } else if let Some(fresh) = fresh {
            self.stream = fresh;
        }
        self.stream.is_some()
    }

    fn connect(&self) -> Option<(TcpStream, Instant)> {
        let address = (self.host.as_str(), self.port).to_socket_addrs().ok()?.next()?;
        let stream = TcpStream::connect_timeout(&address, CONNECT_WITHIN).ok()?;
        stream.set_nonblocking(true).ok()?;
        Some((stream, Instant::now()))
    }
}

/// A connection whose other end is there has nothing to read.
fn stands(stream: &TcpStream) -> bool {
    matches!(stream.peek(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_break_is_seen_also_when_somebody_is_there_again() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let mut witness = Witness::new("127.0.0.1".to_owned(), port);
        assert!(!witness.ran_on(), "it was not begun");
        assert!(witness.begin());
        let (end, _) = listener.accept().expect("it came");
        assert!(witness.ran_on() && witness.ran_on());
        drop(end);
        assert!(!witness.ran_on(), "it ended");
        assert!(!witness.ran_on(), "and is not begun again");
        assert!(witness.begin() && witness.ran_on());
        drop(listener);
        assert!(!witness.ran_on(), "what waited to be accepted ended too");
        assert!(!witness.begin(), "nobody is there");
    }

    #[test]
    fn a_new_connection_takes_over_from_one_that_stands() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let mut witness = Witness::new("127.0.0.1".to_owned(), listener.local_addr().expect("an address").port());
        assert!(witness.begin());
        let (first, _) = listener.accept().expect("it came");
        std::thread::sleep(RENEW_AFTER);
        assert!(witness.ran_on());
        let _second = listener.accept().expect("it came");
        drop(first);
        assert!(witness.ran_on(), "the first is not needed any more");
    }
}
