//! The decoder: frames with their times enter, in the order of capture; rows, new digests and books leave. It knows which
//! endpoints are watched servers, and follows each of their connections. Pure: it reads no clock and touches no device, so
//! that a file gives the numbers that the interface gave. Its memory is bounded per connection and in total.

use std::collections::HashMap;
use std::mem;
use std::net::{IpAddr, SocketAddr};

use foldhash::fast::FixedState;
use millrace_schemas::digest::Syntax;
use millrace_schemas::ids::InstanceId;

use super::books::Books;
use super::commands::protocol_name;
use super::connection::{Connection, Side};
use super::detect::{Detector, Verdict};
use super::ended::{Ended, Shown, Timed};
use super::ends::Ends;
use super::frames::{self, NoSegment, Segment};
use super::sampling::Sampling;
use super::session::Context;
use super::shares::Share;
use super::stream::Origin;
use super::table::{Flushed, Table};
use super::watched::{Named, UNNAMED_MAX, Unnamed};
use crate::statements::{Known, NewDigest};

/// Most connections that are followed at once. 20,000: twice the highest `max_connections` that is used in earnest.
const CONNECTIONS_MAX: usize = 20_000;
/// Connections without a packet for this long are let go when room is needed: 10 minutes.
const IDLE_US: i64 = 600_000_000;
/// Most bytes that all connections' buffers may take together. 64 MiB: half of the agent's 128 MiB.
const MEMORY_MAX: usize = 64 << 20;

/// A server whose connections are decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its address; none means the port on any address.
    pub address: Option<IpAddr>,
    /// Its port.
    pub port: u16,
    /// The instance that listens there.
    pub instance: InstanceId,
    /// How statements of its sessions are to be read unless they say otherwise: `@@global.sql_mode`.
    pub syntax: Syntax,
}

/// Where a segment belongs.
struct Place {
    ends: Ends,
    side: Side,
    instance: u32,
    /// Its connection is known.
    followed: bool,
}

/// Decodes what is captured of the connections of known servers.
pub struct Decoder {
    /// Looked up for every packet of who is not followed.
    servers: HashMap<(Option<IpAddr>, u16), u32, FixedState>,
    instances: Vec<InstanceId>,
    /// By the number of the instance.
    syntaxes: Vec<Syntax>,
    /// Looks for servers that nobody named.
    detector: Option<Detector>,
    /// Hashed alike in every run: the same capture gives the same commands in the same order.
    connections: HashMap<Ends, Connection, FixedState>,
    /// Which of them are followed.
    sampling: Sampling,
    common: Common,
    memory: usize,
    share: Share,
}

/// What all connections write to.
struct Common {
    known: Known,
    table: Table,
    books: Books,
    commands: Box<[u64; 256]>,
    /// Commands as they ended.
    shown: Shown,
}

impl Common {
    fn of<'a>(&'a mut self, ends: &'a Ends, connection: &Connection) -> Context<'a> {
        Context {
            known: &mut self.known,
            table: &mut self.table,
            books: &mut self.books,
            commands: &mut self.commands,
            shown: &mut self.shown,
            instance: connection.instance,
            client: &ends.client,
            server: &ends.server,
            connection: connection.number,
        }
    }
}

impl Decoder {
    /// A decoder for these servers.
    pub fn new(servers: &[Server]) -> Self {
        let mut decoder = Decoder {
            servers: HashMap::default(),
            instances: Vec::new(),
            syntaxes: Vec::new(),
            detector: None,
            connections: HashMap::default(),
            sampling: Sampling::default(),
            common: Common {
                known: Known::new(),
                table: Table::new(),
                books: Books::default(),
                commands: Box::new([0; 256]),
                shown: Shown::Nothing,
            },
            memory: 0,
            share: Share::WHOLE,
        };
        decoder.set_servers(servers);
        decoder
    }

    /// Looks for servers also where nobody named one, by what they say; their sessions begin with this syntax.
    pub fn detect(&mut self, syntax: Syntax) {
        self.detector = Some(Detector::new(syntax));
    }

    /// Keeps each command as it ends, for [`Decoder::take_ended`]: who calls this must take them often.
    pub fn keep_ended(&mut self) {
        self.common.shown = Shown::Commands(Vec::new());
    }

    /// Keeps how long each command took, for [`Decoder::take_times`]: who calls this must take them often.
    pub fn keep_times(&mut self) {
        self.common.shown = Shown::Times(Vec::new());
    }

