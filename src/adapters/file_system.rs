//! Owns writing a file so that nobody ever sees half of it. The only place that writes files.
#![expect(clippy::disallowed_methods, reason = "this is the adapter for files")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::files::port::Files;

/// A file that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("failed to write or remove \"{}\"", path.display())]
pub struct Error {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// The disk of this host.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    /// What was written to pipes and devices: they cannot be read back.
    special: BTreeMap<PathBuf, String>,
}

impl Files for Disk {
    fn holds(&self, path: &Path, text: &str) -> bool {
        match fs::metadata(path) {
            Ok(found) if !found.is_file() => {
                self.special.get(path).map(String::as_str) == Some(text)
            }
            Ok(_) => says(path, text).unwrap_or(false),
            Err(_) => false,
        }
    }

    fn replace(&mut self, path: &Path, text: &str) -> Result<(), String> {
        replace(path, text).map_err(|error| crate::error::chain(&error))?;
        if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            self.special.insert(path.to_owned(), text.to_owned());
        }
        Ok(())
    }
}

/// Puts `text` into the file `path`, mode 0644, making its directory if need be. A file that says the same already is
/// not touched. The new text is on disk before the name points to it, so that a crash leaves old or new. A link stays what
/// it is, and so does what is no file, such as /dev/stdout: it is written to.
///
/// Returns whether anything was written.
///
/// # Errors
/// The directory or the file cannot be written.
pub fn replace(path: &Path, text: &str) -> Result<bool, Error> {
    try_replace(path, text).map_err(|source| Error {
        path: path.to_owned(),
        source,
    })
}

fn try_replace(path: &Path, text: &str) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => {
            fs::OpenOptions::new()
                .write(true)
                .open(path)?
                .write_all(text.as_bytes())?;
            Ok(true)
        }
        Ok(_) => replace_file(&fs::canonicalize(path)?, text),
        Err(_) => replace_file(path, text),
    }
}

fn replace_file(path: &Path, text: &str) -> io::Result<bool> {
    if says(path, text).unwrap_or(false) {
        return Ok(false);
    }
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    fs::create_dir_all(directory)?;
    let mut file = NamedTempFile::new_in(directory)?;
    file.write_all(text.as_bytes())?;
    file.as_file()
        .set_permissions(fs::Permissions::from_mode(0o644))?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    fs::File::open(directory)?.sync_all()?;
    Ok(true)
}

/// Whether a file holds just this text. Compared piece by piece: it may be large.
fn says(path: &Path, text: &str) -> io::Result<bool> {
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

/// Removes a file; answers whether it was there.
///
/// # Errors
/// It is there and cannot be removed.
pub fn remove(path: &Path) -> Result<bool, Error> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(Error {
            path: path.to_owned(),
            source,
        }),
    }
}

/// The text of a file that another run may have written, if there is any that can be read.
pub fn read(path: &Path) -> Option<String> {
    try_read(path).ok().flatten()
}

/// Like [`read`], for those who have to say that a file cannot be used.
///
/// # Errors
/// It is there and cannot be read, or is no text.
pub fn try_read(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_the_directory_and_replaces_only_what_differs() {
        let home = tempfile::tempdir().expect("a directory for a test");
        let path = home.path().join("flannel/subnet.env");
        assert_eq!(replace(&path, "A=1\n").ok(), Some(true));
        assert_eq!(replace(&path, "A=1\n").ok(), Some(false));
        assert_eq!(replace(&path, "A=2\n").ok(), Some(true));
        assert_eq!(read(&path).as_deref(), Some("A=2\n"));
        let mode = fs::metadata(&path).expect("the file").permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
        assert_eq!(
            fs::read_dir(path.parent().expect("a parent"))
                .expect("the directory")
                .count(),
            1
        );
    }

    #[test]
    fn a_link_and_what_is_no_file_stay_what_they_are() {
        let home = tempfile::tempdir().expect("a directory for a test");
        let (file, link, pipe) = (
            home.path().join("file"),
            home.path().join("link"),
            home.path().join("pipe"),
        );
        fs::write(&file, "old").expect("a file");
        std::os::unix::fs::symlink(&file, &link).expect("a link");
        assert_eq!(replace(&link, "A=1\n").ok(), Some(true));
        assert!(link.is_symlink() && read(&file).as_deref() == Some("A=1\n"));

        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::read_to_string(pipe)
        });
        assert_eq!(replace(&pipe, "A=1\n").ok(), Some(true));
        assert_eq!(reader.join().expect("a reader").expect("text"), "A=1\n");
        assert!(!pipe.is_file());
    }

    #[test]
    fn tells_a_file_that_is_not_there_from_one_that_cannot_be_read() {
        let home = tempfile::tempdir().expect("a directory for a test");
        let path = home.path().join("state");
        assert!(matches!(try_read(&path), Ok(None)));
        fs::write(&path, b"\xff").expect("a file in a directory of ours");
        let error = try_read(&path).expect_err("it is no text");
        assert!(error.to_string().contains("valid UTF-8"), "{error}");
        assert!(try_read(home.path()).is_err(), "a directory");
    }

    #[test]
    fn says_which_file_it_could_not_write() {
        let error =
            replace(Path::new("/proc/none/subnet.env"), "").expect_err("/proc cannot be written");
        assert!(
            error.to_string().contains("/proc/none/subnet.env"),
            "{error}"
        );
    }
}
