//! Which statements filters let through, and where they are wrong.

use millrace_schemas::digest::DigestId;
use proptest::prelude::*;

use super::*;
use crate::profile::Classes;
use crate::profile::tests::one;

fn fits(filter: &str) -> bool {
    let filter = Filter::parse(filter).expect("a filter");
    let sql = b"update shop.orders set a = 'b' where id = 42";
    let mut classes = Classes::new();
    let id = classes.id_of(sql);
    let statement = Observed { flags: &["full_scan"], rows_affected: None, ..one(id, sql, 1_500_000) };
    filter.fits(&statement, &mut || classes.of(id, sql))
}

#[test]
fn conditions_hold_or_not() {
    let holds = [
        "user = 'app' and query_time > 1s and not schema = 'other'",
        "user = 'x' or query_time >= 1500ms",
        "QUERY_TIME < 0.1m AND rows_examined = 1k",
        "table = 'shop.orders'",
        "table ~ 'ord' and kind = \"update\"",
        "not (user = 'app' and host = 'x')",
        "sql ~ '= 42$' and text ~ 'SET'",
        "flag = 'full_scan' and flag != 'filesort'",
        "user !~ '^root' and rows_sent <> 1",
        "not rows_affected > 0",
        "error = 1062 and thread = 7",
        "bytes_sent <= 2KiB",
    ];
    for filter in holds {
        assert!(fits(filter), "{filter}");
    }
    let fails = [
        "user = 'app' and user = 'x'",
        "rows_affected > 0",
        // What is not told fits no comparison.
        "rows_affected = 0",
        "user = 'x' or user = 'app' and schema = 'other'",
        "query_time > 1500ms",
        "table = 'orders'",
    ];
    for filter in fails {
        assert!(!fits(filter), "{filter}");
    }
}

#[test]
fn what_is_wrong_is_pointed_at() {
    let check = |filter: &str, column: usize, part: &str| {
        let error = Filter::parse(filter).expect_err(filter);
        assert_eq!(error.column, column, "{error}");
        assert!(error.to_string().contains(part), "{error}");
        let caret = error.to_string().lines().last().map(str::len);
        assert_eq!(caret, Some(column + 2), "the caret stands below the column\n{error}");
    };
    check("usr = 'x'", 1, "no field 'usr'");
    check("user = x", 8, "in quotes");
    check("user > 'x'", 6, "'='");
    check("user = 'x", 8, "closing quote");
    check("user = 'x' user = 'y'", 12, "'and', 'or'");
    check("query_time > 5", 14, "250ms");
    check("query_time > '5s'", 14, "250ms");
    check("rows_sent > 5s", 13, "10k");
    check("rows_sent ~ '5'", 11, "'<'");
    check("(user = 'x'", 12, "')' is missing");
    check("user ~ '('", 8, "regular expression");
    check("user = 'ü' & x", 12, "'&'");
    check("", 1, "a field is expected");
    check(&"not ".repeat(60), 201, "levels");
    check("user = 'x' and", 15, "a field is expected");
}

#[test]
fn sums_have_no_single_times() {
    Filter::parse("user = 'x' and table ~ 'y'").expect("a filter").check_for_sums().expect("names are known of sums");
    let filter = Filter::parse("user = 'x' and query_time > 1s").expect("a filter");
    let error = filter.check_for_sums().expect_err("a sum has no such time");
    assert_eq!(error.column, 16);
    assert!(error.to_string().contains("'query_time' cannot be asked of a capture"), "{error}");
}

proptest! {
    #[test]
    fn no_text_breaks_it(text in "[a-z_ ()=<>!~'\"0-9.]{0,40}|.{0,20}") {
        if let Ok(filter) = Filter::parse(&text) {
            let mut classes = Classes::new();
            filter.fits(&one(DigestId::ADMIN, b"x", 1), &mut || classes.of(DigestId::ADMIN, b"x"));
        }
    }
}
