//! The client's side of a session: packets enter, requests leave to the queue of those that wait for an answer. A request that has
//! none goes to the table at once.

use std::sync::Arc;

use millrace_schemas::digest::{self, Charset, DigestId, Syntax};

use super::super::attributes;
use super::super::commands::{self, Answer, Part, Request, code};
use super::super::ended::Flags;
use super::super::handshake::{self, ChangeUser, capability as c};
use super::super::packets::{Fields, Packet};
use super::super::values::Parameters;
use super::answers::Outcome;
use super::{Context, Flow, Phase, Session};

/// Most requests that a client may send ahead. 1,024: drivers that pipeline send tens.
const REQUESTS_MAX: usize = 1_024;
/// Most statements of one request that are told apart; the rest counts as its last. 10,000: larger batches repeat themselves.
const PARTS_MAX: usize = 10_000;
/// MariaDB: "the statement that was prepared last".
const LAST_PREPARED: u32 = u32::MAX;

impl Session {
    /// A packet of a file that the server asked for; an empty one ends it.
    pub(super) fn file_packet(&mut self, packet: &Packet<'_>) {
        if let Some(request) = self.requests.front_mut() {
            request.bytes_in += packet.wire_bytes;
            request.answer_number = packet.last_number.wrapping_add(1);
        }
        self.file = packet.length > 0;
    }

    /// A packet that is no command: part of an exchange that a change of user began, or a sign of loss.
    pub(super) fn continuation(&mut self, packet: &Packet<'_>) -> Flow {
        let compressed = self.is_compressed();
        match self.requests.front_mut() {
            Some(request) if request.answer == Answer::Login => {
                request.bytes_in += packet.wire_bytes;
                Flow::Going
            }
            _ if compressed => Flow::Going,
            _ => Flow::Lost,
        }
    }

