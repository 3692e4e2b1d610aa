//! What a statement does and which tables it names, read off its canonical text: once per new digest, never per statement.
//! Kinds carry the names of the server's own counters (`Com_select` is `select`), so that both can be compared. Names that
//! come after `FROM`, `JOIN`, `INTO`, `UPDATE` and `TABLE` are tables. It must never fail: what is not known is `other`.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// What a statement does, as the server's `Com_` counters name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Kind(&'static str);

macro_rules! kinds {
    ($($constant:ident = $name:literal),* $(,)?) => {
        impl Kind {
            $(#[doc = concat!("Counted by `Com_", $name, "`.")] pub const $constant: Kind = Kind($name);)*
            const NAMED: &'static [Kind] = &[$(Kind::$constant),*];
        }
    };
}

kinds! {
    SELECT = "select", INSERT = "insert", INSERT_SELECT = "insert_select", REPLACE = "replace",
    REPLACE_SELECT = "replace_select", UPDATE = "update", UPDATE_MULTI = "update_multi", DELETE = "delete",
    DELETE_MULTI = "delete_multi", BEGIN = "begin", COMMIT = "commit", ROLLBACK = "rollback",
    ROLLBACK_TO_SAVEPOINT = "rollback_to_savepoint", SAVEPOINT = "savepoint",
    RELEASE_SAVEPOINT = "release_savepoint", SET_OPTION = "set_option", SET_PASSWORD = "set_password",
    CHANGE_DB = "change_db", CALL_PROCEDURE = "call_procedure", LOAD = "load", OTHER = "other",
    ADMIN = "admin_commands",
}

/// Kinds that are the first word of the statement, or the first two.
const BY_WORDS: &[(&str, &str)] = &[
    ("ANALYZE", "analyze"),
    ("BINLOG", "binlog"),
    ("CHANGE MASTER", "change_master"),
    ("CHANGE REPLICATION", "change_replication_source"),
    ("CHECK", "check"),
    ("CHECKSUM", "checksum"),
    ("CLONE", "clone"),
    ("DEALLOCATE", "dealloc_sql"),
    ("DESC", "show_fields"),
    ("DO", "do"),
    ("EXECUTE", "execute_sql"),
    ("EXPLAIN", "explain_other"),
    ("FLUSH", "flush"),
    ("GRANT", "grant"),
    ("HANDLER", "ha_read"),
    ("HELP", "help"),
    ("INSTALL PLUGIN", "install_plugin"),
    ("KILL", "kill"),
    ("LOCK", "lock_tables"),
    ("OPTIMIZE", "optimize"),
    ("PREPARE", "prepare_sql"),
    ("PURGE", "purge"),
    ("RENAME SYSTEM_USER", "rename_user"),
    ("RENAME", "rename_table"),
    ("REPAIR", "repair"),
    ("RESET", "reset"),
    ("RESIGNAL", "resignal"),
    ("REVOKE", "revoke"),
    ("SHOW BINARY", "show_binlogs"),
    ("SHOW CREATE", "show_create_table"),
    ("SHOW ENGINE", "show_engine_status"),
    ("SHOW ERRORS", "show_errors"),
    ("SHOW FIELDS", "show_fields"),
    ("SHOW GRANTS", "show_grants"),
    ("SHOW KEYS", "show_keys"),
    ("SHOW PROCESSLIST", "show_processlist"),
    ("SHOW REPLICA", "show_replica_status"),
    ("SHOW SCHEMAS", "show_databases"),
    ("SHOW SLAVE", "show_slave_status"),
    ("SHOW STATUS", "show_status"),
    ("SHOW TABLES", "show_tables"),
    ("SHOW VARIABLES", "show_variables"),
    ("SHOW WARNINGS", "show_warnings"),
    ("SHOW", "show"),
    ("SHUTDOWN", "shutdown"),
    ("SIGNAL", "signal"),
    ("START REPLICA", "replica_start"),
    ("START SLAVE", "slave_start"),
    ("STOP REPLICA", "replica_stop"),
    ("STOP SLAVE", "slave_stop"),
    ("TRUNCATE", "truncate"),
    ("UNINSTALL PLUGIN", "uninstall_plugin"),
    ("UNLOCK", "unlock_tables"),
    ("XA BEGIN", "xa_start"),
    ("XA START", "xa_start"),
    ("XA END", "xa_end"),
    ("XA PREPARE", "xa_prepare"),
    ("XA COMMIT", "xa_commit"),
    ("XA ROLLBACK", "xa_rollback"),
    ("XA RECOVER", "xa_recover"),
];

/// What `CREATE`, `ALTER` and `DROP` change, and the three kinds.
const BY_OBJECT: &[(&str, [&str; 3])] = &[
    ("TABLE", ["create_table", "alter_table", "drop_table"]),
    ("INDEX", ["create_index", "other", "drop_index"]),
    ("VIEW", ["create_view", "alter_view", "drop_view"]),
    ("SCHEMA", ["create_db", "alter_db", "drop_db"]),
    ("SYSTEM_USER", ["create_user", "alter_user", "drop_user"]),
    ("ROLE", ["create_role", "other", "drop_role"]),
    ("PROCEDURE", ["create_procedure", "alter_procedure", "drop_procedure"]),
    ("FUNCTION", ["create_function", "alter_function", "drop_function"]),
    ("TRIGGER", ["create_trigger", "other", "drop_trigger"]),
    ("EVENT", ["create_event", "alter_event", "drop_event"]),
    ("SERVER", ["create_server", "alter_server", "drop_server"]),
    ("TABLESPACE", ["create_tablespace", "alter_tablespace", "drop_tablespace"]),
    ("SEQUENCE", ["create_sequence", "alter_sequence", "drop_sequence"]),
];

impl Kind {
    /// The counter's name without `Com_`.
    pub fn as_str(self) -> &'static str {
        self.0
    }

    /// The kind of this name; [`Kind::OTHER`] for a name that this version does not know.
    pub fn named(name: &str) -> Kind {
        let known = Kind::NAMED.iter().map(|kind| kind.0);
        let words = BY_WORDS.iter().map(|(_, kind)| *kind);
        let objects = BY_OBJECT.iter().flat_map(|(_, kinds)| kinds.iter().copied());
        known.chain(words).chain(objects).find(|known| *known == name).map_or(Kind::OTHER, Kind)
    }

    /// Ends a transaction by itself or is one: what transactions per second are counted from.
    pub fn ends_transaction(self) -> bool {
        matches!(self, Kind::COMMIT | Kind::ROLLBACK)
    }

    /// Changes rows.
    pub fn writes_rows(self) -> bool {
        matches!(
            self,
            Kind::INSERT
                | Kind::INSERT_SELECT
                | Kind::REPLACE
                | Kind::REPLACE_SELECT
                | Kind::UPDATE
                | Kind::UPDATE_MULTI
                | Kind::DELETE
                | Kind::DELETE_MULTI
                | Kind::LOAD
        )
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Kind, D::Error> {
        Cow::<'de, str>::deserialize(deserializer).map(|name| Kind::named(&name))
    }
}

impl schemars::JsonSchema for Kind {
    fn schema_name() -> Cow<'static, str> {
        "Kind".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[a-z_]+$" })
    }
}

