//! Captures as commands read them: files, packed or not, standard input, or an interface; commands and sums leave. The library that
//! reads files wants one, so bytes come to it through a pipe.

use std::io::{self, BufRead};
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use millrace_collectors::wire::{self, Batch, CaptureError, Decoder, Live, Server, Watched, read_file};
use millrace_schemas::digest::Syntax;
use millrace_schemas::ids::InstanceId;

use super::input::Place;
use super::{End, syntax};
use crate::roles::up::stopped;

/// The port that servers listen on unless they are told otherwise.
const USUAL_PORT: u16 = 3306;

/// 16 threads: 8 GB/s, more than a host's memory moves for its servers.
const THREADS_MAX: i64 = 16;

/// How captures begin: the classic form in both byte orders, with microseconds or nanoseconds, and the newer form.
const MAGIC: [[u8; 4]; 5] = [
    [0xd4, 0xc3, 0xb2, 0xa1],
    [0xa1, 0xb2, 0xc3, 0xd4],
    [0x4d, 0x3c, 0xb2, 0xa1],
    [0xa1, 0xb2, 0x3c, 0x4d],
    [0x0a, 0x0d, 0x0d, 0x0a],
];

/// Whether bytes begin as a capture does.
pub(super) fn is_capture(start: &[u8]) -> bool {
    MAGIC.iter().any(|magic| start.starts_with(magic))
}

/// What is looked at.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Arguments {
    /// A capture, as tcpdump writes it, also packed (gzip, zstd, xz); `-` is standard input.
    #[arg(short, long, value_name = "FILE", required_unless_present = "interface", conflicts_with = "interface")]
    read: Option<PathBuf>,
    /// An interface, such as eth0 or lo; `any` is all of them.
    #[arg(short, long, value_name = "INTERFACE")]
    interface: Option<String>,
    /// How many threads read the interface, each its share of the connections: for hosts where one core is not enough.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=THREADS_MAX), requires = "interface")]
    threads: u8,
    /// Only servers on this port; may be repeated. Without it servers are found on every port, by what they say.
    #[arg(short, long = "port", value_name = "N")]
    ports: Vec<u16>,
    #[command(flatten)]
    syntax: syntax::Arguments,
}

impl Arguments {
    /// Whether it goes on as long as nobody ends it.
    pub(super) fn is_live(&self) -> bool {
        self.interface.is_some()
    }

    /// Decodes all of it, until `take` returns false or an interrupt comes. What a decoder is to `keep` of commands is handed on as they
    /// end.
    pub(super) fn batches(
        &self,
        keep: impl Fn(&mut Decoder),
        mut take: impl FnMut(Batch) -> bool,
    ) -> anyhow::Result<Outcome> {
        let syntax = self.syntax.syntax();
        let servers = if self.ports.is_empty() { servers(&[USUAL_PORT], syntax) } else { servers(&self.ports, syntax) };
        let decoder = || {
            let mut decoder = Decoder::new(&servers);
            if self.ports.is_empty() {
                decoder.detect(syntax);
            }
            keep(&mut decoder);
            decoder
        };
        match (&self.read, &self.interface) {
            (Some(path), _) => {
                let place = if path.as_os_str() == "-" { Place::Stdin } else { Place::File(path.clone()) };
                Self::file(&place, decoder(), &mut take)
            }
            (None, Some(interface)) => {
                let live = Live { interface: interface.clone(), threads: self.threads.into() };
                live_until_interrupt(&live, decoder, &Watched::new(servers.clone()), &mut take)
            }
            (None, None) => Err(End::Usage("name a capture with -r, or an interface with -i".to_owned()).into()),
        }
    }

    fn file(place: &Place, decoder: Decoder, take: &mut dyn FnMut(Batch) -> bool) -> anyhow::Result<Outcome> {
        let cannot = |why: String| End::Usage(format!("{place} cannot be read: {why}"));
        let mut bytes = place.open().map_err(|error| cannot(error.to_string()))?;
        let start = bytes.fill_buf().map_err(|error| cannot(error.to_string()))?;
        if !is_capture(start) {
            return Err(cannot("it does not begin as a capture does, neither pcap nor pcapng".to_owned()).into());
        }
        let mut any = false;
        let outcome = decoded(bytes, decoder, |batch| {
            any |= batch.books.frames > 0;
            take(batch)
        });
        match outcome {
            Ok(()) => Ok(Outcome::Whole),
            Err(why) if any => Ok(Outcome::Broken(format!("{place} cannot be read further: {why}"))),
            Err(why) => Err(cannot(why).into()),
        }
    }
}

/// How far a capture could be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// To its end.
    Whole,
    /// To where it is damaged, or cut.
    Broken(String),
}

impl Outcome {
    /// How a command ends that read it, with so many packets whose headers could not be read.
    pub(super) fn end(self, unreadable: u64) -> anyhow::Result<()> {
        match self {
            Outcome::Broken(why) => Err(End::Partial(why).into()),
            Outcome::Whole if unreadable > 0 => {
                Err(End::Partial(format!("the headers of {unreadable} packets could not be read")).into())
            }
            Outcome::Whole => Ok(()),
        }
    }
}

/// Captures on an interface until an interrupt.
fn live_until_interrupt(
    live: &Live,
    decoder: impl Fn() -> Decoder,
    watched: &Watched,
    take: &mut dyn FnMut(Batch) -> bool,
) -> anyhow::Result<Outcome> {
    let stop = Arc::new(AtomicBool::new(false));
    let interrupted = Arc::clone(&stop);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // It ends with the process, or with the first interrupt; a second one is the terminal's usual business.
    std::thread::spawn(move || {
        runtime.block_on(stopped());
        interrupted.store(true, Ordering::Relaxed);
    });
    wire::run(live, decoder, watched, &stop, take)?;
    Ok(Outcome::Whole)
}

/// Decodes the bytes of a capture file, until `take` returns false.
pub(super) fn decoded(
    mut bytes: Box<dyn BufRead + Send>,
    decoder: Decoder,
    take: impl FnMut(Batch) -> bool,
) -> Result<(), String> {
    let (reader, mut writer) = io::pipe().map_err(|error| format!("no pipe can be made: {error}"))?;
    let path = PathBuf::from(format!("/dev/fd/{}", reader.as_raw_fd()));
    let fed = std::thread::spawn(move || io::copy(&mut bytes, &mut writer));
    let read = read_file(&path, decoder, take);
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

/// Servers on these ports of any address, all of them one instance.
pub(super) fn servers(ports: &[u16], syntax: Syntax) -> Vec<Server> {
    let instance = InstanceId::parse("server").expect("a legal id");
    ports.iter().map(|port| Server { address: None, port: *port, instance: instance.clone(), syntax }).collect()
}
