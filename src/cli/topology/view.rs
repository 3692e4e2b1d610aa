//! How a report looks: a tree in 80 columns, or a graph for `dot`. Pure. A ring and a server with two sources are drawn once;
//! where they come again stands only their name.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::judge::{ChannelView, Report, ServerView, errant};

/// The width that every terminal has.
const COLUMNS: usize = 80;
/// A line keeps at least this many columns for words, however deep the tree: below it words fall apart.
const WORDS_MIN: usize = 30;

/// The report for people.
pub(super) fn text(report: &Report) -> String {
    let mut lines = Vec::new();
    let mut drawn = BTreeSet::new();
    let rootless = |at: &usize| report.servers[*at].parents.is_empty();
    let roots: Vec<usize> = (0..report.servers.len()).filter(rootless).collect();
    // What only a ring leads to comes after the roots, from its first member on.
    for at in roots.into_iter().chain(0..report.servers.len()) {
        if !drawn.contains(&at) {
            draw(report, at, &Indent::default(), &mut drawn, &mut lines);
        }
    }
    for (kind, findings) in [("problem", &report.problems), ("unknown", &report.unknown), ("note", &report.notes)] {
        if !findings.is_empty() {
            lines.push(String::new());
        }
        for finding in findings {
            wrap(&mut lines, &format!("{kind}: "), "  ", finding);
        }
    }
    lines.push(String::new());
    lines.push(summary(report));
    lines.join("\n")
}

fn summary(report: &Report) -> String {
    let asked = report.servers.iter().filter(|server| server.asked).count();
    let silent = report.servers.len() - asked;
    let verdict = match (report.problems.len(), report.unknown.len()) {
        (0, 0) => "healthy".to_owned(),
        (0, unknown) => format!("nothing broken was found, {unknown} not known"),
        (problems, 0) => format!("{problems} problems"),
        (problems, unknown) => format!("{problems} problems, {unknown} not known"),
    };
    format!("{asked} servers asked, {silent} could not be asked: {verdict}")
}

/// What stands before a server's lines.
#[derive(Debug, Default)]
struct Indent {
    /// Before its first line.
    head: String,
    /// Before all others, and what is below it.
    rest: String,
}

fn draw(report: &Report, at: usize, indent: &Indent, drawn: &mut BTreeSet<usize>, lines: &mut Vec<String>) {
    let server = &report.servers[at];
    if !drawn.insert(at) {
        wrap(lines, &indent.head, &indent.rest, &format!("{} (drawn above)", server.address));
        return;
    }
    let children: Vec<usize> =
        (0..report.servers.len()).filter(|other| report.servers[*other].parents.contains(&at)).collect();
    wrap(lines, &indent.head, &indent.rest, &headline(server));
    let bar = if children.is_empty() { "    " } else { "|   " };
    let under = format!("{}{bar}", indent.rest);
    for detail in details(server) {
        wrap(lines, &under, &format!("{under}  "), &detail);
    }
    for (number, child) in children.iter().enumerate() {
        let last = number + 1 == children.len();
        let (head, rest) = if last { ("`-- ", "    ") } else { ("|-- ", "|   ") };
        let indent = Indent { head: format!("{}{head}", indent.rest), rest: format!("{}{rest}", indent.rest) };
        draw(report, *child, &indent, drawn, lines);
    }
}

fn headline(server: &ServerView) -> String {
    let mut words = vec![server.address.clone(), server.role.to_owned()];
    if let (Some(flavour), Some(version)) = (server.flavour, &server.version) {
        words.push(format!("{flavour} {version}"));
        words.push(server.writes.to_owned());
    }
    words.join("  ")
}

fn details(server: &ServerView) -> Vec<String> {
    let mut lines: Vec<String> = server.reason.iter().map(|why| format!("not known: {why}")).collect();
    if !server.also.is_empty() {
        lines.push(format!("also {}", server.also.join(", ")));
    }
    lines.extend(server.semi_sync_source.iter().map(|how| format!("semi-sync: {how}")));
    for channel in &server.channels {
        lines.push(position(server, channel));
        lines.extend(channel.errors.iter().cloned());
    }
    lines
}

fn position(server: &ServerView, channel: &ChannelView) -> String {
    let mut parts = Vec::new();
    if server.channels.len() > 1 {
        parts.push(format!("from {} ({})", channel.source, channel.name));
    }
    if channel.receiver != "running" || channel.applier != "running" {
        parts.push(format!("receiver {}, applier {}", channel.receiver, channel.applier));
    }
    parts.push(channel.lag_seconds.map_or_else(|| "lag unknown".to_owned(), |lag| format!("lag {lag} s")));
    if channel.delay_seconds > 0 {
        parts.push(format!("delayed by {} s on purpose", channel.delay_seconds));
    }
    parts.push(match channel.missing {
        None => "missing unknown".to_owned(),
        Some(0) => "nothing missing".to_owned(),
        Some(missing) => format!("missing {missing}"),
    });
    parts.push(match channel.extra {
        None => "extra unknown".to_owned(),
        Some(0) => "nothing extra".to_owned(),
        Some(_) => format!("{} errant", errant(channel)),
    });
    parts.extend(server.semi_sync_replica.map(|how| format!("semi-sync {how}")));
    parts.join(", ")
}

