//! The golden samples of each body, and what the bodies promise to all.

use millrace_schemas::event::{Event, Subject};
use millrace_schemas::ids::{ClusterId, EventId, InstanceId};
use millrace_schemas::marks::Sequence;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::alerts::{
    Alert, AlertState, Hidden, Notice, Severity, Told, fingerprint as fingerprint_of,
};

use super::chat::{BadTemplate, Template};
use super::style::{self, Style};
use super::{alertmanager, chat, command, email, pagerduty, sign, slack, webhook};

/// 2023-11-14T22:13:20Z.
const BEGAN: Timestamp = Timestamp(1_700_000_000_000_000);
const OVER: Timestamp = Timestamp(1_700_000_042_000_000);

fn style() -> Style {
    Style { receiver: "ops".to_owned(), runbooks: Some("https://wiki.example/millrace/".to_owned()) }
}

fn event(cluster: &str, instance: &str, told: Told) -> Event<Notice> {
    let (cluster, instance) = (ClusterId::parse(cluster).expect("legal"), InstanceId::parse(instance).expect("legal"));
    let resolved = told == Told::Resolved;
    let hidden = |rule: &str, instance| Hidden { rule: rule.to_owned(), instance };
    let alert = Alert {
        fingerprint: fingerprint_of(&cluster, "PrimaryDown", Some(&instance), &[].into()),
        name: "PrimaryDown".to_owned(),
        instance: Some(instance.clone()),
        labels: [("mountpoint".to_owned(), "/var/lib/mysql".to_owned())].into(),
        severity: Severity::Critical,
        severity_before: None,
        state: if resolved { AlertState::Resolved } else { AlertState::Firing },
        starts_at: BEGAN,
        ends_at: resolved.then_some(OVER),
        summary: format!("{instance}, the primary of <shop> & \"co\", exited on signal 9"),
        runbook: "docs/alerts.md#primarydown".to_owned(),
        value: Some(9.5),
        told: Some(told),
        quiet: None,
        hides: vec![
            hidden("LagHigh", InstanceId::parse("db2").ok()),
            hidden("LagHigh", InstanceId::parse("db3").ok()),
            hidden("WritesBlocked", None),
        ],
        acknowledged_by: None,
    };
    Event {
        id: EventId::derive(&[told.name(), instance.as_str()]),
        source: "failover.1".to_owned(),
        sequence: Sequence { incarnation: 1, counter: 2 },
        at: BEGAN,
        appended: BEGAN,
        subject: Subject::instance(cluster, instance),
        cause: None,
        payload: Notice::Alert(alert),
    }
}

fn firing() -> Vec<Event<Notice>> {
    vec![event("c1", "db1", Told::Began)]
}

fn resolved() -> Vec<Event<Notice>> {
    vec![event("c1", "db1", Told::Resolved)]
}

/// Three of two clusters.
fn bundle() -> Vec<Event<Notice>> {
    vec![event("c1", "db1", Told::Escalated), event("c1", "db4", Told::Resolved), event("c2", "db9", Told::Repeated)]
}

fn taken() -> Vec<Event<Notice>> {
    let mut taken = event("c1", "db1", Told::Changed);
    let Notice::Alert(alert) = &mut taken.payload;
    alert.acknowledged_by = Some("ann".to_owned());
    vec![taken]
}

#[test]
fn webhook_bodies_are_golden() {
    insta::assert_json_snapshot!("webhook_firing", webhook::body(&firing(), &style()));
    insta::assert_json_snapshot!("webhook_resolved", webhook::body(&resolved(), &style()));
    insta::assert_json_snapshot!("webhook_bundle", webhook::body(&bundle(), &style()));
}

#[test]
fn alertmanager_bodies_are_golden() {
    insta::assert_json_snapshot!("alertmanager_firing", alertmanager::body(&firing(), &style(), OVER));
    insta::assert_json_snapshot!("alertmanager_bundle", alertmanager::body(&bundle(), &style(), OVER));
}

