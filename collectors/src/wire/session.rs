//! One client's session: its packets and the server's enter in order; statements leave to the table as their answers end. Keeps
//! what later packets depend on: user, schema, prepared statements, requests that wait. A session that was picked up in the
//! middle knows none of that and says so. It must never pair an answer with a request that is not its own.

use std::collections::{HashMap, VecDeque};

use millrace_schemas::digest::{self, Charset, DigestId, Syntax};

use super::attributes;
use super::books::Books;
use super::commands::{self, Answer, Part, Request, code};
use super::handshake::{self, ChangeUser, Login, capability as c};
use super::packets::{Fields, Packet};
use super::responses::{self, Ends, Forms, Meaning, Response};
use super::syntax::Reading;
use super::table::{Statement, Table};
use crate::statements::Known;

/// Most requests that a client may send ahead. 1,024: drivers that pipeline send tens.
const REQUESTS_MAX: usize = 1_024;
/// Most prepared statements remembered per connection. 4,096: a quarter of what a server allows for all by default.
const STATEMENTS_MAX: usize = 4_096;
/// Most statements of one request that are told apart; the rest counts as its last. 10,000: larger batches repeat themselves.
const PARTS_MAX: usize = 10_000;
/// MariaDB: "the statement that was prepared last".
const LAST_PREPARED: u32 = u32::MAX;

/// What a session works with and writes to.
pub(super) struct Context<'a> {
    pub(super) known: &'a mut Known,
    pub(super) table: &'a mut Table,
    pub(super) books: &'a mut Books,
    pub(super) commands: &'a mut [u64; 256],
    pub(super) instance: u32,
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
    /// Not the MySQL protocol, or a form that is not understood.
    Foreign,
}

/// Compression that client and server agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    Zlib,
    Zstd,
}

/// What a packet leads to beyond the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// Nothing.
    Going,
    /// The direction must be picked up again at the next request.
    Lost,
    /// All that follows is compressed.
    Compressed(Compression),
}

/// The state of one session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) phase: Phase,
    capabilities: u64,
    forms: Forms,
    pub(super) user: u32,
    pub(super) schema: u32,
    requests: VecDeque<Request>,
    response: Response,
    statements: HashMap<u32, DigestId>,
    last_prepared: Option<DigestId>,
    file: bool,
    compressed: bool,
    reading: Reading,
}

impl Session {
    /// A connection whose first packet is the server's greeting.
    pub(super) fn begun(syntax: Syntax) -> Self {
        Session::at(Phase::Greeting, syntax)
    }

    /// A connection that was found in the middle.
    pub(super) fn midstream(syntax: Syntax) -> Self {
        Session::at(Phase::Commands, syntax)
    }

    fn at(phase: Phase, syntax: Syntax) -> Self {
        Session {
            phase,
            capabilities: 0,
            forms: Forms::default(),
            user: 0,
            schema: 0,
            requests: VecDeque::new(),
            response: Response::Start,
            statements: HashMap::new(),
            last_prepared: None,
            file: false,
            compressed: false,
            reading: Reading::new(syntax),
        }
    }

    /// Bytes are missing: what a handshake would have said stays unknown.
    pub(super) fn lose(&mut self, end_us: i64, cx: &mut Context<'_>) {
        if matches!(self.phase, Phase::Greeting | Phase::Login | Phase::Auth) {
            self.phase = Phase::Commands;
        }
        self.abandon(end_us, cx);
    }

    /// Nothing is known from a handshake.
    pub(super) fn is_midstream(&self) -> bool {
        self.capabilities == 0
    }

    /// Whether a request waits for its answer.
    pub(super) fn waits(&self) -> bool {
        !self.requests.is_empty()
    }

    /// How many bytes of a client's payload are wanted.
    pub(super) fn kept(&self) -> fn(u8) -> usize {
        match self.phase {
            Phase::Commands if self.file => |_| 0,
            Phase::Commands => commands::kept,
            _ => |_| 4096,
        }
    }

