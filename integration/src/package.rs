//! The Debian package and the base image of nodes, made by the scripts that make them for everybody. It runs those scripts
//! and owns nothing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::command;
use crate::flanneld::{flanneld_binary, tool};
use crate::netns::words;
use crate::tools;

/// Building the image means to download a Debian; a package takes seconds.
const BUILD: Duration = Duration::from_secs(900);

/// Builds a package of the daemon under test into `dir`, as version `version`.
///
/// # Errors
/// When the daemon or the tool `pages` has not been built, or packing fails.
pub fn package(dir: &Path, version: &str) -> Result<PathBuf> {
    let pages = dir.join("pages");
    run(&[&tool("pages")?, &text(&pages)])?;
    let (script, binary) = (in_repository("systemd/debian/build.sh"), flanneld_binary()?);
    let (version, fast) = (format!("DEB_VERSION={version}"), "DEB_COMPRESSION=gzip");
    let path = run(&[
        "env",
        &version,
        fast,
        &script,
        &text(&binary),
        &text(&pages),
        &text(dir),
    ])?;
    Ok(PathBuf::from(path.trim()))
}

/// The root of nodes, built if it is not in the cache.
///
/// # Errors
/// When it cannot be built; the error holds the end of its log.
pub fn node_image() -> Result<PathBuf> {
    let path = run(&[&in_repository("integration/node-image.sh")])?;
    Ok(PathBuf::from(path.trim()))
}

/// Path of a file of this repository.
pub fn in_repository(path: &str) -> String {
    format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"))
}

fn run(argv: &[&str]) -> Result<String> {
    let printed = command::finish(&words(argv), "", BUILD)?.success()?;
    ensure!(
        !printed.contains('\n') || printed.trim_end().lines().count() == 1,
        "expected one path, got {printed:?}"
    );
    Ok(printed)
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Checks that nodes can be made here.
pub(crate) fn check() -> Result<()> {
    tools::require(&[
        "debootstrap",
        "dpkg-deb",
        "flock",
        "ps",
        "strip",
        "systemd-nspawn",
    ])
}

/// The scripts of Vagrant's machines, to be run on nodes.
///
/// # Errors
/// When it is not where it belongs.
pub fn provision_script() -> Result<PathBuf> {
    let path = PathBuf::from(in_repository("vagrant/provision.sh"));
    path.canonicalize().with_context(|| format!("no {path:?}"))
}
