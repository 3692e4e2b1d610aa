//! The words that the scanner knows: keywords, functions that the server's lexer treats as keywords before a
//! parenthesis, and the synonyms that it prints in one spelling. Enters: the bytes of a bare word. Leaves: its canonical
//! spelling and what the reductions of `text` must know about it. A word that is not here is an identifier. The lists follow
//! MySQL 9.7 (`information_schema.keywords`), because identifiers and keywords print differently there; words that only
//! MariaDB knows are joined by `match_key`. Must never allocate: it runs once per word of every statement.
#![allow(clippy::inline_always)] // a call for each token, and what it spills, takes longer than the token

use super::runs::{Chunk, half};
use super::text::Kind;

/// What the reductions know about a keyword.
#[derive(Debug, Clone, Copy)]
pub(super) struct Word {
    key: Key,
    /// What it is to the reductions.
    pub(super) kind: Kind,
    /// Only a keyword when a parenthesis follows.
    pub(super) function: bool,
    /// It is `NULL`.
    pub(super) null: bool,
    /// How the canonical spelling begins: all of it, nearly always.
    pub(super) start: Chunk,
    /// Canonical spelling, upper case.
    pub(super) text: &'static str,
}

/// A spelling in upper case: its first 8 bytes, its last 8 where it is longer, and its length. Upper case is what is left without
/// the bit that tells the cases of a letter apart, which parts no two bytes of words but those and some above ASCII, of which no
/// keyword has any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key {
    head: u64,
    tail: u64,
    length: u8,
}

const UPPER: u64 = u64::from_ne_bytes([0xdf; 8]);
/// The bytes of a key.
const HALF: usize = size_of::<u64>();

/// Slots of the hash table. 4,096: the about 800 words fill a fifth of it, so that most lookups need one probe.
const SLOTS: usize = 4096;
/// Longest word that can match; longer ones are identifiers without a look at the table.
const LONGEST: usize = 40;

static WORDS: [Word; WORD_COUNT] = words();
static TABLE: [u16; SLOTS] = table();

/// The keyword that the bytes from `start` to `end` of a text, all of them bytes of words, spell in any case.
#[inline(always)]
pub(super) fn look_up(text: &[u8], start: usize, end: usize) -> Option<&'static Word> {
    let length = end - start;
    if length > LONGEST {
        return None;
    }
    let head = half(text, start) & UPPER;
    let key = if length > HALF {
        Key { head, tail: half(text, end - HALF) & UPPER, length: length as u8 }
    } else {
        Key { head: cut(head, length), tail: 0, length: length as u8 }
    };
    let mut slot = hash(key);
    loop {
        let index = usize::from(TABLE[slot]).checked_sub(1)?;
        let word = &WORDS[index];
        if word.key == key
            && (length <= 2 * HALF || SPELLINGS[index].as_bytes().eq_ignore_ascii_case(&text[start..end]))
        {
            return Some(word);
        }
        slot = (slot + 1) % SLOTS;
    }
}

/// The first bytes of 8.
#[inline(always)]
const fn cut(half: u64, length: usize) -> u64 {
    half & (u64::MAX >> ((64 - 8 * length) % 64))
}

/// A product spreads short words well, and can be computed at compile time.
#[inline(always)]
const fn hash(key: Key) -> usize {
    let mixed = key.head ^ key.tail.rotate_left(29);
    (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52) as usize % SLOTS
}

const fn key_of(spelling: &str) -> Key {
    let bytes = spelling.as_bytes();
    let (mut head, mut tail) = (0, 0);
    let mut i = 0;
    while i < bytes.len() {
        let byte = bytes[i] as u64;
        if i < HALF {
            head |= byte << (8 * i);
        }
        if bytes.len() > HALF && i + HALF >= bytes.len() {
            tail |= byte << (8 * (i + HALF - bytes.len()));
        }
        i += 1;
    }
    Key { head: head & UPPER, tail: tail & UPPER, length: bytes.len() as u8 }
}

