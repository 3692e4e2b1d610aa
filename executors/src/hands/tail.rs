//! The tail of a crashed MySQL primary's binary log: transactions that it had written but that nobody acknowledged. Once
//! another server was promoted they are history that did not happen. Before the crashed server's first start they can be
//! named and cut off: InnoDB then rolls the prepared transactions back, and the server comes back as if it had never begun
//! them. What is cut is saved beside it first. Right only for lossless semi-sync (`AFTER_SYNC`, commits in binlog order), only
//! before the first start, and only for what the promoted server does not have.
//! It reads the file itself, since a server that is down answers no SQL. `server::extra` asks a server that runs, of either
//! flavour: what that decodes (`MariaDB`'s events, tagged GTIDs, compressed and encrypted logs) this need not learn.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use millrace_schemas::flavour::Flavour;
use millrace_schemas::gtid::GtidSet;
use millrace_schemas::topics::actions::ExtraTransaction;

/// "\xfebin".
const MAGIC: [u8; 4] = [0xfe, b'b', b'i', b'n'];
/// Timestamp 4, type 1, server 4, length 4, next position 4, flags 2.
const HEADER: usize = 19;
/// Event types of MySQL's `mysql::binlog::event::Log_event_type`.
const QUERY: u8 = 2;
const TABLE_MAP: u8 = 19;
const GTID: u8 = 33;
const TAGGED_GTID: u8 = 42;
/// 64 MiB of the last file are read at most into memory at once per event; a larger event is damage.
const EVENT_BYTES_MAX: u32 = 1 << 30;

/// What was found behind the last transaction that the promoted server has.
#[derive(Debug, PartialEq, Eq)]
pub struct Tail {
    /// Where it begins in the file.
    pub from: u64,
    /// The transactions, named by their tables.
    pub transactions: Vec<ExtraTransaction>,
}

/// Cuts what `keep` does not hold from the newest binary log in `data`, and saves it in `save`. `None` when there is nothing.
pub fn cut(data: &Path, keep: &GtidSet, save: &Path) -> std::io::Result<Option<Vec<ExtraTransaction>>> {
    let Some(path) = newest(data)? else { return Ok(None) };
    let mut file = OpenOptions::new().read(true).write(true).open(&path)?;
    let Some(tail) = find(&mut file, keep)? else { return Ok(None) };
    fs::create_dir_all(save)?;
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let mut saved = File::create(save.join(format!("{name}.from-{}", tail.from)))?;
    file.seek(SeekFrom::Start(tail.from))?;
    std::io::copy(&mut file, &mut saved)?;
    saved.sync_all()?;
    File::open(save)?.sync_all()?;
    file.set_len(tail.from)?;
    file.sync_all()?;
    Ok(Some(tail.transactions))
}

/// The newest binary log that the index names.
fn newest(data: &Path) -> std::io::Result<Option<PathBuf>> {
    let index = match fs::read_to_string(data.join("binlog.index")) {
        Ok(index) => index,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let last = index.lines().rev().find(|line| !line.trim().is_empty());
    Ok(last.map(|name| data.join(name.trim())))
}

/// Walks the events of a binary log up to the first transaction that `keep` does not hold.
fn find(file: &mut File, keep: &GtidSet) -> std::io::Result<Option<Tail>> {
    let length = file.metadata()?.len();
    let mut magic = [0; 4];
    file.seek(SeekFrom::Start(0))?;
    file.read_exact(&mut magic)?;
    if magic != MAGIC {
        return Err(std::io::Error::other("the newest binary log does not begin as one (encrypted logs are not read)"));
    }
    let mut at = 4_u64;
    let mut tail: Option<Tail> = None;
    while at + HEADER as u64 <= length {
        let mut header = [0; HEADER];
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut header)?;
        let size = u32::from_le_bytes([header[9], header[10], header[11], header[12]]);
        if (size as usize) < HEADER || size > EVENT_BYTES_MAX || at + u64::from(size) > length {
            break; // a half-written event: recovery drops it
        }
        match header[4] {
            GTID | TAGGED_GTID => {
                let mut body = vec![0; (size as usize - HEADER).min(64)];
                file.read_exact(&mut body)?;
                let gtid = if header[4] == GTID { plain_gtid(&body) } else { None };
                let held = gtid.as_ref().is_some_and(|gtid| {
                    GtidSet::parse(Flavour::MySql, gtid).is_ok_and(|one| one.is_subset(keep).unwrap_or(false))
                });
                if header[4] == TAGGED_GTID && tail.is_none() {
                    return Err(std::io::Error::other(
                        "the log holds tagged GTIDs, which are not compared here: look at it by hand",
                    ));
                }
                match (&mut tail, held) {
                    (None, true) => {}
                    (None, false) => tail = Some(Tail { from: at, transactions: vec![named(gtid)] }),
                    (Some(_), true) => {
                        let say = "a transaction that the promoted server has follows one that it does not have: nothing was cut";
                        return Err(std::io::Error::other(say));
                    }
                    (Some(tail), false) => tail.transactions.push(named(gtid)),
                }
            }
            TABLE_MAP | QUERY if tail.is_some() => {
                let mut body = vec![0; (size as usize - HEADER).min(256)];
                file.read_exact(&mut body)?;
                let table = if header[4] == TABLE_MAP { table_of(&body) } else { statement_of(&body) };
                if let (Some(table), Some(last)) = (table, tail.as_mut().and_then(|tail| tail.transactions.last_mut()))
                    && !last.tables.contains(&table)
                {
                    last.tables.push(table);
                }
            }
            _ => {}
        }
        at += u64::from(size);
    }
    Ok(tail)
}

