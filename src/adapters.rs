//! What touches the world outside the process. Each adapter implements the port of a slice; none names another.

pub(crate) mod arp;
pub mod control_socket;
pub mod etcd;
pub mod file_system;
pub mod http;
pub mod log;
pub mod netlink;
pub mod packet_filter;
pub(crate) mod resolver;
pub mod systemd;
