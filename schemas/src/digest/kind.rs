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
    DELETE_MULTI = "delete_multi", EXPLAIN_OTHER = "explain_other", SHOW_FIELDS = "show_fields", GRANT = "grant",
    GRANT_ROLES = "grant_roles", REVOKE = "revoke", REVOKE_ALL = "revoke_all", REVOKE_ROLES = "revoke_roles",
    HA_OPEN = "ha_open", HA_READ = "ha_read", HA_CLOSE = "ha_close", BEGIN = "begin", COMMIT = "commit", ROLLBACK = "rollback",
    ROLLBACK_TO_SAVEPOINT = "rollback_to_savepoint", SAVEPOINT = "savepoint",
    RELEASE_SAVEPOINT = "release_savepoint", SET_OPTION = "set_option", SET_PASSWORD = "set_password",
    CHANGE_DB = "change_db", CALL_PROCEDURE = "call_procedure", LOAD = "load", OTHER = "other",
    ADMIN = "admin_commands",
}

/// Kinds that are told by the first words of the statement; the first that fits counts. Names are MySQL's, where MariaDB counts
/// under another.
#[rustfmt::skip]
const BY_WORDS: &[(&str, &str)] = &[
    ("ALTER INSTANCE", "alter_instance"), ("ALTER RESOURCE", "alter_resource_group"), ("ALTER VIEW", "create_view"),
    ("ANALYZE", "analyze"), ("BINLOG", "binlog"), ("CACHE", "assign_to_keycache"), ("CHANGE MASTER", "change_master"),
    ("CHANGE REPLICATION FILTER", "change_repl_filter"), ("CHANGE REPLICATION", "change_replication_source"),
    ("CHECK", "check"), ("CHECKSUM", "checksum"), ("CLONE", "clone"), ("CREATE RESOURCE", "create_resource_group"),
    ("DEALLOCATE", "dealloc_sql"), ("DESC", "show_fields"), ("DO", "do"), ("DROP PREPARE", "dealloc_sql"),
    ("DROP RESOURCE", "drop_resource_group"), ("EXECUTE", "execute_sql"), ("FLUSH", "flush"),
    ("GET", "get_diagnostics"), ("HELP", "help"), ("IMPORT", "import"), ("INSTALL COMPONENT", "install_component"),
    ("INSTALL PLUGIN", "install_plugin"), ("KILL", "kill"), ("LOAD INDEX", "preload_keys"),
    ("LOCK INSTANCE", "lock_instance"), ("LOCK", "lock_tables"), ("OPTIMIZE", "optimize"), ("PREPARE", "prepare_sql"),
    ("PURGE BINARY LOGS BEFORE", "purge_before_date"), ("PURGE MASTER LOGS BEFORE", "purge_before_date"),
    ("PURGE", "purge"), ("RENAME SYSTEM_USER", "rename_user"), ("RENAME", "rename_table"), ("REPAIR", "repair"),
    ("RESET", "reset"), ("RESIGNAL", "resignal"), ("RESTART", "restart"), ("SET DEFAULT", "alter_user_default_role"),
    ("SET PASSWORD", "set_password"), ("SET RESOURCE", "set_resource_group"), ("SET ROLE", "set_role"),
    ("SET", "set_option"), ("SHOW BINARY LOG STATUS", "show_binary_log_status"), ("SHOW BINARY", "show_binlogs"),
    ("SHOW BINLOG", "show_binlog_events"), ("SHOW CHARACTER", "show_charsets"), ("SHOW CHARSET", "show_charsets"),
    ("SHOW COLLATION", "show_collations"), ("SHOW COUNT", "select"), ("SHOW CREATE EVENT", "show_create_event"),
    ("SHOW CREATE FUNCTION", "show_create_func"), ("SHOW CREATE PROCEDURE", "show_create_proc"),
    ("SHOW CREATE SCHEMA", "show_create_db"), ("SHOW CREATE SYSTEM_USER", "show_create_user"),
    ("SHOW CREATE TRIGGER", "show_create_trigger"), ("SHOW CREATE", "show_create_table"),
    ("SHOW ENGINES", "show_storage_engines"), ("SHOW STORAGE", "show_storage_engines"),
    ("SHOW ENGINE", "show_engine_status"), ("SHOW ERRORS", "show_errors"), ("SHOW EVENTS", "show_events"),
    ("SHOW FIELDS", "show_fields"), ("SHOW FUNCTION CODE", "show_function_code"),
    ("SHOW FUNCTION", "show_function_status"), ("SHOW GRANTS", "show_grants"), ("SHOW INDEX", "show_keys"),
    ("SHOW KEYS", "show_keys"), ("SHOW MASTER LOGS", "show_binlogs"), ("SHOW MASTER", "show_master_status"),
    ("SHOW OPEN", "show_open_tables"), ("SHOW PLUGINS", "show_plugins"), ("SHOW PRIVILEGES", "show_privileges"),
    ("SHOW PROCEDURE CODE", "show_procedure_code"), ("SHOW PROCEDURE", "show_procedure_status"),
    ("SHOW PROCESSLIST", "show_processlist"), ("SHOW PROFILES", "show_profiles"), ("SHOW PROFILE", "show_profile"),
    ("SHOW RELAYLOG", "show_relaylog_events"), ("SHOW REPLICAS", "show_replicas"),
    ("SHOW REPLICA", "show_replica_status"), ("SHOW SCHEMAS", "show_databases"), ("SHOW SLAVE HOSTS", "show_slave_hosts"),
    ("SHOW SLAVE", "show_slave_status"), ("SHOW STATUS", "show_status"), ("SHOW TABLES", "show_tables"),
    ("SHOW TABLE", "show_table_status"), ("SHOW TRIGGERS", "show_triggers"), ("SHOW VARIABLES", "show_variables"),
    ("SHOW WARNINGS", "show_warnings"), ("SHOW", "show"), ("SHUTDOWN", "shutdown"), ("SIGNAL", "signal"),
    ("START GROUP_REPLICATION", "group_replication_start"), ("START REPLICA", "replica_start"),
    ("START SLAVE", "slave_start"), ("STOP GROUP_REPLICATION", "group_replication_stop"),
    ("STOP REPLICA", "replica_stop"), ("STOP SLAVE", "slave_stop"), ("TRUNCATE", "truncate"),
    ("UNINSTALL COMPONENT", "uninstall_component"), ("UNINSTALL PLUGIN", "uninstall_plugin"),
    ("UNLOCK INSTANCE", "unlock_instance"), ("UNLOCK", "unlock_tables"), ("XA BEGIN", "xa_start"),
    ("XA COMMIT", "xa_commit"), ("XA END", "xa_end"), ("XA PREPARE", "xa_prepare"), ("XA RECOVER", "xa_recover"),
    ("XA ROLLBACK", "xa_rollback"), ("XA START", "xa_start"),
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
    ("TABLESPACE", ["alter_tablespace"; 3]),
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
        "EXPLAIN" => explained(text),
        "BEGIN" => Kind::BEGIN,
        "START" if second == "TRANSACTION" => Kind::BEGIN,
        "COMMIT" => Kind::COMMIT,
        "ROLLBACK" if second == "TO" || Words(text).any(|w| w == "TO") => Kind::ROLLBACK_TO_SAVEPOINT,
        "ROLLBACK" => Kind::ROLLBACK,
        "SAVEPOINT" => Kind::SAVEPOINT,
        "RELEASE" => Kind::RELEASE_SAVEPOINT,
        "USE" => Kind::CHANGE_DB,
        "CALL" => Kind::CALL_PROCEDURE,
        "LOAD" if second != "INDEX" => Kind::LOAD,
        "HANDLER" => handler(text),
        "GRANT" if Words(text).any(|word| word == "ON") => Kind::GRANT,
        "GRANT" => Kind::GRANT_ROLES,
        "REVOKE" if Words(text).any(|word| word == "ON") => Kind::REVOKE,
        "REVOKE" if second == "ALL" => Kind::REVOKE_ALL,
        "REVOKE" => Kind::REVOKE_ROLES,
        "CREATE" | "ALTER" | "DROP" => by_words(text).unwrap_or_else(|| {
            of_object(text, ["CREATE", "ALTER", "DROP"].iter().position(|verb| *verb == first).unwrap_or_default())
        }),
        _ => by_words(text).unwrap_or(Kind::OTHER),
    }
}

