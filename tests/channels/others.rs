//! Channels that are no webhooks: a real Alertmanager, a real mail server, a program. And two notifiers of one channel.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use millrace_schemas::metrics::{CHANNEL_DEAD, CHANNEL_DELIVERED};
use millrace_sinks::channels::email::Email;
use millrace_sinks::channels::{Failed, Way};
use millrace_test_servers::{Mail, Port, Store, free_port};
use serde_json::Value;

use super::receiver::Receiver;
use super::*;

/// The alerts of an Alertmanager, with their states, and whether they are active.
fn shown(manager: &Store, query: &str) -> Vec<Value> {
    serde_json::from_str(&manager.get(&format!("/api/v2/alerts{query}"))).expect("a list")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alertmanager_shows_what_fires_and_what_is_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut manager = Store::alertmanager();
    let am = channel("am", Kind::Alertmanager(hook(manager.url())));
    let up = site(folder.path(), vec![am.clone()]).await;
    up.bus.append(vec![began("PrimaryDown"), began("LagHigh")]).await.expect("taken");
    let both = until("both are shown", || Some(shown(&manager, "")).filter(|alerts| alerts.len() == 2)).await;
    let down = both.iter().find(|one| one["labels"]["alertname"] == "PrimaryDown").expect("it is there");
    assert_eq!((&down["status"]["state"], &down["labels"]["instance"]), (&"active".into(), &"db1".into()), "{down}");
    assert_eq!(down["annotations"]["runbook_url"], "https://wiki.example/blob/main/docs/alerts.md#primarydown");
    let time = |name: &str| down[name].as_str().expect("a time").parse::<Timestamp>().expect("a time");
    let now = Timestamp(jiff::Timestamp::now().as_microsecond());
    assert!(time("endsAt").since(now) > Duration::from_mins(4), "it fires until it is posted again: {down}");
    up.bus.append(vec![ended("PrimaryDown")]).await.expect("taken");
    let left = until("one is over", || Some(shown(&manager, "")).filter(|alerts| alerts.len() == 1)).await;
    assert_eq!(left[0]["labels"]["alertname"], "LagHigh");
    // It keeps nothing, and who told it was stopped too: what fires is told again, and nothing else.
    up.stop().await;
    manager.kill();
    manager.start_again();
    assert!(shown(&manager, "").is_empty());
    let up = Up::start(&settings(folder.path(), vec![am]), SINK).expect("it starts");
    let again = until("what fires is shown again", || Some(shown(&manager, "")).filter(|all| !all.is_empty())).await;
    assert_eq!((again.len(), &again[0]["labels"]["alertname"]), (1, &"LagHigh".into()));
    up.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pagerduty_and_chats_get_their_own_bodies_and_secrets_come_from_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let receiver = Receiver::start();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("writable");
        path
    };
    let secret = file("url", &format!("{}\n", receiver.url()));
    let to = || Hook { url: Address::File(secret.clone()), token_file: None, key_file: None };
    let template_file = file("template.json", r#"{"msg": "{title}", "who": "{cluster}/{instance}"}"#);
    let routing_key_file = file("key", "a-routing-key\n");
    let channels = vec![
        channel("pager", Kind::Pagerduty { url: receiver.url(), routing_key_file }),
        channel("slack", Kind::Slack(to())),
        channel("chat", Kind::Chat { hook: to(), template_file }),
    ];
    let up = site(folder.path(), channels).await;
    let taken = alert("PrimaryDown", Some(Told::Acknowledged), Severity::Critical);
    up.bus.append(vec![began("PrimaryDown"), taken, ended("PrimaryDown")]).await.expect("taken");
    let got = until("all have three", || Some(receiver.got()).filter(|got| got.len() == 9)).await;
    let of = |key: &str| got.iter().map(|got| &got.body).filter(|body| body.get(key).is_some()).collect::<Vec<_>>();
    let (pager, slack, chat) = (of("routing_key"), of("attachments"), of("msg"));
    assert_eq!((&pager[0]["routing_key"], &pager[0]["event_action"]), (&"a-routing-key".into(), &"trigger".into()));
    assert_eq!((&pager[1]["dedup_key"], &pager[1]["event_action"]), (&pager[0]["dedup_key"], &"acknowledge".into()));
    assert_eq!((&pager[2]["dedup_key"], &pager[2]["event_action"]), (&pager[0]["dedup_key"], &"resolve".into()));
    assert_eq!(slack[1]["text"], "taken: critical PrimaryDown of c1/db1");
    assert_eq!(slack[2]["text"], "resolved: critical PrimaryDown of c1/db1");
    assert_eq!(
        (&chat[0]["msg"], &chat[0]["who"]),
        (&"firing: critical PrimaryDown of c1/db1".into(), &"c1/db1".into())
    );
    up.stop().await;
}

