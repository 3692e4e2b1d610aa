//! What a signature holds, and who may say what. Every record here is first believed, so that what is refused after is refused
//! for the change that was made.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::event::{Event, Payload, Subject};
use crate::ids::{ClusterId, Epoch, EventId, InstanceId};
use crate::marks::Sequence;
use crate::record::{Bytes, Record};
use crate::time::Timestamp;
use crate::topics::actions::{Check, Order, Step, StepOutcome, StepRequest};
use crate::topics::examples;
use crate::topics::journal::{Claimed, Command, Fact, ProcessChanged, Renewed};

const NOW: Timestamp = Timestamp(1_700_000_000_000_000);

fn key(seed: u8) -> Signer {
    Signer::from_seed(&[seed; 32])
}

const AGENT: u8 = 1;
const PROCESS: u8 = 2;
const EXECUTE: u8 = 3;
const OPERATOR: u8 = 4;
const STRANGER: u8 = 9;

fn entry(seed: u8, role: Role, host: Option<&str>, name: Option<&str>, about: &str) -> Entry {
    Entry {
        public: key(seed).public(),
        roles: [role].into(),
        hosts: host.map(|host| host.parse().expect("legal")).into_iter().collect(),
        names: name.map(str::to_owned).into_iter().collect(),
        about: vec![about.parse().expect("legal")],
        revoked: None,
    }
}

fn roster() -> Roster {
    let mut roster = Roster::default();
    for entry in [
        entry(AGENT, Role::Agent, Some("h1"), None, "shop/db1"),
        entry(PROCESS, Role::Process, None, Some("p1"), "*"),
        entry(EXECUTE, Role::Execute, None, Some("e1"), "*"),
        entry(OPERATOR, Role::Operator, None, Some("ops-1000"), "shop/*"),
    ] {
        roster.enrol(entry).expect("right");
    }
    roster
}

fn shop() -> ClusterId {
    ClusterId::parse("shop").expect("legal")
}

fn about(instance: Option<&str>) -> Subject {
    Subject { cluster: shop(), instance: instance.map(|one| InstanceId::parse(one).expect("legal")) }
}

fn event<P: Payload>(source: &str, subject: Subject, payload: P) -> Event<P> {
    Event {
        id: EventId::derive(&["signing", source]),
        source: source.to_owned(),
        sequence: Sequence { incarnation: 1, counter: 0 },
        at: NOW,
        appended: Timestamp::ZERO,
        subject,
        cause: None,
        payload,
    }
}

fn landed(record: NewRecord) -> Record {
    record.stored(0, 7, NOW)
}

fn said<P: Payload>(seed: u8, source: &str, subject: Subject, payload: P) -> Record {
    let mut record = event(source, subject, payload).to_record();
    key(seed).sign(&mut record);
    landed(record)
}

fn changed(host: &str) -> Fact {
    let process = crate::cluster::Process::Running { pid: 7 };
    let host = host.parse().expect("legal");
    Fact::ProcessChanged(ProcessChanged { host, boot_us: 1, process, exited_boot_us: None })
}

fn request() -> StepRequest {
    StepRequest {
        action: EventId(1),
        epoch: Epoch(1),
        number: 0,
        host: "h1".parse().expect("legal"),
        instance: "db1".parse().expect("legal"),
        deadline: NOW + Duration::from_secs(10),
        step: Step::Fence {},
        until: Check::IsFenced,
    }
}

fn check(record: &Record, expected: Option<&str>) {
    let judged = roster().judge(record).err();
    assert_eq!(judged.as_ref().map(Refusal::reason), expected, "{record:?}\n{judged:?}");
}

