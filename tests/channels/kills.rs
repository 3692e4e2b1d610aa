//! From a finding in the journal to the webhook, while the processor, the sink, the receiver and a store beside it are killed at random
//! points: nothing is lost, what comes twice has the same id, and the store has each alert once, also where a processor that was killed
//! appended a word again. How long it took is printed: where nobody was killed meanwhile, from when all were started again, and over all.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use millrace_test_servers::{Store, free_port};

use super::answers::finding;
use super::receiver::{Got, Receiver};
use super::*;

/// 45 s with five findings in each: some fifteen kills, and a p99 that is not the worst alone.
const LASTS: Duration = Duration::from_secs(45);
const FINDS_EVERY: Duration = Duration::from_millis(200);
/// 1 to 4 s between two kills: processes are up again in one.
const KILLS_AFTER_MS: std::ops::Range<u64> = 1_000..4_000;
/// 0 to 1.5 s for the receiver to be away.
const AWAY_MS: std::ops::Range<u64> = 0..1_500;

/// `millrace` in a role, as a process of its own.
struct Role {
    name: &'static str,
    config: PathBuf,
    child: Child,
}

impl Role {
    fn start(role: &'static str, folder: &Path, port: u16, more: &str) -> Self {
        let (config, root) = (folder.join(format!("{role}.toml")), folder.display());
        let bus = format!("[bus]\nurl = \"http://127.0.0.1:{port}\"\ntoken-file = \"{root}/bus.token\"\n");
        let text = format!("name = \"{role}\"\n{bus}state-dir = \"{root}/{role}\"\n{more}");
        std::fs::write(&config, text).expect("writable");
        let child = Self::spawn(role, &config);
        Self { name: role, config, child }
    }

    fn spawn(role: &str, config: &Path) -> Child {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(config.with_extension("log"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
        command.args([role, "--config"]).arg(config).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(log.expect("writable")).spawn().expect("it starts")
    }

    fn kill(&mut self) {
        let _ = self.child.kill(); // SIGKILL; it fails only if it has ended
        let _ = self.child.wait();
    }

    fn again(&mut self) {
        self.child = Self::spawn(self.name, &self.config);
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Numbers that look like chance and are the same for the same seed.
struct Chance(u64);

impl Chance {
    fn of(&mut self, range: std::ops::Range<u64>) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        range.start + self.0 % (range.end - range.start)
    }
}

fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_microsecond())
}

/// p50, p99 and the most, in words.
fn quantiles(mut waits: Vec<Duration>) -> String {
    waits.sort();
    let at =
        |share: usize| waits.get((waits.len() * share).div_ceil(100).saturating_sub(1)).copied().unwrap_or_default();
    format!("{} findings, p50 {:.1?}, p99 {:.1?}, most {:.1?}", waits.len(), at(50), at(99), at(100))
}

/// When each rule was received first; every repeat has the same id.
fn received(got: &[Got]) -> (BTreeMap<String, Timestamp>, usize) {
    let (mut first, mut ids, mut repeats) = (BTreeMap::new(), BTreeMap::<String, BTreeSet<String>>::new(), 0);
    for one in got.iter().filter(|one| one.status == 200) {
        for alert in one.body["alerts"].as_array().expect("alerts") {
            let rule = alert["labels"]["alertname"].as_str().expect("a name").to_owned();
            let id = alert["annotations"]["event_id"].as_str().expect("an id").to_owned();
            repeats += usize::from(first.contains_key(&rule));
            first.entry(rule.clone()).or_insert(one.at);
            ids.entry(rule).or_default().insert(id);
        }
    }
    assert!(ids.values().all(|ids| ids.len() == 1), "what comes again has the same id: {ids:?}");
    (first, repeats)
}

/// How often the store says of each rule that it fires.
fn stored(store: &Store) -> BTreeMap<String, usize> {
    store.flush();
    let text = store.get("/api/v1/export?match[]=millrace_alert_firing");
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    let points = lines.map(|line| {
        let rule = line["metric"]["alertname"].as_str().expect("a name").to_owned();
        (rule, line["values"].as_array().expect("values").len())
    });
    points.filter(|(rule, _)| rule.starts_with('K')).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_at_random_points_lose_no_alert_and_repeat_it_with_its_id_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut receiver, mut store, port) = (Receiver::start(), Store::start(), free_port());
    let mut of_bus = settings(folder.path(), Vec::new());
    if let config::Bus::File { listen, .. } = &mut of_bus.bus {
        *listen = Some(([127, 0, 0, 1], port.number).into());
    }
    let up = Up::start(&of_bus, Roles::NONE).expect("it starts");
    let mut process = Role::start("process", folder.path(), port.number, "");
    let sections = format!(
        "[[channel]]\nname = \"ops\"\nkind = \"webhook\"\nurl = \"{}\"\nrate = 600\n\
         [[store]]\nname = \"vm\"\nurl = \"{}\"\nkind = \"influx-v2\"\nbucket = \"b\"\n",
        receiver.url(),
        store.url()
    );
    let mut sink = Role::start("sink", folder.path(), port.number, &sections);
    begun(&up.bus, "ops").await;
    let stop: Arc<AtomicBool> = Arc::default();
    let finds = tokio::spawn(find(Arc::clone(&up.bus), Arc::clone(&stop)));

