//! Slice: the overlay in the kernel, that is the vxlan device, its FDB, neighbours and routes, and the answers to misses.
//!
//! How a packet to a pod of another host finds its way: the *route* of the pod's subnet names the VTEP address of that
//! host; the *neighbour* entry (ARP) maps this IP address to the host's inner MAC address; the *FDB* maps the inner MAC
//! address to the outer IP address, to which the vxlan device sends the packet in UDP. Where an entry is missing, the
//! kernel asks user space: a *miss*.
//!
//! | file | what it holds |
//! |---|---|
//! | `settings` | what the slice needs from the options |
//! | `state` | the types for what is, or should be, in the kernel |
//! | `desired` | what should be: our device, and the entries for the peers |
//! | `peer_entries` | the peers, and the entries that each of them needs |
//! | `conflicts` | leases that claim the same, in words |
//! | `paths` | the routes and rules of other programs that are in front of ours |
//! | `misses` | the answers to the kernel's questions |
//! | `on_demand` | which neighbours of `--peers=on-demand` are still used |
//! | `plan` | the operations that lead from the observed to the desired state |
//! | `phase` | from no lease to a managed device: what each input means in each phase |
//! | `port`, `fake` | what the slice needs of the kernel, and a kernel in memory |
//! | `reconciler` | waits for input, and runs the above over the port |
//!
//! It knows neither etcd nor netlink. All but `reconciler` and `fake` are pure.

pub(crate) mod conflicts;
pub(crate) mod desired;
#[cfg(test)]
pub(crate) mod fake;
pub(crate) mod misses;
pub(crate) mod on_demand;
pub(crate) mod paths;
pub(crate) mod peer_entries;
pub(crate) mod phase;
pub(crate) mod plan;
pub(crate) mod port;
pub(crate) mod reconciler;
pub(crate) mod settings;
pub(crate) mod state;