/// Adds `text` in lines of at most 80 columns; a word that is longer than a line is cut in two.
fn wrap(lines: &mut Vec<String>, first: &str, rest: &str, text: &str) {
    let mut line = first.to_owned();
    let mut room = room_after(first);
    let mut empty = true;
    for word in text.split(' ') {
        let mut word = word;
        loop {
            let length = word.chars().count();
            let needed = length + usize::from(!empty);
            if needed <= room {
                if !empty {
                    line.push(' ');
                }
                line.push_str(word);
                room -= needed;
                empty = false;
                break;
            }
            if empty {
                let cut = word.char_indices().nth(room).map_or(word.len(), |(cut, _)| cut);
                line.push_str(&word[..cut]);
                word = &word[cut..];
            }
            lines.push(std::mem::replace(&mut line, rest.to_owned()));
            (room, empty) = (room_after(rest), true);
        }
    }
    lines.push(line);
}

fn room_after(prefix: &str) -> usize {
    COLUMNS.saturating_sub(prefix.chars().count()).max(WORDS_MIN)
}

/// The report as a graph, from sources to replicas.
pub(super) fn dot(report: &Report) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let mut graph = "digraph topology {\n  rankdir=TB;\n  node [shape=box, fontname=\"sans-serif\"];\n".to_owned();
    for (at, server) in report.servers.iter().enumerate() {
        let version = server.version.as_deref().map_or(String::new(), |version| {
            format!("\n{} {version}, {}", server.flavour.map_or("", |flavour| flavour.name()), server.writes)
        });
        let label = quoted(&format!("{}\n{}{version}", server.address, server.role)).replace('\n', "\\n");
        let style = match (server.asked, server.open) {
            (false, _) => ", style=dashed",
            (true, Some(true)) => ", style=bold",
            (true, _) => "",
        };
        // Writing into a string cannot fail.
        let _ = writeln!(graph, "  s{at} [label={label}{style}];");
    }
    for (at, server) in report.servers.iter().enumerate() {
        for parent in &server.parents {
            let source = &report.servers[*parent].address;
            let channel = server.channels.iter().find(|channel| channel.source == *source);
            let label = channel.map_or_else(|| "not known".to_owned(), |one| position(server, one));
            let broken = channel.is_none_or(|one| one.receiver != "running" || one.applier != "running");
            let style = if broken { ", style=dashed" } else { "" };
            let _ = writeln!(graph, "  s{parent} -> s{at} [label={}{style}];", quoted(&label));
        }
    }
    graph.push_str("}\n");
    graph
}

#[cfg(test)]
mod tests {
    use super::super::judge::report;
    use super::super::samples::{fleet, place};
    use super::*;

    #[test]
    fn the_tree_shows_who_replicates_from_whom() {
        let text = text(&report(&place("a"), &fleet(), 0));
        let expected = "\
a:3306  primary  mysql 8.4.0  open
|-- b:3306  replica  mysql 8.4.0  super-read-only
|       lag 0 s, missing 1, nothing extra, semi-sync off
`-- c:3306  unknown
        not known: connection refused

unknown: c:3306: connection refused

2 servers asked, 1 could not be asked: nothing broken was found, 1 not known";
        assert_eq!(text, expected);
    }

    #[test]
    fn no_line_is_longer_than_a_terminal() {
        let mut lines = Vec::new();
        wrap(&mut lines, "first: ", "  ", &format!("{} {} end", "word ".repeat(40), "x".repeat(200)));
        assert!(lines.iter().all(|line| line.chars().count() <= COLUMNS), "{lines:#?}");
        let words: String = lines.concat().split_whitespace().collect();
        assert_eq!(words, format!("first:{}{}end", "word".repeat(40), "x".repeat(200)));
    }

    #[test]
    fn the_graph_has_every_server_and_every_channel() {
        let graph = dot(&report(&place("a"), &fleet(), 0));
        assert_eq!(graph.lines().filter(|line| line.contains(" -> ")).count(), 2, "{graph}");
        assert!(graph.contains("s0 [label=\"a:3306\\nprimary\\nmysql 8.4.0, open\", style=bold];"), "{graph}");
        assert!(graph.contains("s2 [label=\"c:3306\\nunknown\", style=dashed];"), "{graph}");
    }
}
