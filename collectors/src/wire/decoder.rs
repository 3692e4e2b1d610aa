//! The decoder: frames with their times enter, in the order of capture; rows, new digests and books leave. It knows which
//! endpoints are watched servers, and follows each of their connections. Pure: it reads no clock and touches no device, so
//! that a file gives the numbers that the interface gave. Its memory is bounded per connection and in total.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use millrace_schemas::digest::Syntax;
use millrace_schemas::ids::InstanceId;
use xxhash_rust::xxh3::Xxh3DefaultBuilder;

use super::books::Books;
use super::commands::command_name;
use super::connection::{Connection, Side};
use super::frames::{self, NoSegment, Segment};
use super::session::Context;
use super::table::{Flushed, Table};
use crate::statements::{Known, NewDigest};

/// Most connections that are followed at once. 20,000: twice the highest `max_connections` that is used in earnest.
const CONNECTIONS_MAX: usize = 20_000;
/// Connections without a packet for this long are let go when room is needed: 10 minutes.
const IDLE_US: i64 = 600_000_000;
/// Most bytes that all connections' buffers may take together. 48 MiB: leaves the agent's 128 MiB room for the rest.
const MEMORY_MAX: usize = 48 << 20;

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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Ends {
    client: SocketAddr,
    server: SocketAddr,
}

/// Decodes what is captured of the connections of known servers.
pub struct Decoder {
    servers: HashMap<(Option<IpAddr>, u16), u32>,
    instances: Vec<InstanceId>,
    /// By the number of the instance.
    syntaxes: Vec<Syntax>,
    connections: HashMap<Ends, Connection, Xxh3DefaultBuilder>,
    known: Known,
    table: Table,
    books: Books,
    commands: Box<[u64; 256]>,
    memory: usize,
}

impl Decoder {
    /// A decoder for these servers.
    pub fn new(servers: &[Server]) -> Self {
        let mut decoder = Decoder {
            servers: HashMap::new(),
            instances: Vec::new(),
            syntaxes: Vec::new(),
            connections: HashMap::default(),
            known: Known::new(),
            table: Table::new(),
            books: Books::default(),
            commands: Box::new([0; 256]),
            memory: 0,
        };
        decoder.set_servers(servers);
        decoder
    }

    /// Watches these servers from now on. Connections that are being followed go on.
    pub fn set_servers(&mut self, servers: &[Server]) {
        self.servers.clear();
        for server in servers {
            let known = self.instances.iter().position(|instance| *instance == server.instance);
            let number = known.unwrap_or_else(|| {
                self.instances.push(server.instance.clone());
                self.syntaxes.push(server.syntax);
                self.instances.len() - 1
            });
            self.syntaxes[number] = server.syntax;
            self.servers.insert((server.address, server.port), number as u32);
        }
    }

    /// Takes one frame.
    pub fn packet(&mut self, ts_us: i64, frame: &[u8], link_type: i32) {
        self.books.frames += 1;
        match frames::segment(link_type, frame) {
            Ok(segment) => self.segment(ts_us, &segment),
            Err(NoSegment::Foreign) => self.books.frames_foreign += 1,
            Err(NoSegment::Fragment) => self.books.frames_fragment += 1,
            Err(NoSegment::Unreadable | NoSegment::LinkType) => self.books.frames_unreadable += 1,
        }
    }

    fn instance_at(&self, end: SocketAddr) -> Option<u32> {
        let exact = self.servers.get(&(Some(end.ip()), end.port()));
        exact.or_else(|| self.servers.get(&(None, end.port()))).copied()
    }

    /// Which connection a segment belongs to, and in which direction it goes.
    fn place(&self, segment: &Segment<'_>) -> Option<(Ends, Side, u32)> {
        let to_server = Ends { client: segment.from, server: segment.to };
        let to_client = Ends { client: segment.to, server: segment.from };
        if let Some(connection) = self.connections.get(&to_server) {
            return Some((to_server, Side::Client, connection.instance));
        }
        if let Some(connection) = self.connections.get(&to_client) {
            return Some((to_client, Side::Server, connection.instance));
        }
        let answers = segment.syn && segment.acknowledges.is_some();
        let asked = self.instance_at(segment.to).filter(|_| !answers);
        let asked = asked.map(|instance| (to_server, Side::Client, instance));
        asked.or_else(|| self.instance_at(segment.from).map(|instance| (to_client, Side::Server, instance)))
    }

