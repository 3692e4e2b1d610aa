//! One sample of every kind that every topic carries: for the golden files, the documentation and tests.
//! Adding a kind without a sample fails a test.

mod batches;

use std::time::Duration;

use super::actions::{
    Action, ActionKind, Check, CreateInstance, Excluded, ExtraTransaction, FailOver, Order, Rejoin, Report, Step,
    StepOutcome, StepRequest, StepResult,
};
use super::alerts::{
    Alert, AlertState, Finding, Hidden, Notice, Severity, Silence, Told, Unusual, UnusualDay, Word, fingerprint,
};
use super::digests::{DigestEntry, Entry};
use super::inventory::{Counting, Host, Instance, Item};
use super::journal::{
    Canary, Claimed, Command, Ended, Fact, Gap, Heartbeat, Load, Outcome, PermitAnswered, PermitAsked, PermitReturned,
    ProcessChanged, Receiver, Renewed, SemiSync, ServerState,
};
use super::queries::{Row, Source};
use super::routes::{Route, Routing};
use super::samples::{Sample, Taken};
use super::slow_queries::{Slow, SlowQuery};
use super::windows::Window;
use crate::cluster::{ClusterSpec, Member, Mode, Process};
use crate::flavour::Flavour;
use crate::gtid::GtidSet;
use crate::ids::{ClusterId, DigestId, Epoch, EventId, HostId, InstanceId};
use crate::sketch::Sketch;
use crate::time::Timestamp;

pub use batches::{counted, row, window, windowed};

const AT: Timestamp = Timestamp(1_700_000_000_000_000);
const WINDOW: Duration = Duration::from_secs(10);

fn host(text: &str) -> HostId {
    HostId::parse(text).expect("a legal id")
}

fn instance(text: &str) -> InstanceId {
    InstanceId::parse(text).expect("a legal id")
}

fn gtids(text: &str) -> GtidSet {
    GtidSet::parse(Flavour::MariaDb, text).expect("a legal set")
}

/// A cluster of three: `db1` (primary), `db2`, `db3`, on hosts `h1` to `h3`.
pub fn spec() -> ClusterSpec {
    let member = |number: u16| Member {
        instance: instance(&format!("db{number}")),
        host: host(&format!("h{number}")),
        address: "127.0.0.1".to_owned(),
        port: 33_060 + number,
    };
    ClusterSpec {
        name: "shop".to_owned(),
        flavour: Flavour::MariaDb,
        members: vec![member(1), member(2), member(3)],
        primary: instance("db1"),
        acknowledgers: vec![instance("db1"), instance("db2"), instance("db3")],
        acknowledgements: 1,
        mode: Mode::Auto,
        template: Some("mariadb-10.11".to_owned()),
    }
}

/// A fail-over of [`spec`] from `db1`.
pub fn action() -> Action {
    Action {
        id: EventId::derive(&["sample action"]),
        cluster: ClusterId::parse("c1").expect("a legal id"),
        epoch: Epoch(2),
        deadline: Timestamp(AT.0 + 30_000_000),
        reason: "db1 exited on signal 9 and is held down".to_owned(),
        policy: "failover.1".to_owned(),
        evidence: vec![EventId::derive(&["sample fact"])],
        first_step: 0,
        kind: ActionKind::FailOver(Box::new(FailOver {
            spec: spec(),
            old_primaries: vec![instance("db1")],
            silent: vec![instance("db3")],
            candidates: vec![instance("db2")],
            excluded: vec![Excluded { instance: instance("db3"), reason: "its agent is silent".to_owned() }],
            restarted: vec![],
        })),
    }
}

fn heartbeat() -> Heartbeat {
    Heartbeat {
        host: host("h2"),
        boot_us: 1_234_567_890,
        process: Process::Running { pid: 4711 },
        promised: Epoch(1),
        server: Some(ServerState {
            flavour: Flavour::MariaDb,
            version: "10.11.19-MariaDB".to_owned(),
            server_id: 2,
            open: false,
            executed: Some(gtids("0-1-100")),
            receiver: Some(Receiver {
                channel: String::new(),
                source: "127.0.0.1:33061".to_owned(),
                receiving: true,
                applying: true,
                error: None,
                delay_us: Some(1_200),
            }),
            stopped_channel: None,
            semi_sync: SemiSync { replica_enabled: true, ..SemiSync::default() },
            queries_per_second: Some(12.5),
            threads_running: 2,
            connections: 5,
            host_load: Some(0.42),
        }),
        server_error: None,
        canary: Canary::Off,
    }
}

