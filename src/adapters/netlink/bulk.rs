//! The socket on which the kernel is changed: many requests in one `sendmsg`, each with its own
//! result. It is a socket of its own, so that no event can push an answer out of its buffer.
//!
//! It blocks on purpose: the kernel handles a request inside `sendmsg`, and the answers are there
//! when it returns.

use std::io;
use std::time::Duration;

use netlink_packet_core::{NLM_F_ACK, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use nix::sys::socket::{setsockopt, sockopt};
use socket2::SockRef;

use crate::adapters::netlink::encode::Request;
use crate::adapters::netlink::message::messages;

/// Requests in one `sendmsg`. Larger batches are no faster, and the answers to this many, if all
/// fail, fit the buffer.
const MAX_REQUESTS_PER_SEND: usize = 128;
/// Room for the messages of a batch, in bytes: about what one request takes.
const REQUEST_BYTES: usize = 96;
/// Room for answers that wait, in bytes.
const BUFFER_BYTES: usize = 1 << 20;
/// Room for one datagram of answers, in bytes.
const DATAGRAM_CAPACITY: usize = 16 * 1024;
/// How long an answer may take. It is there at once unless something is badly wrong.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The socket for changes, with the number of the last request.
pub(super) struct Bulk {
    socket: Socket,
    port: u32,
    sequence: u32,
}

impl Bulk {
    /// Opens the socket.
    ///
    /// # Errors
    /// `CAP_NET_ADMIN` is missing, or the process has no file descriptors left.
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        let port = socket.bind_auto()?.port_number();
        socket.connect(&SocketAddr::new(0, 0))?;
        // Answers need not repeat the request.
        socket.set_cap_ack(true)?;
        // Fails without CAP_NET_ADMIN, without which no change would work either.
        setsockopt(&socket, sockopt::RcvBufForce, &BUFFER_BYTES)?;
        SockRef::from(&socket).set_read_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Self {
            socket,
            port,
            sequence: 0,
        })
    }

    /// Returns the port number of the socket (`nlmsg_pid`): with it the kernel marks most events
    /// that our changes cause.
    pub(super) fn port(&self) -> u32 {
        self.port
    }

    /// Has the kernel handle the requests in their order. Returns a result for each, in the same
    /// order.
    pub(super) fn execute(&mut self, requests: Vec<Request>) -> Vec<io::Result<()>> {
        let mut results = Vec::with_capacity(requests.len());
        let mut requests = requests.into_iter();
        loop {
            let batch: Vec<Request> = requests.by_ref().take(MAX_REQUESTS_PER_SEND).collect();
            if batch.is_empty() {
                return results;
            }
            let count = batch.len();
            match self.exchange(batch) {
                Ok(codes) => results.extend(codes.into_iter().map(result)),
                Err(error) => results.extend((0..count).map(|_| Err(copy(&error)))),
            }
        }
    }

    /// Sends one batch, and returns the error number of each request.
    fn exchange(&mut self, batch: Vec<Request>) -> io::Result<Vec<i32>> {
        let first = self.sequence.wrapping_add(1);
        let mut codes = vec![0; batch.len()];
        let mut bytes = Vec::with_capacity(batch.len() * REQUEST_BYTES);
        let last = batch.len() - 1;
        for (place, mut request) in batch.into_iter().enumerate() {
            // One confirmation is enough: the kernel handles requests in their order, and reports
            // those that fail anyway.
            if place != last {
                request.flags &= !NLM_F_ACK;
            }
            self.sequence = self.sequence.wrapping_add(1);
            append(&mut bytes, request, self.sequence);
        }
        self.socket.send(&bytes, 0)?;
        while !self.receive(first, &mut codes)? {}
        Ok(codes)
    }

    /// Receives one datagram of answers, and returns whether the last answer is among them.
    fn receive(&self, first: u32, codes: &mut [i32]) -> io::Result<bool> {
        let mut datagram = Vec::with_capacity(DATAGRAM_CAPACITY);
        self.socket.recv(&mut datagram, 0)?;
        Ok(note_answers(&datagram, first, codes))
    }
}

/// Notes the error numbers in a datagram, and returns whether the last one is among them. Ignores
/// answers to an earlier batch, whose timeout has passed. `first` is the number of the first
/// request of this batch.
fn note_answers(datagram: &[u8], first: u32, codes: &mut [i32]) -> bool {
    let last = codes.len().saturating_sub(1);
    let mut complete = false;
    for message in messages(datagram) {
        let place = usize::try_from(message.sequence.wrapping_sub(first)).unwrap_or(usize::MAX);
        if let (Some(answer), Some(code)) = (message.error_code(), codes.get_mut(place)) {
            *code = answer;
            complete |= place == last;
        }
    }
    complete
}

/// Appends the message of a request, padded.
pub(super) fn append(bytes: &mut Vec<u8>, request: Request, sequence: u32) {
    let mut header = NetlinkHeader::default();
    header.flags = request.flags;
    header.sequence_number = sequence;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(request.message));
    message.finalize();
    let start = bytes.len();
    bytes.resize(start + message.buffer_len().next_multiple_of(4), 0);
    message.serialize(&mut bytes[start..]);
}

fn result(code: i32) -> io::Result<()> {
    if code == 0 {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(code))
    }
}

/// Copies an error, which is not `Clone`: all requests of a batch fail with it.
fn copy(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(
        || io::Error::new(error.kind(), error.to_string()),
        io::Error::from_raw_os_error,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::netlink::message::tests::error_message;

    #[test]
    fn each_failure_belongs_to_the_request_with_its_number() {
        let mut codes = [0; 3];
        let early = error_message(8, -17);
        assert!(!note_answers(&early, 7, &mut codes));
        let rest = [error_message(7, -2), error_message(9, 0)].concat();
        assert!(note_answers(&rest, 7, &mut codes));
        assert_eq!(codes, [2, 17, 0]);
    }

    #[test]
    fn answers_to_an_earlier_batch_are_ignored() {
        let mut codes = [0; 3];
        assert!(!note_answers(&error_message(6, -17), 7, &mut codes));
        assert!(!note_answers(&error_message(10, -17), 7, &mut codes));
        assert_eq!(codes, [0; 3]);
    }

    #[test]
    fn numbers_of_requests_wrap_around() {
        let mut codes = [0; 2];
        assert!(note_answers(&error_message(0, -17), u32::MAX, &mut codes));
        assert_eq!(codes, [0, 17]);
    }
}
