//! From one server to all that replicate with it. In: what each asked server answered. Out: whom to ask next, and in the end the
//! nodes. The walk itself is pure; the asking around it is in `ask`. It goes up to sources and down to attached replicas, asks
//! nobody twice under one address, takes two addresses of one server for one, and stops at a bound that it tells.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use millrace_mysql::GtidSet;
use millrace_mysql::status::source::{Attached, AttachedReplicas};
use millrace_mysql::status::{Channel, Server, Status};

use crate::cli::login::Place;

/// 200 servers: larger than any one replication set in use, and at 16 at once and 8 s each still over within two minutes even
/// if nobody answers.
pub(super) const SERVERS_MAX: usize = 200;
/// 16 at once: enough that a fleet is asked in seconds, few enough that the asking host does not look like an attack.
pub(super) const AT_ONCE: usize = 16;
/// 8 hosts are tried for a replica that does not say its host: its port on each host that reads the binlog.
const GUESSES_MAX: usize = 8;

/// What a server answered.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) status: Status,
    /// Hosts that read its binlog now, by its process list; empty too when the account may not see other sessions.
    pub(super) readers: Vec<String>,
    /// What it had executed when it was asked again after all the others: whatever a replica had before and this does not hold
    /// was never its source's.
    pub(super) confirmed: Option<GtidSet>,
}

/// A server that was asked, or should have been.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) place: Place,
    /// Other addresses that led here.
    pub(super) also: Vec<Place>,
    /// The server that names it as its replica, if that is how it was found.
    pub(super) listed_by: Option<Place>,
    /// What it answered, or why nothing is known of it.
    pub(super) answer: Result<Box<Seen>, String>,
}

/// Somebody to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Want {
    pub(super) place: Place,
    listed_by: Option<Place>,
    /// The address is a guess: silence there means nothing by itself.
    guess: bool,
}

/// A walk under way.
#[derive(Debug, Default)]
pub(super) struct Walk {
    pub(super) nodes: Vec<Node>,
    known: BTreeSet<Place>,
    waiting: VecDeque<Want>,
    /// What became of guessed addresses.
    guesses: BTreeMap<Place, String>,
    /// Addresses that were not asked because of the bound.
    pub(super) left_out: usize,
}

impl Walk {
    pub(super) fn from(start: Place) -> Self {
        let mut walk = Self::default();
        walk.want(Want { place: start, listed_by: None, guess: false });
        walk
    }

    /// Whom to ask now, all at once. Empty at the end, when every asked one was told.
    pub(super) fn next(&mut self) -> Vec<Want> {
        let many = self.waiting.len().min(AT_ONCE);
        self.waiting.drain(..many).collect()
    }

    /// Takes what `want` answered.
    pub(super) fn told(&mut self, want: Want, answer: Result<Seen, String>) {
        match answer {
            Err(reason) if want.guess => drop(self.guesses.insert(want.place, reason)),
            Err(reason) => self.push(want, Err(reason)),
            Ok(seen) if want.guess && seen.status.channels.is_empty() => {
                self.guesses.insert(want.place, "a server that replicates from nobody answers there".to_owned());
            }
            Ok(seen) => {
                if let Some(node) = self.nodes.iter_mut().find(|node| node.is(&seen.status.server)) {
                    node.also.push(want.place);
                    return;
                }
                self.follow(&want.place, &seen);
                self.push(want, Ok(Box::new(seen)));
            }
        }
    }

    /// The node that answers at `place`.
    pub(super) fn at(&self, place: &Place) -> Option<usize> {
        self.nodes.iter().position(|node| node.place == *place || node.also.contains(place))
    }

