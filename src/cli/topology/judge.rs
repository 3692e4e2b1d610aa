//! What the answers mean. In: the nodes of a walk. Out: a [`Report`]: each server as it is, who replicates from whom, what is
//! broken, and what is not known. Pure. It must never take silence, or a position that cannot be compared, for health.

use std::collections::BTreeSet;

use millrace_mysql::status::replica::{Receiver, ThreadError};
use millrace_mysql::status::{Channel, SemiSync, Server, Status};
use millrace_mysql::{Flavour, GtidError, GtidSet};
use serde::Serialize;

use super::walk::{Node, SERVERS_MAX, Seen, source_place};
use crate::cli::login::Place;

/// A server's message or a GTID set is shown with at most this many characters: enough to know it, short enough for a screen.
const SHOWN_CHARS_MAX: usize = 300;

/// The whole answer of `millrace topology`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Report {
    pub(super) schema_version: u32,
    pub(super) from: String,
    /// Nothing is broken and everything is known.
    pub(super) healthy: bool,
    pub(super) servers: Vec<ServerView>,
    /// What is broken.
    pub(super) problems: Vec<String>,
    /// What could not be asked or compared.
    pub(super) unknown: Vec<String>,
    /// What is worth knowing and may be meant so.
    pub(super) notes: Vec<String>,
}

/// A server as it is told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct ServerView {
    pub(super) address: String,
    pub(super) also: Vec<String>,
    pub(super) asked: bool,
    /// Why nothing is known of it.
    pub(super) reason: Option<String>,
    pub(super) role: &'static str,
    pub(super) flavour: Option<Flavour>,
    pub(super) version: Option<String>,
    pub(super) server_id: Option<u32>,
    pub(super) server_uuid: Option<String>,
    pub(super) open: Option<bool>,
    /// What closes it: `open`, `read-only`, `super-read-only`, `offline`.
    pub(super) writes: &'static str,
    pub(super) semi_sync_source: Option<String>,
    pub(super) semi_sync_replica: Option<&'static str>,
    pub(super) executed: Option<String>,
    pub(super) channels: Vec<ChannelView>,
    /// Why the replicas that are attached to it are not known: there may be some that are not in this answer.
    pub(super) attached_unknown: Option<String>,
    /// The server that lists it as its replica, where nothing else tells where it belongs.
    pub(super) listed_by: Option<String>,
    /// Servers above it in the drawing.
    #[serde(skip)]
    pub(super) parents: Vec<usize>,
}

/// A replication channel as it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct ChannelView {
    pub(super) name: String,
    pub(super) source: String,
    pub(super) receiver: &'static str,
    pub(super) applier: &'static str,
    pub(super) errors: Vec<String>,
    pub(super) lag_seconds: Option<u64>,
    pub(super) delay_seconds: u64,
    /// Transactions of its source that it has not executed.
    pub(super) missing: Option<u64>,
    /// Transactions that none of its sources ever had; at least so many, unless `extra_exact`.
    pub(super) extra: Option<u64>,
    /// `MariaDB` does not tell who wrote each number, so of a run of them only the last may be certain.
    pub(super) extra_exact: bool,
    pub(super) extra_transactions: Option<String>,
    /// Why the two counts are not known.
    pub(super) position_unknown: Option<String>,
}

/// Judges the nodes of a walk that began at `from` and left `left_out` addresses unasked.
pub(super) fn report(from: &Place, nodes: &[Node], left_out: usize) -> Report {
    let parents: Vec<Vec<Result<usize, String>>> = (0..nodes.len()).map(|at| sources_of(nodes, at)).collect();
    let mut servers: Vec<ServerView> =
        nodes.iter().enumerate().map(|(at, node)| server(nodes, node, &parents[at])).collect();
    for (at, node) in nodes.iter().enumerate() {
        if node.answer.is_err() {
            let lister = node.listed_by.as_ref().and_then(|place| find(nodes, place));
            servers[at].parents.extend(lister);
        }
    }
    roles(&mut servers);
    let mut report = Report {
        schema_version: 1,
        from: from.to_string(),
        healthy: false,
        problems: servers.iter().flat_map(problems_of).collect(),
        unknown: servers.iter().flat_map(unknowns_of).collect(),
        notes: Vec::new(),
        servers,
    };
    for (at, sources) in parents.iter().enumerate() {
        let lost = sources.iter().filter_map(|source| source.as_ref().err());
        report.unknown.extend(lost.map(|why| format!("{}: {why}", nodes[at].place)));
    }
    sets(&mut report);
    rings(&mut report);
    if left_out > 0 {
        report.unknown.push(format!("{left_out} more addresses were not asked: {SERVERS_MAX} is the most"));
    }
    report.healthy = report.problems.is_empty() && report.unknown.is_empty();
    report
}