#[test]
fn each_role_says_its_own_and_nothing_else() {
    let db1 = || about(Some("db1"));
    let mode = || Fact::Command(Command::SetMode { mode: crate::cluster::Mode::Auto });
    let enrol = || Fact::Command(Command::Enrol(Box::new(examples::spec())));
    let allowed = |seed, source, subject, fact: Fact| check(&said(seed, source, subject, fact), None);
    let barred = |seed, source, subject, fact: Fact| check(&said(seed, source, subject, fact), Some("not-allowed"));
    allowed(AGENT, "agent/h1", db1(), changed("h1"));
    barred(AGENT, "agent/h1", db1(), changed("h2")); // another host in the payload
    barred(AGENT, "agent/h2", db1(), changed("h2")); // another host altogether
    barred(AGENT, "agent/h1", about(Some("db2")), changed("h1")); // another instance
    barred(AGENT, "agent/h1", about(None), changed("h1")); // the cluster as a whole
    barred(AGENT, "operator/ops-1000", db1(), mode());
    barred(AGENT, "agent/h1", db1(), mode());
    barred(AGENT, "ticker/p1", db1(), Fact::Tick {});
    allowed(OPERATOR, "operator/ops-1000", about(None), mode());
    barred(OPERATOR, "operator/other", about(None), mode());
    barred(OPERATOR, "operator/ops-1000", Subject::cluster(ClusterId::parse("bank").expect("legal")), mode());
    barred(OPERATOR, "agent/h1", db1(), changed("h1"));
    allowed(PROCESS, "ticker/p1", about(None), Fact::Tick {});
    barred(PROCESS, "ticker/p2", about(None), Fact::Tick {});
    allowed(PROCESS, "operator/config", about(None), enrol());
    barred(PROCESS, "operator/config", about(None), mode());
    barred(PROCESS, "operator/ops-1000", about(None), mode());
    let renewed = |executor: &str| Fact::Renewed(Renewed { action: EventId(1), executor: executor.to_owned() });
    allowed(EXECUTE, "executor/e1", about(None), renewed("executor/e1"));
    barred(EXECUTE, "executor/e1", about(None), renewed("executor/e2"));
    barred(EXECUTE, "executor/e2", about(None), renewed("executor/e2"));
    barred(PROCESS, "executor/e1", about(None), renewed("executor/e1"));
}

#[test]
fn a_step_is_answered_by_its_host_and_timed_out_by_its_executor() {
    let result = |outcome: StepOutcome| Fact::StepDone(Box::new(request().result(outcome, 1)));
    let done = || result(StepOutcome::Done(Box::default()));
    check(&said(AGENT, "agent/h1", about(Some("db1")), done()), None);
    check(&said(AGENT, "agent/h1", about(Some("db2")), done()), Some("not-allowed"));
    check(&said(EXECUTE, "executor/e1", about(None), result(StepOutcome::TimedOut {})), None);
    check(&said(EXECUTE, "executor/e1", about(None), done()), Some("not-allowed"));
    let other = StepRequest { instance: "db2".parse().expect("legal"), ..request() };
    let other = Fact::StepDone(Box::new(other.result(StepOutcome::TimedOut {}, 1)));
    check(&said(AGENT, "agent/h1", about(Some("db1")), other), Some("not-allowed"));
}

#[test]
fn actions_are_decided_by_processors_and_steps_asked_by_executors() {
    let action = examples::orders().into_iter().find_map(|order| match order {
        Order::Action(action) => Some(action),
        Order::Step(_) => None,
    });
    let action = action.expect("a sample");
    let of = Subject::cluster(action.cluster.clone());
    let order = || Order::Action(action.clone());
    check(&said(PROCESS, "failover.2/journal/0", of.clone(), order()), None);
    check(&said(PROCESS, "windows.1/queries/0", of.clone(), order()), Some("not-allowed"));
    check(&said(EXECUTE, "failover.2/journal/0", of.clone(), order()), Some("not-allowed"));
    let elsewhere = Subject::cluster(ClusterId::parse("elsewhere").expect("legal"));
    check(&said(PROCESS, "failover.2/journal/0", elsewhere.clone(), order()), Some("not-allowed"));
    let claimed = || Fact::Claimed(Claimed { action: action.clone(), executor: "executor/e1".to_owned() });
    check(&said(EXECUTE, "executor/e1", of, claimed()), None);
    check(&said(EXECUTE, "executor/e1", elsewhere, claimed()), Some("not-allowed"));
    let step = |instance| said(EXECUTE, "executor/e1", about(Some(instance)), Order::Step(Box::new(request())));
    check(&step("db1"), None);
    check(&step("db2"), Some("not-allowed"));
    check(&said(PROCESS, "executor/e1", about(Some("db1")), Order::Step(Box::new(request()))), Some("not-allowed"));
}

#[test]
fn commands_and_steps_are_good_for_a_time() {
    let mode = Fact::Command(Command::SetMode { mode: crate::cluster::Mode::Auto });
    let at = |mut record: Record, appended: Timestamp, expected| {
        record.appended = appended;
        check(&record, expected);
    };
    let second = Duration::from_secs(1);
    let minutes = Duration::from_mins(5);
    let command = || said(OPERATOR, "operator/ops-1000", about(None), mode.clone());
    at(command(), NOW + minutes, None);
    at(command(), NOW + minutes + second, Some("expired"));
    at(command(), NOW - minutes, None);
    at(command(), NOW - minutes - second, Some("ahead"));
    let step = || said(EXECUTE, "executor/e1", about(Some("db1")), Order::Step(Box::new(request())));
    at(step(), NOW + second * 10, None);
    at(step(), NOW + second * 11, Some("expired"));
    // What an agent saw is judged by its own clock of lateness, not here.
    at(said(AGENT, "agent/h1", about(Some("db1")), changed("h1")), NOW + Duration::from_hours(9), None);
}

