//! Carries out operations: sends those of rtnetlink in batches, and writes settings in between, so
//! that the order stays.

use std::io;

use nix::libc;

use crate::adapters::netlink::encode::{self, Request};
use crate::adapters::netlink::{Netlink, index_of, sysctl};
use crate::overlay::plan::Op;
use crate::overlay::port::OpError;

/// FDB changes in one batch of which we receive the events. The kernel does not say that these are
/// our own, and to read those of a larger batch takes too long.
const MAX_FDB_CHANGES_UNMUTED: usize = 64;
/// Answers to a request that removes something: it does not exist any more.
const GONE: [i32; 4] = [libc::ENOENT, libc::ESRCH, libc::EADDRNOTAVAIL, libc::ENODEV];

impl Netlink {
    /// Carries out the operations in their order. Returns those that failed.
    pub(super) fn apply_operations(&mut self, device: &str, ops: &[Op]) -> Vec<OpError> {
        let mut execution = Execution {
            netlink: self,
            device,
            unsent: Vec::new(),
            failures: Vec::new(),
        };
        for op in ops {
            execution.add(op);
        }
        execution.send();
        execution.failures
    }

    fn execute(&mut self, requests: Vec<Request>, fdb_changes: usize) -> Vec<io::Result<()>> {
        let Self { bulk, monitor, .. } = self;
        if fdb_changes > MAX_FDB_CHANGES_UNMUTED {
            monitor.with_fdb_events_muted(|| bulk.execute(requests))
        } else {
            bulk.execute(requests)
        }
    }
}

struct Execution<'a> {
    netlink: &'a mut Netlink,
    device: &'a str,
    /// Operations that wait until they are sent together.
    unsent: Vec<&'a Op>,
    failures: Vec<OpError>,
}

impl<'a> Execution<'a> {
    fn add(&mut self, op: &'a Op) {
        match op {
            Op::SetSysctl(setting, value) => {
                self.send();
                let written = sysctl::write(&setting.path(self.device), *value);
                self.note(op, written);
            }
            Op::SetTxChecksum(on) => {
                self.send();
                let set = self.netlink.ethtool.set_tx_checksum(self.device, *on);
                self.note(op, set);
            }
            Op::CreateDevice(_) | Op::DeleteDevice => {
                self.unsent.push(op);
                self.send();
                // The operations that follow need the new index.
                self.netlink.device = index_of(self.device);
            }
            Op::SetParent(_)
            | Op::SetLocal(_)
            | Op::SetMac(_)
            | Op::SetMtu(_)
            | Op::SetAlias(_)
            | Op::SetUp
            | Op::AddAddress(_)
            | Op::DelAddress(_)
            | Op::PutFdb(..)
            | Op::DelFdb(..)
            | Op::PutNeighbour(..)
            | Op::TestNeighbour(..)
            | Op::DelNeighbour(_)
            | Op::AddRoute(..)
            | Op::PutRoute(..)
            | Op::DelRoute(..)
            | Op::DelForeignRoute(_)
            | Op::DeleteOldDevice(_) => self.unsent.push(op),
        }
    }

    /// Sends the operations that wait, and notes those that fail.
    fn send(&mut self) {
        if self.unsent.is_empty() {
            return;
        }
        // If another program has made the device again, its index is another one: the operations
        // fail, and the next observation finds the new index.
        let index = self.netlink.device.or_else(|| index_of(self.device));
        let unsent = std::mem::take(&mut self.unsent);
        let mut sent = Vec::with_capacity(unsent.len());
        let mut requests = Vec::with_capacity(unsent.len());
        for op in unsent {
            match request(op, index) {
                Ok(Some(request)) => {
                    sent.push(op);
                    requests.push(request);
                }
                Ok(None) => {}
                Err(error) => self.note(op, Err(error)),
            }
        }
        let fdb_changes = sent.iter().filter(|op| changes_fdb(op)).count();
        let results = self.netlink.execute(requests, fdb_changes);
        for (op, result) in sent.into_iter().zip(results) {
            self.note(op, done_or_failed(op, result));
        }
    }

