//! What a client's `SET` makes of how its next statements are to be read. Enters: a statement. Leaves: the change, to be applied once the
//! server said yes. Values that only the server can work out (`SET sql_mode = @saved`) lead back to the session's defaults,
//! which is what such statements restore, nearly always. Must never take `GLOBAL` for the session.

use super::{Charset, SqlMode, Syntax};
use crate::digest::scan::{Lexeme, Lexer};

/// Most tokens of a `SET` that are looked at. 512: what connectors and dumps set takes tens.
const TOKENS_MAX: usize = 512;

/// What a `SET` changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Change {
    mode: Option<Mode>,
    charset: Option<Value<Charset>>,
}

/// A value that is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value<T> {
    Is(T),
    Default,
}

/// What happens to the modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Set(Value<SqlMode>),
    With(SqlMode),
    Without(SqlMode),
}

/// Whose variables are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    Session,
    Other,
}

impl Change {
    /// What a statement changes, read as the session's are; none for nearly all statements.
    pub fn of(sql: &[u8], mode: SqlMode) -> Option<Change> {
        let mut tokens = tokens(sql, mode)?;
        let first = tokens.first()?;
        if !first.is("SET") || tokens.get(1).is_some_and(|next| next.is("STATEMENT")) {
            return None;
        }
        tokens.remove(0);
        let mut change = Change::default();
        let mut scope = Scope::Session;
        for assignment in assignments(&tokens) {
            change.assign(assignment, &mut scope);
        }
        (change != Change::default()).then_some(change)
    }

    /// How statements are to be read afterwards; `default` is how they were when the session began.
    pub fn apply(self, syntax: Syntax, default: Syntax) -> Syntax {
        let mode = match self.mode {
            None => syntax.mode,
            Some(Mode::Set(Value::Is(mode))) => mode,
            Some(Mode::Set(Value::Default)) => default.mode,
            Some(Mode::With(more)) => syntax.mode.or(more),
            Some(Mode::Without(less)) => SqlMode {
                ansi_quotes: syntax.mode.ansi_quotes && !less.ansi_quotes,
                no_backslash_escapes: syntax.mode.no_backslash_escapes && !less.no_backslash_escapes,
            },
        };
        let charset = match self.charset {
            None => syntax.charset,
            Some(Value::Is(charset)) => charset,
            Some(Value::Default) => default.charset,
        };
        Syntax { mode, charset }
    }

    /// One of the parts between commas.
    fn assign(&mut self, tokens: &[Token<'_>], scope: &mut Scope) {
        let (name, value) = match tokens {
            [names, value, ..] if names.is("NAMES") || names.is("CHARSET") => return self.charset(value),
            [character, set, value, ..] if character.is("CHARACTER") && set.is("SET") => return self.charset(value),
            _ => match assigned(tokens, scope) {
                Some(found) => found,
                None => return,
            },
        };
        if name.is("sql_mode") {
            self.mode = Some(mode(value));
        } else if name.is("character_set_client")
            && let Some(value) = value.first()
        {
            self.charset(value);
        }
    }

    fn charset(&mut self, value: &Token<'_>) {
        self.charset = match Charset::named(value.inner()) {
            Some(charset) => Some(Value::Is(charset)),
            None => Some(Value::Default),
        };
    }
}

/// The variable of the session that is set, and its value.
fn assigned<'t, 'a>(tokens: &'t [Token<'a>], scope: &mut Scope) -> Option<(&'t Token<'a>, &'t [Token<'a>])> {
    let system = tokens.first()?.lexeme == Lexeme::System;
    let mut rest = &tokens[usize::from(system)..];
    let mut own = *scope;
    let named = rest.first().and_then(Token::scope);
    if let Some(named) = named {
        own = named;
        rest = &rest[if system { 2 } else { 1 }.min(rest.len())..];
        if !system {
            // The word holds for what follows, too.
            *scope = named;
        }
    } else if system {
        own = Scope::Session;
    }
    let [name, equals, value @ ..] = rest else { return None };
    (own == Scope::Session && matches!(equals.text, "=" | ":=")).then_some((name, value))
}

/// What the value of `sql_mode` means.
fn mode(value: &[Token<'_>]) -> Mode {
    let strings = || value.iter().filter(|token| token.lexeme == Lexeme::Value).map(Token::inner);
    let listed = || SqlMode::of_server(&strings().collect::<Vec<_>>().join(","));
    let own = value.iter().any(|token| token.is("sql_mode"));
    match value {
        [function, ..] if own && function.is("CONCAT") => Mode::With(listed()),
        [function, ..] if own && function.is("CONCAT_WS") => Mode::With(listed()),
        [function, ..] if own && function.is("REPLACE") => Mode::Without(listed()),
        [one] if one.is("DEFAULT") => Mode::Set(Value::Default),
        [one] if matches!(one.lexeme, Lexeme::Value | Lexeme::Quoted | Lexeme::DoubleQuoted | Lexeme::Word) => {
            let bits = one.text.parse().map(SqlMode::from_bits);
            Mode::Set(Value::Is(bits.unwrap_or_else(|_| SqlMode::of_server(one.inner()))))
        }
        _ => Mode::Set(Value::Default),
    }
}

/// A token and its text.
#[derive(Debug, Clone, Copy)]
struct Token<'a> {
    lexeme: Lexeme,
    text: &'a str,
}