fn named(gtid: Option<String>) -> ExtraTransaction {
    ExtraTransaction { gtid: gtid.unwrap_or_else(|| "unreadable".to_owned()), tables: Vec::new() }
}

/// Flags 1, source 16, number 8.
fn plain_gtid(body: &[u8]) -> Option<String> {
    let uuid = body.get(1..17)?;
    let number = u64::from_le_bytes(body.get(17..25)?.try_into().ok()?);
    let hex = format!("{:032x}", u128::from_be_bytes(uuid.try_into().ok()?));
    Some(format!("{}-{}-{}-{}-{}:{number}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}

/// Table id 6, flags 2, then schema and table, each with its length before and a zero behind.
fn table_of(body: &[u8]) -> Option<String> {
    let schema_len = usize::from(*body.get(8)?);
    let schema = body.get(9..9 + schema_len)?;
    let at = 9 + schema_len + 1;
    let table_len = usize::from(*body.get(at)?);
    let table = body.get(at + 1..at + 1 + table_len)?;
    Some(format!("{}.{}", String::from_utf8_lossy(schema), String::from_utf8_lossy(table)))
}

/// A statement that is not `BEGIN` changes more than rows. Thread 4, time 4, schema length 1, error 2, status length 2.
fn statement_of(body: &[u8]) -> Option<String> {
    let schema_len = usize::from(*body.get(8)?);
    let status_len = usize::from(u16::from_le_bytes([*body.get(11)?, *body.get(12)?]));
    let text = body.get(13 + status_len + schema_len + 1..)?;
    let text = String::from_utf8_lossy(text);
    // A checksum of 4 bytes may follow the text.
    (!text.starts_with("BEGIN")).then(|| format!("(statement) {}", text.chars().take(60).collect::<String>()))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const UUID: [u8; 16] = [0x3e; 16];

    fn event(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut event = vec![0; HEADER];
        event[4] = kind;
        event[9..13].copy_from_slice(&((HEADER + body.len()) as u32).to_le_bytes());
        event.extend_from_slice(body);
        event
    }

    fn gtid(number: u64) -> Vec<u8> {
        let mut body = vec![0];
        body.extend_from_slice(&UUID);
        body.extend_from_slice(&number.to_le_bytes());
        event(GTID, &body)
    }

    fn table(schema: &str, name: &str) -> Vec<u8> {
        let mut body = vec![0; 8];
        for text in [schema, name] {
            body.push(text.len() as u8);
            body.extend_from_slice(text.as_bytes());
            body.push(0);
        }
        event(TABLE_MAP, &body)
    }

    fn log(events: &[Vec<u8>]) -> (tempfile::TempDir, u64) {
        let folder = tempfile::tempdir().expect("a folder");
        let mut bytes = MAGIC.to_vec();
        for event in events {
            bytes.extend_from_slice(event);
        }
        fs::write(folder.path().join("binlog.000007"), &bytes).expect("writable");
        fs::write(folder.path().join("binlog.index"), "./binlog.000006\n./binlog.000007\n").expect("writable");
        (folder, bytes.len() as u64)
    }

    fn keep(text: &str) -> GtidSet {
        GtidSet::parse(Flavour::MySql, text).expect("a set")
    }

    #[test]
    fn the_tail_that_nobody_has_is_named_saved_and_cut() {
        let kept = [gtid(1), table("shop", "orders")];
        let extra = [gtid(2), table("shop", "orders"), gtid(3), table("millrace", "heartbeat")];
        let (folder, whole) = log(&[&kept[..], &extra[..]].concat());
        let save = folder.path().join("saved");
        let set = keep("3e3e3e3e-3e3e-3e3e-3e3e-3e3e3e3e3e3e:1");
        let found = cut(folder.path(), &set, &save).expect("readable").expect("a tail");
        let names: Vec<_> = found.iter().map(|one| one.tables.join(",")).collect();
        assert_eq!(names, ["shop.orders", "millrace.heartbeat"]);
        let left = fs::metadata(folder.path().join("binlog.000007")).expect("there").len();
        let saved: u64 =
            fs::read_dir(&save).expect("there").flatten().map(|file| file.metadata().expect("m").len()).sum();
        assert_eq!(left + saved, whole);
        assert_eq!(cut(folder.path(), &set, &save).expect("readable"), None, "a second time there is nothing to cut");
    }

    #[test]
    fn nothing_is_cut_when_a_later_transaction_is_kept() {
        let (folder, whole) = log(&[gtid(1), gtid(2)]);
        let set = keep("3e3e3e3e-3e3e-3e3e-3e3e-3e3e3e3e3e3e:2");
        assert!(cut(folder.path(), &set, &folder.path().join("saved")).is_err());
        assert_eq!(fs::metadata(folder.path().join("binlog.000007")).expect("there").len(), whole);
    }

    #[test]
    fn a_half_written_event_is_the_end() {
        let (folder, whole) = log(&[gtid(1)]);
        let path = folder.path().join("binlog.000007");
        let mut file = OpenOptions::new().append(true).open(&path).expect("there");
        file.write_all(&gtid(2)[..20]).expect("writable");
        let set = keep("3e3e3e3e-3e3e-3e3e-3e3e-3e3e3e3e3e3e:1");
        assert_eq!(cut(folder.path(), &set, folder.path()).expect("readable"), None);
        assert!(fs::metadata(path).expect("there").len() > whole);
    }
}