    fn segment(&mut self, ts_us: i64, segment: &Segment<'_>) {
        let Some((ends, side, instance)) = self.place(segment) else {
            self.books.frames_foreign += 1;
            return;
        };
        self.books.captured += segment.payload.len() as u64;
        if segment.syn {
            self.begin(ends, side, instance, ts_us, segment);
        }
        let empty = segment.payload.is_empty() && segment.cut == 0;
        if !self.connections.contains_key(&ends) && (empty || !self.find(ends, side, instance, ts_us, segment)) {
            self.books.shed += segment.payload.len() as u64;
            return;
        }
        let Decoder { connections, known, table, books, commands, .. } = self;
        let Some(connection) = connections.get_mut(&ends) else { return };
        let cx = &mut Context { known, table, books, commands, instance };
        connection.last_us = ts_us;
        if let Some(acknowledged) = segment.acknowledges {
            let other = if side == Side::Client { Side::Server } else { Side::Client };
            connection.acknowledge(other, acknowledged);
        }
        if !empty {
            let sequence = segment.sequence.wrapping_add(u32::from(segment.syn));
            connection.receive(side, ts_us, sequence, segment.payload, segment.cut, cx);
        }
        if connection.memory() != connection.memory_counted {
            self.memory = self.memory + connection.memory() - connection.memory_counted;
            connection.memory_counted = connection.memory();
            if self.memory > MEMORY_MAX {
                connection.press(cx);
                self.memory = self.memory + connection.memory() - connection.memory_counted;
                connection.memory_counted = connection.memory();
            }
        }
        if segment.rst || (segment.fin && connection.close(side)) {
            self.end(ends);
        }
    }

    /// A connection begins.
    fn begin(&mut self, ends: Ends, side: Side, instance: u32, ts_us: i64, segment: &Segment<'_>) {
        let start = segment.sequence.wrapping_add(1);
        if let Some(old) = self.connections.get_mut(&ends) {
            if old.start(side, start) {
                return;
            }
            self.end(ends);
        }
        if !self.has_room() {
            return;
        }
        self.books.connections += 1;
        let mut connection = Connection::begun(instance, self.syntaxes[instance as usize], ts_us);
        connection.start(side, start);
        self.connections.insert(ends, connection);
    }

    /// A connection is found in the middle; false when there is no room for it.
    fn find(&mut self, ends: Ends, side: Side, instance: u32, ts_us: i64, segment: &Segment<'_>) -> bool {
        if !self.has_room() {
            return false;
        }
        self.books.connections += 1;
        // A server's greeting: only the SYN was missed.
        let greets = side == Side::Server && matches!(segment.payload, [_, _, 0, 0, 10, ..]);
        let connection = if greets {
            Connection::begun(instance, self.syntaxes[instance as usize], ts_us)
        } else {
            self.books.connections_midstream += 1;
            Connection::midstream(instance, self.syntaxes[instance as usize], ts_us)
        };
        self.connections.insert(ends, connection);
        true
    }

    fn has_room(&mut self) -> bool {
        let room = self.connections.len() < CONNECTIONS_MAX;
        self.books.connections_shed += u64::from(!room);
        room
    }

    fn end(&mut self, ends: Ends) {
        let Decoder { connections, known, table, books, commands, memory, .. } = self;
        if let Some(mut connection) = connections.remove(&ends) {
            let instance = connection.instance;
            connection.finish(&mut Context { known, table, books, commands, instance });
            *memory -= connection.memory_counted;
        }
    }

    /// Says what time it is, in packet time: holes that are too old are given up, and room is made when it is short.
    pub fn tick(&mut self, now_us: i64) {
        let Decoder { connections, known, table, books, commands, .. } = self;
        for connection in connections.values_mut() {
            let instance = connection.instance;
            connection.expire(now_us, &mut Context { known, table, books, commands, instance });
        }
        if self.connections.len() >= CONNECTIONS_MAX / 10 * 9 {
            let idle = |connection: &Connection| now_us - connection.last_us > IDLE_US;
            let gone: Vec<Ends> = self.connections.iter().filter(|(_, c)| idle(c)).map(|(ends, _)| *ends).collect();
            for ends in gone {
                self.end(ends);
            }
        }
    }

    /// The rows of all seconds before `second`, which are closed by this.
    pub fn flush(&mut self, before_second: i64) -> Flushed {
        self.table.flush(before_second, &self.instances)
    }

    /// Ends all connections, as at the end of a file, and gives all rows.
    pub fn finish(&mut self) -> Flushed {
        let all: Vec<Ends> = self.connections.keys().copied().collect();
        for ends in all {
            self.end(ends);
        }
        self.flush(i64::MAX)
    }

    /// The digests that were seen for the first time since the last call.
    pub fn take_new(&mut self) -> Vec<NewDigest> {
        self.known.take_new()
    }

    /// The books as they stand.
    pub fn books(&self) -> Books {
        self.books
    }

    /// How often each command was seen.
    pub fn commands(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let counted = self.commands.iter().enumerate().filter(|(_, count)| **count > 0);
        counted.map(|(command, count)| (command_name(command as u8), *count))
    }

    /// Bytes that the buffers of all connections take.
    pub fn memory(&self) -> usize {
        self.memory
    }
}
