//! The files of this host, apart from those below `/proc`. The only place that writes, creates or removes any. A reader
//! never finds a part of a file. It decides nothing about what files hold.
#![expect(clippy::disallowed_methods, reason = "this is the adapter for files")]

mod disk;
mod folder_watch;
mod snapshot_file;

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::libc::O_NONBLOCK;
use tempfile::NamedTempFile;
use tokio::net::UnixListener;

pub(crate) use crate::adapters::file_system::disk::Disk;
pub(crate) use crate::adapters::file_system::snapshot_file::SnapshotFile;

/// Mode of files, which other programs read.
const FILE_MODE: u32 = 0o644;
/// Mode of the control socket, which only root uses.
const SOCKET_MODE: u32 = 0o600;

/// A file could not be written or removed.
#[derive(Debug, thiserror::Error)]
#[error("failed to write or remove \"{}\": {source}{}", path.display(), remedy(source))]
pub(crate) struct FileError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Replaces the whole file, with mode 0644, and creates its directory if necessary. A file that holds the same text is not
/// touched. The new text is on disk before the name points to it, so that a crash leaves the old text or the new one. A
/// symbolic link stays a link, and a special file such as /dev/stdout is written to.
///
/// Returns whether anything was written.
///
/// # Errors
/// The directory or the file cannot be written.
pub(crate) fn replace(path: &Path, text: &str) -> Result<bool, FileError> {
    try_replace(path, text).map_err(|source| FileError {
        path: path.to_owned(),
        source: without_temporary_name(source),
    })
}

fn try_replace(path: &Path, text: &str) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => {
            // A pipe that nobody reads must not stop the daemon.
            let mut special = fs::OpenOptions::new()
                .write(true)
                .custom_flags(O_NONBLOCK)
                .open(path)?;
            special.write_all(text.as_bytes())?;
            Ok(true)
        }
        Ok(_) => replace_file(&fs::canonicalize(path)?, text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => match fs::read_link(path) {
            // The link points to what is not there yet.
            Ok(target) => try_replace(&directory_of(path).join(target), text),
            Err(_) => replace_file(path, text),
        },
        Err(_) => replace_file(path, text),
    }
}

fn replace_file(path: &Path, text: &str) -> io::Result<bool> {
    if holds(path, text).unwrap_or(false) {
        return Ok(false);
    }
    let directory = directory_of(path);
    fs::create_dir_all(directory)?;
    let mut file = NamedTempFile::new_in(directory)?;
    file.write_all(text.as_bytes())?;
    file.as_file()
        .set_permissions(fs::Permissions::from_mode(FILE_MODE))?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    // The new name is on disk only when its directory is.
    fs::File::open(directory)?.sync_all()?;
    Ok(true)
}

/// Takes the name of a temporary file out of an error: it is another one each time, and the error is the same.
fn without_temporary_name(error: io::Error) -> io::Error {
    let text = error.to_string();
    match text.split_once(" at path ") {
        Some((what, _)) => io::Error::new(error.kind(), what),
        None => error,
    }
}

/// Returns what to do about an error, after its text.
fn remedy(error: &io::Error) -> &'static str {
    let kind = error.kind();
    if kind == io::ErrorKind::StorageFull {
        "; make room on this file system: df -h and df -i show what it lacks"
    } else if kind == io::ErrorKind::ReadOnlyFilesystem {
        "; mount it for writing, or choose another place"
    } else if kind == io::ErrorKind::PermissionDenied {
        "; let the user of flanneld write to this folder"
    } else if kind == io::ErrorKind::IsADirectory {
        "; a container engine makes such a folder when it mounts a file that is not there: remove it, and mount the \
        folder around it instead"
    } else if kind == io::ErrorKind::ResourceBusy {
        "; a mount lies on this file, so it cannot be replaced: unmount it, and mount the folder around it instead"
    } else if [io::ErrorKind::NotADirectory, io::ErrorKind::AlreadyExists].contains(&kind) {
        "; a part of this path is a file: remove it, or choose another place"
    } else {
        ""
    }
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}

/// Returns whether a file holds exactly this text. It compares piece by piece, because a snapshot is large.
fn holds(path: &Path, text: &str) -> io::Result<bool> {
    let mut file = fs::File::open(path)?;
    let mut rest = text.as_bytes();
    if file.metadata()?.len() != rest.len() as u64 {
        return Ok(false);
    }
    let mut piece = [0; 16 * 1024];
    loop {
        let read = file.read(&mut piece)?;
        match rest.split_at_checked(read) {
            Some((these, after)) if read > 0 && these == &piece[..read] => rest = after,
            Some(_) | None => return Ok(read == 0 && rest.is_empty()),
        }
    }
}

/// Removes a file. Returns whether it existed.
///
/// # Errors
/// It exists and cannot be removed.
pub(crate) fn remove(path: &Path) -> Result<bool, FileError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(FileError {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Returns the text of a file, or `None` if it does not exist, cannot be read, or is a special file: a pipe would keep the
/// reader waiting.
pub(crate) fn read(path: &Path) -> Option<String> {
    let is_file = fs::metadata(path).is_ok_and(|found| found.is_file());
    is_file.then(|| try_read(path).ok().flatten()).flatten()
}

/// Returns the text of a file, or `None` if it does not exist.
///
/// # Errors
/// It exists and cannot be read, or is not UTF-8.
pub(crate) fn try_read(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Creates a socket that only root can use, and its directory if necessary. Replaces a socket that an earlier run left.
///
/// # Errors
/// The directory or the socket cannot be created.
pub(crate) fn bind_socket(path: &Path) -> io::Result<UnixListener> {
    fs::create_dir_all(directory_of(path))?;
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))?;
    Ok(listener)
}

#[cfg(test)]
mod tests;