/// The kind of a statement, from its canonical text.
pub(super) fn of(text: &str) -> Kind {
    let mut words = Words(text).skip_while(|word| *word == "(");
    let first = words.next().unwrap_or_default();
    let second = words.next().unwrap_or_default();
    match first {
        "SELECT" | "TABLE" | "VALUES" => Kind::SELECT,
        "WITH" => after_with(text),
        "INSERT" => with_rows(text, Kind::INSERT, Kind::INSERT_SELECT),
        "REPLACE" => with_rows(text, Kind::REPLACE, Kind::REPLACE_SELECT),
        "UPDATE" => one_or_many(Words(text).take_while(|w| *w != "SET"), Kind::UPDATE, Kind::UPDATE_MULTI),
        "DELETE" => delete(text),
        "BEGIN" => Kind::BEGIN,
        "START" if second == "TRANSACTION" => Kind::BEGIN,
        "COMMIT" => Kind::COMMIT,
        "ROLLBACK" if second == "TO" || Words(text).any(|w| w == "TO") => Kind::ROLLBACK_TO_SAVEPOINT,
        "ROLLBACK" => Kind::ROLLBACK,
        "SAVEPOINT" => Kind::SAVEPOINT,
        "RELEASE" => Kind::RELEASE_SAVEPOINT,
        "SET" if second == "PASSWORD" => Kind::SET_PASSWORD,
        "SET" => Kind::SET_OPTION,
        "USE" => Kind::CHANGE_DB,
        "CALL" => Kind::CALL_PROCEDURE,
        "LOAD" => Kind::LOAD,
        "CREATE" => of_object(text, 0),
        "ALTER" => of_object(text, 1),
        "DROP" => of_object(text, 2),
        "SHOW" => of_words(first, words_after_scope(text)),
        _ => of_words(first, second),
    }
}

