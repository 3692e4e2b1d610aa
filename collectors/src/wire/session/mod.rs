//! One client's session: its packets and the server's enter in order; statements leave to the table as their answers end. Keeps
//! what later packets depend on: user, schema, prepared statements, requests that wait. A session that was picked up in the
//! middle knows none of that and says so. It must never pair an answer with a request that is not its own.

mod answers;
mod requests;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;
use millrace_schemas::digest::{DigestId, Kind, Syntax};

use super::books::Books;
use super::commands::{self, Part, Request};
use super::ended::{Flags, Shown};
use super::handshake::{self, Login, capability as c};
use super::packets::Packet;
use super::responses::{self, Ends, Forms, Response};
use super::syntax::Reading;
use super::table::Table;
use super::values::Parameters;
use crate::statements::Known;

/// What a session works with and writes to.
pub(super) struct Context<'a> {
    pub(super) known: &'a mut Known,
    pub(super) table: &'a mut Table,
    pub(super) books: &'a mut Books,
    pub(super) commands: &'a mut [u64; 256],
    /// Where each command goes as it ends.
    pub(super) shown: &'a mut Shown,
    pub(super) instance: u32,
    pub(super) client: &'a SocketAddr,
    pub(super) server: &'a SocketAddr,
    /// The number of the connection.
    pub(super) connection: u64,
}

/// Where in its life a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The server's greeting is next.
    Greeting,
    /// The client's answer to it is next.
    Login,
    /// The exchange that ends with OK or an error.
    Auth,
    /// Commands and their answers.
    Commands,
    /// A binlog stream: no answers any more.
    Stream,
    /// TLS.
    Encrypted,
    /// Not understood.
    Foreign(Why),
}

/// Why the bytes of a connection are not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// They are not of the MySQL protocol.
    Protocol,
    /// A login of a form from before 4.1.
    Login,
    /// A compressed frame that is damaged.
    Frame,
}

/// A statement that the server has prepared.
#[derive(Debug)]
struct Prepared {
    digest: DigestId,
    kind: Option<Kind>,
    /// Its text, where somebody wants to see it.
    text: Option<Arc<[u8]>>,
    truncated: bool,
    /// What is to be known for reading its values, where somebody wants to see them.
    parameters: Option<Box<Parameters>>,
}

/// What a packet leads to beyond the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// Nothing.
    Going,
    /// The direction must be picked up again at the next request.
    Lost,
    /// All that follows is compressed.
    Compressed,
}

/// The state of one session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) phase: Phase,
    capabilities: u64,
    /// The connection's id in the server.
    thread: Option<u32>,
    forms: Forms,
    pub(super) user: u32,
    pub(super) schema: u32,
    requests: VecDeque<Request>,
    response: Response,
    statements: HashMap<u32, Prepared, RandomState>,
    /// The statement that the client asked to prepare last.
    last_prepared: Option<Part>,
    file: bool,
    /// What holds for every command of the connection.
    flags: Flags,
    reading: Reading,
}

impl Session {
    /// A connection whose first packet is the server's greeting.
    pub(super) fn begun(syntax: Syntax) -> Self {
        Session::at(Phase::Greeting, syntax, Flags::default())
    }

    /// A connection that was found in the middle.
    pub(super) fn midstream(syntax: Syntax) -> Self {
        Session::at(Phase::Commands, syntax, Flags::MIDSTREAM)
    }

    fn at(phase: Phase, syntax: Syntax, flags: Flags) -> Self {
        Session {
            phase,
            capabilities: 0,
            thread: None,
            forms: Forms::default(),
            user: 0,
            schema: 0,
            requests: VecDeque::new(),
            response: Response::Start,
            statements: HashMap::default(),
            last_prepared: None,
            file: false,
            flags,
            reading: Reading::new(syntax),
        }
    }

    /// Bytes are missing: what a handshake would have said stays unknown.
    pub(super) fn lose(&mut self, end_us: i64, cx: &mut Context<'_>) {
        match self.phase {
            // The client has named itself: only how the exchange ended is not known.
            Phase::Auth if !self.agreed_to_compress() => self.phase = Phase::Commands,
            Phase::Greeting | Phase::Login | Phase::Auth => self.forget(),
            _ => {}
        }
        self.abandon(end_us, Flags::LOST, cx);
    }

    /// The server's greeting was not seen, or not whole; the client's answer is next. Clients ask for no more than the server can.
    pub(super) fn miss_greeting(&mut self) {
        self.capabilities = u64::MAX;
        self.phase = Phase::Login;
    }

    /// The handshake was not seen whole: the connection is as one that was found in the middle.
    fn forget(&mut self) {
        self.phase = Phase::Commands;
        (self.capabilities, self.forms) = (0, Forms::default());
        self.flags.add(Flags::MIDSTREAM);
    }

    /// Nothing is known from a handshake.
    pub(super) fn is_midstream(&self) -> bool {
        self.capabilities == 0
    }

