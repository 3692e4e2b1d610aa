//! The files of an instance that Millrace makes: a copy of a template's data directory, a configuration that starts closed, the
//! accounts' passwords, the guard's file. In: a template and what the instance is to be. Out: a folder with `instance.json`, which
//! is written last and says that everything else is there. Doing it twice changes nothing. It must never touch a folder that
//! holds anything it did not put there itself: a half-made folder is recognised by its own mark, and nothing else is removed.

mod configuration;
mod copy;
mod template;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use millrace_mysql::{Address, Target};
use millrace_schemas::flavour::Flavour;
use millrace_schemas::ids::{ClusterId, InstanceId};
use serde::{Deserialize, Serialize};

use crate::guard::{CONFIG, GuardFile, SOCKET, replace};

pub use template::{Accounts, Template, TemplateAccount};

/// Says, in the folder, that the instance is complete.
pub const INSTANCE: &str = "instance.json";

/// Says, in the folder, that Millrace is making the instance and that everything here is its own.
const MAKING: &str = ".millrace-making";

/// The kernel's bound on the path of a Unix socket, less its final zero.
const SOCKET_PATH_MAX: usize = 107;

/// Why an instance's files could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The folder belongs to somebody else.
    #[error("{} is not empty and was not made by millrace; name another folder, or empty it by hand", .dir.display())]
    NotOurs {
        /// The folder.
        dir: PathBuf,
    },
    /// The folder holds another instance.
    #[error("{} holds another instance: its {what} is {found}, not {wanted}", .dir.display())]
    Taken {
        /// The folder.
        dir: PathBuf,
        /// What differs.
        what: &'static str,
        /// What is there.
        found: String,
        /// What was asked for.
        wanted: String,
    },
    /// The path is too long for the sockets in it.
    #[error("{} is too long: the sockets in it may have {SOCKET_PATH_MAX} bytes with their path", .dir.display())]
    TooLong {
        /// The folder.
        dir: PathBuf,
    },
    /// A value cannot stand in a configuration file.
    #[error("the {what} `{value}` cannot be written into a configuration: it holds a line break, `#` or a quote")]
    Unwritable {
        /// What the value is.
        what: &'static str,
        /// The value.
        value: String,
    },
    /// The template is of another flavour.
    #[error("the template {} is of {found}, not {wanted}", .path.display())]
    Flavour {
        /// The template's file.
        path: PathBuf,
        /// Its flavour.
        found: Flavour,
        /// The flavour that was asked for.
        wanted: Flavour,
    },
    /// A file does not say what it should.
    #[error("{}: {why}", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The system refused.
    #[error("{}: {what}: {source}", .path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

impl FilesError {
    fn file(path: impl Into<PathBuf>, what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, what, source }
    }
}

/// What an instance is to be.
#[derive(Debug, Clone)]
pub struct NewInstance {
    /// Its id.
    pub instance: InstanceId,
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its flavour; the template must be of it.
    pub flavour: Flavour,
    /// The address that it listens on and that others reach it by.
    pub address: String,
    /// The port.
    pub port: u16,
    /// Unique in the cluster.
    pub server_id: u32,
    /// Whether it may acknowledge the writes of a primary.
    pub acknowledger: bool,
    /// How long its guard holds it down after a crash; 10 s if absent. For tests.
    pub hold_ms: Option<u64>,
    /// How long closing may go unconfirmed before its guard kills it; 1 s if absent. For tests.
    pub close_ms: Option<u64>,
}

/// An instance that is complete, as `instance.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// The form of this file: 1.
    pub schema_version: u32,
    /// Its id.
    pub instance: InstanceId,
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its flavour.
    pub flavour: Flavour,
    /// The version of the server that its template was made with.
    pub version: String,
    /// The address that it listens on.
    pub address: String,
    /// The port.
    pub port: u16,
    /// Unique in the cluster.
    pub server_id: u32,
    /// Whether it may acknowledge the writes of a primary.
    pub acknowledger: bool,
    /// The accounts; the password files are the instance's own copies.
    pub accounts: Accounts,
    /// The folder. Not in the file, so that it can be moved.
    #[serde(skip)]
    pub dir: PathBuf,
}

impl Instance {
    /// Reads the instance in `dir`; `None` if there is none, or a half-made one.
    pub fn read(dir: &Path) -> Result<Option<Self>, FilesError> {
        let path = dir.join(INSTANCE);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(FilesError::file(path, "cannot be read")(error)),
        };
        let instance: Self = serde_json::from_slice(&text)
            .map_err(|error| FilesError::Content { path: path.clone(), why: error.to_string() })?;
        if instance.schema_version != 1 {
            let why = format!("its form is {}, and this version of millrace knows 1", instance.schema_version);
            return Err(FilesError::Content { path, why });
        }
        Ok(Some(Self { dir: dir.to_owned(), ..instance }))
    }

    /// The server's Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("s")
    }

    /// The server's slow log.
    pub fn slow_log(&self) -> PathBuf {
        self.dir.join("slow.log")
    }

    /// The server's error log.
    pub fn error_log(&self) -> PathBuf {
        self.dir.join("error.log")
    }

    /// How the agent reaches it: over the socket, which works whatever address it listens on.
    pub fn target(&self) -> Target {
        self.target_as(&self.accounts.agent, Address::Socket(self.socket()))
    }

    /// How to reach it over TCP as `account`.
    pub fn target_over_tcp(&self, account: &TemplateAccount) -> Target {
        self.target_as(account, Address::Tcp { host: self.address.clone(), port: self.port })
    }

    fn target_as(&self, account: &TemplateAccount, address: Address) -> Target {
        Target::new(self.instance.to_string(), address, account.login(&self.dir))
    }

    fn agrees_with(&self, new: &NewInstance) -> Result<(), FilesError> {
        let differences = [
            ("id", self.instance.to_string(), new.instance.to_string()),
            ("cluster", self.cluster.to_string(), new.cluster.to_string()),
            ("flavour", self.flavour.to_string(), new.flavour.to_string()),
            ("address", self.address.clone(), new.address.clone()),
            ("port", self.port.to_string(), new.port.to_string()),
            ("server id", self.server_id.to_string(), new.server_id.to_string()),
            ("right to acknowledge", self.acknowledger.to_string(), new.acknowledger.to_string()),
        ];
        match differences.into_iter().find(|(_, found, wanted)| found != wanted) {
            None => Ok(()),
            Some((what, found, wanted)) => Err(FilesError::Taken { dir: self.dir.clone(), what, found, wanted }),
        }
    }
}

