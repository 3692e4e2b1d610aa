//! What nobody believes does nothing: every role runs, and records come past them that are unsigned, forged, changed, said by a
//! key that may not, late, copied, or for somebody else. No step is performed, no action claimed or decided; each is in `dead`
//! as it was, counted, and alerted. Then one that is believed does what it says, so that the others would have.

mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millrace::roles::process::restored;
use millrace::roles::speaker::now;
use millrace_processors::failover::Failover;
use millrace_processors::refusals::ALERT;
use millrace_schemas::cluster::Mode;
use millrace_schemas::event::{Event, Subject};
use millrace_schemas::ids::{Epoch, EventId, fleet};
use millrace_schemas::metrics::{REFUSALS_TOLD, REFUSED, STEPS};
use millrace_schemas::record::{Bytes, NewRecord, Record, partition_of};
use millrace_schemas::signing::{KEY, SIGNATURE, Signer};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::actions::{Action, ActionKind, Check, Order, Step, StepRequest};
use millrace_schemas::topics::alerts::{Notice, fingerprint};
use millrace_schemas::topics::examples;
use millrace_schemas::topics::journal::{Command, Fact};

use world::{World, said, shop, spec};

const MINUTE: Duration = Duration::from_mins(1);

fn signed(mut record: NewRecord, key: &Signer) -> NewRecord {
    key.sign(&mut record);
    record
}

fn create() -> Fact {
    Fact::Command(Command::CreateCluster(Box::new(spec())))
}

fn command(counter: u64, at: Timestamp) -> NewRecord {
    said("operator/ops-0", counter, at, Subject::cluster(shop()), create())
}

fn action(number: u128) -> Order {
    Order::Action(Box::new(Action {
        id: EventId(number),
        cluster: shop(),
        epoch: Epoch(1),
        deadline: now() + MINUTE,
        kind: ActionKind::CreateCluster(Box::new(spec())),
        first_step: 0,
        ..examples::action()
    }))
}

fn step(action: u128, host: &str, deadline: Timestamp) -> NewRecord {
    let request = StepRequest {
        action: EventId(action),
        epoch: Epoch(1),
        number: 0,
        host: host.parse().expect("legal"),
        instance: "db1".parse().expect("legal"),
        deadline,
        step: Step::ReadSets {},
        until: Check::Repeatable,
    };
    let subject = Subject::instance(shop(), request.instance.clone());
    said("executor/e2", action as u64, now(), subject, Order::Step(Box::new(request)))
}

/// Records that must do nothing, each with the reason for which it is refused.
fn smuggled(world: &World) -> Vec<(NewRecord, &'static str)> {
    let keys = &world.keys;
    let mut borrowed = signed(command(2, now()), &keys.stranger);
    borrowed.headers.insert(KEY.to_owned(), keys.operator.id().to_string());
    let mut changed = signed(command(3, now()), &keys.operator);
    let text = String::from_utf8(changed.value.as_deref().expect("a value").to_vec()).expect("text");
    changed.value = Some(Bytes::from(text.replace("33999", "33998").into_bytes()));
    let mut elsewhere = signed(command(4, now()), &keys.operator);
    let text = text.replace("\"subject\":\"shop\"", "\"subject\":\"bank\"");
    (elsewhere.key, elsewhere.partition_key) = ("bank".to_owned(), "bank".to_owned());
    elsewhere.value = Some(Bytes::from(text.into_bytes()));
    let mut moved = signed(step(bad(12), "h1", now() + MINUTE), &keys.executor);
    moved.topic = Topic::Journal;
    let decided = |number: u128| said("failover.2/journal/0", 1, now(), Subject::cluster(shop()), action(number));
    let route = examples::routings().remove(0);
    let mut all = vec![
        (command(0, now()), "unsigned"),
        (signed(command(1, now()), &keys.stranger), "unknown-key"),
        (borrowed, "forged"),
        (changed, "forged"),
        (elsewhere, "forged"),
        (signed(command(5, now()), &keys.agent), "not-allowed"),
        (signed(command(6, Timestamp(now().0 - 3_600_000_000)), &keys.operator), "expired"),
        (decided(bad(7)), "unsigned"),
        (signed(decided(bad(8)), &keys.operator), "not-allowed"),
        (step(bad(9), "h1", now() + MINUTE), "unsigned"),
        (signed(step(bad(10), "h1", now() + MINUTE), &keys.agent), "not-allowed"),
        (signed(step(bad(11), "h1", Timestamp(now().0 - 1_000_000)), &keys.executor), "expired"),
        (moved, "forged"),
        (said("routes.1/journal/0", 1, now(), Subject::cluster(shop()), route), "unsigned"),
    ];
    // Said by the operator, word for word, where the decider of another partition has never heard of shop.
    let partitions = world.bus.partitions(Topic::Journal).expect("there");
    let elsewhere = (0..99).map(|at| format!("c{at}")).find(|other| partition_of(other, partitions) != world.place());
    if let Some(elsewhere) = elsewhere {
        let misplaced = signed(command(7, now()), &keys.operator);
        all.push((NewRecord { partition_key: elsewhere, ..misplaced }, "misplaced"));
    }
    all
}