    pub(super) fn command(&mut self, packet: &Packet<'_>, cx: &mut Context<'_>) -> Flow {
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
            statement: 0,
            multiple: !later.is_empty(),
            later,
            start_us: packet.last_us,
            first_us: None,
            bytes_in: packet.wire_bytes,
            bytes_out: 0,
            rows: 0,
            flags: Flags::default().with(Flags::LOST, packet.holed),
            answer_number: packet.last_number.wrapping_add(1),
            user: None,
            collation: None,
        };
        self.note(packet, &mut request, cx);
        match answer {
            Answer::None => self.emit(&request, &Outcome::none(packet.last_us), cx),
            Answer::Stream => {
                request.flags.add(Flags::STREAM);
                self.emit(&request, &Outcome::none(packet.last_us), cx);
                self.phase = Phase::Stream;
            }
            _ => self.requests.push_back(request),
        }
        Flow::Going
    }

    /// What a command says beyond its statements, of the session or of a prepared statement.
    fn note(&mut self, packet: &Packet<'_>, request: &mut Request, cx: &mut Context<'_>) {
        let payload = &packet.head[1..];
        let id = || Fields(payload).u32();
        match request.command {
            code::CHANGE_USER => {
                if let Some(ChangeUser { user, schema, collation }) = handshake::change_user(payload) {
                    request.user = Some(cx.table.name(&user));
                    request.part.schema = Some(cx.table.name(&schema));
                    request.collation = collation;
                }
            }
            code::INIT_DB => request.part.schema = Some(cx.table.name(&String::from_utf8_lossy(payload))),
            code::STMT_CLOSE => {
                id().and_then(|id| self.statements.remove(&id));
            }
            code::STMT_RESET => {
                if let Some(parameters) = id().and_then(|id| self.parameters(id)) {
                    parameters.forget_long();
                }
            }
            code::STMT_SEND_LONG_DATA => {
                if let Some(parameters) = id().and_then(|id| self.parameters(id)) {
                    parameters.long_data(&payload[4..], packet.length.saturating_sub(5));
                }
            }
            code::STMT_PREPARE => self.last_prepared = Some(request.part.clone()),
            _ => {}
        }
    }

    fn parameters(&mut self, statement: u32) -> Option<&mut Parameters> {
        self.statements.get_mut(&statement)?.parameters.as_deref_mut()
    }

    /// The statements of a command: the first, and the others last first.
    fn parts(&mut self, command: u8, packet: &Packet<'_>, cx: &mut Context<'_>) -> (Part, Vec<Part>) {
        let payload = &packet.head[1..];
        match command {
            code::QUERY => {
                let Some(text) = self.query_text(payload, packet.is_cut()) else {
                    cx.books.unknown_statements += 1;
                    return (Part { truncated: true, ..Part::without_text(DigestId::UNKNOWN) }, Vec::new());
                };
                self.texts(text, packet.is_cut(), cx)
            }
            code::STMT_PREPARE => {
                let syntax = self.reading.now();
                let (digest, kind) = cx.known.identify(payload, packet.is_cut(), syntax);
                let mut part = Part { kind, ..Part::without_text(digest) };
                if cx.shown.has_texts() {
                    part.text = Some(Arc::from(&*syntax.to_utf8(payload)));
                    part.truncated = packet.is_cut();
                }
                (part, Vec::new())
            }
            code::STMT_EXECUTE | code::STMT_BULK_EXECUTE | code::STMT_FETCH => {
                (self.execution(command, packet, cx), Vec::new())
            }
            code::STMT_CLOSE | code::STMT_RESET | code::STMT_SEND_LONG_DATA => {
                let prepared = Fields(payload).u32().and_then(|id| self.statements.get(&id));
                let part = prepared.map(|prepared| Part {
                    text: prepared.text.clone(),
                    truncated: prepared.truncated,
                    ..Part::without_text(prepared.digest)
                });
                (part.unwrap_or_else(|| Part::without_text(DigestId::ADMIN)), Vec::new())
            }
            _ => (Part::without_text(DigestId::ADMIN), Vec::new()),
        }
    }

    /// The statement that is executed, or whose rows are fetched.
    fn execution(&mut self, command: u8, packet: &Packet<'_>, cx: &mut Context<'_>) -> Part {
        let payload = &packet.head[1..];
        let attributes = self.can(c::QUERY_ATTRIBUTES);
        let prepared = match Fields(payload).u32() {
            Some(LAST_PREPARED) => self.last_prepared.clone(),
            Some(id) => self.statements.get_mut(&id).map(|prepared| {
                let mut part = Part { kind: prepared.kind, ..Part::without_text(prepared.digest) };
                if cx.shown.has_texts() {
                    (part.text, part.truncated) = (prepared.text.clone(), prepared.truncated);
                    let known = prepared.parameters.as_mut().filter(|_| !packet.is_cut());
                    let values = known.and_then(|known| match command {
                        code::STMT_EXECUTE => known.take(&payload[4..], attributes),
                        code::STMT_BULK_EXECUTE => known.take_rows(&payload[4..]),
                        _ => None,
                    });
                    part.values = values.map(Arc::from);
                }
                part
            }),
            None => None,
        };
        cx.books.unknown_statements += u64::from(prepared.is_none());
        prepared.unwrap_or_else(|| Part::without_text(DigestId::UNKNOWN))
    }

    /// The text of a query, behind its attributes; none where it is `cut` so early that they cannot be passed over.
    fn query_text<'a>(&self, payload: &'a [u8], cut: bool) -> Option<&'a [u8]> {
        // Without a handshake, the bytes tell: no text begins with a zero.
        let attributes = self.can(c::QUERY_ATTRIBUTES) || (self.capabilities == 0 && payload.first() == Some(&0));
        let text = if attributes { attributes::skip(payload) } else { Some(payload) };
        text.or((!cut).then_some(payload))
    }

    fn texts(&self, text: &[u8], cut: bool, cx: &mut Context<'_>) -> (Part, Vec<Part>) {
        let Syntax { mode, .. } = self.reading.now();
        let text = &*self.reading.now().to_utf8(text);
        let mut part = |text: &[u8], cut| {
            let identified = cx.known.identify(text, cut, Syntax { mode, charset: Charset::default() });
            let mut part = Part::of(identified, text, mode, |schema| cx.table.name(schema));
            if cx.shown.has_texts() {
                (part.text, part.truncated) = (Some(Arc::from(text)), cut);
            }
            part
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
}