    /// The nodes, with one more for each attached replica that no address led to.
    pub(super) fn finish(mut self) -> (Vec<Node>, usize) {
        let asked: Vec<(Place, Seen)> = self
            .nodes
            .iter()
            .filter_map(|node| Some((node.place.clone(), node.answer.as_deref().ok()?.clone())))
            .collect();
        for (place, seen) in asked {
            for attached in seen.status.source.attached.known() {
                if attached.host.is_none() && !self.nodes.iter().any(|node| node.has_id(attached.server_id)) {
                    self.lost(&place, attached, &seen);
                }
            }
            if seen.status.source.attached.known().is_empty() {
                for reader in guesses(&seen) {
                    let guessed = Place { host: seen_from(reader, &place.host), port: place.port };
                    if let Some(reason) = self.guesses.get(&guessed) {
                        let what = match seen.status.source.attached {
                            AttachedReplicas::Known(_) => "reads the binlog and does not register",
                            AttachedReplicas::Denied { .. } => "reads the binlog, from a port that may not be told",
                        };
                        let reason = format!("{what}; nothing there: {reason}");
                        self.unasked(guessed, &place, reason);
                    }
                }
            }
        }
        (self.nodes, self.left_out)
    }

    fn lost(&mut self, source: &Place, attached: &Attached, seen: &Seen) {
        let tried: Vec<String> = guesses(seen)
            .filter_map(|reader| {
                let guessed = Place { host: seen_from(reader, &source.host), port: attached.port };
                let reason = self.guesses.get(&guessed)?;
                Some(format!("tried {guessed}: {reason}"))
            })
            .collect();
        let tried = if tried.is_empty() { "no address to try".to_owned() } else { tried.join("; ") };
        let reason = format!("it sets no report_host, so where it listens is not known; {tried}");
        let name = format!("server-id-{}", attached.server_id);
        self.unasked(Place { host: name, port: attached.port }, source, reason);
    }

    fn unasked(&mut self, place: Place, source: &Place, reason: String) {
        if self.at(&place).is_none() {
            let want = Want { place, listed_by: Some(source.clone()), guess: false };
            self.push(want, Err(reason));
        }
    }

    fn push(&mut self, want: Want, answer: Result<Box<Seen>, String>) {
        self.nodes.push(Node { place: want.place, also: Vec::new(), listed_by: want.listed_by, answer });
    }

    fn follow(&mut self, place: &Place, seen: &Seen) {
        for channel in &seen.status.channels {
            self.want(Want { place: source_place(place, channel), listed_by: None, guess: false });
        }
        let listed_by = Some(place.clone());
        for attached in seen.status.source.attached.known() {
            if let Some(host) = &attached.host {
                let place = Place { host: seen_from(host, &place.host), port: attached.port };
                self.want(Want { place, listed_by: listed_by.clone(), guess: false });
            } else {
                self.guess(place, seen, attached.port);
            }
        }
        if seen.status.source.attached.known().is_empty() {
            self.guess(place, seen, place.port);
        }
    }

    fn guess(&mut self, place: &Place, seen: &Seen, port: u16) {
        for reader in guesses(seen) {
            let guessed = Place { host: seen_from(reader, &place.host), port };
            self.want(Want { place: guessed, listed_by: Some(place.clone()), guess: true });
        }
    }

    fn want(&mut self, want: Want) {
        if self.known.contains(&want.place) {
            return;
        }
        if self.known.len() >= SERVERS_MAX {
            self.left_out += 1;
            return;
        }
        self.known.insert(want.place.clone());
        self.waiting.push_back(want);
    }
}

impl Node {
    /// Whether this is that server, under whatever address: what it says of itself must agree in everything that tells two apart.
    fn is(&self, other: &Server) -> bool {
        let identity = |server: &Server| {
            (server.server_id, server.server_uuid.clone(), server.hostname.clone(), server.port, server.datadir.clone())
        };
        self.answer.as_ref().is_ok_and(|seen| identity(&seen.status.server) == identity(other))
    }

    fn has_id(&self, id: u32) -> bool {
        self.answer.as_ref().is_ok_and(|seen| seen.status.server.server_id == id)
    }
}

fn guesses(seen: &Seen) -> impl Iterator<Item = &String> {
    seen.readers.iter().take(GUESSES_MAX)
}

/// The address of a channel's source, as it is reached from here.
pub(super) fn source_place(replica: &Place, channel: &Channel) -> Place {
    Place { host: seen_from(&channel.source_host, &replica.host), port: channel.source_port }
}