    /// Decodes only this share of the connections: it has its part of the memory, and leaves it to whoever joins the shares which
    /// digests have rows of their own.
    pub(super) fn take_share(&mut self, share: Share) {
        self.common.table.keep_all(share.of > 1);
        self.share = share;
    }

    pub(super) fn share(&self) -> Share {
        self.share
    }

    pub(super) fn detects(&self) -> bool {
        self.detector.is_some()
    }

    /// Commands are told one by one.
    pub(super) fn tells_each(&self) -> bool {
        !matches!(self.common.shown, Shown::Nothing)
    }

    /// How many commands wait to be taken.
    pub(super) fn waiting(&self) -> usize {
        self.common.shown.waiting()
    }

    /// The commands that ended since the last call, in the order in which they did.
    pub fn take_ended(&mut self) -> Vec<Ended> {
        match &mut self.common.shown {
            Shown::Commands(ended) => mem::take(ended),
            Shown::Nothing | Shown::Times(_) => Vec::new(),
        }
    }

    /// How long commands took that ended since the last call, in the order in which they did.
    pub fn take_times(&mut self) -> Vec<Timed> {
        match &mut self.common.shown {
            Shown::Times(times) => mem::take(times),
            Shown::Nothing | Shown::Commands(_) => Vec::new(),
        }
    }

    /// Each connection that is followed stands for so many.
    pub fn sample_factor(&self) -> u32 {
        self.sampling.factor()
    }

    /// How many connections are followed.
    pub(super) fn followed(&self) -> usize {
        self.connections.len()
    }

    /// One of so many connections must reach this decoder, in the same choice; others it leaves out anyway.
    pub(super) fn passed_factor(&self) -> u32 {
        self.sampling.passed()
    }

    /// Follows one of so many connections, rounded up to a power of two and 64 at most, from the next second of the capture on.
    /// Rows and totals say so: their counts are those of the connections that were followed.
    pub fn sample_one_of(&mut self, factor: u32, now_us: i64) {
        self.sampling.plan(factor, now_us);
    }

    /// Watches these servers from now on. Connections that are being followed go on.
    pub fn set_servers(&mut self, servers: &[Server]) {
        self.servers.clear();
        for server in servers {
            self.add_server(server);
        }
    }

    fn add_server(&mut self, server: &Server) {
        let known = self.instances.iter().position(|instance| *instance == server.instance);
        let number = known.unwrap_or_else(|| {
            self.instances.push(server.instance.clone());
            self.syntaxes.push(server.syntax);
            self.instances.len() - 1
        });
        self.syntaxes[number] = server.syntax;
        self.servers.insert((server.address, server.port), number as u32);
    }

    /// Takes one frame.
    pub fn packet(&mut self, ts_us: i64, frame: &[u8], link_type: i32) {
        self.sample(ts_us);
        let books = &mut self.common.books;
        books.frames += 1;
        books.frame_bytes += frame.len() as u64;
        match frames::segment(link_type, frame) {
            Ok(segment) => self.segment(ts_us, &segment),
            Err(NoSegment::Foreign) => books.frames_foreign += 1,
            Err(NoSegment::Fragment) => books.frames_fragment += 1,
            Err(NoSegment::Unreadable | NoSegment::LinkType) => books.frames_unreadable += 1,
        }
    }

    fn instance_at(&self, end: SocketAddr) -> Option<u32> {
        let exact = self.servers.get(&(Some(end.ip()), end.port()));
        exact.or_else(|| self.servers.get(&(None, end.port()))).copied()
    }

    /// Which connection a segment belongs to, which has one of these ends.
    fn place(&self, segment: &Segment<'_>, sides: [(Ends, Side); 2]) -> Option<Place> {
        let followed = |(ends, side)| {
            let instance = self.connections.get(&ends)?.instance;
            Some(Place { ends, side, instance, followed: true })
        };
        let new = |(ends, side): (Ends, Side)| {
            let instance = self.instance_at(ends.server)?;
            Some(Place { ends, side, instance, followed: false })
        };
        let sent_by = |by| move |(_, side): &(Ends, Side)| *side == by;
        let answers = segment.syn && segment.acknowledges.is_some();
        let [asked, answered] = [Side::Client, Side::Server].map(|by| sides.into_iter().find(sent_by(by)));
        let known = sides.into_iter().find_map(followed);
        known.or_else(|| asked.filter(|_| !answers).and_then(new)).or_else(|| answered.and_then(new))
    }