#[test]
fn a_key_that_is_revoked_is_refused_from_then_on() {
    let mut roster = Roster::default();
    let at = NOW + Duration::from_mins(1);
    roster.enrol(Entry { revoked: Some(at), ..entry(AGENT, Role::Agent, Some("h1"), None, "shop/*") }).expect("right");
    let mut record = said(AGENT, "agent/h1", about(Some("db1")), changed("h1"));
    assert_eq!(roster.judge(&record), Ok(()), "what it said before stays said");
    record.appended = at;
    assert_eq!(roster.judge(&record).expect_err("revoked").reason(), "revoked");
}

#[test]
fn what_was_said_before_anybody_had_a_key_is_believed() {
    let record = landed(event("agent/h1", about(Some("db1")), changed("h1")).to_record());
    let check = |since: Option<Timestamp>, expected: bool| {
        let mut roster = roster();
        roster.since = since;
        assert_eq!(roster.judge(&record).is_ok(), expected, "{since:?}");
    };
    check(None, false);
    check(Some(NOW), false);
    check(Some(NOW + Duration::from_micros(1)), true);
}

#[test]
fn who_is_not_known_is_not_believed() {
    let event = event("agent/h1", about(Some("db1")), changed("h1"));
    check(&landed(event.to_record()), Some("unsigned"));
    let mut record = said(STRANGER, "agent/h1", about(Some("db1")), changed("h1"));
    check(&record, Some("unknown-key"));
    record.headers.insert(KEY.to_owned(), key(AGENT).id().to_string());
    check(&record, Some("forged"));
    record.headers.insert(SIGNATURE.to_owned(), "no base64 at all".to_owned());
    check(&record, Some("forged"));
    record.headers.insert(KEY.to_owned(), "\u{1b}[31m".repeat(1_000));
    let refused = roster().judge(&record).expect_err("nobody's").to_string();
    assert!(refused.len() < 100 && !refused.contains('\u{1b}'), "{refused}");
}

#[test]
fn a_kind_of_a_newer_version_is_believed_of_who_may_speak_there() {
    let unknown = |seed: u8, source: &str, subject: &str, key_of: &str| {
        let value = event(source, about(Some("db1")), changed("h1"))
            .to_json()
            .replace("process-changed.v1", "moon-phase.v7")
            .replace("\"shop/db1\"", &format!("\"{subject}\""));
        let mut record = event(source, about(None), Fact::Tick {}).to_record();
        record.headers.insert(EVIDENCE.to_owned(), "true".to_owned());
        (record.key, record.value) = (key_of.to_owned(), Some(Bytes::from(value.into_bytes())));
        key(seed).sign(&mut record);
        landed(record)
    };
    check(&unknown(AGENT, "agent/h1", "shop/db1", "shop"), None);
    check(&unknown(AGENT, "agent/h1", "shop/db2", "shop"), Some("not-allowed"));
    check(&unknown(AGENT, "agent/h1", "shop/db1", "bank"), Some("not-allowed")); // readers would pause bank
    check(&unknown(AGENT, "failover.9/journal/0", "shop/db1", "shop"), Some("not-allowed"));
    check(&unknown(PROCESS, "failover.9/journal/0", "shop", "shop"), None);
    check(&unknown(EXECUTE, "executor/e1", "shop", "shop"), None);
}

#[test]
fn nothing_is_taken_back_and_what_is_no_event_is_for_its_reader_to_bury() {
    let mut record = event("agent/h1", about(Some("db1")), changed("h1")).to_record();
    record.value = None;
    key(AGENT).sign(&mut record);
    check(&landed(record.clone()), Some("not-allowed"));
    record.headers.clear();
    record.value = Some(Bytes::from(&b"{}"[..]));
    key(AGENT).sign(&mut record);
    check(&landed(record), None);
}

#[test]
fn what_is_signed_already_keeps_its_signature_and_data_gets_none() {
    let mut record = event("agent/h1", about(Some("db1")), changed("h1")).to_record();
    key(AGENT).sign(&mut record);
    let once = record.clone();
    key(PROCESS).sign(&mut record);
    assert_eq!(record, once);
    let mut data = NewRecord { topic: Topic::Queries, ..record };
    data.headers.clear();
    key(AGENT).sign(&mut data);
    assert!(data.headers.is_empty());
    check(&landed(data), None);
}

