//! Inputs of a profile: files enter, statements go into the sums. What a file is, is told by its first bytes unless it was said;
//! what cannot be read is named on standard error and counted.

use std::collections::HashMap;
use std::io::{self, BufRead};
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::sync::Arc;

use millrace_collectors::slow_log::{Dialect, Found, SlowEntry};
use millrace_collectors::wire::{Batch, Books, CaptureError, Server, read_file};
use millrace_processors::profile::{Classes, Filter, Observed, Tally, Text, Times};
use millrace_schemas::digest::DigestId;
use millrace_schemas::ids::InstanceId;
use millrace_schemas::profile::{Class, Gaps, Input, InputKind};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::queries::Row;

use super::Type;
use super::progress::Progress;
use crate::cli::input::Place;
use crate::cli::logs::{self, Unread, oddities};
use crate::cli::output::complain;

/// How captures begin: the classic form in both byte orders, with microseconds or nanoseconds, and the newer form.
const CAPTURE_MAGIC: [[u8; 4]; 5] = [
    [0xd4, 0xc3, 0xb2, 0xa1],
    [0xa1, 0xb2, 0xc3, 0xd4],
    [0x4d, 0x3c, 0xb2, 0xa1],
    [0xa1, 0xb2, 0x3c, 0x4d],
    [0x0a, 0x0d, 0x0d, 0x0a],
];

/// What a server says of a statement, and its name here. MariaDB and Percona Server say `Yes`, MySQL counts.
const FLAGS: [(&str, &str); 12] = [
    ("Full_scan", "full_scan"),
    ("Full_join", "full_join"),
    ("Tmp_table", "tmp_table"),
    ("Created_tmp_tables", "tmp_table"),
    ("Tmp_table_on_disk", "tmp_table_on_disk"),
    ("Created_tmp_disk_tables", "tmp_table_on_disk"),
    ("Filesort", "filesort"),
    ("Sort_scan_count", "filesort"),
    ("Sort_range_count", "filesort"),
    ("Filesort_on_disk", "filesort_on_disk"),
    ("Sort_merge_passes", "filesort_on_disk"),
    ("QC_hit", "query_cache_hit"),
];

/// Percona Server says in each entry that it wrote only one of so many.
const SAMPLED: &str = "Log_slow_rate_limit";

/// Reads inputs into sums.
pub(super) struct Reader<'a> {
    pub(super) tally: Tally,
    pub(super) inputs: Vec<Input>,
    pub(super) kind: Type,
    pub(super) dialect: Option<Dialect>,
    pub(super) filter: Option<&'a Filter>,
    pub(super) since: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
    /// Each entry of a log stands for so many.
    pub(super) factor: u64,
    pub(super) ports: &'a [u16],
    pub(super) classes: Classes,
    pub(super) progress: Progress,
}

