//! Answers: the server's packets enter one by one; what became of the request leaves. One state per answer in progress.
//! Whether the server leaves out the EOF behind the columns is known from the handshake or learnt from the first result set,
//! so that a connection can be picked up in the middle. It must never take a row for an end, or an end for a row.

use super::changes::Changes;
use super::commands::Answer;
use super::ended::ServerError;
use super::packets::{Fields, Packet};

/// Payloads shorter than this that begin with 0xfe are ends, not rows: such a row would hold a value of 16 MiB.
const END_BYTES_MAX: u64 = 0xff_ffff;
/// The length of an EOF packet.
const EOF_BYTES: u64 = 5;
/// Error number of MariaDB's progress reports, which are no errors.
const PROGRESS: u16 = 0xffff;

/// Status bits in OK and EOF.
const MORE_RESULTS: u16 = 0x0008;
pub(super) const CURSOR: u16 = 0x0040;
const SESSION_CHANGED: u16 = 0x4000;

/// Bytes kept of a server's payload, by its first byte: of an OK, an end or an error with what it says of the session, a set of GTIDs
/// of some servers among it; of others the counts of result sets.
pub(super) fn kept(tag: u8) -> usize {
    if matches!(tag, 0 | 0xfe | 0xff) { 1024 } else { 64 }
}

/// Whether an EOF follows the columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Ends {
    /// Not known yet.
    #[default]
    Unknown,
    /// Yes.
    Eof,
    /// No.
    Deprecated,
}

/// Forms of the connection that answers depend on.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Forms {
    pub(super) ends: Ends,
    /// The count of columns has a byte before it that says whether columns follow.
    pub(super) optional_metadata: bool,
}

/// Where in an answer the server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Response {
    /// The first packet of a result is next.
    #[default]
    Start,
    /// So many columns are next.
    Columns(u64),
    /// Behind the columns: an EOF, a row, or an end.
    BehindColumns,
    /// Rows, or the end.
    Rows,
    /// Definitions of parameters or columns of a prepared statement, and how many columns follow behind them.
    Definitions(u16, u16),
    /// The EOF behind definitions is next, and behind it so many columns.
    DefinitionsEnd(u16),
}

/// What a packet means for the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// More packets follow.
    Going,
    /// One row.
    Row,
    /// The server asks for a file.
    File,
    /// The login goes on; the client answers.
    Exchange,
    /// A result ended.
    Done {
        /// It was an OK, not a result set.
        plain: bool,
        affected: u64,
        more: bool,
        /// The number of a statement that was prepared, and how many parameters it has.
        prepared: Option<(u32, u16)>,
    },
    /// The request ended with an error.
    Failed(ServerError),
    /// The packet makes no sense here.
    Nonsense,
}

impl Meaning {
    fn end(more: bool) -> Meaning {
        Meaning::Done { plain: false, affected: 0, more, prepared: None }
    }
}

impl Response {
    /// Takes a packet of the answer to a request.
    pub(super) fn take(&mut self, answer: Answer, packet: &Packet<'_>, forms: &mut Forms) -> Meaning {
        if packet.tag() == Some(0xff) {
            let error = error_of(packet);
            return if error.code == PROGRESS { Meaning::Going } else { Meaning::Failed(error) };
        }
        match *self {
            Response::Start => self.start(answer, packet, *forms),
            Response::Columns(left) => {
                *self = if left > 1 { Response::Columns(left - 1) } else { Response::BehindColumns };
                Meaning::Going
            }
            Response::BehindColumns => self.behind_columns(packet, forms),
            Response::Rows => rows(packet),
            Response::Definitions(left, columns) => self.definition(left, columns, *forms),
            Response::DefinitionsEnd(columns) => self.definitions_end(columns),
        }
    }

    fn start(&mut self, answer: Answer, packet: &Packet<'_>, forms: Forms) -> Meaning {
        match answer {
            Answer::One => match packet.tag() {
                Some(0) => ok(packet),
                _ => Meaning::end(false),
            },
            Answer::Result | Answer::Execution => match packet.tag() {
                Some(0) if packet.length >= 7 => ok(packet),
                Some(0xfb) => Meaning::File,
                Some(_) => self.columns(packet, forms),
                None => Meaning::Nonsense,
            },
            Answer::Rows => {
                *self = Response::Rows;
                rows(packet)
            }
            // An end is an EOF or, without EOFs, an OK; a column begins with the length of "def".
            Answer::Columns if packet.tag() == Some(0xfe) => Meaning::end(false),
            Answer::Columns => Meaning::Going,
            Answer::Prepared => self.prepared(packet, forms),
            Answer::Login => match packet.tag() {
                Some(0) => ok(packet),
                _ => Meaning::Exchange,
            },
            Answer::None | Answer::Stream | Answer::Unknown => Meaning::Nonsense,
        }
    }

