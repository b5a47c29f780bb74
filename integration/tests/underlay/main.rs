//! The network between the hosts changes under a running daemon: addresses, MTU, names, interfaces. Each test pings between
//! pods both ways meanwhile, and prints how many packets were lost and when everything was right again. Needs root.

mod addresses;
mod etcd;
mod interfaces;
mod sources;
mod support;
