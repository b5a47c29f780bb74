//! Owns the socket on which the kernel tells of changes that others make: to the device, its addresses, FDB, neighbours
//! and routes. Our own changes are filtered out in the kernel, but for FDB entries, for which it does not say who made
//! them.

use std::io;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::adapters::netlink::decode;
use crate::adapters::netlink::listen::{Listener, Only};
use crate::adapters::netlink::misses::RTM_GETNEIGH;
use crate::overlay::port::Event;

/// `RTNLGRP_LINK`, `_NEIGH`, `_IPV4_IFADDR`, `_IPV4_ROUTE` of linux/rtnetlink.h.
const GROUPS: [u32; 4] = [1, 3, 5, 7];
/// `AF_BRIDGE` of linux/socket.h, the family of FDB entries.
const AF_BRIDGE: u8 = 7;
/// Work that is done in many pieces is over when none came for this long.
const QUIET: Duration = Duration::from_secs(1);
/// Room for changes that wait, in bytes: some thousands.
const BUFFER: usize = 4 << 20;

/// See the module.
pub(super) struct Monitor {
    listener: Listener,
    own: u32,
    /// When to say that changes went unheard, if they did.
    confess_at: Option<Instant>,
}

impl Monitor {
    /// Opens the socket; must be called inside a runtime. `own` is the port of the socket on which we change things.
    pub(super) fn open(own: u32) -> io::Result<Self> {
        let listener =
            Listener::open(&GROUPS, Only::NeitherTypeNorPort(RTM_GETNEIGH, own), BUFFER)?;
        Ok(Self {
            listener,
            own,
            confess_at: None,
        })
    }

    /// Does something while no change of an FDB entry is heard: the echoes of many of our own would take as long as they
    /// themselves. What others change meanwhile is made up for by saying that changes were lost.
    pub(super) fn deaf_to_fdb<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let deaf = Only::NeitherTypeNorPortNorFamily(RTM_GETNEIGH, self.own, AF_BRIDGE);
        if self.listener.filter(deaf).is_ok() {
            self.confess_at = Some(Instant::now() + QUIET);
        }
        let done = work();
        if let Err(error) = self
            .listener
            .filter(Only::NeitherTypeNorPort(RTM_GETNEIGH, self.own))
        {
            // Then the audit has to find what others do to the FDB.
            tracing::debug!(%error, "failed to listen to the FDB again");
        }
        done
    }

    /// The next change that concerns the device with this index, or any link. Cancel-safe.
    pub(super) async fn next(&mut self, device: Option<u32>) -> io::Result<Event> {
        loop {
            // Both arms are cancel-safe: a datagram stays in its queue, a time is a time.
            let datagram = tokio::select! {
                datagram = self.listener.next() => datagram?,
                () = sleep_until(self.confess_at.unwrap_or_else(Instant::now)), if self.confess_at.is_some() => {
                    self.confess_at = None;
                    None
                }
            };
            let Some(datagram) = datagram else {
                return Ok(Event::ChangesLost);
            };
            if let Some(change) = decode::change(&datagram, device) {
                return Ok(Event::Changed(change));
            }
        }
    }
}
