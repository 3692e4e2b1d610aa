//! Makes the frames of one connection: bytes of either side enter, IPv4 packets with right sequence numbers leave.

use etherparse::{Ipv4Slice, PacketBuilder, TcpSlice};

use super::super::handshake::capability as c;

const CLIENT: [u8; 4] = [10, 0, 0, 1];
const SERVER: [u8; 4] = [10, 0, 0, 2];
/// Payload bytes in one segment.
const SEGMENT: usize = 60_000;

/// The frames of a connection, with their times.
#[derive(Debug, Clone)]
pub(super) struct Script {
    pub(super) frames: Vec<(i64, Vec<u8>)>,
    client: u32,
    server: u32,
    now_us: i64,
}

/// A payload as a packet.
pub(super) fn packet(number: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_le_bytes()[..3].to_vec();
    bytes.push(number);
    bytes.extend_from_slice(payload);
    bytes
}

pub(super) fn query(text: &[u8]) -> Vec<u8> {
    packet(0, &[&[3], text].concat())
}

pub(super) fn ok(affected: u8, more: bool) -> Vec<u8> {
    vec![0, affected, 0, if more { 0x0a } else { 2 }, 0, 0, 0]
}

pub(super) fn error(code: u16) -> Vec<u8> {
    [&[0xff][..], &code.to_le_bytes(), b"#HY000message"].concat()
}

pub(super) fn eof(status: u8) -> Vec<u8> {
    vec![0xfe, 0, 0, status, 0]
}

/// A result set with one column and `count` rows of `width` bytes.
pub(super) fn rows(number: u8, modern: bool, count: u8, width: u8) -> Vec<u8> {
    let mut number = number;
    let mut out = Vec::new();
    let mut add = |payload: &[u8]| {
        out.extend(packet(number, payload));
        number = number.wrapping_add(1);
    };
    add(b"\x01");
    add(b"\x03def\x04shop\x01t\x01t\x01a\x01a");
    if !modern {
        add(&eof(2));
    }
    for _ in 0..count {
        add(&[&[width][..], &vec![b'r'; usize::from(width)]].concat());
    }
    if modern {
        add(b"\xfe\0\0\x02\0\0\0");
    } else {
        add(&eof(2));
    }
    out
}

/// Whether two frames go the same way.
pub(super) fn same_direction(a: &[u8], b: &[u8]) -> bool {
    let port = |frame: &[u8]| {
        let ip = Ipv4Slice::from_slice(frame).expect("IPv4");
        TcpSlice::from_slice(ip.payload().payload).expect("TCP").source_port()
    };
    port(a) == port(b)
}

impl Script {
    /// A connection found in the middle.
    pub(super) fn midstream() -> Self {
        Script { frames: Vec::new(), client: 5_000, server: u32::MAX - 50, now_us: 0 }
    }

    /// A connection with its opening.
    pub(super) fn begun() -> Self {
        let mut script = Script::midstream();
        let builder =
            PacketBuilder::ipv4(CLIENT, SERVER, 64).tcp(40_000, 3306, script.client.wrapping_sub(1), 1000).syn();
        script.write(builder);
        let builder = PacketBuilder::ipv4(SERVER, CLIENT, 64)
            .tcp(3306, 40_000, script.server.wrapping_sub(1), 1000)
            .syn()
            .ack(script.client);
        script.write(builder);
        script
    }

    /// A connection whose user `app` is logged in with default schema `shop`.
    pub(super) fn login(capabilities: u64) -> Self {
        let capabilities = capabilities | c::LONG_PASSWORD | c::PROTOCOL_41 | c::SECURE_CONNECTION | c::CONNECT_WITH_DB;
        let mut script = Script::begun();
        let mut greeting = b"\x0a9.7.4\0\x01\0\0\0saltsalt\0".to_vec();
        greeting.extend(&(capabilities as u16).to_le_bytes());
        greeting.extend([0xff, 2, 0]);
        greeting.extend(&((capabilities >> 16) as u16).to_le_bytes());
        greeting.extend([0; 30]);
        script.server(10, &packet(0, &greeting));
        let mut answer = (capabilities as u32).to_le_bytes().to_vec();
        answer.extend([0; 28]);
        answer.extend(b"app\0\x04saltshop\0");
        script.turn(&packet(1, &answer), &packet(2, &ok(0, false)));
        script
    }

    pub(super) fn now(&self) -> i64 {
        self.now_us
    }

    pub(super) fn wait(&mut self, us: i64) {
        self.now_us += us;
    }

    fn write(&mut self, builder: etherparse::PacketBuilderStep<etherparse::TcpHeader>) {
        self.write_with(builder, &[]);
    }

    fn write_with(&mut self, builder: etherparse::PacketBuilderStep<etherparse::TcpHeader>, payload: &[u8]) {
        let mut frame = Vec::new();
        builder.write(&mut frame, payload).expect("writes");
        self.frames.push((self.now_us, frame));
    }

    /// The client sends bytes.
    pub(super) fn client(&mut self, ts_us: i64, bytes: &[u8]) {
        self.now_us = ts_us;
        for part in bytes.chunks(SEGMENT) {
            let builder = PacketBuilder::ipv4(CLIENT, SERVER, 64).tcp(40_000, 3306, self.client, 1000).ack(self.server);
            self.write_with(builder, part);
            self.client = self.client.wrapping_add(part.len() as u32);
        }
    }

    /// The server sends bytes.
    pub(super) fn server(&mut self, ts_us: i64, bytes: &[u8]) {
        self.now_us = ts_us;
        for part in bytes.chunks(SEGMENT) {
            let builder = PacketBuilder::ipv4(SERVER, CLIENT, 64).tcp(3306, 40_000, self.server, 1000).ack(self.client);
            self.write_with(builder, part);
            self.server = self.server.wrapping_add(part.len() as u32);
        }
    }

    /// The client asks and the server answers 100 µs later.
    pub(super) fn turn(&mut self, request: &[u8], answer: &[u8]) {
        self.client(self.now_us + 50, request);
        self.server(self.now_us + 100, answer);
    }

    /// The server sent bytes that were not captured.
    pub(super) fn lose_server(&mut self, bytes: u32) {
        self.server = self.server.wrapping_add(bytes);
    }

    /// Both sides end.
    pub(super) fn close(&mut self) {
        let builder =
            PacketBuilder::ipv4(CLIENT, SERVER, 64).tcp(40_000, 3306, self.client, 1000).fin().ack(self.server);
        self.write(builder);
        let builder =
            PacketBuilder::ipv4(SERVER, CLIENT, 64).tcp(3306, 40_000, self.server, 1000).fin().ack(self.client);
        self.write(builder);
    }
}