const fn table() -> [u16; SLOTS] {
    let mut slots = [0_u16; SLOTS];
    let mut i = 0;
    while i < WORD_COUNT {
        let mut slot = hash(key_of(SPELLINGS[i]));
        while slots[slot] != 0 {
            slot = (slot + 1) % SLOTS;
        }
        slots[slot] = i as u16 + 1;
        i += 1;
    }
    slots
}

const fn begin_of(text: &[u8]) -> Chunk {
    let mut start = [0; 16];
    let mut i = 0;
    while i < text.len() && i < start.len() {
        start[i] = text[i];
        i += 1;
    }
    start
}

// At compile time only: no stack holds this array when the program runs.
#[allow(clippy::large_stack_arrays)]
const fn words() -> [Word; WORD_COUNT] {
    let start = [0; 16];
    let none = Word { key: key_of(""), kind: Kind::Other, function: false, null: false, start, text: "" };
    let mut words = [none; WORD_COUNT];
    let mut i = 0;
    while i < WORD_COUNT {
        let text = canonical(SPELLINGS[i]);
        words[i] = Word {
            key: key_of(SPELLINGS[i]),
            kind: kind(text),
            function: i >= KEYWORDS.len(),
            null: same(text, "NULL"),
            start: begin_of(text.as_bytes()),
            text,
        };
        i += 1;
    }
    words
}

const fn kind(text: &str) -> Kind {
    if same(text, "IN") {
        Kind::In
    } else if same(text, "VALUES") || same(text, "VALUE") {
        Kind::Values
    } else if contains(&TAKES_SIGN, text) {
        Kind::Starter
    } else if contains(&STARTS_EXPRESSION, text) {
        Kind::Clause
    } else {
        Kind::Other
    }
}

const fn canonical(word: &'static str) -> &'static str {
    let mut i = 0;
    while i < SYNONYMS.len() {
        if same(SYNONYMS[i].0, word) {
            return SYNONYMS[i].1;
        }
        i += 1;
    }
    word
}

const fn contains(list: &[&str], word: &str) -> bool {
    let mut i = 0;
    while i < list.len() {
        if same(list[i], word) {
            return true;
        }
        i += 1;
    }
    false
}

const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}

const WORD_COUNT: usize = KEYWORDS.len() + FUNCTIONS.len();

const SPELLINGS: [&str; WORD_COUNT] = {
    let mut all = [""; WORD_COUNT];
    let mut i = 0;
    while i < KEYWORDS.len() {
        all[i] = KEYWORDS[i];
        i += 1;
    }
    while i < WORD_COUNT {
        all[i] = FUNCTIONS[i - KEYWORDS.len()];
        i += 1;
    }
    all
};

/// Keywords behind which an expression may start, and where the server keeps a sign.
#[rustfmt::skip]
const STARTS_EXPRESSION: [&str; 24] = [
    "ALL", "BINARY", "BY", "CALL", "DISTINCTROW", "DO", "ESCAPE", "HAVING", "HIGH_PRIORITY", "IN", "KILL", "LIMIT",
    "OFFSET", "ON", "SOME", "SQL_BIG_RESULT", "SQL_BUFFER_RESULT", "SQL_CALC_FOUND_ROWS", "SQL_NO_CACHE",
    "SQL_SMALL_RESULT", "STRAIGHT_JOIN", "VALUE", "WHERE", "USING",
];

/// Keywords behind which the server drops the sign of a number: those that it marks as starts of expressions, which are not all.
#[rustfmt::skip]
const TAKES_SIGN: [&str; 26] = [
    "AND", "AT", "BETWEEN", "CASE", "DEFAULT", "DIV", "ELSE", "ELSEIF", "ENDS", "EVERY", "IF", "INTERVAL", "LIKE",
    "MOD", "NOT", "OR", "RETURN", "RLIKE", "SELECT", "STARTS", "THEN", "UNTIL", "VALUES", "WHEN", "WHILE", "XOR",
];