    fn note(&mut self, op: &Op, result: io::Result<()>) {
        if let Err(source) = result {
            self.failures.push(OpError {
                command: op.command(self.device).to_string(),
                source,
            });
        }
    }
}

/// What the kernel means when it refuses to bring a vxlan device up.
const PORT_IS_TAKEN: &str = "another program uses the VXLAN UDP port: find it with ss -ulnp, or set Backend.Port for the \
                             whole network";

/// Builds the request of an operation on the device with this index; `None` if the operation
/// removes something from a device that does not exist.
fn request(op: &Op, index: Option<u32>) -> io::Result<Option<Request>> {
    let no_device = || io::Error::from_raw_os_error(libc::ENODEV);
    if let Some(other) = other_interface(op) {
        // What is on an interface that is gone is gone too.
        let other = other.map_or(Some(0), index_of);
        return Ok(other.and_then(|other| encode::request(op, 0, other)));
    }
    let parent = match parent_of(op) {
        Some(name) => index_of(name).ok_or_else(no_device)?,
        None => 0,
    };
    match index {
        _ if matches!(op, Op::CreateDevice(_)) => Ok(encode::request(op, 0, parent)),
        Some(index) => Ok(encode::request(op, index, parent)),
        None if op.removes() => Ok(None),
        None => Err(no_device()),
    }
}

/// Returns the name of the parent that an operation gives to the device.
fn parent_of(op: &Op) -> Option<&str> {
    if let Op::CreateDevice(spec) = op {
        return Some(&spec.parent);
    }
    if let Op::SetParent(parent) = op {
        return Some(parent);
    }
    None
}

/// Returns the interface of an operation that is not about our device: `Some(None)` if it needs none.
fn other_interface(op: &Op) -> Option<Option<&str>> {
    if let Op::DelForeignRoute(route) = op {
        Some(route.device.as_deref())
    } else if let Op::DeleteOldDevice(name) = op {
        Some(Some(name))
    } else {
        None
    }
}

fn changes_fdb(op: &Op) -> bool {
    matches!(op, Op::PutFdb(..) | Op::DelFdb(..))
}

/// Counts an operation as done if what it adds exists already, or what it removes is gone already.
fn done_or_failed(op: &Op, result: io::Result<()>) -> io::Result<()> {
    let code = result.as_ref().err().and_then(io::Error::raw_os_error);
    let is_gone = op.removes() && code.is_some_and(|code| GONE.contains(&code));
    let exists = matches!(op, Op::AddAddress(_)) && code == Some(libc::EEXIST);
    if is_gone || exists {
        return Ok(());
    }
    if matches!(op, Op::SetUp) && code == Some(libc::EADDRINUSE) {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, PORT_IS_TAKEN));
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::addr::MacAddr;
    use std::net::Ipv4Addr;

    const IP: Ipv4Addr = Ipv4Addr::new(10, 5, 40, 0);

    fn address() -> Op {
        Op::AddAddress("10.5.99.0/32".parse().expect("an address in a test"))
    }

    fn fails(op: &Op, code: i32) -> bool {
        done_or_failed(op, Err(io::Error::from_raw_os_error(code))).is_err()
    }

    #[test]
    fn removing_what_is_gone_already_is_no_failure() {
        for code in GONE {
            assert!(!fails(&Op::DelNeighbour(IP), code), "{code}");
            assert!(fails(&Op::PutNeighbour(IP, MacAddr([2; 6])), code));
        }
        assert!(fails(&Op::DelNeighbour(IP), libc::EPERM));
    }

    #[test]
    fn only_an_address_may_exist_already() {
        assert!(!fails(&address(), libc::EEXIST));
        assert!(fails(&Op::PutNeighbour(IP, MacAddr([2; 6])), libc::EEXIST));
        assert!(done_or_failed(&address(), Ok(())).is_ok());
    }

    #[test]
    fn without_a_device_nothing_is_left_to_remove_and_nothing_can_be_added() {
        assert_eq!(request(&Op::DelNeighbour(IP), None).ok(), Some(None));
        assert_eq!(request(&Op::DeleteDevice, None).ok(), Some(None));
        let error = request(&address(), None).expect_err("no device");
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
    }
}
