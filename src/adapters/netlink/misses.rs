//! The sockets on which the kernel asks for addresses: one for L3 misses (no neighbour), one for L2
//! misses (no FDB entry). They receive nothing else: events of our own changes would overrun them.
//!
//! They are two because a flood of packets to an unknown Ethernet address causes an L2 miss for each
//! packet, 100,000 a second. These must not delay L3 misses, which come once a second for each
//! address, each with a packet that waits. L2 misses are sampled: the next packet repeats one that
//! was dropped.

use std::io;
use std::time::Duration;

use nix::libc::{RTM_GETNEIGH, RTNLGRP_NEIGH};
use tokio::time::{Instant, sleep_until};

use crate::adapters::netlink::decode;
use crate::adapters::netlink::listen::{Filter, Listener};
use crate::overlay::port::{KernelEvent, Miss};

/// Header flags of an L3 miss: `NLM_F_REQUEST` (`neigh_app_ns`, net/core/neighbour.c).
const L3_MISS_FLAGS: u16 = 1;
/// Header flags of an L2 miss: none (`vxlan_fdb_notify`, drivers/net/vxlan/vxlan_core.c).
const L2_MISS_FLAGS: u16 = 0;
/// Receive buffer for L3 misses, in bytes. The kernel doubles it (socket(7)): about 20,000 fit.
const L3_BUFFER_BYTES: usize = 8 << 20;
/// Receive buffer for L2 misses, in bytes. The kernel doubles it: about 150 fit.
const L2_BUFFER_BYTES: usize = 64 << 10;
/// L2 misses that are received in one interval.
const MAX_L2_MISSES_PER_INTERVAL: u32 = 32;
/// The interval for which L2 misses are counted.
const L2_INTERVAL: Duration = Duration::from_millis(10);

/// The kernel's questions for addresses.
pub(super) struct Misses {
    l3: Listener,
    l2: L2Sample,
}

/// Receives a limited number of L2 misses in each interval.
struct L2Sample {
    listener: Listener,
    /// L2 misses received in this interval.
    received: u32,
    interval_end: Instant,
}

impl Misses {
    /// Opens the sockets; must be called inside a tokio runtime.
    ///
    /// # Errors
    /// `CAP_NET_ADMIN` is missing, or the process has no file descriptors left.
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self {
            l3: open(L3_MISS_FLAGS, L3_BUFFER_BYTES)?,
            l2: L2Sample {
                listener: open(L2_MISS_FLAGS, L2_BUFFER_BYTES)?,
                received: 0,
                interval_end: Instant::now() + L2_INTERVAL,
            },
        })
    }

    /// Waits for the next miss on the device with this index, or the news that L3 misses were lost.
    /// Cancel-safe.
    ///
    /// # Errors
    /// A socket is broken.
    pub(super) async fn next(&mut self, device: Option<u32>) -> io::Result<KernelEvent> {
        loop {
            // Both arms are cancel-safe. L3 goes first, because packets wait for the answer.
            let datagram = tokio::select! {
                biased;
                datagram = self.l3.next() => match datagram? {
                    Some(datagram) => datagram,
                    None => return Ok(KernelEvent::MissesLost),
                },
                datagram = self.l2.next() => match datagram? {
                    Some(datagram) => datagram,
                    // The next packet asks again.
                    None => continue,
                },
            };
            if let Some(miss) = miss_on(&datagram, device) {
                return Ok(KernelEvent::Miss(miss));
            }
        }
    }
}

impl L2Sample {
    /// Waits for the next L2 miss; `None` if some were lost. Cancel-safe: counts only what it
    /// returns.
    async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        if self.received >= MAX_L2_MISSES_PER_INTERVAL {
            sleep_until(self.interval_end).await;
        }
        let datagram = self.listener.next().await;
        let now = Instant::now();
        if now >= self.interval_end {
            self.received = 0;
            self.interval_end = now + L2_INTERVAL;
        }
        self.received += 1;
        datagram
    }
}

fn open(flags: u16, buffer: usize) -> io::Result<Listener> {
    let filter = Filter::Only {
        kind: RTM_GETNEIGH,
        flags,
    };
    Listener::open(&[RTNLGRP_NEIGH], filter, buffer)
}

fn miss_on(datagram: &[u8], device: Option<u32>) -> Option<Miss> {
    let (index, miss) = decode::miss(datagram)?;
    (Some(index) == device).then_some(miss)
}
