//! Splitting of a packet with several statements, as the server does it: one digest per statement. Enters: the text of a
//! command. Leaves: the byte range of each statement, without the semicolons. Bodies of stored programs are one statement.
//! It must never split inside a literal, a comment or a body.

use std::ops::Range;

use super::scan::{Lexeme, Lexer};
use super::syntax::SqlMode;

/// The byte ranges of the statements of a text, in order. Empty statements are left out. The mode that holds for the first statement holds
/// for all: a `SET sql_mode` among them is not followed.
pub fn split(sql: &[u8], mode: SqlMode) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut lexer = Lexer::new(sql, mode);
    std::iter::from_fn(move || next_statement(sql, &mut lexer))
}

/// The first word of a statement, behind comments and parentheses; empty when there is none.
pub fn first_word(sql: &[u8]) -> &[u8] {
    // A word that no literal or quoted name stands before is the same in every mode.
    let mut lexer = Lexer::new(sql, SqlMode::default());
    while let Some(token) = lexer.next() {
        match token.lexeme {
            Lexeme::Word => return &sql[token.start..token.end],
            Lexeme::Open => {}
            _ => break,
        }
    }
    &[]
}

fn next_statement(sql: &[u8], lexer: &mut Lexer<'_>) -> Option<Range<usize>> {
    let mut range: Option<Range<usize>> = None;
    let mut body = Body::default();
    while let Some(token) = lexer.next() {
        if token.lexeme == Lexeme::Semicolon && body.depth == 0 {
            match range {
                Some(range) => return Some(range),
                None => continue,
            }
        }
        if token.lexeme == Lexeme::Word {
            body.word(&sql[token.start..token.end]);
        }
        range = Some(range.map_or(token.start, |r| r.start)..token.end);
    }
    range
}

/// Follows the blocks of a stored program.
#[derive(Default)]
struct Body {
    words: usize,
    creates: bool,
    program: bool,
    /// The last word was END: what follows says what it ends.
    after_end: bool,
    depth: usize,
}

impl Body {
    fn word(&mut self, word: &[u8]) {
        let is = |other: &str| word.eq_ignore_ascii_case(other.as_bytes());
        self.words += 1;
        if self.words == 1 {
            self.creates = is("create") || is("alter");
        }
        if self.creates && !self.program {
            self.program = ["procedure", "function", "trigger", "event", "package"].into_iter().any(is);
        }
        // MariaDB's anonymous block: BEGIN NOT ATOMIC ... END.
        if self.words == 2 && is("not") && !self.creates {
            self.program = true;
            self.depth = 1;
        }
        if !self.program {
            return;
        }
        let ends = std::mem::take(&mut self.after_end);
        if ends && ["if", "loop", "while", "repeat"].into_iter().any(is) {
            // END closed a block that was not counted when it opened.
            self.depth += 1;
        } else if ends && is("case") {
            // END CASE: the END was counted, and this word opens nothing.
        } else if is("begin") || is("case") {
            self.depth += 1;
        } else if is("end") && self.depth > 0 {
            self.depth -= 1;
            self.after_end = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sql: &str, expected: &[&str]) {
        let found: Vec<&str> = split(sql.as_bytes(), SqlMode::default()).map(|range| &sql[range]).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn finds_the_first_word() {
        assert_eq!(first_word(b"/* c */ (select 1)"), b"select");
        assert_eq!(first_word(b"'x'"), b"");
    }

    #[test]
    fn splits_by_the_mode() {
        let mode = SqlMode { ansi_quotes: true, no_backslash_escapes: true };
        let sql = br#"select 'a\'; select ";\" from t"#;
        let found: Vec<_> = split(sql, mode).map(|range| &sql[range]).collect();
        assert_eq!(found, [&sql[..11], &sql[13..]]);
    }

    #[test]
    fn splits_where_the_server_does() {
        check("select 1", &["select 1"]);
        check("select ';'; ; select /* ; */ 2 ;", &["select ';'", "select /* ; */ 2"]);
        check(";;", &[]);
        check("begin; update t set a=1; commit", &["begin", "update t set a=1", "commit"]);
        check(
            "create procedure p() begin if a then select 1; end if; case a when 1 then select 2; end case; end; call p()",
            &[
                "create procedure p() begin if a then select 1; end if; case a when 1 then select 2; end case; end",
                "call p()",
            ],
        );
        check("create table t (a int); select 1", &["create table t (a int)", "select 1"]);
        check("begin not atomic select 1; end; select 2", &["begin not atomic select 1; end", "select 2"]);
    }
}
