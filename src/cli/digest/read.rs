//! Inputs of a profile: files enter, statements go into the sums. What a file is, is told by its first bytes unless it was said;
//! what cannot be read is named on standard error and counted.

use std::collections::HashMap;
use std::io::BufRead;
use std::sync::Arc;

use millrace_collectors::slow_log::Dialect;
use millrace_collectors::wire::{self, Books, Decoder};
use millrace_processors::profile::{Classes, Filter, Observed, Tally, Text, Times};
use millrace_schemas::digest::{DigestId, Syntax};
use millrace_schemas::profile::{Class, Gaps, Input, InputKind};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::queries::Row;

use super::batch::{Batch, Item, Statement};
use super::progress::Progress;
use super::{Type, chunks};
use crate::cli::captures::{decoded, is_capture, servers};
use crate::cli::input::Place;
use crate::cli::logs::Unread;
use crate::cli::output::complain;

/// Reads inputs into sums.
pub(super) struct Reader<'a> {
    pub(super) tally: Tally,
    pub(super) inputs: Vec<Input>,
    pub(super) kind: Type,
    pub(super) dialect: Option<Dialect>,
    pub(super) syntax: Syntax,
    pub(super) filter: Option<&'a Filter>,
    pub(super) since: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
    /// Each entry of a log stands for so many.
    pub(super) factor: u64,
    pub(super) ports: &'a [u16],
    /// How many threads read logs.
    pub(super) threads: usize,
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
            Type::Auto => is_capture(start),
            Type::Pcap => true,
            Type::Slowlog => false,
        };
        if capture { self.capture(bytes, input) } else { self.log(bytes, input) }
    }

    fn log(&mut self, bytes: Box<dyn BufRead + Send>, input: &mut Input) -> Result<(), String> {
        let mut unread = Unread::default();
        let (written, threads) = ((self.dialect, self.syntax), self.threads);
        let log = chunks::read(bytes, written, threads, None, &mut |batch, schema| {
            for item in batch.items() {
                match item {
                    Item::Statement(one) => {
                        input.entries += 1;
                        self.statement(batch, one, schema);
                        self.progress.tick();
                    }
                    Item::Unreadable(part) => self.progress.aside(|| unread.tell(&input.file, part)),
                }
            }
        });
        unread.end(&input.file);
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

    fn statement(&mut self, batch: &Batch, one: &Statement, schema: &str) {
        if !self.in_time(one.ended) {
            return self.tally.leave_out(1);
        }
        let Reader { tally, classes, filter, .. } = self;
        batch.observed(one, (schema, self.factor, self.inputs.len() as u64), |observed| {
            let class = &mut || classes.of(one.digest, batch.sql(one));
            match filter {
                Some(filter) if !filter.fits(observed, class) => tally.leave_out(1),
                _ => tally.take(observed, class),
            }
        });
    }

    fn in_time(&self, at: Timestamp) -> bool {
        self.since.is_none_or(|since| at >= since) && self.until.is_none_or(|until| at < until)
    }

    fn capture(&mut self, bytes: Box<dyn BufRead + Send>, input: &mut Input) -> Result<(), String> {
        input.kind = InputKind::Capture;
        if let Some(filter) = self.filter {
            filter.check_for_sums().map_err(|error| error.to_string())?;
        }
        let decoder = Decoder::new(&servers(self.ports, self.syntax));
        let mut texts = Texts::default();
        let mut books = Books::default();
        let outcome = decoded(bytes, decoder, |batch| {
            books.add(&batch.books);
            texts.learn(&batch);
            for row in &batch.rows {
                input.entries += 1;
                self.row(row, &texts);
                self.progress.tick();
            }
            true
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

/// What digests of a capture are, with a masked sample of each.
#[derive(Default)]
struct Texts(HashMap<DigestId, (Arc<Class>, String)>);

impl Texts {
    fn learn(&mut self, batch: &wire::Batch) {
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
