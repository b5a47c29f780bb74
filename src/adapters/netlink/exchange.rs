//! A socket for questions to the kernel that `rtnetlink` does not know: generic netlink and nftables. It sends a request, and
//! collects the answer; it does not read what the answer says. It blocks: the kernel answers while it handles the request.

use std::io;
use std::time::Duration;

use netlink_sys::{Socket, SocketAddr};
use socket2::SockRef;

use crate::adapters::netlink::message::messages;

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Room for one datagram, in bytes. The kernel fills up to 32 KiB when it lists something.
const DATAGRAM_CAPACITY: usize = 64 * 1024;

pub(super) struct QuestionSocket(Socket);

/// How the kernel answered a request.
pub(super) enum Answer {
    /// It did what was asked, and sent these datagrams before.
    Accepted(Vec<Vec<u8>>),
    Refused(io::Error),
}

impl QuestionSocket {
    /// Opens a socket for one protocol of netlink.
    ///
    /// # Errors
    /// The kernel does not have this protocol, or the process has no file descriptors left.
    pub(super) fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        SockRef::from(&socket).set_read_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Self(socket))
    }

    /// Sends a request, and waits until the kernel confirms or refuses it, or has listed everything. After an error the
    /// socket must not be used again: the answer may still arrive on it.
    ///
    /// # Errors
    /// No answer came in time.
    pub(super) fn exchange(&self, request: &[u8]) -> io::Result<Answer> {
        self.0.send(request, 0)?;
        let mut datagrams = Vec::new();
        loop {
            let mut datagram = Vec::with_capacity(DATAGRAM_CAPACITY);
            self.0.recv(&mut datagram, 0)?;
            let refused = messages(&datagram).find_map(|message| message.error_code());
            let is_done = messages(&datagram).any(|message| message.is_done());
            match refused {
                Some(code) if code != 0 => {
                    return Ok(Answer::Refused(io::Error::from_raw_os_error(code)));
                }
                Some(_) => return Ok(Answer::Accepted(datagrams)),
                None => datagrams.push(datagram),
            }
            if is_done {
                return Ok(Answer::Accepted(datagrams));
            }
        }
    }
}

impl Answer {
    /// # Errors
    /// The kernel refused.
    pub(super) fn accepted(self) -> io::Result<Vec<Vec<u8>>> {
        match self {
            Self::Accepted(datagrams) => Ok(datagrams),
            Self::Refused(error) => Err(error),
        }
    }
}
