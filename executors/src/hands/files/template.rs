//! Templates: a stopped data directory with accounts in it, and where the programs that made it lie. In: `template.toml` in the
//! template's folder. Out: [`Template`]. The folder is read and never written.

use std::path::{Path, PathBuf};

use millrace_mysql::Account;
use millrace_schemas::flavour::Flavour;
use serde::{Deserialize, Serialize};

use super::FilesError;

/// What `template.toml` says. Further keys are for others.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Template {
    /// MySQL or MariaDB.
    pub flavour: Flavour,
    /// The server's version.
    pub version: String,
    /// The data directory to copy.
    pub data: PathBuf,
    /// The server's program.
    pub server: PathBuf,
    /// Where the server's files lie.
    pub basedir: PathBuf,
    /// Its plugins.
    pub plugin_dir: PathBuf,
    /// Its messages.
    pub lc_messages_dir: PathBuf,
    /// Its character sets.
    pub character_sets_dir: PathBuf,
    /// The accounts in the data directory.
    pub accounts: Accounts,
    /// Lines for the configuration, from `extra.cnf` beside `template.toml`; Millrace's own come after them and win.
    #[serde(skip)]
    pub extra: String,
    /// The template's folder.
    #[serde(skip)]
    pub folder: PathBuf,
}

/// The accounts that a template has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Accounts {
    /// The agent's: may do everything, from the server's host only.
    pub agent: TemplateAccount,
    /// Writes the heartbeat row and the canary; a closed server stops it, as it stops clients.
    pub pulse: TemplateAccount,
    /// Replicas log in with it.
    pub replication: TemplateAccount,
    /// One for an application.
    pub application: TemplateAccount,
}

/// One account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TemplateAccount {
    /// The user's name.
    pub user: String,
    /// The file with its password; in an instance, relative to the instance's folder.
    pub password_file: PathBuf,
    /// The schema that is its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
}

impl TemplateAccount {
    /// How a client logs in with it; `folder` is the one that it belongs to, the template's or an instance's.
    pub fn login(&self, folder: &Path) -> Account {
        Account { user: self.user.clone(), password_file: Some(folder.join(&self.password_file)) }
    }

    /// The password itself, where a statement needs it.
    pub fn password(&self, folder: &Path) -> Result<String, FilesError> {
        let file = folder.join(&self.password_file);
        let text = std::fs::read_to_string(&file).map_err(FilesError::file(file, "cannot be read"))?;
        Ok(text.trim_end_matches(['\r', '\n']).to_owned())
    }
}

impl Accounts {
    /// The same accounts, each changed by `change`.
    pub(super) fn try_map<E>(
        &self,
        change: impl Fn(&TemplateAccount) -> Result<TemplateAccount, E>,
    ) -> Result<Self, E> {
        Ok(Self {
            agent: change(&self.agent)?,
            pulse: change(&self.pulse)?,
            replication: change(&self.replication)?,
            application: change(&self.application)?,
        })
    }
}

impl Template {
    /// Reads the template in `folder`.
    pub fn read(folder: &Path) -> Result<Self, FilesError> {
        let path = folder.join("template.toml");
        let text = std::fs::read_to_string(&path)
            .map_err(FilesError::file(&path, "cannot be read, so there is no template (`make servers` makes both)"))?;
        let mut template: Self =
            toml::from_str(&text).map_err(|error| FilesError::Content { path, why: error.to_string() })?;
        let extra = folder.join("extra.cnf");
        template.extra = match std::fs::read_to_string(&extra) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(FilesError::file(extra, "cannot be read")(error)),
        };
        Ok(Self { folder: folder.to_owned(), ..template })
    }
}
