//! Which files have to be written. Pure.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use crate::files::desired::DesiredFile;

/// The files that hold their desired text.
pub(crate) type UpToDateFiles = BTreeSet<PathBuf>;

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FileOp {
    /// Replace the whole file.
    Write(DesiredFile),
}

impl fmt::Display for FileOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write(file) => write!(f, "write {}", file.path.display()),
        }
    }
}

/// Returns the operations that lead from `observed` to `desired`, in the order of `desired`.
pub(crate) fn plan(desired: &[DesiredFile], observed: &UpToDateFiles) -> Vec<FileOp> {
    let outdated = desired.iter().filter(|file| !observed.contains(&file.path));
    outdated.cloned().map(FileOp::Write).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(observed: &[&str], expected: &[&str]) {
        let desired = ["/run/docker_opts.env", "/run/subnet.env"].map(|path| DesiredFile {
            path: path.into(),
            text: String::new(),
        });
        let observed = observed.iter().map(PathBuf::from).collect();
        let commands: Vec<String> = plan(&desired, &observed)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(commands, expected, "{observed:?}");
    }

    #[test]
    fn writes_only_what_differs_and_keeps_the_order() {
        check(
            &[],
            &["write /run/docker_opts.env", "write /run/subnet.env"],
        );
        check(&["/run/docker_opts.env"], &["write /run/subnet.env"]);
        check(&["/run/subnet.env"], &["write /run/docker_opts.env"]);
        check(&["/run/docker_opts.env", "/run/subnet.env"], &[]);
    }
}