/// What was done in all: decisions, claims, requests and results, each with the offset where it stands.
fn deeds(world: &World) -> Vec<(u64, String)> {
    let fact = |(offset, event): (u64, Event<Fact>)| {
        let deed = match event.payload {
            Fact::Claimed(claimed) => format!("claimed {}", claimed.action.id),
            Fact::StepDone(result) => format!("done {} {}", result.action, result.number),
            Fact::Ended(ended) => format!("ended {}", ended.action),
            _ => return None,
        };
        Some((offset, deed))
    };
    let order = |(offset, event): (u64, Event<Order>)| {
        let deed = match event.payload {
            Order::Action(action) => format!("decided {}", action.id),
            Order::Step(request) => format!("asked {} {}", request.action, request.number),
        };
        Some((offset, deed))
    };
    let facts = world.events::<Fact>().into_iter().filter_map(fact);
    facts.chain(world.events::<Order>().into_iter().filter_map(order)).collect()
}

/// Waits until an operator's word has led to an attempt that ended, and was stopped: the id of the word.
fn tried_and_stopped(world: &World) -> EventId {
    let word = world.command(Command::CreateCluster(Box::new(spec())));
    world.wait_for("a believed command is carried out", |world| {
        world.events::<Fact>().into_iter().find(|(_, event)| matches!(event.payload, Fact::Ended(_)))
    });
    world.command(Command::SetMode { mode: Mode::Observe });
    let at = world.end(Topic::Journal);
    quiet(world, at);
    word
}

/// Waits until deciders and executor have read the journal to `at` and nothing is under way.
fn quiet(world: &World, at: u64) {
    world.wait_for("nothing is under way", |world| {
        let folds = restored(&world.bus, Failover).expect("readable");
        let state = folds.state(&shop())?;
        let decided = folds.next().get(&world.place()).is_some_and(|next| *next >= at) && state.current.is_none();
        let books = world.bus.load("executor.v1").expect("there");
        let executed = books.iter().any(|book| book.partition == world.place() && book.next >= at);
        (decided && executed).then_some(())
    });
}

#[test]
fn what_nobody_believes_does_nothing_and_is_told() {
    nothing_comes_of_what_nobody_believes(&World::on_a_file());
}

#[test]
fn copies_of_what_was_believed_do_nothing() {
    nothing_comes_of_copies(&World::on_a_file());
}

/// The same where records lie in partitions, and anybody who reaches the broker can write to any of them.
mod real_kafka {
    use super::*;

    #[test]
    fn what_nobody_believes_does_nothing_and_is_told() {
        nothing_comes_of_what_nobody_believes(&World::on_kafka());
    }

    #[test]
    fn copies_of_what_was_believed_do_nothing() {
        nothing_comes_of_copies(&World::on_kafka());
    }
}

fn nothing_comes_of_what_nobody_believes(world: &World) {
    let before: Vec<(NewRecord, &str)> = smuggled(world);
    for (record, _) in &before {
        world.smuggle(record.clone());
    }
    // Believed, and for a host that is not here: its agent would perform it.
    world.smuggle(signed(step(bad(13), "h9", now() + MINUTE), &world.keys.executor));
    let word = tried_and_stopped(world);
    let orders = world.events::<Order>();
    let own: BTreeSet<EventId> = orders
        .iter()
        .filter_map(|(_, event)| match &event.payload {
            Order::Action(action) if action.evidence.contains(&word) => Some(action.id),
            _ => None,
        })
        .collect();
    assert!(!own.is_empty(), "what is believed is decided on");
    // Only what the operator's own word led to was claimed, performed or ended, and decided by the decider.
    let smuggled = |deed: &String| deed.starts_with("asked") || deed.starts_with("decided");
    for (_, deed) in deeds(world) {
        let of_own = own.iter().any(|id| deed.contains(&id.to_string()));
        let of_theirs = (7..=13).any(|number| deed.contains(&EventId(bad(number)).to_string())) && smuggled(&deed);
        assert!(of_own || of_theirs, "{deed}");
    }
    let performed = deeds(world).iter().filter(|(_, deed)| deed.starts_with("done")).count();
    assert!(performed > 0, "what is believed is performed");
    are_told(world, &before);
    let state = restored(&world.bus, Failover).expect("readable");
    let state = state.state(&shop()).expect("declared").clone();
    assert_eq!((state.mode, state.paused), (Some(Mode::Observe), None), "the mode is as the operator set it");
    let bank = restored(&world.bus, Failover).expect("readable");
    assert!(bank.state(&"bank".parse().expect("legal")).is_none());
}

