//! Owns the socket on which the kernel is changed: many messages in one `sendmsg`, each with its own answer. Nothing else
//! arrives on it, so that no event can push an answer out of its buffer.
//!
//! It blocks, and that is right: the kernel does the work of a request inside `sendmsg`, the answers are there when
//! it returns.

use std::io;
use std::time::Duration;

use netlink_packet_core::{NLM_F_ACK, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::sys::socket::{setsockopt, sockopt};
use socket2::SockRef;

use crate::adapters::netlink::encode::Request;

/// Messages in one `sendmsg`. Larger batches gain nothing; the answers of this many, were all errors, fit the buffer.
const BATCH: usize = 128;
/// Room for answers, in bytes.
const BUFFER: usize = 1 << 20;
/// How long an answer may take. They are there at once unless something is badly wrong.
const DEADLINE: Duration = Duration::from_secs(5);

/// See the module.
pub(super) struct Bulk {
    socket: Socket,
    port: u32,
    sequence: u32,
}

impl Bulk {
    /// Opens the socket.
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        let port = socket.bind_auto()?.port_number();
        socket.connect(&SocketAddr::new(0, 0))?;
        // Answers need not repeat the request.
        socket.set_cap_ack(true)?;
        // Fails without CAP_NET_ADMIN, without which nothing else would work either.
        setsockopt(&socket, sockopt::RcvBufForce, &BUFFER)?;
        SockRef::from(&socket).set_read_timeout(Some(DEADLINE))?;
        Ok(Self {
            socket,
            port,
            sequence: 0,
        })
    }

    /// The number by which the kernel says that a change was ours.
    pub(super) fn port(&self) -> u32 {
        self.port
    }

    /// Has the kernel do the requests in their order. The answers are in the same order.
    pub(super) fn execute(&mut self, requests: Vec<Request>) -> Vec<io::Result<()>> {
        let mut answers = Vec::with_capacity(requests.len());
        let mut requests = requests.into_iter();
        loop {
            let batch: Vec<Request> = requests.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                return answers;
            }
            let count = batch.len();
            match self.exchange(batch) {
                Ok(mut some) => answers.append(&mut some),
                Err(error) => answers.extend((0..count).map(|_| Err(clone(&error)))),
            }
        }
    }

    /// Sends one batch. Only the last message asks for an answer: the kernel works in their order, and says on its own
    /// which of the others failed, before that.
    fn exchange(&mut self, batch: Vec<Request>) -> io::Result<Vec<io::Result<()>>> {
        let first = self.sequence.wrapping_add(1);
        let mut codes = vec![0; batch.len()];
        let mut bytes = Vec::with_capacity(batch.len() * 96);
        let last = batch.len() - 1;
        for (place, mut request) in batch.into_iter().enumerate() {
            if place != last {
                request.flags &= !NLM_F_ACK;
            }
            self.sequence = self.sequence.wrapping_add(1);
            append(&mut bytes, request, self.sequence);
        }
        self.socket.send(&bytes, 0)?;
        while !self.receive(first, &mut codes)? {}
        Ok(codes
            .into_iter()
            .map(|code| if code == 0 { Ok(()) } else { Err(errno(code)) })
            .collect())
    }

    /// Takes one datagram of answers, and says whether the last one is among them. Answers to an earlier batch, given up
    /// after its deadline, are passed over.
    fn receive(&self, first: u32, codes: &mut [i32]) -> io::Result<bool> {
        let mut buffer = Vec::with_capacity(16 * 1024);
        self.socket.recv(&mut buffer, 0)?;
        let (mut rest, mut complete) = (&buffer[..], false);
        while let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest) {
            let place = usize::try_from(message.header.sequence_number.wrapping_sub(first))
                .unwrap_or(usize::MAX);
            if let (NetlinkPayload::Error(error), Some(code)) =
                (&message.payload, codes.get_mut(place))
            {
                *code = error.raw_code();
                complete |= place + 1 == codes.len();
            }
            let length = usize::try_from(message.header.length)
                .unwrap_or(0)
                .next_multiple_of(4);
            if length == 0 || length >= rest.len() {
                break;
            }
            rest = &rest[length..];
        }
        Ok(complete)
    }
}

fn append(bytes: &mut Vec<u8>, request: Request, sequence: u32) {
    let mut header = NetlinkHeader::default();
    header.flags = request.flags;
    header.sequence_number = sequence;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(request.message));
    message.finalize();
    let start = bytes.len();
    bytes.resize(start + message.buffer_len().next_multiple_of(4), 0);
    message.serialize(&mut bytes[start..]);
}

fn errno(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code.saturating_abs())
}

fn clone(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(
        || io::Error::new(error.kind(), error.to_string()),
        io::Error::from_raw_os_error,
    )
}
