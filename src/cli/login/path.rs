//! Login paths: the file that `mysql_config_editor` writes enters (`~/.mylogin.cnf`), the option file in it leaves. It is packed so that nobody
//! reads a password over a shoulder; the key lies beside it, so only the file's mode protects it. The layout: 4 bytes that mean
//! nothing, 20 of the key, then lines, each with its length (4 bytes, little-endian) and AES-128-ECB with PKCS#7 padding.

use std::path::{Path, PathBuf};

use aes::Aes128;
use aes::cipher::{BlockCipherDecrypt as _, KeyInit as _};

/// The variable by which the servers' own clients are told of another file.
const FILE_VARIABLE: &str = "MYSQL_TEST_LOGIN_FILE";
/// Bytes before the key.
const UNUSED: usize = 4;
/// Bytes of the key.
const KEY: usize = 20;
/// Bytes of a block, and of the key that the cipher takes.
const BLOCK: usize = 16;

/// Where the login paths of who runs this are.
pub(super) fn file() -> Option<PathBuf> {
    let named = std::env::var_os(FILE_VARIABLE).filter(|name| !name.is_empty()).map(PathBuf::from);
    named.or_else(|| std::env::home_dir().map(|home| home.join(".mylogin.cnf")))
}

/// Reads a file of login paths, which nobody but its owner may read.
pub(super) fn read(path: &Path) -> Result<String, String> {
    super::read_private(path, |bytes| unpack(&bytes).map(|text| (text, true)))
}

/// The option file that is packed in these bytes.
fn unpack(bytes: &[u8]) -> Result<String, String> {
    let no_login_file = || "it is no file that mysql_config_editor wrote, or only a part of one".to_owned();
    let key = bytes.get(UNUSED..UNUSED + KEY).ok_or_else(no_login_file)?;
    let mut folded = [0_u8; BLOCK];
    for (at, byte) in key.iter().enumerate() {
        folded[at % BLOCK] ^= byte;
    }
    let cipher = Aes128::new(&folded.into());
    let (mut rest, mut text) = (&bytes[UNUSED + KEY..], Vec::new());
    while let Some((length, behind)) = rest.split_first_chunk() {
        let line = behind.split_at_checked(u32::from_le_bytes(*length) as usize);
        let (line, behind) = line.filter(|(line, _)| line.len() % BLOCK == 0).ok_or_else(no_login_file)?;
        for block in line.as_chunks::<BLOCK>().0 {
            let mut block = (*block).into();
            cipher.decrypt_block(&mut block);
            text.extend_from_slice(&block);
        }
        let padding = text.last().map_or(0, |last| usize::from(*last));
        if !(1..=BLOCK).contains(&padding) || padding > line.len() {
            return Err(no_login_file());
        }
        text.truncate(text.len() - padding);
        rest = behind;
    }
    if !rest.is_empty() {
        return Err(no_login_file());
    }
    String::from_utf8(text).map_err(|_| no_login_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packed by OpenSSL, and read by MySQL 9.7's own client: `mysql --login-path=a-path-with-sixteen --print-defaults`.
    const PACKED: &str = "\
        000000000102030405060708090a0b0c0d0e0f101112131410000000f2d64a89a933cff9946fa9196b94412710000000c15a\
        ae5b8052ee74dc12fd0dab73e61a200000006751bf0d6c37b49dd2d3aed0dbf32882f62bd18559e5f14718827e9978291c88\
        20000000c74d29a22a9ffff9cc18cc79513430b88672abf1a39d6a3da92e66ab106f317920000000bb9aa7d459bf9feaad6d\
        1621a80b7822b019bf6a6dd188fa0372164cec78a867";

    fn packed() -> Vec<u8> {
        let digits: Vec<u8> =
            PACKED.bytes().map(|digit| (digit as char).to_digit(16).expect("a digit") as u8).collect();
        digits.as_chunks::<2>().0.iter().map(|[high, low]| high << 4 | low).collect()
    }

    #[test]
    fn a_login_file_is_unpacked() {
        let text = "[client]\nuser = \"app\"\n[a-path-with-sixteen]\nuser = \"millrace\"\npassword = \"s3cret\"\n";
        assert_eq!(unpack(&packed()).as_deref(), Ok(text));
        assert_eq!(unpack(&packed()[..UNUSED + KEY]).as_deref(), Ok(""));
    }

    #[test]
    fn what_is_no_login_file_is_said() {
        let whole = packed();
        for length in (0..UNUSED + KEY).chain([whole.len() - 1, whole.len() - BLOCK, UNUSED + KEY + 2]) {
            assert!(unpack(&whole[..length]).unwrap_err().contains("mysql_config_editor"), "{length}");
        }
        let mut other = whole.clone();
        other[UNUSED] ^= 1;
        assert!(unpack(&other).is_err());
    }
}