    fn segment(&mut self, ts_us: i64, segment: &Segment<'_>) {
        // Nearly every one is of a connection that is followed.
        let sides = Ends::of(segment);
        if !segment.syn && sides.iter().any(|(ends, side)| self.hand(ends, *side, ts_us, segment)) {
            self.common.books.captured += segment.payload.len() as u64;
            return;
        }
        let Some(mut place) = self.place(segment, sides) else { return self.unplaced(ts_us, segment) };
        self.common.books.captured += segment.payload.len() as u64;
        if !place.followed && !place.ends.are_followed(self.share, self.sampling.factor()) {
            self.common.books.shed += segment.payload.len() as u64;
            self.common.books.connections_shed += u64::from(segment.syn && place.side == Side::Client);
            return;
        }
        if segment.syn {
            place.followed = self.begin(&place, ts_us, segment);
        }
        if !place.followed && (segment.is_empty() || !self.find(&place, ts_us, segment)) {
            self.common.books.shed += segment.payload.len() as u64;
            return;
        }
        self.hand(&place.ends, place.side, ts_us, segment);
    }

    /// Hands a segment to its connection, if that is followed; whether it is.
    fn hand(&mut self, ends: &Ends, side: Side, ts_us: i64, segment: &Segment<'_>) -> bool {
        let Some(connection) = self.connections.get_mut(ends) else { return false };
        let cx = &mut self.common.of(ends, connection);
        connection.last_us = ts_us;
        if let Some(acknowledged) = segment.acknowledges {
            let other = if side == Side::Client { Side::Server } else { Side::Client };
            connection.acknowledge(other, acknowledged);
        }
        if !segment.is_empty() {
            let sequence = segment.sequence.wrapping_add(u32::from(segment.syn));
            let origin = Origin { ts_us, sequence, acknowledges: segment.acknowledges };
            connection.receive(side, origin, segment.payload, segment.cut, cx);
        }
        if connection.memory() != connection.memory_counted {
            self.memory = self.memory + connection.memory() - connection.memory_counted;
            connection.memory_counted = connection.memory();
            if self.memory > MEMORY_MAX / self.share.of {
                connection.press(cx);
                self.memory = self.memory + connection.memory() - connection.memory_counted;
                connection.memory_counted = connection.memory();
            }
        }
        if segment.rst || (segment.fin && connection.close(side)) {
            self.end(*ends);
        }
        true
    }

    /// Begins to follow as many as was planned. Of who is not followed any more nothing is counted that had not ended: what did end
    /// stands for fewer.
    fn sample(&mut self, now_us: i64) {
        if !self.sampling.turns(now_us) {
            return;
        }
        self.common.table.set_sample_factor(self.sampling.factor());
        let Decoder { sampling, connections, common, memory, share, .. } = self;
        connections.retain(|ends, connection| {
            let stays = ends.are_followed(*share, sampling.factor());
            if !stays {
                let waiting = connection.waiting_bytes() as u64;
                common.books.waiting -= waiting;
                common.books.shed += waiting;
                common.books.connections_shed += 1;
                *memory -= connection.memory_counted;
            }
            stays
        });
    }

    /// A segment of nobody's server: perhaps of one that nobody named.
    fn unplaced(&mut self, ts_us: i64, segment: &Segment<'_>) {
        let verdict = self.detector.as_mut().map_or(Verdict::Nothing, |detector| detector.look(ts_us, segment));
        match verdict {
            Verdict::Nothing => self.common.books.frames_foreign += 1,
            Verdict::Server(server) => {
                self.add_server(&server);
                self.segment(ts_us, segment);
            }
            Verdict::Answer(server, request) => {
                self.add_server(&server);
                // It was taken for nobody's when it came.
                self.common.books.frames_foreign -= 1;
                self.segment(request.ts_us, &request.segment());
                self.segment(ts_us, segment);
            }
        }
    }

    /// A connection begins; false when there is no room for it.
    fn begin(&mut self, &Place { ends, side, instance, .. }: &Place, ts_us: i64, segment: &Segment<'_>) -> bool {
        let start = segment.sequence.wrapping_add(1);
        if let Some(old) = self.connections.get_mut(&ends) {
            if old.start(side, start) {
                return true;
            }
            self.end(ends);
        }
        if !self.has_room(ts_us) {
            return false;
        }
        let number = self.next_number();
        let mut connection = Connection::begun(instance, number, self.syntaxes[instance as usize], ts_us);
        connection.start(side, start);
        self.connections.insert(ends, connection);
        true
    }

