//! Servers on ports that nobody named: segments of unknown connections enter; endpoints that speak the MySQL protocol leave. Two
//! things tell them: a greeting, which a server of this protocol says first, or, in the middle of a connection, a query whose answer
//! has the number and the acknowledgement that an answer to it must have. A query's shape alone is never enough: it must not find a
//! server in HTTP, TLS or noise.

use std::collections::HashMap;
use std::net::SocketAddr;

use millrace_schemas::digest::{Kind, Scanner, Syntax};
use millrace_schemas::ids::InstanceId;

use super::commands::{self, code};
use super::decoder::Server;
use super::frames::Segment;
use super::handshake;

/// Most queries whose answer is waited for: 4,096 of at most 4 KiB. Servers are found by their first queries, so the oldest of more
/// than that are forgotten, all at once.
const ASKED_MAX: usize = 4_096;
const QUERY_BYTES_MAX: usize = 4 << 10;
/// Longest version in a greeting: 60 bytes are what servers allow for it, proxies and forks among them.
const VERSION_BYTES_MAX: usize = 60;
/// Most servers that are found. 10,000: a port scan that answers with greetings must not fill the memory.
const FOUND_MAX: usize = 10_000;

/// What a segment says.
pub(super) enum Verdict {
    /// Nothing.
    Nothing,
    /// It comes from this server.
    Server(Server),
    /// It is this server's answer to that request.
    Answer(Server, Asked),
}

/// A request that waits for its answer.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) ts_us: i64,
    from: SocketAddr,
    to: SocketAddr,
    sequence: u32,
    payload: Box<[u8]>,
}

impl Asked {
    /// The segment that it came in.
    pub(super) fn segment(&self) -> Segment<'_> {
        Segment {
            from: self.from,
            to: self.to,
            sequence: self.sequence,
            acknowledges: None,
            syn: false,
            fin: false,
            rst: false,
            payload: &self.payload,
            cut: 0,
        }
    }

    /// The number of the byte behind it.
    fn end(&self) -> u32 {
        self.sequence.wrapping_add(self.payload.len() as u32)
    }
}

/// Looks for servers.
pub(super) struct Detector {
    syntax: Syntax,
    scanner: Scanner,
    /// By client and server.
    asked: HashMap<(SocketAddr, SocketAddr), Asked>,
    found: usize,
}

impl Detector {
    /// Sessions of the servers that it finds begin with this syntax.
    pub(super) fn new(syntax: Syntax) -> Self {
        Detector { syntax, scanner: Scanner::reading(syntax), asked: HashMap::new(), found: 0 }
    }

    /// Takes a segment of a connection with no known server.
    pub(super) fn look(&mut self, ts_us: i64, segment: &Segment<'_>) -> Verdict {
        if segment.payload.is_empty() || self.found >= FOUND_MAX {
            return Verdict::Nothing;
        }
        if is_greeting(segment.payload) {
            return Verdict::Server(self.server(segment.from));
        }
        if let Some(asked) = self.asked.remove(&(segment.to, segment.from))
            && segment.acknowledges == Some(asked.end())
            && is_answer(segment.payload)
        {
            return Verdict::Answer(self.server(segment.from), asked);
        }
        if self.is_query(segment.payload) && segment.cut == 0 {
            if self.asked.len() >= ASKED_MAX {
                self.asked.clear();
            }
            let (from, to, sequence) = (segment.from, segment.to, segment.sequence);
            self.asked.insert((from, to), Asked { ts_us, from, to, sequence, payload: segment.payload.into() });
        }
        Verdict::Nothing
    }

    fn server(&mut self, end: SocketAddr) -> Server {
        self.found += 1;
        let name = format!("{}-{}", end.ip(), end.port()).replace(':', ".");
        // An IPv6 address may begin with a colon.
        let instance = InstanceId::parse(name.as_str()).or_else(|_| InstanceId::parse(format!("0{name}").as_str()));
        let instance = instance.expect("digits, points and letters up to f");
        Server { address: Some(end.ip()), port: end.port(), instance, syntax: self.syntax }
    }

    /// Whether a segment is one whole query, and says something that servers know.
    fn is_query(&mut self, payload: &[u8]) -> bool {
        let [a, b, c, 0, code::QUERY, text @ ..] = payload else { return false };
        let length = usize::from(*a) | usize::from(*b) << 8 | usize::from(*c) << 16;
        if length + 4 != payload.len() || payload.len() > QUERY_BYTES_MAX || !commands::plausible(payload) {
            return false;
        }
        let text = text.strip_prefix(&[0, 1]).unwrap_or(text);
        self.scanner.digest(text).kind != Kind::OTHER
    }
}

