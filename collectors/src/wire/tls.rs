//! Encrypted sessions: TLS records of both directions enter; turns leave. A turn is a burst of the client and the server's
//! answer to it, which is what a query looks like from outside: it gives counts and response times without a word of text.
//! Bursts with records of the handshake are no turns. It must never claim to know what was asked.

/// Record type of application data.
const APPLICATION: u8 = 23;
/// Record types of TLS.
const RECORD_TYPES: std::ops::RangeInclusive<u8> = 20..=24;
/// Longest record: 16 KiB and what encryption may add.
const RECORD_BYTES_MAX: usize = (16 << 10) + 2048;

/// A request and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) request_us: i64,
    pub(super) first_us: i64,
    pub(super) last_us: i64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
}

/// Follows the records of one direction.
#[derive(Debug, Default)]
struct Records {
    header: [u8; 5],
    header_bytes: usize,
    left: usize,
    /// Bytes are missing, so records cannot be told apart any more; all are taken for application data.
    blind: bool,
}

impl Records {
    /// Takes bytes; whether all records that began in them hold application data.
    fn application_only(&mut self, mut data: &[u8]) -> bool {
        let mut only = true;
        if self.blind {
            return only;
        }
        while !data.is_empty() {
            let taken = self.left.min(data.len());
            data = &data[taken..];
            self.left -= taken;
            while self.left == 0 && self.header_bytes < 5 {
                let Some((byte, rest)) = data.split_first() else { return only };
                self.header[self.header_bytes] = *byte;
                self.header_bytes += 1;
                data = rest;
            }
            if self.header_bytes == 5 {
                only &= self.header[0] == APPLICATION;
                self.left = usize::from(u16::from_be_bytes([self.header[3], self.header[4]]));
                self.header_bytes = 0;
            }
        }
        only
    }
}

/// Follows the turns of one session.
#[derive(Debug, Default)]
pub(super) struct Turns {
    client: Records,
    server: Records,
    turn: Option<Turn>,
    answered: bool,
    handshake: bool,
}

impl Turns {
    /// The client sent bytes; the turn that they end.
    pub(super) fn client(&mut self, ts_us: i64, data: &[u8]) -> Option<Turn> {
        let finished = if self.answered { self.finish() } else { None };
        self.handshake |= !self.client.application_only(data);
        let turn = self.turn.get_or_insert(Turn {
            request_us: ts_us,
            first_us: ts_us,
            last_us: ts_us,
            bytes_in: 0,
            bytes_out: 0,
        });
        turn.request_us = ts_us;
        turn.bytes_in += data.len() as u64;
        finished
    }

    /// The server sent bytes.
    pub(super) fn server(&mut self, ts_us: i64, data: &[u8]) {
        let application = self.server.application_only(data);
        let Some(turn) = &mut self.turn else { return };
        self.handshake |= !application;
        if !self.answered {
            turn.first_us = ts_us;
        }
        self.answered = true;
        turn.last_us = ts_us;
        turn.bytes_out += data.len() as u64;
    }

    /// Bytes are missing from one of the directions.
    pub(super) fn hole(&mut self) {
        (self.client.blind, self.server.blind) = (true, true);
    }

    /// Ends the turn if the server was silent since `before_us`.
    pub(super) fn expire(&mut self, before_us: i64) -> Option<Turn> {
        let silent = self.turn.is_some_and(|turn| turn.last_us < before_us);
        if self.answered && silent { self.finish() } else { None }
    }

    /// Ends the turn: the session ends, or another begins. A turn of the handshake is none.
    pub(super) fn finish(&mut self) -> Option<Turn> {
        let handshake = std::mem::take(&mut self.handshake);
        let answered = std::mem::take(&mut self.answered);
        self.turn.take().filter(|_| answered && !handshake)
    }
}

/// Whether bytes from the middle of a connection look like whole TLS records, or the start of one.
pub(super) fn looks_like(data: &[u8]) -> bool {
    let mut rest = data;
    loop {
        let [kind, 3, minor, high, low, after @ ..] = rest else { return false };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if !RECORD_TYPES.contains(kind) || *minor > 4 || length == 0 || length > RECORD_BYTES_MAX {
            return false;
        }
        match after.get(length..) {
            Some([]) | None => return true,
            Some(more) => rest = more,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, length: usize) -> Vec<u8> {
        let mut bytes = vec![kind, 3, 3, (length >> 8) as u8, length as u8];
        bytes.extend(std::iter::repeat_n(0xaa, length));
        bytes
    }

    #[test]
    fn counts_turns_without_the_handshake() {
        let mut turns = Turns::default();
        assert_eq!(turns.client(0, &record(22, 100)), None);
        turns.server(1, &[record(22, 50), record(20, 1), record(23, 900)].concat());
        assert_eq!(turns.client(2, &[record(20, 1), record(23, 60)].concat()), None);
        turns.server(3, &record(23, 60));
        assert_eq!(turns.client(10, &record(23, 40)), None);
        let answer = record(23, 500);
        turns.server(15, &answer[..100]);
        turns.server(18, &answer[100..]);
        let expected = Turn { request_us: 10, first_us: 15, last_us: 18, bytes_in: 45, bytes_out: 505 };
        assert_eq!(turns.client(20, &record(23, 40)), Some(expected));
        assert_eq!(turns.finish(), None);
    }

    #[test]
    fn tells_records_from_mysql_packets() {
        assert!(looks_like(&record(23, 40)));
        assert!(looks_like(&record(23, 40)[..20]));
        assert!(!looks_like(b"\x09\0\0\0\x03select 1"));
        assert!(!looks_like(&[record(23, 40), vec![1, 2, 3, 4, 5]].concat()));
    }
}