impl Reader<'_> {
    /// Reads one input to its end; what is wrong with it is said, and noted with the input.
    pub(super) fn read(&mut self, place: &Place) {
        let file = place.to_string();
        let mut input = Input { file: file.clone(), ..Input::default() };
        if let Err(why) = self.read_into(place, &mut input) {
            self.progress.aside(|| complain(&format!("{file} cannot be read further: {why}")));
            input.error = Some(why);
        }
        self.inputs.push(input);
    }

    fn read_into(&mut self, place: &Place, input: &mut Input) -> Result<(), String> {
        let mut bytes = place.open_counted(&self.progress.read).map_err(|error| error.to_string())?;
        let start = bytes.fill_buf().map_err(|error| error.to_string())?;
        let capture = match self.kind {
            Type::Auto => CAPTURE_MAGIC.iter().any(|magic| start.starts_with(magic)),
            Type::Pcap => true,
            Type::Slowlog => false,
        };
        if capture { self.capture(bytes, input) } else { self.log(bytes.as_mut(), input) }
    }

    fn log(&mut self, bytes: &mut dyn BufRead, input: &mut Input) -> Result<(), String> {
        let file = input.file.clone();
        let mut unread = Unread::default();
        let dialect = self.dialect;
        let log = logs::read(bytes, dialect, &mut |found| {
            match found {
                Found::Entry(entry) => {
                    input.entries += 1;
                    self.entry(&entry);
                    self.progress.tick();
                }
                Found::Unreadable(part) => self.progress.aside(|| unread.tell(&file, &part)),
            }
            true
        });
        unread.end(&file);
        input.unreadable = unread.parts;
        input.kind = match log.dialect {
            Dialect::MySql => InputKind::MysqlSlowLog,
            Dialect::MariaDb => InputKind::MariadbSlowLog,
        };
        if input.entries == 0 && unread.parts == 0 && !log.empty && log.outcome.is_ok() {
            return Err("nothing in it looks like an entry of a slow log, or like a capture".to_owned());
        }
        log.outcome.map_err(|error| error.to_string())
    }

    fn entry(&mut self, entry: &SlowEntry) {
        if !self.in_time(entry.ts) {
            return self.tally.leave_out(1);
        }
        let mut flags: Vec<&str> = oddities(entry).collect();
        let mut factor = self.factor;
        for (name, value) in entry.attributes.pairs() {
            if let Some((_, flag)) = FLAGS.iter().find(|(known, _)| *known == name) {
                let is = value == "Yes" || value.parse::<u64>().is_ok_and(|count| count > 0);
                if is && !flags.contains(flag) {
                    flags.push(flag);
                }
            } else if name == SAMPLED {
                factor = factor.saturating_mul(value.parse::<u64>().unwrap_or(1).max(1));
            }
        }
        let digest = match entry.admin_command {
            Some(_) => DigestId::ADMIN,
            None => self.classes.id_of(&entry.sql),
        };
        let (sql, masked) = shown(entry);
        let statement = Observed {
            ended: entry.ts,
            digest,
            user: &entry.user,
            host: if entry.host.is_empty() { &entry.ip } else { &entry.host },
            schema: &entry.schema,
            thread: entry.thread,
            calls: 1,
            factor,
            times: Times::One(entry.query_time_us),
            lock_us: Some(entry.lock_time_us),
            rows_sent: entry.rows_sent,
            rows_examined: Some(entry.rows_examined),
            rows_affected: entry.rows_affected,
            bytes_sent: entry.bytes_sent,
            errors: entry.error.map(|error| u64::from(error != 0)),
            error_code: entry.error.unwrap_or(0),
            flags: &flags,
            text: Text {
                sql,
                bytes: entry.sql_bytes,
                masked,
                input: self.inputs.len() as u64,
                offset: Some(entry.offset),
            },
        };
        let classes = &mut self.classes;
        let class = &mut || classes.of(digest, &entry.sql);
        match self.filter {
            Some(filter) if !filter.fits(&statement, class) => self.tally.leave_out(1),
            _ => self.tally.take(&statement, class),
        }
    }

    fn in_time(&self, at: Timestamp) -> bool {
        self.since.is_none_or(|since| at >= since) && self.until.is_none_or(|until| at < until)
    }

    fn capture(&mut self, bytes: Box<dyn BufRead + Send>, input: &mut Input) -> Result<(), String> {
        input.kind = InputKind::Capture;
        if let Some(filter) = self.filter {
            filter.check_for_sums().map_err(|error| error.to_string())?;
        }
        let servers = servers(self.ports);
        let mut texts = Texts::default();
        let mut books = Books::default();
        let outcome = decoded(bytes, &servers, |batch| {
            books.add(&batch.books);
            texts.learn(&batch);
            for row in &batch.rows {
                input.entries += 1;
                self.row(row, &texts);
                self.progress.tick();
            }
        });
        input.gaps = Some(gaps(&books));
        outcome?;
        if books.captured == 0 && books.frames > 0 {
            let ports: Vec<String> = self.ports.iter().map(ToString::to_string).collect();
            return Err(format!(
                "none of its {} packets is of a server on port {}: name the port with --port",
                books.frames,
                ports.join(" or ")
            ));
        }
        Ok(())
    }

    fn row(&mut self, row: &Row, texts: &Texts) {
        let ended = Timestamp(row.second.saturating_mul(1_000_000));
        if !self.in_time(ended) {
            return self.tally.leave_out(1);
        }
        let known = texts.0.get(&row.digest);
        let statement = Observed {
            ended,
            digest: row.digest,
            user: &row.user,
            host: "",
            schema: &row.schema,
            thread: None,
            calls: row.count,
            factor: u64::from(row.sample_factor),
            times: Times::Many {
                sketch: &row.rt_last,
                sum_us: row.rt_sum_us,
                min_us: row.rt_min_us,
                max_us: row.rt_max_us,
            },
            lock_us: row.lock_us,
            rows_sent: row.rows_sent,
            rows_examined: row.rows_examined,
            rows_affected: Some(row.rows_affected),
            bytes_sent: Some(row.bytes_out),
            errors: Some(row.errors),
            error_code: 0,
            flags: &[],
            text: Text {
                sql: known.map_or(&[], |(_, sample)| sample.as_bytes()),
                bytes: known.map_or(0, |(_, sample)| sample.len() as u64),
                masked: true,
                input: self.inputs.len() as u64,
                offset: None,
            },
        };
        let classes = &mut self.classes;
        let class = &mut || match known {
            Some((class, _)) => Arc::clone(class),
            None => classes.of(row.digest, b""),
        };
        match self.filter {
            Some(filter) if !filter.fits(&statement, class) => self.tally.leave_out(1),
            _ => self.tally.take(&statement, class),
        }
    }
}