    /// A connection is found in the middle; false when there is no room for it.
    fn find(&mut self, &Place { ends, side, instance, .. }: &Place, ts_us: i64, segment: &Segment<'_>) -> bool {
        if !self.has_room(ts_us) {
            return false;
        }
        let (number, syntax) = (self.next_number(), self.syntaxes[instance as usize]);
        // A server's greeting: only the SYN was missed.
        let greets = side == Side::Server && matches!(segment.payload, [_, _, 0, 0, 10, ..]);
        let connection = if greets {
            Connection::begun(instance, number, syntax, ts_us)
        } else {
            self.common.books.connections_midstream += 1;
            Connection::midstream(instance, number, syntax, ts_us)
        };
        self.connections.insert(ends, connection);
        true
    }

    /// The numbers of all shares are different.
    fn next_number(&mut self) -> u64 {
        self.common.books.connections += 1;
        self.share.number_of(self.common.books.connections)
    }

    fn has_room(&mut self, ts_us: i64) -> bool {
        let room = self.connections.len() < CONNECTIONS_MAX;
        if !room {
            self.common.books.connections_shed += 1;
            self.sampling.halve(ts_us);
        }
        room
    }

    fn end(&mut self, ends: Ends) {
        if let Some(mut connection) = self.connections.remove(&ends) {
            let cx = &mut self.common.of(&ends, &connection);
            connection.finish(cx);
            self.memory -= connection.memory_counted;
        }
    }

    /// Says what time it is, in packet time: holes that are too old are given up, and room is made when it is short.
    pub fn tick(&mut self, now_us: i64) {
        self.sample(now_us);
        for (ends, connection) in &mut self.connections {
            let cx = &mut self.common.of(ends, connection);
            connection.expire(now_us, cx);
        }
        if self.connections.len() >= CONNECTIONS_MAX / 10 * 9 {
            let idle = |connection: &Connection| now_us - connection.last_us > IDLE_US;
            let gone: Vec<Ends> = self.connections.iter().filter(|(_, c)| idle(c)).map(|(ends, _)| *ends).collect();
            for ends in gone {
                self.end(ends);
            }
        }
    }

    /// Connections whose account is not known.
    pub fn unnamed(&self) -> Vec<Unnamed> {
        let unnamed = self.connections.iter().filter(|(_, connection)| connection.is_unnamed()).take(UNNAMED_MAX);
        let told = |(ends, connection): (&Ends, &Connection)| Unnamed {
            number: connection.number,
            instance: self.instances[connection.instance as usize].clone(),
            client: ends.client,
            server: ends.server,
        };
        unnamed.map(told).collect()
    }

    /// Whose a connection is, unless it has ended or said so itself meanwhile.
    pub fn name(&mut self, named: &Named) {
        let ends = Ends { client: named.of.client, server: named.of.server };
        let known = self.connections.get_mut(&ends).filter(|connection| connection.number == named.of.number);
        if let Some(connection) = known {
            let mut number = |name: &str| self.common.table.name(name);
            let (user, schema) = (number(&named.user), number(named.schema.as_deref().unwrap_or_default()));
            connection.name(user, schema, named.thread);
        }
    }

    /// The rows of all seconds before `second`, which are closed by this.
    pub fn flush(&mut self, before_second: i64) -> Flushed {
        self.common.table.flush(before_second, &self.instances)
    }

    /// Ends all connections, as at the end of a file, and gives all rows.
    pub fn finish(&mut self) -> Flushed {
        // In the order in which they began: the same file gives the same commands in the same order.
        let mut all: Vec<(u64, Ends)> = self.connections.iter().map(|(ends, c)| (c.number, *ends)).collect();
        all.sort_unstable_by_key(|(number, _)| *number);
        for (_, ends) in all {
            self.end(ends);
        }
        self.flush(i64::MAX)
    }

    /// The digests that were seen for the first time since the last call.
    pub fn take_new(&mut self) -> Vec<NewDigest> {
        self.common.known.take_new()
    }

    /// The books as they stand.
    pub fn books(&self) -> Books {
        self.common.books
    }

    /// How often each command was seen, by its name in the protocol.
    pub fn commands(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let counted = self.common.commands.iter().enumerate().filter(|(_, count)| **count > 0);
        counted.map(|(command, count)| (protocol_name(command as u8), *count))
    }

    /// Bytes that the buffers of all connections take.
    pub fn memory(&self) -> usize {
        self.memory
    }
}
