//! Character sets of clients: names and numbers of servers enter, UTF-8 leaves. In some of them a character's second byte may be that
//! of a backslash or a quote, so where a character ends decides where a literal ends. That is told by the rules of MySQL's
//! `ctype-*.c` (`ismbchar`), which MariaDB shares, and by nothing else: a decoder that takes a byte more or less than the
//! server lets a literal out. `encoding_rs` says only which character such bytes are. Must never take a quote that the server sees.

use std::borrow::Cow;
use std::str::FromStr;

use encoding_rs as known;
use encoding_rs::Encoding;

/// The character set of a client. The default is that of bytes which are read as they are: UTF-8, ASCII, binary, and sets that are not
/// known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Charset(Option<&'static Set>);

/// A set that is not UTF-8.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Set {
    name: &'static str,
    /// The numbers of its collations in a handshake.
    collations: &'static [u8],
    form: Form,
    /// What its characters are; none where only their length is known.
    encoding: Option<&'static Encoding>,
}

/// Longest character of a set with traps, in bytes.
pub const CHARACTER_BYTES_MAX: usize = 4;

/// Which bytes are one character to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Form {
    Single,
    Big5,
    EucKr,
    Gb2312,
    Gb18030,
    Gbk,
    Sjis,
    Ujis,
}

impl Form {
    /// How many bytes the character has that these begin with.
    fn length(self, bytes: &[u8]) -> usize {
        let at = |index: usize| bytes.get(index).copied().unwrap_or(0);
        let (first, second) = (at(0), at(1));
        let two = |pair: bool| if pair { 2 } else { 1 };
        match self {
            Form::Single => 1,
            Form::Big5 => two(matches!(first, 0xa1..=0xf9) && matches!(second, 0x40..=0x7e | 0xa1..=0xfe)),
            Form::EucKr => {
                two(matches!(first, 0x81..=0xfe) && matches!(second, 0x41..=0x5a | 0x61..=0x7a | 0x81..=0xfe))
            }
            Form::Gb2312 => two(matches!(first, 0xa1..=0xf7) && matches!(second, 0xa1..=0xfe)),
            Form::Gb18030 if matches!((first, second), (0x81..=0xfe, 0x30..=0x39)) => {
                if matches!((at(2), at(3)), (0x81..=0xfe, 0x30..=0x39)) { 4 } else { 1 }
            }
            Form::Gb18030 | Form::Gbk => {
                two(matches!(first, 0x81..=0xfe) && matches!(second, 0x40..=0x7e | 0x80..=0xfe))
            }
            Form::Sjis => {
                two(matches!(first, 0x81..=0x9f | 0xe0..=0xfc) && matches!(second, 0x40..=0x7e | 0x80..=0xfc))
            }
            Form::Ujis => match (first, second, at(2)) {
                (0x8f, 0xa1..=0xfe, 0xa1..=0xfe) => 3,
                (0x8e, 0xa0..=0xdf, _) | (0xa1..=0xfe, 0xa1..=0xfe, _) => 2,
                _ => 1,
            },
        }
    }
}

/// What stands for a byte that is no character.
const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();

impl Charset {
    /// The set of a collation's number, as a client names it when it connects. Numbers of UTF-8, and those that nobody has, are
    /// read as they are.
    pub fn of_collation(number: u8) -> Charset {
        Charset(SETS.iter().find(|set| set.collations.contains(&number)))
    }

    /// The set of a server's name for it; none when no server has it.
    pub fn named(name: &str) -> Option<Charset> {
        let is = |other: &&str| name.eq_ignore_ascii_case(other);
        let set = SETS.iter().find(|set| is(&set.name));
        (set.is_some() || AS_THEY_ARE.iter().any(is)).then_some(Charset(set))
    }

    /// How many bytes the character has that these begin with; 1 for bytes of UTF-8, where no byte of a character can be
    /// taken for another.
    pub fn character_bytes(self, bytes: &[u8]) -> usize {
        self.0.map_or(1, |set| set.form.length(bytes))
    }

