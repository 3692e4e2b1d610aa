//! The secret between the processes of a site: whoever can read its file may speak on the bus. The owner of the bus makes it.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::bus::Error;

/// 32 random bytes, in hexadecimal: nobody guesses it.
const BYTES: usize = 32;

/// The secret. It is shown to nobody, not even in debug output.
#[derive(Clone)]
pub struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Token {
    /// The token in `file`. One that is not there yet is no fault, but unavailable: the process that has the bus makes it.
    pub fn read(file: &Path) -> Result<Self, Error> {
        let told = |why: String| Error::Token { path: file.display().to_string(), problem: why };
        let text = fs::read_to_string(file).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::Unavailable(format!(
                "its token {} is not there yet; the process that has the bus makes it when it starts",
                file.display()
            )),
            _ => told(error.to_string()),
        })?;
        let mode = fs::metadata(file).map_err(|error| told(error.to_string()))?.mode();
        if mode & 0o007 != 0 {
            return Err(told(format!(
                "mode {:o} lets everybody use the bus: chmod o= {}",
                mode & 0o777,
                file.display()
            )));
        }
        let text = text.trim();
        if text.len() < BYTES || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(told(format!("it holds no token of at least {BYTES} printable characters")));
        }
        Ok(Self(text.to_owned()))
    }

    /// The token in `file`, made when the file is not there.
    pub fn read_or_make(file: &Path) -> Result<Self, Error> {
        let made = make(file).or_else(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Ok(()),
            _ => Err(error),
        });
        made.map_err(|error| Error::Token {
            path: file.display().to_string(),
            problem: format!("cannot make it: {error}"),
        })?;
        Self::read(file)
    }

    /// The header that shows it.
    pub(super) fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// True when `header` shows it. Takes the same time wherever the first difference is.
    pub(super) fn is_shown_by(&self, header: &str) -> bool {
        let own = self.header();
        let differences = own.bytes().zip(header.bytes()).fold(0, |all, (one, other)| all | (one ^ other));
        own.len() == header.len() && differences == 0
    }
}

/// Makes the file whole or not at all: a reader never sees half a token.
fn make(file: &Path) -> io::Result<()> {
    if file.exists() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let mut bytes = [0; BYTES];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let text = bytes.chunks_exact(8).fold(String::new(), |text, eight| {
        text + &format!("{:016x}", u64::from_ne_bytes(eight.try_into().expect("eight of them")))
    });
    let new = file.with_extension(format!("{}.new", std::process::id()));
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).and_then(|mut out| {
        writeln!(out, "{text}")?;
        out.sync_all()?;
        // A link never replaces what another process made meanwhile.
        fs::hard_link(&new, file)
    });
    let _ = fs::remove_file(&new);
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn it_is_made_once_and_only_the_owner_may_read_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("bus.token");
        assert!(Token::read(&file).expect_err("none yet").to_string().contains("makes it"));
        let one = Token::read_or_make(&file).expect("made");
        let two = Token::read_or_make(&file).expect("read");
        assert!(two.is_shown_by(&one.header()));
        assert!(!two.is_shown_by("Bearer "));
        assert!(!two.is_shown_by(&one.header().replace(|c: char| c.is_ascii_digit(), "x")));
        assert_eq!(fs::metadata(&file).expect("there").mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 1, "nothing else is left");
        assert!(!format!("{one:?}").contains(&one.0));
    }

    #[test]
    fn one_that_everybody_can_read_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("bus.token");
        Token::read_or_make(&file).expect("made");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("ours");
        assert!(Token::read(&file).expect_err("too open").to_string().contains("chmod o= "));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("ours");
        Token::read(&file).expect("a group may share it");
        fs::write(&file, "short\n").expect("writable");
        assert!(Token::read(&file).expect_err("no token").to_string().contains("at least 32"));
    }
}