/// Spellings of one token, and the one that the server prints.
#[rustfmt::skip]
const SYNONYMS: [(&str, &str); 43] = [
    ("ANY", "SOME"), ("BIGINT", "INT8"), ("CHAR", "CHARACTER"), ("COLUMNS", "FIELDS"), ("CURRENT_DATE", "CURDATE"),
    ("CURRENT_TIME", "CURTIME"), ("CURRENT_TIMESTAMP", "NOW"), ("DATABASE", "SCHEMA"), ("DATABASES", "SCHEMAS"),
    ("DAY", "SQL_TSI_DAY"), ("DEC", "DECIMAL"), ("DESCRIBE", "EXPLAIN"), ("DISTINCT", "DISTINCTROW"), ("DOUBLE",
    "FLOAT8"), ("FLOAT", "FLOAT4"), ("GEOMCOLLECTION", "GEOMETRYCOLLECTION"), ("HOUR", "SQL_TSI_HOUR"), ("INDEXES",
    "KEYS"), ("INT", "INTEGER"), ("INT1", "TINYINT"), ("INT2", "SMALLINT"), ("INT3", "MIDDLEINT"), ("INT4",
    "INTEGER"), ("IO_THREAD", "RELAY_THREAD"), ("LOCALTIME", "NOW"), ("LOCALTIMESTAMP", "NOW"), ("MEDIUMINT",
    "MIDDLEINT"), ("MID", "SUBSTRING"), ("MINUTE", "SQL_TSI_MINUTE"), ("MONTH", "SQL_TSI_MONTH"), ("NDB",
    "NDBCLUSTER"), ("QUARTER", "SQL_TSI_QUARTER"), ("REGEXP", "RLIKE"), ("SECOND", "SQL_TSI_SECOND"),
    ("SESSION_USER", "SYSTEM_USER"), ("SQL_TSI_WEEK", "WEEK"), ("SQL_TSI_YEAR", "YEAR"), ("STD", "STDDEV_POP"),
    ("STDDEV", "STDDEV_POP"), ("SUBSTR", "SUBSTRING"), ("USER", "SYSTEM_USER"), ("VARCHAR", "VARCHARACTER"),
    ("VARIANCE", "VAR_POP"),
];

/// Keywords only before a parenthesis.
#[rustfmt::skip]
const FUNCTIONS: [&str; 31] = [
    "ADDDATE", "BIT_AND", "BIT_OR", "BIT_XOR", "CAST", "COUNT", "DATE_ADD", "DATE_SUB", "EXTRACT", "GROUP_CONCAT",
    "JSON_ARRAYAGG", "JSON_OBJECTAGG", "MAX", "MID", "MIN", "POSITION", "SESSION_USER", "ST_COLLECT", "STD",
    "STDDEV", "STDDEV_POP", "STDDEV_SAMP", "SUBDATE", "SUBSTR", "SUBSTRING", "SUM", "SYSDATE", "TRIM", "VAR_POP",
    "VAR_SAMP", "VARIANCE",
];

