//! The server's side of a session: packets enter; statements leave to the table, and to who looks at commands one by one, as their
//! answers end.

use std::sync::Arc;

use millrace_schemas::digest::{Charset, DigestId};

use super::super::changes::Change;
use super::super::commands::{Answer, Request, code, protocol_name};
use super::super::ended::{Ended, Flags, ServerError, Shown, Timed};
use super::super::packets::Packet;
use super::super::responses::{self, CURSOR, Meaning, Response, Told};
use super::super::table::Statement;
use super::super::values::Parameters;
use super::{Context, Flow, Prepared, Session};

/// Most prepared statements remembered per connection. 4,096: a quarter of what a server allows for all by default.
const STATEMENTS_MAX: usize = 4_096;

/// How a request ended.
#[derive(Debug, Default)]
pub(super) struct Outcome<'a> {
    end_us: i64,
    /// When its answer began; none: there was none.
    first_us: Option<i64>,
    error: Option<ServerError>,
    affected: u64,
    told: Told<'a>,
}

impl Outcome<'_> {
    /// Without an answer.
    pub(super) fn none(end_us: i64) -> Self {
        Outcome { end_us, ..Outcome::default() }
    }
}

/// The result of a statement.
struct Done {
    /// It was an OK, not a result set.
    plain: bool,
    affected: u64,
    more: bool,
    prepared: Option<(u32, u16)>,
}

impl Session {
    pub(super) fn answer(&mut self, packet: &Packet<'_>, cx: &mut Context<'_>) -> Flow {
        let compressed = self.is_compressed();
        let Some(request) = self.requests.front_mut() else {
            // An EOF behind the definitions of a prepared statement, or an error as the server closes the connection.
            let known = responses::is_stray_eof(packet) || packet.tag() == Some(0xff);
            return if known { Flow::Going } else { Flow::Lost };
        };
        let starts = request.first_us.is_none() && self.response == Response::Start && !compressed;
        if starts && request.rows == 0 && packet.number != request.answer_number {
            let stray = responses::is_stray_eof(packet);
            return if stray { Flow::Going } else { Flow::Lost };
        }
        request.bytes_out += packet.wire_bytes;
        request.first_us.get_or_insert(packet.first_us);
        request.flags = request.flags.with(Flags::LOST, packet.holed);
        let meaning = self.response.take(request.answer, packet, &mut self.forms);
        match meaning {
            Meaning::Going | Meaning::Exchange => {}
            Meaning::Row => request.rows += 1,
            Meaning::File => {
                request.flags.add(Flags::LOCAL_INFILE);
                self.file = true;
            }
            Meaning::Nonsense => return Flow::Lost,
            Meaning::Failed(error) => self.failed(error, packet.last_us, cx),
            Meaning::Done { plain, affected, more, prepared } => {
                let told = request.answer.told(packet);
                self.done(packet, &told, &Done { plain, affected, more, prepared }, cx);
                self.reading.learn(told.status);
                self.follow(&told, cx);
            }
        }
        Flow::Going
    }

    fn failed(&mut self, error: ServerError, end_us: i64, cx: &mut Context<'_>) {
        self.response = Response::Start;
        self.file = false;
        if let Some(request) = self.requests.pop_front() {
            let outcome = Outcome { end_us, first_us: request.first_us, error: Some(error), ..Outcome::default() };
            self.emit(&request, &outcome, cx);
        }
    }

