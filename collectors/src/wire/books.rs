//! The books of a capture: every payload byte and every packet that was captured, by what became of it. They exist because
//! a count is only worth something when what is missing from it is known. All numbers only rise, except `waiting`, which is
//! what is still being put in order. They must balance after every packet; a test holds them to it.

use serde::{Deserialize, Serialize};

use super::session::Why;

macro_rules! books {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// What became of what was captured.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct Books {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Books {
            /// What was added since `earlier`; `waiting` is as it is now.
            #[must_use]
            pub fn since(&self, earlier: &Books) -> Books {
                Books {
                    $($name: self.$name.saturating_sub(earlier.$name),)*
                }
                .with_waiting(self.waiting)
            }

            /// Adds what [`Books::since`] said; `waiting` becomes what it is there.
            pub fn add(&mut self, added: &Books) {
                $(self.$name += added.$name;)*
                self.waiting = added.waiting;
            }
        }
    };
}

books! {
    /// Frames handed to the decoder.
    frames,
    /// Bytes of those frames, as they were captured.
    frame_bytes,
    /// Frames that hold no TCP segment of a watched server: other protocols and other ports.
    frames_foreign,
    /// IP fragments, which are not put together.
    frames_fragment,
    /// Frames whose headers cannot be read.
    frames_unreadable,
    /// Payload bytes of segments of watched servers.
    captured,
    /// Bytes of packets that were understood.
    decoded,
    /// Bytes of TLS sessions.
    encrypted,
    /// Bytes that came again: retransmitted, or seen on a second interface.
    duplicate,
    /// Bytes passed over until a request showed where packets begin.
    skipped,
    /// Bytes left out on purpose, because a limit was reached.
    shed,
    /// Bytes that are not understood: the sum of the next three.
    undecodable,
    /// Bytes of connections that do not speak the MySQL protocol.
    undecodable_protocol,
    /// Bytes of connections whose login is of a form from before 4.1.
    undecodable_login,
    /// Bytes of connections from a damaged compressed frame on.
    undecodable_frame,
    /// Bytes that wait for earlier ones. Not a sum: as it is now.
    waiting,
    /// Bytes that were sent and never captured, as sequence numbers say. Apart from the sum of the others.
    missing,
    /// Segments that held nothing new.
    segments_duplicate,
    /// Segments that came before an earlier one of their direction.
    segments_early,
    /// Holes that were never filled, or behind a packet that the capture cut.
    holes,
    /// Connections seen.
    connections,
    /// Connections that had begun before they were seen: their user and schema are unknown.
    connections_midstream,
    /// Connections that were left out, because too many were followed at once.
    connections_shed,
    /// Times that a connection had to be picked up again after a loss.
    resyncs,
    /// Times that a connection lost what it was reading, because all of them together took too much memory.
    pressed,
    /// Requests whose answer was not captured, or never came.
    unanswered,
    /// Executions of statements whose text was prepared before the capture.
    unknown_statements,
    /// Prepared statements that were forgotten, because a connection had too many, or memory was short.
    statements_forgotten,
    /// Turns of encrypted sessions.
    encrypted_turns,
}

impl Books {
    /// Bytes are not understood.
    pub(super) fn undecodable(&mut self, why: Why, bytes: u64) {
        self.undecodable += bytes;
        *match why {
            Why::Protocol => &mut self.undecodable_protocol,
            Why::Login => &mut self.undecodable_login,
            Why::Frame => &mut self.undecodable_frame,
        } += bytes;
    }

    fn with_waiting(mut self, waiting: u64) -> Books {
        self.waiting = waiting;
        self
    }

    /// Every captured byte is accounted for, once.
    pub fn balance(&self) -> bool {
        self.captured
            == self.decoded
                + self.encrypted
                + self.duplicate
                + self.skipped
                + self.shed
                + self.undecodable
                + self.waiting
    }
}
