//! The rules, each a function over sources that returns what breaks it: `PATH:LINE: what`.

use super::source::Source;

/// What reads a clock, rolls dice or does I/O.
const IMPURE: [&str; 12] = [
    "SystemTime::now",
    "Instant::now",
    "Timestamp::now",
    "Zoned::now",
    "thread_rng",
    "rand::",
    "std::fs",
    "std::net",
    "std::thread",
    "std::process",
    "std::env",
    "HashMap::",
];

/// Statements and calls that change a server, wherever their words come from.
const CHANGES: [&str; 23] = [
    "\"SET GLOBAL",
    "\"SET PERSIST",
    "\"CHANGE ",
    "\"STOP ",
    "\"START ",
    "\"RESET ",
    "\"KILL ",
    "\"FLUSH ",
    "\"SHUTDOWN",
    "\"INSTALL ",
    ".stop_receiver()",
    ".stop_replication()",
    ".start_replication()",
    ".change_source(",
    ".change_receiver(",
    ".forget_source()",
    ".make_read_only()",
    ".shut_clients_out()",
    ".kill_session(",
    ".enable_semi_sync_source(",
    ".write_empty_transaction(",
    "kill_process(",
    "Command::new(",
];

/// Who may: the hands and the guard; the one place that knows the words; the failpoint, which ends its own process; and the
/// demo, which is a user of the product: it kills a server of its own and runs the program a second time.
const MAY_CHANGE: [&str; 7] = [
    "executors/src/hands",
    "executors/src/guard",
    "mysql/src/flavour/",
    "schemas/src/digest/",           // names the kinds of statements, and sends none
    "sinks/src/channels/command.rs", // starts what the operator configured to be told of alerts
    "src/bus/failpoint.rs",
    "src/demo/",
];

/// Longer functions that stand, each with the length it has and must not outgrow, and why.
const LONG_FUNCTIONS: [(&str, usize); 0] = [];

/// Longer files that stand: a table of words is not read from end to end.
const LONG_FILES: [(&str, usize); 1] = [("schemas/src/digest/words.rs", 1_100)];

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

fn at(source: &Source, line: usize, what: &str) -> String {
    format!("{}:{line}: {}", source.path, what.trim())
}

/// A path of `krate` used outside `places`, or in more than `most` files of them.
pub(super) fn only_in(code: &[Source], krate: &str, places: &[&str], most: usize) -> Vec<String> {
    let path = format!("{krate}::");
    let uses = |line: &str| {
        line.match_indices(&path).any(|(at, _)| {
            !line[..at]
                .chars()
                .next_back()
                .is_some_and(|before| before.is_alphanumeric() || before == '_' || before == ':')
        })
    };
    let mut broken = Vec::new();
    let mut files = Vec::new();
    for source in code {
        let Some((number, line)) = source.code().find(|(_, line)| uses(line)) else { continue };
        files.push(source.path.clone());
        if !places.iter().any(|place| source.path.starts_with(place)) {
            broken.push(at(source, number, line));
        }
    }
    if files.len() > most {
        broken.push(format!("{krate} is used in {} files: {}", files.len(), files.join(", ")));
    }
    broken
}

/// Metrics of the catalogue whose constant is handed to nothing outside it.
pub(super) fn unused_metrics(catalogue: &Source, code: &[Source]) -> Vec<String> {
    let constant = |line: &str| {
        let (name, rest) = line.trim().split_once(": ")?;
        (rest.starts_with("Counter,") || rest.starts_with("Gauge,")).then(|| name.to_owned())
    };
    let others: Vec<&Source> = code.iter().filter(|one| one.path != catalogue.path).collect();
    let used = |name: &str| {
        let handed = format!("&{name}");
        let ends = |rest: &str| !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_');
        let uses = |line: &str| line.match_indices(&handed).any(|(at, _)| ends(&line[at + handed.len()..]));
        others.iter().any(|one| one.code().any(|(_, line)| uses(line)))
    };
    let named = catalogue.code().filter_map(|(number, line)| Some((number, constant(line)?)));
    named.filter(|(_, name)| !used(name)).map(|(number, name)| at(catalogue, number, &name)).collect()
}

