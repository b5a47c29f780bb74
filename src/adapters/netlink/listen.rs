//! A socket on which the kernel announces events: the groups it belongs to, a filter that runs in
//! the kernel, and room for events that wait. Does not read what the events say.

use std::io;

use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use netlink_sys::{AsyncSocket as _, AsyncSocketExt as _, SocketAddr, TokioSocket};
use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{SockFilter, SockRef};

/// Room for one datagram, in bytes: the kernel sends no larger one (NLMSG_GOODSIZE).
const DATAGRAM_CAPACITY: usize = 8192;

/// Which messages reach a socket. The kernel drops the others before they take room in its buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filter {
    /// Messages of this type with exactly these flags (`nlmsg_type`, `nlmsg_flags`).
    Only { kind: u16, flags: u16 },
    /// All messages, except those of this type, those that a request from this port caused
    /// (`nlmsg_pid`), and those of this address family.
    Except {
        kind: u16,
        port: u32,
        family: Option<u8>,
    },
}

/// A test of one field of a message.
struct FilterTest {
    /// Instruction that loads the field.
    load: u16,
    /// Offset of the field in the message.
    offset: u32,
    /// The field's value as the instruction loads it.
    value: u32,
    /// Whether the message is dropped when the field has the value, or when it has not.
    drop_if_equal: bool,
}

impl Filter {
    /// Builds the filter's program in classic BPF (linux/bpf_common.h).
    fn program(self) -> Vec<SockFilter> {
        /// `BPF_JMP | BPF_JEQ | BPF_K`
        const JUMP_IF_EQUAL: u16 = 0x15;
        /// `BPF_RET | BPF_K`
        const RETURN: u16 = 0x06;
        const WHOLE_MESSAGE: u32 = u32::MAX;
        const NOTHING: u32 = 0;
        let mut program = vec![
            SockFilter::new(RETURN, 0, 0, NOTHING),
            SockFilter::new(RETURN, 0, 0, WHOLE_MESSAGE),
        ];
        // Built from the end: a jump skips the instructions between it and the one that drops the
        // message.
        for condition in self.conditions().into_iter().rev() {
            let skip = u8::try_from(program.len() - 1).expect("a few conditions");
            let (equal, other) = if condition.drop_if_equal {
                (skip, 0)
            } else {
                (0, skip)
            };
            let value = condition.value;
            program.push(SockFilter::new(JUMP_IF_EQUAL, equal, other, value));
            program.push(SockFilter::new(condition.load, 0, 0, condition.offset));
        }
        program.reverse();
        program
    }

    fn conditions(self) -> Vec<FilterTest> {
        match self {
            Self::Only { kind, flags } => {
                vec![
                    FilterTest::kind(kind, false),
                    FilterTest::flags(flags, false),
                ]
            }
            Self::Except { kind, port, family } => {
                let mut conditions = vec![FilterTest::kind(kind, true)];
                conditions.extend(family.map(|family| FilterTest::family(family, true)));
                conditions.push(FilterTest::port(port, true));
                conditions
            }
        }
    }
}

/// BPF loads numbers as big-endian, and the header of a message is in the byte order of the host.
impl FilterTest {
    /// `BPF_LD | BPF_W | BPF_ABS`
    const LOAD_WORD: u16 = 0x20;
    /// `BPF_LD | BPF_H | BPF_ABS`
    const LOAD_HALF: u16 = 0x28;
    /// `BPF_LD | BPF_B | BPF_ABS`
    const LOAD_BYTE: u16 = 0x30;

    fn kind(kind: u16, drop_if_equal: bool) -> Self {
        /// Offset of `nlmsg_type` in `struct nlmsghdr` (linux/netlink.h).
        const OFFSET: u32 = 4;
        Self {
            load: Self::LOAD_HALF,
            offset: OFFSET,
            value: kind.to_be().into(),
            drop_if_equal,
        }
    }

    fn flags(flags: u16, drop_if_equal: bool) -> Self {
        /// Offset of `nlmsg_flags`.
        const OFFSET: u32 = 6;
        Self {
            load: Self::LOAD_HALF,
            offset: OFFSET,
            value: flags.to_be().into(),
            drop_if_equal,
        }
    }

    fn port(port: u32, drop_if_equal: bool) -> Self {
        /// Offset of `nlmsg_pid`.
        const OFFSET: u32 = 12;
        Self {
            load: Self::LOAD_WORD,
            offset: OFFSET,
            value: port.to_be(),
            drop_if_equal,
        }
    }

    fn family(family: u8, drop_if_equal: bool) -> Self {
        /// Length of `struct nlmsghdr`: every rtnetlink message has the address family right after it.
        const OFFSET: u32 = 16;
        Self {
            load: Self::LOAD_BYTE,
            offset: OFFSET,
            value: family.into(),
            drop_if_equal,
        }
    }
}

