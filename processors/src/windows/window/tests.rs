//! Sums that wait for the shortest window against sums that do not.

use millrace_schemas::ids::InstanceId;
use millrace_schemas::topics::queries::{Source, encode, with_rows};

use super::*;

/// More digests than have rows of their own, so that some are folded, in each window others.
const DIGESTS: u64 = 2_600;
const ROWS: u64 = 12_000;
/// An hour of two minutes of three windows of 10 s each.
const MINUTES: usize = 2;
const SHORTEST: usize = 3;

fn instance() -> InstanceId {
    InstanceId::parse("db1").expect("legal")
}

/// Numbers that look like chance and are none.
fn dice(at: u64, which: u64) -> u64 {
    let mut z = (at * 8 + which).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z ^ (z >> 27)
}

fn row(at: u64) -> Row {
    let count = dice(at, 1) % 4;
    let (mut rt_first, mut rt_last) = (Sketch::new(), Sketch::new());
    rt_first.add_n(dice(at, 2) % 1_000, count);
    // Now and then so long that low buckets are merged.
    rt_last.add_n(dice(at, 3) >> (dice(at, 4) % 60), count);
    let digest = match dice(at, 5) % (DIGESTS + 20) {
        known if known < DIGESTS => DigestId(u128::from(known).to_be_bytes()),
        _ => DigestId::OTHER,
    };
    let is_other = digest == DigestId::OTHER;
    Row {
        second: 0,
        instance: instance(),
        schema: if is_other { String::new() } else { format!("s{}", dice(at, 6) % 2) },
        user: if is_other { String::new() } else { "app".to_owned() },
        digest,
        source: Source::Wire,
        sample_factor: (dice(at, 7) % 3) as u32,
        count,
        errors: count / 2,
        rows_sent: at,
        rows_affected: 1,
        rows_examined: (!at.is_multiple_of(7)).then_some(3),
        lock_us: None,
        bytes_in: 10,
        bytes_out: 20,
        rt_sum_us: dice(at, 3) % 1_000_000,
        rt_min_us: 5 + at % 3,
        rt_max_us: 50 + at % 1_000,
        rt_first,
        rt_last,
        folded: if is_other { (at % 9) as u32 } else { 0 },
        killed: (!at.is_multiple_of(5)).then_some(at % 2),
        timed_out: Some(at % 3),
    }
}

fn sums(open: &mut Open) -> Vec<Shown<'_>> {
    open.rows(usize::MAX)
}

#[test]
fn wider_windows_hold_what_they_would_had_they_counted_each_row() {
    let rows: Vec<Row> = (0..ROWS).map(row).collect();
    let bytes = encode(&rows).expect("encodes");
    with_rows(&bytes, |rows| {
        let mut names = Names::default();
        let mut new = || Open::new(&rows[0], 0, 0, &mut names);
        let mut hour = new();
        let mut minutes = [(); MINUTES].map(|()| new());
        let mut shortest = [(); MINUTES].map(|()| [(); SHORTEST].map(|()| new()));
        let (mut alone_hour, mut alone_minutes, mut alone) = (hour.clone(), minutes.clone(), shortest.clone());
        let beside = &mut Beside { names: &mut Names::default(), times: &mut Times::default(), before: None };
        for (at, row) in rows.chunks(1).enumerate() {
            let chance = dice(at as u64, 0) % 10;
            // Each in its time, and some in the window before, which is open for a while yet.
            let window = (at * MINUTES * SHORTEST / rows.len()).saturating_sub(usize::from(chance < 2));
            let (in_hour, in_minute) = (window / SHORTEST, window % SHORTEST);
            let minute = &mut minutes[in_hour];
            match chance {
                // So late that only the wider windows are open, or only the widest.
                2 => minute.count(row, &mut [&mut hour], beside),
                3 => hour.count(row, &mut [], beside),
                _ => shortest[in_hour][in_minute].count(row, &mut [minute, &mut hour], beside),
            }
            alone_hour.count(row, &mut [], beside);
            if chance != 3 {
                alone_minutes[in_hour].count(row, &mut [], beside);
                if chance != 2 {
                    alone[in_hour][in_minute].count(row, &mut [], beside);
                }
            }
        }
        for (minute, inside) in minutes.iter_mut().zip(&shortest) {
            for open in inside {
                minute.take_over(open);
            }
            hour.take_over(minute);
        }
        assert_eq!(sums(&mut hour), sums(&mut alone_hour));
        assert_eq!(minutes.each_mut().map(sums), alone_minutes.each_mut().map(sums));
        assert_eq!(
            shortest.as_flattened_mut().iter_mut().map(sums).collect::<Vec<_>>(),
            alone.as_flattened_mut().iter_mut().map(sums).collect::<Vec<_>>()
        );
        let other = alone_hour.rows(usize::MAX).into_iter().find(|row| row.digest == DigestId::OTHER);
        assert!(other.is_some_and(|other| other.folded > 1_000), "hardly anything is folded");
    })
    .expect("reads");
}