    fn columns(&mut self, packet: &Packet<'_>, forms: Forms) -> Meaning {
        let mut fields = Fields(packet.head);
        let mut follow = true;
        if forms.optional_metadata && packet.length > 1 {
            follow = fields.u8() == Some(1);
        }
        let Some(columns) = fields.number().filter(|n| *n > 0) else { return Meaning::Nonsense };
        if let Some(flag) = fields.u8() {
            // MariaDB: whether the columns come again, or are those of the statement's last execution.
            follow = flag == 1;
        }
        *self = if follow { Response::Columns(columns) } else { Response::BehindColumns };
        Meaning::Going
    }

    fn behind_columns(&mut self, packet: &Packet<'_>, forms: &mut Forms) -> Meaning {
        *self = Response::Rows;
        if is_end(packet) && packet.length == EOF_BYTES && forms.ends != Ends::Deprecated {
            forms.ends = Ends::Eof;
            let status = end_status(packet);
            if status.unwrap_or(0) & CURSOR != 0 {
                return Meaning::end(has_more(status));
            }
            return Meaning::Going;
        }
        if forms.ends == Ends::Unknown {
            forms.ends = Ends::Deprecated;
        }
        rows(packet)
    }

    fn prepared(&mut self, packet: &Packet<'_>, forms: Forms) -> Meaning {
        let mut fields = Fields(packet.head);
        let (Some(0), Some(id), Some(columns), Some(parameters)) =
            (fields.u8(), fields.u32(), fields.u16(), fields.u16())
        else {
            return Meaning::Nonsense;
        };
        let _ = forms;
        *self = match (parameters, columns) {
            (0, 0) => Response::Start,
            (0, columns) => Response::Definitions(columns, 0),
            (parameters, columns) => Response::Definitions(parameters, columns),
        };
        Meaning::Done { plain: true, affected: 0, more: *self != Response::Start, prepared: Some((id, parameters)) }
    }

    fn definition(&mut self, left: u16, columns: u16, forms: Forms) -> Meaning {
        if left > 1 {
            *self = Response::Definitions(left - 1, columns);
            return Meaning::Going;
        }
        match forms.ends {
            Ends::Eof => {
                *self = Response::DefinitionsEnd(columns);
                Meaning::Going
            }
            // Unknown: an EOF that comes nevertheless is passed over by the session.
            Ends::Deprecated | Ends::Unknown => self.definitions_end(columns),
        }
    }

    fn definitions_end(&mut self, columns: u16) -> Meaning {
        if columns > 0 {
            *self = Response::Definitions(columns, 0);
            return Meaning::Going;
        }
        *self = Response::Start;
        Meaning::end(false)
    }
}

/// What the packet that ends a result says besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Told<'a> {
    pub(super) status: Option<u16>,
    pub(super) warnings: Option<u16>,
    /// What has changed in the session.
    pub(super) changes: Changes<'a>,
}

impl Answer {
    /// What the packet that ends a result says; nothing where it says nothing.
    pub(super) fn told<'a>(self, packet: &Packet<'a>) -> Told<'a> {
        match packet.tag() {
            _ if self == Answer::Prepared => Told::default(),
            _ if is_end(packet) && packet.length == EOF_BYTES => {
                let mut fields = Fields(&packet.head[1..]);
                let warnings = fields.u16();
                Told { warnings, status: fields.u16(), changes: Changes::default() }
            }
            Some(0) => ok_told(packet),
            _ if is_end(packet) => ok_told(packet),
            _ => Told::default(),
        }
    }
}

/// What an OK says.
pub(super) fn ok_told<'a>(packet: &Packet<'a>) -> Told<'a> {
    let mut fields = Fields(packet.head.get(1..).unwrap_or_default());
    let (_affected, _id) = (fields.number(), fields.number());
    let (status, warnings) = (fields.u16(), fields.u16());
    let changed = status.unwrap_or(0) & SESSION_CHANGED != 0;
    let changes = if changed && fields.string().is_some() { fields.string().map(Changes) } else { None };
    Told { status, warnings, changes: changes.unwrap_or_default() }
}

/// The number and the SQL state of an error; the state is none before authentication, and of servers before 4.1.
pub(super) fn error_of(packet: &Packet<'_>) -> ServerError {
    let mut fields = Fields(packet.head.get(1..).unwrap_or_default());
    let code = fields.u16().unwrap_or(0);
    let state = fields.bytes(6).and_then(|bytes| bytes.strip_prefix(b"#"));
    ServerError { code, sqlstate: state.and_then(|state| state.try_into().ok()) }
}

/// Whether a packet is the lone EOF of a server whose form is not known.
pub(super) fn is_stray_eof(packet: &Packet<'_>) -> bool {
    is_end(packet) && packet.length == EOF_BYTES
}

fn is_end(packet: &Packet<'_>) -> bool {
    packet.tag() == Some(0xfe) && packet.length < END_BYTES_MAX
}

fn rows(packet: &Packet<'_>) -> Meaning {
    if is_end(packet) { Meaning::end(has_more(end_status(packet))) } else { Meaning::Row }
}

