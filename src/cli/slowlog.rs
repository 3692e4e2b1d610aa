//! `millrace slowlog FILE...`: the entries of slow logs, one line of JSON each, in the order of the files; with `-f` also what is
//! added to them. Literals are masked unless they are asked for. What cannot be read is told on standard error, with its place.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use millrace_collectors::slow_log::{Dialect, Follower, Found, SlowEntry, Start, Style};
use millrace_schemas::digest::{DigestId, PtId, Scanner, Syntax, mask};
use serde::Serialize;

use super::End;
use super::input::{Place, places};
use super::logs::{Unread, Written, beginning, oddities, read};
use super::output::{complain, told, write_line};
use super::syntax;

/// The layout of a line.
const SCHEMA_VERSION: u32 = 1;
/// 250 ms between looks at files that are followed: a person sees no delay.
const LOOK_EVERY: Duration = Duration::from_millis(250);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The slow logs, also packed (gzip, zstd, xz); a folder is all files in it, `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Go on with what is added to the files, also after they were rotated, until interrupted.
    #[arg(short, long)]
    follow: bool,
    /// Show the literals of statements.
    #[arg(long)]
    show_literals: bool,
    /// Add the id that pt-query-digest has for each statement, its last 16 digits.
    #[arg(long)]
    pt_id: bool,
    /// Who wrote the logs; without it each file is asked.
    #[arg(long, value_enum, value_name = "DIALECT")]
    dialect: Option<Written>,
    #[command(flatten)]
    syntax: syntax::Arguments,
    /// The form of the answer.
    #[arg(short, long, value_enum, default_value = "jsonl")]
    output: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// One JSON object per entry.
    Jsonl,
}

/// One entry, as a JSON line.
#[derive(Serialize)]
struct Line<'a> {
    schema_version: u32,
    ts: String,
    user: &'a str,
    host: &'a str,
    ip: &'a str,
    thread: Option<u64>,
    schema: &'a str,
    query_time_us: u64,
    lock_time_us: u64,
    rows_sent: u64,
    rows_examined: u64,
    rows_affected: Option<u64>,
    bytes_sent: Option<u64>,
    /// The server's error number, 0 for none; null where the log does not say.
    error: Option<u32>,
    /// As the server wrote them.
    attributes: serde_json::Map<String, serde_json::Value>,
    sql: String,
    digest_id: String,
    /// That of pt-query-digest; null unless asked for, and of statements that are not read whole.
    pt_id: Option<String>,
    source_file: &'a str,
    offset: u64,
    flags: Vec<&'static str>,
}

/// What is made of entries.
struct Teller<W> {
    out: W,
    show_literals: bool,
    pt_ids: bool,
    syntax: Syntax,
    scanner: Scanner,
    entries: u64,
    unreadable: u64,
    /// The first thing that went wrong with the output.
    failed: Option<io::Error>,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let Form::Jsonl = arguments.output;
    let out = BufWriter::new(io::stdout().lock());
    let mut teller = Teller {
        out,
        show_literals: arguments.show_literals,
        pt_ids: arguments.pt_id,
        syntax: arguments.syntax.syntax(),
        scanner: Scanner::reading(arguments.syntax.syntax()),
        entries: 0,
        unreadable: 0,
        failed: None,
    };
    let places = places(&arguments.files)?;
    if arguments.follow {
        return follow(&places, arguments.dialect(), &mut teller);
    }
    let mut closed = 0;
    for place in &places {
        if let Err(error) = read_one(place, arguments.dialect(), &mut teller) {
            complain(&format!("{place} cannot be read further: {error}"));
            closed += 1;
        }
        told(teller.written())?;
    }
    told(teller.out.flush())?;
    let (entries, unreadable) = (teller.entries, teller.unreadable);
    match (closed, entries, unreadable) {
        (0, _, 0) => Ok(()),
        (closed, 0, 0) if closed == places.len() => Err(End::Usage("none of the files can be read".to_owned()).into()),
        _ => Err(End::Partial(format!(
            "{entries} entries were read; what could not be is named above: {unreadable} parts, {closed} of {} files",
            places.len()
        ))
        .into()),
    }
}

impl Arguments {
    fn dialect(&self) -> Option<Dialect> {
        self.dialect.map(Dialect::from)
    }
}

fn read_one<W: Write>(place: &Place, dialect: Option<Dialect>, teller: &mut Teller<W>) -> io::Result<()> {
    let mut input = place.open()?;
    let (before, mut unread) = (teller.entries, Unread::default());
    let file = place.to_string();
    let log = read(input.as_mut(), dialect, teller.syntax, &mut |found| {
        teller.take(&file, found, &mut unread);
        teller.failed.is_none()
    });
    unread.end(&file);
    if teller.entries == before && unread.parts == 0 && !log.empty && log.outcome.is_ok() {
        teller.unreadable += 1;
        complain(&format!("{file}: nothing in it looks like an entry of a slow log"));
    }
    log.outcome
}

/// Reads what is there and what comes, until interrupted.
fn follow<W: Write>(places: &[Place], dialect: Option<Dialect>, teller: &mut Teller<W>) -> anyhow::Result<()> {
    let mut followers = Vec::new();
    for place in places {
        let Place::File(path) = place else {
            return Err(End::Usage("standard input cannot be followed: leave out -f".to_owned()).into());
        };
        let dialect = match dialect {
            Some(dialect) => dialect,
            None => written_in(place)?,
        };
        let style = Style { dialect, syntax: teller.syntax };
        followers.push((place.to_string(), Follower::new(path, style, Start::Beginning), Unread::default()));
    }
    loop {
        let mut more = false;
        for (file, follower, unread) in &mut followers {
            let polled = follower.poll(|found| teller.take(file, found, unread))?;
            more |= polled.more || polled.rotated;
            told(teller.written())?;
        }
        told(teller.out.flush())?;
        if !more {
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

/// Who wrote the log at `place`, which is followed.
fn written_in(place: &Place) -> anyhow::Result<Dialect> {
    let cannot = |why: String| End::Usage(format!("{place} cannot be followed: {why}"));
    let found = place.open().and_then(|mut input| beginning(input.as_mut()));
    let (_, written) = found.map_err(|error| cannot(error.to_string()))?;
    Ok(written
        .ok_or_else(|| cannot("it does not say yet who writes it; name --dialect mysql or mariadb".to_owned()))?)
}

impl<W: Write> Teller<W> {
    fn take(&mut self, file: &str, found: Found<'_>, unread: &mut Unread) {
        match found {
            Found::Entry(entry) => {
                self.entries += 1;
                let line = self.line(file, entry);
                if let Err(error) = write_line(&mut self.out, &line) {
                    self.failed.get_or_insert(error);
                }
            }
            Found::Unreadable(part) => {
                self.unreadable += 1;
                unread.tell(file, &part);
            }
        }
    }

    /// Whether all of it could be written.
    fn written(&mut self) -> io::Result<()> {
        self.failed.take().map_or(Ok(()), Err)
    }

    fn line<'a>(&mut self, file: &'a str, entry: &'a SlowEntry) -> Line<'a> {
        let admin = entry.admin_command.is_some();
        let digest = if admin { DigestId::ADMIN } else { self.scanner.id_of(entry.sure_sql()) };
        let attributes = entry.attributes.pairs().map(|(name, value)| (name.to_owned(), value.into()));
        Line {
            schema_version: SCHEMA_VERSION,
            ts: entry.ts.to_string(),
            user: &entry.user,
            host: &entry.host,
            ip: &entry.ip,
            thread: entry.thread,
            schema: &entry.schema,
            query_time_us: entry.query_time_us,
            lock_time_us: entry.lock_time_us,
            rows_sent: entry.rows_sent,
            rows_examined: entry.rows_examined,
            rows_affected: entry.rows_affected,
            bytes_sent: entry.bytes_sent,
            error: entry.error,
            attributes: attributes.collect(),
            sql: if admin || self.show_literals {
                String::from_utf8_lossy(&self.syntax.to_utf8(&entry.sql)).into_owned()
            } else {
                mask(entry.sure_sql(), self.syntax)
            },
            digest_id: digest.to_string(),
            pt_id: if self.pt_ids { pt_id(entry) } else { None },
            source_file: file,
            offset: entry.offset,
            flags: oddities(entry, self.syntax).collect(),
        }
    }
}

/// The id of what the log says, where enough of it is known.
fn pt_id(entry: &SlowEntry) -> Option<String> {
    let sql = entry.sure_sql();
    let id = if sql.len() as u64 == entry.sql_bytes { Some(PtId::of(sql)) } else { PtId::of_beginning(sql) };
    id.map(|id| id.to_string())
}
