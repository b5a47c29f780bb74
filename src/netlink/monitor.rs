//! Owns the socket on which the kernel tells of changes that others make: to the device, its addresses, FDB, neighbours
//! and routes. Our own changes are filtered out in the kernel, but for FDB entries, for which it does not say who made
//! them.

use std::io;

use super::decode;
use super::listen::{Listener, Only};
use super::misses::RTM_GETNEIGH;
use crate::vxlan::kernel::Event;

/// `RTNLGRP_LINK`, `_NEIGH`, `_IPV4_IFADDR`, `_IPV4_ROUTE` of linux/rtnetlink.h.
const GROUPS: [u32; 4] = [1, 3, 5, 7];
/// Room for changes that wait, in bytes: some thousands.
const BUFFER: usize = 4 << 20;

/// See the module.
pub(super) struct Monitor {
    listener: Listener,
}

impl Monitor {
    /// Opens the socket; must be called inside a runtime. `own` is the port of the socket on which we change things.
    pub(super) fn open(own: u32) -> io::Result<Self> {
        let listener = Listener::open(&GROUPS, Only::NeitherTypeNorPort(RTM_GETNEIGH, own), BUFFER)?;
        Ok(Self { listener })
    }

    /// The next change that concerns the device with this index, or any link. Cancel-safe.
    pub(super) async fn next(&mut self, device: Option<u32>) -> io::Result<Event> {
        loop {
            let Some(datagram) = self.listener.next().await? else {
                return Ok(Event::ChangesLost);
            };
            if let Some(change) = decode::change(&datagram, device) {
                return Ok(Event::Changed(change));
            }
        }
    }
}
