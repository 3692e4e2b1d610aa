//! Servers for tests, as they would answer.

use millrace_mysql::counters::Counters;
use millrace_mysql::settings::Variables;
use millrace_mysql::status::replica::Receiver;
use millrace_mysql::status::source::AttachedReplicas;
use millrace_mysql::status::{Channel, SemiSync, Server, Source, Status};
use millrace_mysql::{Dialect, Flavour, GtidSet, Version};

use super::walk::{Node, Seen};
use crate::cli::login::Place;

/// The `server_uuid` of MySQL's first server in these tests.
const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

pub(super) fn place(host: &str) -> Place {
    Place { host: host.to_owned(), port: 3306 }
}

/// The set of the first `count` transactions of the first server.
pub(super) fn first(count: u64) -> GtidSet {
    GtidSet::parse(Flavour::MySql, &format!("{UUID}:1-{count}")).expect("a set")
}

fn server(id: u32, port: u16, more: &[(&str, &str)]) -> Server {
    let (id, port) = (id.to_string(), port.to_string());
    let base = [
        ("version", "8.4.0"),
        ("server_id", &*id),
        ("hostname", &*id),
        ("port", &*port),
        ("log_bin", "ON"),
        ("gtid_mode", "ON"),
    ];
    let pairs = base.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let dialect = Dialect { flavour: Flavour::MySql, version: Version::new(8, 4, 0) };
    Server::of(dialect, &pairs.collect::<Variables>(), &Counters::default()).expect("nothing needed is missing")
}

fn status(server: Server, channels: Vec<Channel>) -> Status {
    let source = Source {
        executed: first(9),
        binlog_state: None,
        purged: None,
        file: None,
        position: None,
        attached: AttachedReplicas::Known(Vec::new()),
    };
    Status { server, source, semi_sync: SemiSync::default(), channels, counters: Counters::default() }
}

/// An open server that replicates from nobody.
pub(super) fn source(id: u32, port: u16) -> Status {
    status(server(id, port, &[("read_only", "OFF"), ("super_read_only", "OFF")]), Vec::new())
}

/// A closed server that replicates from `host`, and all is well.
pub(super) fn replica(id: u32, port: u16, host: &str, source_port: u16) -> Status {
    let channel = Channel {
        name: String::new(),
        source_host: host.to_owned(),
        source_port,
        source_user: None,
        source_server_id: None,
        source_server_uuid: None,
        receiver: Receiver::Running,
        applier_running: true,
        received: first(9),
        executed: first(9),
        receiver_error: None,
        applier_error: None,
        seconds_behind: Some(0),
        delay_seconds: 0,
        received_position: None,
        applied_position: None,
        relay_position: None,
        relay_bytes: None,
        auto_position: true,
    };
    status(server(id, port, &[("read_only", "ON"), ("super_read_only", "ON")]), vec![channel])
}

pub(super) fn seen(status: Status) -> Seen {
    let confirmed = Some(status.source.executed.clone());
    Seen { status, readers: Vec::new(), confirmed }
}

pub(super) fn node(host: &str, status: Status) -> Node {
    Node { place: place(host), also: Vec::new(), listed_by: None, answer: Ok(Box::new(seen(status))) }
}

/// A primary with ten transactions, a replica with nine, and one that is silent.
pub(super) fn fleet() -> Vec<Node> {
    let mut primary = source(1, 3306);
    primary.source.executed = first(10);
    let silent = Node {
        place: place("c"),
        also: Vec::new(),
        listed_by: Some(place("a")),
        answer: Err("connection refused".to_owned()),
    };
    vec![node("a", primary), node("b", replica(2, 3306, "a", 3306)), silent]
}