/// The kind whose words the statement begins with. `SHOW GLOBAL STATUS` is what `SHOW STATUS` is.
fn by_words(text: &str) -> Option<Kind> {
    let scopes = ["GLOBAL", "SESSION", "LOCAL", "FULL", "EXTENDED", "ALL"];
    let shows = text.starts_with("SHOW");
    let words = Words(text).filter(|word| !shows || !scopes.contains(word));
    let fits = |pattern: &str| pattern.split(' ').eq(words.clone().take(pattern.split(' ').count()));
    BY_WORDS.iter().find(|(pattern, _)| fits(pattern)).map(|(_, kind)| Kind(kind))
}

/// The server counts what is explained, as if it were done.
fn explained(text: &str) -> Kind {
    let verbs = ["SELECT", "TABLE", "VALUES", "WITH", "INSERT", "REPLACE", "UPDATE", "DELETE", "("];
    let mut text = text;
    // What is explained may be an explanation, some hundred times: each takes a turn, and no room on the stack.
    loop {
        let mut words = Words(text);
        // Behind its own word, which may stand in parentheses: else what it explains would be the same text for ever.
        words.find(|word| *word == "EXPLAIN");
        if words.clone().next() == Some("FOR") {
            return Kind::EXPLAIN_OTHER;
        }
        let mut rest = words.0;
        while let Some(word) = words.next()
            && !verbs.contains(&word)
        {
            rest = words.0;
        }
        match Words(rest).find(|word| *word != "(") {
            None if rest.trim_start().is_empty() => return Kind::SHOW_FIELDS,
            Some("EXPLAIN") => text = rest,
            _ => return of(rest.trim_start()),
        }
    }
}

