//! Masking: a statement enters, the same statement without its literals and comments leaves, for samples that people read.
//! Names, case and layout of the statement stay. It must never let a byte of a literal through, also from cut input, where
//! the rest of the statement is dropped.

use super::scan::{Lexeme, Lexer};
use super::syntax::Syntax;

/// The statement with `?` for every literal. Comments and hints go, because they may hold anything.
pub fn mask(sql: &[u8], syntax: Syntax) -> String {
    let sql = &*syntax.to_utf8(sql);
    let (masked, doubted) = mask_once(sql, syntax);
    match doubted {
        // A string begins there, wherever it ends.
        Some(sure) => mask_once(&[&sql[..sure], b"?"].concat(), syntax).0,
        None => masked,
    }
}

/// The masked statement, and from where on it is in doubt, if it is.
fn mask_once(sql: &[u8], syntax: Syntax) -> (String, Option<usize>) {
    let mut lexer = Lexer::new(sql, syntax.mode);
    let mut masked = Vec::with_capacity(sql.len().min(super::TEXT_BYTES_MAX));
    let mut end_of_last = None;
    while let Some(token) = lexer.next() {
        if end_of_last.is_some_and(|end| end < token.start) {
            masked.push(b' ');
        }
        end_of_last = Some(token.end);
        let bytes = &sql[token.start..token.end];
        match token.lexeme {
            Lexeme::Value | Lexeme::CutValue => masked.push(b'?'),
            Lexeme::Variable if bytes.starts_with(b"@'") || bytes.starts_with(b"@\"") => {
                masked.extend_from_slice(b"@?");
            }
            Lexeme::Account => masked.extend_from_slice(b"@?"),
            Lexeme::Cut => {}
            _ => masked.extend_from_slice(bytes),
        }
    }
    (String::from_utf8_lossy(&masked).into_owned(), lexer.doubted_from())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::{Charset, SqlMode};

    fn check(sql: &str, expected: &str) {
        assert_eq!(mask(sql.as_bytes(), Syntax::default()), expected);
    }

    #[test]
    fn keeps_everything_but_literals() {
        check("select a1, 'x''y'  from T where b=-5 and c in (1,2)", "select a1, ? from T where b=-? and c in (?,?)");
        check("select /* 'secret' */ 1 -- 'more'", "select ?");
        check("create user 'u'@'h' identified by 'p'", "create user ?@? identified by ?");
        check("set @'x' = 0xFF, @y = b'1'", "set @? = ?, @y = ?");
        check("select 'cut", "select ?");
    }
    #[test]
    fn masks_by_the_mode() {
        let mode = SqlMode { ansi_quotes: true, no_backslash_escapes: true };
        let sql = br#"select "a" from t where b = 'c\' and d = 'e'"#;
        let masked = mask(sql, Syntax { mode, charset: Charset::default() });
        assert_eq!(masked, r#"select "a" from t where b = ? and d = ?"#);
    }

    #[test]
    fn masks_by_the_character_set() {
        let gbk = Syntax { mode: SqlMode::default(), charset: Charset::named("gbk").expect("a set") };
        // The backslash is half of a character, so the quote behind it closes the string.
        assert_eq!(mask(b"select '\xbf\\' from t -- 'x'", gbk), "select ? from t");
        assert_eq!(mask(b"select '\xbf\\' from t -- 'x'", Syntax::default()), "select ?");
    }

    #[test]
    fn what_is_in_doubt_is_not_shown() {
        // A session without escapes that is not known to be one.
        check(r"select a, 'x\', 'secret'", "select a, ?");
        check(r"select a, 'x\', 'secret', 'y\'", "select a, ?");
        check(r"select a, 'it\'s', 'x'", "select a, ?, ?");
        check("select a, 'x', 'cut", "select a, ?, ?");
        check(r"select \N, 'a\nb'", r"select \N, ?");
    }
}
