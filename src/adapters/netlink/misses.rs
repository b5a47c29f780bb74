//! Owns the sockets on which the kernel asks for addresses: one for L3, one for L2. They hear nothing else, above all not
//! the echoes of our own changes, which would overrun them.
//!
//! Two, because a flood of packets to an unknown Ethernet address makes a question for each packet, 100,000 in a second:
//! it must not stand before the questions for IP addresses, which come once a second each and hold packets that wait.
//! Of such a flood only a sample is heard; the packets after those that were dropped ask again.

use std::io;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::adapters::netlink::decode;
use crate::adapters::netlink::listen::{Listener, Only};
use crate::overlay::port::{Event, Miss};

/// `RTNLGRP_NEIGH` of linux/rtnetlink.h.
const NEIGHBOUR_GROUP: u32 = 3;
/// `RTM_GETNEIGH` of linux/rtnetlink.h.
pub(super) const RTM_GETNEIGH: u16 = 30;
/// Flags of questions of the neighbour table (`neigh_app_ns`): `NLM_F_REQUEST`.
const ASKED_BY_NEIGHBOURS: u16 = 1;
/// Flags of questions of the vxlan driver (`vxlan_fdb_notify`): none.
const ASKED_BY_VXLAN: u16 = 0;
/// Room for questions of the neighbour table, in bytes: 10,000 of them.
const L3_BUFFER: usize = 8 << 20;
/// Room for questions of the driver: a sample.
const L2_BUFFER: usize = 64 << 10;
/// Questions of the driver that are heard in one slice of time.
const L2_SAMPLE: u32 = 32;
/// A slice of time.
const SLICE: Duration = Duration::from_millis(10);

/// See the module.
pub(super) struct Misses {
    l3: Listener,
    l2: Listener,
    /// Questions of the driver heard in this slice, and its end.
    heard: u32,
    slice_end: Instant,
}

impl Misses {
    /// Opens the sockets; must be called inside a runtime.
    pub(super) fn open() -> io::Result<Self> {
        let listen = |flags, buffer| {
            Listener::open(
                &[NEIGHBOUR_GROUP],
                Only::TypeAndFlags(RTM_GETNEIGH, flags),
                buffer,
            )
        };
        let l3 = listen(ASKED_BY_NEIGHBOURS, L3_BUFFER)?;
        let l2 = listen(ASKED_BY_VXLAN, L2_BUFFER)?;
        Ok(Self {
            l3,
            l2,
            heard: 0,
            slice_end: Instant::now() + SLICE,
        })
    }

    /// The next question about the device with this index. Cancel-safe.
    pub(super) async fn next(&mut self, device: Option<u32>) -> io::Result<Event> {
        let Self {
            l3,
            l2,
            heard,
            slice_end,
        } = self;
        loop {
            // Both arms are cancel-safe; L3 goes first, packets wait for it.
            let datagram = tokio::select! {
                biased;
                datagram = l3.next() => match datagram? {
                    Some(datagram) => datagram,
                    None => return Ok(Event::MissesLost),
                },
                datagram = sample(l2, heard, slice_end) => match datagram? {
                    Some(datagram) => datagram,
                    None => continue,
                },
            };
            if let Some(miss) = question(&datagram, device) {
                return Ok(Event::Miss(miss));
            }
        }
    }
}

/// The next question of the driver, at most [`L2_SAMPLE`] in a slice of time.
async fn sample(
    l2: &mut Listener,
    heard: &mut u32,
    slice_end: &mut Instant,
) -> io::Result<Option<Vec<u8>>> {
    if *heard >= L2_SAMPLE {
        sleep_until(*slice_end).await;
    }
    let datagram = l2.next().await;
    let now = Instant::now();
    if now >= *slice_end {
        *heard = 0;
        *slice_end = now + SLICE;
    }
    *heard += 1;
    datagram
}

fn question(datagram: &[u8], device: Option<u32>) -> Option<Miss> {
    let (index, miss) = decode::miss(datagram)?;
    (Some(index) == device).then_some(miss)
}