/// `SHOW GLOBAL STATUS` is what `SHOW STATUS` is.
fn words_after_scope(text: &str) -> &str {
    Words(text)
        .skip(1)
        .find(|word| !matches!(*word, "GLOBAL" | "SESSION" | "LOCAL" | "FULL" | "EXTENDED" | "ALL"))
        .unwrap_or_default()
}

fn of_words(first: &str, second: &str) -> Kind {
    let both = |pattern: &str| {
        let mut parts = pattern.split(' ');
        parts.next() == Some(first) && parts.next().is_none_or(|word| word == second)
    };
    BY_WORDS.iter().find(|(pattern, _)| both(pattern)).map_or(Kind::OTHER, |(_, kind)| Kind(kind))
}

fn of_object(text: &str, column: usize) -> Kind {
    // 12 words: `CREATE OR REPLACE ALGORITHM = MERGE DEFINER = CURRENT_USER SQL SECURITY INVOKER VIEW` has 13.
    Words(text)
        .take(16)
        .find_map(|word| BY_OBJECT.iter().find(|(object, _)| *object == word))
        .map_or(Kind::OTHER, |(_, kinds)| Kind(kinds[column]))
}

fn after_with(text: &str) -> Kind {
    let mut depth = 0_i32;
    for word in Words(text) {
        match word {
            "(" => depth += 1,
            ")" => depth -= 1,
            "SELECT" if depth == 0 => return Kind::SELECT,
            "UPDATE" if depth == 0 => return Kind::UPDATE,
            "DELETE" if depth == 0 => return Kind::DELETE,
            _ => {}
        }
    }
    Kind::OTHER
}

fn with_rows(text: &str, rows: Kind, select: Kind) -> Kind {
    let before_values = Words(text).take_while(|word| !matches!(*word, "VALUES" | "SET"));
    let mut words = before_values.filter(|word| matches!(*word, "SELECT" | "TABLE"));
    if words.next().is_some() { select } else { rows }
}

fn one_or_many<'a>(words: impl Iterator<Item = &'a str>, one: Kind, many: Kind) -> Kind {
    let mut words = words;
    if words.any(|word| matches!(word, "," | "JOIN" | "STRAIGHT_JOIN")) { many } else { one }
}

fn delete(text: &str) -> Kind {
    let modifiers = ["LOW_PRIORITY", "QUICK", "IGNORE"];
    let target = Words(text).skip(1).find(|word| !modifiers.contains(word));
    let tables = Words(text).take_while(|word| *word != "WHERE");
    let using = tables.clone().any(|word| word == "USING");
    if target == Some("FROM") && !using { Kind::DELETE } else { Kind::DELETE_MULTI }
}

/// The tables that a statement names, from its canonical text.
pub(super) fn tables(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    // One bit per open parenthesis: whether a statement, not a function's arguments, is inside it (`EXTRACT ( x FROM y )`).
    let mut statement_inside = vec![true];
    let mut words = Words(text).peekable();
    let mut expects = false;
    let mut in_list = false;
    while let Some(word) = words.next() {
        let inside = statement_inside.last().copied().unwrap_or(true);
        match word {
            "(" => statement_inside.push(false),
            ")" => {
                statement_inside.pop();
                (expects, in_list) = (false, false);
            }
            "SELECT" | "DELETE" => {
                if let Some(last) = statement_inside.last_mut() {
                    *last = true;
                }
                (expects, in_list) = (false, false);
            }
            "FROM" | "JOIN" | "STRAIGHT_JOIN" | "INTO" | "UPDATE" | "TABLE" | "TABLES" | "TRUNCATE" if inside => {
                (expects, in_list) = (true, word != "INTO");
            }
            "INSERT" | "REPLACE" if found.is_empty() && statement_inside.len() == 1 => expects = true,
            "," if in_list && inside => expects = true,
            "IGNORE" | "LOW_PRIORITY" | "DELAYED" | "IF" | "NOT" | "EXISTS" | "QUICK" | "HIGH_PRIORITY" | "LATERAL" => {
            }
            name if expects && name.starts_with('`') => {
                let mut table = unquoted(name);
                if words.next_if_eq(&".").is_some()
                    && let Some(second) = words.next_if(|next| next.starts_with('`'))
                {
                    table = format!("{table}.{}", unquoted(second));
                }
                if !found.contains(&table) {
                    found.push(table);
                }
                expects = false;
            }
            "WHERE" | "SET" | "VALUES" | "ON" | "GROUP" | "ORDER" | "HAVING" | "LIMIT" | "USING" => {
                (expects, in_list) = (false, false);
            }
            _ => expects = false,
        }
    }
    found
}

