//! What the windows cost without a bus: rows of `queries` in, rows of `windows` out, on one core.
//! `cargo bench -p millrace-processors --bench windows`; with `--test` only a second's worth.

#![allow(clippy::print_stdout)] // the numbers are what it is for

#[path = "../../benches/kafka/rows.rs"]
mod rows;

use millrace_processors::windows::Windows;
use millrace_schemas::ids::InstanceId;
use millrace_schemas::record::{Bytes, Record};
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::Topic;
use millrace_schemas::topics::examples;
use millrace_schemas::topics::windows::decode;

/// 52 instances: the share of one partition, of 24, in a fleet of 1,250 that makes 250,000 rows a second.
const INSTANCES: usize = 52;
const BEGIN: i64 = 1_700_000_000;

fn main() {
    let seconds: i64 = if std::env::args().any(|argument| argument == "--test") { 3 } else { 65 };
    let load = rows::Load::new(1);
    let instances: Vec<InstanceId> =
        (0..INSTANCES).map(|at| InstanceId::parse(format!("db-{at}")).expect("legal")).collect();
    let mut windows = Windows::new(0);
    let (mut took, mut read, mut bytes_in, mut written, mut bytes_out) = (0.0, 0_usize, 0_usize, 0_usize, 0_usize);
    let mut offset = 0;
    let mut hash = 0_u64;
    for second in 0..seconds {
        let records: Vec<Record> = instances
            .iter()
            .enumerate()
            .map(|(at, instance)| {
                offset += 1;
                let rows = load.rows(instance, BEGIN + second);
                // Each agent sends at a time of its own.
                let appended = Timestamp((BEGIN + second + 1) * 1_000_000 + at as i64 * 1_000_000 / INSTANCES as i64);
                examples::counted("shop", &format!("agent/h{at}"), second as u64, &rows).stored(0, offset, appended)
            })
            .collect();
        bytes_in += records.iter().filter_map(|record| record.value.as_ref()).map(Bytes::len).sum::<usize>();
        read += records.len() * rows::DIGESTS;
        let began = cpu_seconds();
        let mut out = Vec::new();
        for record in &records {
            out.extend(windows.fold(record).out);
        }
        took += cpu_seconds() - began;
        for record in &out {
            let value = record.value.as_deref().expect("a value");
            bytes_out += value.len();
            hash = value.iter().fold(hash, |h, b| h.wrapping_mul(31).wrapping_add(u64::from(*b)));
            if record.topic == Topic::Windows {
                written += decode(value).expect("decodes").len();
            }
        }
    }
    println!(
        "{read} rows of {} bytes in, {written} rows out ({} bytes): {:.0} rows in a second of one core  [{hash:x}]",
        bytes_in / read,
        bytes_out / written.max(1),
        read as f64 / took
    );
}

/// How long this thread has run on a core: others of the machine do not count.
fn cpu_seconds() -> f64 {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells it");
    let nanoseconds: f64 = schedstat.split(' ').next().and_then(|first| first.parse().ok()).expect("a number");
    nanoseconds / 1e9
}
