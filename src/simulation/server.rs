//! A simulated server with its guard: its log, its relay log, what it follows, whether clients may write. In: what hands,
//! guards and the network do to it. Out: what it reports. Behaviour is as the real servers were seen to behave: a crash keeps
//! the log; MySQL keeps the relay log too, MariaDB forgets it. A tail that nobody acknowledged goes at a start that says that
//! another was promoted, and only then.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use millrace_schemas::cluster::Process;
use millrace_schemas::flavour::Flavour;
use millrace_schemas::gtid::GtidSet;
use millrace_schemas::time::Timestamp;

/// What a transaction wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// A client's row.
    App(u32),
    /// A row of Millrace's own schema.
    Own,
    /// Nothing: it was neutralised.
    Empty,
}

/// A transaction: who numbered it, its number, what it wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Transaction {
    pub(super) server: u8,
    pub(super) seq: u64,
    pub(super) content: Content,
}

impl Transaction {
    fn key(self) -> (u8, u64) {
        (self.server, self.seq)
    }
}

/// What keeps a server down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hold {
    /// The epoch that asked for it; none for the guard's own hold after a crash.
    pub(super) epoch: Option<u64>,
    pub(super) lapses: Option<Timestamp>,
}

/// A server.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) number: u8,
    pub(super) flavour: Flavour,
    pub(super) exists: bool,
    /// The process id while it runs; rises at each start.
    pub(super) pid: u32,
    pub(super) running: bool,
    pub(super) exited: bool,
    pub(super) hold: Option<Hold>,
    /// The highest epoch that its guard was asked in.
    pub(super) guard_promised: u64,
    pub(super) crashes: u32,
    pub(super) open: bool,
    pub(super) semi_sync: bool,
    pub(super) source: Option<usize>,
    /// The receiver thread is on; it receives only while its source runs and their histories go together.
    pub(super) receiver: bool,
    pub(super) applier: bool,
    pub(super) log: Vec<Transaction>,
    pub(super) relay: Vec<Transaction>,
    have: BTreeSet<(u8, u64)>,
    /// How far in its source's log it has looked.
    pub(super) cursor: usize,
    /// Positions in `log` of writes that nobody has acknowledged, with the client's write.
    pub(super) waiting: Vec<(usize, Content)>,
    /// Where in `log` the newest binary log begins: each start opens one.
    newest_file: usize,
    /// From where on a crash left transactions that MariaDB drops when it is told that another was promoted.
    torn_from: Option<usize>,
    /// When the newest heartbeat row that it holds was written.
    pub(super) pulse: Timestamp,
}

impl Server {
    pub(super) fn new(number: u8, flavour: Flavour) -> Self {
        Self {
            number,
            flavour,
            exists: false,
            pid: 0,
            running: false,
            exited: false,
            hold: None,
            guard_promised: 0,
            crashes: 0,
            open: false,
            semi_sync: false,
            source: None,
            receiver: false,
            applier: false,
            log: Vec::new(),
            relay: Vec::new(),
            have: BTreeSet::new(),
            cursor: 0,
            waiting: Vec::new(),
            newest_file: 0,
            torn_from: None,
            pulse: Timestamp::ZERO,
        }
    }

    /// Starts closed, as its configuration on disk says. `superseded`: another was promoted since it ran.
    pub(super) fn start(&mut self, superseded: bool) {
        if self.running || !self.exists {
            return;
        }
        if let Some(from) = self.torn_from.take().filter(|_| superseded && self.flavour == Flavour::MariaDb) {
            self.truncate(from);
        }
        self.newest_file = self.log.len();
        self.pid += 1;
        self.running = true;
        self.hold = None;
    }

    /// Cuts what `keep` does not hold from the newest binary log of a MySQL server that is down.
    pub(super) fn cut_tail(&mut self, keep: &GtidSet) {
        if self.running || self.flavour == Flavour::MariaDb {
            return;
        }
        let held = |one: &Transaction| parse(self.flavour, &gtid(self.flavour, *one)).is_subset(keep).unwrap_or(false);
        if let Some(first) = self.log.iter().skip(self.newest_file).position(|one| !held(one)) {
            self.truncate(self.newest_file + first);
        }
    }

    /// Ends by SIGKILL: both logs stay, MariaDB forgets its relay log. Up to `torn` transactions before the first that waits
    /// have their commit only in memory.
    pub(super) fn crash(&mut self, torn: usize) {
        if !self.running {
            return;
        }
        self.torn_from = self.waiting.first().map(|(first, _)| first.saturating_sub(torn));
        self.running = false;
        self.exited = true;
        self.open = false;
        self.semi_sync = false;
        self.receiver = false;
        self.applier = false;
        if self.flavour == Flavour::MariaDb {
            self.forget_relay();
        }
        self.waiting.clear();
    }

    fn truncate(&mut self, to: usize) {
        for gone in self.log.drain(to.min(self.log.len())..) {
            self.have.remove(&gone.key());
        }
    }

    /// Closes to clients; whoever waits is cut off without an answer.
    pub(super) fn close(&mut self) {
        self.open = false;
        self.waiting.clear();
    }

    pub(super) fn forget_relay(&mut self) {
        for gone in self.relay.drain(..) {
            self.have.remove(&gone.key());
        }
    }

    /// Applies everything received.
    pub(super) fn apply(&mut self, most: usize) {
        let some = most.min(self.relay.len());
        self.log.extend(self.relay.drain(..some));
    }

