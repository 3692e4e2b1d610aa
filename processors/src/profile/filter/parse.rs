//! The text of a filter in, its tree out. `or` binds weakest, then `and`, then `not`; parentheses part.

use regex::bytes::Regex;

use super::{BadFilter, NUMBER_FIELDS, Node, NumberField, Relation, TEXT_FIELDS, TextField, TextTest};

/// 50 levels of parentheses and `not`: people write two; the tree is walked by calls.
const DEPTH_MAX: usize = 50;

/// A piece of the text, and the column of its first character, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Token {
    what: What,
    column: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Word(String),
    Quoted(String),
    Sign(&'static str),
    End,
}

/// The longer ones first.
const SIGNS: [&str; 11] = ["<=", ">=", "!=", "<>", "!~", "=", "<", ">", "~", "(", ")"];

pub(super) fn parse(text: &str) -> Result<Node, BadFilter> {
    let mut parser = Parser { text, tokens: tokens(text)?, at: 0, depth: 0 };
    let node = parser.any()?;
    match parser.peek().what {
        What::End => Ok(node),
        _ => Err(parser.wrong("'and', 'or' or the end is expected here")),
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, BadFilter> {
    let chars: Vec<char> = text.chars().collect();
    let (mut tokens, mut at) = (Vec::new(), 0);
    while at < chars.len() {
        let column = at + 1;
        let what = match chars[at] {
            blank if blank.is_whitespace() => {
                at += 1;
                continue;
            }
            quote @ ('\'' | '"') => {
                let (value, after) = quoted(&chars, at + 1, quote)
                    .ok_or_else(|| bad(text, column, "the text that begins here has no closing quote"))?;
                at = after;
                What::Quoted(value)
            }
            letter if is_word(letter) => {
                let end = (at..chars.len()).find(|end| !is_word(chars[*end])).unwrap_or(chars.len());
                let word = chars[at..end].iter().collect();
                at = end;
                What::Word(word)
            }
            other => {
                let fits = |sign: &&&str| sign.chars().eq(chars[at..].iter().copied().take(sign.len()));
                let sign = SIGNS.iter().find(fits);
                let sign = sign.ok_or_else(|| bad(text, column, &format!("'{other}' means nothing here")))?;
                at += sign.len();
                What::Sign(sign)
            }
        };
        tokens.push(Token { what, column });
    }
    tokens.push(Token { what: What::End, column: chars.len() + 1 });
    Ok(tokens)
}

/// The text up to the closing quote, and what follows; a doubled quote is one.
fn quoted(chars: &[char], mut at: usize, quote: char) -> Option<(String, usize)> {
    let mut value = String::new();
    loop {
        let next = *chars.get(at)?;
        if next == quote && chars.get(at + 1) != Some(&quote) {
            return Some((value, at + 1));
        }
        at += if next == quote { 2 } else { 1 };
        value.push(next);
    }
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || matches!(letter, '_' | '.' | '-')
}

fn bad(filter: &str, column: usize, what: &str) -> BadFilter {
    BadFilter { filter: filter.to_owned(), column, what: what.to_owned() }
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> &Token {
        // The last one is the end, which is never passed.
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn wrong(&self, what: &str) -> BadFilter {
        bad(self.text, self.peek().column, what)
    }

    fn takes(&mut self, keyword: &str) -> bool {
        let is = matches!(&self.peek().what, What::Word(word) if word.eq_ignore_ascii_case(keyword));
        self.at += usize::from(is);
        is
    }

    fn any(&mut self) -> Result<Node, BadFilter> {
        let mut nodes = vec![self.all()?];
        while self.takes("or") {
            nodes.push(self.all()?);
        }
        Ok(Node::Any(nodes))
    }

    fn all(&mut self) -> Result<Node, BadFilter> {
        let mut nodes = vec![self.one()?];
        while self.takes("and") {
            nodes.push(self.one()?);
        }
        Ok(Node::All(nodes))
    }

    fn one(&mut self) -> Result<Node, BadFilter> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.wrong(&format!("more than {DEPTH_MAX} levels of 'not' and parentheses")));
        }
        let node = if self.takes("not") {
            Node::Not(Box::new(self.one()?))
        } else if self.peek().what == What::Sign("(") {
            self.at += 1;
            let node = self.any()?;
            if self.peek().what != What::Sign(")") {
                return Err(self.wrong("a ')' is missing here"));
            }
            self.at += 1;
            node
        } else {
            self.test()?
        };
        self.depth -= 1;
        Ok(node)
    }

    fn test(&mut self) -> Result<Node, BadFilter> {
        let Token { what, column } = self.next();
        let What::Word(name) = what else {
            return Err(bad(self.text, column, &format!("a field is expected here: {}", fields())));
        };
        let name = name.to_ascii_lowercase();
        if let Some((_, field)) = TEXT_FIELDS.iter().find(|(known, _)| *known == name) {
            return self.text_test(*field, &name);
        }
        match NUMBER_FIELDS.iter().find(|(known, _)| *known == name) {
            Some((_, field)) => self.number_test(*field, &name, column),
            None => Err(bad(self.text, column, &format!("there is no field '{name}'; there are {}", fields()))),
        }
    }

    fn text_test(&mut self, field: TextField, name: &str) -> Result<Node, BadFilter> {
        let What::Sign(sign @ ("=" | "!=" | "<>" | "~" | "!~")) = self.peek().what else {
            return Err(self.wrong(&format!("'=', '!=', '~' or '!~' is expected behind '{name}'")));
        };
        self.at += 1;
        let Token { what: What::Quoted(value), column } = self.next() else {
            self.at -= 1;
            return Err(self.wrong(&format!("a text in quotes is expected here, as in {name} {sign} 'x'")));
        };
        let test = if sign.ends_with('~') {
            let regex = Regex::new(&value);
            TextTest::Matches(regex.map_err(|error| bad(self.text, column, &reason(&error)))?)
        } else {
            TextTest::Is(value)
        };
        let node = Node::Text { field, test };
        Ok(if matches!(sign, "=" | "~") { node } else { Node::Not(Box::new(node)) })
    }

    fn number_test(&mut self, field: NumberField, name: &str, column: usize) -> Result<Node, BadFilter> {
        let relation = match self.peek().what {
            What::Sign("<") => Relation::Less,
            What::Sign("<=") => Relation::LessOrEqual,
            What::Sign(">") => Relation::Greater,
            What::Sign(">=") => Relation::GreaterOrEqual,
            What::Sign("=") => Relation::Equal,
            What::Sign("!=" | "<>") => Relation::NotEqual,
            _ => return Err(self.wrong(&format!("'<', '<=', '>', '>=', '=' or '!=' is expected behind '{name}'"))),
        };
        self.at += 1;
        let (value, example) = match &self.peek().what {
            What::Word(word) if field.is_time() => (duration(word), "a duration such as 250ms, 1s or 2m"),
            What::Word(word) => (count(word), "a whole number such as 1000, 10k or 2MiB"),
            _ if field.is_time() => (None, "a duration such as 250ms, 1s or 2m"),
            _ => (None, "a whole number such as 1000, 10k or 2MiB"),
        };
        let value = value.ok_or_else(|| self.wrong(&format!("{example} is expected here")))?;
        self.at += 1;
        Ok(Node::Number { field, relation, value, column })
    }
}

