//! Which server is asked, and who asks: a DSN (`mysql://USER@HOST:PORT`), a host or a socket and an option file in, a [`Login`] or
//! a [`Target`] out. A password is never taken from the command line, and never repeated in a message. One from an option file, the
//! environment or a prompt goes on in a file that lies in memory and is gone with the process.

mod path;

use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use millrace_mysql::{Account, Address, Target};
use rustix::fs::{MemfdFlags, Mode, fchmod, memfd_create};

/// What both families listen on unless told otherwise.
const PORT: u16 = 3306;

/// 64 KiB: an option file has some hundred lines; a larger one is another file.
const OPTION_FILE_BYTES_MAX: u64 = 64 * 1024;

/// Where a server listens, as it is asked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) host: String,
    pub(super) port: u16,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Why nobody can be asked.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DsnError {
    #[error("{0}; write mysql://USER@HOST:PORT")]
    Form(&'static str),
    #[error(
        "a password in the DSN is seen in the process list and in the shell's history: change it if it was real, write it \
         to a file, run chmod 600 on that, and give --password-file FILE"
    )]
    Password,
    #[error(
        "nothing says which server to start from: give --from mysql://USER@HOST:PORT, or a host in the option file"
    )]
    NoHost,
    #[error("nothing says who asks: give --from mysql://USER@HOST:PORT, or a user in the option file")]
    NoUser,
    #[error("the option file {path}: {why}")]
    Options { path: String, why: String },
    #[error("the login path {name}: {why}")]
    LoginPath { name: String, why: String },
    #[error(
        "the password cannot be taken: {0}; write it to a file, run chmod 600 on that, and give --password-file FILE"
    )]
    Secret(String),
}

/// What a DSN says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dsn {
    pub(super) user: Option<String>,
    pub(super) place: Place,
}

impl Dsn {
    /// Reads a DSN. What is wrong with one is said without repeating it: it may hold a password.
    pub(super) fn parse(text: &str) -> Result<Self, DsnError> {
        let rest = text.strip_prefix("mysql://").ok_or(DsnError::Form("a DSN begins with mysql://"))?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (user, place) = rest.rsplit_once('@').map_or((None, rest), |(user, place)| (Some(user), place));
        if user.is_some_and(|user| user.contains(':')) {
            return Err(DsnError::Password);
        }
        if place.contains(['/', '?', '#']) {
            return Err(DsnError::Form("nothing follows the port of this DSN"));
        }
        let user = user.filter(|user| !user.is_empty()).map(str::to_owned);
        Ok(Self { user, place: place_of(place)? })
    }
}

fn place_of(text: &str) -> Result<Place, DsnError> {
    let port_of = |text: &str| match text.strip_prefix(':') {
        None if text.is_empty() => Ok(PORT),
        None => Err(DsnError::Form("a colon stands between host and port")),
        Some(port) => {
            let port = port.parse().ok().filter(|port| *port != 0);
            port.ok_or(DsnError::Form("a port is a number from 1 to 65535"))
        }
    };
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        rest.split_once(']').ok_or(DsnError::Form("an IPv6 address stands in brackets, [::1]:3306"))?
    } else {
        text.split_at(text.find(':').unwrap_or(text.len()))
    };
    if host.is_empty() {
        return Err(DsnError::Form("the DSN names no host"));
    }
    Ok(Place { host: host.to_owned(), port: port_of(port)? })
}

/// What an option file says to clients.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    user: Option<String>,
    password: Option<String>,
    host: Option<String>,
    port: Option<u16>,
}

impl Options {
    /// Reads the section `[client]` of an option file that nobody but its owner can read.
    fn load(path: &Path) -> Result<Self, DsnError> {
        let failed = |why: String| DsnError::Options { path: path.display().to_string(), why };
        read_private(path, |bytes| {
            let text = String::from_utf8(bytes).map_err(|_| "it is no text".to_owned())?;
            let options = Self::parse(&text, "client")?.unwrap_or_default();
            let secret = options.password.is_some();
            Ok((options, secret))
        })
        .map_err(failed)
    }

