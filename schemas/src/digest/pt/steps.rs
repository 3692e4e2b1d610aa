//! The steps from a statement to the text behind its id: each takes bytes and gives bytes, and knows nothing of the others. Letters
//! and blanks are those of ASCII; other bytes stand for themselves, whatever the character set. Each is linear in the length of the
//! text, but for unions, which are compared with one another.

/// 1,000 unions inside the part that comes again: nobody writes that many twice, and with 20,000 different selects in one statement
/// each would be held against all behind it. The only difference from the tool that is known.
const UNIONS_MAX: usize = 1_000;

/// Whether `text` begins with `lower`, in letters of any case.
pub(super) fn starts_with(text: &[u8], lower: &[u8]) -> bool {
    text.get(..lower.len()).is_some_and(|start| start.eq_ignore_ascii_case(lower))
}

pub(super) fn whitespace(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == b'\x0b'
}

pub(super) fn word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Whether a word begins or ends at `at`.
fn boundary(text: &[u8], at: usize) -> bool {
    let before = at.checked_sub(1).is_some_and(|before| word(text[before]));
    before != text.get(at).is_some_and(|byte| word(*byte))
}

/// How many bytes from `at` on are such.
fn run(text: &[u8], at: usize, such: impl Fn(u8) -> bool) -> usize {
    text[at..].iter().take_while(|byte| such(**byte)).count()
}

/// Where `part` begins in `text`, from `from` on.
fn find(text: &[u8], from: usize, part: &[u8]) -> Option<usize> {
    text.get(from..)?.windows(part.len()).position(|window| window == part).map(|at| from + at)
}

/// Copies `text`; where `step` finds something, which it tells by its length, what stands for it comes instead.
fn rewrite(text: &[u8], mut step: impl FnMut(usize) -> Option<(usize, Vec<u8>)>) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        if let Some((length, instead)) = step(at) {
            out.extend_from_slice(&instead);
            at += length;
        } else {
            out.push(text[at]);
            at += 1;
        }
    }
    out
}

/// Drops `/* ... */`, but not `/*! ... */`. The first byte inside is never the end: `/**/` reaches to the next one.
pub(super) fn drop_block_comments(text: &[u8]) -> Vec<u8> {
    let mut more = true;
    rewrite(text, |at| {
        let opens = more && text[at..].starts_with(b"/*") && text.get(at + 2).is_some_and(|byte| *byte != b'!');
        if !opens {
            return None;
        }
        let end = find(text, at + 3, b"*/");
        more = end.is_some();
        end.map(|end| (end + 2 - at, Vec::new()))
    })
}

/// Drops `--` and `#` to the end of the line, unless a quote stands before that.
pub(super) fn drop_line_comments(text: &[u8]) -> Vec<u8> {
    // Up to the quote that was met last no comment begins.
    let mut quote = 0;
    rewrite(text, |at| {
        let opens = at >= quote && (text[at] == b'#' || text[at..].starts_with(b"--"));
        if !opens {
            return None;
        }
        let length = run(text, at, |byte| !matches!(byte, b'\'' | b'"' | b'\r' | b'\n'));
        if matches!(text.get(at + length), Some(b'\'' | b'"')) {
            quote = at + length;
            return None;
        }
        Some((length, Vec::new()))
    })
}

/// Drops quotes behind a backslash, and the backslash.
pub(super) fn drop_escaped_quotes(text: &[u8]) -> Vec<u8> {
    rewrite(text, |at| matches!(text[at..], [b'\\', b'\'' | b'"', ..]).then(|| (2, Vec::new())))
}

/// What stands between two quotes is a value; a quote without a second one stays, and what follows it too.
pub(super) fn mask_quoted(text: &[u8], quote: u8) -> Vec<u8> {
    rewrite(text, |at| {
        let inside = text.get(at + 1..).filter(|_| text[at] == quote)?;
        let length = inside.iter().position(|byte| *byte == quote)?;
        Some((length + 2, b"?".to_vec()))
    })
}

/// These words are values.
pub(super) fn mask_words(text: &[u8], words: &[&[u8]]) -> Vec<u8> {
    rewrite(text, |at| {
        let length = words.iter().find(|word| starts_with(&text[at..], word))?.len();
        (boundary(text, at) && boundary(text, at + length)).then(|| (length, b"?".to_vec()))
    })
}

/// What begins with a digit or a sign is a value, also inside a name and after an operand, as far as small letters of hex go.
pub(super) fn mask_numbers(text: &[u8]) -> Vec<u8> {
    rewrite(text, |at| {
        let opens = matches!(text[at], b'0'..=b'9' | b'+' | b'-');
        opens.then(|| {
            let inside = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'x' | b'.' | b'+' | b'-');
            (1 + run(text, at + 1, inside), b"?".to_vec())
        })
    })
}

