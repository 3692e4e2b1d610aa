//! `millrace decode`: every command that a capture holds, one line each, in the order in which they ended. Literals are masked unless
//! they are asked for. It exists for who wants to see what the counts are made of; its summary says what became of every byte.

mod server;
mod summary;

use std::fmt::Write as _;
use std::io::{self, BufWriter, IsTerminal as _, Write};

use clap::{Args, ValueEnum};
use millrace_collectors::wire::{Decoder, Ended, Value};
use millrace_schemas::digest::{Charset, Syntax, mask};
use millrace_schemas::time::Timestamp;
use serde::Serialize;

use self::server::{Comparison, Meanwhile};
use self::summary::Summary;
use super::End;
use super::captures;
use super::login::Who;
use super::output::{cut, printable, told, write_line};

/// The layout of a line.
const SCHEMA_VERSION: u32 = 1;
/// 80 columns, where the terminal does not say how many it has.
const COLUMNS: usize = 80;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    source: captures::Arguments,
    /// The form of the answer.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Form,
    /// Show the literals of statements, and the values that prepared ones were executed with.
    #[arg(long)]
    show_literals: bool,
    /// End with the books: what became of every packet and byte.
    #[arg(long, value_enum, value_name = "FORM")]
    summary: Option<SummaryForm>,
    /// End after so many commands.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Ask this server of the host how many statements it counts meanwhile, and say in the summary which share was in no packet: HOST,
    /// HOST:PORT, the path of its socket, or mysql://USER@HOST:PORT.
    #[arg(long, value_name = "SERVER", requires = "summary")]
    from: Option<String>,
    #[command(flatten)]
    who: Who,
    /// Ask for the account's password.
    #[arg(long, requires = "from")]
    ask_password: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For people: time, connection, response time, rows, account and schema, command, statement.
    Text,
    /// One JSON object per command.
    Jsonl,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SummaryForm {
    /// For people, 80 columns.
    Text,
    /// One JSON object.
    Json,
}

/// How many columns the terminal has.
fn columns() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
    size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0).unwrap_or(COLUMNS)
}

/// One command, as a JSON line.
#[derive(Serialize)]
struct Line<'a> {
    schema_version: u32,
    ts: String,
    client: String,
    server: String,
    connection: u64,
    /// The connection's id in the server; null when its greeting was not captured.
    thread: Option<u32>,
    user: Option<&'a str>,
    schema: Option<&'a str>,
    /// Null for a turn of an encrypted connection.
    command: Option<&'static str>,
    sql: Option<String>,
    digest_id: Option<String>,
    statement: u32,
    /// The values of an execution, where they are shown and could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Vec<serde_json::Value>>,
    rt_first_us: Option<u64>,
    rt_last_us: Option<u64>,
    rows: u64,
    affected_rows: u64,
    warnings: Option<u16>,
    error: Option<ErrorLine>,
    request_bytes: u64,
    response_bytes: u64,
    flags: Vec<&'static str>,
    gtid: Option<&'a str>,
}

#[derive(Serialize)]
struct ErrorLine {
    code: u16,
    sqlstate: Option<String>,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let stdout = io::stdout();
    let columns = stdout.is_terminal().then(columns);
    let mut out = BufWriter::new(stdout.lock());
    let (mut summary, mut left) = (Summary::default(), arguments.count.unwrap_or(u64::MAX));
    let mut server = arguments.server()?;
    let mut failed = None;
    let outcome = arguments.source.batches(Decoder::keep_ended, |batch| {
        summary.add(&batch);
        if let Some(server) = &mut server {
            server.take(&batch);
        }
        let shown = batch.ended.iter().take(usize::try_from(left).unwrap_or(usize::MAX));
        for ended in shown {
            left -= 1;
            let written = match arguments.output {
                Form::Text => writeln!(out, "{}", text(ended, arguments.show_literals, columns)),
                Form::Jsonl => write_line(&mut out, &line(ended, arguments.show_literals)),
            };
            if let Err(error) = written {
                failed = Some(error);
                return false;
            }
        }
        // Who looks at an interface wants to see what was just captured.
        if !batch.ended.is_empty() && arguments.source.is_live() {
            failed = out.flush().err();
        }
        failed.is_none() && left > 0
    })?;
    told(failed.map_or(Ok(()), Err))?;
    summary.server = server.as_ref().and_then(Comparison::end);
    let written = match arguments.summary {
        None => Ok(()),
        Some(SummaryForm::Text) => write!(out, "{summary}"),
        Some(SummaryForm::Json) => write_line(&mut out, &summary.json()),
    };
    told(written.and_then(|()| out.flush()))?;
    outcome.end(summary.unreadable())
}