fn find(nodes: &[Node], place: &Place) -> Option<usize> {
    nodes.iter().position(|node| node.place == *place || node.also.contains(place))
}

/// The node that each channel of a server replicates from, or why that is not known.
fn sources_of(nodes: &[Node], at: usize) -> Vec<Result<usize, String>> {
    let Ok(seen) = &nodes[at].answer else { return Vec::new() };
    seen.status.channels.iter().map(|channel| source_of(nodes, &nodes[at].place, channel)).collect()
}

fn source_of(nodes: &[Node], replica: &Place, channel: &Channel) -> Result<usize, String> {
    let place = source_place(replica, channel);
    let is_source = |server: &Server| {
        channel.source_server_id.is_none_or(|id| id == server.server_id)
            && (channel.source_server_uuid.is_none()
                || server.server_uuid.is_none()
                || channel.source_server_uuid == server.server_uuid)
    };
    let found = find(nodes, &place);
    match found.map(|at| (at, &nodes[at].answer)) {
        Some((at, Err(_))) => Ok(at),
        Some((at, Ok(seen))) if is_source(&seen.status.server) => Ok(at),
        Some((_, Ok(seen))) => {
            // Seen from here the address may belong to somebody else; the server itself may have been met elsewhere.
            let known = channel.source_server_id.and_then(|_| {
                nodes.iter().position(|node| node.answer.as_ref().is_ok_and(|seen| is_source(&seen.status.server)))
            });
            known.ok_or_else(|| {
                format!(
                    "from here {place} is server_id {}, and its source is {}; its source was not asked",
                    seen.status.server.server_id,
                    channel.source_server_id.unwrap_or(0)
                )
            })
        }
        None => Err(format!("its source {place} was not asked")),
    }
}

fn server(nodes: &[Node], node: &Node, sources: &[Result<usize, String>]) -> ServerView {
    let view = ServerView {
        address: node.place.to_string(),
        also: node.also.iter().map(Place::to_string).collect(),
        listed_by: node.listed_by.as_ref().map(Place::to_string),
        writes: "unknown",
        role: "unknown",
        ..ServerView::default()
    };
    let seen = match &node.answer {
        Ok(seen) => seen,
        Err(reason) => return ServerView { reason: Some(plain(reason)), ..view },
    };
    let Status { server, source, semi_sync, channels, .. } = &seen.status;
    let extra = extra(nodes, seen, sources);
    ServerView {
        asked: true,
        flavour: Some(server.dialect.flavour),
        version: Some(server.dialect.version.to_string()),
        server_id: Some(server.server_id),
        server_uuid: server.server_uuid.clone(),
        open: Some(server.is_open()),
        writes: writes(server),
        semi_sync_source: semi_sync.source_enabled.then(|| semi_sync_source(semi_sync)),
        semi_sync_replica: semi_sync_replica(semi_sync, !channels.is_empty()),
        executed: Some(source.executed.to_string()),
        channels: channels
            .iter()
            .zip(sources)
            .map(|(channel, source)| self::channel(nodes, node, seen, channel, source, &extra))
            .collect(),
        attached_unknown: source.attached.denied().map(plain),
        parents: sources.iter().filter_map(|source| source.as_ref().ok().copied()).collect(),
        ..view
    }
}

fn writes(server: &Server) -> &'static str {
    match (server.offline_mode, server.super_read_only, server.read_only) {
        (Some(true), ..) => "offline",
        (_, Some(true), _) => "super-read-only",
        (.., true) => "read-only",
        (.., false) => "open",
    }
}

fn semi_sync_source(semi_sync: &SemiSync) -> String {
    let SemiSync { clients, wait_for_count, timeout_ms, wait_point, .. } = semi_sync;
    if !semi_sync.source_active {
        return format!("fell back to asynchronous, {clients} clients");
    }
    if semi_sync.is_lossless() {
        return format!("lossless, waits for {wait_for_count} of {clients}");
    }
    format!("not lossless ({wait_point}, gives up after {timeout_ms} ms), waits for {wait_for_count} of {clients}")
}

fn semi_sync_replica(semi_sync: &SemiSync, replicates: bool) -> Option<&'static str> {
    match (replicates, semi_sync.replica_enabled, semi_sync.replica_active) {
        (false, ..) => None,
        (true, false, _) => Some("off"),
        (true, true, true) => Some("acknowledges"),
        (true, true, false) => Some("on, but not working"),
    }
}

