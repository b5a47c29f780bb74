//! Owns the socket on which the kernel asks for addresses. It hears nothing else: a filter in the kernel drops all
//! other messages of the neighbour group, above all the echoes of our own changes, which would overrun it.

use std::io;

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket as _, AsyncSocketExt as _, SocketAddr, TokioSocket};
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{SockFilter, SockRef};

use super::decode;
use crate::vxlan::kernel::{Event, Miss};

/// `RTNLGRP_NEIGH` of linux/rtnetlink.h.
const NEIGHBOUR_GROUP: u32 = 3;
/// `RTM_GETNEIGH` of linux/rtnetlink.h.
const RTM_GETNEIGH: u16 = 30;
/// Room for questions, in bytes; the kernel takes 832 for each.
const BUFFER: usize = 8 << 20;

/// See the module.
pub(super) struct Misses {
    socket: TokioSocket,
}

impl Misses {
    /// Opens the socket; must be called inside a runtime.
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        setsockopt(socket.socket_ref(), sockopt::RcvBufForce, &BUFFER)?;
        // The filter stands before the first message can come.
        SockRef::from(socket.socket_ref()).attach_filter(&only_questions())?;
        socket.socket_mut().bind(&SocketAddr::new(0, 0))?;
        socket.socket_ref().add_membership(NEIGHBOUR_GROUP)?;
        Ok(Self { socket })
    }

    /// The next question about the device with this index.
    pub(super) async fn next(&mut self, device: Option<u32>) -> io::Result<Event> {
        loop {
            let mut buffer = Vec::with_capacity(4096);
            match self.socket.recv(&mut buffer).await {
                Ok(()) => {}
                Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => return Ok(Event::Overrun),
                Err(error) => return Err(error),
            }
            if let Some(miss) = question(&buffer, device) {
                return Ok(Event::Miss(miss));
            }
        }
    }
}

fn question(datagram: &[u8], device: Option<u32>) -> Option<Miss> {
    let (index, miss) = decode::miss(datagram)?;
    (Some(index) == device).then_some(miss)
}

/// Classic BPF on a datagram: bytes 4 and 5 are `nlmsg_type`, in the byte order of the host, which BPF loads as
/// big-endian.
fn only_questions() -> [SockFilter; 4] {
    const LOAD_HALF: u16 = 0x28;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    [
        SockFilter::new(LOAD_HALF, 0, 0, 4),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, u32::from(RTM_GETNEIGH.to_be())),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}
