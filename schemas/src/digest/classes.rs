//! What a byte begins in a statement: a byte enters, its class leaves, by one look at a table. Must never tell apart what only the bytes
//! behind can.

/// What a byte begins where no token is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Blank,
    Word,
    Digit,
    Quote,
    Backtick,
    Dot,
    Comma,
    Open,
    Close,
    At,
    Semicolon,
    /// `?`
    Mark,
    Equals,
    Plus,
    /// A comment, a minus or another operator.
    Other,
}

/// By byte.
pub(super) static CLASSES: [Class; 256] = {
    let mut classes = [Class::Other; 256];
    let mut byte = 0_usize;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            0..=b' ' => Class::Blank,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$' | 0x80.. => Class::Word,
            b'0'..=b'9' => Class::Digit,
            b'\'' | b'"' => Class::Quote,
            b'`' => Class::Backtick,
            b'.' => Class::Dot,
            b',' => Class::Comma,
            b'(' => Class::Open,
            b')' => Class::Close,
            b'@' => Class::At,
            b';' => Class::Semicolon,
            b'?' => Class::Mark,
            b'=' => Class::Equals,
            b'+' => Class::Plus,
            _ => Class::Other,
        };
        byte += 1;
    }
    classes
};
