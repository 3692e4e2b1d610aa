//! Slow logs on all cores: a log enters; batches of digested statements leave, in the order of the log, whatever the number of
//! threads. The input is cut where an entry seems to begin, each thread reads its chunk as if that were so, and when the chunk's turn
//! comes, who has read everything before says whether it was: a client may have written the border into a literal. Then the chunk is
//! read again from where the one before ends. So the answer is that of one reader, exactly. A thread whose chunk is not next leaves
//! it and reads on, until so many are in memory that it has to wait.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read as _};
use std::sync::{Condvar, Mutex, MutexGuard};

use millrace_collectors::slow_log::{Dialect, Entries, Style};
use millrace_schemas::digest::{Scanner, Syntax};

use super::batch::Batch;
use crate::cli::logs::{Log, beginning};

/// 256 KiB: some 400 entries, which a core's second cache holds with all that is made of them.
const CHUNK_BYTES: usize = 256 << 10;
/// 8 threads: one sums what they read, which takes it a fifth of their time.
pub(super) const THREADS_MAX: usize = 8;
/// 4 chunks for each thread, so that one slow chunk stops nobody: 1 MiB a thread.
const CHUNKS_PER_THREAD: usize = 4;

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
    let threads = threads.clamp(1, THREADS_MAX);
    let sum = Sum { entries: Entries::without_attributes(style, 0), take };
    let shared = Shared {
        style,
        source: Mutex::new(source),
        line: Mutex::new(Line { room: threads * CHUNKS_PER_THREAD, ..Line::default() }),
        moved: Condvar::new(),
        sum: Mutex::new(sum),
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|| shared.work());
        }
        shared.work();
    });
    let Shared { source, sum, .. } = shared;
    sum.into_inner().expect("no thread panicked").end(syntax);
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

/// A chunk and what was found in it.
struct Read {
    chunk: Chunk,
    /// Who read it as if it began with an entry; none where it does not seem to.
    entries: Option<Entries>,
    batch: Batch,
}

/// Who has read everything before the next chunk.
struct Sum<'a> {
    entries: Entries,
    take: &'a mut Take<'a>,
}

impl Sum<'_> {
    /// Takes the next chunk, and what was found in it when it does begin with an entry.
    fn add(&mut self, read: &mut Read, scanner: &mut Scanner) {
        let schema = self.entries.schema().unwrap_or_default().to_owned();
        match read.entries.take() {
            Some(mut entries) if self.entries.is_outside() => {
                entries.follow(&self.entries);
                self.entries = entries;
            }
            _ => read_chunk(&mut self.entries, &read.chunk, &mut read.batch, scanner),
        }
        (self.take)(&read.batch, &schema);
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

/// Chunks on their way from who reads them to who sums them.
#[derive(Default)]
struct Line {
    /// How many more may be read before one is summed.
    room: usize,
    /// Read before it was their turn.
    read: BTreeMap<u64, Read>,
    /// The number of the chunk that is summed next.
    next: u64,
    /// A thread sums; it goes on with what the others bring meanwhile.
    busy: bool,
    /// Memory of chunks that were summed; the last one is still in a cache.
    spare: Vec<(Vec<u8>, Batch)>,
    /// A thread panicked: its chunk never comes.
    broken: bool,
}

struct Shared<'a> {
    style: Style,
    source: Mutex<Source>,
    line: Mutex<Line>,
    /// There is room again, or the line is broken.
    moved: Condvar,
    sum: Mutex<Sum<'a>>,
}

impl Shared<'_> {
    /// Reads chunks until there are no more.
    fn work(&self) {
        let _watch = Watch(self);
        let mut scanner = Scanner::reading(self.style.syntax);
        while let Some((bytes, mut batch)) = self.room() {
            let next = self.source.lock().expect("no thread panicked").next(bytes);
            let Some(chunk) = next else { return };
            let entries = chunk.fresh.then(|| {
                let mut entries = Entries::without_attributes(self.style, chunk.offset);
                read_chunk(&mut entries, &chunk, &mut batch, &mut scanner);
                entries
            });
            self.bring(Read { chunk, entries, batch }, &mut scanner);
        }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().expect("no thread panicked")
    }

    /// Memory for a chunk, as soon as one more may be read; none when the line is broken.
    fn room(&self) -> Option<(Vec<u8>, Batch)> {
        let wait = |line: &mut Line| line.room == 0 && !line.broken;
        let mut line = self.moved.wait_while(self.line(), wait).expect("no thread panicked");
        if line.broken {
            return None;
        }
        line.room -= 1;
        Some(line.spare.pop().unwrap_or_default())
    }

    /// Puts a chunk into the line and, when nobody does, sums those whose turn it is.
    fn bring(&self, read: Read, scanner: &mut Scanner) {
        let mut line = self.line();
        line.read.insert(read.chunk.number, read);
        if std::mem::replace(&mut line.busy, true) {
            return;
        }
        let mut sum = self.sum.lock().expect("one thread at a time is busy");
        loop {
            let next = line.next;
            let Some(mut read) = line.read.remove(&next) else { break };
            drop(line);
            sum.add(&mut read, scanner);
            line = self.line();
            line.next += 1;
            line.room += 1;
            line.spare.push((read.chunk.bytes, read.batch));
            self.moved.notify_one();
        }
        line.busy = false;
    }
}

/// Tells the others that a thread panicked, so that none waits for it.
struct Watch<'a, 'b>(&'a Shared<'b>);

impl Drop for Watch<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            if let Ok(mut line) = self.0.line.lock() {
                line.broken = true;
            }
            self.0.moved.notify_all();
        }
    }
}

#[cfg(test)]
#[path = "chunks_tests.rs"]
mod tests;
