//! What the machine must offer before a lab can be made. It looks and reports; `setup.sh` installs.

use std::env;

use anyhow::{Result, ensure};

/// Programs that the lab starts. `setup.sh` holds the packages they come from.
const PROGRAMS: [&str; 17] = [
    "bridge",
    "etcd",
    "etcdctl",
    "ethtool",
    "haproxy",
    "hostname",
    "ip",
    "iptables-save",
    "mount",
    "nft",
    "nginx",
    "nsenter",
    "openssl",
    "ping",
    "setpriv",
    "unshare",
    "wrk",
];

/// Checks that the lab can work here.
///
/// # Errors
/// When we are not root, or a program is missing; the error names each one.
pub fn check() -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "the lab makes namespaces and needs root"
    );
    require(&PROGRAMS)
}

/// Checks that all these programs are there.
pub(crate) fn require(programs: &[&str]) -> Result<()> {
    let missing: Vec<&str> = programs
        .iter()
        .copied()
        .filter(|name| !found(name))
        .collect();
    ensure!(
        missing.is_empty(),
        "the lab needs programs that are not installed: {}; run integration/setup.sh",
        missing.join(" ")
    );
    Ok(())
}

fn found(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|dir| dir.join(name).is_file())
}