impl Arguments {
    /// The server that is asked meanwhile.
    fn server(&self) -> anyhow::Result<Option<Comparison>> {
        let Some(server) = &self.from else { return Ok(None) };
        if !self.source.is_live() {
            let why = "--from asks a server what it counts while an interface is captured: name that with --interface";
            return Err(End::Usage(why.to_owned()).into());
        }
        let known = self.who.known(server, self.ask_password).map_err(|error| End::Usage(error.to_string()))?;
        Ok(Some(Comparison::begin(known).map_err(|error| End::Usage(error.to_string()))?))
    }
}

/// The statement as it is shown.
fn shown(ended: &Ended, show_literals: bool) -> Option<String> {
    let sql = ended.sql.as_deref()?;
    Some(if show_literals {
        String::from_utf8_lossy(sql).into_owned()
    } else {
        mask(sql, Syntax { mode: ended.mode, charset: Charset::default() })
    })
}

fn line(ended: &Ended, show_literals: bool) -> Line<'_> {
    Line {
        schema_version: SCHEMA_VERSION,
        ts: Timestamp(ended.ts_us).to_string(),
        client: ended.client.to_string(),
        server: ended.server.to_string(),
        connection: ended.connection,
        thread: ended.thread,
        user: ended.user.as_deref(),
        schema: ended.schema.as_deref(),
        command: ended.command,
        sql: shown(ended, show_literals),
        digest_id: ended.digest.map(|id| id.to_string()),
        statement: ended.statement,
        parameters: ended.values.as_ref().filter(|_| show_literals).map(|values| values.iter().map(json).collect()),
        rt_first_us: ended.rt_us.map(|(first, _)| first),
        rt_last_us: ended.rt_us.map(|(_, last)| last),
        rows: ended.rows,
        affected_rows: ended.affected,
        warnings: ended.warnings,
        error: ended.error.map(|error| ErrorLine {
            code: error.code,
            sqlstate: error.sqlstate.map(|state| String::from_utf8_lossy(&state).into_owned()),
        }),
        request_bytes: ended.request_bytes,
        response_bytes: ended.response_bytes,
        flags: ended.flags.names().collect(),
        gtid: ended.gtid.as_deref(),
    }
}

/// A value as JSON has it: numbers as numbers, text as text, other bytes in hexadecimal, of a long one how long it is, and rows as
/// arrays.
fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Signed(number) => (*number).into(),
        Value::Unsigned(number) => (*number).into(),
        Value::Float(number) => f64::from(*number).into(),
        Value::Double(number) => (*number).into(),
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => text.into(),
            Err(_) => bytes.iter().fold("0x".to_owned(), |hex, byte| format!("{hex}{byte:02x}")).into(),
        },
        Value::Long(bytes) => serde_json::json!({ "long_data_bytes": bytes }),
        Value::Default => serde_json::json!({ "default": true }),
        Value::Ignored => serde_json::json!({ "ignored": true }),
        Value::Row(values) => values.iter().map(json).collect(),
    }
}

/// One line for people; no longer than `columns`, if given.
fn text(ended: &Ended, show_literals: bool, columns: Option<usize>) -> String {
    let time = Timestamp(ended.ts_us).to_string();
    let time = time.get(11..26).unwrap_or(&time);
    let took = ended.rt_us.map_or_else(|| "-".to_owned(), |(_, last)| milliseconds(last));
    let who = match (ended.user.as_deref(), ended.schema.as_deref()) {
        (None, None) => "?".to_owned(),
        (user, schema) => format!("{}@{}", user.unwrap_or("?"), schema.unwrap_or("-")),
    };
    let command = ended.command.unwrap_or("turn");
    let mut line = format!("{time} #{:<3} {took:>9} ms {:>6} rows {who} {command}", ended.connection, ended.rows);
    if let Some(error) = ended.error {
        let _ = write!(line, " error {}", error.code);
    }
    let flags: Vec<&str> = ended.flags.names().collect();
    if !flags.is_empty() {
        let _ = write!(line, " [{}]", flags.join(" "));
    }
    if let Some(sql) = shown(ended, show_literals) {
        line.push_str(": ");
        line.push_str(&sql.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    let line = printable(&line);
    match columns {
        Some(columns) => cut(&line, columns),
        None => line,
    }
}

fn milliseconds(us: u64) -> String {
    format!("{}.{:03}", us / 1_000, us % 1_000)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