/// Drops one byte in front of a value that may belong to it: a point, a sign, the letter of `x'1f'` and `b'1'`.
pub(super) fn drop_signs(text: &[u8]) -> Vec<u8> {
    rewrite(text, |at| matches!(text[at..], [b'x' | b'b' | b'.' | b'+' | b'-', b'?', ..]).then(|| (2, b"?".to_vec())))
}

/// Blanks and line ends become one blank; none at the beginning, and no line end at the end.
pub(super) fn squeeze(text: &[u8]) -> Vec<u8> {
    let text = &text[run(text, 0, whitespace)..];
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    rewrite(text, |at| {
        let blanks = run(text, at, |byte| byte.is_ascii_whitespace());
        (blanks > 0).then(|| (blanks, b" ".to_vec()))
    })
}

/// `in` and `values` with lists of nothing but values, however many and however long.
pub(super) fn fold_lists(text: &[u8]) -> Vec<u8> {
    rewrite(text, |at| {
        let name = [&b"in"[..], b"values", b"value"].into_iter().find(|name| text[at..].starts_with(name))?;
        let mut end = at + name.len();
        while let Some(length) = list(text, end) {
            end += length;
        }
        let found = boundary(text, at) && end > at + name.len();
        found.then(|| (end - at, [name, b"(?+)"].concat()))
    })
}

/// How long a list of values from `at` on is, with what parts it from what stands before.
fn list(text: &[u8], at: usize) -> Option<usize> {
    let before = run(text, at, |byte| whitespace(byte) || byte == b',');
    let inside = text[at + before..].strip_prefix(b"(")?;
    let values = run(inside, 0, |byte| whitespace(byte) || matches!(byte, b',' | b'?'));
    (inside.get(values) == Some(&b')')).then_some(before + values + 2)
}

/// A select that is united with ones of the same text stands there once.
pub(super) fn fold_unions(text: &[u8]) -> Vec<u8> {
    // Looked for once: a statement of a megabyte may have ten thousands of selects.
    let unions: Vec<usize> = (0..text.len()).filter(|at| union(&text[*at..]).is_some()).collect();
    rewrite(text, |at| {
        let opens = text[at..].starts_with(b"select") && boundary(text, at);
        let blank = opens && text.get(at + 6).is_some_and(|byte| whitespace(*byte));
        let behind = unions.partition_point(|union| *union < at + 7);
        if blank {
            repeated(&text[at..], unions[behind..].iter().take(UNIONS_MAX).map(|union| union - at))
        } else {
            None
        }
    })
}

/// The shortest beginning of `text` that comes again behind one of `unions`: it is enough that the next select begins so.
fn repeated(text: &[u8], mut unions: impl Iterator<Item = usize>) -> Option<(usize, Vec<u8>)> {
    unions.find_map(|first| {
        let again = |at: usize| {
            let words = union(&text[at..])?;
            text[at + words + 1..].starts_with(&text[..first]).then_some((words, at + words + 1 + first))
        };
        let (mut words, mut end) = again(first)?;
        let mut last = first;
        while let Some((next, after)) = again(end) {
            (last, words, end) = (end, next, after);
        }
        Some((end, [&text[..first], b" /*repeat", &text[last..last + words], b"*/"].concat()))
    })
}

/// How long ` union` or ` union all` is, where a blank follows it.
fn union(text: &[u8]) -> Option<usize> {
    let blank = |at: usize| text.get(at).is_some_and(|byte| whitespace(*byte));
    if !blank(0) || !text[1..].starts_with(b"union") || !blank(6) {
        return None;
    }
    Some(if text[7..].starts_with(b"all") && blank(10) { 10 } else { 6 })
}

/// `limit ?` for the first limit, also with an offset.
pub(super) fn fold_limit(text: &[u8]) -> Vec<u8> {
    let mut done = false;
    rewrite(text, |at| {
        if done || !text[at..].starts_with(b"limit ?") || !boundary(text, at) {
            return None;
        }
        done = true;
        let rest = &text[at + 7..];
        let more = [&b", ?"[..], b",?", b" offset ?"].into_iter().find(|more| rest.starts_with(more));
        Some((7 + more.map_or(0, <[u8]>::len), b"limit ?".to_vec()))
    })
}

/// Drops `asc` behind the first `order by`, also where a longer word begins so.
pub(super) fn drop_ascending(text: &[u8]) -> Vec<u8> {
    let order = (0..text.len()).find(|at| text[*at..].starts_with(b"order by ") && boundary(text, *at));
    // At least one byte stands before each that is dropped.
    let Some(mut from) = order.map(|at| at + "order by ".len() + 1) else { return text.to_vec() };
    rewrite(text, |at| {
        let blanks = if at < from { 0 } else { run(text, at, whitespace) };
        let found = blanks > 0 && text[at + blanks..].starts_with(b"asc");
        found.then(|| {
            from = at + blanks + 4;
            (blanks + 3, Vec::new())
        })
    })
}
