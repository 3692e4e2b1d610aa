//! Writing the guard's state to disk beside its work. In: states, each with the answers that wait for it. Out: a report when they
//! are written. A disk under load takes up to a second for a sync, and an exit must not wait for that. Only the newest state
//! is written; the answers of all that it replaced are reported with it.

use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::super::GuardError;
use super::super::disk::StateFile;
use super::super::protocol::State;
use super::{Input, report};

/// 64 answers may wait for the disk: sixteen clients ask one thing at a time, so more means that the disk is gone.
const WAITING_MAX: usize = 64;

/// An answer that waits for its promise to be on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    /// Who asked.
    pub(super) client: u64,
    /// The request's number.
    pub(super) id: u64,
}

#[derive(Debug, Default)]
struct Slot {
    state: Option<State>,
    tickets: Vec<Ticket>,
    closed: bool,
}

/// The thread that writes.
#[derive(Debug)]
pub(super) struct Writer {
    slot: Arc<(Mutex<Slot>, Condvar)>,
    thread: JoinHandle<()>,
}

impl Writer {
    pub(super) fn start(file: StateFile, reports: SyncSender<Input>) -> Result<Self, GuardError> {
        let slot = Arc::new((Mutex::new(Slot::default()), Condvar::new()));
        let shared = Arc::clone(&slot);
        let thread = std::thread::Builder::new()
            .name("guard-disk".into())
            .spawn(move || work(&file, &shared, &reports))
            .map_err(GuardError::system("start a thread"))?;
        Ok(Self { slot, thread })
    }

    /// Has `state` written, and `ticket` reported when it is. Returns at once; `false` if too many answers wait already.
    pub(super) fn put(&self, state: State, ticket: Option<Ticket>) -> bool {
        let (slot, wake) = &*self.slot;
        let mut slot = lock(slot);
        slot.state = Some(state);
        let room = slot.tickets.len() < WAITING_MAX;
        slot.tickets.extend(ticket.filter(|_| room));
        wake.notify_one();
        room
    }

    /// Returns when everything is written.
    pub(super) fn finish(self) {
        let (slot, wake) = &*self.slot;
        lock(slot).closed = true;
        wake.notify_one();
        // It can only have panicked, and then its message is in the log.
        let _ = self.thread.join();
    }
}

fn lock(slot: &Mutex<Slot>) -> MutexGuard<'_, Slot> {
    // Nothing in here is left half-changed by a panic.
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

fn work(file: &StateFile, shared: &(Mutex<Slot>, Condvar), reports: &SyncSender<Input>) {
    let (slot, wake) = shared;
    loop {
        let mut taken = lock(slot);
        while taken.state.is_none() && !taken.closed {
            taken = wake.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        let Some(state) = taken.state.take() else { return };
        let tickets = std::mem::take(&mut taken.tickets);
        let closing = taken.closed;
        drop(taken);
        let error = file.write(&state).err().map(|error| error.to_string());
        if let Some(error) = &error {
            tracing::error!(%error, "state cannot be written; a new guard would know less");
        }
        // A guard that is leaving reads no reports any more.
        if !closing && !tickets.is_empty() {
            report(reports, Input::Written(tickets, error));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    #[test]
    fn every_answer_is_reported_and_the_newest_state_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let (reports, queue) = sync_channel(64);
        let writer = Writer::start(StateFile::of(folder.path()), reports).unwrap();
        for id in 1..=20 {
            assert!(writer.put(State { serial: id, ..State::default() }, Some(Ticket { client: 1, id })));
        }
        let mut written = Vec::new();
        while written.len() < 20 {
            let Input::Written(tickets, None) = queue.recv().unwrap() else { panic!("a report of another kind") };
            written.extend(tickets.into_iter().map(|ticket| ticket.id));
        }
        assert_eq!(written, (1..=20).collect::<Vec<_>>());
        writer.put(State { serial: 21, ..State::default() }, None);
        writer.finish();
        assert_eq!(StateFile::of(folder.path()).read().unwrap().serial, 21);
    }

    #[test]
    fn a_disk_that_refuses_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let (reports, queue) = sync_channel(64);
        let writer = Writer::start(StateFile::of(&folder.path().join("gone")), reports).unwrap();
        writer.put(State::default(), Some(Ticket { client: 1, id: 7 }));
        let Input::Written(tickets, Some(_)) = queue.recv().unwrap() else { panic!("it was said to be written") };
        assert_eq!(tickets, [Ticket { client: 1, id: 7 }]);
        writer.finish();
    }
}