/// Keywords everywhere.
#[rustfmt::skip]
const KEYWORDS: [&str; 764] = [
    "ABSENT", "ACCESSIBLE", "ACCOUNT", "ACTION", "ACTIVE", "ADD", "ADMIN", "AFTER", "AGAINST", "AGGREGATE",
    "ALGORITHM", "ALL", "ALLOW_MISSING_FILES", "ALTER", "ALWAYS", "ANALYZE", "AND", "ANY", "ARRAY", "AS", "ASC",
    "ASCII", "ASENSITIVE", "ASSIGN_GTIDS_TO_ANONYMOUS_TRANSACTIONS", "AT", "ATTRIBUTE", "AUTHENTICATION", "AUTO",
    "AUTOEXTEND_SIZE", "AUTO_INCREMENT", "AUTO_REFRESH", "AUTO_REFRESH_SOURCE", "AVG", "AVG_ROW_LENGTH", "BACKUP",
    "BEFORE", "BEGIN", "BERNOULLI", "BETWEEN", "BIGINT", "BINARY", "BINLOG", "BIT", "BLOB", "BLOCK", "BOOL",
    "BOOLEAN", "BOTH", "BTREE", "BUCKETS", "BULK", "BY", "BYTE", "CACHE", "CALL", "CASCADE", "CASCADED", "CASE",
    "CATALOG_NAME", "CHAIN", "CHALLENGE_RESPONSE", "CHANGE", "CHANGED", "CHANNEL", "CHAR", "CHARACTER", "CHARSET",
    "CHECK", "CHECKSUM", "CIPHER", "CLASS_ORIGIN", "CLIENT", "CLONE", "CLOSE", "COALESCE", "CODE", "COLLATE",
    "COLLATION", "COLUMN", "COLUMNS", "COLUMN_FORMAT", "COLUMN_NAME", "COMMENT", "COMMIT", "COMMITTED", "COMPACT",
    "COMPLETION", "COMPONENT", "COMPRESSED", "COMPRESSION", "CONCURRENT", "CONDITION", "CONNECTION", "CONSISTENT",
    "CONSTRAINT", "CONSTRAINT_CATALOG", "CONSTRAINT_NAME", "CONSTRAINT_SCHEMA", "CONTAINS", "CONTEXT", "CONTINUE",
    "CONVERT", "CPU", "CREATE", "CROSS", "CUBE", "CUME_DIST", "CURDATE", "CURRENT", "CURRENT_DATE", "CURRENT_TIME",
    "CURRENT_TIMESTAMP", "CURRENT_USER", "CURSOR", "CURSOR_NAME", "CURTIME", "DATA", "DATABASE", "DATABASES",
    "DATAFILE", "DATE", "DATETIME", "DAY", "DAY_HOUR", "DAY_MICROSECOND", "DAY_MINUTE", "DAY_SECOND", "DEALLOCATE",
    "DEC", "DECIMAL", "DECLARE", "DEFAULT", "DEFAULT_AUTH", "DEFINER", "DEFINITION", "DELAYED", "DELAY_KEY_WRITE",
    "DELETE", "DENSE_RANK", "DESC", "DESCRIBE", "DESCRIPTION", "DETERMINISTIC", "DIAGNOSTICS", "DIRECTORY",
    "DISABLE", "DISCARD", "DISK", "DISTINCT", "DISTINCTROW", "DIV", "DO", "DOUBLE", "DROP", "DUAL", "DUALITY",
    "DUMPFILE", "DUPLICATE", "DYNAMIC", "EACH", "ELSE", "ELSEIF", "EMPTY", "ENABLE", "ENCLOSED", "ENCRYPTION",
    "END", "ENDS", "ENFORCED", "ENGINE", "ENGINES", "ENGINE_ATTRIBUTE", "ENUM", "ERROR", "ERRORS", "ESCAPE",
    "ESCAPED", "EVENT", "EVENTS", "EVERY", "EXCEPT", "EXCHANGE", "EXCLUDE", "EXECUTE", "EXISTS", "EXIT",
    "EXPANSION", "EXPIRE", "EXPLAIN", "EXPORT", "EXTENDED", "EXTENT_SIZE", "EXTERNAL", "EXTERNAL_FORMAT", "FACTOR",
    "FAILED_LOGIN_ATTEMPTS", "FALSE", "FAST", "FAULTS", "FETCH", "FIELDS", "FILE", "FILES", "FILE_BLOCK_SIZE",
    "FILE_FORMAT", "FILE_NAME", "FILE_PATTERN", "FILE_PREFIX", "FILTER", "FINISH", "FIRST", "FIRST_VALUE", "FIXED",
    "FLOAT", "FLOAT4", "FLOAT8", "FLUSH", "FOLLOWING", "FOLLOWS", "FOR", "FORCE", "FOREIGN", "FORMAT", "FOUND",
    "FROM", "FULL", "FULLTEXT", "FUNCTION", "GENERAL", "GENERATE", "GENERATED", "GEOMCOLLECTION", "GEOMETRY",
    "GEOMETRYCOLLECTION", "GET", "GET_FORMAT", "GET_SOURCE_PUBLIC_KEY", "GLOBAL", "GRANT", "GRANTS", "GROUP",
    "GROUPING", "GROUPS", "GROUP_REPLICATION", "GTIDS", "GTID_ONLY", "GUIDED", "HANDLER", "HASH", "HAVING",
    "HEADER", "HELP", "HIGH_PRIORITY", "HISTOGRAM", "HISTORY", "HOST", "HOSTS", "HOUR", "HOUR_MICROSECOND",
    "HOUR_MINUTE", "HOUR_SECOND", "IDENTIFIED", "IF", "IGNORE", "IGNORE_SERVER_IDS", "IMPORT", "IN", "INACTIVE",
    "INDEX", "INDEXES", "INFILE", "INITIAL", "INITIAL_SIZE", "INITIATE", "INNER", "INOUT", "INSENSITIVE", "INSERT",
    "INSERT_METHOD", "INSTALL", "INSTANCE", "INT", "INT1", "INT2", "INT3", "INT4", "INT8", "INTEGER", "INTERSECT",
    "INTERVAL", "INTO", "INVISIBLE", "INVOKER", "IO", "IO_AFTER_GTIDS", "IO_BEFORE_GTIDS", "IO_THREAD", "IPC", "IS",
    "ISOLATION", "ISSUER", "ITERATE", "JOIN", "JSON", "JSON_TABLE", "JSON_VALUE", "KEY", "KEYRING", "KEYS",
    "KEY_BLOCK_SIZE", "KILL", "LAG", "LANGUAGE", "LAST", "LAST_VALUE", "LATERAL", "LEAD", "LEADING", "LEAVE",
    "LEAVES", "LEFT", "LESS", "LEVEL", "LIBRARY", "LIKE", "LIMIT", "LINEAR", "LINES", "LINESTRING", "LIST", "LOAD",
    "LOCAL", "LOCALTIME", "LOCALTIMESTAMP", "LOCK", "LOCKED", "LOCKS", "LOG", "LOGFILE", "LOGS", "LONG", "LONGBLOB",
    "LONGTEXT", "LOOP", "LOW_PRIORITY", "MANUAL", "MASKING", "MASTER", "MATCH", "MATERIALIZED", "MAXVALUE",
    "MAX_CONNECTIONS_PER_HOUR", "MAX_QUERIES_PER_HOUR", "MAX_ROWS", "MAX_SIZE", "MAX_UPDATES_PER_HOUR",
    "MAX_USER_CONNECTIONS", "MEDIUM", "MEDIUMBLOB", "MEDIUMINT", "MEDIUMTEXT", "MEMBER", "MEMORY", "MERGE",
    "MESSAGE_TEXT", "MICROSECOND", "MIDDLEINT", "MIGRATE", "MINUTE", "MINUTE_MICROSECOND", "MINUTE_SECOND",
    "MIN_ROWS", "MOD", "MODE", "MODIFIES", "MODIFY", "MONTH", "MULTILINESTRING", "MULTIPOINT", "MULTIPOLYGON",
    "MUTEX", "MYSQL_ERRNO", "NAME", "NAMES", "NATIONAL", "NATURAL", "NCHAR", "NDB", "NDBCLUSTER", "NESTED",
    "NETWORK_NAMESPACE", "NEVER", "NEW", "NEXT", "NO", "NODEGROUP", "NONE", "NOT", "NOW", "NOWAIT", "NO_WAIT",
    "NO_WRITE_TO_BINLOG", "NTH_VALUE", "NTILE", "NULL", "NULLS", "NUMBER", "NUMERIC", "NVARCHAR", "OF", "OFF",
    "OFFSET", "OJ", "OLD", "ON", "ONE", "ONLY", "OPEN", "OPTIMIZE", "OPTIMIZER_COSTS", "OPTION", "OPTIONAL",
    "OPTIONALLY", "OPTIONS", "OR", "ORDER", "ORDINALITY", "ORGANIZATION", "OTHERS", "OUT", "OUTER", "OUTFILE",
    "OVER", "OWNER", "PACK_KEYS", "PAGE", "PARALLEL", "PARAMETERS", "PARSER", "PARSE_TREE", "PARTIAL", "PARTITION",
    "PARTITIONING", "PARTITIONS", "PASSWORD", "PASSWORD_LOCK_TIME", "PATH", "PERCENT_RANK", "PERSIST",
    "PERSIST_ONLY", "PHASE", "PLUGIN", "PLUGINS", "PLUGIN_DIR", "POINT", "POLICY", "POLYGON", "PORT", "PRECEDES",
    "PRECEDING", "PRECISION", "PREPARE", "PRESERVE", "PREV", "PRIMARY", "PRIVILEGES", "PRIVILEGE_CHECKS_USER",
    "PROCEDURE", "PROCESS", "PROCESSLIST", "PROFILE", "PROFILES", "PROXY", "PURGE", "QUALIFY", "QUARTER", "QUERY",
    "QUICK", "RANDOM", "RANGE", "RANK", "READ", "READS", "READ_ONLY", "READ_WRITE", "REAL", "REBUILD", "RECOVER",
    "RECURSIVE", "REDO_BUFFER_SIZE", "REDUNDANT", "REFERENCE", "REFERENCES", "REGEXP", "REGISTRATION", "RELATIONAL",
    "RELAY", "RELAYLOG", "RELAY_LOG_FILE", "RELAY_LOG_POS", "RELAY_THREAD", "RELEASE", "RELOAD", "REMOVE", "RENAME",
    "REORGANIZE", "REPAIR", "REPEAT", "REPEATABLE", "REPLACE", "REPLICA", "REPLICAS", "REPLICATE_DO_DB",
    "REPLICATE_DO_TABLE", "REPLICATE_IGNORE_DB", "REPLICATE_IGNORE_TABLE", "REPLICATE_REWRITE_DB",
    "REPLICATE_WILD_DO_TABLE", "REPLICATE_WILD_IGNORE_TABLE", "REPLICATION", "REQUIRE", "REQUIRE_ROW_FORMAT",
    "REQUIRE_TABLE_PRIMARY_KEY_CHECK", "RESET", "RESIGNAL", "RESOURCE", "RESPECT", "RESTART", "RESTORE", "RESTRICT",
    "RESUME", "RETAIN", "RETURN", "RETURNED_SQLSTATE", "RETURNING", "RETURNS", "REUSE", "REVERSE", "REVOKE",
    "RIGHT", "RLIKE", "ROLE", "ROLLBACK", "ROLLUP", "ROTATE", "ROUTINE", "ROW", "ROWS", "ROW_COUNT", "ROW_FORMAT",
    "ROW_NUMBER", "RTREE", "S3", "SAVEPOINT", "SCHEDULE", "SCHEMA", "SCHEMAS", "SCHEMA_NAME", "SECOND", "SECONDARY",
    "SECONDARY_ENGINE", "SECONDARY_ENGINE_ATTRIBUTE", "SECONDARY_LOAD", "SECONDARY_UNLOAD", "SECOND_MICROSECOND",
    "SECURITY", "SELECT", "SENSITIVE", "SEPARATOR", "SERIAL", "SERIALIZABLE", "SERVER", "SESSION", "SET", "SETS",
    "SHARE", "SHOW", "SHUTDOWN", "SIGNAL", "SIGNED", "SIMPLE", "SKIP", "SLAVE", "SLOW", "SMALLINT", "SNAPSHOT",
    "SOCKET", "SOME", "SONAME", "SOUNDS", "SOURCE", "SOURCE_AUTO_POSITION", "SOURCE_BIND",
    "SOURCE_COMPRESSION_ALGORITHMS", "SOURCE_CONNECTION_AUTO_FAILOVER", "SOURCE_CONNECT_RETRY", "SOURCE_DELAY",
    "SOURCE_HEARTBEAT_PERIOD", "SOURCE_HOST", "SOURCE_LOG_FILE", "SOURCE_LOG_POS", "SOURCE_PASSWORD", "SOURCE_PORT",
    "SOURCE_PUBLIC_KEY_PATH", "SOURCE_RETRY_COUNT", "SOURCE_SSL", "SOURCE_SSL_CA", "SOURCE_SSL_CAPATH",
    "SOURCE_SSL_CERT", "SOURCE_SSL_CIPHER", "SOURCE_SSL_CRL", "SOURCE_SSL_CRLPATH", "SOURCE_SSL_KEY",
    "SOURCE_SSL_VERIFY_SERVER_CERT", "SOURCE_TLS_CIPHERSUITES", "SOURCE_TLS_VERSION", "SOURCE_USER",
    "SOURCE_ZSTD_COMPRESSION_LEVEL", "SPATIAL", "SPECIFIC", "SQL", "SQLEXCEPTION", "SQLSTATE", "SQLWARNING",
    "SQL_AFTER_GTIDS", "SQL_AFTER_MTS_GAPS", "SQL_BEFORE_GTIDS", "SQL_BIG_RESULT", "SQL_BUFFER_RESULT",
    "SQL_CALC_FOUND_ROWS", "SQL_NO_CACHE", "SQL_SMALL_RESULT", "SQL_THREAD", "SQL_TSI_DAY", "SQL_TSI_HOUR",
    "SQL_TSI_MINUTE", "SQL_TSI_MONTH", "SQL_TSI_QUARTER", "SQL_TSI_SECOND", "SQL_TSI_WEEK", "SQL_TSI_YEAR", "SRID",
    "SSL", "STACKED", "START", "STARTING", "STARTS", "STATS_AUTO_RECALC", "STATS_PERSISTENT", "STATS_SAMPLE_PAGES",
    "STATUS", "STOP", "STORAGE", "STORED", "STRAIGHT_JOIN", "STREAM", "STRICT_LOAD", "STRING", "SUBCLASS_ORIGIN",
    "SUBJECT", "SUBPARTITION", "SUBPARTITIONS", "SUPER", "SUSPEND", "SWAPS", "SWITCHES", "SYSTEM", "SYSTEM_USER",
    "TABLE", "TABLES", "TABLESAMPLE", "TABLESPACE", "TABLE_CHECKSUM", "TABLE_NAME", "TEMPORARY", "TEMPTABLE",
    "TERMINATED", "TEXT", "THAN", "THEN", "THREAD_PRIORITY", "TIES", "TIME", "TIMESTAMP", "TIMESTAMPADD",
    "TIMESTAMPDIFF", "TINYBLOB", "TINYINT", "TINYTEXT", "TLS", "TO", "TRAILING", "TRANSACTION", "TRIGGER",
    "TRIGGERS", "TRUE", "TRUNCATE", "TYPE", "TYPES", "UNBOUNDED", "UNCOMMITTED", "UNDEFINED", "UNDO", "UNDOFILE",
    "UNDO_BUFFER_SIZE", "UNICODE", "UNINSTALL", "UNION", "UNIQUE", "UNKNOWN", "UNLOCK", "UNREGISTER", "UNSIGNED",
    "UNTIL", "UPDATE", "UPGRADE", "URI", "URL", "USAGE", "USE", "USER", "USER_RESOURCES", "USE_FRM", "USING",
    "UTC_DATE", "UTC_TIME", "UTC_TIMESTAMP", "VALIDATE", "VALIDATION", "VALUE", "VALUES", "VARBINARY", "VARCHAR",
    "VARCHARACTER", "VARIABLES", "VARYING", "VCPU", "VECTOR", "VERIFY_KEY_CONSTRAINTS", "VIEW", "VIRTUAL",
    "VISIBLE", "WAIT", "WARNINGS", "WEEK", "WEIGHT_STRING", "WHEN", "WHERE", "WHILE", "WINDOW", "WITH", "WITHOUT",
    "WORK", "WRAPPER", "WRITE", "X509", "XA", "XID", "XML", "XOR", "YEAR", "YEAR_MONTH", "ZEROFILL", "ZONE",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_spelling_in_any_case() {
        for spelling in SPELLINGS {
            let text = format!("({})", spelling.to_ascii_lowercase());
            let found = look_up(text.as_bytes(), 1, text.len() - 1).expect("listed");
            assert_eq!(found.text, canonical(spelling));
        }
        assert!(look_up(b"sbtest1", 0, 7).is_none());
        assert!(look_up(&[b'A'; 100], 0, 100).is_none());
        assert!(look_up(b"source_ssl_verify_server_certs", 0, 30).is_none());
    }

    #[test]
    fn a_canonical_spelling_is_its_own_canonical_spelling() {
        for word in WORDS {
            let text = word.text.as_bytes();
            assert_eq!(look_up(text, 0, text.len()).map(|w| w.text), Some(word.text));
        }
    }
}