fn lines_with(code: &[Source], words: &[&str]) -> Vec<String> {
    let mut broken = Vec::new();
    for source in code {
        let hits = source.code().filter(|(_, line)| words.iter().any(|word| line.contains(word)));
        broken.extend(hits.map(|(number, line)| at(source, number, line)));
    }
    broken
}

/// Clocks, dice and I/O. `HashMap` too: its order is random; what is only looked up may be one, and says so.
pub(super) fn impure(code: &[Source]) -> Vec<String> {
    lines_with(code, &IMPURE)
}

/// What changes a server outside the hands and the guard.
pub(super) fn changes_servers(code: &[Source]) -> Vec<String> {
    let others: Vec<Source> =
        code.iter().filter(|one| !MAY_CHANGE.iter().any(|place| one.path.starts_with(place))).cloned().collect();
    lines_with(&others, &CHANGES)
}

/// Writes of collectors to any schema but our own.
pub(super) fn foreign_writes(code: &[Source]) -> Vec<String> {
    let verbs =
        ["INSERT INTO ", "REPLACE INTO ", "UPDATE ", "DELETE FROM ", "CREATE TABLE ", "DROP TABLE ", "ALTER TABLE "];
    let foreign = |line: &str| {
        verbs
            .iter()
            .any(|verb| line.split_once(&format!("\"{verb}")).is_some_and(|(_, rest)| !rest.starts_with("millrace.")))
    };
    let mut broken = Vec::new();
    for source in code.iter().filter(|one| one.path.starts_with("collectors/")) {
        broken.extend(source.code().filter(|(_, line)| foreign(line)).map(|(number, line)| at(source, number, line)));
    }
    broken
}

/// Files that do not say what they are.
pub(super) fn without_head(all: &[Source]) -> Vec<String> {
    all.iter().filter(|one| !one.text.starts_with("//!")).map(|one| one.path.clone()).collect()
}

/// Files that do not fit in a head.
pub(super) fn too_long(code: &[Source]) -> Vec<String> {
    let allowed =
        |path: &str| LONG_FILES.iter().find(|(file, _)| *file == path).map_or(FILE_LINES_MAX, |(_, most)| *most);
    let lines = |one: &Source| one.text.lines().count();
    let long = code.iter().filter(|one| lines(one) > allowed(&one.path));
    long.map(|one| format!("{}: {} lines", one.path, lines(one))).collect()
}

/// Functions that do not fit in a head. The source is formatted, so a function ends at the first `}` of its own indentation.
pub(super) fn long_functions(code: &[Source]) -> Vec<String> {
    let mut broken = Vec::new();
    for source in code {
        let lines: Vec<&str> = source.text.lines().collect();
        for (start, line) in lines.iter().enumerate() {
            let Some(name) = function_name(line) else { continue };
            let indent = &line[..line.len() - line.trim_start().len()];
            let end = format!("{indent}}}");
            let length = lines[start..].iter().position(|line| *line == end).map_or(1, |end| end + 1);
            let key = format!("{}::{name}", source.path);
            let allowed =
                LONG_FUNCTIONS.iter().find(|(known, _)| *known == key).map_or(FUNCTION_LINES_MAX, |(_, most)| *most);
            if length > allowed && !line.trim_end().ends_with('}') && !line.trim_end().ends_with(';') {
                broken.push(format!("{key}: {length} lines"));
            }
        }
    }
    broken
}

fn function_name(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    let before = |word: &str| matches!(word, "pub" | "const" | "async" | "unsafe") || word.starts_with("pub(");
    let word = words.by_ref().find(|word| !before(word))?;
    if word != "fn" {
        return None;
    }
    words.next().map(|name| name.split(['(', '<']).next().unwrap_or(name))
}

/// Work left for later without an issue.
pub(super) fn todos(all: &[Source]) -> Vec<String> {
    let mut broken = Vec::new();
    for source in all.iter().filter(|one| !one.path.starts_with("tests/architecture/")) {
        for (number, line) in source.text.lines().enumerate() {
            let marked = ["TODO", "FIXME", "XXX"].iter().find_map(|mark| line.split_once(mark));
            if let Some((_, rest)) = marked
                && !rest.starts_with("(#")
                && line.contains("//")
            {
                broken.push(at(source, number + 1, line));
            }
        }
    }
    broken
}

