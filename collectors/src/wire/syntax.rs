//! How a session's statements are to be read: what its server has for all, its handshake, the status of its answers and its `SET`s
//! enter; the syntax that holds for the next statement leaves. What was not seen is as the server has it.

use millrace_schemas::digest::{Change, Charset, Syntax};

/// The session's modes, as a status has them. MySQL knows the first only.
const NO_BACKSLASH_ESCAPES: u16 = 0x0200;
const ANSI_QUOTES: u16 = 0x8000;

/// What is known of a session.
#[derive(Debug)]
pub(super) struct Reading {
    /// Unless a session says otherwise.
    default: Syntax,
    now: Syntax,
    /// The server tells of `ANSI_QUOTES` in its answers.
    tells_quotes: bool,
}

impl Reading {
    /// A session of a server that has this for all.
    pub(super) fn new(default: Syntax) -> Self {
        Reading { default, now: default, tells_quotes: false }
    }

    /// How the next statement is to be read.
    pub(super) fn now(&self) -> Syntax {
        self.now
    }

    /// The client named the collation of its character set.
    pub(super) fn names(&mut self, collation: u8) {
        self.now.charset = Charset::of_collation(collation);
    }

    /// The session begins anew, perhaps with another character set.
    pub(super) fn begin_again(&mut self, collation: Option<u8>) {
        self.now = self.default;
        if let Some(collation) = collation {
            self.names(collation);
        }
    }

    /// The server says what it takes the client's bytes for.
    pub(super) fn converts(&mut self, charset: Charset) {
        self.now.charset = charset;
    }

    /// A `SET` succeeded.
    pub(super) fn change(&mut self, change: Change) {
        self.now = change.apply(self.now, self.default);
    }

    /// What an answer's status says of the modes that hold from here on.
    pub(super) fn learn(&mut self, status: Option<u16>) {
        let Some(status) = status else { return };
        self.now.mode.no_backslash_escapes = status & NO_BACKSLASH_ESCAPES != 0;
        let quotes = status & ANSI_QUOTES != 0;
        self.tells_quotes |= quotes;
        if self.tells_quotes {
            self.now.mode.ansi_quotes = quotes;
        }
    }
}