/// Makes the instance in `dir` from `template`. If it is there already, and is the one that was asked for, that is all.
pub fn create_instance(dir: &Path, template: &Template, new: &NewInstance) -> Result<Instance, FilesError> {
    if dir.join(SOCKET).as_os_str().len() > SOCKET_PATH_MAX || !dir.is_absolute() {
        return Err(FilesError::TooLong { dir: dir.to_owned() });
    }
    if let Some(found) = Instance::read(dir)? {
        found.agrees_with(new)?;
        remove_mark(dir)?;
        return Ok(found);
    }
    if template.flavour != new.flavour {
        let path = template.folder.clone();
        return Err(FilesError::Flavour { path, found: template.flavour, wanted: new.flavour });
    }
    claim(dir)?;
    copy::tree(&template.data, &dir.join("data"))?;
    let accounts = copy_secrets(dir, template)?;
    let text = configuration::text(dir, template, new)?;
    write(&dir.join("my.cnf"), text.as_bytes())?;
    write(&dir.join(CONFIG), guard_file(dir, template, new, &accounts)?.as_bytes())?;
    copy::sync(dir)?;
    let instance = Instance {
        schema_version: 1,
        instance: new.instance.clone(),
        cluster: new.cluster.clone(),
        flavour: new.flavour,
        version: template.version.clone(),
        address: new.address.clone(),
        port: new.port,
        server_id: new.server_id,
        acknowledger: new.acknowledger,
        accounts,
        dir: dir.to_owned(),
    };
    let path = dir.join(INSTANCE);
    let text = serde_json::to_vec_pretty(&instance)
        .map_err(|error| FilesError::Content { path: path.clone(), why: error.to_string() })?;
    write(&path, &text)?;
    remove_mark(dir)?;
    Ok(instance)
}

/// Makes `dir` ours: a new folder, an empty one, or one that we left half-made, which is emptied first.
fn claim(dir: &Path) -> Result<(), FilesError> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(FilesError::file(dir, "cannot be made"))?;
    let list = || std::fs::read_dir(dir).map_err(FilesError::file(dir, "cannot be listed"));
    if dir.join(MAKING).exists() {
        for entry in list()? {
            let entry = entry.map_err(FilesError::file(dir, "cannot be listed"))?;
            if entry.file_name() == MAKING {
                continue;
            }
            let path = entry.path();
            // A link is removed itself; what it points to is not ours.
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let removed = if is_folder { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            removed.map_err(FilesError::file(path, "is half-made and cannot be removed"))?;
        }
        return Ok(());
    }
    if list()?.next().is_some() {
        return Err(FilesError::NotOurs { dir: dir.to_owned() });
    }
    write(
        &dir.join(MAKING),
        b"millrace is making an instance here; until it is done, everything in this folder is its own\n",
    )
}

fn remove_mark(dir: &Path) -> Result<(), FilesError> {
    let path = dir.join(MAKING);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(FilesError::file(path, "cannot be removed")(error))
        }
        _ => Ok(()),
    }
}

/// Copies the passwords beside the data: a template that is made again gets new ones, and the copy keeps its own.
fn copy_secrets(dir: &Path, template: &Template) -> Result<Accounts, FilesError> {
    let secrets = dir.join("secrets");
    DirBuilder::new().mode(0o700).create(&secrets).map_err(FilesError::file(&secrets, "cannot be made"))?;
    template.accounts.try_map(|account| {
        let name = format!("{}.password", account.user);
        let content = std::fs::read(&account.password_file)
            .map_err(FilesError::file(&account.password_file, "cannot be read"))?;
        write(&secrets.join(&name), &content)?;
        Ok(TemplateAccount { password_file: Path::new("secrets").join(name), ..account.clone() })
    })
}

fn guard_file(dir: &Path, template: &Template, new: &NewInstance, accounts: &Accounts) -> Result<String, FilesError> {
    let defaults = format!("--defaults-file={}", dir.join("my.cnf").display());
    let file = GuardFile {
        instance: new.instance.to_string(),
        flavour: new.flavour,
        command: vec![template.server.display().to_string(), defaults],
        socket: dir.join("s"),
        user: accounts.agent.user.clone(),
        password_file: dir.join(&accounts.agent.password_file),
        hold_ms: new.hold_ms,
        close_ms: new.close_ms,
    };
    file.text().map_err(|error| FilesError::Content { path: dir.join(CONFIG), why: error.to_string() })
}

fn write(path: &Path, content: &[u8]) -> Result<(), FilesError> {
    replace(path, content).map_err(FilesError::file(path, "cannot be written"))
}

#[cfg(test)]
mod tests;
