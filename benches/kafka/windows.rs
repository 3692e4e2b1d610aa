//! `queries` to `windows`: agents' batches lie in the topic, and one `millrace process`, bound to one core, works through them, as
//! after an outage; the other core is the broker's. Then the same bytes without Millrace: what librdkafka alone reads and writes
//! in the same settings. The batches were appended at the pace at which agents send, so that as much comes out as in daily work.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use millrace::bus::{Assignment, From, Polled};
use millrace_schemas::ids::InstanceId;
use millrace_schemas::record::{Bytes, Record, partition_of};
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::examples;
use millrace_schemas::topics::windows::decode;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};

use crate::place::Place;
use crate::process::{Cost, Process, bind_thread, cost};
use crate::{held, rows};

/// 240 instances, ten in each partition.
const INSTANCES: usize = 240;
/// 30 s of rows around the end of an hour, so that windows of every width close.
const SECONDS: i64 = 30;
const BEGIN: i64 = 1_700_000_000 / 3_600 * 3_600 - 20;
/// The goals.
const ROWS_PER_SECOND: f64 = 250_000.0;
const SHARE_OF_RAW: f64 = 0.4;
/// 100 ms between looks at the process' metrics: what it takes to tell them is part of what it costs.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// 2 s without another record: what is still to come comes from a timer.
const QUIET: Duration = Duration::from_secs(2);
/// 3 min for any of it.
const PATIENCE: Duration = Duration::from_mins(3);

/// How much was done, and how long it took.
struct Run {
    rows: f64,
    seconds: f64,
    /// On a core: what others of the machine take does not count.
    cpu_seconds: f64,
}

impl Run {
    /// As the clock has it.
    fn rate(&self) -> f64 {
        self.rows / self.seconds
    }

    /// What one core would do that had nothing else to do.
    fn rate_of_core(&self) -> f64 {
        self.rows / self.cpu_seconds
    }
}

pub(crate) fn measure(servers: &str, short: bool) {
    let place = Place::new(servers, "bench-windows.");
    let (instances, seconds) = if short { (24, 3) } else { (INSTANCES, SECONDS) };
    let records = fill(&place, instances, seconds);
    let rows = (records * rows::DIGESTS) as f64;
    let (run, cost) = processed(&place, records as u64, rows);
    let written = read_all(&place, Topic::Windows);
    let out: usize = written.iter().filter_map(|record| record.value.as_deref()).map(rows_in).sum();
    println!(
        "windows: {rows} rows in {records} records in, {out} rows in {} records out, {:.0} MB of them",
        written.len(),
        bytes_of(&written) / 1e6
    );
    // On a thread of its own, which is bound to the core.
    let raw = std::thread::scope(|scope| scope.spawn(|| raw(&place, records, &written, rows)).join().expect("it ends"));
    let part = 100.0 * cost.thread("windows") / cost.all;
    let tell = |what: &str, run: &Run, more: &str| {
        let (of_core, rate) = (run.rate_of_core(), run.rate());
        println!("{what} {of_core:>9.0} rows for each second of CPU, {rate:>9.0} rows/s by the clock{more}");
    };
    tell("windows:", &run, &format!("; {part:.0} % of the CPU is the thread of the windows"));
    tell("raw:    ", &raw, ": librdkafka alone, the same bytes on the same core");
    let share = run.rate_of_core() / raw.rate_of_core();
    println!("goal of {ROWS_PER_SECOND:.0} rows/s of one core: {}", held(run.rate_of_core() >= ROWS_PER_SECOND));
    println!("goal of {:.0} % of raw: {} ({:.0} %)", 100.0 * SHARE_OF_RAW, held(share >= SHARE_OF_RAW), 100.0 * share);
}

/// Appends what the agents of `instances` count in `seconds`, a second's worth each second.
fn fill(place: &Place, instances: usize, seconds: i64) -> usize {
    let bus = place.bus("agents");
    let load = rows::Load::new(1);
    let ids: Vec<InstanceId> = (0..instances).map(|at| InstanceId::parse(format!("db-{at}")).expect("legal")).collect();
    let began = Instant::now();
    for second in 0..seconds {
        let mut receipts = Vec::new();
        for (at, id) in ids.iter().enumerate() {
            // Three to a cluster.
            let cluster = format!("c-{}", at / 3);
            let rows = load.rows(id, BEGIN + second);
            receipts.push(bus.append(vec![examples::counted(&cluster, &format!("agent/h{at}"), second as u64, &rows)]));
        }
        for receipt in receipts {
            receipt.wait().expect("appended");
        }
        let due = Duration::from_secs(second as u64 + 1);
        std::thread::sleep(due.saturating_sub(began.elapsed()));
    }
    instances * seconds as usize
}

