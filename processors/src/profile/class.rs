//! What digests are, worked out once each: the text of a statement enters, its class leaves. It must never grow without bound.

use std::collections::HashMap;
use std::sync::Arc;

use millrace_schemas::digest::{Digest, DigestId, Kind, Scanner, Syntax};
use millrace_schemas::profile::Class;
use xxhash_rust::xxh3::Xxh3DefaultBuilder;

/// 2 MiB of texts are kept at hand: a thousand digests that repeat; working one out again costs some microseconds.
const BYTES_MAX: usize = 2 << 20;

/// Digests at hand; only looked up.
#[derive(Debug, Default)]
pub struct Classes {
    scanner: Scanner,
    known: HashMap<DigestId, Arc<Class>, Xxh3DefaultBuilder>,
    bytes: usize,
}

impl Classes {
    /// Nothing is at hand yet.
    pub fn new() -> Self {
        Classes::default()
    }

    /// Nothing is at hand yet; statements are to be read so.
    pub fn reading(syntax: Syntax) -> Self {
        Classes { scanner: Scanner::reading(syntax), ..Classes::default() }
    }

    /// The digest of a statement.
    pub fn id_of(&mut self, sql: &[u8]) -> DigestId {
        self.scanner.id_of(sql)
    }

    /// What the digest `id` of a statement is.
    pub fn of(&mut self, id: DigestId, sql: &[u8]) -> Arc<Class> {
        if let Some(known) = self.known.get(&id) {
            return Arc::clone(known);
        }
        let class = Arc::new(match id.reserved() {
            Some(name) => reserved(id, name),
            None => class_of(self.scanner.digest(sql)),
        });
        self.bytes += bytes(&class);
        if self.bytes > BYTES_MAX {
            self.known.clear();
            self.bytes = bytes(&class);
        }
        self.known.insert(id, Arc::clone(&class));
        class
    }
}

fn class_of(digest: Digest) -> Class {
    Class {
        digest_id: digest.id,
        digest_text: digest.text,
        kind: digest.kind.as_str().to_owned(),
        tables: digest.tables,
        truncated: digest.truncated,
    }
}

fn reserved(id: DigestId, name: &str) -> Class {
    let kind = if id == DigestId::ADMIN { Kind::ADMIN } else { Kind::OTHER };
    Class {
        digest_id: id,
        digest_text: name.to_owned(),
        kind: kind.as_str().to_owned(),
        tables: Vec::new(),
        truncated: false,
    }
}

/// What a class takes.
pub(super) fn bytes(class: &Class) -> usize {
    let tables: usize = class.tables.iter().map(|table| table.capacity() + size_of::<String>()).sum();
    size_of::<Class>() + class.digest_text.capacity() + class.kind.capacity() + tables
}
