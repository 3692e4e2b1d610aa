//! The guard's clients: usually one agent. In: connections to the socket, one request per line. Out: states and answers, one per
//! line. A client that does not read is dropped, never waited for; it reconnects and gets the whole state.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use rustix::fs::Mode;

use super::super::protocol::{Message, Numbered, REQUEST_BYTES_MAX, State};
use super::super::{GuardError, SOCKET};
use super::{Input, report};

/// 16 clients: an agent, the one that replaces it, and people who look; more would be a leak somewhere.
const CLIENTS_MAX: usize = 16;

/// 50 ms to take a line that fits many times into the socket's buffer: who cannot is not reading.
const WRITE_WITHIN: Duration = Duration::from_millis(50);

/// Who is connected.
#[derive(Debug, Default)]
pub(super) struct Clients(HashMap<u64, UnixStream>);

impl Clients {
    /// Takes a client in and sends it the state.
    pub(super) fn add(&mut self, client: u64, stream: UnixStream, state: &State) {
        if self.0.len() >= CLIENTS_MAX || stream.set_write_timeout(Some(WRITE_WITHIN)).is_err() {
            tracing::warn!(limit = CLIENTS_MAX, "client refused");
            let _ = stream.shutdown(Shutdown::Both);
            return;
        }
        self.0.insert(client, stream);
        self.answer(client, &Message::State { state: state.clone() });
    }

    /// Forgets a client and ends the thread that reads from it.
    pub(super) fn remove(&mut self, client: u64) {
        if let Some(stream) = self.0.remove(&client) {
            // An error means that the other side closed it first.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Sends a message to one client.
    pub(super) fn answer(&mut self, client: u64, message: &Message) {
        let Some(stream) = self.0.get_mut(&client) else { return };
        let Ok(mut line) = serde_json::to_vec(message) else { return };
        line.push(b'\n');
        if stream.write_all(&line).is_err() {
            self.remove(client);
        }
    }

    /// Sends the state to all.
    pub(super) fn publish(&mut self, state: &State) {
        let message = Message::State { state: state.clone() };
        let all: Vec<u64> = self.0.keys().copied().collect();
        for client in all {
            self.answer(client, &message);
        }
    }
}

/// Makes the socket. Only one guard gets here, so a socket that is there is an earlier one's.
pub(super) fn listen(dir: &Path) -> Result<UnixListener, GuardError> {
    let path = dir.join(SOCKET);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(GuardError::file(path, "cannot be removed")(error));
        }
        _ => {}
    }
    // The socket is nobody else's from its first moment. No other thread runs yet that could make files meanwhile.
    let before = rustix::process::umask(Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(&path);
    rustix::process::umask(before);
    listener.map_err(GuardError::file(path, "cannot be listened on (its path must have below 108 bytes)"))
}

/// Takes connections, for ever.
pub(super) fn accept(listener: UnixListener, reports: SyncSender<Input>) -> Result<(), GuardError> {
    let take = move || {
        for (client, stream) in (0..).zip(listener.incoming()) {
            let Ok(stream) = stream else {
                // Out of file descriptors, most likely: give others time to close some.
                std::thread::sleep(Duration::from_millis(100));
                continue;
            };
            let Ok(writer) = stream.try_clone() else { continue };
            report(&reports, Input::Connected(client, writer));
            let reports = reports.clone();
            std::thread::spawn(move || read(client, stream, &reports));
        }
    };
    let thread = std::thread::Builder::new().name("guard-accept".into()).spawn(take);
    thread.map(drop).map_err(GuardError::system("start a thread"))
}

fn read(client: u64, stream: UnixStream, reports: &SyncSender<Input>) {
    let mut lines = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        let taken = lines.by_ref().take(REQUEST_BYTES_MAX).read_until(b'\n', &mut line);
        let whole = taken.is_ok() && line.last() == Some(&b'\n');
        let Some(numbered) = whole.then(|| serde_json::from_slice::<Numbered>(&line).ok()).flatten() else {
            if whole {
                tracing::warn!(bytes = line.len(), "a client sent what is no request, and is dropped");
            }
            report(reports, Input::Gone(client));
            return;
        };
        report(reports, Input::Asked(client, numbered));
    }
}
