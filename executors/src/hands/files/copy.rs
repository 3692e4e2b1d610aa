//! Copying a data directory. In: a folder that nobody writes to. Out: an equal folder, sharing its blocks with the first where the
//! file system can, which takes milliseconds instead of seconds.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::FilesError;

/// Copies folder `from` to `to`, which must not exist. Anything that is neither file nor folder is refused: a data directory
/// has no links, and following one would copy something else.
pub(super) fn tree(from: &Path, to: &Path) -> Result<(), FilesError> {
    DirBuilder::new().mode(0o700).create(to).map_err(FilesError::file(to, "cannot be made"))?;
    for entry in std::fs::read_dir(from).map_err(FilesError::file(from, "cannot be listed"))? {
        let entry = entry.map_err(FilesError::file(from, "cannot be listed"))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(FilesError::file(&source, "cannot be looked at"))?;
        if kind.is_dir() {
            tree(&source, &target)?;
        } else if kind.is_file() {
            file(&source, &target).map_err(FilesError::file(source, "cannot be copied"))?;
        } else {
            return Err(FilesError::Content { path: source, why: "it is neither a file nor a folder".into() });
        }
    }
    Ok(())
}

fn file(from: &Path, to: &Path) -> std::io::Result<()> {
    let source = File::open(from)?;
    let mode = source.metadata()?.permissions().mode() & 0o777;
    let mut target = File::options().write(true).create_new(true).mode(mode).open(to)?;
    if rustix::fs::ioctl_ficlone(&target, &source).is_ok() {
        return Ok(());
    }
    // Not on this file system, or across two.
    std::io::copy(&mut &source, &mut target).map(drop)
}

/// Writes everything on the file system of `dir` to disk.
pub(super) fn sync(dir: &Path) -> Result<(), FilesError> {
    let folder = File::open(dir).map_err(FilesError::file(dir, "cannot be opened"))?;
    rustix::fs::syncfs(&folder).map_err(|error| FilesError::file(dir, "cannot be synced")(error.into()))
}
