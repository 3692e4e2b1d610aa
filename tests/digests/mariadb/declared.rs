//! The declared differences to MariaDB, as rewritings of its text, and written down a second time, as those to MySQL are.

use super::super::declared::{rows, tokens as words};

/// How our canonical text may differ from MariaDB's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Difference {
    /// `x'41'` is a value; MariaDB prints `(unknown)`.
    Hexadecimal,
    /// A sign behind a comparison and the like is a part of the number.
    Signs,
    /// `IN` with one value reads as with several.
    OneValue,
    /// Rows of a list collapse to one row, whatever their number.
    Rows,
    /// MariaDB prints `SLAVE` for `REPLICA`.
    Replicas,
    /// A name that is a word of MariaDB's grammar alone.
    TheirWords,
    /// A name in MariaDB that is a word of MySQL's grammar.
    OurWords,
}

impl Difference {
    pub(super) const ALL: [Self; 7] =
        [Self::Hexadecimal, Self::Signs, Self::OneValue, Self::Rows, Self::Replicas, Self::TheirWords, Self::OurWords];
}

/// What ours must be where MariaDB prints `theirs`, and in what they differ. Which names are words is taken from `ours`: only case
/// and quotes of a name may differ.
pub(super) fn as_ours(theirs: &str, ours: &str) -> (String, Vec<Difference>) {
    let mut tokens = lists(&words(theirs.trim_end()));
    while tokens.last().is_some_and(|token| token == ";") {
        tokens.pop();
    }
    let ours = lists(&words(ours));
    let steps = [
        (Difference::Hexadecimal, hexadecimal as fn(&[String]) -> Vec<String>),
        (Difference::Signs, signs),
        (Difference::OneValue, one_value),
        (Difference::Rows, rows),
        (Difference::Replicas, |tokens| spelled(tokens, "SLAVE", "REPLICA")),
    ];
    let mut differences = Vec::new();
    for (difference, step) in steps {
        // A replica is only called one where ours is.
        if difference == Difference::Replicas && !ours.iter().any(|token| token == "REPLICA") {
            continue;
        }
        let after = step(&tokens);
        if after != tokens {
            differences.push(difference);
            tokens = after;
        }
    }
    for (token, own) in tokens.iter_mut().zip(&ours) {
        let difference = match (unquoted(token), unquoted(own)) {
            (None, Some(name)) if is_word(token) && token.eq_ignore_ascii_case(name) => Difference::TheirWords,
            (Some(name), None) if is_word(own) && own.eq_ignore_ascii_case(name) => Difference::OurWords,
            _ => continue,
        };
        token.clone_from(own);
        if !differences.contains(&difference) {
            differences.push(difference);
        }
    }
    (tokens.join(" "), differences)
}

fn unquoted(token: &str) -> Option<&str> {
    token.strip_prefix('`')?.strip_suffix('`')
}

fn is_word(token: &str) -> bool {
    token.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

fn spelled(tokens: &[String], theirs: &str, ours: &str) -> Vec<String> {
    tokens.iter().map(|token| if token == theirs { ours.to_owned() } else { token.clone() }).collect()
}

/// `?, ...` as one token.
fn lists(tokens: &[String]) -> Vec<String> {
    let mut merged: Vec<String> = Vec::new();
    for token in tokens {
        match merged.last_mut() {
            Some(last) if token == "..." && last.ends_with("?,") => last.push_str(" ..."),
            _ => merged.push(token.clone()),
        }
    }
    merged
}

fn hexadecimal(tokens: &[String]) -> Vec<String> {
    if tokens.iter().any(|token| token == "(unknown)") {
        reduced(spelled(tokens, "(unknown)", "?"))
    } else {
        tokens.to_vec()
    }
}

/// What a sign behind belongs to the number for.
#[rustfmt::skip]
const TAKE_SIGNS: [&str; 50] = [
    "(", ",", "+", "-", "*", "/", "%", "|", "&", "^", "<<", ">>", "||", "&&", "=", "!=", "<", ">", "<=", ">=", "<=>", "->", "->>",
    "SELECT", "AND", "AT", "BETWEEN", "CASE", "DEFAULT", "DIV", "ELSE", "ELSEIF", "ENDS", "EVERY", "IF", "INTERVAL", "LIKE",
    "MOD", "NOT", "OR", "RETURN", "RLIKE", "STARTS", "THEN", "UNTIL", "VALUES", "WHEN", "WHILE", "XOR", "IS",
];

/// Drops such signs.
fn signs(tokens: &[String]) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for token in tokens {
        if token.starts_with('?') {
            while let [.., before, sign] = kept.as_slice()
                && matches!(sign.as_str(), "-" | "+")
                && TAKE_SIGNS.contains(&before.as_str())
            {
                kept.pop();
            }
        }
        kept.push(token.clone());
    }
    if kept.len() == tokens.len() { kept } else { reduced(kept) }
}

/// Joins values to lists, and puts values in parentheses together.
fn reduced(tokens: Vec<String>) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for token in tokens {
        let value = |token: &str| matches!(token, "?" | "?, ..." | "@?" | "@?, ...");
        match (kept.as_slice(), token.as_str()) {
            ([.., before, comma], "?" | "?, ...") if comma == "," && value(before) => {
                let list = if before.starts_with('@') { "@?, ..." } else { "?, ..." };
                kept.truncate(kept.len() - 2);
                kept.push(list.to_owned());
            }
            ([.., open, values], ")") if open == "(" && matches!(values.as_str(), "?" | "?, ...") => {
                let row = if values == "?" { "(?)" } else { "(...)" };
                kept.truncate(kept.len() - 2);
                kept.push(row.to_owned());
            }
            _ => kept.push(token),
        }
    }
    kept
}

fn one_value(tokens: &[String]) -> Vec<String> {
    let mut kept = tokens.to_vec();
    for at in 1..kept.len() {
        if kept[at - 1] == "IN" && kept[at] == "(?)" {
            "(...)".clone_into(&mut kept[at]);
        }
    }
    kept
}