fn mailbox(host: &str, mail: &Mail) -> Email {
    Email {
        host: host.to_owned(),
        port: mail.port(),
        from: "Millrace <millrace@example.org>".parse().expect("an address"),
        to: vec!["dba@example.org".parse().expect("an address"), "ann@example.org".parse().expect("an address")],
        user: None,
        password_file: None,
        plain: false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_server_has_one_mail_for_each_alert_over_tls_where_it_offers_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let (plain, tls) = (Mail::start(false), Mail::start(true));
    let channels = vec![
        channel("plain", Kind::Email(mailbox("127.0.0.1", &plain))),
        channel("tls", Kind::Email(mailbox("localhost", &tls))),
    ];
    let up = site(folder.path(), channels).await;
    up.bus.append(vec![began("PrimaryDown"), ended("PrimaryDown")]).await.expect("taken");
    for mail in [&plain, &tls] {
        let both = until("both are there", || Some(mail.messages()).filter(|all| all.len() == 2)).await;
        let began = both.iter().find(|one| one.contains("firing: critical PrimaryDown of c1/db1")).expect("the first");
        let ended =
            both.iter().find(|one| one.contains("resolved: critical PrimaryDown of c1/db1")).expect("the second");
        assert!(began.contains("PrimaryDown: =C3=A9 < & \"quoted\""), "{began}");
        let reference = |mail: &str| mail.lines().find(|line| line.starts_with("References: ")).map(str::to_owned);
        assert!(reference(began).is_some() && reference(began) == reference(ended), "one thread: {began}\n{ended}");
        assert!(began.contains("To: dba@example.org, ann@example.org"), "{began}");
    }
    up.stop().await;
}

/// `127.1` is this host by a name that is not taken for it.
#[test]
fn mail_to_another_host_goes_over_tls_or_not_at_all() {
    let (plain, tls) = (Mail::start(false), Mail::start(true));
    let send = |email: Email| {
        let settings = channel("mail", Kind::Email(email));
        let way = Way::open(&settings.kind, &settings.style, settings.timeout, settings.ca_file.as_deref())
            .expect("nothing is asked yet");
        let event = Event::from_json(began("PrimaryDown").value.as_deref().expect("a value"), false);
        way.deliver(&[event.expect("readable")])
    };
    let refused = send(mailbox("127.1", &plain)).expect_err("it offers no TLS");
    assert!(matches!(&refused, Failed::Later { why, all: true, .. } if why.contains("STARTTLS")), "{refused}");
    send(mailbox("127.1", &tls)).expect_err("nobody signed its certificate");
    assert!(plain.messages().is_empty() && tls.messages().is_empty());
    let said = send(Email { plain: true, ..mailbox("127.1", &plain) }).expect("it is configured so");
    assert!(said.starts_with("250 "), "{said}");
    assert_eq!(plain.messages().len(), 1);
}

const PROGRAM: &str = r#"#!/bin/sh
cat >"$1/input.$MILLRACE_RULE"
env | grep '^MILLRACE_' | sort >"$1/environment.$MILLRACE_RULE"
case $MILLRACE_RULE in
    Never) echo "not this one" >&2; exit 65 ;;
    Again) [ -e "$1/again" ] || { touch "$1/again"; exit 1; } ;;
    Hangs) [ -e "$1/sleeper" ] || { sleep 300 & echo $! >"$1/sleeper"; wait; } ;;
