//! One TCP connection of a client with a watched server: ordered bytes of both directions enter; the session gets its packets.
//! Here bytes get their place in the books, and a direction that lost bytes is picked up again: the client's at bytes that can
//! be a request, the server's at the first byte behind one. It must never count a byte twice.

use super::commands;
use super::compression::{self, Unpacker};
use super::ended::Flags;
use super::packets::Reader;
use super::responses;
use super::session::{Context, Flow, Phase, Session, Why};
use super::stream::{Origin, Piece, Stream, before};
use super::table::Statement;
use super::tls::{self, Turn, Turns};
use millrace_schemas::digest::{DigestId, Syntax};

/// A direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

/// What reads one direction's bytes once they are in order.
#[derive(Debug, Default)]
struct Tail {
    reader: Reader,
    unpacker: Option<Unpacker>,
    /// The next byte is known to belong where the reader is.
    synced: bool,
}

/// What the bytes are where a direction may be picked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// The beginning of a request.
    Request,
    /// Of a connection that is not as it was taken to be: they are to be looked at again.
    Other,
    /// Nothing that is known to begin there.
    Nothing,
}

/// Both directions behind the reassembly.
#[derive(Debug)]
struct Inner {
    client: Tail,
    server: Tail,
    session: Session,
    turns: Turns,
    /// The sequence number behind the last bytes of the server that no request was known for.
    passed: Option<u32>,
    /// The sequence number of the server's first byte, where its SYN said it.
    server_began: Option<u32>,
    /// Up to where the client had received the server's bytes when it sent those at hand.
    acknowledged: Option<u32>,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) instance: u32,
    /// Its number among those of the capture.
    pub(super) number: u64,
    pub(super) last_us: i64,
    client_stream: Stream,
    server_stream: Stream,
    inner: Inner,
    closed: [bool; 2],
    /// What of this connection is counted in the decoder's sum of memory.
    pub(super) memory_counted: usize,
}

/// How long the server of an encrypted session must be silent until its answer is taken for whole. 200 ms: answers stream
/// without such pauses on a network that works.
const TURN_SILENCE_US: i64 = 200_000;

/// How far data may be ahead of the SYN before it in the order of capture: 1 MiB, as for other segments.
const OVERTAKING_BYTES: u32 = 1 << 20;

/// Longest packet of a handshake. 64 KiB: certificates and keys of authentication plugins are far smaller.
const HANDSHAKE_BYTES_MAX: usize = 64 << 10;

impl Connection {
    /// A connection whose beginning is seen.
    pub(super) fn begun(instance: u32, number: u64, syntax: Syntax, ts_us: i64) -> Self {
        Connection::new(instance, number, ts_us, Session::begun(syntax), true)
    }

    /// A connection that is found in the middle.
    pub(super) fn midstream(instance: u32, number: u64, syntax: Syntax, ts_us: i64) -> Self {
        Connection::new(instance, number, ts_us, Session::midstream(syntax), false)
    }

    fn new(instance: u32, number: u64, ts_us: i64, session: Session, synced: bool) -> Self {
        let tail = || Tail { synced, ..Tail::default() };
        Connection {
            instance,
            number,
            last_us: ts_us,
            client_stream: Stream::default(),
            server_stream: Stream::default(),
            inner: Inner {
                client: tail(),
                server: tail(),
                session,
                turns: Turns::default(),
                passed: None,
                server_began: None,
                acknowledged: None,
            },
            closed: [false; 2],
            memory_counted: 0,
        }
    }

    /// A SYN says that the direction starts at this sequence number; false when it belongs to a later connection, because
    /// this one started elsewhere.
    pub(super) fn start(&mut self, side: Side, sequence: u32) -> bool {
        let stream = self.stream(side);
        if let Some(base) = stream.base() {
            // Its first data may overtake a SYN.
            return base.wrapping_sub(sequence) < OVERTAKING_BYTES;
        }
        stream.start(sequence);
        if side == Side::Server {
            self.inner.server_began = Some(sequence);
        }
        true
    }

    fn stream(&mut self, side: Side) -> &mut Stream {
        match side {
            Side::Client => &mut self.client_stream,
            Side::Server => &mut self.server_stream,
        }
    }

    /// The other side has everything before `sequence`.
    pub(super) fn acknowledge(&mut self, side: Side, sequence: u32) {
        self.stream(side).acknowledge(sequence);
    }

