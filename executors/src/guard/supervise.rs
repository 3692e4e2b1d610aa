//! The guard at work: one thread that decides (through the keeper) and carries out, and small ones that wait, one for the server's
//! end, one for the disk, one for connections, one per client, one for signals. In: what they report, through one queue. Out:
//! processes, signals, the state to all clients and to the disk. The deciding thread waits for nothing but its queue, since
//! every millisecond between an exit and its report is somebody's outage. So a state that is published may be ahead of the
//! disk; an answer never is.

mod clients;
mod signals;
mod writer;

use std::fs::OpenOptions;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use millrace_schemas::flavour::Flavour;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use rustix::time::{ClockId, clock_gettime};

use self::clients::Clients;
use self::writer::{Ticket, Writer};
use super::config::GuardFile;
use super::disk::{Lock, StateFile, is_alive, start_ticks};
use super::keeper::{Effect, Event, Keeper};
use super::protocol::{Message, Numbered, Process, Server};
use super::{GuardError, SERVER_OUTPUT, close};

/// 64 reports may wait while one is handled, which takes milliseconds; who reports more waits itself.
const QUEUE: usize = 64;

/// An hour: how long the guard sleeps when nothing is due. Any report wakes it.
const IDLE: Duration = Duration::from_hours(1);

/// 1 MiB of what the server printed is kept; it prints a few lines per start, and writes its own log after.
const OUTPUT_BYTES_MAX: u64 = 1024 * 1024;

/// What the waiting threads report.
enum Input {
    /// A client connected; this is the side to write to.
    Connected(u64, std::os::unix::net::UnixStream),
    /// A client asks.
    Asked(u64, Numbered),
    /// A client is gone, or sent nonsense.
    Gone(u64),
    /// Something happened to the server or to the guard.
    Happened(Event),
    /// What these answers wait for is on the disk, or could not be written.
    Written(Vec<Ticket>, Option<String>),
}

/// Takes the lock and looks after the server until it is told to leave.
pub(super) fn run(dir: &Path) -> Result<(), GuardError> {
    let _lock = Lock::take(dir)?;
    let file = GuardFile::read(dir)?;
    let disk = StateFile::of(dir);
    let state = disk.read()?;
    let (reports, queue) = sync_channel(QUEUE);
    let listener = clients::listen(dir)?;
    signals::watch(reports.clone())?;
    clients::accept(listener, reports.clone())?;
    let disk = Writer::start(disk, reports.clone())?;
    let alive = state.server.process().filter(|process| is_alive(*process));
    let limits = file.limits();
    let keeper = Keeper::resume(state, std::process::id(), alive.is_some(), file.flavour, limits, boot_us());
    let mut guard = Guard {
        dir: dir.to_owned(),
        file,
        disk,
        keeper,
        clients: Clients::default(),
        reports,
        pidfd: None,
        leave: false,
    };
    tracing::info!(instance = %guard.file.instance, server = ?guard.keeper.state().server, "guard started");
    if let Some(process) = alive {
        guard.adopt(process);
    }
    guard.persist();
    guard.happened(Event::Time);
    guard.work(&queue);
    guard.disk.finish();
    tracing::info!(instance = %guard.file.instance, "guard ended");
    Ok(())
}

struct Guard {
    dir: PathBuf,
    file: GuardFile,
    disk: Writer,
    keeper: Keeper,
    clients: Clients,
    reports: SyncSender<Input>,
    /// The server's process: a signal sent through it cannot reach a later process with the same id.
    pidfd: Option<OwnedFd>,
    leave: bool,
}

impl Guard {
    fn work(&mut self, queue: &Receiver<Input>) {
        while !self.leave {
            let wait = self.keeper.wake_us().map(|wake| Duration::from_micros(wake.saturating_sub(boot_us())));
            match queue.recv_timeout(wait.unwrap_or(IDLE)) {
                Ok(Input::Connected(client, stream)) => self.clients.add(client, stream, self.keeper.state()),
                Ok(Input::Gone(client)) => self.clients.remove(client),
                Ok(Input::Asked(client, numbered)) => self.asked(client, numbered),
                Ok(Input::Happened(event)) => self.happened(event),
                Ok(Input::Written(tickets, error)) => self.written(&tickets, error.as_deref()),
                Err(RecvTimeoutError::Timeout) => self.happened(Event::Time),
                // The guard holds a sender itself, so this cannot be; leaving would leave the server without a parent.
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(Duration::from_secs(1)),
            }
        }
    }

    fn asked(&mut self, client: u64, Numbered { id, request }: Numbered) {
        let before = self.keeper.state().serial;
        let mut refused = self.keeper.ask(request, boot_us()).map(|effects| self.carry_out(effects)).err();
        if self.keeper.state().serial != before {
            tracing::info!(instance = %self.file.instance, ?request, "promised");
            self.clients.publish(self.keeper.state());
            if self.disk.put(self.keeper.state().clone(), Some(Ticket { client, id })) {
                return;
            }
            refused = Some("too many answers wait for the disk".into());
        }
        self.clients.answer(client, &Message::Answer { id, refused, state: self.keeper.state().clone() });
    }

    /// A promise that would not survive a power cut is none, though this guard keeps it.
    fn written(&mut self, tickets: &[Ticket], error: Option<&str>) {
        for Ticket { client, id } in tickets {
            let refused = error.map(|error| format!("the promise cannot be written to disk: {error}"));
            let state = self.keeper.state().clone();
            self.clients.answer(*client, &Message::Answer { id: *id, refused, state });
        }
    }

