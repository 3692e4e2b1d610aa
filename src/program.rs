//! Where this program lies, for whoever starts it again: guards, roles of a demo, the shell.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use anyhow::Context as _;

/// What Linux writes behind the path of a program whose file is gone (`proc_pid_exe(5)`).
const GONE: &[u8] = b" (deleted)";

/// The path of this program. One that was replaced while it runs, by an upgrade, is found where the new one lies.
pub fn path() -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe().context("the path of this program is not known")?;
    Ok(replaced(path))
}

fn replaced(path: PathBuf) -> PathBuf {
    let before = path.as_os_str().as_bytes().strip_suffix(GONE).map(|before| PathBuf::from(OsStr::from_bytes(before)));
    match before {
        Some(before) if !path.exists() && before.exists() => before,
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_was_replaced_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("millrace");
        let gone = folder.path().join("millrace (deleted)");
        assert_eq!(replaced(gone.clone()), gone, "nothing lies there");
        std::fs::write(&path, "").expect("writable");
        assert_eq!(replaced(gone.clone()), path);
        assert_eq!(replaced(path.clone()), path);
        // Somebody may call a program so.
        std::fs::write(&gone, "").expect("writable");
        assert_eq!(replaced(gone.clone()), gone);
    }
}
