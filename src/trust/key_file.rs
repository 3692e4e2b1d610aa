//! The file of a private key: PKCS#8 in PEM, readable by its owner alone. In: a path. Out: a key that signs, or what is wrong
//! with the file and what to do. A key is made once and never written over; it is shown to nobody.

use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use millrace_schemas::signing::Signer;
use ring::rand::{SecureRandom as _, SystemRandom};

use super::Error;

/// 4 KiB: a key has some 120 bytes, with comments a few hundred.
const FILE_BYTES_MAX: u64 = 4_096;
const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";
/// 64 characters a line, as PEM has them.
const LINE: usize = 64;

/// Reads the key in `file`. A file that anybody but its owner can read is refused: its key may be another's by now.
pub fn read(file: &Path) -> Result<Signer, Error> {
    let told = |problem: String| Error::Key { path: file.to_owned(), problem };
    let opened = OpenOptions::new().read(true).open(file).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => told(format!("it is not there; `millrace key new {}` makes one", file.display())),
        io::ErrorKind::PermissionDenied => {
            let user = rustix::process::getuid().as_raw();
            told(format!("user {user}, who runs this, cannot read it, or its folder: chown {user} {}", file.display()))
        }
        _ => told(error.to_string()),
    })?;
    // Of the file that was opened, not of what has the name by now.
    let mode = opened.metadata().map_err(|error| told(error.to_string()))?.mode();
    if mode & 0o077 != 0 {
        let path = file.display();
        return Err(told(format!(
            "mode {:o} lets others read it: chmod 600 {path}, and make a new key if they may have",
            mode & 0o777
        )));
    }
    let mut text = String::new();
    opened.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(|error| told(error.to_string()))?;
    let document = decode(&text).ok_or_else(|| told(format!("it holds no key between {BEGIN} and {END}")))?;
    Signer::from_pkcs8(&document).map_err(|error| told(error.to_string()))
}

/// What stands before the 32 random bytes of an Ed25519 key in PKCS#8, version 1 (RFC 8410): the form that other tools read too.
const PKCS8: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// Makes a new key in `file`, which must not be there.
pub fn make(file: &Path) -> Result<Signer, Error> {
    let told = |problem: String| Error::Key { path: file.to_owned(), problem };
    let mut seed = [0; 32];
    SystemRandom::new().fill(&mut seed).map_err(|_| told("the system gives no random numbers".to_owned()))?;
    let document = [&PKCS8[..], &seed].concat();
    let signer = Signer::from_pkcs8(&document).map_err(|error| told(error.to_string()))?;
    let mut out =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => told("it is there already, and a key is never written over".to_owned()),
            _ => told(error.to_string()),
        })?;
    out.write_all(encode(&document).as_bytes())
        .and_then(|()| out.sync_all())
        .map_err(|error| told(error.to_string()))?;
    Ok(signer)
}

fn encode(document: &[u8]) -> String {
    let mut text = format!("{BEGIN}\n");
    for line in STANDARD.encode(document).as_bytes().chunks(LINE) {
        text.push_str(std::str::from_utf8(line).expect("base64 is ASCII"));
        text.push('\n');
    }
    text + END + "\n"
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let (_, rest) = text.split_once(BEGIN)?;
    let (body, _) = rest.split_once(END)?;
    STANDARD.decode(body.split_whitespace().collect::<String>()).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn it_is_made_once_for_its_owner_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("agent.key");
        assert!(read(&file).expect_err("none yet").to_string().contains("millrace key new"));
        let made = make(&file).expect("made");
        assert_eq!(fs::metadata(&file).expect("there").mode() & 0o777, 0o600);
        assert_eq!(read(&file).expect("read").public(), made.public());
        assert!(make(&file).expect_err("there").to_string().contains("never written over"));
        assert_eq!(read(&file).expect("as it was").public(), made.public());
    }

    /// Made by another tool: `openssl genpkey -algorithm ed25519`, and its public key as that one shows it.
    #[test]
    fn a_key_of_another_tool_is_the_same_key() {
        const PEM: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIIKQLQ+sHMqLM+LRR9h3NB434ze30fCi+8qKShf1BCpj\n-----END PRIVATE KEY-----\n";
        const PUBLIC: &str = "M8s3Y0+GjHSLrBAqieW5XXhqoJMb8yWsP7c975heRkI=";
        let signer = Signer::from_pkcs8(&decode(PEM).expect("PEM")).expect("a key");
        assert_eq!(signer.public().to_string(), PUBLIC);
        assert_eq!(encode(&decode(PEM).expect("PEM")), PEM);
    }

    #[test]
    fn what_others_can_read_or_is_no_key_is_refused_and_not_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("agent.key");
        make(&file).expect("made");
        for mode in [0o640, 0o604, 0o660] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("ours");
            assert!(read(&file).expect_err("too open").to_string().contains("chmod 600"), "{mode:o}");
        }
        fs::set_permissions(&file, fs::Permissions::from_mode(0o400)).expect("ours");
        read(&file).expect("its owner's alone");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("ours");
        for text in ["", "c2VjcmV0", "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"] {
            fs::write(&file, text).expect("ours");
            let error = read(&file).expect_err("no key").to_string();
            assert!(error.contains("key") && !error.contains("c2VjcmV0"), "{error}");
        }
    }
}
