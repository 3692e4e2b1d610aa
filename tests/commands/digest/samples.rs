//! Large real logs and captures against what the servers counted: `MILLRACE_SAMPLES` names a folder of them with their truth.
//! Ignored without.

use std::path::PathBuf;

use serde_json::Value;

use super::{profile, summed};

fn samples() -> PathBuf {
    std::env::var_os("MILLRACE_SAMPLES").map(PathBuf::from).expect("MILLRACE_SAMPLES names the folder of the samples")
}

fn truth(name: &str) -> Value {
    let bytes = std::fs::read(samples().join(format!("{name}.truth.json"))).expect("the truth");
    serde_json::from_slice(&bytes).expect("JSON")
}

/// The number of entries is the server's own; the sum of times that of all header lines but the forged one.
fn check(name: &str, forged_us: u64) {
    let packed = samples().join(format!("{name}.slow.log.zst"));
    let log = zstd::stream::decode_all(std::fs::File::open(&packed).expect("the log")).expect("unpacks");
    let (lines, time_us) = summed(&String::from_utf8_lossy(&log));
    let found = profile(&["--limit", "all"], &[&packed]);
    let truth = truth(&format!("{name}.slow"));
    let overall = &found["overall"];
    assert_eq!(overall["calls"], truth["status_delta"]["Slow_queries"]);
    assert_eq!((overall["calls"].as_u64(), overall["time_us"].as_u64()), (Some(lines - 1), Some(time_us - forged_us)));
    let of_kind = |kind: &str| -> u64 {
        let groups = found["groups"].as_array().expect("groups").iter();
        groups.filter(|group| group["digest"]["kind"] == kind).filter_map(|group| group["calls"].as_u64()).sum()
    };
    for kind in ["commit", "begin", "delete", "insert", "update"] {
        let counted = truth["event_name_delta"][format!("statement/sql/{kind}")].as_u64();
        assert_eq!(Some(of_kind(kind)), counted, "{kind}");
    }
}

#[test]
#[ignore = "needs MILLRACE_SAMPLES=DIR with logs"]
fn mysql_logs_are_exact() {
    check("mysql97-extra-text", 9_900_000);
}

#[test]
#[ignore = "needs MILLRACE_SAMPLES=DIR with logs"]
fn mariadb_logs_are_exact() {
    check("mariadb1011-verbose-text", 9_900_000);
}

#[test]
#[ignore = "needs MILLRACE_SAMPLES=DIR with captures"]
fn captures_are_exact() {
    let file = samples().join("mysql97-text.pcap.zst");
    let found = profile(&["--port", "33120", "--limit", "all"], &[&file]);
    let truth = truth("mysql97-text");
    for kind in ["commit", "begin", "delete", "insert", "update"] {
        let groups = found["groups"].as_array().expect("groups").iter();
        let calls: u64 =
            groups.filter(|group| group["digest"]["kind"] == kind).filter_map(|group| group["calls"].as_u64()).sum();
        assert_eq!(Some(calls), truth["event_name_delta"][format!("statement/sql/{kind}")].as_u64(), "{kind}");
    }
}