#[test]
fn pagerduty_bodies_are_golden() {
    let key = "the-routing-key";
    insta::assert_json_snapshot!("pagerduty_trigger", pagerduty::body(&firing(), &style(), key));
    insta::assert_json_snapshot!("pagerduty_resolve", pagerduty::body(&resolved(), &style(), key));
    insta::assert_json_snapshot!("pagerduty_acknowledge", pagerduty::body(&taken(), &style(), key));
    insta::assert_json_snapshot!("pagerduty_bundle", pagerduty::body(&bundle(), &style(), key));
    let mut long = firing();
    let Notice::Alert(alert) = &mut long[0].payload;
    alert.summary = "é".repeat(5_000);
    let body = pagerduty::body(&long, &style(), key);
    assert_eq!(body["payload"]["summary"].as_str().expect("text").chars().count(), 1_024);
}

#[test]
fn slack_bodies_are_golden() {
    insta::assert_json_snapshot!("slack_firing", slack::body(&firing(), &style()));
    insta::assert_json_snapshot!("slack_resolved", slack::body(&resolved(), &style()));
    insta::assert_json_snapshot!("slack_bundle", slack::body(&bundle(), &style()));
}

#[test]
fn chat_bodies_are_golden() {
    let text = r#"{"msg": "{title}: {summary} ({severity}, {value}{nothing here} {} {", "n": 3, "of": ["{cluster}/{instance}", null],
        "more": "{rule} {state} {told} {since} {until} {runbook} {hides} {fingerprint} {id} {count}\n{text}"}"#;
    let template = Template::parse(text).expect("right");
    insta::assert_json_snapshot!("chat_firing", chat::body(&firing(), &style(), &template));
    insta::assert_json_snapshot!("chat_bundle", chat::body(&bundle(), &style(), &template));
    assert_eq!(Template::parse(r#"{"a": ["{sumary}"]}"#), Err(BadTemplate::Name("sumary".to_owned())));
    assert!(matches!(Template::parse("{summary}"), Err(BadTemplate::Json(_))));
}

#[test]
fn mail_is_golden() {
    insta::assert_snapshot!(
        "email_firing",
        format!("{}\n\n{}", email::subject(&firing()), email::text(&firing(), &style()))
    );
    insta::assert_snapshot!(
        "email_bundle",
        format!("{}\n\n{}", email::subject(&bundle()), email::text(&bundle(), &style()))
    );
}

#[test]
fn the_environment_of_a_command_is_golden() {
    let lines = |events: &[Event<Notice>]| {
        let all = command::environment(events, &style());
        all.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!("command_resolved", lines(&resolved()));
    insta::assert_snapshot!("command_bundle", lines(&bundle()));
}

#[test]
fn a_message_has_the_same_id_each_time_and_another_than_others() {
    assert_eq!(style::message_id(&firing()), firing()[0].id);
    assert_eq!(style::message_id(&bundle()), style::message_id(&bundle()));
    assert_ne!(style::message_id(&bundle()), style::message_id(&bundle()[..2]));
}

#[test]
fn a_runbook_has_an_address_where_one_is_known() {
    let url = |runbook: &str, base: Option<&str>| {
        let mut event = event("c1", "db1", Told::Began);
        let Notice::Alert(alert) = &mut event.payload;
        alert.runbook = runbook.to_owned();
        style::runbook_url(alert, &Style { receiver: String::new(), runbooks: base.map(str::to_owned) })
    };
    assert_eq!(url("docs/a.md", None), None);
    assert_eq!(url("docs/a.md", Some("https://w/x")).as_deref(), Some("https://w/x/docs/a.md"));
    assert_eq!(url("https://own/a", Some("https://w/x")).as_deref(), Some("https://own/a"));
}

/// The signature that Python's `hmac` makes of the same.
#[test]
fn a_signature_is_what_others_compute() {
    let text = sign::signature(b"a key", 1_700_000_000, br#"{"version":"4"}"#);
    assert_eq!(text, "t=1700000000,v1=6de67c243dc295a665d78dca9a152f74bac2d739e21c07ac14bb61029ee45954");
}

#[test]
fn many_alerts_are_named_as_far_as_people_read() {
    let many: Vec<_> = (0..25).map(|at| event("c1", &format!("db{at}"), Told::Began)).collect();
    let lines = style::lines(&many);
    assert_eq!((lines.len(), lines.last().map(String::as_str)), (21, Some("and 5 more")));
    assert_eq!(webhook::body(&many, &style())["alerts"].as_array().expect("a list").len(), 25, "programs get all");
}