fn channel(
    nodes: &[Node],
    node: &Node,
    seen: &Seen,
    channel: &Channel,
    source: &Result<usize, String>,
    extra: &Result<Extra, String>,
) -> ChannelView {
    let answered = source.as_ref().ok().map(|at| &nodes[*at]);
    let missing = answered.and_then(|source| source.answer.as_ref().ok()).map(|source| missing(seen, source));
    let address =
        answered.map_or_else(|| source_place(&node.place, channel).to_string(), |source| source.place.to_string());
    let error =
        |thread: &str, error: &ThreadError| format!("{thread}: error {}: {}", error.code, plain(&error.message));
    ChannelView {
        name: channel.name.clone(),
        source: address,
        receiver: match channel.receiver {
            Receiver::Running => "running",
            Receiver::Connecting => "connecting",
            Receiver::Stopped => "stopped",
        },
        applier: if channel.applier_running { "running" } else { "stopped" },
        errors: channel
            .receiver_error
            .iter()
            .map(|one| error("receiver", one))
            .chain(channel.applier_error.iter().map(|one| error("applier", one)))
            .collect(),
        lag_seconds: channel.seconds_behind,
        delay_seconds: channel.delay_seconds,
        missing: missing.as_ref().and_then(|missing| missing.as_ref().ok().copied()),
        extra: extra.as_ref().ok().map(|extra| extra.at_least),
        extra_exact: extra.as_ref().is_ok_and(|extra| extra.at_least == extra.set.count()),
        extra_transactions: extra
            .as_ref()
            .ok()
            .filter(|extra| !extra.set.is_empty())
            .map(|extra| plain(&extra.set.to_string())),
        position_unknown: missing.and_then(Result::err).or_else(|| extra.as_ref().err().cloned()),
    }
}

/// Why the position of a server cannot be compared by GTID, if it cannot.
fn not_comparable(seen: &Seen) -> Option<String> {
    let server = &seen.status.server;
    let mode = server.gtid_mode.as_deref().unwrap_or("OFF");
    (server.dialect.flavour == Flavour::MySql && mode != "ON")
        .then(|| format!("gtid_mode is {mode} on the server with server_id {}", server.server_id))
}

fn missing(replica: &Seen, source: &Seen) -> Result<u64, String> {
    if let Some(why) = not_comparable(replica).or_else(|| not_comparable(source)) {
        return Err(why);
    }
    let rest = source.status.source.executed.subtract(&replica.status.source.executed);
    rest.map(|rest| rest.count()).map_err(|error| error.to_string())
}

/// What a replica holds and its sources never had.
#[derive(Debug)]
struct Extra {
    set: GtidSet,
    /// How many of `set` are certain.
    at_least: u64,
}

/// What a replica holds and none of its sources had, even when asked again later.
fn extra(nodes: &[Node], replica: &Seen, sources: &[Result<usize, String>]) -> Result<Extra, String> {
    let own = &replica.status.source;
    let mut theirs = GtidSet::empty(own.executed.flavour());
    for source in sources {
        let source = source.as_ref().map_err(Clone::clone)?;
        let node = &nodes[*source];
        let seen = node.answer.as_ref().map_err(|_| format!("its source {} could not be asked", node.place))?;
        if let Some(why) = not_comparable(replica).or_else(|| not_comparable(seen)) {
            return Err(why);
        }
        let confirmed = seen.confirmed.as_ref().ok_or_else(|| format!("{} did not answer again", node.place))?;
        theirs = theirs.union(confirmed).map_err(|error: GtidError| error.to_string())?;
    }
    // On MariaDB the state of the binlog names who wrote what, which the joined set no longer does for all.
    let held = own.binlog_state.as_ref().unwrap_or(&own.executed);
    let compared = held.extra_to(&theirs).and_then(|set| Ok((set, held.subtract(&theirs)?)));
    let (set, beyond) = compared.map_err(|error| error.to_string())?;
    let at_least = match &set {
        GtidSet::MySql(set) => set.count(),
        // Certain are the last number of each writer, and every number that the sources do not have at all.
        GtidSet::MariaDb(set) => {
            let last: usize = set.domains().map(|(domain, _)| set.servers(domain).count()).sum();
            beyond.count().max(last as u64)
        }
    };
    Ok(Extra { set, at_least })
}