fn result() -> StepResult {
    StepResult {
        action: action().id,
        epoch: Epoch(2),
        number: 1,
        instance: instance("db2"),
        step: "stop-receiver".to_owned(),
        outcome: StepOutcome::Done(Box::new(Report {
            received: Some(gtids("0-1-100")),
            transactions: vec![ExtraTransaction {
                gtid: "0-1-101".to_owned(),
                tables: vec!["millrace.heartbeat".to_owned()],
            }],
            ..Report::default()
        })),
        took_us: 12_000,
    }
}

/// Every kind of `journal`.
pub fn facts() -> Vec<Fact> {
    let action = action();
    let (permit, cluster) = (EventId::derive(&["sample permit"]), action.cluster.clone());
    let process = Process::Exited { code: None, signal: Some(9), requested: false, held: true };
    vec![
        Fact::Heartbeat(Box::new(heartbeat())),
        Fact::ProcessChanged(ProcessChanged {
            host: host("h1"),
            boot_us: 1_234_567_900,
            process,
            exited_boot_us: Some(1_234_564_100),
        }),
        Fact::Gap(Gap { host: host("h1"), from_boot_us: 1_000_000, to_boot_us: 61_000_000 }),
        Fact::Command(Command::CreateCluster(Box::new(spec()))),
        Fact::Command(Command::Enrol(Box::new(spec()))),
        Fact::Command(Command::SetMode { mode: Mode::Approve }),
        Fact::Command(Command::Approve { epoch: Epoch(2) }),
        Fact::Renewed(Renewed { action: action.id, executor: "executor/h1".to_owned() }),
        Fact::StepDone(Box::new(result())),
        Fact::Ended(Ended { action: action.id, epoch: Epoch(2), outcome: Outcome::Done { primary: instance("db2") } }),
        Fact::Claimed(Claimed { action: Box::new(action), executor: "executor/h1".to_owned() }),
        Fact::PermitAsked(PermitAsked {
            permit,
            cluster: cluster.clone(),
            epoch: Epoch(2),
            reason: "db1 exited on signal 9 and is held down".to_owned(),
        }),
        Fact::PermitAnswered(PermitAnswered {
            permit,
            epoch: Epoch(2),
            granted: false,
            reason: "3 automatic failovers in 10 minutes already, of c2, c3, c4".to_owned(),
            until: Timestamp(AT.0 + 600_000_000),
        }),
        Fact::PermitReturned(PermitReturned { permit, cluster, reason: "db1 is open and answers".to_owned() }),
        Fact::Load(Load { start: AT, width_seconds: 10, statements: 5_000, errors: 2, p50_us: 210, p99_us: 4_000 }),
        Fact::Finding(Box::new(finding())),
        Fact::Unusual(Box::new(Unusual { finding: unusual(), windows: vec![AT, AT + WINDOW] })),
        Fact::UnusualDay(Box::new(UnusualDay {
            cluster: ClusterId::parse("c1").expect("a legal id"),
            until: AT,
            count: 3,
            findings: vec![unusual()],
        })),
        Fact::Tick {},
    ]
    .into_iter()
    .chain(words().map(Fact::AlertWord))
    .collect()
}

/// Every kind of `actions`, and every kind of action and step.
pub fn orders() -> Vec<Order> {
    let fail_over = action();
    let with = |kind| Order::Action(Box::new(Action { kind, ..action() }));
    let rejoin = Rejoin { spec: spec(), instance: instance("db1"), primary: instance("db2") };
    let mut orders = vec![
        Order::Action(Box::new(fail_over.clone())),
        with(ActionKind::CreateCluster(Box::new(spec()))),
        with(ActionKind::Rejoin(Box::new(rejoin))),
    ];
    orders.extend(steps().into_iter().enumerate().map(|(number, step)| {
        let until: Check = step.until();
        Order::Step(Box::new(StepRequest {
            action: fail_over.id,
            epoch: Epoch(2),
            number: number as u32,
            host: host("h2"),
            instance: instance("db2"),
            deadline: Timestamp(AT.0 + 5_000_000),
            step,
            until,
        }))
    }));
    orders
}

