//! A fleet in which nobody is believed without a key: who reaches the brokers and has another key, none, or one that was revoked,
//! can write to the journal and changes nothing by it. With the keys that are enrolled the same fleet fails over.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace::bus::Bus;
use millrace::roles::speaker::now;
use millrace::trust::Trust;
use millrace_collectors::host::boot_us;
use millrace_processors::Fold;
use millrace_processors::failover::Failover;
use millrace_processors::refusals::ALERT;
use millrace_schemas::cluster::{Member, Process};
use millrace_schemas::event::{Event, Subject};
use millrace_schemas::ids::EventId;
use millrace_schemas::marks::Sequence;
use millrace_schemas::record::{NewRecord, Record};
use millrace_schemas::signing::{KEY, SIGNATURE};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::alerts::{Alert, AlertState, Notice};
use millrace_schemas::topics::journal::{Fact, ProcessChanged};
use millrace_test_servers::KafkaOptions;

use super::fleet::{CLUSTER, Fleet};
use super::keys::Keys;
use crate::real::site::PATIENCE;

const ROLES: [&str; 6] = ["p1", "p2", "e1", "a-h1", "a-h2", "a-h3"];
/// 3 s: what is believed of an exit is a decision within a tenth of a second, on a starved machine within one.
const NOTHING_FOR: Duration = Duration::from_secs(3);

/// That the server of `member` was killed and is held down, in the words of its host's agent; the `number`th time.
fn exit(member: &Member, number: u64) -> NewRecord {
    let process = Process::Exited { code: None, signal: Some(9), requested: false, held: true };
    let (host, boot_us) = (member.host.clone(), boot_us());
    Event {
        id: EventId::derive(&["forged", &number.to_string()]),
        source: format!("agent/{}", member.host),
        // Higher than what that agent has said, so that it is news to whoever believes it.
        sequence: Sequence { incarnation: 1_000, counter: number },
        at: now(),
        appended: Timestamp::ZERO,
        subject: Subject::instance(CLUSTER.parse().expect("legal"), member.instance.clone()),
        cause: None,
        payload: Fact::ProcessChanged(ProcessChanged { host, boot_us, process, exited_boot_us: Some(boot_us) }),
    }
    .to_record()
}

/// Says that the primary has exited, signed with the key of `signer`, over a bus that lets it.
pub(super) async fn forge(
    bus: &dyn Bus,
    keys: &Keys,
    primary: &Member,
    signer: Option<&str>,
    number: u64,
) -> NewRecord {
    let mut record = exit(primary, number);
    if let Some(name) = signer {
        let trust = Trust::open(&keys.trust(name), Arc::default()).expect("right");
        trust.signer().expect("a key").sign(&mut record);
    }
    bus.append(vec![record.clone()]).await.expect("it may write the journal");
    record
}

/// All that was alerted of the cluster.
fn alerts(fleet: &Fleet) -> Vec<Alert> {
    let read = |record: &Record| {
        let Notice::Alert(alert) = Event::<Notice>::from_record(record).ok()?.payload;
        Some(alert)
    };
    let of_ours = |record: &&Record| record.key.starts_with(&format!("{CLUSTER}/"));
    fleet.told(Topic::Alerts).iter().filter(of_ours).filter_map(read).collect()
}

/// Whether it was told so that the agent of the primary's host is silent.
fn silent(fleet: &Fleet, state: AlertState) -> Option<()> {
    alerts(fleet).iter().any(|alert| alert.name == "AgentSilent" && alert.state == state).then_some(())
}

/// Looks until `what` is there.
async fn wait_for<T>(fleet: &Fleet, what: &str, look: impl Fn() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "{what}: not within {} s\n{}", PATIENCE.as_secs(), fleet.logs());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Waits until what was forged is in `dead` as it was, refused for `reason`, and alerted for the cluster.
pub(super) async fn refused(fleet: &Fleet, forged: &NewRecord, reason: &str, words: &str) {
    let dead = wait_for(fleet, &format!("what is {reason} is in dead"), || {
        fleet.told(Topic::Dead).into_iter().find(|dead| dead.value == forged.value)
    })
    .await;
    assert_eq!(
        (dead.headers.get(KEY), dead.headers.get(SIGNATURE)),
        (forged.headers.get(KEY), forged.headers.get(SIGNATURE))
    );
    assert_eq!(
        (&*dead.headers["millrace.errors.topic"], &*dead.headers["millrace.errors.stage"]),
        ("journal", "refusals")
    );
    let why = &dead.headers["millrace.errors.message"];
    assert!(why.contains(words), "{reason}: {why}");
    let partition = &dead.headers["millrace.errors.partition"];
    let labels = [("partition", partition.as_str()), ("reason", reason), ("topic", Topic::Journal.name())];
    let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    wait_for(fleet, &format!("what is {reason} is alerted"), || {
        let is_it = |alert: &Alert| alert.name == ALERT && alert.labels == labels;
        alerts(fleet).into_iter().find(|alert| is_it(alert) && alert.state == AlertState::Firing)
    })
    .await;
}