/// Lets a process work through all of it.
fn processed(place: &Place, records: u64, rows: f64) -> (Run, Cost) {
    let process = Process::start(place, "processor", Some(0), "");
    let folded = |process: &Process| process.metric("millrace_fold_records_total{processor=\"windows\"}");
    let written = |process: &Process| process.metric("millrace_bus_appended_records_total{topic=\"windows\"}");
    let until = Instant::now() + PATIENCE;
    while folded(&process) == 0.0 {
        assert!(Instant::now() < until, "it reads nothing:\n{}", process.log());
        std::thread::sleep(Duration::from_millis(10));
    }
    let (began, first, before) = (Instant::now(), folded(&process), process.cost());
    let (mut out, mut ended, mut after) = (0.0, began, process.cost());
    loop {
        let all_read = folded(&process) >= records as f64;
        if all_read && ended.elapsed() >= QUIET {
            break;
        }
        assert!(Instant::now() < until, "it does not come to an end:\n{}", process.log());
        std::thread::sleep(LOOK_EVERY);
        let now = written(&process);
        if now > out || !all_read {
            (out, ended, after) = (now, Instant::now(), process.cost());
        }
    }
    println!("windows: at most {:.0} MB of memory", process.memory());
    // What came before it was looked at the first time does not count, neither as work nor as time.
    let rows = rows * (1.0 - first / records as f64);
    let cost = after.since(&before);
    (Run { rows, seconds: ended.duration_since(began).as_secs_f64(), cpu_seconds: cost.all }, cost)
}

fn rows_in(value: &[u8]) -> usize {
    decode(value).expect("a batch of windows").len()
}

fn bytes_of(records: &[Record]) -> f64 {
    records.iter().filter_map(|record| record.value.as_ref()).map(Bytes::len).sum::<usize>() as f64
}

/// Everything that is in a topic.
fn read_all(place: &Place, topic: Topic) -> Vec<Record> {
    let bus = place.bus("reader");
    let mut reader = bus.reader(Assignment::Manual(vec![(topic, From::Start)])).expect("a reader");
    let mut left: BTreeMap<u32, u64> = (0..place.partitions())
        .map(|at| (at, bus.end(topic, at).expect("an end")))
        .filter(|(_, end)| *end > 0)
        .collect();
    let mut found = Vec::new();
    while !left.is_empty() {
        for item in reader.poll(QUIET).expect("readable") {
            if let Polled::Record(record) = item {
                left.retain(|at, end| *at != record.partition || record.offset + 1 < *end);
                found.push(record);
            }
        }
    }
    found
}

/// What the library itself does with the same bytes in the same settings: every record of `queries` is read, and as many of
/// `windows` are handed to a producer meanwhile as came of it.
fn raw(place: &Place, records: usize, written: &[Record], rows: f64) -> Run {
    bind_thread(0);
    let consumer: BaseConsumer =
        place.client().set("group.id", "raw").set("fetch.min.bytes", "1").create().expect("a consumer");
    let producer = producer(place);
    let mut all = TopicPartitionList::new();
    for at in 0..place.partitions() {
        let name = place.topic(Topic::Queries);
        all.add_partition_offset(&name, at as i32, Offset::Beginning).expect("a partition");
    }
    let to = place.topic(Topic::Windows);
    consumer.assign(&all).expect("assigned");
    let (began, before) = (Instant::now(), cost(std::process::id()));
    let (mut read, mut sent) = (0, 0);
    while read < records {
        assert!(began.elapsed() < PATIENCE, "nothing more to read after {read}");
        let Some(message) = consumer.poll(QUIET) else { continue };
        read += usize::from(message.expect("readable").payload().is_some());
        while sent < written.len() * read / records {
            send(&producer, &to, &written[sent], place.partitions());
            sent += 1;
        }
    }
    producer.flush(PATIENCE).expect("delivered");
    let cpu_seconds = cost(std::process::id()).since(&before).all;
    Run { rows, seconds: began.elapsed().as_secs_f64(), cpu_seconds }
}

/// As the bus makes the one for data.
fn producer(place: &Place) -> ThreadedProducer<DefaultProducerContext> {
    let mut config: ClientConfig = place.client();
    config
        .set("linger.ms", "20")
        .set("batch.size", "1000000")
        .set("compression.type", "zstd")
        .set("compression.level", "1");
    config.set("queue.buffering.max.kbytes", "65536").set("enable.idempotence", "true").set("acks", "all");
    config.set("message.max.bytes", "2097152").create().expect("a producer")
}

fn send(producer: &ThreadedProducer<DefaultProducerContext>, topic: &str, record: &Record, partitions: u32) {
    let cluster = record.headers.get("cluster").map_or("", String::as_str);
    let headers = record.headers.iter();
    let headers = headers.fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: Some(value) }));
    let mut message = BaseRecord::to(topic)
        .partition(partition_of(cluster, partitions) as i32)
        .key(&record.key)
        .payload(record.value.as_deref().unwrap_or_default())
        .headers(headers);
    while let Err((_, back)) = producer.send(message) {
        // Its queue is full: it is waited for, as the bus' receipts are.
        message = back;
        std::thread::sleep(Duration::from_millis(1));
    }
}
