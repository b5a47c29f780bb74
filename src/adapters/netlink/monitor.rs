//! The socket on which the kernel announces changes by other programs: of the device, its
//! addresses, FDB, neighbours, routes, rules and forwarding. The kernel filters out what we change ourselves, except
//! FDB entries, for which it does not say who made them.

use std::io;
use std::time::Duration;

use nix::libc::{
    RTM_GETNEIGH, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_NETCONF, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV4_RULE,
    RTNLGRP_LINK, RTNLGRP_NEIGH,
};
use tokio::time::{Instant, sleep_until};

use crate::adapters::netlink::decode;
use crate::adapters::netlink::listen::{Filter, Listener};
use crate::overlay::port::KernelEvent;

const GROUPS: [u32; 6] = [
    RTNLGRP_LINK,
    RTNLGRP_NEIGH,
    RTNLGRP_IPV4_IFADDR,
    RTNLGRP_IPV4_ROUTE,
    RTNLGRP_IPV4_RULE,
    RTNLGRP_IPV4_NETCONF,
];
/// Family of FDB entries (linux/socket.h).
const AF_BRIDGE: u8 = 7;
/// How long after the last muted batch the loss is reported: one report for work in many batches.
const LOST_REPORT_DELAY: Duration = Duration::from_secs(1);
/// Receive buffer, in bytes: some thousands of changes fit.
const BUFFER_BYTES: usize = 4 << 20;

/// The changes that other programs make.
pub(super) struct Monitor {
    listener: Listener,
    own_port: u32,
    /// When to report that FDB changes were not received, if any may have been missed.
    report_lost_at: Option<Instant>,
}

impl Monitor {
    /// Opens the socket; must be called inside a tokio runtime. `own_port` is the port of the
    /// socket on which we change the kernel.
    ///
    /// # Errors
    /// `CAP_NET_ADMIN` is missing, or the process has no file descriptors left.
    pub(super) fn open(own_port: u32) -> io::Result<Self> {
        Ok(Self {
            listener: Listener::open(&GROUPS, by_others(own_port, None), BUFFER_BYTES)?,
            own_port,
            report_lost_at: None,
        })
    }

    /// Runs `work` while no event of an FDB entry is received: to read the events of many entries
    /// of our own takes as long as to make them. What others change meanwhile is covered by a
    /// report that changes were lost.
    pub(super) fn with_fdb_events_muted<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let muted = by_others(self.own_port, Some(AF_BRIDGE));
        if self.listener.set_filter(muted).is_ok() {
            self.report_lost_at = Some(Instant::now() + LOST_REPORT_DELAY);
        }
        let done = work();
        if let Err(error) = self.listener.set_filter(by_others(self.own_port, None)) {
            // The audit finds later what others do to the FDB.
            tracing::debug!(%error, "failed to receive FDB events again");
        }
        done
    }

    /// Waits for the next change of any link or of the device with this index, or the news that
    /// changes were lost. Cancel-safe.
    ///
    /// # Errors
    /// The socket is broken.
    pub(super) async fn next(&mut self, device: Option<u32>) -> io::Result<KernelEvent> {
        loop {
            let is_due = sleep_until(self.report_lost_at.unwrap_or_else(Instant::now));
            // Both arms are cancel-safe: a datagram stays in the socket, a point in time stays the
            // same.
            let datagram = tokio::select! {
                datagram = self.listener.next() => datagram?,
                () = is_due, if self.report_lost_at.is_some() => {
                    self.report_lost_at = None;
                    None
                }
            };
            let Some(datagram) = datagram else {
                return Ok(KernelEvent::ChangesLost);
            };
            if let Some(change) = decode::change(&datagram, device) {
                return Ok(KernelEvent::Changed(change));
            }
        }
    }
}

/// Passes changes by other programs, but not the questions for addresses that the group of
/// neighbours has too.
fn by_others(own_port: u32, muted_family: Option<u8>) -> Filter {
    Filter::Except {
        kind: RTM_GETNEIGH,
        port: own_port,
        family: muted_family,
    }
}