    fn done(&mut self, packet: &Packet<'_>, told: &Told<'_>, done: &Done, cx: &mut Context<'_>) {
        let more = done.more;
        if let Some((id, parameters)) = done.prepared {
            self.remember(id, parameters, cx);
            if more {
                return;
            }
        }
        self.response = Response::Start;
        let Some(request) = self.requests.front_mut() else { return };
        let cursor = request.answer == Answer::Execution && told.status.unwrap_or(0) & CURSOR != 0;
        request.flags = request.flags.with(Flags::CURSOR, cursor);
        // Result sets of a call, or of a prepared one, are one statement; its OK ends it.
        let one_statement = request.answer == Answer::Execution || !request.multiple || request.part.call;
        if more && one_statement && !(done.plain && request.multiple) {
            request.answer_number = packet.last_number.wrapping_add(1);
            return;
        }
        if more && let Some(next) = request.later.pop() {
            let ended = Request { later: Vec::new(), part: request.part.clone(), ..*request };
            *request = Request {
                part: next,
                statement: request.statement + 1,
                later: std::mem::take(&mut request.later),
                start_us: packet.last_us,
                first_us: None,
                bytes_in: 0,
                bytes_out: 0,
                rows: 0,
                flags: Flags::default(),
                answer_number: packet.last_number.wrapping_add(1),
                ..*request
            };
            return self.succeed(&ended, packet.last_us, told, done.affected, cx);
        }
        if more {
            // More results than statements: the rest belongs to the last one.
            request.answer_number = packet.last_number.wrapping_add(1);
            return;
        }
        if let Some(request) = self.requests.pop_front() {
            self.succeed(&request, packet.last_us, told, done.affected, cx);
        }
    }

