//! What Docker and this daemon agree on. Pure.

/// The table for IPv4 of Docker's nftables backend (Docker 29).
pub(crate) const NFT_TABLE: &str = "docker-bridges";

/// The mark of packets that come from the overlay for containers of Docker's nftables backend, which accepts it
/// (`--bridge-accept-fwmark`). A bit that neither kube-proxy (0x4000, 0x8000) nor CNI's portmap (0x2000) uses.
pub(crate) const MARK: u32 = 0x1000;