    /// Takes a packet of the client.
    pub(super) fn client(&mut self, packet: &Packet<'_>, cx: &mut Context<'_>) -> Flow {
        match self.phase {
            // A client speaks second.
            Phase::Greeting => self.phase = Phase::Foreign,
            Phase::Login => self.login(packet, cx),
            Phase::Commands if self.file => self.file_packet(packet),
            Phase::Commands if packet.number != 0 => return self.continuation(packet, cx),
            Phase::Commands => return self.command(packet, cx),
            Phase::Auth | Phase::Stream | Phase::Encrypted | Phase::Foreign => {}
        }
        Flow::Going
    }

    /// Takes a packet of the server.
    pub(super) fn server(&mut self, packet: &Packet<'_>, cx: &mut Context<'_>) -> Flow {
        match self.phase {
            Phase::Greeting => match handshake::greeting(packet.head) {
                Some(capabilities) => {
                    self.capabilities = capabilities;
                    self.phase = Phase::Login;
                }
                // An error instead of a greeting: the server refuses the host, or has no room.
                None if packet.tag() == Some(0xff) => {}
                None => self.phase = Phase::Foreign,
            },
            Phase::Auth => return self.auth(packet),
            Phase::Commands => return self.answer(packet, cx),
            Phase::Login | Phase::Stream | Phase::Encrypted | Phase::Foreign => {}
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
            None => self.phase = Phase::Foreign,
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
        self.reading.learn(responses::ok_status(packet));
        let compression = if self.can(c::ZSTD) {
            Compression::Zstd
        } else if self.can(c::COMPRESS) {
            Compression::Zlib
        } else {
            return Flow::Going;
        };
        self.compressed = true;
        Flow::Compressed(compression)
    }

    /// A packet of a file that the server asked for; an empty one ends it.
    fn file_packet(&mut self, packet: &Packet<'_>) {
        if let Some(request) = self.requests.front_mut() {
            request.bytes_in += packet.wire_bytes;
            request.answer_number = packet.last_number.wrapping_add(1);
        }
        self.file = packet.length > 0;
    }

    /// A packet that is no command: part of an exchange that a change of user began, or a sign of loss.
    fn continuation(&mut self, packet: &Packet<'_>, _: &mut Context<'_>) -> Flow {
        match self.requests.front_mut() {
            Some(request) if request.answer == Answer::Login => {
                request.bytes_in += packet.wire_bytes;
                Flow::Going
            }
            _ if self.compressed => Flow::Going,
            _ => Flow::Lost,
        }
    }

    fn command(&mut self, packet: &Packet<'_>, cx: &mut Context<'_>) -> Flow {
        let Some(command) = packet.tag() else { return Flow::Lost };
        let answer = commands::answer(command);
        if answer == Answer::Unknown || self.requests.len() >= REQUESTS_MAX {
            return Flow::Lost;
        }
        cx.commands[usize::from(command)] += 1;
        let (part, later) = self.parts(command, packet, cx);
        let mut request = Request {
            command,
            answer,
            part,
            multiple: !later.is_empty(),
            later,
            start_us: packet.last_us,
            first_us: None,
            bytes_in: packet.wire_bytes,
            bytes_out: 0,
            rows: 0,
            answer_number: packet.last_number.wrapping_add(1),
            user: None,
            collation: None,
        };
        let payload = &packet.head[1..];
        match command {
            code::CHANGE_USER => {
                if let Some(ChangeUser { user, schema, collation }) = handshake::change_user(payload) {
                    request.user = Some(cx.table.name(&user));
                    request.part.schema = Some(cx.table.name(&schema));
                    request.collation = collation;
                }
            }
            code::INIT_DB => request.part.schema = Some(cx.table.name(&String::from_utf8_lossy(payload))),
            code::STMT_CLOSE => {
                let id = Fields(payload).u32();
                id.and_then(|id| self.statements.remove(&id));
            }
            code::STMT_PREPARE => self.last_prepared = Some(request.part.digest),
            _ => {}
        }
        match answer {
            Answer::None => self.emit(&request, packet.last_us, None, 0, None, cx),
            Answer::Stream => {
                self.emit(&request, packet.last_us, None, 0, None, cx);
                self.phase = Phase::Stream;
            }
            _ => self.requests.push_back(request),
        }
        Flow::Going
    }

    /// The statements of a command: the first, and the others last first.
    fn parts(&self, command: u8, packet: &Packet<'_>, cx: &mut Context<'_>) -> (Part, Vec<Part>) {
        let payload = &packet.head[1..];
        let prepared = |digest| (Part::without_text(digest), Vec::new());
        match command {
            code::QUERY => self.texts(self.query_text(payload), packet.is_cut(), cx),
            code::STMT_PREPARE => prepared(cx.known.identify(payload, packet.is_cut(), self.reading.now())),
            code::STMT_EXECUTE | code::STMT_BULK_EXECUTE | code::STMT_FETCH => {
                let digest = match Fields(payload).u32() {
                    Some(LAST_PREPARED) => self.last_prepared,
                    Some(id) => self.statements.get(&id).copied(),
                    None => None,
                };
                cx.books.unknown_statements += u64::from(digest.is_none());
                prepared(digest.unwrap_or(DigestId::UNKNOWN))
            }
            _ => prepared(DigestId::ADMIN),
        }
    }

    /// The text of a query, behind its attributes.
    fn query_text<'a>(&self, payload: &'a [u8]) -> &'a [u8] {
        // Without a handshake, the bytes tell: no text begins with a zero.
        let attributes = self.can(c::QUERY_ATTRIBUTES) || (self.capabilities == 0 && payload.first() == Some(&0));
        if attributes { attributes::skip(payload).unwrap_or(payload) } else { payload }
    }

    fn texts(&self, text: &[u8], cut: bool, cx: &mut Context<'_>) -> (Part, Vec<Part>) {
        let Syntax { mode, .. } = self.reading.now();
        let text = &*self.reading.now().to_utf8(text);
        let mut part = |text: &[u8], cut| {
            let digest = cx.known.identify(text, cut, Syntax { mode, charset: Charset::default() });
            Part::of(digest, text, mode, |schema| cx.table.name(schema))
        };
        let body = text.trim_ascii_end();
        let body = body.strip_suffix(b";").unwrap_or(body);
        if !body.contains(&b';') {
            return (part(text, cut), Vec::new());
        }
        let mut parts: Vec<Part> =
            digest::split(text, mode).take(PARTS_MAX).map(|range| part(&text[range], cut)).collect();
        parts.reverse();
        match parts.pop() {
            Some(first) => (first, parts),
            None => (part(text, cut), Vec::new()),
        }
    }

    fn answer(&mut self, packet: &Packet<'_>, cx: &mut Context<'_>) -> Flow {
        let Some(request) = self.requests.front_mut() else {
            // An EOF behind the definitions of a prepared statement, or an error as the server closes the connection.
            let known = responses::is_stray_eof(packet) || packet.tag() == Some(0xff);
            return if known { Flow::Going } else { Flow::Lost };
        };
        let starts = request.first_us.is_none() && self.response == Response::Start && !self.compressed;
        if starts && request.rows == 0 && packet.number != request.answer_number {
            let stray = responses::is_stray_eof(packet);
            return if stray { Flow::Going } else { Flow::Lost };
        }
        request.bytes_out += packet.wire_bytes;
        request.first_us.get_or_insert(packet.first_us);
        let meaning = self.response.take(request.answer, packet, &mut self.forms);
        match meaning {
            Meaning::Going | Meaning::Exchange => {}
            Meaning::Row => request.rows += 1,
            Meaning::File => self.file = true,
            Meaning::Nonsense => return Flow::Lost,
            Meaning::Failed(code) => self.failed(code, packet.last_us, cx),
            Meaning::Done { plain, affected, more, prepared } => {
                let status = request.answer.status(packet);
                self.done(packet, plain, affected, more, prepared, cx);
                self.reading.learn(status);
            }
        }
        Flow::Going
    }

    fn failed(&mut self, code: u16, end_us: i64, cx: &mut Context<'_>) {
        self.response = Response::Start;
        self.file = false;
        if let Some(request) = self.requests.pop_front() {
            self.emit(&request, end_us, Some(code), 0, request.first_us, cx);
        }
    }

    fn done(
        &mut self,
        packet: &Packet<'_>,
        plain: bool,
        affected: u64,
        more: bool,
        prepared: Option<u32>,
        cx: &mut Context<'_>,
    ) {
        let Some(request) = self.requests.front_mut() else { return };
        if let Some(id) = prepared {
            let digest = request.part.digest;
            self.remember(id, digest, cx);
            if more {
                return;
            }
        }
        self.response = Response::Start;
        let Some(request) = self.requests.front_mut() else { return };
        // Result sets of a call, or of a prepared one, are one statement; its OK ends it.
        let one_statement = request.answer == Answer::Execution || !request.multiple || request.part.call;
        if more && one_statement && !(plain && request.multiple) {
            request.answer_number = packet.last_number.wrapping_add(1);
            return;
        }
        if more && let Some(next) = request.later.pop() {
            let ended = Request { later: Vec::new(), part: request.part.clone(), ..*request };
            *request = Request {
                part: next,
                later: std::mem::take(&mut request.later),
                start_us: packet.last_us,
                first_us: None,
                bytes_in: 0,
                bytes_out: 0,
                rows: 0,
                answer_number: packet.last_number.wrapping_add(1),
                ..*request
            };
            return self.succeed(&ended, packet.last_us, affected, cx);
        }
        if more {
            // More results than statements: the rest belongs to the last one.
            request.answer_number = packet.last_number.wrapping_add(1);
            return;
        }
        if let Some(request) = self.requests.pop_front() {
            self.succeed(&request, packet.last_us, affected, cx);
        }
    }

    fn succeed(&mut self, request: &Request, end_us: i64, affected: u64, cx: &mut Context<'_>) {
        self.emit(request, end_us, None, affected, request.first_us, cx);
        if let Some(schema) = request.part.schema {
            self.schema = schema;
        }
        if let Some(user) = request.user {
            self.user = user;
        }
        if let Some(change) = request.part.change {
            self.reading.change(change);
        }
        if matches!(request.command, code::CHANGE_USER | code::RESET_CONNECTION) {
            self.reading.begin_again(request.collation);
            self.statements.clear();
            self.last_prepared = None;
        }
    }

    fn remember(&mut self, id: u32, digest: DigestId, cx: &mut Context<'_>) {
        if self.statements.len() >= STATEMENTS_MAX && !self.statements.contains_key(&id) {
            // Ids rise: the lowest was prepared first.
            if let Some(oldest) = self.statements.keys().min().copied() {
                self.statements.remove(&oldest);
                cx.books.statements_forgotten += 1;
            }
        }
        self.statements.insert(id, digest);
    }

    /// Writes a statement to the table; `first_us` is none when it was not answered.
    fn emit(
        &self,
        request: &Request,
        end_us: i64,
        error: Option<u16>,
        affected: u64,
        first_us: Option<i64>,
        cx: &mut Context<'_>,
    ) {
        let admin =
            !matches!(request.command, code::QUERY | code::STMT_EXECUTE | code::STMT_BULK_EXECUTE | code::STMT_FETCH);
        let digest = if admin { DigestId::ADMIN } else { request.part.digest };
        let since = |ts_us: i64| u64::try_from(ts_us - request.start_us).unwrap_or(0);
        let fetch = request.command == code::STMT_FETCH;
        cx.table.add(&Statement {
            end_us,
            instance: cx.instance,
            schema: self.schema,
            user: self.user,
            digest,
            kind: cx.known.kind(digest),
            count: u64::from(!fetch),
            error,
            rows_sent: request.rows,
            rows_affected: affected,
            bytes_in: request.bytes_in,
            bytes_out: request.bytes_out,
            rt_us: first_us.filter(|_| !fetch).map(|first| (since(first), since(end_us))),
        });
    }

    /// The answers to what was asked will not be seen: the requests count, without a response time.
    pub(super) fn abandon(&mut self, end_us: i64, cx: &mut Context<'_>) {
        self.response = Response::Start;
        self.file = false;
        while let Some(request) = self.requests.pop_front() {
            cx.books.unanswered += 1;
            self.emit(&request, end_us, None, 0, None, cx);
        }
    }
}
