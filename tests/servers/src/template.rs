//! The templates that `scripts/servers.sh template` makes: where the programs lie, a stopped data directory, the accounts.
//! In: `template.toml`. Out: [`Template`], or a panic that says `make servers`.

use std::path::PathBuf;

use millrace_mysql::{Flavour, connect};
use serde::Deserialize;

/// What `template.toml` says.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Template {
    /// The flavour.
    pub flavour: Flavour,
    /// The server's version.
    pub version: String,
    /// The data directory to copy.
    pub data: PathBuf,
    /// The server program.
    pub server: PathBuf,
    /// The command-line client.
    pub client: PathBuf,
    /// Where the programs' files lie.
    pub basedir: PathBuf,
    /// The plugins.
    pub plugin_dir: PathBuf,
    /// The message files.
    pub lc_messages_dir: PathBuf,
    /// The character sets.
    pub character_sets_dir: PathBuf,
    /// The accounts in the data directory.
    pub accounts: Accounts,
    /// The folder that holds `template.toml`.
    #[serde(skip)]
    pub folder: PathBuf,
}

/// The accounts in a template.
#[derive(Debug, Clone, Deserialize)]
pub struct Accounts {
    /// May do everything, from this host only.
    pub agent: Account,
    /// Replicates.
    pub replication: Account,
    /// Has one schema of its own.
    pub application: Account,
}

/// One account.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Account {
    /// The user's name.
    pub user: String,
    /// The file with the password.
    pub password_file: PathBuf,
    /// The schema that is the account's own.
    pub schema: Option<String>,
}

impl Account {
    /// The account as the client takes it.
    pub fn for_client(&self) -> connect::Account {
        connect::Account { user: self.user.clone(), password_file: Some(self.password_file.clone()) }
    }

    /// The password itself.
    pub fn password(&self) -> String {
        let text = std::fs::read_to_string(&self.password_file).expect("the template's password files can be read");
        text.trim_end().to_owned()
    }
}

impl Template {
    /// The template of `flavour`, which must have been made before.
    pub fn of(flavour: Flavour) -> Self {
        let name = match flavour {
            Flavour::MySql => "mysql-9.7",
            Flavour::MariaDb => "mariadb-10.11",
        };
        let folder = root().join("templates").join(name);
        let path = folder.join("template.toml");
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| {
            panic!("no {flavour} to test with ({}: {error}): run `make servers`", path.display())
        });
        let template: Self = toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { folder, ..template }
    }
}

/// Where `scripts/servers.sh` keeps the servers.
fn root() -> PathBuf {
    let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    from("MILLRACE_SERVERS")
        .or_else(|| from("XDG_CACHE_HOME").map(|cache| cache.join("millrace/servers")))
        .or_else(|| from("HOME").map(|home| home.join(".cache/millrace/servers")))
        .expect("MILLRACE_SERVERS or HOME is set, so that the test servers can be found")
}
