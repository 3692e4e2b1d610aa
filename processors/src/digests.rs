//! The text of a new digest in, the tables that it touches and what it does out: the one place where statements are parsed.
//! It runs once per new digest, off the path that every statement takes, and it may fail: then what the scanner read off the
//! text stands. It must never see a literal (canonical texts have none) and never take long, whatever it is given.

use std::ops::ControlFlow;

use millrace_schemas::digest::Kind;
use sqlparser::ast::{ObjectName, Query, Statement, Visit, Visitor};
use sqlparser::dialect::MySqlDialect;
use sqlparser::parser::Parser;

/// 8 KiB: the longest canonical text; a longer one was not made by the scanner.
const TEXT_BYTES_MAX: usize = millrace_schemas::digest::TEXT_BYTES_MAX;
/// 40 levels of nesting: statements of people have fewer than ten; parsing deeper ones costs stack, not insight.
const DEPTH_MAX: usize = 40;
/// 64 tables: MySQL joins no more than 61 in one statement.
const TABLES_MAX: usize = 64;

/// What the parser says of a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// `schema.table` where the schema is given, sorted, each once; names of common table expressions are none.
    pub tables: Vec<String>,
    /// What it does; none where the syntax tree tells no more than the scanner's own reading.
    pub kind: Option<Kind>,
}

/// Parses a canonical text; none when it is too long, cut, or not SQL that the parser knows.
pub fn describe(text: &str) -> Option<Described> {
    if text.len() > TEXT_BYTES_MAX {
        return None;
    }
    // The scanner writes `(...)` for a list of values of any length.
    let text = text.replace("(...)", "(?)").replace("...", "?");
    let parser = Parser::new(&MySqlDialect {}).with_recursion_limit(DEPTH_MAX);
    let statements = parser.try_with_sql(&text).and_then(|mut parser| parser.parse_statements()).ok()?;
    let [statement] = statements.as_slice() else { return None };
    let mut seen = Seen::default();
    let _ = statement.visit(&mut seen);
    let mut tables: Vec<String> = seen.relations.into_iter().filter(|name| !seen.defined.contains(name)).collect();
    tables.sort();
    tables.dedup();
    tables.truncate(TABLES_MAX);
    Some(Described { tables, kind: kind_of(statement) })
}

#[derive(Default)]
struct Seen {
    relations: Vec<String>,
    /// Names of common table expressions.
    defined: Vec<String>,
}

impl Visitor for Seen {
    type Break = ();

    fn pre_visit_relation(&mut self, name: &ObjectName) -> ControlFlow<()> {
        self.relations.push(plain(name));
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let names = query.with.iter().flat_map(|with| &with.cte_tables).map(|table| table.alias.name.value.clone());
        self.defined.extend(names);
        ControlFlow::Continue(())
    }
}

/// The name without quotes.
fn plain(name: &ObjectName) -> String {
    let part = |part: &sqlparser::ast::ObjectNamePart| {
        part.as_ident().map_or_else(|| part.to_string(), |ident| ident.value.clone())
    };
    name.0.iter().map(part).collect::<Vec<_>>().join(".")
}

fn kind_of(statement: &Statement) -> Option<Kind> {
    match statement {
        Statement::Query(_) => Some(Kind::SELECT),
        Statement::StartTransaction { .. } => Some(Kind::BEGIN),
        Statement::Commit { .. } => Some(Kind::COMMIT),
        Statement::Use(_) => Some(Kind::CHANGE_DB),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, tables: &[&str], kind: Option<Kind>) {
        let found = describe(text);
        let tables = tables.iter().map(|table| (*table).to_owned()).collect();
        assert_eq!(found, Some(Described { tables, kind }), "{text}");
    }

    #[test]
    fn finds_tables_however_deep() {
        check("SELECT * FROM `t` WHERE `id` = ?", &["t"], Some(Kind::SELECT));
        check("SELECT `a` FROM `shop` . `b` WHERE `c` IN (...)", &["shop.b"], Some(Kind::SELECT));
        check(
            "SELECT ? FROM `a` JOIN `b` ON `a` . `x` = `b` . `x` WHERE EXISTS ( SELECT ? FROM `c` )",
            &["a", "b", "c"],
            Some(Kind::SELECT),
        );
        check("INSERT INTO `t` ( `a` , `b` ) VALUES (...)", &["t"], None);
        check("DELETE FROM `t` WHERE `id` = ?", &["t"], None);
    }

    #[test]
    fn a_common_table_expression_is_no_table() {
        check("WITH `w` AS ( SELECT * FROM `t` ) SELECT * FROM `w`", &["t"], Some(Kind::SELECT));
    }

    #[test]
    fn what_is_no_sql_is_nothing() {
        for text in ["", "FROBNICATE `t`", "SELECT FROM WHERE", "SELECT ? ; SELECT ?"] {
            assert_eq!(describe(text), None, "{text}");
        }
        assert_eq!(describe(&"SELECT ? , ".repeat(1_000)), None);
        assert_eq!(describe(&format!("SELECT {} ? {}", "(".repeat(500), ")".repeat(500))), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[A-Za-z0-9`'(),.;*=? ]{0,200}") {
            let _ = describe(&text);
        }
    }
}