fn unquoted(name: &str) -> String {
    name.trim_matches('`').replace("``", "`")
}

/// The words of a canonical text; a name in backticks is one word whatever it contains.
#[derive(Clone)]
struct Words<'a>(&'a str);

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let text = self.0.trim_start_matches(' ');
        if text.is_empty() {
            return None;
        }
        let end = if let Some(name) = text.strip_prefix('`') {
            let bytes = name.as_bytes();
            let mut at = 0;
            while at < bytes.len() && (bytes[at] != b'`' || bytes.get(at + 1) == Some(&b'`')) {
                at += if bytes[at] == b'`' { 2 } else { 1 };
            }
            (at + 2).min(text.len())
        } else {
            text.find(' ').unwrap_or(text.len())
        };
        let (word, rest) = text.split_at(end);
        self.0 = rest;
        Some(word)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Scanner;

    fn check(sql: &str, kind: &str, tables: &[&str]) {
        let digest = Scanner::new().digest(sql.as_bytes());
        assert_eq!(
            (digest.kind.as_str(), digest.tables),
            (kind, tables.iter().map(ToString::to_string).collect()),
            "{sql}"
        );
    }

    #[test]
    fn names_what_rows_statements_do() {
        check("select * from a, b.c x join d using (i)", "select", &["a", "b.c", "d"]);
        check("(select 1 from a) union select 2 from b", "select", &["a", "b"]);
        check("select extract(year from c) from t where d in (select e from u)", "select", &["t", "u"]);
        check("insert into t (a, b) values (1, 2)", "insert", &["t"]);
        check("insert ignore t select * from u", "insert_select", &["t", "u"]);
        check("replace into t values (1)", "replace", &["t"]);
        check("update low_priority t set a = 1 where b = 2", "update", &["t"]);
        check("update t join u using (a) set b = 1", "update_multi", &["t", "u"]);
        check("delete from t where a = 1", "delete", &["t"]);
        check("delete a from t a join u b", "delete_multi", &["t", "u"]);
        check("with x as (select 1 from t) select * from x", "select", &["t", "x"]);
        check("load data local infile 'x' into table t", "load", &["t"]);
    }

    #[test]
    fn names_what_other_statements_do() {
        check("begin", "begin", &[]);
        check("start transaction read only", "begin", &[]);
        check("rollback to savepoint a", "rollback_to_savepoint", &[]);
        check("set names utf8mb4", "set_option", &[]);
        check("use db1", "change_db", &[]);
        check(
            "create or replace algorithm=merge definer=current_user sql security invoker view v as select 1 from t",
            "create_view",
            &["t"],
        );
        check("create table if not exists `a``b`.c (d int)", "create_table", &["a`b.c"]);
        check("drop database d", "drop_db", &[]);
        check("show global status like 'x'", "show_status", &[]);
        check("show full processlist", "show_processlist", &[]);
        check("kill query 5", "kill", &[]);
        check("truncate table t", "truncate", &["t"]);
        check("xa commit 'a'", "xa_commit", &[]);
        check("this is no statement", "other", &[]);
        check("", "other", &[]);
    }

    #[test]
    fn a_kind_survives_its_name() {
        let kind = Scanner::new().digest(b"drop view v").kind;
        assert_eq!(super::Kind::named(kind.as_str()), kind);
        assert_eq!(super::Kind::named("from a later version"), super::Kind::OTHER);
    }
}