    /// Bytes of memory that what it remembers takes, without texts that somebody wants to see.
    pub(super) fn memory(&self) -> usize {
        self.statements.capacity() * size_of::<(u32, Prepared)>() + self.requests.capacity() * size_of::<Request>()
    }

    /// Forgets the prepared statements: memory is short.
    pub(super) fn forget_statements(&mut self, cx: &mut Context<'_>) {
        cx.books.statements_forgotten += self.statements.len() as u64;
        self.statements = HashMap::default();
        self.requests.shrink_to(0);
    }

    /// Whose it is, as far as its packets did not say so.
    pub(super) fn name(&mut self, user: u32, schema: u32, thread: u32) {
        if self.user == 0 {
            self.user = user;
        }
        if self.schema == 0 {
            self.schema = schema;
        }
        self.thread.get_or_insert(thread);
    }

    /// Whether a request waits for its answer.
    pub(super) fn waits(&self) -> bool {
        !self.requests.is_empty()
    }

    /// How many bytes of a client's payload are wanted.
    pub(super) fn kept(&self) -> fn(u8) -> usize {
        match self.phase {
            Phase::Commands if self.file => |_| 0,
            // The first command may come before it is known that the login succeeded.
            Phase::Auth | Phase::Commands => commands::kept,
            _ => |_| 4096,
        }
    }

    /// Takes a packet of the client.
    pub(super) fn client(&mut self, packet: &Packet<'_>, cx: &mut Context<'_>) -> Flow {
        match self.phase {
            // A client speaks second.
            Phase::Greeting => self.phase = Phase::Foreign(Why::Protocol),
            Phase::Login if packet.holed => self.forget(),
            Phase::Login => self.login(packet, cx),
            // A command: that the login succeeded was passed over.
            Phase::Auth if packet.number == 0 && !self.agreed_to_compress() => {
                self.phase = Phase::Commands;
                return self.command(packet, cx);
            }
            Phase::Commands if self.file => self.file_packet(packet),
            Phase::Commands if packet.number != 0 => return self.continuation(packet),
            Phase::Commands => return self.command(packet, cx),
            Phase::Auth | Phase::Stream | Phase::Encrypted | Phase::Foreign(_) => {}
        }
        Flow::Going
    }

    /// Takes a packet of the server.
    pub(super) fn server(&mut self, packet: &Packet<'_>, cx: &mut Context<'_>) -> Flow {
        match self.phase {
            // What is cut says too little.
            Phase::Greeting if packet.holed => self.miss_greeting(),
            Phase::Greeting => match handshake::greeting(packet.head) {
                Some(greeting) => {
                    self.capabilities = greeting.capabilities;
                    self.thread = Some(greeting.thread);
                    self.phase = Phase::Login;
                }
                // An error instead of a greeting: the server refuses the host, or has no room.
                None if packet.tag() == Some(0xff) => {}
                None => self.phase = Phase::Foreign(Why::Protocol),
            },
            Phase::Auth => return self.auth(packet),
            Phase::Commands => return self.answer(packet, cx),
            Phase::Login | Phase::Stream | Phase::Encrypted | Phase::Foreign(_) => {}
        }
        Flow::Going
    }

    fn login(&mut self, packet: &Packet<'_>, cx: &mut Context<'_>) {
        match handshake::login(packet.head, packet.length) {
            Some(Login::Tls) => self.phase = Phase::Encrypted,
            Some(Login::Named { capabilities, collation, user, schema }) => {
                self.reading.names(collation);
                self.capabilities &= capabilities;
                self.forms = Forms {
                    ends: if self.can(c::DEPRECATE_EOF) { Ends::Deprecated } else { Ends::Eof },
                    optional_metadata: self.can(c::OPTIONAL_METADATA),
                };
                self.user = cx.table.name(&user);
                self.schema = cx.table.name(&schema);
                self.phase = Phase::Auth;
            }
            None => self.phase = Phase::Foreign(Why::Login),
        }
    }

    fn can(&self, capability: u64) -> bool {
        self.capabilities & capability != 0
    }

    fn auth(&mut self, packet: &Packet<'_>) -> Flow {
        if packet.tag() != Some(0) {
            return Flow::Going;
        }
        self.phase = Phase::Commands;
        self.reading.learn(responses::ok_told(packet).status);
        if !self.agreed_to_compress() {
            return Flow::Going;
        }
        self.compress();
        Flow::Compressed
    }

    /// All that follows is compressed.
    pub(super) fn compress(&mut self) {
        self.flags.add(Flags::COMPRESSED);
    }

    /// Client and server agreed on it, with whatever algorithm.
    fn agreed_to_compress(&self) -> bool {
        self.can(c::ZSTD) || self.can(c::COMPRESS)
    }

    fn is_compressed(&self) -> bool {
        self.flags.has(Flags::COMPRESSED)
    }
}
