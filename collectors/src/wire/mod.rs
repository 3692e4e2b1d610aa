//! Wire capture: frames enter, rows of topic `queries` leave. The way: `frames` finds TCP segments, `stream` orders them,
//! `packets` cuts MySQL packets, `session` follows commands and their answers, `table` sums per second and digest. Everything
//! up to the table is a pure machine driven by packet time, so that a file and an interface give the same numbers; only
//! `capture` touches libpcap. It must never lose a byte from its books: captured = decoded + encrypted + duplicate + skipped
//! + shed + undecodable + still waiting, exactly.

mod attributes;
mod books;
mod capture;
mod changes;
mod commands;
mod compression;
mod connection;
mod decoder;
mod detect;
mod ended;
mod ends;
mod frames;
mod handshake;
mod loopback;
mod lots;
mod packets;
mod responses;
mod sampling;
mod session;
mod shares;
mod stream;
mod syntax;
mod table;
mod tap;
mod tls;
mod values;
mod watched;

pub use books::Books;
pub use capture::{Batch, CaptureError, Live, can_capture, read_file, run};
pub use decoder::{Decoder, Server};
pub use ended::{Ended, Flags, ServerError, Timed, Value};
pub use table::{Flushed, Totals};
pub use tap::Kernel;
pub use watched::{Named, Unnamed, Watched};

#[cfg(test)]
mod tests;