    /// One side sends no more; whether both do not.
    pub(super) fn close(&mut self, side: Side) -> bool {
        self.closed[side as usize] = true;
        self.closed == [true; 2]
    }

    /// Takes a segment's payload.
    pub(super) fn receive(&mut self, side: Side, origin: Origin, payload: &[u8], cut: u32, cx: &mut Context<'_>) {
        let Connection { client_stream, server_stream, inner, .. } = self;
        let stream = if side == Side::Client { client_stream } else { server_stream };
        let waiting = stream.waiting_bytes();
        let received = stream.receive(origin, payload, cut, &mut |piece| inner.piece(side, &piece, cx));
        cx.books.duplicate += received.duplicate;
        cx.books.segments_duplicate += u64::from(received.repeated);
        cx.books.segments_early += u64::from(received.early);
        cx.books.waiting = cx.books.waiting + stream.waiting_bytes() as u64 - waiting as u64;
    }

    /// Gives up what waited too long, and ends turns of encrypted sessions that are over.
    pub(super) fn expire(&mut self, now_us: i64, cx: &mut Context<'_>) {
        for side in [Side::Client, Side::Server] {
            self.give_up(side, Some(now_us), cx);
        }
        if let Some(turn) = self.inner.turns.expire(now_us - TURN_SILENCE_US) {
            self.inner.turn(turn, cx);
        }
    }

    /// Gives up what waits: all of it, or what is too old at `now_us`.
    fn give_up(&mut self, side: Side, now_us: Option<i64>, cx: &mut Context<'_>) {
        let Connection { client_stream, server_stream, inner, .. } = self;
        let stream = if side == Side::Client { client_stream } else { server_stream };
        let waiting = stream.waiting_bytes();
        if waiting == 0 {
            return;
        }
        let mut deliver = |piece: Piece<'_>| inner.piece(side, &piece, cx);
        let received = match now_us {
            Some(now_us) => stream.expire(now_us, &mut deliver),
            None => stream.give_up(&mut deliver),
        };
        cx.books.duplicate += received.duplicate;
        cx.books.waiting = cx.books.waiting + stream.waiting_bytes() as u64 - waiting as u64;
    }

    /// The connection ends.
    pub(super) fn finish(&mut self, cx: &mut Context<'_>) {
        self.give_up(Side::Client, None, cx);
        self.give_up(Side::Server, None, cx);
        if let Some(turn) = self.inner.turns.finish() {
            self.inner.turn(turn, cx);
        }
        self.inner.session.abandon(self.last_us, Flags::default(), cx);
    }

    /// Lets go of everything that takes memory.
    pub(super) fn press(&mut self, cx: &mut Context<'_>) {
        cx.books.pressed += 1;
        self.give_up(Side::Client, None, cx);
        self.give_up(Side::Server, None, cx);
        self.inner.lose(Side::Client, self.last_us, cx);
        for tail in [&mut self.inner.client, &mut self.inner.server] {
            tail.reader = Reader::default();
        }
        self.inner.session.forget_statements(cx);
    }

    /// Its account is not known, and it is one of the protocol.
    pub(super) fn is_unnamed(&self) -> bool {
        let session = &self.inner.session;
        session.user == 0 && matches!(session.phase, Phase::Commands | Phase::Encrypted | Phase::Stream)
    }

    /// Whose it is, as far as it has not said so itself.
    pub(super) fn name(&mut self, user: u32, schema: u32, thread: u32) {
        self.inner.session.name(user, schema, thread);
    }

    /// Bytes that wait for earlier ones.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.client_stream.waiting_bytes() + self.server_stream.waiting_bytes()
    }

    /// Bytes of memory that its buffers, and what its session remembers, take.
    pub(super) fn memory(&self) -> usize {
        let tails = [&self.inner.client, &self.inner.server];
        let tails = tails.map(|tail| tail.reader.kept_bytes() + tail.unpacker.as_ref().map_or(0, Unpacker::kept_bytes));
        self.waiting_bytes() + tails[0] + tails[1] + self.inner.session.memory()
    }
}

