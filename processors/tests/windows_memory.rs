//! What open windows take of a process' memory, alone in a process of its own: batches of `queries` go through the windows of one
//! partition as fast as they can be folded, over the end of an hour, when most windows are open.

#![allow(clippy::print_stdout)] // the number is what it is for

#[path = "../../benches/kafka/rows.rs"]
mod rows;

use millrace_processors::windows::Windows;
use millrace_schemas::ids::InstanceId;
use millrace_schemas::time::Timestamp;
use millrace_schemas::topics::examples;

const INSTANCES: usize = 24;
/// 35 s before the end of an hour, and 12 s after it: the windows of both hours are open for 2 s.
const BEGIN: i64 = 1_700_000_000 / 3_600 * 3_600 - 35;
const SECONDS: i64 = 47;
/// 3 KiB for a digest of an instance, 2.7 were measured: a process that has 240 instances of 200 digests then takes 141 MiB for
/// them, and leaves 115 of its 256 MiB for what is read and written.
const BYTES_MAX: usize = 3 << 10;

#[test]
fn a_digest_of_an_instance_takes_little_memory() {
    let load = rows::Load::new(1);
    let instances: Vec<InstanceId> =
        (0..INSTANCES).map(|at| InstanceId::parse(format!("db-{at}")).expect("legal")).collect();
    let mut windows = Windows::new(0);
    let (mut offset, mut most) = (0, 0);
    let mut before = None;
    for second in BEGIN..BEGIN + SECONDS {
        for (at, instance) in instances.iter().enumerate() {
            let record =
                examples::counted("shop", &format!("agent/h{at}"), second as u64, &load.rows(instance, second));
            // What one batch takes is there before the first is counted.
            before.get_or_insert_with(resident_bytes);
            windows.fold(&record.stored(0, offset, Timestamp((second + 1) * 1_000_000)));
            offset += 1;
        }
        most = most.max(resident_bytes());
    }
    assert_eq!(windows.dropped().late, 0);
    let each = (most - before.expect("a batch")) / (INSTANCES * rows::DIGESTS);
    println!("{each} bytes for each digest of an instance");
    // Less than the numbers of one window take would mean that it measures something else.
    assert!((200..=BYTES_MAX).contains(&each), "{each} bytes for each digest of an instance, at most {BYTES_MAX}");
}

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells it");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it is there");
    1_024 * line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number")
}