impl Token<'_> {
    fn is(&self, word: &str) -> bool {
        matches!(self.lexeme, Lexeme::Word | Lexeme::Bare | Lexeme::Quoted) && self.inner().eq_ignore_ascii_case(word)
    }

    /// The text without quotes.
    fn inner(&self) -> &str {
        self.text.trim_matches(['\'', '"', '`'])
    }

    fn scope(&self) -> Option<Scope> {
        if self.is("SESSION") || self.is("LOCAL") {
            return Some(Scope::Session);
        }
        ["GLOBAL", "PERSIST", "PERSIST_ONLY"].into_iter().any(|word| self.is(word)).then_some(Scope::Other)
    }
}

/// The tokens of a statement that is a `SET`; none of any other, or of one that is too long.
fn tokens(sql: &[u8], mode: SqlMode) -> Option<Vec<Token<'_>>> {
    let mut lexer = Lexer::new(sql, mode);
    let mut tokens = Vec::new();
    while let Some(token) = lexer.next() {
        let text = std::str::from_utf8(&sql[token.start..token.end]).unwrap_or_default();
        tokens.push(Token { lexeme: token.lexeme, text });
        if tokens.len() > TOKENS_MAX || !tokens[0].is("SET") {
            return None;
        }
    }
    Some(tokens)
}

/// The parts between the commas that stand in no parenthesis.
fn assignments<'t, 'a>(tokens: &'t [Token<'a>]) -> impl Iterator<Item = &'t [Token<'a>]> {
    let mut depth = 0_usize;
    tokens.split(move |token| {
        match token.lexeme {
            Lexeme::Open => depth += 1,
            Lexeme::Close => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && matches!(token.lexeme, Lexeme::Comma | Lexeme::Semicolon)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: SqlMode = SqlMode { ansi_quotes: false, no_backslash_escapes: false };
    const ANSI: SqlMode = SqlMode { ansi_quotes: true, no_backslash_escapes: false };
    const BOTH: SqlMode = SqlMode { ansi_quotes: true, no_backslash_escapes: true };

    fn after(before: SqlMode, sql: &str) -> Syntax {
        let syntax = Syntax { mode: before, charset: Charset::default() };
        let default = Syntax { mode: BOTH, charset: Charset::named("gbk").expect("a set") };
        Change::of(sql.as_bytes(), before).map_or(syntax, |change| change.apply(syntax, default))
    }

    #[test]
    fn follows_sql_mode() {
        let check = |before, sql: &str, mode| assert_eq!(after(before, sql).mode, mode, "{sql}");
        check(PLAIN, "set sql_mode = 'ANSI_QUOTES'", ANSI);
        check(PLAIN, "SET SESSION sql_mode=ANSI", ANSI);
        check(PLAIN, "set autocommit=1, @@session.sql_mode := \"ansi,no_backslash_escapes\"", BOTH);
        check(PLAIN, "set @@sql_mode = 1048580", BOTH);
        check(ANSI, "set sql_mode = ''", PLAIN);
        check(ANSI, "set `sql_mode` = \"\"", PLAIN);
        check(ANSI, "set sql_mode = concat(@@sql_mode, ',NO_BACKSLASH_ESCAPES')", BOTH);
        check(BOTH, "set sql_mode = replace(@@sql_mode, 'NO_BACKSLASH_ESCAPES', '')", ANSI);
        check(PLAIN, "/*!40101 SET SQL_MODE=@OLD_SQL_MODE */", BOTH);
        check(PLAIN, "set sql_mode = default", BOTH);
    }

    #[test]
    fn follows_the_character_set() {
        let named = |name| Charset::named(name).expect("a set");
        let check = |sql: &str, name| assert_eq!(after(PLAIN, sql).charset, named(name), "{sql}");
        check("set names sjis", "sjis");
        check("SET NAMES 'latin1' COLLATE 'latin1_bin'", "latin1");
        check("set character set big5", "big5");
        check("set charset cp932", "cp932");
        check("set character_set_results = null, character_set_client = gb18030", "gb18030");
        check("set names default", "gbk");
    }

    #[test]
    fn other_scopes_and_statements_change_nothing() {
        let check = |sql: &str| assert_eq!(Change::of(sql.as_bytes(), PLAIN), None, "{sql}");
        check("set global sql_mode = 'ANSI'");
        check("set global autocommit = 1, sql_mode = 'ANSI'");
        check("set @@global.sql_mode = 'ANSI'");
        check("set @@persist.character_set_client = gbk");
        check("set statement sql_mode = 'ANSI' for select 1");
        check("set @sql_mode = 'ANSI'");
        check("set password = 'x'");
        check("select 1");
        check("");
        assert_eq!(after(PLAIN, "set global autocommit = 1, session sql_mode = 'ANSI'").mode, ANSI);
    }
}