/// A loopback address that another host names means that host.
fn seen_from(host: &str, speaker: &str) -> String {
    let loopback = |host: &str| host == "localhost" || host == "::1" || host.starts_with("127.");
    if loopback(host) { speaker.to_owned() } else { host.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{replica, seen, source};
    use super::*;

    fn place(text: &str) -> Place {
        let (host, port) = text.split_once(':').unwrap();
        Place { host: host.into(), port: port.parse().unwrap() }
    }

    fn attached(id: u32, host: Option<&str>, port: u16) -> Attached {
        Attached { server_id: id, host: host.map(str::to_owned), port, server_uuid: None }
    }

    fn known(replicas: Vec<Attached>) -> AttachedReplicas {
        AttachedReplicas::Known(replicas)
    }

    /// Walks a fleet of which `answers` is known; everybody else is silent.
    fn walked(start: &str, answers: &[(&str, Seen)]) -> Vec<(String, bool)> {
        let mut walk = Walk::from(place(start));
        loop {
            let wants = walk.next();
            if wants.is_empty() {
                break;
            }
            for want in wants {
                let answer = answers.iter().find(|(name, _)| *name == want.place.to_string());
                walk.told(want, answer.map(|(_, seen)| seen.clone()).ok_or_else(|| "silent".to_owned()));
            }
        }
        let (nodes, _) = walk.finish();
        nodes.iter().map(|node| (node.place.to_string(), node.answer.is_ok())).collect()
    }

    #[test]
    fn the_walk_goes_up_and_down_and_names_who_is_silent() {
        let mut primary = seen(source(1, 3306));
        primary.status.source.attached = known(vec![attached(2, Some("b"), 3306), attached(3, Some("c"), 3306)]);
        let found = walked("b:3306", &[("b:3306", seen(replica(2, 3306, "a", 3306))), ("a:3306", primary)]);
        assert_eq!(found, [("b:3306".into(), true), ("a:3306".into(), true), ("c:3306".into(), false)]);
    }

    #[test]
    fn a_server_with_two_addresses_is_one() {
        let mut primary = seen(source(1, 3306));
        primary.status.source.attached = known(vec![attached(2, Some("b.example"), 3306)]);
        let second = seen(replica(2, 3306, "a", 3306));
        let found = walked("b:3306", &[("b:3306", second.clone()), ("a:3306", primary), ("b.example:3306", second)]);
        assert_eq!(found, [("b:3306".into(), true), ("a:3306".into(), true)]);
    }

    #[test]
    fn a_ring_ends() {
        let one = seen(replica(1, 3306, "b", 3306));
        let two = seen(replica(2, 3306, "a", 3306));
        assert_eq!(walked("a:3306", &[("a:3306", one), ("b:3306", two)]).len(), 2);
    }

    #[test]
    fn a_replica_that_does_not_say_its_host_is_sought_where_the_binlog_is_read() {
        let mut primary = seen(source(1, 3306));
        primary.status.source.attached = known(vec![attached(2, None, 3307), attached(3, None, 3308)]);
        primary.readers = vec!["b".into()];
        let found = walked("a:3306", &[("a:3306", primary), ("b:3307", seen(replica(2, 3307, "a", 3306)))]);
        assert_eq!(found, [("a:3306".into(), true), ("b:3307".into(), true), ("server-id-3:3308".into(), false)]);
    }

    #[test]
    fn a_loopback_address_is_that_of_who_names_it() {
        let check = |host, speaker, expected: &str| assert_eq!(seen_from(host, speaker), expected);
        check("127.0.0.1", "db2", "db2");
        check("localhost", "127.0.0.1", "127.0.0.1");
        check("db1", "db2", "db1");
    }

    #[test]
    fn a_fleet_without_end_is_cut_and_the_rest_counted() {
        let mut primary = seen(source(1, 3306));
        primary.status.source.attached =
            known((0..500_u16).map(|n| attached(u32::from(n) + 2, Some("b"), 10_000 + n)).collect());
        let mut walk = Walk::from(place("a:3306"));
        let first = walk.next().remove(0);
        walk.told(first, Ok(primary));
        assert_eq!(walk.known.len(), SERVERS_MAX);
        assert_eq!(walk.left_out, 500 + 1 - SERVERS_MAX);
        assert_eq!(walk.next().len(), AT_ONCE);
    }
}