fn roles(servers: &mut [ServerView]) {
    let feeding: BTreeSet<usize> = servers.iter().flat_map(|server| server.parents.iter().copied()).collect();
    for (at, server) in servers.iter_mut().enumerate().filter(|(_, server)| server.asked) {
        server.role = match (server.channels.is_empty(), feeding.contains(&at)) {
            (true, true) => "primary",
            (true, false) => "alone",
            (false, true) => "relay",
            (false, false) => "replica",
        };
    }
}

fn problems_of(server: &ServerView) -> Vec<String> {
    let mut found = Vec::new();
    for channel in &server.channels {
        let ChannelView { receiver, applier, source, errors, .. } = channel;
        if *receiver != "running" || *applier != "running" {
            let errors = if errors.is_empty() { String::new() } else { format!(" ({})", errors.join("; ")) };
            found.push(format!(
                "{}: replication from {source} is broken: receiver {receiver}, applier {applier}{errors}",
                server.address
            ));
        }
    }
    if let Some(channel) = server.channels.iter().find(|channel| channel.extra.is_some_and(|extra| extra > 0)) {
        found.push(format!(
            "{}: {} errant transactions, which its source never had: {}",
            server.address,
            errant(channel),
            channel.extra_transactions.as_deref().unwrap_or_default()
        ));
    }
    found
}

/// How many transactions of a channel are errant, in words.
pub(super) fn errant(channel: &ChannelView) -> String {
    let at_least = if channel.extra_exact { "" } else { "at least " };
    format!("{at_least}{}", channel.extra.unwrap_or(0))
}

fn unknowns_of(server: &ServerView) -> Vec<String> {
    let mut found: Vec<String> = server.reason.iter().map(|why| format!("{}: {why}", server.address)).collect();
    let hidden = server.attached_unknown.iter();
    found.extend(hidden.map(|why| format!("{}: the replicas attached to it are not known: {why}", server.address)));
    for channel in &server.channels {
        if let Some(why) = &channel.position_unknown {
            found.push(format!("{}: its position is not known: {why}", server.address));
        }
        if channel.lag_seconds.is_none() && channel.receiver == "running" && channel.applier == "running" {
            found.push(format!("{}: its lag behind {} is not known", server.address, channel.source));
        }
    }
    found
}

/// Looks at each replication set: servers that are connected by replication. It has exactly one open server, or a reason.
fn sets(report: &mut Report) {
    let mut set_of: Vec<usize> = (0..report.servers.len()).collect();
    for at in 0..report.servers.len() {
        for parent in report.servers[at].parents.clone() {
            let (from, to) = (set_of[at], set_of[parent]);
            set_of.iter_mut().filter(|set| **set == from).for_each(|set| *set = to);
        }
    }
    for set in set_of.iter().copied().collect::<BTreeSet<_>>() {
        let members: Vec<&ServerView> =
            report.servers.iter().zip(&set_of).filter(|(_, own)| **own == set).map(|(server, _)| server).collect();
        let open: Vec<&str> =
            members.iter().filter(|one| one.open == Some(true)).map(|one| one.address.as_str()).collect();
        if open.len() > 1 {
            report.problems.push(format!("{} servers of one set are open to writes: {}", open.len(), open.join(", ")));
        }
        if open.is_empty() && members.len() > 1 && members.iter().all(|one| one.asked) {
            report.problems.push(format!("no server of the set of {} is open to writes", members[0].address));
        }
    }
}

/// Notes servers that replicate from themselves through others.
fn rings(report: &mut Report) {
    let above: Vec<BTreeSet<usize>> = (0..report.servers.len()).map(|at| above(&report.servers, at)).collect();
    let mut told = BTreeSet::new();
    for at in 0..above.len() {
        if !above[at].contains(&at) || told.contains(&at) {
            continue;
        }
        let ring: Vec<usize> = above[at].iter().copied().filter(|other| above[*other].contains(&at)).collect();
        let names: Vec<&str> = ring.iter().map(|at| report.servers[*at].address.as_str()).collect();
        report.notes.push(format!("these replicate in a ring: {}", names.join(", ")));
        told.extend(ring);
    }
}

/// All servers that `at` replicates from, directly or through others.
fn above(servers: &[ServerView], at: usize) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut waiting = servers[at].parents.clone();
    while let Some(next) = waiting.pop() {
        if found.insert(next) {
            waiting.extend(&servers[next].parents);
        }
    }
    found
}

/// A server's words on one line, without control characters and not without end.
fn plain(text: &str) -> String {
    let words: Vec<&str> = text.split(|char: char| char.is_whitespace() || char.is_control()).collect();
    let line = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests;