    pub(super) fn receive(&mut self, transaction: Transaction) {
        if self.have.insert(transaction.key()) {
            self.relay.push(transaction);
        }
    }

    pub(super) fn has(&self, transaction: Transaction) -> bool {
        self.have.contains(&transaction.key())
    }

    pub(super) fn newest(&self) -> Option<Transaction> {
        self.relay.last().or(self.log.last()).copied()
    }

    /// Writes a transaction of its own to its log; returns its position.
    pub(super) fn write(&mut self, content: Content) -> usize {
        let seq = match self.flavour {
            Flavour::MySql => self.log.iter().filter(|other| other.server == self.number).count() as u64 + 1,
            Flavour::MariaDb => self.log.iter().map(|other| other.seq).max().unwrap_or(0) + 1,
        };
        self.put(Transaction { server: self.number, seq, content })
    }

    /// Adds a transaction to the log; returns its position.
    pub(super) fn put(&mut self, transaction: Transaction) -> usize {
        self.have.insert(transaction.key());
        self.log.push(transaction);
        self.log.len() - 1
    }

    /// The clients' rows that it has executed.
    pub(super) fn rows(&self) -> BTreeSet<u32> {
        let app = |one: &Transaction| if let Content::App(write) = one.content { Some(write) } else { None };
        self.log.iter().filter_map(app).collect()
    }

    /// What its guard and agent say of its process.
    pub(super) fn process(&self) -> Process {
        if self.running {
            return Process::Running { pid: self.pid };
        }
        if !self.exited {
            return Process::Unknown;
        }
        Process::Exited { code: None, signal: Some(9), requested: false, held: self.hold.is_some() }
    }

    pub(super) fn executed(&self) -> GtidSet {
        self.set(self.log.iter())
    }

    pub(super) fn received(&self) -> GtidSet {
        self.set(self.log.iter().chain(&self.relay))
    }

    /// What names every server that wrote: MariaDB's binlog state, MySQL's executed set.
    pub(super) fn history(&self) -> GtidSet {
        if self.flavour == Flavour::MySql {
            return self.executed();
        }
        let mut entries: Vec<(u8, u64)> = Vec::new();
        for one in &self.log {
            match entries.iter_mut().find(|(server, _)| *server == one.server) {
                Some(entry) => entry.1 = entry.1.max(one.seq),
                None => entries.push(one.key()),
            }
        }
        let text: Vec<String> = entries.iter().map(|(server, seq)| format!("0-{server}-{seq}")).collect();
        parse(self.flavour, &text.join(","))
    }

    fn set<'a>(&self, transactions: impl Iterator<Item = &'a Transaction>) -> GtidSet {
        match self.flavour {
            Flavour::MariaDb => {
                let last = transactions.max_by_key(|one| one.seq);
                parse(self.flavour, &last.map(|one| format!("0-{}-{}", one.server, one.seq)).unwrap_or_default())
            }
            Flavour::MySql => {
                let mut keys: Vec<(u8, u64)> = transactions.map(|one| one.key()).collect();
                keys.sort_unstable();
                let mut text = String::new();
                for (server, seq) in keys {
                    let comma = if text.is_empty() { "" } else { "," };
                    let _ = write!(text, "{comma}{}:{seq}", uuid(server));
                }
                parse(self.flavour, &text)
            }
        }
    }
}

fn parse(flavour: Flavour, text: &str) -> GtidSet {
    GtidSet::parse(flavour, text).expect("the simulation writes legal sets")
}

pub(super) fn uuid(server: u8) -> String {
    format!("00000000-0000-0000-0000-0000000000{server:02}")
}

/// The text of one transaction's GTID.
pub(super) fn gtid(flavour: Flavour, transaction: Transaction) -> String {
    match flavour {
        Flavour::MySql => format!("{}:{}", uuid(transaction.server), transaction.seq),
        Flavour::MariaDb => format!("0-{}-{}", transaction.server, transaction.seq),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waited_is_dropped_by_who_was_superseded_only() {
        let check = |flavour, superseded: bool, expected: usize| {
            let mut server = Server::new(1, flavour);
            server.exists = true;
            server.start(false);
            server.write(Content::App(1));
            let keep = server.executed();
            let at = server.write(Content::App(2));
            server.waiting.push((at, Content::App(2)));
            server.crash(0);
            assert!(!server.open && !server.running);
            if superseded {
                server.cut_tail(&keep);
            }
            server.start(superseded);
            assert_eq!(server.log.len(), expected, "{flavour}, superseded: {superseded}");
        };
        for flavour in [Flavour::MySql, Flavour::MariaDb] {
            check(flavour, false, 2);
            check(flavour, true, 1);
        }
    }

    #[test]
    fn reports_sets_as_the_servers_do() {
        let mut server = Server::new(1, Flavour::MariaDb);
        server.put(Transaction { server: 1, seq: 1, content: Content::Own });
        server.put(Transaction { server: 2, seq: 2, content: Content::Own });
        assert_eq!(server.executed().to_string(), "0-2-2");
        assert_eq!(server.history().to_string(), "0-1-1,0-2-2");
        let mut server = Server::new(2, Flavour::MySql);
        server.write(Content::Own);
        server.write(Content::Own);
        assert_eq!(server.executed().to_string(), format!("{}:1-2", uuid(2)));
    }
}