    /// Reads a login path, with what holds for all clients where it says nothing.
    fn load_login_path(name: &str) -> Result<Self, DsnError> {
        let failed = |why: String| DsnError::LoginPath { name: name.to_owned(), why };
        let file = path::file().ok_or_else(|| failed("nothing says where your home is".to_owned()))?;
        let said = |why: String| failed(format!("{}: {why}", file.display()));
        let text = path::read(&file).map_err(said)?;
        let own = Self::parse(&text, name).map_err(said)?;
        let own = own.ok_or_else(|| {
            said(format!("no path has that name; mysql_config_editor set --login-path={name} makes it"))
        })?;
        let all = Self::parse(&text, "client").map_err(said)?.unwrap_or_default();
        Ok(Self {
            user: own.user.or(all.user),
            password: own.password.or(all.password),
            host: own.host.or(all.host),
            port: own.port.or(all.port),
        })
    }

    /// Reads a section of an option file; none when it is not there. Keys that clients have and this program does not need are passed over.
    fn parse(text: &str, section: &str) -> Result<Option<Self>, String> {
        let mut options = Self::default();
        let (mut ours, mut found) = (false, false);
        for (number, line) in text.lines().enumerate().map(|(at, line)| (at + 1, line.trim())) {
            if line.starts_with('!') {
                return Err(format!(
                    "line {number} includes other files, which is not followed: name that file instead"
                ));
            }
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if line.starts_with('[') {
                ours = line.split_once(']').is_some_and(|(name, _)| name[1..] == *section);
                found |= ours;
                continue;
            }
            if !ours {
                continue;
            }
            let Some((key, value)) = line.split_once('=') else { continue };
            let value = value_of(value.trim()).ok_or_else(|| format!("line {number}: a quote is not closed"))?;
            match key.trim() {
                "user" => options.user = Some(value),
                "password" => options.password = Some(value),
                "host" => options.host = Some(value),
                "port" => {
                    let port = value.parse().ok().filter(|port| *port != 0);
                    options.port =
                        Some(port.ok_or_else(|| format!("line {number}: a port is a number from 1 to 65535"))?);
                }
                _ => {}
            }
        }
        Ok(found.then_some(options))
    }
}

/// Reads a file of options; `parse` says whether there is a secret in it, which nobody but its owner may read.
fn read_private<T>(path: &Path, parse: impl FnOnce(Vec<u8>) -> Result<(T, bool), String>) -> Result<T, String> {
    let meta = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if meta.len() > OPTION_FILE_BYTES_MAX {
        return Err(format!("it has {} bytes, and no option file has over {OPTION_FILE_BYTES_MAX}", meta.len()));
    }
    let (read, secret) = parse(std::fs::read(path).map_err(|error| error.to_string())?)?;
    let mode = meta.permissions().mode() & 0o777;
    if secret && mode & 0o077 != 0 {
        return Err(format!("it holds a password and others can read it (mode {mode:o}); run chmod 600 on it"));
    }
    Ok(read)
}

/// The value of an option as the servers' own clients read it: quoted or up to a `#`, with their escapes.
fn value_of(text: &str) -> Option<String> {
    let inside = match text.chars().next() {
        Some(quote @ ('\'' | '"')) => text[1..].trim_end().rsplit_once(quote).map(|(inside, _)| inside)?,
        _ => text.split_once('#').map_or(text, |(before, _)| before).trim_end(),
    };
    let mut value = String::with_capacity(inside.len());
    let mut chars = inside.chars();
    while let Some(char) = chars.next() {
        if char != '\\' {
            value.push(char);
            continue;
        }
        match chars.next() {
            Some('n') => value.push('\n'),
            Some('r') => value.push('\r'),
            Some('t') => value.push('\t'),
            Some('b') => value.push('\u{8}'),
            Some('s') => value.push(' '),
            Some('\\') | None => value.push('\\'),
            Some(other) => value.extend(['\\', other]),
        }
    }
    Some(value)
}

/// Who asks, and from where on.
#[derive(Debug)]
pub(super) struct Login {
    pub(super) place: Place,
    pub(super) account: Account,
    /// Keeps the password that came from an option file readable for this process, and nobody else.
    _secret: Option<File>,
}