/// Whether a segment is the greeting of a server, or its beginning: protocol version 10, and a version of printable characters.
fn is_greeting(payload: &[u8]) -> bool {
    let [a, b, 0, 0, 10, rest @ ..] = payload else { return false };
    let length = usize::from(*a) | usize::from(*b) << 8;
    let Some(version) = rest.iter().position(|byte| *byte == 0) else { return false };
    length + 4 == payload.len()
        && (1..=VERSION_BYTES_MAX).contains(&version)
        && rest[0].is_ascii_digit()
        && rest[..version].iter().all(u8::is_ascii_graphic)
        && handshake::greeting(&payload[4..]).is_some()
}

/// Whether a segment begins with the first packet of an answer: number 1, and OK, an error, a request for a file, or a count of
/// columns.
fn is_answer(payload: &[u8]) -> bool {
    let [a, b, c, 1, tag, ..] = payload else { return false };
    let length = usize::from(*a) | usize::from(*b) << 8 | usize::from(*c) << 16;
    match tag {
        0 => length >= 7,
        0xff => length >= 9,
        0xfb => length > 1,
        // The columns' count and, with some capabilities, a byte beside it.
        _ => length <= 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: &str = "[::1]:40000";
    const SERVER: &str = "[::1]:5432";

    fn segment<'a>(from: &str, to: &str, sequence: u32, acknowledges: u32, payload: &'a [u8]) -> Segment<'a> {
        Segment {
            from: from.parse().expect("an address"),
            to: to.parse().expect("an address"),
            sequence,
            acknowledges: Some(acknowledges),
            syn: false,
            fin: false,
            rst: false,
            payload,
            cut: 0,
        }
    }

    fn packet(number: u8, payload: &[u8]) -> Vec<u8> {
        [&(payload.len() as u32).to_le_bytes()[..3], &[number], payload].concat()
    }

    fn query(text: &[u8]) -> Vec<u8> {
        packet(0, &[&[code::QUERY], text].concat())
    }

    /// Whether a server is found by a request and what follows it.
    fn check(request: &[u8], answer: &[u8], found: bool) {
        let mut detector = Detector::new(Syntax::default());
        let asked = detector.look(7, &segment(CLIENT, SERVER, 100, 5, request));
        assert!(matches!(asked, Verdict::Nothing), "{request:?}");
        let end = 100 + request.len() as u32;
        match detector.look(8, &segment(SERVER, CLIENT, 5, end, answer)) {
            Verdict::Answer(server, asked) => {
                assert!(found, "{request:?} {answer:?}");
                assert_eq!((server.port, asked.ts_us, asked.segment().payload), (5432, 7, request));
            }
            Verdict::Nothing => assert!(!found, "{request:?} {answer:?}"),
            Verdict::Server(_) => panic!("no greeting"),
        }
    }

    #[test]
    fn a_query_and_its_answer_find_a_server() {
        let ok = packet(1, b"\0\0\0\x02\0\0\0");
        check(&query(b"select 1"), &packet(1, b"\x01"), true);
        check(&query(b"\0\x01update t set a = 1"), &ok, true);
        check(&query(b"selec 1"), &ok, false);
        check(&query(b"select 1"), &packet(2, b"\x01"), false);
        check(&query(b"select 1"), b"HTTP/1.1 200 OK\r\n\r\n", false);
        check(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", false);
        check(&[23, 3, 3, 0, 5, 1, 2, 3, 4, 5], &[23, 3, 3, 0, 5, 1, 2, 3, 4, 5], false);
        // PostgreSQL's form of a query.
        check(b"Q\0\0\0\x0dselect 1\0", b"T\0\0\0\x01", false);
        // An answer to something else.
        let mut detector = Detector::new(Syntax::default());
        detector.look(7, &segment(CLIENT, SERVER, 100, 5, &query(b"select 1")));
        assert!(matches!(detector.look(8, &segment(SERVER, CLIENT, 5, 100, &ok)), Verdict::Nothing));
    }

    #[test]
    fn a_greeting_finds_a_server() {
        let greeting = |version: &[u8]| packet(0, &[b"\x0a", version, b"\0\x07\0\0\0", &[1; 8], &[0; 30]].concat());
        let found = |payload: &[u8]| {
            let mut detector = Detector::new(Syntax::default());
            matches!(detector.look(0, &segment(SERVER, CLIENT, 0, 0, payload)), Verdict::Server(_))
        };
        for version in [&b"8.4.3"[..], b"9.7.4-2", b"5.5.5-10.11.19-MariaDB-1:10.11+deb12u1", b"4.1.22-log"] {
            assert!(found(&greeting(version)));
        }
        assert!(!found(&greeting(b"")));
        assert!(!found(&greeting(b"HTTP")));
        assert!(!found(&greeting(b"8.4 \x01")));
        assert!(!found(&greeting(b"8.4.3")[..20]));
        assert!(!found(b"SSH-2.0-OpenSSH_9.2\r\n"));
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut detector = Detector::new(Syntax::default());
        for port in 0..=u16::MAX {
            let client = format!("10.0.0.1:{port}");
            detector.look(0, &segment(&client, "10.0.0.2:99", 0, 0, &query(b"select 1")));
            assert!(detector.asked.len() <= ASKED_MAX);
        }
    }
}
