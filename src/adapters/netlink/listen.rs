//! Owns a socket on which the kernel speaks: groups to hear, a filter that runs in the kernel, room for what waits.

use std::io;

use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use netlink_sys::{AsyncSocket as _, AsyncSocketExt as _, SocketAddr, TokioSocket};
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{SockFilter, SockRef};

/// Offset of `nlmsg_type` in a message (linux/netlink.h).
const TYPE: u32 = 4;
/// Offset of `nlmsg_flags`.
const FLAGS: u32 = 6;
/// Offset of the first byte behind the header, which is the family in all messages of routing netlink.
const FAMILY: u32 = 16;
/// Offset of `nlmsg_pid`: the socket whose request caused the message, where the kernel says it.
const PORT: u32 = 12;

/// A condition on a message, checked in the kernel. BPF loads numbers as big-endian; the header is in the host's order.
#[derive(Debug, Clone, Copy)]
pub(super) enum Only {
    /// Messages of this type, with these flags.
    TypeAndFlags(u16, u16),
    /// Messages of any type but this, which no request of this port has caused.
    NeitherTypeNorPort(u16, u32),
    /// The same, and not of this address family either.
    NeitherTypeNorPortNorFamily(u16, u32, u8),
}

impl Only {
    fn program(self) -> Vec<SockFilter> {
        const LOAD_HALF: u16 = 0x28;
        const LOAD_WORD: u16 = 0x20;
        const LOAD_BYTE: u16 = 0x30;
        const JUMP_IF_EQUAL: u16 = 0x15;
        const RETURN: u16 = 0x06;
        let load_half = |offset| SockFilter::new(LOAD_HALF, 0, 0, offset);
        let half =
            |value: u16, yes, no| SockFilter::new(JUMP_IF_EQUAL, yes, no, u32::from(value.to_be()));
        let ret = |length| SockFilter::new(RETURN, 0, 0, length);
        match self {
            Self::TypeAndFlags(kind, flags) => {
                vec![
                    load_half(TYPE),
                    half(kind, 0, 3),
                    load_half(FLAGS),
                    half(flags, 0, 1),
                    ret(u32::MAX),
                    ret(0),
                ]
            }
            Self::NeitherTypeNorPort(kind, port) => vec![
                load_half(TYPE),
                half(kind, 3, 0),
                SockFilter::new(LOAD_WORD, 0, 0, PORT),
                SockFilter::new(JUMP_IF_EQUAL, 1, 0, port.to_be()),
                ret(u32::MAX),
                ret(0),
            ],
            Self::NeitherTypeNorPortNorFamily(kind, port, family) => vec![
                load_half(TYPE),
                half(kind, 5, 0),
                SockFilter::new(LOAD_BYTE, 0, 0, FAMILY),
                SockFilter::new(JUMP_IF_EQUAL, 3, 0, u32::from(family)),
                SockFilter::new(LOAD_WORD, 0, 0, PORT),
                SockFilter::new(JUMP_IF_EQUAL, 1, 0, port.to_be()),
                ret(u32::MAX),
                ret(0),
            ],
        }
    }
}

/// See the module.
pub(super) struct Listener {
    socket: TokioSocket,
}

impl Listener {
    /// Opens the socket; must be called inside a runtime. `buffer` is room in bytes; a message takes 832 and more.
    pub(super) fn open(groups: &[u32], only: Only, buffer: usize) -> io::Result<Self> {
        Self::open_on(NETLINK_ROUTE, groups, Some(only), buffer)
    }

    /// The same for a group of the packet filter, whose messages are not routing netlink's: unfiltered.
    pub(super) fn open_netfilter(group: u32, buffer: usize) -> io::Result<Self> {
        Self::open_on(NETLINK_NETFILTER, &[group], None, buffer)
    }

    fn open_on(
        protocol: isize,
        groups: &[u32],
        only: Option<Only>,
        buffer: usize,
    ) -> io::Result<Self> {
        let mut socket = TokioSocket::new(protocol)?;
        setsockopt(socket.socket_ref(), sockopt::RcvBufForce, &buffer)?;
        // The filter stands before the first message can come.
        if let Some(only) = only {
            SockRef::from(socket.socket_ref()).attach_filter(&only.program())?;
        }
        socket.socket_mut().bind(&SocketAddr::new(0, 0))?;
        groups
            .iter()
            .try_for_each(|group| socket.socket_ref().add_membership(*group))?;
        Ok(Self { socket })
    }

    /// Hears other messages from now on.
    pub(super) fn filter(&self, only: Only) -> io::Result<()> {
        SockRef::from(self.socket.socket_ref()).attach_filter(&only.program())
    }

    /// The next datagram, or `None` if some were lost for want of room. Cancel-safe.
    pub(super) async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut buffer = Vec::with_capacity(8192);
        match self.socket.recv(&mut buffer).await {
            Ok(()) => Ok(Some(buffer)),
            Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
