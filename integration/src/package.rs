//! The Debian package and the base image of nodes, made by the scripts that make them for everybody. It runs those scripts
//! and owns nothing.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::command;
use crate::flanneld::{flanneld_binary, tool};
use crate::netns::words;
use crate::tools;

/// Building the image means to download a Debian; a package takes seconds.
const BUILD: Duration = Duration::from_secs(900);

/// A suite of Debian, which decides the versions of systemd, nftables and Docker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// Debian 12: Docker 20.10, systemd 252, nft 1.0.6.
    Bookworm,
    /// Debian 13: Docker 26.1, systemd 257, nft 1.1.
    Trixie,
    /// What is new: Docker 28 or newer.
    Sid,
}

impl Suite {
    /// All suites that nodes are tried with.
    pub const ALL: [Self; 3] = [Self::Bookworm, Self::Trixie, Self::Sid];
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
            Self::Sid => "sid",
        })
    }
}

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

/// The root of nodes of a suite, built if it is not in the cache.
///
/// # Errors
/// When it cannot be built; the error holds the end of its log.
pub fn node_image(suite: Suite) -> Result<PathBuf> {
    let path = run(&[
        &in_repository("integration/node-image.sh"),
        &suite.to_string(),
    ])?;
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