/// What a decider says to the journal up to and with the fact of this id, where it believes everything.
fn believing(fleet: &Fleet, id: EventId) -> Vec<Fact> {
    let journal = fleet.told(Topic::Journal);
    let id_of = |record: &Record| Event::<Fact>::from_record(record).ok().map(|event| event.id);
    let at = journal.iter().find(|record| id_of(record) == Some(id)).expect("it is there");
    let before = journal.iter().filter(|record| record.partition == at.partition && record.offset < at.offset);
    let mut fold = Fold::new(Failover, at.partition);
    for record in before {
        fold.fold(record);
    }
    let out = fold.fold(at).out;
    let values =
        out.iter().filter(|record| record.topic == Topic::Journal).filter_map(|record| record.value.as_deref());
    values.map(|value| Event::<Fact>::from_json(value, true).expect("its own words").payload).collect()
}

/// Checks that nothing was decided since the cluster was made.
pub(super) async fn nothing_follows(fleet: &Fleet, primary: &Member) {
    tokio::time::sleep(NOTHING_FOR).await;
    let kinds: Vec<_> = fleet.actions().iter().map(|action| action.kind.name()).collect();
    assert_eq!(kinds, ["create-cluster"], "what nobody believes decides nothing\n{}", fleet.logs());
    assert_eq!(fleet.primary(None).await, *primary);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_whose_key_is_not_enrolled_or_revoked_changes_nothing() {
    let mut fleet = Fleet::new(&KafkaOptions::default()).await;
    let keys = Keys::give(&mut fleet, &[&ROLES[..], &["operator"]].concat());
    keys.make("a-stranger");
    for role in ROLES {
        fleet.start(role);
    }
    fleet.create();
    let primary = fleet.primary(None).await;
    assert_eq!(primary.host.as_str(), "h1");

    // Whoever can write the journal: without a key, with one of its own, with that of another host.
    let cases = [
        (None, "unsigned", "it is not signed"),
        (Some("a-stranger"), "unknown-key", "is not in the roster"),
        (Some("a-h3"), "not-allowed", "it may not speak as agent/h1"),
    ];
    let bus = fleet.bus();
    for (number, (signer, reason, words)) in (0..).zip(cases) {
        let forged = forge(&*bus, &keys, &primary, signer, number).await;
        refused(&fleet, &forged, reason, words).await;
    }
    nothing_follows(&fleet, &primary).await;
    let believed = believing(&fleet, EventId::derive(&["forged", "0"]));
    assert!(
        believed.iter().any(|fact| matches!(fact, Fact::PermitAsked(_))),
        "a decider that believed it would ask for a failover: {believed:?}"
    );

    // The agent of the primary's host itself, whose key is revoked while it runs: it goes on and is not heard any more.
    keys.revoke("a-h1");
    wait_for(&fleet, "nobody hears the agent", || silent(&fleet, AlertState::Firing)).await;
    let forged = forge(&*bus, &keys, &primary, Some("a-h1"), 3).await;
    refused(&fleet, &forged, "revoked", "was revoked at").await;
    nothing_follows(&fleet, &primary).await;

    // A key of its own again, as after a theft: it is heard, and what it says of its server is believed.
    keys.make("a-h1");
    keys.enrol("a-h1");
    fleet.leave("a-h1");
    fleet.start("a-h1");
    wait_for(&fleet, "the agent is heard again", || silent(&fleet, AlertState::Resolved)).await;
    fleet.kill_server(&primary);
    let next = fleet.primary(Some(&primary)).await;
    fleet.ended("rejoin", 1).await;
    let kinds: Vec<_> = fleet.actions().iter().map(|action| action.kind.name()).collect();
    let done: BTreeSet<_> = kinds.iter().copied().collect();
    assert_eq!((kinds.len(), done), (3, BTreeSet::from(["create-cluster", "fail-over", "rejoin"])));
    println!("exits of {} forged without a key, with a stranger's, another host's, a revoked one:", primary.instance);
    println!("  4 in dead, 4 alerts, 0 failovers; 1 when it was killed, to {}", next.instance);
    fleet.remove().await;
}