    fn happened(&mut self, event: Event) {
        let before = self.keeper.state().serial;
        if matches!(event, Event::Exited { .. }) {
            self.pidfd = None;
        }
        let effects = self.keeper.on(event, boot_us(), wall_us());
        if self.keeper.state().serial != before {
            self.tell();
        }
        let told = self.keeper.state().serial;
        self.carry_out(effects);
        if self.keeper.state().serial != told {
            self.clients.publish(self.keeper.state());
        }
        if self.keeper.state().serial != before {
            self.persist();
        }
    }

    fn tell(&mut self) {
        let state = self.keeper.state();
        tracing::info!(
            instance = %self.file.instance, server = ?state.server, exit = ?state.last_exit, hold = ?state.hold, "changed"
        );
        self.clients.publish(self.keeper.state());
    }

    fn persist(&self) {
        self.disk.put(self.keeper.state().clone(), None);
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Start => {
                    let event = self.start().unwrap_or_else(|error| {
                        let program = self.file.command.first().map_or("", String::as_str);
                        Event::StartFailed(format!("{program}: {error}"))
                    });
                    let more = self.keeper.on(event, boot_us(), wall_us());
                    self.carry_out(more);
                }
                Effect::Close => self.close(),
                Effect::Terminate => self.signal(Signal::TERM),
                Effect::Kill => self.signal(Signal::KILL),
                Effect::Leave => self.leave = true,
            }
        }
    }

    fn start(&mut self) -> std::io::Result<Event> {
        let path = self.dir.join(SERVER_OUTPUT);
        let fresh = std::fs::metadata(&path).is_ok_and(|metadata| metadata.len() > OUTPUT_BYTES_MAX);
        let mut options = OpenOptions::new();
        let output = if fresh { options.write(true).truncate(true) } else { options.append(true).create(true) };
        let output = output.open(&path)?;
        let (program, arguments) =
            self.file.command.split_first().ok_or_else(|| std::io::Error::other("the command is empty"))?;
        // MariaDB then drops, as it recovers, what it wrote and nobody acknowledged; a server that may be opened again must not.
        let superseded = self.keeper.state().superseded && self.file.flavour == Flavour::MariaDb;
        let child = Command::new(program)
            .args(arguments)
            .args(superseded.then_some("--init-rpl-role=SLAVE"))
            .current_dir(&self.dir)
            // mysqld believes that somebody will start it again after RESTART only if its parent says so.
            .env("MYSQLD_PARENT_PID", std::process::id().to_string())
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            // A signal to the guard's group, from a terminal for instance, must not reach the server unclosed.
            .process_group(0)
            .spawn()?;
        let pid = child.id();
        let start_ticks = start_ticks(pid).unwrap_or(0);
        self.pidfd = open_pidfd(pid);
        self.reap(child);
        Ok(Event::Started { pid, start_ticks })
    }

    fn reap(&self, mut child: Child) {
        let reports = self.reports.clone();
        std::thread::spawn(move || {
            let (code, signal) = match child.wait() {
                Ok(status) => (status.code(), status.signal()),
                Err(_) => (None, None),
            };
            report(&reports, Input::Happened(Event::Exited { code, signal }));
        });
    }

    /// Waits for the end of a server that an earlier guard started. How it ends only its parent could learn.
    fn adopt(&mut self, process: Process) {
        self.pidfd = open_pidfd(process.pid);
        let Some(watched) = self.pidfd.as_ref().and_then(|pidfd| pidfd.try_clone().ok()) else {
            // It ended this moment.
            report(&self.reports, Input::Happened(Event::Exited { code: None, signal: None }));
            return;
        };
        let reports = self.reports.clone();
        std::thread::spawn(move || {
            while is_alive(process) {
                let mut fds = [PollFd::new(&watched, PollFlags::IN)];
                if poll(&mut fds, None).is_err() {
                    // Interrupted, or out of memory for a moment.
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
            report(&reports, Input::Happened(Event::Exited { code: None, signal: None }));
        });
    }

    fn close(&self) {
        let Server::Ending(process) = self.keeper.state().server else { return };
        let (target, within) = (self.file.target(), self.file.limits().close_within);
        let (reports, instance) = (self.reports.clone(), self.file.instance.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let closed = runtime.map(|runtime| runtime.block_on(close(&target, within)));
            let confirmed = match closed {
                Ok(Ok(())) => true,
                Ok(Err(error)) => {
                    tracing::warn!(%instance, %error, "closing failed, so the server is killed");
                    false
                }
                Err(error) => {
                    tracing::warn!(%instance, %error, "closing could not begin, so the server is killed");
                    false
                }
            };
            report(&reports, Input::Happened(Event::Closed { pid: process.pid, confirmed }));
        });
    }

    fn signal(&self, signal: Signal) {
        let Some(pidfd) = &self.pidfd else { return };
        if let Err(error) = pidfd_send_signal(pidfd, signal) {
            // It ended meanwhile; its exit is in the queue.
            tracing::info!(instance = %self.file.instance, ?signal, %error, "the signal found no process");
        }
    }
}

fn open_pidfd(pid: u32) -> Option<OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
    pidfd_open(pid, PidfdFlags::empty()).ok()
}

/// Reports to the deciding thread. If that is gone, the guard is ending and nobody needs the report.
fn report(reports: &SyncSender<Input>, input: Input) {
    let _ = reports.send(input);
}

/// `CLOCK_BOOTTIME` in microseconds: it goes on while the machine sleeps and is never set.
fn boot_us() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000
}

fn wall_us() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}
