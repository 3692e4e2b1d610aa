//! Lines of commands: what is masked in them, and that they are lines.

use std::sync::Arc;

use millrace_collectors::wire::{Flags, ServerError};
use millrace_schemas::digest::{DigestId, SqlMode};

use super::*;

fn ended() -> Ended {
    Ended {
        ts_us: 1_700_000_000_123_456,
        client: "10.0.0.1:40000".parse().expect("an address"),
        server: "[::1]:3306".parse().expect("an address"),
        connection: 3,
        thread: Some(77),
        user: Some("app".into()),
        schema: None,
        command: Some("stmt_execute"),
        statement: 0,
        sql: Some(Arc::from(&b"select 'secret',\n 5 from t where a = ?"[..])),
        mode: SqlMode::default(),
        values: Some(Arc::from([Value::Signed(-1), Value::Bytes(Box::from(&b"x\xff"[..])), Value::Long(9)])),
        digest: Some(DigestId([1; 16])),
        rt_us: Some((120, 4_500)),
        rows: 2,
        affected: 0,
        warnings: Some(1),
        error: Some(ServerError { code: 1064, sqlstate: Some(*b"42000") }),
        request_bytes: 30,
        response_bytes: 90,
        flags: Flags::MIDSTREAM,
        gtid: None,
        sample_factor: 1,
    }
}

#[test]
fn a_line_masks_unless_it_is_asked_not_to() {
    let masked = serde_json::to_value(line(&ended(), false)).expect("serializes");
    assert_eq!(masked["sql"], "select ?, ? from t where a = ?");
    assert!(masked.get("parameters").is_none());
    let shown = serde_json::to_value(line(&ended(), true)).expect("serializes");
    assert_eq!(shown["sql"], "select 'secret',\n 5 from t where a = ?");
    assert_eq!(shown["parameters"], serde_json::json!([-1, "0x78ff", {"long_data_bytes": 9}]));
    assert_eq!(shown["error"], serde_json::json!({"code": 1064, "sqlstate": "42000"}));
    assert_eq!((&shown["ts"], &shown["server"]), (&"2023-11-14T22:13:20.123456Z".into(), &"[::1]:3306".into()));
}

#[test]
fn a_line_of_text_is_one_line_and_fits() {
    let whole = text(&ended(), false, None);
    assert_eq!(
        whole,
        "22:13:20.123456 #3       4.500 ms      2 rows app@- stmt_execute error 1064 [midstream]: select ?, ? from t where a = ?"
    );
    let cut = text(&ended(), false, Some(80));
    assert_eq!((cut.chars().count(), cut.ends_with('…')), (80, true));
    // No command of a terminal's own gets through.
    let evil = Ended { sql: Some(Arc::from(&b"select `\x1b[2J`"[..])), ..ended() };
    assert!(!text(&evil, true, None).contains('\x1b'));
}
