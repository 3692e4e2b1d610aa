//! Graphite's plaintext protocol: points enter, lines `NAME VALUE SECONDS` leave, over TCP. A name is a path,
//! `CLUSTER.INSTANCE.METRIC` and then the values of the metric's other labels in their order, or the metric with its labels as
//! tags. What has a meaning in names is written `%XX`, as in addresses, so that two names never become one.
//!
//! The protocol knows no answer. So each batch has a connection of its own: it counts as taken once the other side has read it to
//! its end and closed. A line that the store does not like it drops without a word; nothing can be told of it here.

use std::fmt::Write as _;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::line::{Point, Refused};
use crate::store::{ANSWER_WITHIN, CONNECT_WITHIN, Failed};

/// The port of Graphite's own receiver for lines.
pub const PORT: u16 = 2003;

/// 200 bytes: a part of a path is the name of a file or a folder in Graphite's own storage, which has 255 at most.
const PART_BYTES: usize = 200;

/// Appends the lines of a point, one for each field, and says how many parts were cut. One that is refused leaves `out` as it was.
pub(crate) fn encode(point: &Point, tagged: bool, out: &mut Vec<u8>) -> Result<u64, Refused> {
    if point.fields.is_empty() {
        return Err(Refused::NoField);
    }
    if let Some((field, _)) = point.fields.iter().find(|(_, value)| !value.is_finite()) {
        return Err(Refused::NotANumber(field));
    }
    let (mut text, mut cut) = (String::new(), 0);
    for (field, value) in &point.fields {
        cut += if tagged { tags(point, field, &mut text) } else { path(point, field, &mut text) };
        let _ = writeln!(text, " {value} {}", point.at.0.div_euclid(1_000_000));
    }
    out.extend_from_slice(text.as_bytes());
    Ok(cut)
}

/// `METRIC;LABEL=VALUE...`; a tag has at least one character, so that a label without a value is left out.
fn tags(point: &Point, field: &str, out: &mut String) -> u64 {
    let _ = write!(out, "{}_{field}", point.measurement);
    for (label, value) in point.labels.iter().filter(|(_, value)| !value.is_empty()) {
        let _ = write!(out, ";{label}=");
        escaped(value, |char| matches!(char, ';' | '~'), out);
    }
    0
}

/// `CLUSTER.INSTANCE.METRIC.VALUE...`; a part without a value is `-`, so that each metric has its parts always.
fn path(point: &Point, field: &str, out: &mut String) -> u64 {
    let label = |name: &str| point.labels.iter().find(|(label, _)| *label == name).map_or("", |(_, value)| value);
    let mut cut = part(label("cluster"), out);
    out.push('.');
    cut += part(label("instance"), out);
    let _ = write!(out, ".{}_{field}", point.measurement);
    for (_, value) in point.labels.iter().filter(|(label, _)| !matches!(*label, "cluster" | "instance")) {
        out.push('.');
        cut += part(value, out);
    }
    cut
}

/// A part of a path, and 1 if it was cut.
fn part(value: &str, out: &mut String) -> u64 {
    let mut whole = String::new();
    escaped(value, |char| !char.is_ascii_alphanumeric() && !matches!(char, '-' | '_'), &mut whole);
    match whole.len() {
        0 => out.push('-'),
        1..=PART_BYTES => out.push_str(if whole == "-" { "%2D" } else { &whole }),
        _ => {
            // Not within `%XX`; the text is ASCII by now.
            let end = (PART_BYTES - 2..=PART_BYTES).find(|end| whole[*end..].starts_with('%')).unwrap_or(PART_BYTES);
            out.push_str(&whole[..end]);
            return 1;
        }
    }
    0
}

/// Appends `text` with `%XX` for each byte of what ends a line or a name, of `%` itself, and of what is `special`.
fn escaped(text: &str, special: impl Fn(char) -> bool, out: &mut String) {
    for char in text.chars() {
        if char == '%' || char.is_whitespace() || char.is_control() || special(char) {
            for byte in char.encode_utf8(&mut [0; 4]).bytes() {
                let _ = write!(out, "%{byte:02X}");
            }
        } else {
            out.push(char);
        }
    }
}

/// Sends lines over a connection of their own to `HOST:PORT`.
pub(crate) async fn send(address: &str, lines: &[u8]) -> Result<(), Failed> {
    let away = |why: String| Failed::Away { why, after: None };
    let connected = tokio::time::timeout(CONNECT_WITHIN, TcpStream::connect(address)).await;
    let connected = connected.map_err(|_| away(format!("no connection within {} s", CONNECT_WITHIN.as_secs())))?;
    let mut stream = connected.map_err(|error| away(error.to_string()))?;
    let handed_over = async {
        stream.write_all(lines).await?;
        stream.shutdown().await?;
        // Nothing is said in this protocol: what comes is the end, once everything was read.
        let mut said = [0; 1];
        while stream.read(&mut said).await? > 0 {}
        Ok::<(), std::io::Error>(())
    };
    match tokio::time::timeout(ANSWER_WITHIN, handed_over).await {
        Ok(handed_over) => handed_over.map_err(|error| away(error.to_string())),
        Err(_) => Err(away(format!("it did not read to the end within {} s", ANSWER_WITHIN.as_secs()))),
    }
}

#[cfg(test)]
#[path = "graphite_tests.rs"]
mod tests;