    let seed = u64::try_from(now().0).expect("a time").max(1);
    let mut chance = Chance(seed);
    let (mut outages, mut kills) = (Vec::new(), BTreeMap::<&str, u32>::new());
    let ends = Instant::now() + LASTS;
    while Instant::now() < ends {
        tokio::time::sleep(Duration::from_millis(chance.of(KILLS_AFTER_MS))).await;
        let from = now();
        let who = ["processor", "sink", "receiver", "store"][usize::try_from(chance.of(0..4)).expect("small")];
        match who {
            "processor" => {
                process.kill();
                process.again();
            }
            "sink" => {
                sink.kill();
                sink.again();
            }
            "receiver" => {
                receiver.go_away().await;
                tokio::time::sleep(Duration::from_millis(chance.of(AWAY_MS))).await;
                receiver.come_back();
            }
            _ => {
                store.kill();
                store.start_again();
            }
        }
        outages.push((from, now()));
        *kills.entry(who).or_default() += 1;
    }
    stop.store(true, Ordering::Relaxed);
    let appended = finds.await.expect("no panic");
    until("all were told", || (received(&receiver.got()).0.len() == appended.len()).then_some(())).await;
    tokio::time::sleep(Duration::from_secs(2)).await; // what may still come again
    let (first, repeats) = received(&receiver.got());
    assert_eq!(first.keys().collect::<Vec<_>>(), appended.keys().collect::<Vec<_>>(), "those, and no others");
    until("the store has each", || stored(&store).keys().eq(appended.keys()).then_some(())).await;
    let twice: Vec<(String, usize)> = stored(&store).into_iter().filter(|(_, points)| *points > 1).collect();
    assert_eq!(twice, [], "the store has each once");
    println!("kills {kills:?}, seed {seed}: 0 lost; {repeats} came again, each with its id; the store has each once");
    report((&appended, &first), &outages);
    up.stop().await;
}

/// Appends findings until it is told to stop; leaves when each was appended.
async fn find(bus: SharedBus, stop: Arc<AtomicBool>) -> BTreeMap<String, Timestamp> {
    let mut appended = BTreeMap::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let rule = format!("K{number:04}");
        let landed = bus.append(vec![finding(&rule, number)]).await.expect("taken");
        appended.insert(rule, landed[0].appended);
        tokio::time::sleep(FINDS_EVERY).await;
    }
    appended
}

fn report(
    (appended, first): (&BTreeMap<String, Timestamp>, &BTreeMap<String, Timestamp>),
    outages: &[(Timestamp, Timestamp)],
) {
    let (mut all, mut since_up, mut undisturbed) = (Vec::new(), Vec::new(), Vec::new());
    for (rule, from) in appended {
        let at = first[rule];
        let meanwhile = outages.iter().filter(|(down, up)| *down <= at && *up >= *from);
        let up = meanwhile.map(|(_, up)| *up).filter(|up| *up <= at).max();
        all.push(at.since(*from));
        since_up.push(at.since(up.map_or(*from, |up| up.max(*from))));
        if up.is_none() {
            undisturbed.push(at.since(*from));
        }
    }
    println!("nobody killed meanwhile: {}", quantiles(undisturbed));
    println!("from when all were started again: {}", quantiles(since_up));
    println!("over all: {}", quantiles(all));
}