fn steps() -> Vec<Step> {
    let spec = spec();
    vec![
        Step::CreateInstance(Box::new(CreateInstance {
            cluster: ClusterId::parse("c1").expect("a legal id"),
            member: spec.members[0].clone(),
            flavour: Flavour::MariaDb,
            template: "mariadb-10.11".to_owned(),
            server_id: 1,
            acknowledger: true,
        })),
        Step::StartClosed { keep: Some(gtids("0-1-100")) },
        Step::Follow { source: spec.members[0].clone() },
        Step::Open { acknowledgements: 1 },
        Step::Fence {},
        Step::StopReceiver {},
        Step::Promote { apply: gtids("0-1-100"), acknowledgements: 1 },
        Step::Quarantine {},
        Step::ReadSets {},
        Step::NameExtra { extra: gtids("0-1-101") },
        Step::Neutralise { extra: gtids("0-1-101") },
        Step::CatchUp { executed: gtids("0-1-101") },
    ]
}

fn finding() -> Finding {
    let labels = [("mountpoint".to_owned(), "/var/lib/mysql".to_owned())].into();
    let (cluster, about) = (ClusterId::parse("c1").expect("a legal id"), instance("db1"));
    Finding {
        fingerprint: fingerprint(&cluster, "DiskFullSoon", Some(&about), &labels),
        rule: "DiskFullSoon".to_owned(),
        instance: Some(about),
        labels,
        severity: Severity::Warning,
        state: AlertState::Firing,
        since: AT,
        summary: "/var/lib/mysql of db1 is full in 5.5 hours if it goes on".to_owned(),
        value: Some(5.5),
        notifies: true,
    }
}

fn unusual() -> Finding {
    let labels = [("of".to_owned(), "statements".to_owned()), ("table".to_owned(), "orders".to_owned())].into();
    let (cluster, about) = (ClusterId::parse("c1").expect("a legal id"), instance("db1"));
    Finding {
        fingerprint: fingerprint(&cluster, "Anomaly", Some(&about), &labels),
        rule: "Anomaly".to_owned(),
        labels,
        severity: Severity::Info,
        summary: "statements on orders of db1 take 2.1 times as long since 22:13:20".to_owned(),
        value: Some(2.1),
        notifies: false,
        ..finding()
    }
}

/// Every kind of word about alerts.
fn words() -> [Word; 4] {
    let id = EventId::derive(&["sample silence"]);
    let silence = Silence {
        id,
        rule: Some("LagHigh".to_owned()),
        instance: Some(instance("db2")),
        from: AT,
        until: Timestamp(AT.0 + 3_600_000_000),
        by: "ada".to_owned(),
        reason: "the nightly load".to_owned(),
    };
    [
        Word::Silence(silence),
        Word::Unsilence { silence: id },
        Word::Acknowledge { fingerprint: finding().fingerprint, by: "ada".to_owned() },
        Word::Test {
            rule: "LagHigh".to_owned(),
            instance: Some(instance("db2")),
            severity: Severity::Warning,
            until: Timestamp(AT.0 + 60_000_000),
            by: "ada".to_owned(),
        },
    ]
}

/// Every kind of `alerts`.
pub fn notices() -> Vec<Notice> {
    vec![Notice::Alert(Alert {
        fingerprint: EventId::derive(&["sample alert"]),
        name: "PrimaryDown".to_owned(),
        instance: Some(instance("db1")),
        labels: [].into(),
        severity: Severity::Critical,
        severity_before: None,
        state: AlertState::Firing,
        starts_at: AT,
        ends_at: None,
        summary: "db1, the primary of shop, exited on signal 9".to_owned(),
        runbook: "docs/alerts.md#primarydown".to_owned(),
        value: None,
        told: Some(Told::Began),
        quiet: None,
        hides: vec![Hidden { rule: "LagHigh".to_owned(), instance: Some(instance("db2")) }],
        acknowledged_by: None,
    })]
}