impl Inner {
    fn piece(&mut self, side: Side, piece: &Piece<'_>, cx: &mut Context<'_>) {
        match *piece {
            Piece::Bytes(Origin { ts_us, sequence, acknowledges }, data) => {
                if side == Side::Client {
                    self.acknowledged = acknowledges;
                }
                let waited = self.session.waits();
                self.bytes(side, ts_us, data, cx);
                if side == Side::Server && !(waited && self.server.synced) {
                    self.passed = Some(sequence.wrapping_add(data.len() as u32));
                }
            }
            Piece::Hole(ts_us, length) => self.hole(side, ts_us, length, cx),
        }
    }

    fn bytes(&mut self, side: Side, ts_us: i64, data: &[u8], cx: &mut Context<'_>) {
        let length = data.len() as u64;
        if side == Side::Client && self.session.phase == Phase::Greeting {
            // In the MySQL protocol the server speaks first, though perhaps not before this capture.
            if self.acknowledged.zip(self.server_began).is_some_and(|(received, began)| before(began, received)) {
                self.session.miss_greeting();
            } else {
                self.session.phase = Phase::Foreign(Why::Protocol);
            }
        }
        let packed = self.tail(side).unpacker.is_some();
        match self.session.phase {
            Phase::Encrypted => {
                cx.books.encrypted += length;
                match side {
                    Side::Client => {
                        if let Some(turn) = self.turns.client(ts_us, data) {
                            self.turn(turn, cx);
                        }
                    }
                    Side::Server => self.turns.server(ts_us, data),
                }
            }
            Phase::Foreign(why) => cx.books.undecodable(why, length),
            _ if packed => self.packed(side, ts_us, data, cx),
            _ => {
                let rest = self.plain(side, ts_us, data, true, cx);
                if rest > 0 {
                    // The phase has changed on the way: the rest is of another kind.
                    self.bytes(side, ts_us, &data[data.len() - rest..], cx);
                }
            }
        }
    }