impl Login {
    /// Puts together what the command line names. The DSN wins over the option file.
    pub(super) fn new(from: Option<&str>, password: Option<&Path>, options: Option<&Path>) -> Result<Self, DsnError> {
        let dsn = from.map(Dsn::parse).transpose()?;
        let read = options.map(Options::load).transpose()?.unwrap_or_default();
        let place = match &dsn {
            Some(dsn) => dsn.place.clone(),
            None => Place { host: read.host.ok_or(DsnError::NoHost)?, port: read.port.unwrap_or(PORT) },
        };
        let user = dsn.and_then(|dsn| dsn.user).or(read.user).ok_or(DsnError::NoUser)?;
        let (password_file, secret) = kept(password, read.password).map_err(|error| DsnError::Options {
            path: options.unwrap_or(Path::new("")).display().to_string(),
            why: format!("its password cannot be kept in memory: {error}"),
        })?;
        Ok(Self { place, account: Account { user, password_file }, _secret: secret })
    }
}

/// The variable in which the servers' own clients take a password. It is seen by who may see this process' environment.
const PASSWORD_VARIABLE: &str = "MYSQL_PWD";

/// Who asks the server that `--from` names.
#[derive(Debug, Default, clap::Args)]
#[group(skip)]
pub(super) struct Who {
    /// The account at the server; else that of the DSN, of the option file, or your own name.
    #[arg(long, value_name = "USER", requires = "from")]
    user: Option<String>,
    /// The file with the account's password (chmod 600).
    #[arg(long, value_name = "FILE", requires = "from")]
    password_file: Option<PathBuf>,
    /// An option file of the servers' own clients, for user and password in its [client] section; without it ~/.my.cnf. The
    /// variable `MYSQL_PWD` is read too.
    #[arg(long, value_name = "FILE", requires = "from")]
    defaults_file: Option<PathBuf>,
    /// A login path of `mysql_config_editor` (`~/.mylogin.cnf`), for user and password, instead of an option file.
    #[arg(long, value_name = "NAME", conflicts_with = "defaults_file", requires = "from")]
    login_path: Option<String>,
}

/// A server and who asks it; the password stays readable while this is kept.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) target: Target,
    _secret: Option<File>,
}

impl Who {
    /// Puts together what the command line, the login path or the option file, the environment and a `prompt` say, in that order. The
    /// server is `mysql://USER@HOST:PORT`, `HOST`, `HOST:PORT` or the path of a socket.
    pub(super) fn known(&self, server: &str, prompt: bool) -> Result<Known, DsnError> {
        let read = match &self.login_path {
            Some(name) => Options::load_login_path(name)?,
            None => self.option_file()?,
        };
        let (named, address) = address_of(server)?;
        let user = named.or_else(|| self.user.clone()).or(read.user).or_else(|| std::env::var("USER").ok());
        let user = user.filter(|user| !user.is_empty()).ok_or(DsnError::NoUser)?;
        let password = if self.password_file.is_some() {
            None
        } else if prompt {
            let asked = rpassword::prompt_password(format!("password of {user} at {address}: "));
            Some(asked.map_err(|error| DsnError::Secret(error.to_string()))?)
        } else {
            read.password.or_else(|| std::env::var(PASSWORD_VARIABLE).ok())
        };
        let (password_file, secret) =
            kept(self.password_file.as_deref(), password).map_err(|error| DsnError::Secret(error.to_string()))?;
        let target = Target::new("server", address, Account { user, password_file });
        Ok(Known { target, _secret: secret })
    }

    /// What the option file says that was named, or the one at home.
    fn option_file(&self) -> Result<Options, DsnError> {
        let own = std::env::home_dir().map(|home| home.join(".my.cnf")).filter(|file| file.exists());
        let file = self.defaults_file.clone().or(own);
        Ok(file.as_deref().map(Options::load).transpose()?.unwrap_or_default())
    }
}

fn address_of(server: &str) -> Result<(Option<String>, Address), DsnError> {
    if server.starts_with('/') {
        return Ok((None, Address::Socket(server.into())));
    }
    let dsn = if server.contains("://") { Dsn::parse(server)? } else { Dsn { user: None, place: place_of(server)? } };
    let Place { host, port } = dsn.place;
    Ok((dsn.user, Address::Tcp { host, port }))
}

/// The file from which sessions take a password, and what keeps it readable: the one that was named, else one in memory.
fn kept(named: Option<&Path>, password: Option<String>) -> std::io::Result<(Option<PathBuf>, Option<File>)> {
    match (named, password) {
        (Some(path), _) => Ok((Some(path.to_owned()), None)),
        (None, None) => Ok((None, None)),
        (None, Some(password)) => in_memory(&password).map(|(file, path)| (Some(path), Some(file))),
    }
}

