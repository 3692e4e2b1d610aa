//! The books at the end of `millrace decode`: what became of every packet and byte, and how many commands there were of each kind.

use std::collections::BTreeMap;
use std::fmt;

use millrace_collectors::wire::{Batch, Books, Kernel};
use serde::Serialize;

use super::Meanwhile;

/// The layout of the JSON.
const SCHEMA_VERSION: u32 = 1;

/// Everything that was said while a capture was read.
#[derive(Debug, Default)]
pub(super) struct Summary {
    books: Books,
    kernel: Kernel,
    commands: BTreeMap<&'static str, u64>,
    statements: u64,
    sample_factor: u32,
    /// What the server counted, if it was asked.
    pub(super) server: Option<Meanwhile>,
}

#[derive(Debug, Serialize)]
pub(super) struct Json<'a> {
    schema_version: u32,
    summary: Sums<'a>,
}

#[derive(Debug, Serialize)]
struct Sums<'a> {
    packets: Packets,
    /// Payload bytes of MySQL connections: `captured` is the sum of the others without `missing`.
    bytes: Bytes,
    segments: Segments,
    connections: Connections,
    /// By the protocol's names.
    commands: &'a BTreeMap<&'static str, u64>,
    /// As the server counts them: each one of a request with several, and without fetches and administrative commands.
    statements: u64,
    /// At worst one of so many connections was followed: what was left out is `shed`.
    sample_factor: u32,
    encrypted_turns: u64,
    unanswered: u64,
    /// Executions of statements that were prepared before the capture.
    unknown_statements: u64,
    /// Bytes by why they are not understood; their sum is `bytes.undecodable`.
    undecodable: Undecodable,
    kernel: KernelDrops,
    /// What a server counted meanwhile, where `--from` names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<&'a Meanwhile>,
}

#[derive(Debug, Serialize)]
struct Packets {
    captured: u64,
    captured_bytes: u64,
    foreign: u64,
    fragments: u64,
    unreadable: u64,
}

#[derive(Debug, Serialize)]
struct Bytes {
    captured: u64,
    decoded: u64,
    encrypted: u64,
    duplicate: u64,
    skipped: u64,
    shed: u64,
    undecodable: u64,
    missing: u64,
}

#[derive(Debug, Serialize)]
struct Segments {
    duplicate: u64,
    out_of_order: u64,
    lost: u64,
}

#[derive(Debug, Serialize)]
struct Connections {
    seen: u64,
    midstream: u64,
    shed: u64,
    resynchronised: u64,
}

#[derive(Debug, Serialize)]
struct Undecodable {
    not_mysql: u64,
    old_login: u64,
    damaged_compression: u64,
}

#[derive(Debug, Serialize)]
struct KernelDrops {
    received: u64,
    dropped: u64,
    interface_dropped: u64,
}

impl Summary {
    pub(super) fn add(&mut self, batch: &Batch) {
        self.books.add(&batch.books);
        self.kernel.received += batch.kernel.received;
        self.kernel.dropped += batch.kernel.dropped;
        self.kernel.interface_dropped += batch.kernel.interface_dropped;
        self.statements += batch.totals.iter().map(|totals| totals.statements).sum::<u64>();
        self.sample_factor = self.sample_factor.max(batch.sample_factor);
        for (command, count) in &batch.commands {
            *self.commands.entry(command).or_default() += count;
        }
    }

    /// Packets whose headers could not be read.
    pub(super) fn unreadable(&self) -> u64 {
        self.books.frames_unreadable
    }

    pub(super) fn json(&self) -> Json<'_> {
        Json { schema_version: SCHEMA_VERSION, summary: self.sums() }
    }

    fn sums(&self) -> Sums<'_> {
        let (books, kernel) = (&self.books, &self.kernel);
        Sums {
            packets: Packets {
                captured: books.frames,
                captured_bytes: books.frame_bytes,
                foreign: books.frames_foreign,
                fragments: books.frames_fragment,
                unreadable: books.frames_unreadable,
            },
            bytes: Bytes {
                captured: books.captured,
                decoded: books.decoded,
                encrypted: books.encrypted,
                duplicate: books.duplicate,
                skipped: books.skipped,
                shed: books.shed,
                undecodable: books.undecodable,
                missing: books.missing,
            },
            segments: Segments {
                duplicate: books.segments_duplicate,
                out_of_order: books.segments_early,
                lost: books.holes,
            },
            connections: Connections {
                seen: books.connections,
                midstream: books.connections_midstream,
                shed: books.connections_shed,
                resynchronised: books.resyncs,
            },
            commands: &self.commands,
            statements: self.statements,
            sample_factor: self.sample_factor.max(1),
            encrypted_turns: books.encrypted_turns,
            unanswered: books.unanswered,
            unknown_statements: books.unknown_statements,
            undecodable: Undecodable {
                not_mysql: books.undecodable_protocol,
                old_login: books.undecodable_login,
                damaged_compression: books.undecodable_frame,
            },
            kernel: KernelDrops {
                received: kernel.received,
                dropped: kernel.dropped,
                interface_dropped: kernel.interface_dropped,
            },
            server: self.server.as_ref(),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (books, kernel) = (&self.books, &self.kernel);
        writeln!(
            f,
            "packets      {} of {} bytes; {} of no MySQL connection, {} fragments, {} unreadable",
            books.frames, books.frame_bytes, books.frames_foreign, books.frames_fragment, books.frames_unreadable
        )?;
        if *kernel != Kernel::default() {
            writeln!(
                f,
                "kernel       {} received; {} dropped, {} by the interface",
                kernel.received, kernel.dropped, kernel.interface_dropped
            )?;
        }
        writeln!(
            f,
            "connections  {}, {} of them begun before; picked up again {} times",
            books.connections, books.connections_midstream, books.resyncs
        )?;
        if self.sample_factor > 1 {
            writeln!(
                f,
                "sampled      one of up to {} connections was followed; {} were left out",
                self.sample_factor, books.connections_shed
            )?;
        }
        writeln!(
            f,
            "segments     {} repeated, {} out of order, {} holes of {} bytes",
            books.segments_duplicate, books.segments_early, books.holes, books.missing
        )?;
        writeln!(f, "payload      {} bytes captured, of which", books.captured)?;
        for (name, bytes) in [
            ("decoded", books.decoded),
            ("encrypted", books.encrypted),
            ("repeated", books.duplicate),
            ("passed over until a request showed where packets begin", books.skipped),
            ("left out on purpose", books.shed),
            ("not the MySQL protocol", books.undecodable_protocol),
            ("of logins from before 4.1", books.undecodable_login),
            ("of damaged compression", books.undecodable_frame),
        ] {
            if bytes > 0 || name == "decoded" {
                writeln!(f, "  {bytes:>13} {name}")?;
            }
        }
        writeln!(
            f,
            "statements   {}, and {} encrypted turns; {} commands without an answer, {} of unknown text",
            self.statements, books.encrypted_turns, books.unanswered, books.unknown_statements
        )?;
        for (command, count) in &self.commands {
            writeln!(f, "  {count:>13} {command}")?;
        }
        self.server.as_ref().map_or(Ok(()), |server| write!(f, "{server}"))
    }
}