    /// Whether a character may have bytes that are those of others.
    pub fn has_traps(self) -> bool {
        self.0.is_some_and(|set| set.form != Form::Single)
    }

    /// The text in UTF-8: as it is where it is ASCII or this is UTF-8. Never fails: a byte that is no character becomes U+FFFD.
    pub fn to_utf8(self, text: &[u8]) -> Cow<'_, [u8]> {
        match self.0 {
            Some(set) if !text.is_ascii() => Cow::Owned(set.decode(text)),
            _ => Cow::Borrowed(text),
        }
    }
}

impl Set {
    fn decode(&self, text: &[u8]) -> Vec<u8> {
        let mut decoded = Vec::with_capacity(2 * text.len());
        let mut at = 0;
        while at < text.len() {
            let plain = text[at..].iter().take_while(|byte| byte.is_ascii()).count();
            decoded.extend_from_slice(&text[at..at + plain]);
            at += plain;
            if at < text.len() {
                let length = self.form.length(&text[at..]);
                self.character(&text[at..at + length], &mut decoded);
                at += length;
            }
        }
        decoded
    }

    fn character(&self, bytes: &[u8], decoded: &mut Vec<u8>) {
        match self.encoding.and_then(|encoding| encoding.decode_without_bom_handling_and_without_replacement(bytes)) {
            Some(text) => decoded.extend_from_slice(text.as_bytes()),
            None => decoded.extend_from_slice(REPLACEMENT),
        }
    }
}

/// A name that is no character set of a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no server has a character set `{0}`; a name as in SHOW CHARACTER SET is wanted, such as utf8mb4, gbk or sjis")]
pub struct UnknownCharset(String);

impl FromStr for Charset {
    type Err = UnknownCharset;

    fn from_str(name: &str) -> Result<Charset, UnknownCharset> {
        Charset::named(name).ok_or_else(|| UnknownCharset(name.to_owned()))
    }
}

/// Sets whose bytes are read as they are. The last four cannot be those of a client, but variables may name them.
const AS_THEY_ARE: [&str; 10] =
    ["utf8mb4", "utf8mb3", "utf8", "ascii", "binary", "swe7", "ucs2", "utf16", "utf16le", "utf32"];

/// A set of one byte a character.
const fn single(name: &'static str, collations: &'static [u8], encoding: Option<&'static Encoding>) -> Set {
    Set { name, collations, form: Form::Single, encoding }
}