/// A file in memory with the password, and the path by which this process reads it: sessions take passwords from files only.
fn in_memory(password: &str) -> std::io::Result<(File, PathBuf)> {
    let mut file = File::from(memfd_create("millrace-password", MemfdFlags::CLOEXEC)?);
    fchmod(&file, Mode::RUSR | Mode::WUSR)?;
    writeln!(file, "{password}")?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    Ok((file, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dsn_names_a_user_a_host_and_a_port() {
        let check = |text: &str, user: Option<&str>, place: &str| {
            let dsn = Dsn::parse(text).unwrap();
            assert_eq!((dsn.user.as_deref(), dsn.place.to_string().as_str()), (user, place), "{text}");
        };
        check("mysql://millrace@db1:3307", Some("millrace"), "db1:3307");
        check("mysql://millrace@db1", Some("millrace"), "db1:3306");
        check("mysql://db1:3307/", None, "db1:3307");
        check("mysql://a@b@[::1]:3307", Some("a@b"), "[::1]:3307");
    }

    #[test]
    fn what_is_wrong_with_a_dsn_is_said_without_its_password() {
        let check = |text: &str, part: &str| {
            let error = Dsn::parse(text).unwrap_err().to_string();
            assert!(error.contains(part) && !error.contains("s3cret"), "{text}: {error}");
        };
        check("mysql://millrace:s3cret@db1:3306", "--password-file");
        check("mysql://millrace:s3@cret@db1:3306", "--password-file");
        check("postgres://millrace:s3cret@db1", "begins with mysql://");
        check("mysql://millrace@db1:0", "1 to 65535");
        check("mysql://millrace@db1:3306/shop", "nothing follows the port");
        check("mysql://millrace@", "no host");
        check("mysql://millrace@[::1", "brackets");
    }

    #[test]
    fn an_option_file_is_read_as_clients_read_it() {
        let text = "# c\n[mysqld]\nuser=mysql\n[client]\nuser = millrace # who\npassword='a#\\\\b'\nport=3307\nssl\n[other]\nhost=x";
        let options = Options::parse(text, "client").unwrap().unwrap();
        let expected =
            Options { user: Some("millrace".into()), password: Some("a#\\b".into()), host: None, port: Some(3307) };
        assert_eq!(options, expected);
        assert!(Options::parse("!include /etc/x", "client").unwrap_err().contains("not followed"));
        assert!(Options::parse("[client]\npassword=\"s3cret", "client").unwrap_err().contains("not closed"));
    }

    #[test]
    fn a_password_of_an_option_file_goes_on_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("my.cnf");
        std::fs::write(&path, "[client]\nuser=millrace\npassword=s3cret\nhost=db1\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let open = Login::new(None, None, Some(&path)).unwrap_err().to_string();
        assert!(open.contains("chmod 600"), "{open}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let login = Login::new(None, None, Some(&path)).unwrap();
        assert_eq!((login.place.to_string().as_str(), login.account.user.as_str()), ("db1:3306", "millrace"));
        let secret = login.account.password_file.clone().unwrap();
        assert_eq!(std::fs::read_to_string(&secret).unwrap(), "s3cret\n");
        assert_eq!(std::fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_server_is_named_by_host_socket_or_dsn() {
        let check = |text: &str, user: Option<&str>, address: &str| {
            let (named, found) = address_of(text).unwrap();
            assert_eq!((named.as_deref(), found.to_string().as_str()), (user, address), "{text}");
        };
        check("db1", None, "db1:3306");
        check("db1:3307", None, "db1:3307");
        check("[::1]:3307", None, "[::1]:3307");
        check("/run/mysqld/mysqld.sock", None, "/run/mysqld/mysqld.sock");
        check("mysql://millrace@db1:3307", Some("millrace"), "db1:3307");
        assert!(address_of("mysql://u:s3cret@db1").unwrap_err().to_string().contains("--password-file"));
    }

    #[test]
    fn a_login_needs_a_server_and_a_user() {
        assert_eq!(Login::new(None, None, None).unwrap_err(), DsnError::NoHost);
        assert_eq!(Login::new(Some("mysql://db1"), None, None).unwrap_err(), DsnError::NoUser);
        let login = Login::new(Some("mysql://millrace@db1"), Some(Path::new("/p")), None).unwrap();
        assert_eq!(login.account.password_file.as_deref(), Some(Path::new("/p")));
    }
}
