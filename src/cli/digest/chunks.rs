//! Slow logs on all cores: a log enters; batches of digested statements leave, in the order of the log, whatever the number of
//! threads. The input is cut where an entry seems to begin, each thread reads its chunk as if that were so, and when the chunk's turn
//! comes, who has read everything before says whether it was: a client may have written the border into a literal. Then the chunk is
//! read again from where the one before ends. So the answer is that of one reader, exactly. Only as many chunks as threads are in
//! memory.

use std::io::{self, BufRead, Read as _};
use std::sync::{Condvar, Mutex};

use millrace_collectors::slow_log::{Dialect, Entries, Style};
use millrace_schemas::digest::{Scanner, Syntax};

use super::batch::Batch;
use crate::cli::logs::{Log, beginning};

/// 256 KiB: some 400 entries, which a core's second cache holds with all that is made of them.
const CHUNK_BYTES: usize = 256 << 10;
/// 8 threads: one sums what they read, which takes it a fifth of their time.
pub(super) const THREADS_MAX: usize = 8;

/// What becomes of a batch; `schema` is the one that was named last before it.
pub(super) type Take<'a> = dyn FnMut(&Batch, &str) + Send + 'a;

/// Reads a log to its end.
pub(super) fn read(
    mut input: Box<dyn BufRead + Send>,
    (dialect, syntax): (Option<Dialect>, Syntax),
    threads: usize,
    chunk_bytes: Option<usize>,
    take: &mut Take<'_>,
) -> Log {
    let (start, written) = match beginning(input.as_mut()) {
        Ok(beginning) => beginning,
        Err(error) => return Log { dialect: dialect.unwrap_or(Dialect::MySql), empty: true, outcome: Err(error) },
    };
    let dialect = dialect.or(written).unwrap_or(Dialect::MySql);
    let style = Style { dialect, syntax };
    let empty = start.is_empty();
    let chunk_bytes = chunk_bytes.unwrap_or(CHUNK_BYTES);
    let source = Source { input, chunk_bytes, rest: start, offset: 0, number: 0, fresh: true, outcome: Ok(()) };
    let turn = Turn { next: 0, broken: false, entries: Entries::without_attributes(style, 0), take };
    let shared = Shared { style, source: Mutex::new(source), turn: Mutex::new(turn), moved: Condvar::new() };
    std::thread::scope(|scope| {
        for _ in 1..threads.clamp(1, THREADS_MAX) {
            scope.spawn(|| shared.work());
        }
        shared.work();
    });
    let Shared { source, turn, .. } = shared;
    turn.into_inner().expect("no thread panicked").end(syntax);
    Log { dialect, empty, outcome: source.into_inner().expect("no thread panicked").outcome }
}

/// A part of a log.
struct Chunk {
    number: u64,
    /// Where in the log it begins.
    offset: u64,
    bytes: Vec<u8>,
    /// An entry seems to begin where it begins.
    fresh: bool,
    /// The same of the chunk behind it.
    next_fresh: bool,
}

/// Cuts the input.
struct Source {
    input: Box<dyn BufRead + Send>,
    chunk_bytes: usize,
    /// What was read behind the last border.
    rest: Vec<u8>,
    offset: u64,
    number: u64,
    fresh: bool,
    outcome: io::Result<()>,
}

impl Source {
    /// The next chunk, in memory that was used for another.
    fn next(&mut self, mut bytes: Vec<u8>) -> Option<Chunk> {
        bytes.clear();
        bytes.append(&mut self.rest);
        let wanted = self.chunk_bytes.saturating_sub(bytes.len());
        if self.outcome.is_ok() {
            self.outcome = (&mut self.input).take(wanted as u64).read_to_end(&mut bytes).map(|_| ());
        }
        if bytes.is_empty() {
            return None;
        }
        let border = if bytes.len() < self.chunk_bytes { None } else { Entries::last_border(&bytes) };
        if let Some(at) = border {
            self.rest.extend_from_slice(&bytes[at..]);
            bytes.truncate(at);
        }
        let (number, offset, fresh) = (self.number, self.offset, self.fresh);
        self.number += 1;
        self.offset += bytes.len() as u64;
        self.fresh = border.is_some();
        Some(Chunk { number, offset, bytes, fresh, next_fresh: self.fresh })
    }
}

/// Who has read everything before the next chunk.
struct Turn<'a> {
    next: u64,
    /// A thread panicked: its chunk never comes.
    broken: bool,
    entries: Entries,
    take: &'a mut Take<'a>,
}

impl Turn<'_> {
    /// Takes a chunk, and what a thread has found in it when it is one that seemed to begin with an entry.
    fn add(&mut self, chunk: &Chunk, read: Option<Entries>, batch: &mut Batch, scanner: &mut Scanner) {
        let schema = self.entries.schema().unwrap_or_default().to_owned();
        match read {
            Some(mut read) if self.entries.is_outside() => {
                read.follow(&self.entries);
                self.entries = read;
            }
            _ => read_chunk(&mut self.entries, chunk, batch, scanner),
        }
        (self.take)(batch, &schema);
    }

    fn end(mut self, syntax: Syntax) {
        let (mut batch, mut scanner) = (Batch::default(), Scanner::reading(syntax));
        // As it is now: another may be named in what is read here.
        let schema = self.entries.schema().unwrap_or_default().to_owned();
        self.entries.end(&mut |found| batch.add(found, &mut scanner));
        (self.take)(&batch, &schema);
    }
}

fn read_chunk(entries: &mut Entries, chunk: &Chunk, batch: &mut Batch, scanner: &mut Scanner) {
    batch.clear();
    let mut take = |found: millrace_collectors::slow_log::Found<'_>| batch.add(found, scanner);
    entries.take(&chunk.bytes, &mut take);
    if chunk.next_fresh {
        // A header follows, and ends the entry at hand.
        entries.settle(&mut take);
    }
}

struct Shared<'a> {
    style: Style,
    source: Mutex<Source>,
    turn: Mutex<Turn<'a>>,
    moved: Condvar,
}

impl Shared<'_> {
    /// Reads chunks until there are no more.
    fn work(&self) {
        let _watch = Watch(self);
        let mut scanner = Scanner::reading(self.style.syntax);
        let (mut batch, mut bytes) = (Batch::default(), Vec::new());
        loop {
            let next = self.source.lock().expect("no thread panicked").next(bytes);
            let Some(chunk) = next else { return };
            let read = chunk.fresh.then(|| {
                let mut entries = Entries::without_attributes(self.style, chunk.offset);
                read_chunk(&mut entries, &chunk, &mut batch, &mut scanner);
                entries
            });
            let turn = self.turn.lock().expect("no thread panicked");
            let mut turn = self
                .moved
                .wait_while(turn, |turn| turn.next != chunk.number && !turn.broken)
                .expect("no thread panicked");
            if turn.broken {
                return;
            }
            turn.add(&chunk, read, &mut batch, &mut scanner);
            turn.next += 1;
            drop(turn);
            self.moved.notify_all();
            bytes = chunk.bytes;
        }
    }
}

/// Tells the others that a thread panicked, so that none waits for it.
struct Watch<'a, 'b>(&'a Shared<'b>);

impl Drop for Watch<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            if let Ok(mut turn) = self.0.turn.lock() {
                turn.broken = true;
            }
            self.0.moved.notify_all();
        }
    }
}

#[cfg(test)]
#[path = "chunks_tests.rs"]
mod tests;
