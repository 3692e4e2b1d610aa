//! The project's own captures of a real MySQL 9.7 client and server: a session in the clear with errors and several statements
//! in one request, and an encrypted one.

use std::path::Path;

use millrace_collectors::wire::{Batch, Books, Decoder, Server, read_file};
use millrace_schemas::digest::{DigestId, Syntax};
use millrace_schemas::ids::InstanceId;

fn read(name: &str) -> (Batch, Books) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    let servers = [Server {
        address: None,
        port: 33_999,
        instance: InstanceId::parse("db-1").expect("an id"),
        syntax: Syntax::default(),
    }];
    let mut all = Batch::default();
    let books = read_file(&path, Decoder::new(&servers), |batch| {
        all.rows.extend(batch.rows);
        all.new_digests.extend(batch.new_digests);
        all.books.add(&batch.books);
        true
    })
    .expect("reads");
    assert!(books.balance(), "{books:?}");
    assert_eq!(all.books, books);
    (all, books)
}

#[test]
fn a_session_in_the_clear_is_counted_by_digest() {
    let (all, books) = read("mysql97-text.pcap");
    assert_eq!((books.decoded, books.connections), (books.captured, 1));
    let count = |text: &str| {
        let found = all.new_digests.iter().find(|digest| digest.text == text);
        let id = found.unwrap_or_else(|| panic!("{text}: {:#?}", all.new_digests)).id;
        let rows = all.rows.iter().filter(|row| row.digest == id && row.user == "app" && row.schema == "sbtest");
        rows.map(|row| (row.count, row.errors, row.rows_sent, row.rows_affected)).next().expect("a row")
    };
    assert_eq!(count("SELECT * FROM `demo` WHERE `id` IN (...)"), (2, 0, 3, 0));
    // The rows were there before: a duplicate key.
    assert_eq!(count("INSERT INTO `demo` VALUES (...)"), (1, 1, 0, 0));
    assert_eq!(count("UPDATE `demo` SET `c` = ? WHERE `id` = ?"), (1, 0, 0, 1));
    assert_eq!(count("SELECT * FROM `nowhere`"), (1, 1, 0, 0));
    assert_eq!(count("CALL `nothing` ( )"), (1, 1, 0, 0));
    assert_eq!(count("SELECT ?"), (3, 0, 3, 0));
}

#[test]
fn an_encrypted_session_gives_turns() {
    let (all, books) = read("mysql97-tls.pcap");
    let turns: u64 = all.rows.iter().filter(|row| row.digest == DigestId::ENCRYPTED).map(|row| row.count).sum();
    // Three statements, the two that the client asks by itself, and two turns of the login.
    assert_eq!(turns, 7);
    assert_eq!(books.encrypted_turns, turns);
    assert!(books.encrypted > books.decoded);
}
