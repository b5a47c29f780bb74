//! What the kernel announces about this host: changes of its IPv4 settings, and of the packet filters of other programs. It
//! judges none of them.

use std::io;

use nix::libc::{RTM_NEWNETCONF, RTNLGRP_IPV4_NETCONF};
use tracing::debug;

use crate::adapters::netlink::listen::{Filter, Listener};
use crate::adapters::netlink::nftables::RuleChanges;
use crate::host::firewall;
use crate::host::port::{HostEvent, HostEvents};
use crate::model::docker;
use crate::rules::change::RuleSetChange;
use crate::rules::port::RuleEvents as _;

/// Receive buffer for changes of settings, in bytes.
const BUFFER_BYTES: usize = 256 << 10;

/// The sockets; one that this kernel does not have is missing.
pub(crate) struct HostChanges {
    settings: Option<Listener>,
    firewalls: Option<RuleChanges>,
}

impl HostChanges {
    /// Opens the sockets; must be called inside a tokio runtime.
    pub(crate) fn open() -> Self {
        let filter = Filter::Only {
            kind: RTM_NEWNETCONF,
            flags: 0,
        };
        Self {
            settings: known(Listener::open(
                &[RTNLGRP_IPV4_NETCONF],
                filter,
                BUFFER_BYTES,
            )),
            firewalls: known(RuleChanges::open()),
        }
    }
}

fn known<T>(opened: io::Result<T>) -> Option<T> {
    let opened = opened.inspect_err(|error| debug!(%error, "the kernel announces no changes"));
    opened.ok()
}

impl HostEvents for HostChanges {
    async fn next(&mut self) -> HostEvent {
        loop {
            // Both arms are cancel-safe: a message stays in its socket.
            tokio::select! {
                changed = next_setting(&mut self.settings) => {
                    if changed.is_err() {
                        self.settings = None;
                    }
                    return HostEvent::Settings;
                }
                changes = next_changes(&mut self.firewalls) => match changes {
                    Ok(Some(changes)) if !changes.iter().any(may_filter) => {
                        if changes.iter().any(|change| change.table == docker::NFT_TABLE) {
                            return HostEvent::DockerNftables;
                        }
                    }
                    Ok(_) => return HostEvent::Firewalls,
                    Err(_) => self.firewalls = None,
                },
            }
        }
    }
}

async fn next_setting(listener: &mut Option<Listener>) -> io::Result<()> {
    match listener {
        Some(listener) => listener.next().await.map(drop),
        None => std::future::pending().await,
    }
}

async fn next_changes(changes: &mut Option<RuleChanges>) -> io::Result<Option<Vec<RuleSetChange>>> {
    match changes {
        Some(changes) => changes.next().await,
        None => std::future::pending().await,
    }
}

fn may_filter(change: &RuleSetChange) -> bool {
    firewall::may_filter(&change.table, change.chain.as_deref())
}