/// By `information_schema.collations` of MySQL 9.7 and MariaDB 10.11, which a test asks.
static SETS: [Set; 32] = [
    Set { name: "big5", collations: &[1, 84], form: Form::Big5, encoding: Some(known::BIG5) },
    Set { name: "cp932", collations: &[95, 96], form: Form::Sjis, encoding: Some(known::SHIFT_JIS) },
    Set { name: "eucjpms", collations: &[97, 98], form: Form::Ujis, encoding: Some(known::EUC_JP) },
    Set { name: "euckr", collations: &[19, 85], form: Form::EucKr, encoding: Some(known::EUC_KR) },
    Set { name: "gb18030", collations: &[248, 249, 250], form: Form::Gb18030, encoding: Some(known::GB18030) },
    Set { name: "gb2312", collations: &[24, 86], form: Form::Gb2312, encoding: Some(known::GBK) },
    Set { name: "gbk", collations: &[28, 87], form: Form::Gbk, encoding: Some(known::GBK) },
    Set { name: "sjis", collations: &[13, 88], form: Form::Sjis, encoding: Some(known::SHIFT_JIS) },
    Set { name: "ujis", collations: &[12, 91], form: Form::Ujis, encoding: Some(known::EUC_JP) },
    single("latin1", &[5, 8, 15, 31, 47, 48, 49, 94], Some(known::WINDOWS_1252)),
    single("latin2", &[2, 9, 21, 27, 77], Some(known::ISO_8859_2)),
    single("latin5", &[30, 78], Some(known::WINDOWS_1254)),
    single("latin7", &[20, 41, 42, 79], Some(known::ISO_8859_13)),
    single("cp1250", &[26, 34, 44, 66, 99], Some(known::WINDOWS_1250)),
    single("cp1251", &[14, 23, 50, 51, 52], Some(known::WINDOWS_1251)),
    single("cp1256", &[57, 67], Some(known::WINDOWS_1256)),
    single("cp1257", &[29, 58, 59], Some(known::WINDOWS_1257)),
    single("cp866", &[36, 68], Some(known::IBM866)),
    single("greek", &[25, 70], Some(known::ISO_8859_7)),
    single("hebrew", &[16, 71], Some(known::ISO_8859_8)),
    single("koi8r", &[7, 74], Some(known::KOI8_R)),
    single("koi8u", &[22, 75], Some(known::KOI8_U)),
    single("macroman", &[39, 53], Some(known::MACINTOSH)),
    single("tis620", &[18, 89], Some(known::WINDOWS_874)),
    single("armscii8", &[32, 64], None),
    single("cp850", &[4, 80], None),
    single("cp852", &[40, 81], None),
    single("dec8", &[3, 69], None),
    single("geostd8", &[92, 93], None),
    single("hp8", &[6, 72], None),
    single("keybcs2", &[37, 73], None),
    single("macce", &[38, 43], None),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(name: &str, text: &[u8]) -> String {
        let charset = Charset::named(name).expect("a set");
        String::from_utf8(charset.to_utf8(text).into_owned()).expect("UTF-8")
    }

    #[test]
    fn a_second_byte_is_no_backslash() {
        // Each character's second byte is 0x5c.
        assert_eq!(decoded("gbk", b"'\xbf\x5c' or 'a'"), "'縗' or 'a'");
        assert_eq!(decoded("sjis", b"'\x95\x5c'"), "'表'");
        assert_eq!(decoded("cp932", b"'\x83\x5c'"), "'ソ'");
        assert_eq!(decoded("big5", b"'\xa5\x5c'"), "'功'");
        assert_eq!(decoded("gb18030", b"'\x81\x30\x81\x30\xbf\x5c'"), "'\u{80}縗'");
    }

    #[test]
    fn a_character_is_as_long_as_the_server_has_it() {
        // A first byte before a quote is a byte alone: the quote closes the string.
        assert_eq!(decoded("gbk", b"'\xbf' x"), "'\u{fffd}' x");
        // Two bytes that no table has are one character for the server nevertheless.
        assert_eq!(decoded("sjis", b"'\xfc\x5c'"), "'\u{fffd}'");
        assert_eq!(decoded("big5", b"'\x81\x5c'"), "'\u{fffd}\\'");
        assert_eq!(decoded("gbk", b"\xbf"), "\u{fffd}");
        assert_eq!(decoded("gb18030", b"\x81\x30'"), "\u{fffd}0'");
    }

    #[test]
    fn names_become_utf8() {
        assert_eq!(decoded("latin1", b"caf\xe9"), "café");
        assert_eq!(decoded("ujis", b"\xb4\xc1\xbb\xfa \x8e\xb1"), "漢字 ｱ");
        assert_eq!(decoded("cp850", b"caf\x82"), "caf\u{fffd}");
        assert_eq!(Charset::default().to_utf8(b"\xff"), Cow::Borrowed(b"\xff"));
    }

    #[test]
    fn sets_have_the_numbers_and_names_of_servers() {
        assert_eq!(Charset::of_collation(28), Charset::named("GBK").expect("a set"));
        assert_eq!(Charset::of_collation(255), Charset::default());
        assert_eq!(Charset::named("utf8mb4"), Some(Charset::default()));
        assert!("latin9".parse::<Charset>().expect_err("no set").to_string().contains("`latin9`"));
    }
}