#[test]
fn a_roster_takes_only_entries_that_can_be_used() {
    let check = |entry: Entry, expected: &str| {
        let error = Roster::default().enrol(entry).expect_err("wrong");
        assert!(error.contains(expected), "{expected}: {error}");
    };
    check(entry(1, Role::Agent, None, None, "*"), "names the hosts");
    check(entry(1, Role::Process, Some("h1"), Some("p"), "*"), "names the hosts");
    check(entry(1, Role::Operator, None, None, "*"), "names that they speak under");
    check(Entry { about: Vec::new(), ..entry(1, Role::Agent, Some("h1"), None, "*") }, "about nothing");
    check(Entry { roles: [].into(), ..entry(1, Role::Agent, Some("h1"), None, "*") }, "no role");
    let mut twice = roster();
    assert!(twice.enrol(entry(AGENT, Role::Agent, Some("h9"), None, "*")).expect_err("there").contains("already"));
}

#[test]
fn texts_are_read_as_they_are_written() {
    let check = |text: &str, right: bool| {
        let read = text.parse::<About>();
        assert_eq!(read.as_ref().is_ok_and(|about| about.to_string() == text), right, "{text}: {read:?}");
    };
    check("*", true);
    check("shop/*", true);
    check("shop/db1", true);
    check("shop", false);
    check("*/db1", false);
    check("Shop/db1", false);
    let public = key(1).public();
    assert_eq!(public.to_string().parse(), Ok(public));
    assert!("c2hvcnQ=".parse::<PublicKey>().is_err());
    assert_eq!(public.id().as_str().len(), 16);
    assert!(!format!("{:?}", key(1)).contains("[1, 1"), "the private key is not shown");
}

proptest! {
    /// Whatever bit is changed of what a reader acts on, the record is not believed.
    #[test]
    fn any_flipped_bit_is_refused(at in 0_usize..4_096, bit in 0_u8..8, part in 0_usize..5) {
        let whole = said(AGENT, "agent/h1", about(Some("db1")), changed("h1"));
        prop_assert_eq!(roster().judge(&whole), Ok(()));
        let mut record = whole.clone();
        let flip = |text: &str| {
            let mut bytes = text.as_bytes().to_vec();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            String::from_utf8_lossy(&bytes).into_owned()
        };
        match part {
            0 => {
                let mut value = whole.value.as_deref().expect("a value").to_vec();
                let at = at % value.len();
                value[at] ^= 1 << bit;
                record.value = Some(Bytes::from(value));
            }
            1 => record.key = flip(&whole.key),
            2 => record.topic = [Topic::Actions, Topic::Alerts, Topic::Routes][at % 3],
            3 => drop(record.headers.insert(SIGNATURE.to_owned(), flip(&whole.headers[SIGNATURE]))),
            _ => drop(record.headers.insert(EVIDENCE.to_owned(), flip(&whole.headers[EVIDENCE]))),
        }
        let mut verified = Verified::default();
        prop_assert_eq!(roster().judge_again(&whole, &mut verified), Ok(()));
        for judged in [roster().judge(&record), roster().judge_again(&record, &mut verified)] {
            prop_assert_eq!(judged.expect_err("changed").reason(), "forged");
        }
    }

    /// No two records give the same bytes: neither value nor key can reach into the other.
    #[test]
    fn parts_do_not_run_into_each_other(key in "[a-z]{0,4}", value in "[a-z]{0,4}", other in "[a-z]{0,4}", rest in "[a-z]{0,4}") {
        let headers = Headers::new();
        let one = signed_bytes(Topic::Journal, &key, &headers, Some(value.as_bytes()));
        let two = signed_bytes(Topic::Journal, &other, &headers, Some(rest.as_bytes()));
        prop_assert_eq!(one == two, (key.as_str(), value.as_str()) == (other.as_str(), rest.as_str()));
    }

    /// Whatever comes in, a verdict comes out.
    #[test]
    fn no_bytes_break_the_judge(value in proptest::collection::vec(any::<u8>(), 0..200), named in ".{0,40}") {
        let mut record = event("agent/h1", about(Some("db1")), changed("h1")).to_record();
        record.value = Some(Bytes::from(value));
        key(AGENT).sign(&mut record);
        let mut record = landed(record);
        let _ = roster().judge(&record);
        record.headers.insert(KEY.to_owned(), named);
        prop_assert!(roster().judge(&record).is_err());
    }
}
