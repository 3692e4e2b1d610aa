//! Masking: a statement enters, the same statement without its literals and comments leaves, for samples that people read.
//! Names, case and layout of the statement stay. It must never let a byte of a literal through, also from cut input, where
//! the rest of the statement is dropped.

use super::scan::{Lexeme, Lexer};

/// The statement with `?` for every literal. Comments and hints go, because they may hold anything.
pub fn mask(sql: &[u8]) -> String {
    let mut lexer = Lexer::new(sql);
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
    String::from_utf8_lossy(&masked).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sql: &str, expected: &str) {
        assert_eq!(mask(sql.as_bytes()), expected);
    }

    #[test]
    fn keeps_everything_but_literals() {
        check("select a1, 'x''y'  from T where b=-5 and c in (1,2)", "select a1, ? from T where b=-? and c in (?,?)");
        check("select /* 'secret' */ 1 -- 'more'", "select ?");
        check("create user 'u'@'h' identified by 'p'", "create user ?@? identified by ?");
        check("set @'x' = 0xFF, @y = b'1'", "set @? = ?, @y = ?");
        check("select 'cut", "select ?");
    }
}