fn handler(text: &str) -> Kind {
    match Words(text).find(|word| matches!(*word, "OPEN" | "READ" | "CLOSE")) {
        Some("OPEN") => Kind::HA_OPEN,
        Some("CLOSE") => Kind::HA_CLOSE,
        _ => Kind::HA_READ,
    }
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
    let mut words = Words(text);
    loop {
        let rest = words.0;
        match words.next() {
            Some("(") => depth += 1,
            Some(")") => depth -= 1,
            Some("SELECT" | "UPDATE" | "DELETE") if depth == 0 => return of(rest.trim_start()),
            Some(_) => {}
            None => return Kind::OTHER,
        }
    }
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
    let mut words = Words(text);
    let (first, second) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    match first {
        // `ON` names rights' places there, and other `SHOW`s name schemas behind `FROM`.
        "GRANT" | "REVOKE" => Vec::new(),
        "SHOW" => match by_words(text) {
            Some(Kind("show_fields" | "show_keys" | "show_create_table")) => {
                named(text, TABLE_FOLLOWS, false).into_iter().take(1).collect()
            }
            _ => Vec::new(),
        },
        "CREATE" | "DROP" if matches!(second, "INDEX" | "UNIQUE" | "FULLTEXT" | "SPATIAL" | "TRIGGER") => {
            named(text, &["ON", "TABLE", "FROM", "JOIN", "INTO", "UPDATE"], false)
        }
        "CREATE" | "ALTER" => named(text, TABLE_FOLLOWS, false),
        _ => named(text, TABLE_FOLLOWS, true),
    }
}

/// Words that a table's name follows.
const TABLE_FOLLOWS: &[&str] =
    &["FROM", "JOIN", "STRAIGHT_JOIN", "INTO", "UPDATE", "TABLE", "TABLES", "TRUNCATE", "HANDLER", "EXPLAIN", "DESC"];

