//! Rows of response times: their percentiles, their width, and in which order intervals close.

use super::*;

fn row_of(times: &[u64]) -> Row {
    let mut bucket = Bucket::default();
    for us in times {
        bucket.add(*us, us.is_multiple_of(2), 1);
    }
    bucket.row(1_700_000_000_000_000)
}

#[test]
fn percentiles_are_of_all_commands() {
    let times: Vec<u64> = (1..=1_000).rev().collect();
    let row = row_of(&times);
    assert_eq!((row.count, row.min_us, row.max_us, row.avg_us), (1_000, 1, 1_000, 501));
    assert_eq!((row.med_us, row.p95_us, row.p99_us, row.stddev_us), (500, 950, 990, 289));
    assert!((row.encrypted_pct - 50.0).abs() < 1e-9);
    let one = row_of(&[7]);
    assert_eq!((one.med_us, one.p95_us, one.p99_us, one.stddev_us), (7, 7, 7, 0));
    let none = row_of(&[]);
    assert_eq!((none.count, none.min_us, none.p99_us), (0, 0, 0));
}

#[test]
fn a_row_fits_in_80_columns() {
    let row = row_of(&[1, 2, 99_999]);
    assert_eq!((HEADING.len(), text(&row).len()), (80, 80));
    assert!(text(&row).starts_with("22:13:20 "));
}

#[test]
fn intervals_close_in_order_and_quiet_ones_are_rows() {
    let mut intervals = Intervals::new(Duration::from_secs(1), Until::First);
    let second = 1_000_000;
    intervals.at(10 * second).add(5, false, 1);
    intervals.at(13 * second + 1).add(7, false, 1);
    assert!(intervals.close(10 * second).is_empty());
    let counts = |rows: Vec<Row>| rows.iter().map(|row| row.count).collect::<Vec<_>>();
    assert_eq!(counts(intervals.close(13 * second)), [1, 0, 0]);
    // Late: it counts in the first that is open.
    intervals.at(11 * second).add(9, false, 1);
    assert_eq!(counts(intervals.close(14 * second)), [2]);
    // A gap of days is told, not shown.
    intervals.at(200_000 * second).add(1, false, 1);
    assert_eq!(counts(intervals.close(200_001 * second)), [1]);
}

#[test]
fn intervals_are_read_with_their_units() {
    assert_eq!(interval("1s"), Ok(Duration::from_secs(1)));
    assert_eq!(interval("500ms"), Ok(Duration::from_millis(500)));
    assert_eq!(interval("1m"), Ok(Duration::from_mins(1)));
    assert!(interval("1").expect_err("no unit").contains("is no length of time"));
    assert!(interval("-1s").expect_err("negative").contains("is no length of time"));
    assert!(interval("10ms").expect_err("short").contains("at least 100ms"));
}

/// Three of ten commands stand for four each.
#[test]
fn a_sampled_command_stands_for_several() {
    let mut bucket = Bucket::default();
    for us in 1..=7 {
        bucket.add(us, false, 1);
    }
    for us in [10, 20, 30] {
        bucket.add(us, true, 4);
    }
    let row = bucket.row(0);
    assert_eq!((row.count, row.sample_factor), (19, 4));
    assert_eq!((row.avg_us, row.min_us, row.max_us), (((28.0 + 240.0) / 19.0_f64).round() as u64, 1, 30));
    assert!((row.encrypted_pct - 63.16).abs() < 1e-9, "{row:?}");
}
