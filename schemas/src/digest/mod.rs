//! Statement digests: the bytes of a statement enter; its class leaves, as an id and as canonical text without literals, in
//! the shape of MySQL's `STATEMENT_DIGEST_TEXT` (`text` names the differences). One pass over bytes, because this
//! runs for every statement of every server; what costs more (kind, tables) is worked out once per new digest. Ids are
//! provisional while `SCANNER_VERSION` may still rise. It must never fail, never panic, and never let a literal out.

mod classes;
mod kind;
mod mask;
mod pt;
mod runs;
mod scan;
mod shapes;
mod split;
mod syntax;
mod text;
mod words;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128_with_seed;

pub use crate::ids::DigestId;
pub use kind::Kind;
pub use mask::mask;
pub use pt::PtId;
pub use split::{first_word, split};
pub use syntax::{CHARACTER_BYTES_MAX, Change, Charset, SqlMode, Syntax, UnknownCharset, UnknownMode};
pub use text::TEXT_BYTES_MAX;

/// Raised, from the first release on, whenever the canonical text of any statement changes: ids of two versions are never compared.
pub const SCANNER_VERSION: u64 = 1;

impl DigestId {
    /// Reserved: statements beyond the limit of digests of an instance and second, folded into one row.
    pub const OTHER: DigestId = DigestId([0; 16]);
    /// Reserved: executions of a prepared statement whose text was not seen, because it was prepared before.
    pub const UNKNOWN: DigestId = DigestId([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    /// Reserved: turns of an encrypted session, whose text cannot be read.
    pub const ENCRYPTED: DigestId = DigestId([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    /// Reserved: commands without text, such as ping or quit.
    pub const ADMIN: DigestId = DigestId([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3]);

    /// What people read for a reserved id; none for an id that stands for a text.
    pub fn reserved(self) -> Option<&'static str> {
        match self {
            DigestId::OTHER => Some("(other statements)"),
            DigestId::UNKNOWN => Some("(prepared before the capture)"),
            DigestId::ENCRYPTED => Some("(encrypted)"),
            DigestId::ADMIN => Some("(administrative command)"),
            _ => None,
        }
    }

    fn of(text: &[u8]) -> DigestId {
        DigestId(xxh3_128_with_seed(text, SCANNER_VERSION).to_be_bytes())
    }
}

/// Everything that the scanner says about a statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Digest {
    /// The class.
    pub id: DigestId,
    /// Its canonical text, without literals.
    pub text: String,
    /// What it does, in the server's words.
    pub kind: Kind,
    /// The tables that it names, `schema.table` where the schema is given, in order of appearance, each once.
    pub tables: Vec<String>,
    /// The statement was cut, or its text is longer than [`TEXT_BYTES_MAX`].
    pub truncated: bool,
}

/// Computes digests. It keeps its buffers, so that a warm scanner allocates nothing; use one per thread.
#[derive(Debug, Default)]
pub struct Scanner {
    canonical: text::Canonical,
    shapes: shapes::Shapes,
    syntax: Syntax,
}

impl Scanner {
    /// A scanner with empty buffers, which reads statements as a server does by default.
    pub fn new() -> Self {
        Scanner::default()
    }

    /// A scanner for the statements of sessions that are to be read so.
    pub fn reading(syntax: Syntax) -> Self {
        Scanner { syntax, ..Scanner::default() }
    }

    /// How it reads.
    pub fn syntax(&self) -> Syntax {
        self.syntax
    }

    /// The next statements are to be read so.
    pub fn read_as(&mut self, syntax: Syntax) {
        self.syntax = syntax;
    }

    /// The class of one statement and nothing else: the hot path.
    pub fn id_of(&mut self, sql: &[u8]) -> DigestId {
        let text = self.syntax.to_utf8(sql);
        let short = text.len() <= shapes::STATEMENT_BYTES_MAX;
        let Some(shape) = (if short { self.shapes.of(&text, self.syntax.mode) } else { None }) else {
            return self.read(&text);
        };
        if let Some(id) = self.shapes.get(shape) {
            return id;
        }
        let id = self.read(&text);
        self.shapes.put(shape, id);
        id
    }

    /// The class of a statement in UTF-8, whose canonical text is at hand afterwards.
    fn read(&mut self, text: &[u8]) -> DigestId {
        self.canonical.read(text, self.syntax.mode, false);
        DigestId::of(self.canonical.bytes())
    }

    /// The class of one statement with all that is known about it.
    pub fn digest(&mut self, sql: &[u8]) -> Digest {
        let id = self.read(&self.syntax.to_utf8(sql));
        let text = String::from_utf8_lossy(self.canonical.bytes()).into_owned();
        let kind = kind::of(&text);
        let tables = kind::tables(&text);
        Digest { id, text, kind, tables, truncated: self.canonical.truncated() }
    }

    /// What our canonical text and a server's `DIGEST_TEXT` of the same statement have in common. Servers disagree on which
    /// names are keywords (MariaDB prints the column `id` as `ID`), so case and quotes do not count here. Only for joining
    /// with a server's counters; a `PREPARE` or `EXECUTE` in front is the caller's to strip with [`server_text`].
    pub fn match_key(&mut self, text: &[u8]) -> DigestId {
        self.canonical.read(text, SqlMode::default(), true);
        DigestId::of(self.canonical.bytes())
    }
}

/// What a MySQL 9.x server writes in front of the text of a prepared statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerPrefix {
    /// The statement was prepared.
    Prepare,
    /// The prepared statement was executed.
    Execute,
    /// The prepared statement was closed.
    Deallocate,
}

/// Parts a server's `DIGEST_TEXT` into its prefix and the statement. `EXECUTE` of a named statement (``EXECUTE `s` ``) is a
/// statement of its own and has no prefix.
pub fn server_text(text: &str) -> (Option<ServerPrefix>, &str) {
    let prefixes = [
        ("PREPARE ", ServerPrefix::Prepare),
        ("EXECUTE ", ServerPrefix::Execute),
        ("DEALLOCATE ", ServerPrefix::Deallocate),
    ];
    for (word, prefix) in prefixes {
        if let Some(rest) = text.strip_prefix(word)
            && rest.starts_with(|c: char| c.is_ascii_uppercase() || c == '(')
            && !rest.starts_with("PREPARE `")
        {
            return (Some(prefix), rest);
        }
    }
    (None, text)
}

#[cfg(test)]
mod tests;