/// The status bits of an EOF, or of the OK that stands for it.
fn end_status(packet: &Packet<'_>) -> Option<u16> {
    let mut fields = Fields(packet.head.get(1..).unwrap_or_default());
    if packet.length == EOF_BYTES {
        return fields.u16().and_then(|_warnings| fields.u16());
    }
    ok_status(packet)
}

fn ok_status(packet: &Packet<'_>) -> Option<u16> {
    let mut fields = Fields(packet.head.get(1..).unwrap_or_default());
    fields.number().and_then(|_affected| fields.number()).and_then(|_id| fields.u16())
}

fn has_more(status: Option<u16>) -> bool {
    status.unwrap_or(0) & MORE_RESULTS != 0
}

fn ok(packet: &Packet<'_>) -> Meaning {
    let mut fields = Fields(packet.head.get(1..).unwrap_or_default());
    let affected = fields.number().unwrap_or(0);
    Meaning::Done { plain: true, affected, more: has_more(ok_status(packet)), prepared: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(answer: Answer, ends: Ends, payloads: &[&[u8]]) -> (Vec<Meaning>, Response, Ends) {
        let mut forms = Forms { ends, ..Forms::default() };
        let mut response = Response::Start;
        let meanings = payloads
            .iter()
            .map(|head| {
                let length = head.len() as u64;
                let packet = Packet {
                    number: 1,
                    last_number: 1,
                    head,
                    length,
                    wire_bytes: length + 4,
                    first_us: 0,
                    last_us: 0,
                    holed: false,
                };
                response.take(answer, &packet, &mut forms)
            })
            .collect();
        (meanings, response, forms.ends)
    }

    const DONE: Meaning = Meaning::Done { plain: false, affected: 0, more: false, prepared: None };

    #[test]
    fn reads_a_result_set_in_both_forms() {
        use Meaning::{Going, Row};
        let classic: &[&[u8]] = &[b"\x01", b"\x03def", b"\xfe\0\0\x02\0", b"\x011", b"\xfb", b"\xfe\0\0\x02\0"];
        for ends in [Ends::Unknown, Ends::Eof] {
            let (meanings, _, learnt) = take(Answer::Result, ends, classic);
            assert_eq!((meanings, learnt), (vec![Going, Going, Going, Row, Row, DONE], Ends::Eof));
        }
        let modern: &[&[u8]] = &[b"\x01", b"\x03def", b"\x011", b"\xfe\0\0\x02\0\0\0"];
        for ends in [Ends::Unknown, Ends::Deprecated] {
            let (meanings, _, learnt) = take(Answer::Result, ends, modern);
            assert_eq!((meanings, learnt), (vec![Going, Going, Row, DONE], Ends::Deprecated));
        }
    }

    #[test]
    fn reads_ok_errors_and_more() {
        let (meanings, ..) = take(Answer::Result, Ends::Eof, &[b"\0\x05\0\x0a\0\0\0"]);
        assert_eq!(meanings, [Meaning::Done { plain: true, affected: 5, more: true, prepared: None }]);
        let (meanings, ..) = take(Answer::Result, Ends::Eof, &[b"\xff\xff\xff\x01", b"\xff\x28\x04#42000x"]);
        assert_eq!(meanings, [Meaning::Going, Meaning::Failed(ServerError { code: 1064, sqlstate: Some(*b"42000") })]);
        let (meanings, ..) = take(Answer::Result, Ends::Eof, &[b"\xfbfile"]);
        assert_eq!(meanings, [Meaning::File]);
    }

    #[test]
    fn a_cursor_ends_behind_its_columns() {
        let (meanings, ..) = take(Answer::Execution, Ends::Eof, &[b"\x01", b"\x03def", b"\xfe\0\0\x42\0"]);
        assert_eq!(meanings[2], DONE);
        let (meanings, ..) = take(Answer::Execution, Ends::Deprecated, &[b"\x01", b"\x03def", b"\xfe\0\0\x42\0\0\0"]);
        assert_eq!(meanings[2], DONE);
    }

    #[test]
    fn reads_the_answer_to_a_prepare() {
        let ok: &[u8] = b"\0\x07\0\0\0\x01\0\x01\0\0\0\0";
        let prepared = Meaning::Done { plain: true, affected: 0, more: true, prepared: Some((7, 1)) };
        let (meanings, response, _) = take(Answer::Prepared, Ends::Deprecated, &[ok, b"\x03def", b"\x03def"]);
        assert_eq!((meanings, response), (vec![prepared, Meaning::Going, DONE], Response::Start));
        let eof: &[u8] = b"\xfe\0\0\x02\0";
        let (meanings, ..) = take(Answer::Prepared, Ends::Eof, &[ok, b"\x03def", eof, b"\x03def", eof]);
        assert_eq!(meanings, [prepared, Meaning::Going, Meaning::Going, Meaning::Going, DONE]);
    }
}
