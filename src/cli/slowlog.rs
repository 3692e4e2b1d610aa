//! `millrace slowlog FILE...`: the entries of slow logs, one line of JSON each, in the order of the files; with `-f` also what is
//! added to them. Literals are masked unless they are asked for. What cannot be read is told on standard error, with its place.

use std::io::{self, BufRead, BufWriter, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use millrace_collectors::slow_log::{Dialect, Entries, Follower, Found, SlowEntry, Start, Unreadable};
use millrace_schemas::digest::{DigestId, Scanner, mask};
use serde::Serialize;

use super::End;
use super::input::{Place, places};
use super::output::{complain, told, write_line};

/// The layout of a line.
const SCHEMA_VERSION: u32 = 1;
/// 250 ms between looks at files that are followed: a person sees no delay.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// 20 places of one file that cannot be read are named; more are counted.
const NAMED_MAX: u64 = 20;

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
    /// Who wrote the logs; without it each file is asked.
    #[arg(long, value_enum, value_name = "DIALECT")]
    dialect: Option<Written>,
    /// The form of the answer.
    #[arg(short, long, value_enum, default_value = "jsonl")]
    output: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// One JSON object per entry.
    Jsonl,
}

/// Who wrote a log, as options name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Written {
    /// MySQL and Percona Server.
    Mysql,
    /// MariaDB.
    Mariadb,
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
    source_file: &'a str,
    offset: u64,
    flags: Vec<&'static str>,
}

/// What is made of entries.
struct Teller<W> {
    out: W,
    show_literals: bool,
    scanner: Scanner,
    entries: u64,
    unreadable: u64,
    /// The first thing that went wrong with the output.
    failed: Option<io::Error>,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let Form::Jsonl = arguments.output;
    let out = BufWriter::new(io::stdout().lock());
    let show_literals = arguments.show_literals;
    let mut teller = Teller { out, show_literals, scanner: Scanner::new(), entries: 0, unreadable: 0, failed: None };
    let places = places(&arguments.files)?;
    if arguments.follow {
        return follow(&places, arguments.dialect(), &mut teller);
    }
    let mut closed = 0;
    for place in &places {
        if let Err(error) = read(place, arguments.dialect(), &mut teller) {
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
        self.dialect.map(|written| match written {
            Written::Mysql => Dialect::MySql,
            Written::Mariadb => Dialect::MariaDb,
        })
    }
}

fn read<W: Write>(place: &Place, dialect: Option<Dialect>, teller: &mut Teller<W>) -> io::Result<()> {
    let mut input = place.open()?;
    let (before, mut named) = (teller.entries, 0);
    let file = place.to_string();
    let (start, written) = beginning(input.as_mut())?;
    let empty = start.is_empty();
    let mut entries = Entries::new(dialect.or(written).unwrap_or(Dialect::MySql), 0);
    entries.take(&start, &mut |found| teller.take(&file, found, &mut named));
    let outcome = loop {
        let bytes = match input.fill_buf() {
            Ok([]) => break Ok(()),
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => break Err(error),
        };
        entries.take(bytes, &mut |found| teller.take(&file, found, &mut named));
        let read = bytes.len();
        input.consume(read);
        if teller.failed.is_some() {
            return Ok(());
        }
    };
    entries.end(&mut |found| teller.take(&file, found, &mut named));
    if named > NAMED_MAX {
        complain(&format!("{file}: {} more parts cannot be read", named - NAMED_MAX));
    }
    if teller.entries == before && named == 0 && !empty && outcome.is_ok() {
        teller.unreadable += 1;
        complain(&format!("{file}: nothing in it looks like an entry of a slow log"));
    }
    outcome
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
        followers.push((place.to_string(), Follower::new(path, dialect, Start::Beginning), 0));
    }
    loop {
        let mut more = false;
        for (file, follower, named) in &mut followers {
            let polled = follower.poll(|found| teller.take(file, found, named))?;
            more |= polled.more || polled.rotated;
            told(teller.written())?;
        }
        told(teller.out.flush())?;
        if !more {
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

/// Reads until it is known who wrote the log, or its beginning does not tell.
fn beginning(input: &mut dyn BufRead) -> io::Result<(Vec<u8>, Option<Dialect>)> {
    let mut start = Vec::new();
    loop {
        let bytes = input.fill_buf()?;
        let read = bytes.len();
        start.extend_from_slice(bytes);
        input.consume(read);
        let written = Dialect::of_log(&start);
        if written.is_some() || read == 0 || start.len() >= Dialect::START_BYTES {
            return Ok((start, written));
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
    fn take(&mut self, file: &str, found: Found, named: &mut u64) {
        match found {
            Found::Entry(entry) => {
                self.entries += 1;
                let line = self.line(file, &entry);
                if let Err(error) = write_line(&mut self.out, &line) {
                    self.failed.get_or_insert(error);
                }
            }
            Found::Unreadable(Unreadable { offset, bytes, reason }) => {
                self.unreadable += 1;
                *named += 1;
                if *named <= NAMED_MAX {
                    complain(&format!("{file}: {bytes} bytes at offset {offset} cannot be read: {reason}"));
                }
            }
        }
    }

    /// Whether all of it could be written.
    fn written(&mut self) -> io::Result<()> {
        self.failed.take().map_or(Ok(()), Err)
    }

    fn line<'a>(&mut self, file: &'a str, entry: &'a SlowEntry) -> Line<'a> {
        let admin = entry.admin_command.is_some();
        let digest = if admin { DigestId::ADMIN } else { self.scanner.id_of(&entry.sql) };
        let text = String::from_utf8_lossy(&entry.sql);
        let flags = [
            (entry.sql.len() as u64 != entry.sql_bytes, "truncated"),
            (entry.header_inside, "header_inside"),
            (matches!(text, std::borrow::Cow::Owned(_)), "invalid_utf8"),
            (admin, "admin_command"),
        ];
        let attributes = entry.attributes.iter().map(|(name, value)| (name.clone(), value.clone().into()));
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
            sql: if admin || self.show_literals { text.into_owned() } else { mask(&entry.sql) },
            digest_id: digest.to_string(),
            source_file: file,
            offset: entry.offset,
            flags: flags.into_iter().filter_map(|(is, name)| is.then_some(name)).collect(),
        }
    }
}