/// A socket that receives the events of some groups.
pub(super) struct Listener {
    socket: TokioSocket,
}

impl Listener {
    /// Opens a socket for events of rtnetlink; must be called inside a tokio runtime. `buffer` is
    /// the receive buffer in bytes, which the kernel doubles. A short event takes 832.
    ///
    /// # Errors
    /// `CAP_NET_ADMIN` is missing, or the process has no file descriptors left.
    pub(super) fn open(groups: &[u32], filter: Filter, buffer: usize) -> io::Result<Self> {
        Self::open_on(NETLINK_ROUTE, groups, Some(filter), buffer)
    }

    /// Opens a socket for all events of a netfilter group, like [`Listener::open`].
    ///
    /// # Errors
    /// `CAP_NET_ADMIN` is missing, or the kernel has no netfilter.
    pub(super) fn open_netfilter(group: u32, buffer: usize) -> io::Result<Self> {
        Self::open_on(NETLINK_NETFILTER, &[group], None, buffer)
    }

    fn open_on(
        protocol: isize,
        groups: &[u32],
        filter: Option<Filter>,
        buffer: usize,
    ) -> io::Result<Self> {
        let mut socket = TokioSocket::new(protocol)?;
        setsockopt(socket.socket_ref(), sockopt::RcvBufForce, &buffer)?;
        // Attached first, so that no event arrives unfiltered.
        if let Some(filter) = filter {
            SockRef::from(socket.socket_ref()).attach_filter(&filter.program())?;
        }
        socket.socket_mut().bind(&SocketAddr::new(0, 0))?;
        groups
            .iter()
            .try_for_each(|group| socket.socket_ref().add_membership(*group))?;
        Ok(Self { socket })
    }

    /// Replaces the filter, for events from now on.
    ///
    /// # Errors
    /// The kernel has no memory for the filter; the old one stays.
    pub(super) fn set_filter(&self, filter: Filter) -> io::Result<()> {
        SockRef::from(self.socket.socket_ref()).attach_filter(&filter.program())
    }

    /// Waits for the next datagram; `None` if the buffer was full and events were lost.
    /// Cancel-safe.
    ///
    /// # Errors
    /// The socket is broken.
    pub(super) async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut datagram = Vec::with_capacity(DATAGRAM_CAPACITY);
        match self.socket.recv(&mut datagram).await {
            Ok(()) => Ok(Some(datagram)),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;

    const AF_INET: u8 = 2;
    const AF_BRIDGE: u8 = 7;
    const OWN_PORT: u32 = 0x0102_0304;

    fn message(kind: u16, flags: u16, port: u32, family: u8) -> Vec<u8> {
        let mut bytes = 20u32.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(port.to_ne_bytes());
        bytes.extend([family, 0, 0, 0]);
        bytes
    }

    /// Asks the kernel: it runs the same filters on pairs of unix sockets, which need no
    /// privileges.
    fn passes(filter: Filter, message: &[u8]) -> bool {
        let (sender, receiver) = UnixDatagram::pair().expect("a pair of sockets");
        SockRef::from(&receiver)
            .attach_filter(&filter.program())
            .expect("a valid program");
        receiver.set_nonblocking(true).expect("a socket");
        sender.send(message).expect("a short message");
        receiver.recv(&mut [0; 64]).is_ok()
    }

    #[test]
    fn only_messages_of_one_type_with_the_same_flags_pass() {
        let check = |kind, flags, expected| {
            let filter = Filter::Only { kind: 30, flags: 1 };
            assert_eq!(passes(filter, &message(kind, flags, 0, AF_INET)), expected);
        };
        check(30, 1, true);
        check(30, 0, false);
        check(30, 0x100, false);
        check(28, 1, false);
    }

    #[test]
    fn all_but_one_type_and_our_own_changes_pass() {
        let check = |kind, port, family, expected| {
            let filter = Filter::Except {
                kind: 30,
                port: OWN_PORT,
                family: None,
            };
            assert_eq!(passes(filter, &message(kind, 0, port, family)), expected);
        };
        check(28, 0, AF_INET, true);
        check(28, OWN_PORT.swap_bytes(), AF_INET, true);
        check(28, 0, AF_BRIDGE, true);
        check(28, OWN_PORT, AF_INET, false);
        check(30, 0, AF_INET, false);
    }

    #[test]
    fn a_family_can_be_left_out_as_well() {
        let check = |kind, port, family, expected| {
            let filter = Filter::Except {
                kind: 30,
                port: OWN_PORT,
                family: Some(AF_BRIDGE),
            };
            assert_eq!(passes(filter, &message(kind, 0, port, family)), expected);
        };
        check(28, 0, AF_INET, true);
        check(28, 0, AF_BRIDGE, false);
        check(28, OWN_PORT, AF_INET, false);
        check(30, 0, AF_INET, false);
    }
}