/// The id of a smuggled action.
fn bad(number: u128) -> u128 {
    0xbad0_0000 + number
}

/// Each is in `dead` as it was, counted once, and alerted.
fn are_told(world: &World, refused: &[(NewRecord, &str)]) {
    let dead = world.wait_for("all are in dead", |world| {
        let dead = world.all(Topic::Dead);
        (dead.len() >= refused.len()).then_some(dead)
    });
    assert_eq!(dead.len(), refused.len());
    let mut counts: BTreeMap<(Topic, &str), u64> = BTreeMap::new();
    for (record, reason) in refused {
        *counts.entry((record.topic, reason)).or_default() += 1;
        let is_it = |one: &&Record| {
            let kept = record.headers.iter().all(|(name, value)| one.headers.get(name) == Some(value));
            one.value == record.value && one.key == record.key && kept
        };
        let found = dead.iter().find(is_it).unwrap_or_else(|| panic!("{reason}: {record:?} is not in dead"));
        assert_eq!(found.headers["millrace.errors.topic"], record.topic.name());
        assert_eq!(found.headers.contains_key(SIGNATURE), record.headers.contains_key(SIGNATURE));
    }
    let partitions = world.bus.partitions(Topic::Journal).expect("there");
    let partitions = 0..partitions;
    let is_known = |world: &World, topic: Topic, reason: &str| {
        let alerts = world.events::<Notice>().into_iter().map(|(_, event)| event.payload);
        let names: BTreeSet<EventId> = alerts.map(|Notice::Alert(alert)| alert.fingerprint).collect();
        partitions.clone().any(|at| {
            let labels =
                [("topic", topic.name().to_owned()), ("partition", at.to_string()), ("reason", reason.to_owned())];
            let labels = labels.map(|(name, value)| (name.to_owned(), value)).into();
            names.contains(&fingerprint(&fleet(), ALERT, None, &labels))
        })
    };
    for ((topic, reason), count) in counts {
        let labels = [topic.name(), reason];
        assert_eq!(world.count(&REFUSALS_TOLD, &[labels[0], labels[1], "dead"]), count, "{labels:?}");
        assert!(world.count(&REFUSED, &labels) >= count, "{labels:?}");
        world.wait_for(&format!("an alert for {labels:?}"), |world| is_known(world, topic, reason).then_some(()));
    }
}

/// As a record was read, to be appended again.
fn copy(record: &Record) -> NewRecord {
    NewRecord {
        topic: record.topic,
        partition_key: shop().to_string(),
        key: record.key.clone(),
        headers: record.headers.clone(),
        value: record.value.clone(),
    }
}

fn nothing_comes_of_copies(world: &World) {
    tried_and_stopped(world);
    let is_deed = |record: &&Record| match Event::<Fact>::from_record(record).map(|event| event.payload) {
        Ok(Fact::Command(_) | Fact::Claimed(_) | Fact::StepDone(_) | Fact::Ended(_)) => true,
        _ => record.topic == Topic::Actions,
    };
    let journal = world.all(Topic::Journal);
    let actions = world.all(Topic::Actions);
    let steps = world.events::<Order>().iter().filter(|(_, event)| matches!(event.payload, Order::Step(_))).count();
    let originals: Vec<Record> = journal.iter().filter(is_deed).chain(&actions).cloned().collect();
    assert!(steps > 0 && originals.len() > 5, "there is something to copy: {} records", originals.len());
    let before = deeds(world).len();
    let copied = originals.iter().filter(|record| !matches!(Event::<Fact>::from_record(record), Ok(event) if matches!(event.payload, Fact::Command(_)))).count();
    for record in &originals {
        world.smuggle(copy(record));
    }
    world.command(Command::SetMode { mode: Mode::Observe });
    quiet(world, world.end(Topic::Journal));
    world.wait_for("the agent has seen the copies", |world| {
        (world.count(&STEPS, &["create-instance", "repeated"]) == steps as u64).then_some(())
    });
    world.wait_for("the copies are told of", |world| {
        let told = |topic| world.count(&REFUSALS_TOLD, &[topic, "replayed", "dead"]);
        let decided = actions.len() - steps; // hot deciders say the same twice, so that is no sign of a copy
        (told("journal") + told("actions") == (originals.len() - decided) as u64).then_some(())
    });
    assert_eq!(deeds(world).len(), before + copied, "nothing but the copies came to it");
    let state = restored(&world.bus, Failover).expect("readable");
    assert_eq!(state.state(&shop()).expect("declared").mode, Some(Mode::Observe));
}
