//! `guard.toml`: what a guard needs to know of its instance. In: the file. Out: [`GuardFile`], checked, or an error with the file's
//! name and what to change. Written by the hands when they make an instance; a person may read it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use millrace_mysql::{Account, Address, Target};
use millrace_schemas::flavour::Flavour;
use serde::{Deserialize, Serialize};

use super::keeper::Limits;
use super::{CONFIG, GuardError};

/// One instance, as its guard sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct GuardFile {
    /// The instance's id, for messages.
    pub instance: String,
    /// MySQL or MariaDB.
    pub flavour: Flavour,
    /// The server's program and its arguments. Its configuration must start it closed.
    pub command: Vec<String>,
    /// The server's Unix socket: the guard closes the server through it.
    pub socket: PathBuf,
    /// The account to close it with.
    pub user: String,
    /// The file that holds the account's password.
    pub password_file: PathBuf,
    /// Milliseconds for which a crashed server is held down when nobody decides anything; 10 s if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_ms: Option<u64>,
    /// Milliseconds for which closing may go unconfirmed before the server is killed; 1 s if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub close_ms: Option<u64>,
}

impl GuardFile {
    /// Reads the file of the instance in `dir`.
    pub fn read(dir: &Path) -> Result<Self, GuardError> {
        let path = dir.join(CONFIG);
        let text = std::fs::read_to_string(&path).map_err(GuardError::file(&path, "cannot be read"))?;
        let file: Self = toml::from_str(&text)
            .map_err(|error| GuardError::Content { path: path.clone(), why: error.to_string() })?;
        match file.problem() {
            None => Ok(file),
            Some(why) => Err(GuardError::Content { path, why }),
        }
    }

    /// The text to write to [`CONFIG`].
    pub fn text(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }

    fn problem(&self) -> Option<String> {
        if self.command.first().is_none_or(String::is_empty) {
            return Some("`command` is empty; name the server's program and its arguments".into());
        }
        let relative = [("socket", &self.socket), ("password-file", &self.password_file)];
        let relative = relative.into_iter().find(|(_, path)| !path.is_absolute());
        relative.map(|(name, path)| format!("`{name}` is {}; write the absolute path", path.display()))
    }

    /// How the guard reaches the server to close it.
    pub(super) fn target(&self) -> Target {
        let account = Account { user: self.user.clone(), password_file: Some(self.password_file.clone()) };
        let usual = Target::new(self.instance.clone(), Address::Socket(self.socket.clone()), account);
        // The whole closing is bounded, so no part of it needs a narrower bound of its own.
        let within = self.limits().close_within;
        let (connect_within, answer_within) = (usual.connect_within.max(within), usual.answer_within.max(within));
        Target { connect_within, answer_within, ..usual }
    }

    /// The times to keep.
    pub(super) fn limits(&self) -> Limits {
        let usual = Limits::default();
        Limits {
            hold: self.hold_ms.map_or(usual.hold, Duration::from_millis),
            close_within: self.close_ms.map_or(usual.close_within, Duration::from_millis),
            ..usual
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> GuardFile {
        GuardFile {
            instance: "a-1".into(),
            flavour: Flavour::MariaDb,
            command: vec!["/usr/sbin/mariadbd".into(), "--defaults-file=/d/my.cnf".into()],
            socket: "/d/s".into(),
            user: "millrace".into(),
            password_file: "/d/password".into(),
            hold_ms: None,
            close_ms: None,
        }
    }

    fn read(text: &str) -> Result<GuardFile, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(CONFIG), text).unwrap();
        GuardFile::read(folder.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_reads_back_and_a_wrong_one_says_what_to_change() {
        assert_eq!(read(&file().text().unwrap()), Ok(file()));
        let check = |file: GuardFile, part: &str| {
            let why = read(&file.text().unwrap()).unwrap_err();
            assert!(why.contains(part) && why.contains("guard.toml"), "{why}");
        };
        check(GuardFile { command: vec![], ..file() }, "`command` is empty");
        check(GuardFile { socket: "s".into(), ..file() }, "`socket` is s; write the absolute path");
        let timed = GuardFile { hold_ms: Some(2_000), close_ms: Some(15_000), ..file() };
        assert_eq!(read(&timed.text().unwrap()).as_ref(), Ok(&timed));
        let limits = timed.limits();
        assert_eq!((limits.hold, limits.close_within), (Duration::from_secs(2), Duration::from_secs(15)));
        assert_eq!(timed.target().connect_within, Duration::from_secs(15));
        assert_eq!(file().limits(), Limits::default());
        assert!(read("instance = 7").unwrap_err().contains("instance"));
        let unknown = format!("{}typo = 1\n", file().text().unwrap());
        assert!(read(&unknown).unwrap_err().contains("typo"));
    }
}