/// What may be shown of an entry, and whether that has no literals already. The name of a command is no literal, but what a client
/// made look like one may be.
fn shown(entry: &SlowEntry) -> (&[u8], bool) {
    let plain = |command: &String| command.len() <= 24 && command.bytes().all(|b| b.is_ascii_alphabetic() || b == b' ');
    (&entry.sql, entry.admin_command.as_ref().is_some_and(plain))
}

/// What digests of a capture are, with a masked sample of each.
#[derive(Default)]
struct Texts(HashMap<DigestId, (Arc<Class>, String)>);

impl Texts {
    fn learn(&mut self, batch: &Batch) {
        for new in &batch.new_digests {
            let class = Class {
                digest_id: new.id,
                digest_text: new.text.clone(),
                kind: new.kind.as_str().to_owned(),
                tables: new.tables.clone(),
                truncated: new.truncated,
            };
            self.0.insert(new.id, (Arc::new(class), new.sample_masked.clone()));
        }
    }
}

/// Decodes a capture. The library that reads them wants a file; unpacked bytes come to it through a pipe.
fn decoded(mut bytes: Box<dyn BufRead + Send>, servers: &[Server], mut take: impl FnMut(Batch)) -> Result<(), String> {
    let (reader, mut writer) = io::pipe().map_err(|error| format!("no pipe can be made: {error}"))?;
    let path = PathBuf::from(format!("/dev/fd/{}", reader.as_raw_fd()));
    let fed = std::thread::spawn(move || io::copy(&mut bytes, &mut writer));
    let read = read_file(&path, servers, |batch| {
        take(batch);
        true
    });
    drop(reader);
    let fed = fed.join().expect("copying bytes does not panic");
    match (read, fed) {
        // The file's own trouble comes before what the library makes of its cut end.
        (_, Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.to_string()),
        (Ok(_), _) => Ok(()),
        // The path is that of the pipe, which tells nobody anything.
        (Err(CaptureError::File { reason, .. }), _) => Err(reason),
        (Err(error), _) => Err(error.to_string()),
    }
}

fn servers(ports: &[u16]) -> Vec<Server> {
    let instance = InstanceId::parse("server").expect("a legal id");
    ports.iter().map(|port| Server { address: None, port: *port, instance: instance.clone() }).collect()
}

fn gaps(books: &Books) -> Gaps {
    Gaps {
        captured_bytes: books.captured,
        missing_bytes: books.missing,
        encrypted_bytes: books.encrypted,
        unusable_bytes: books.skipped + books.shed + books.undecodable,
        unanswered: books.unanswered,
        unknown_statements: books.unknown_statements,
    }
}