fn fields() -> String {
    let texts = TEXT_FIELDS.iter().map(|(name, _)| *name);
    let names: Vec<&str> = texts.chain(NUMBER_FIELDS.iter().map(|(name, _)| *name)).collect();
    names.join(", ")
}

/// What the library says, on one line.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().next_back().unwrap_or_default();
    format!("this is no regular expression: {}", last.trim_start_matches("error: "))
}

/// Digits with a fraction, and the unit behind them.
fn parts(word: &str) -> (&str, &str) {
    word.split_at(word.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(word.len()))
}

fn scaled(number: &str, unit: u64) -> Option<u64> {
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(unit);
    }
    let value: f64 = number.parse().ok()?;
    let scaled = value * unit as f64;
    // Above 2^53 a fraction has no meaning.
    (scaled < 9e15).then(|| scaled.round() as u64)
}

/// Microseconds. A time needs its unit: `query_time > 5` would be a guess.
fn duration(word: &str) -> Option<u64> {
    let (number, unit) = parts(word);
    let unit = match unit {
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" | "min" => 60_000_000,
        "h" => 3_600_000_000,
        "" if number == "0" => 1,
        _ => return None,
    };
    scaled(number, unit)
}

fn count(word: &str) -> Option<u64> {
    let (number, unit) = parts(word);
    let unit = match unit {
        "" => return number.parse().ok(),
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    scaled(number, unit)
}
