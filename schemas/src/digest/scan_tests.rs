//! The lexer under tables.

use super::*;

fn check(sql: &str, expected: &[(Lexeme, &str)]) {
    check_in(SqlMode::default(), sql, expected);
}

fn check_in(mode: SqlMode, sql: &str, expected: &[(Lexeme, &str)]) {
    let mut lexer = Lexer::new(sql.as_bytes(), mode);
    let mut found = Vec::new();
    while let Some(token) = lexer.next() {
        found.push((token.lexeme, &sql[token.start..token.end]));
    }
    assert_eq!(found, expected, "{sql}");
}

#[test]
fn tells_numbers_from_names() {
    use Lexeme::{Bare, Dot, Value};
    check(
        "0x1F 0b10 1.5e-3 .5 1e3",
        &[(Value, "0x1F"), (Value, "0b10"), (Value, "1.5e-3"), (Value, ".5"), (Value, "1e3")],
    );
    check("1e 12abc 0xZZ", &[(Bare, "1e"), (Bare, "12abc"), (Bare, "0xZZ")]);
    check("t.1a", &[(Bare, "t"), (Dot, "."), (Bare, "1a")]);
}

#[test]
fn skips_comments_and_reads_code_in_them() {
    use Lexeme::{Cut, Sign, Value, Word};
    check("a -- x\n#y\n/* z */ b", &[(Word, "a"), (Word, "b")]);
    check("a --1", &[(Word, "a"), (Sign, "-"), (Sign, "-"), (Value, "1")]);
    check("/*!50001 a */ /*M!100100 b */ c", &[(Word, "a"), (Word, "b"), (Word, "c")]);
    check("/*!99999 a */ /*!999999 b */ c", &[(Word, "c")]);
    check("a /* b", &[(Word, "a"), (Cut, "/* b")]);
}

#[test]
fn closes_strings_where_the_server_does() {
    use Lexeme::{CutValue, Value};
    check(r"'it''s' 'a\'b' x'1f'", &[(Value, "'it''s'"), (Value, r"'a\'b'"), (Value, "x'1f'")]);
    check("'open", &[(CutValue, "'open")]);
    check(r"'open\", &[(CutValue, r"'open\")]);
}

#[test]
fn double_quotes_are_names_where_the_mode_says_so() {
    use Lexeme::{Bare, Cut, Dot, DoubleQuoted, Value, Word};
    let ansi = SqlMode { ansi_quotes: true, no_backslash_escapes: false };
    check_in(ansi, r#""a""b\" 'c"'"#, &[(DoubleQuoted, r#""a""b\""#), (Value, r#"'c"'"#)]);
    check_in(ansi, r#"key."b""#, &[(Bare, "key"), (Dot, "."), (DoubleQuoted, r#""b""#)]);
    check_in(ansi, r#"_utf8"b""#, &[(Word, "_utf8"), (DoubleQuoted, r#""b""#)]);
    check_in(ansi, r#""open"#, &[(Cut, r#""open"#)]);
}

#[test]
fn a_backslash_is_a_character_where_the_mode_says_so() {
    use Lexeme::{CutValue, Value, Word};
    let plain = SqlMode { ansi_quotes: false, no_backslash_escapes: true };
    check_in(plain, r"'a\' or 'b'", &[(Value, r"'a\'"), (Word, "or"), (Value, "'b'")]);
    check_in(plain, r#""a\" x'"#, &[(Value, r#""a\""#), (CutValue, "x'")]);
    check_in(plain, r"'it''s\", &[(CutValue, r"'it''s\")]);
}

#[test]
fn tells_variables_from_accounts() {
    use Lexeme::{Account, Dot, Operator, System, Value, Variable, Word};
    check(
        "@a = @@global.b",
        &[(Variable, "@a"), (Operator, "="), (System, "@@"), (Word, "global"), (Dot, "."), (Lexeme::Bare, "b")],
    );
    check("'u'@'h'", &[(Value, "'u'"), (Account, "@'h'")]);
    check("? @?", &[(Value, "?"), (Variable, "@?")]);
}