/// Every kind of `routes`.
pub fn routings() -> Vec<Routing> {
    let spec = spec();
    vec![Routing::Route(Route {
        name: spec.name,
        epoch: Epoch(2),
        primary: Some(spec.members[1].clone()),
        replicas: vec![spec.members[2].clone()],
    })]
}

/// Every kind of `inventory`.
pub fn items() -> Vec<Item> {
    vec![
        Item::Host(Host {
            host: host("h1"),
            agent_version: "0.1.0".to_owned(),
            cores: 2,
            memory_bytes: 1 << 34,
            kernel: "6.1.0".to_owned(),
        }),
        Item::Instance(Instance {
            instance: instance("db1"),
            host: host("h1"),
            endpoint: "127.0.0.1:33061".to_owned(),
            flavour: Flavour::MariaDb,
            version: "10.11.19-MariaDB".to_owned(),
            guarded: true,
            counting: Some(Counting { source: Source::Wire, unseen_percent: Some(12) }),
        }),
    ]
}

/// Every kind of `digests`.
pub fn entries() -> Vec<Entry> {
    vec![Entry::Digest(DigestEntry {
        digest: DigestId([7; 16]),
        text: "SELECT * FROM `t` WHERE `id` = ?".to_owned(),
        kind: "select".to_owned(),
        tables: vec!["t".to_owned()],
        truncated: false,
        first_seen: AT,
        parsed: false,
    })]
}

/// Every kind of `slow-queries`.
pub fn slow() -> Vec<Slow> {
    vec![Slow::Query(SlowQuery {
        ts: AT,
        user: "app".to_owned(),
        host: "127.0.0.1".to_owned(),
        schema: "shop".to_owned(),
        query_time_us: 1_200_000,
        lock_time_us: 12,
        rows_sent: 1,
        rows_examined: 100_000,
        digest: DigestId([7; 16]),
        sql: "SELECT * FROM t WHERE id = ?".to_owned(),
        sql_bytes: 28,
        suppressed: 0,
        error: Some(1317),
        sample_factor: 5,
    })]
}

/// Numbers of each kind: of the server, with a label and without, of its host and of its replication.
pub fn taken() -> Vec<Taken> {
    let values = [
        ("millrace_host_cpu_seconds_total{mode=\"idle\"}", 81_234.5),
        ("mysql_global_status_commands_total{command=\"select\"}", 4_711.0),
        ("mysql_global_status_questions", 9_001.0),
        ("mysql_global_variables_max_connections", 151.0),
        ("mysql_slave_status_slave_io_running{channel_name=\"\",connection_name=\"\"}", 1.0),
    ];
    let values = values.map(|(series, value)| (series.to_owned(), value)).into();
    vec![Taken::Sample(Sample { host: host("h2"), taken: AT, values, left_out: 0 })]
}

/// Rows of `queries`: one of the wire, and one of the server's own table, which knows other things.
pub fn rows() -> Vec<Row> {
    let mut rt_last = Sketch::new();
    rt_last.add_n(250, 3);
    let wire = Row {
        second: AT.0 / 1_000_000,
        instance: instance("db1"),
        schema: "shop".to_owned(),
        user: "app".to_owned(),
        digest: DigestId([7; 16]),
        source: Source::Wire,
        sample_factor: 1,
        count: 3,
        errors: 1,
        rows_sent: 2,
        rows_affected: 4,
        rows_examined: None,
        lock_us: None,
        bytes_in: 120,
        bytes_out: 360,
        rt_sum_us: 750,
        rt_min_us: 240,
        rt_max_us: 260,
        rt_first: Sketch::new(),
        rt_last,
        folded: 0,
        killed: Some(0),
        timed_out: Some(1),
    };
    let server = Row {
        digest: DigestId::OTHER,
        rows_examined: Some(9),
        lock_us: Some(5),
        folded: 12,
        killed: None,
        timed_out: None,
        ..wire.clone()
    };
    vec![wire, server]
}

/// Rows of `windows`: an open one and one that is closed.
pub fn windows() -> Vec<Window> {
    let window = |row, closed| Window { width_seconds: 10, revision: 3, closed, row };
    rows().into_iter().zip([false, true]).map(|(row, closed)| window(row, closed)).collect()
}
