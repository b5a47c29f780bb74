//! Reads and writes kernel settings below `/proc/sys`, and reads the lists of UDP sockets in
//! `/proc/net`. Both are those of our network namespace.
#![expect(
    clippy::disallowed_methods,
    reason = "this adapter is the one that reads and writes /proc"
)]

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::host::udp_sockets;

/// Returns the value of a setting, `net/ipv4/ip_forward` for example; `None` if this kernel does
/// not have it.
pub(super) fn read(path: &str) -> Option<i32> {
    fs::read_to_string(full(path)).ok()?.trim().parse().ok()
}

/// Sets a setting. One that this kernel does not have, because IPv6 is off for example, needs no
/// value.
///
/// # Errors
/// The kernel refuses the value, or `/proc/sys` is read-only.
pub(super) fn write(path: &str, value: i32) -> io::Result<()> {
    match fs::write(full(path), value.to_string()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Returns the UDP ports in use for IPv4, and those in use for IPv6 that may also be in use for
/// IPv4.
pub(super) fn udp_ports() -> (Vec<u16>, Vec<u16>) {
    (
        udp_sockets::udp_ports(&text("/proc/net/udp")),
        udp_sockets::udp6_ports(&text("/proc/net/udp6")),
    )
}

/// Returns the statistics of the table of IPv4 neighbours, which only the first network namespace shows.
pub(super) fn arp_statistics() -> String {
    text("/proc/net/stat/arp_cache")
}

/// A file that is missing, because IPv6 is off for example, lists nothing.
fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn full(path: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(path)
}