/// The names that follow these words; also several behind `TABLE`, where `lists`.
fn named(text: &str, follows: &[&str], lists: bool) -> Vec<String> {
    let mut found = Vec::new();
    let mut local = Vec::new();
    // One bit per open parenthesis: whether a statement or tables, not a function's arguments, are inside it
    // (`EXTRACT ( x FROM y )`).
    let mut statement_inside = vec![true];
    let mut words = Words(text).peekable();
    let mut expects = false;
    let mut in_list = false;
    let mut last = "";
    while let Some(word) = words.next() {
        let inside = statement_inside.last().copied().unwrap_or(true);
        match word {
            "(" => statement_inside.push(expects),
            ")" => {
                statement_inside.pop();
                expects = false;
                in_list = statement_inside.last().copied().unwrap_or(true) && in_list;
            }
            "SELECT" | "DELETE" => {
                if let Some(last) = statement_inside.last_mut() {
                    *last = true;
                }
                (expects, in_list) = (false, false);
            }
            // `ON DUPLICATE KEY UPDATE`, `ON UPDATE CASCADE`, `FOR UPDATE`: no table follows.
            "UPDATE" if matches!(last, "KEY" | "ON" | "FOR") => expects = false,
            _ if inside && follows.contains(&word) => {
                (expects, in_list) = (true, word != "INTO" && (lists || word != "TABLE"));
            }
            "INSERT" | "REPLACE" if found.is_empty() && statement_inside.len() == 1 => expects = true,
            "," if in_list && inside => expects = true,
            "IGNORE" | "LOW_PRIORITY" | "DELAYED" | "IF" | "NOT" | "EXISTS" | "QUICK" | "HIGH_PRIORITY" | "LATERAL"
            | "{" | "OJ" => {}
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
            // What `WITH` names is no table of a schema.
            "AS" if words.peek() == Some(&"(") && text.starts_with("WITH") && last.starts_with('`') => {
                local.push(unquoted(last));
            }
            "WHERE" | "SET" | "VALUES" | "GROUP" | "ORDER" | "HAVING" | "LIMIT" => {
                (expects, in_list) = (false, false);
            }
            _ => expects = false,
        }
        last = word;
    }
    found.retain(|table| !local.contains(table));
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
        check("with x as (select 1 from t) select * from x", "select", &["t"]);
        check("with x as (select 1 as id) update t join x using (id) set a = 5", "update_multi", &["t"]);
        check(
            "select * from a left join (b cross join c) on a.d = b.d, {oj e left outer join f on e.g = f.g}",
            "select",
            &["a", "b", "c", "e", "f"],
        );
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
        check("explain update t set a = 1", "update", &["t"]);
        check("explain for connection 5", "explain_other", &[]);
        check("explain (explain select 1 from t)", "select", &["t"]);
        check("explain (explain 1)", "show_fields", &[]);
        check("describe t", "show_fields", &["t"]);
        check("show full tables from shop", "show_tables", &[]);
        check("show index from t from shop", "show_keys", &["t"]);
        check("insert into t (a) values (1) on duplicate key update a = 2, b = 3", "insert", &["t"]);
        check("select * from t join u using (a), v for update", "select", &["t", "u", "v"]);
        check("grant select, insert (a) on shop.t to 'u'@'h'", "grant", &[]);
        check("grant r to u", "grant_roles", &[]);
        check("handler t open as h", "ha_open", &["t"]);
        check("create unique index i on t (a)", "create_index", &["t"]);
        check("alter table t drop partition p0, p1", "alter_table", &["t"]);
        check("drop table t, u", "drop_table", &["t", "u"]);
        check("create resource group g type = user", "create_resource_group", &[]);
        check("this is no statement", "other", &[]);
        check("", "other", &[]);
    }

    /// It was taken for what it explains itself, without end.
    #[test]
    fn explained_explanations_come_to_an_end() {
        let digest = Scanner::new().digest("explain (".repeat(2_000).as_bytes());
        assert_eq!(digest.kind.as_str(), "other");
    }

    #[test]
    fn a_kind_survives_its_name() {
        let kind = Scanner::new().digest(b"drop view v").kind;
        assert_eq!(super::Kind::named(kind.as_str()), kind);
        assert_eq!(super::Kind::named("from a later version"), super::Kind::OTHER);
    }
}
