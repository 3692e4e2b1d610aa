//! The declared differences, as rewritings of the server's text. They are written down a second time here, and not with the
//! scanner's own means: else the scanner would be compared with itself.

/// How our canonical text may differ from the server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Difference {
    /// Rows of a list collapse to one row, whatever their number.
    Rows,
    /// Hints are dropped.
    Hints,
    /// A position in `ORDER BY` or `GROUP BY` is a literal.
    Positions,
    /// A backtick in a name stays doubled.
    Backticks,
}

impl Difference {
    pub(super) const ALL: [Self; 4] = [Self::Rows, Self::Hints, Self::Positions, Self::Backticks];
}

/// What ours must be where the server prints `theirs`, and in what they differ.
pub(super) fn as_ours(theirs: &str) -> (String, Vec<Difference>) {
    let mut tokens = tokens(theirs.trim_end());
    // The server prints a semicolon at the end, which is no part of the statement.
    while tokens.last().is_some_and(|token| token == ";") {
        tokens.pop();
    }
    let steps = [
        (Difference::Backticks, backticks as fn(&[String]) -> Vec<String>),
        (Difference::Hints, hints),
        (Difference::Rows, rows),
        (Difference::Positions, positions),
    ];
    let mut differences = Vec::new();
    for (difference, step) in steps {
        let after = step(&tokens);
        if after != tokens {
            differences.push(difference);
            tokens = after;
        }
    }
    (tokens.join(" "), differences)
}

/// The words of a text, a name in backticks as one.
pub(super) fn tokens(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match tokens.last_mut() {
            // A blank inside a name.
            Some(open) if open.starts_with(['`', '@']) && open.contains('`') && !closed(open) => {
                open.push(' ');
                open.push_str(word);
            }
            _ => tokens.push(word.to_owned()),
        }
    }
    tokens
}

fn closed(name: &str) -> bool {
    name.ends_with('`') && name.len() > name.find('`').unwrap_or(0) + 1
}

fn backticks(tokens: &[String]) -> Vec<String> {
    let doubled = |token: &String| match token.strip_prefix('`').and_then(|name| name.strip_suffix('`')) {
        Some(name) if name.contains('`') => format!("`{}`", name.replace('`', "``")),
        _ => token.clone(),
    };
    tokens.iter().map(doubled).collect()
}

/// Drops hints. The server keeps a sign behind one, since it keeps the hint.
fn hints(tokens: &[String]) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    let mut inside = false;
    let mut ended = false;
    for (at, token) in tokens.iter().enumerate() {
        if token == "/*+" {
            inside = true;
        } else if inside {
            inside = token != "*/";
            ended = !inside;
        } else if std::mem::take(&mut ended)
            && matches!(token.as_str(), "-" | "+")
            && tokens.get(at + 1).is_some_and(|next| next.starts_with('?'))
        {
        } else {
            kept.push(token.clone());
        }
    }
    kept
}

/// Makes one row of several that read the same.
pub(super) fn rows(tokens: &[String]) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    let mut at = 0;
    // Where the row that was kept last begins and ends.
    let mut last: Option<(usize, usize)> = None;
    while at < tokens.len() {
        if tokens[at..].starts_with(&["/*", ",", "...", "*/"].map(str::to_owned)) {
            at += 4;
            continue;
        }
        let follows = last.filter(|(_, end)| *end == kept.len() && tokens[at] == ",");
        if let Some((begin, end)) = follows
            && kept[begin..end] == tokens[at + 1..row_end(tokens, at + 1)]
        {
            at = row_end(tokens, at + 1);
            continue;
        }
        let in_list = kept.last().is_some_and(|before| matches!(before.as_str(), "VALUES" | "VALUE"))
            || matches!(kept.as_slice(), [.., before, open] if before == "IN" && open == "(")
            || matches!(kept.as_slice(), [.., _, comma] if comma == "," && last.is_some_and(|(_, end)| end + 1 == kept.len()));
        let end = row_end(tokens, at);
        if in_list && end > at {
            last = Some((kept.len(), kept.len() + end - at));
            kept.extend_from_slice(&tokens[at..end]);
            at = end;
            continue;
        }
        kept.push(tokens[at].clone());
        at += 1;
    }
    kept
}

/// Where the row that begins at `at` ends; `at` where none does.
fn row_end(tokens: &[String], at: usize) -> usize {
    match tokens.get(at).map(String::as_str) {
        Some("(?)" | "(...)") => return at + 1,
        Some("(") => {}
        _ => return at,
    }
    let mut depth = 0;
    for (end, token) in tokens.iter().enumerate().skip(at) {
        depth += i32::from(token == "(") - i32::from(token == ")");
        if depth == 0 {
            return end + 1;
        }
    }
    at
}

fn positions(tokens: &[String]) -> Vec<String> {
    let mut by_depth = vec![false];
    let mut kept = Vec::new();
    for token in tokens {
        match token.as_str() {
            "(" => by_depth.push(false),
            ")" => {
                by_depth.pop();
            }
            "BY" => by_depth.last_mut().into_iter().for_each(|by| *by = true),
            "LIMIT" | "HAVING" | "SELECT" => by_depth.last_mut().into_iter().for_each(|by| *by = false),
            _ => {}
        }
        let is_position = by_depth.last() == Some(&true) && token.bytes().all(|byte| byte.is_ascii_digit());
        kept.push(if is_position { "?".to_owned() } else { token.clone() });
    }
    kept
}
