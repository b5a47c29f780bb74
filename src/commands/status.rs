//! Asks the daemon on this host for its state and shows the answer: `flanneld status`. Where no daemon answers, it names the
//! lines of drop-ins that keep the unit from starting.

mod drop_ins;

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

use crate::adapters::file_system;
use crate::cli::StatusOptions;
use crate::commands::status::drop_ins::{DropIn, bad_lines};
use crate::conditions::report::Report;
use crate::daemon::settings::socket_path;

/// Where drop-ins of the unit lie. A file hides those of the same name in the folders after it.
const DROP_IN_FOLDERS: [&str; 5] = [
    "/etc/systemd/system/flanneld.service.d",
    "/run/systemd/system/flanneld.service.d",
    "/usr/local/lib/systemd/system/flanneld.service.d",
    "/usr/lib/systemd/system/flanneld.service.d",
    "/lib/systemd/system/flanneld.service.d",
];
/// How long the daemon may take to answer. It answers from memory.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Returns the daemon's answer, as text or as JSON.
///
/// # Errors
/// No daemon answers on the socket, or its answer is not the one of this version.
pub fn run(options: &StatusOptions) -> anyhow::Result<String> {
    let answer = ask(&socket_path(&options.subnet_file), ANSWER_TIMEOUT).map_err(|error| {
        let folders = DROP_IN_FOLDERS.map(Path::new);
        let bad = bad_lines(&drop_ins(&folders), |path| Path::new(path).exists());
        with_bad_lines(error, &bad)
    })?;
    if options.json {
        return Ok(answer);
    }
    let report: Report = serde_json::from_str(&answer)
        .context("the daemon and this command are different versions: use --json")?;
    Ok(report.to_string())
}

fn ask(socket: &Path, timeout: Duration) -> anyhow::Result<String> {
    let path = socket.display();
    let mut stream = UnixStream::connect(socket).with_context(|| {
        format!(
            "no flanneld answers on \"{path}\": check that it runs, that you are root, and that --subnet-file is the \
             daemon's"
        )
    })?;
    stream.set_read_timeout(Some(timeout))?;
    let mut answer = String::new();
    match stream.read_to_string(&mut answer) {
        Ok(_) => Ok(answer),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            anyhow::bail!(
                "flanneld on \"{path}\" has not answered within {} s: it is stopped by a signal (SIGSTOP), or the host \
                 is too busy; see `systemctl status flanneld`",
                timeout.as_secs()
            )
        }
        Err(error) => Err(error).with_context(|| format!("failed to read from \"{path}\"")),
    }
}

/// Reads the drop-ins of the unit, in the order in which systemd does: by file name.
fn drop_ins(folders: &[&Path]) -> Vec<DropIn> {
    let mut by_name = BTreeMap::new();
    for folder in folders {
        let files = folder.read_dir().into_iter().flatten().flatten();
        for path in files.map(|file| file.path()) {
            if let Some(name) = path.file_name()
                && path
                    .extension()
                    .is_some_and(|extension| extension == "conf")
            {
                by_name.entry(name.to_owned()).or_insert(path);
            }
        }
    }
    let drop_ins = by_name.into_values().filter_map(|path| {
        let text = file_system::read(&path)?;
        let path = path.display().to_string();
        Some(DropIn { path, text })
    });
    drop_ins.collect()
}

/// Each stands in a line of its own: the package looks for them.
fn with_bad_lines(error: anyhow::Error, bad: &[String]) -> anyhow::Error {
    if bad.is_empty() {
        return error;
    }
    anyhow::anyhow!("{error:#}\n{}", bad.join("\n"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// The kernel accepts the connection for a daemon that stands still.
    #[test]
    fn a_daemon_that_does_not_answer_is_named() {
        let home = tempfile::tempdir().expect("a directory for a test");
        let path = home.path().join("flanneld.sock");
        let _frozen = UnixListener::bind(&path).expect("a socket");
        let error = ask(&path, Duration::from_millis(1)).expect_err("nobody answers");
        let text = format!("{error:#}");
        assert!(text.contains("has not answered within"), "{text}");
        assert!(!text.contains("os error"), "{text}");
    }

    #[test]
    fn drop_ins_are_read_by_name_and_the_first_folder_hides_the_others() {
        let home = tempfile::tempdir().expect("a directory for a test");
        let (etc, lib) = (home.path().join("etc"), home.path().join("lib"));
        for (folder, name) in [
            (&etc, "20.conf"),
            (&lib, "20.conf"),
            (&lib, "10.conf"),
            (&lib, "30.txt"),
        ] {
            file_system::replace(&folder.join(name), "[Service]\n").expect("a file");
        }
        let missing = home.path().join("missing");
        let read = drop_ins(&[&etc, &missing, &lib]);
        let paths: Vec<&str> = read.iter().map(|drop_in| drop_in.path.as_str()).collect();
        let expected = [lib.join("10.conf"), etc.join("20.conf")];
        let expected: Vec<_> = expected
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        assert_eq!(paths, expected);
        assert!(read.iter().all(|drop_in| drop_in.text == "[Service]\n"));
    }

    #[test]
    fn bad_lines_follow_the_error_each_in_a_line_of_its_own() {
        let error = || anyhow::anyhow!("no flanneld answers");
        let bad = ["one".to_owned(), "two".to_owned()];
        let text = format!("{:#}", with_bad_lines(error(), &bad));
        assert_eq!(text, "no flanneld answers\none\ntwo");
        assert_eq!(
            format!("{:#}", with_bad_lines(error(), &[])),
            "no flanneld answers"
        );
    }
}
