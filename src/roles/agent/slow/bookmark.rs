//! How far a slow log was published, on disk: a place enters with the receipts of everything before it, and is stored once the bus
//! has answered for all of them. It must never store a place before that: what was read and not sent would be lost at a restart.

use std::fs;
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bus::Receipt;

/// A place in a log, whatever that is for its kind.
#[derive(Debug)]
pub(super) struct Bookmark<P> {
    file: PathBuf,
    stored: Option<P>,
    /// The place to store once these are answered.
    next: Option<(P, Vec<Receipt>)>,
}

impl<P: Copy + PartialEq + Serialize + DeserializeOwned> Bookmark<P> {
    /// What an earlier run stored in `file`.
    pub(super) fn of(file: PathBuf) -> Self {
        let stored = fs::read(&file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Self { file, stored, next: None }
    }

    pub(super) fn stored(&self) -> Option<P> {
        self.stored
    }

    pub(super) fn is_behind(&self, position: Option<P>) -> bool {
        position.is_some() && position != self.stored
    }

    /// Stores a place once all entries before it are answered for: what was refused is counted by the bus, what was never
    /// answered is read again by the next run. `now` is the place behind all entries of `unanswered`.
    pub(super) fn advance(&mut self, now: Option<P>, unanswered: &mut Vec<Receipt>) {
        if self.next.is_none()
            && self.is_behind(now)
            && let Some(now) = now
        {
            self.next = Some((now, std::mem::take(unanswered)));
        }
        let Some((position, receipts)) = &mut self.next else { return };
        receipts.retain_mut(|receipt| receipt.answer().is_none());
        if receipts.is_empty() {
            // Not fsynced: after a power cut some entries are read again.
            let _ = serde_json::to_vec(position).map(|bytes| fs::write(&self.file, bytes));
            self.stored = Some(*position);
            self.next = None;
        }
    }
}