    fn tail(&mut self, side: Side) -> &mut Tail {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    fn packed(&mut self, side: Side, ts_us: i64, data: &[u8], cx: &mut Context<'_>) {
        if !self.tail(side).synced && !self.resync_packed(side, data) {
            cx.books.skipped += data.len() as u64;
            return;
        }
        let Some(mut unpacker) = self.tail(side).unpacker.take() else { return };
        let unpacked = unpacker.take(data, |plain| {
            self.plain(side, ts_us, plain, false, cx);
        });
        if unpacked.is_ok() {
            cx.books.decoded += data.len() as u64;
            self.tail(side).unpacker = Some(unpacker);
        } else {
            cx.books.undecodable(Why::Frame, data.len() as u64);
            self.session.abandon(ts_us, Flags::LOST, cx);
            self.session.phase = Phase::Foreign(Why::Frame);
        }
    }

    /// Picks a compressed direction up: at a client's first frame.
    fn resync_packed(&mut self, side: Side, data: &[u8]) -> bool {
        if side == Side::Server || !compression::is_first_frame(data) {
            return false;
        }
        self.client.synced = true;
        self.client.reader.reset();
        true
    }

    /// Reads packets; how many bytes at the end are left, because the phase has changed. `count`: the bytes are those of the
    /// wire, and go into the books here.
    fn plain(&mut self, side: Side, ts_us: i64, data: &[u8], count: bool, cx: &mut Context<'_>) -> usize {
        let mut data = data;
        loop {
            if matches!(self.session.phase, Phase::Encrypted | Phase::Foreign(_)) {
                return data.len();
            }
            if self.session.phase == Phase::Stream {
                cx.books.decoded += if count { data.len() as u64 } else { 0 };
                return 0;
            }
            if !self.tail(side).synced && !data.is_empty() {
                match self.resync(side, data, count) {
                    Found::Request => {}
                    Found::Other => return data.len(),
                    Found::Nothing => {
                        cx.books.skipped += if count { data.len() as u64 } else { 0 };
                        return 0;
                    }
                }
            }
            let waited = self.session.waits();
            let before = data.len();
            let Inner { client, server, session, .. } = self;
            let packet = match side {
                Side::Client => client.reader.next(ts_us, &mut data, session.kept()),
                Side::Server => server.reader.next(ts_us, &mut data, responses::kept),
            };
            cx.books.decoded += if count { (before - data.len()) as u64 } else { 0 };
            // By reference, here and below: what was just written in small pieces is slow to read in large ones.
            let Some(packet) = &packet else {
                return self.check_handshake(side);
            };
            let flow = match side {
                Side::Client => session.client(packet, cx),
                Side::Server => session.server(packet, cx),
            };
            match flow {
                Flow::Going => {}
                Flow::Lost => self.lose(side, ts_us, cx),
                Flow::Compressed => {
                    self.unpack();
                    return data.len();
                }
            }
            if side == Side::Client && !waited && self.session.waits() {
                self.await_answer(ts_us, cx);
            }
            if data.is_empty() {
                return 0;
            }
        }
    }

    /// A request came, and no other waits: what the server sends next is its answer, unless that was passed over already, as a
    /// capture may have packets out of order. It was if the client had not received all of what was passed over when it asked.
    fn await_answer(&mut self, ts_us: i64, cx: &mut Context<'_>) {
        let answered = self.passed.zip(self.acknowledged).is_some_and(|(passed, received)| before(received, passed));
        if answered {
            return self.session.abandon(ts_us, Flags::LOST, cx);
        }
        if !self.server.synced {
            self.server.synced = true;
            self.server.reader.reset();
        }
    }

    /// What announces a packet that no handshake has is another protocol.
    fn check_handshake(&mut self, side: Side) -> usize {
        let announced = self.tail(side).reader.announced();
        let handshake = matches!(self.session.phase, Phase::Greeting | Phase::Login | Phase::Auth);
        if handshake && announced > HANDSHAKE_BYTES_MAX {
            self.session.phase = Phase::Foreign(Why::Protocol);
        }
        0
    }

    /// What follows is compressed.
    fn unpack(&mut self) {
        self.client.unpacker = Some(Unpacker::default());
        self.server.unpacker = Some(Unpacker::default());
    }

    /// Tries to pick a direction up at the start of a segment. What the handshake said of the connection may be unknown too.
    fn resync(&mut self, side: Side, data: &[u8], wire: bool) -> Found {
        let unknown = self.session.phase == Phase::Commands && self.session.is_midstream() && wire;
        if unknown && tls::looks_like(data) {
            self.session.phase = Phase::Encrypted;
            return Found::Other;
        }
        if side == Side::Server {
            return Found::Nothing;
        }
        if unknown && compression::plausible(data) {
            self.session.compress();
            self.unpack();
            return Found::Other;
        }
        if !commands::plausible(data) {
            return Found::Nothing;
        }
        self.client.synced = true;
        self.client.reader.reset();
        Found::Request
    }

    fn hole(&mut self, side: Side, ts_us: i64, length: u64, cx: &mut Context<'_>) {
        cx.books.missing += length;
        cx.books.holes += u64::from(length > 0);
        match self.session.phase {
            Phase::Encrypted => self.turns.hole(),
            Phase::Foreign(_) | Phase::Stream => {}
            _ => {
                let tail = self.tail(side);
                if tail.unpacker.is_none() && tail.synced && tail.reader.skip(length) {
                    if tail.reader.ready() {
                        self.plain(side, ts_us, &[], true, cx);
                    }
                } else if tail.synced {
                    self.lose(side, ts_us, cx);
                }
            }
        }
    }

    /// A direction must be picked up again, and answers that wait are lost with it.
    fn lose(&mut self, side: Side, ts_us: i64, cx: &mut Context<'_>) {
        cx.books.resyncs += 1;
        let sides: &[Side] = if side == Side::Client { &[Side::Client, Side::Server] } else { &[Side::Server] };
        for side in sides {
            let tail = self.tail(*side);
            tail.synced = false;
            tail.reader.reset();
            if let Some(unpacker) = &mut tail.unpacker {
                unpacker.reset();
            }
        }
        self.session.lose(ts_us, cx);
    }

    fn turn(&mut self, turn: Turn, cx: &mut Context<'_>) {
        cx.books.encrypted_turns += 1;
        let since = |ts_us: i64| u64::try_from(ts_us - turn.request_us).unwrap_or(0);
        let statement = Statement {
            end_us: turn.last_us,
            instance: cx.instance,
            schema: self.session.schema,
            user: self.session.user,
            digest: DigestId::ENCRYPTED,
            kind: None,
            count: 1,
            error: None,
            rows_sent: 0,
            rows_affected: 0,
            bytes_in: turn.bytes_in,
            bytes_out: turn.bytes_out,
            rt_us: Some((since(turn.first_us), since(turn.last_us))),
        };
        cx.table.add(&statement);
        self.session.show_turn(turn.request_us, &statement, cx);
    }
}