    fn succeed(&mut self, request: &Request, end_us: i64, told: &Told<'_>, affected: u64, cx: &mut Context<'_>) {
        self.emit(request, &Outcome { end_us, first_us: request.first_us, affected, told: *told, error: None }, cx);
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

    /// What the server says has changed in the session holds from here on.
    fn follow(&mut self, told: &Told<'_>, cx: &mut Context<'_>) {
        for change in told.changes.each() {
            match change {
                Change::Schema(name) => self.schema = cx.table.name(&String::from_utf8_lossy(name)),
                Change::Charset(name) => {
                    // A name that is not known here says nothing.
                    if let Ok(charset) = String::from_utf8_lossy(name).parse::<Charset>() {
                        self.reading.converts(charset);
                    }
                }
                Change::Gtid(_) => {}
            }
        }
    }

    /// The server has prepared what was asked for.
    fn remember(&mut self, id: u32, parameters: u16, cx: &mut Context<'_>) {
        let Some(request) = self.requests.front() else { return };
        if self.statements.len() >= STATEMENTS_MAX && !self.statements.contains_key(&id) {
            // Ids rise: the lowest was prepared first.
            if let Some(oldest) = self.statements.keys().min().copied() {
                self.statements.remove(&oldest);
                cx.books.statements_forgotten += 1;
            }
        }
        let (text, truncated) = (request.part.text.clone(), request.part.truncated);
        let parameters = cx.shown.has_texts().then(|| Box::new(Parameters::new(parameters)));
        let prepared = Prepared { digest: request.part.digest, kind: request.part.kind, text, truncated, parameters };
        self.statements.insert(id, prepared);
    }

    /// Writes a statement to the table.
    pub(super) fn emit(&self, request: &Request, outcome: &Outcome<'_>, cx: &mut Context<'_>) {
        let admin =
            !matches!(request.command, code::QUERY | code::STMT_EXECUTE | code::STMT_BULK_EXECUTE | code::STMT_FETCH);
        let (digest, kind) = if admin { (DigestId::ADMIN, None) } else { (request.part.digest, request.part.kind) };
        let since = |ts_us: i64| u64::try_from(ts_us - request.start_us).unwrap_or(0);
        let rt_us = outcome.first_us.map(|first| (since(first), since(outcome.end_us.max(first))));
        let fetch = request.command == code::STMT_FETCH;
        cx.table.add(&Statement {
            end_us: outcome.end_us,
            instance: cx.instance,
            schema: self.schema,
            user: self.user,
            digest,
            kind,
            count: u64::from(!fetch),
            error: outcome.error.map(|error| error.code),
            rows_sent: request.rows,
            rows_affected: outcome.affected,
            bytes_in: request.bytes_in,
            bytes_out: request.bytes_out,
            rt_us: rt_us.filter(|_| !fetch),
        });
        show(request.start_us, rt_us, false, cx, |cx| self.ended(request, outcome, rt_us, cx));
    }

    fn ended(&self, request: &Request, outcome: &Outcome<'_>, rt_us: Option<(u64, u64)>, cx: &Context<'_>) -> Ended {
        let gtids = outcome.told.changes.each().filter_map(|change| match change {
            Change::Gtid(gtid) => Some(String::from_utf8_lossy(gtid).into_owned()),
            _ => None,
        });
        let gtids: Vec<String> = gtids.collect();
        let flags = request.flags.with(Flags::TRUNCATED, request.part.truncated).with(self.flags, true);
        Ended {
            command: Some(protocol_name(request.command)),
            statement: request.statement,
            sql: request.part.text.clone(),
            values: request.part.values.clone(),
            digest: Some(request.part.digest).filter(|id| !matches!(*id, DigestId::ADMIN | DigestId::UNKNOWN)),
            rt_us,
            rows: request.rows,
            affected: outcome.affected,
            warnings: outcome.told.warnings,
            error: outcome.error,
            request_bytes: request.bytes_in,
            response_bytes: request.bytes_out,
            flags,
            gtid: (!gtids.is_empty()).then(|| gtids.join(",")),
            ..self.nothing(request.start_us, cx)
        }
    }

    /// Shows a turn of an encrypted session to who wants to see it.
    pub(in super::super) fn show_turn(&self, ts_us: i64, turn: &Statement, cx: &mut Context<'_>) {
        show(ts_us, turn.rt_us, true, cx, |cx| Ended {
            rt_us: turn.rt_us,
            request_bytes: turn.bytes_in,
            response_bytes: turn.bytes_out,
            flags: self.flags.with(Flags::ENCRYPTED, true),
            ..self.nothing(ts_us, cx)
        });
    }

    /// What every command has of its connection.
    fn nothing(&self, ts_us: i64, cx: &Context<'_>) -> Ended {
        Ended {
            ts_us,
            client: *cx.client,
            server: *cx.server,
            connection: cx.connection,
            thread: self.thread,
            user: cx.table.known_name(self.user).map(Arc::clone),
            schema: cx.table.known_name(self.schema).map(Arc::clone),
            command: None,
            statement: 0,
            sql: None,
            mode: self.reading.now().mode,
            values: None,
            digest: None,
            rt_us: None,
            rows: 0,
            affected: 0,
            warnings: None,
            error: None,
            request_bytes: 0,
            response_bytes: 0,
            flags: self.flags,
            gtid: None,
            sample_factor: cx.table.sample_factor(),
        }
    }

    /// The answers to what was asked will not be seen: the requests count, without a response time.
    pub(in super::super) fn abandon(&mut self, end_us: i64, why: Flags, cx: &mut Context<'_>) {
        self.response = Response::Start;
        self.file = false;
        while let Some(mut request) = self.requests.pop_front() {
            cx.books.unanswered += 1;
            request.flags.add(Flags::UNANSWERED);
            request.flags.add(why);
            self.emit(&request, &Outcome::none(end_us), cx);
            // The server was asked for the others too, and nothing says that it did not get to them, unless the connection ended.
            while why.has(Flags::LOST)
                && let Some(part) = request.later.pop()
            {
                (request.part, request.bytes_in) = (part, 0);
                request.statement += 1;
                self.emit(&request, &Outcome::none(end_us), cx);
            }
        }
    }
}

/// Tells of a command as far as it is wanted; `all` is all that is known of it.
fn show(
    ts_us: i64,
    rt_us: Option<(u64, u64)>,
    encrypted: bool,
    cx: &mut Context<'_>,
    all: impl FnOnce(&Context<'_>) -> Ended,
) {
    let told = if cx.shown.has_texts() { Some(all(cx)) } else { None };
    match cx.shown {
        Shown::Nothing => {}
        Shown::Times(times) => {
            let sample_factor = cx.table.sample_factor();
            times.extend(rt_us.map(|rt_us| Timed { ts_us, rt_us, encrypted, sample_factor }));
        }
        Shown::Commands(ended) => ended.extend(told),
    }
}