/// Panics without a sentence.
pub(super) fn unwraps(code: &[Source]) -> Vec<String> {
    lines_with(code, &[".unwrap()", ".unwrap_err()"])
}

/// Cargo features of our own.
pub(super) fn features(manifests: &[Source]) -> Vec<String> {
    let has = |one: &&Source| one.text.lines().any(|line| line.trim() == "[features]");
    manifests.iter().filter(has).map(|one| one.path.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(path: &str, text: &str) -> Vec<Source> {
        vec![Source::new(path, text)]
    }

    #[test]
    fn each_rule_finds_what_breaks_it() {
        let check = |broken: Vec<String>, expected: usize| assert_eq!(broken.len(), expected, "{broken:?}");
        check(only_in(&one("sinks/src/a.rs", "use rusqlite::params;"), "rusqlite", &["src/bus/local"], 9), 1);
        check(only_in(&one("src/bus/local/a.rs", "use rusqlite::params;"), "rusqlite", &["src/bus/local"], 9), 0);
        check(only_in(&one("sinks/src/a.rs", "// use rusqlite::params;"), "rusqlite", &["src/bus/local"], 9), 0);
        check(only_in(&one("sinks/src/a.rs", "my_rusqlite::x()"), "rusqlite", &["src/bus/local"], 9), 0);
        let two =
            [one("processors/src/a.rs", "use sqlparser::x;"), one("processors/src/b.rs", "sqlparser::y()")].concat();
        check(only_in(&two, "sqlparser", &["processors/src/"], 1), 1);
        check(impure(&one("processors/src/a.rs", "let now = std::time::Instant::now();")), 1);
        check(changes_servers(&one("collectors/src/a.rs", "session.execute(\"SET GLOBAL read_only=ON\")")), 1);
        check(changes_servers(&one("executors/src/hands/a.rs", "session.execute(\"SET GLOBAL read_only=ON\")")), 0);
        check(changes_servers(&one("src/roles/a.rs", "dialect.stop_receiver()")), 1);
        check(foreign_writes(&one("collectors/src/a.rs", "\"INSERT INTO shop.t VALUES(1)\"")), 1);
        check(foreign_writes(&one("collectors/src/a.rs", "\"REPLACE INTO millrace.canary VALUES(1)\"")), 0);
        check(without_head(&one("src/a.rs", "use x;")), 1);
        check(too_long(&one("src/a.rs", &"x\n".repeat(501))), 1);
        check(too_long(&one("src/a.rs", &"x\n".repeat(500))), 0);
        check(todos(&one("src/a.rs", "// TODO: later")), 1);
        check(todos(&one("src/a.rs", "// TODO(#12): later")), 0);
        check(unwraps(&one("src/a.rs", "x.unwrap();")), 1);
        check(unwraps(&one("src/a.rs", "#[cfg(test)]\nmod tests {\n x.unwrap();\n}")), 0);
        let catalogue =
            Source::new("schemas/src/metrics/own.rs", "    A_B: Counter, \"a_b_total\";\n    A: Gauge, \"a\";");
        check(unused_metrics(&catalogue, &one("src/a.rs", "metrics.add(&A_B, &[], 1);")), 1);
        check(unused_metrics(&catalogue, &one("src/a.rs", "use metrics::{A, A_B};\nmetrics.set(&A, &[], 1.0);")), 1);
        check(unused_metrics(&catalogue, &one("src/a.rs", "count(&metrics, &A_B, 1);\nmetrics.set(&A, &[], 1.0);")), 0);
        check(unused_metrics(&catalogue, &one("schemas/src/metrics/own.rs", "add(&A_B); set(&A);")), 2);
        check(features(&one("a/Cargo.toml", "[features]\ndefault = []")), 1);
    }

    #[test]
    fn long_functions_are_measured_to_their_own_brace() {
        let body =
            |lines: usize| format!("impl A {{\n    pub fn f(&self) {{\n{}    }}\n}}\n", "        x();\n".repeat(lines));
        assert_eq!(long_functions(&one("src/a.rs", &body(68))), Vec::<String>::new());
        assert_eq!(long_functions(&one("src/a.rs", &body(69))), ["src/a.rs::f: 71 lines"]);
    }
}
