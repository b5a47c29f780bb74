//! Owns reading and writing kernel settings below `/proc/sys`, and its lists of UDP sockets: those of our network namespace.
#![expect(clippy::disallowed_methods, reason = "/proc is this adapter's outside")]

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::host::udp_sockets;

/// The value of a setting, or `None` if this kernel does not have it.
pub(super) fn read(path: &str) -> Option<i32> {
    fs::read_to_string(full(path)).ok()?.trim().parse().ok()
}

/// Sets it. A setting that this kernel does not have (IPv6 is off, say) needs no value.
pub(super) fn write(path: &str, value: i32) -> io::Result<()> {
    match fs::write(full(path), value.to_string()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// UDP ports that somebody has, for IPv4 and for IPv6.
pub(super) fn udp_ports() -> (Vec<u16>, Vec<u16>) {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    (
        udp_sockets::udp_ports(&read("/proc/net/udp")),
        udp_sockets::udp6_ports(&read("/proc/net/udp6")),
    )
}

fn full(path: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(path)
}