esac
"#;

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_is_told_and_its_exit_code_is_the_answer() {
    let folder = tempfile::tempdir().expect("a folder");
    let (program, out) = (folder.path().join("tell"), folder.path().join("out"));
    std::fs::write(&program, PROGRAM).expect("writable");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).expect("allowed");
    std::fs::create_dir(&out).expect("a folder");
    let arguments = vec![out.display().to_string()];
    let up = site(folder.path(), vec![channel("tell", Kind::Command { program, arguments })]).await;
    up.bus.append(["Once", "Never", "Again", "Hangs", "Last"].map(began).to_vec()).await.expect("taken");
    let delivered = || up.metrics.get(&CHANNEL_DELIVERED, &["tell"]) as u64;
    until("four are told", || (delivered() == 4).then_some(())).await;
    assert_eq!(up.metrics.get(&CHANNEL_DEAD, &["tell"]) as u64, 1);
    let letter = letters(&up.bus).remove(0);
    assert_eq!(letter.headers["millrace.errors.message"], "exit status: 65: not this one");
    let input: Value = serde_json::from_str(&text(&out.join("input.Once"))).expect("JSON");
    assert_eq!(input["alerts"][0]["labels"]["alertname"], "Once");
    let environment = text(&out.join("environment.Once"));
    for line in [
        "MILLRACE_CHANNEL=tell",
        "MILLRACE_CLUSTER=c1",
        "MILLRACE_STATE=firing",
        "MILLRACE_SUMMARY=Once: é < & \"quoted\"",
    ] {
        assert!(environment.lines().any(|one| one == line), "{line}: {environment}");
    }
    let sleeper = text(&out.join("sleeper"));
    until("what it started is ended with it", || {
        // A process that ended and that nobody has waited for is still listed.
        let state = std::fs::read_to_string(format!("/proc/{}/stat", sleeper.trim())).unwrap_or_default();
        (state.is_empty() || state.contains(") Z ")).then_some(())
    })
    .await;
    up.stop().await;
}

/// The process that has the bus, for others.
fn with_bus(folder: &Path, port: &Port) -> Settings {
    let listen = Some(([127, 0, 0, 1], port.number).into());
    let bus = config::Bus::File { file: folder.join("bus.db"), listen, token_file: folder.join("bus.token") };
    Settings { bus, ..settings(folder, Vec::new()) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_notifiers_of_a_channel_share_it_and_one_takes_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let (receiver, port) = (Receiver::start(), free_port());
    let up = Up::start(&with_bus(folder.path(), &port), Roles::NONE).expect("it starts");
    let bus: SharedBus = Arc::clone(&up.bus);
    let notifier = |name: &str| {
        let state = folder.path().join(name);
        std::fs::create_dir(&state).expect("a folder");
        let address = ([127, 0, 0, 1], port.number).into();
        let remote = config::Bus::Remote { address, token_file: folder.path().join("bus.token"), state };
        let settings = settings(folder.path(), vec![webhook("ops", receiver.url())]);
        Up::start(&Settings { bus: remote, name: name.to_owned(), ..settings }, SINK).expect("it starts")
    };
    let one = notifier("one");
    begun(&bus, "ops").await;
    let two = notifier("two");
    bus.append((0..10).map(|number| began(&format!("A{number}"))).collect()).await.expect("taken");
    receiver.takes(10).await;
    one.stop().await;
    bus.append((0..10).map(|number| began(&format!("B{number}"))).collect()).await.expect("taken");
    let taken = receiver.takes(20).await;
    let expected: Vec<_> =
        ["A", "B"].iter().flat_map(|half| (0..10).map(move |n| pair(&format!("{half}{n}"), "firing"))).collect();
    assert_eq!(taken, expected, "each once, by either");
    // It counts what it has the answer to, a moment after the other side has the message.
    until("the other took over", || (two.metrics.get(&CHANNEL_DELIVERED, &["ops"]) as u64 >= 10).then_some(())).await;
    two.stop().await;
    up.stop().await;
}
