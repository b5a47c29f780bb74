//! The states of the lease manager, the events that move it from one to the next, and the actions that it asks for.
//! Plain data: `machine` decides, the shell in `manager` executes.
//!
//! ```text
//!                 ┌───────────── list ─────────────┐
//!                 ▼                                │
//!  Relisting ► Listing ► Acquiring ► OpeningWatch ► Holding
//!     ▲           │          │             └──────► Waiting (no config, rival, no free subnet)
//!     │           │          └► AwaitingOwner
//!     └── every state that finds its list out of date; Unreachable: every request that fails
//! ```
//!
//! There is no state for a lost lease: the answer to a lost lease is the same as to everything that is not as expected,
//! a new list. What the rest of the daemon knows meanwhile is in `progress`.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use ipnetwork::Ipv4Network;

use crate::conditions::Problem;
use crate::lease::claim::{Identity, JoinedKey};
use crate::lease::manager::blocker::NoLease;
use crate::lease::manager::progress::Courtesy;
use crate::lease::manager::relists::RelistReason;
use crate::lease::port::{Entry, LeaseId, Listing, RegistryChange, RegistryError, WriteOutcome};
use crate::model::host_network::HostNetwork;
use crate::model::lease::OwnLease;
use crate::model::lease::value::Owner;
use crate::model::lease_counts::LeaseCounts;
use crate::model::network_config::NetworkConfig;
use crate::peers::update::LeaseUpdate;

/// What the lease manager does now. A state owns the data that only it needs.
#[derive(Debug)]
pub(super) enum LeaseState {
    /// The next list waits, because lists that follow each other at full speed would burden etcd.
    Relisting { at: Duration },
    /// etcd does not answer. The next try is a list.
    Unreachable { retry_at: Duration },
    /// The list is requested.
    Listing,
    /// A lease is looked for, with the requests that this takes.
    Acquiring {
        listing: Rc<Listing>,
        config: NetworkConfig,
    },
    /// A subnet became free only now: its owner may have lost the key by mistake and have pods that run.
    AwaitingOwner { until: Duration },
    /// The watch is requested.
    OpeningWatch(ListOutcome),
    /// This host holds its lease, renews it, and follows the leases of the others.
    Holding(Holding),
    /// This host cannot have a lease now. It waits for a change.
    Waiting {
        no_lease: NoLease,
        /// When the watch was opened.
        since: Duration,
    },
}

/// What a list led to.
#[derive(Debug)]
pub(super) enum ListOutcome {
    Lease(HeldLease),
    /// We hold our lease with an earlier PublicIP: this keeps us from publishing the current one.
    Refused(HeldLease, NoLease),
    NoLease(NoLease),
}

#[derive(Debug)]
pub(super) struct Holding {
    pub(super) held: HeldLease,
    /// When the watch was opened.
    pub(super) since: Duration,
    /// What has to be overwritten, and when.
    pub(super) write_back: Option<WriteBack>,
    /// What keeps us from publishing our current PublicIP.
    pub(super) refused: Option<NoLease>,
    /// When another client that writes our key with our own value is answered again.
    pub(super) next_answer: Duration,
}

/// A write that puts our value back into our key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WriteBack {
    /// What another client has written there.
    pub(super) over: Entry,
    pub(super) at: Duration,
}

/// Our lease as etcd holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HeldLease {
    pub(super) own: OwnLease,
    /// `None` for a reservation, which never expires.
    pub(super) renewal: Option<Renewal>,
    /// Revision at which our key was created.
    pub(super) created: i64,
    /// Revision of the last write of our key that we know of.
    pub(super) revision: i64,
    pub(super) value: ValueState,
}

impl HeldLease {
    /// The etcd lease that our key is attached to.
    pub(super) fn etcd_lease(&self) -> Option<LeaseId> {
        self.renewal.map(|renewal| renewal.lease)
    }
}

/// The next renewal of an etcd lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Renewal {
    pub(super) lease: LeaseId,
    pub(super) at: Duration,
}

/// Whether our key has the value that we want.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ValueState {
    Complete,
    /// It could not be written. The node id is added with the next renewal.
    LacksNodeId,
    /// Another client has written this over it.
    Overwritten(Entry),
}

/// How an attempt to acquire a lease ended.
#[derive(Debug)]
pub(super) enum Acquisition {
    Lease(HeldLease, KeyOrigin),
    /// We hold our lease with an earlier PublicIP: this keeps us from publishing the current one.
    Refused(HeldLease, NoLease),
    NoLease(NoLease),
    /// There is a free subnet, but its owner may come back for it.
    OwnerMayReturn,
    /// The list is out of date.
    Relist(RelistReason),
}

/// Where our key comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyOrigin {
    /// It was in etcd.
    Found,
    /// We have created it, with a subnet that was not ours before.
    Created,
    /// We have created it again: etcd had lost it, and perhaps the keys of others, too.
    Recreated,
}

/// What happened. All but `Time`, `Changed`, `WatchOutdated`, `PublicIpChanged`, `HostNetworkChanged` and `LookupRequested` are answers to an action.
#[derive(Debug)]
pub(super) enum LeaseEvent {
    /// A time has come, or may have come.
    Time,
    Listed(Listing),
    Acquired(Acquisition),
    WatchOpened,
    /// The watch has brought changes.
    Changed(Vec<RegistryChange>),
    /// The watch has ended, for this reason, and etcd is well.
    WatchOutdated(String),
    /// The other hosts reach this one at this address now.
    PublicIpChanged(Ipv4Addr),
    /// What this host needs outside of the overlay is something else now.
    HostNetworkChanged(HostNetwork),
    /// A packet needs a subnet that has no known lease.
    LookupRequested(Ipv4Network),
    /// The key of a subnet was looked up; `None` if it does not exist, or if etcd did not answer in time.
    LookedUp {
        subnet: Ipv4Network,
        entry: Option<Entry>,
    },
    /// The new time to live; `None` if etcd does not know the lease any more.
    Renewed(Option<Duration>),
    /// Our value was put back into our key, or not.
    WrittenBack(Result<WriteOutcome, RegistryError>),
    /// A request, or the watch, has failed.
    Failed(RegistryError),
}

/// What the shell has to do. The first group are requests: a step contains one at most, as its last action, and the
/// shell answers it with an event.
#[derive(Debug)]
pub(super) enum LeaseAction {
    List,
    Acquire(Box<AcquireRequest>),
    OpenWatch {
        from: i64,
    },
    KeepAlive(LeaseId),
    /// Writes this value over what was read.
    WriteBack {
        read: Entry,
        value: String,
    },
    LookUp(Ipv4Network),

    CloseWatch,
    /// Tells the peer table.
    Publish(LeaseUpdate),
    /// Sets the condition `EtcdReachable`: true, or false with a reason.
    SetEtcdReachable(Result<(), Problem>),
    /// Logs that etcd is reachable again after an outage of this length.
    LogReachableAgain(Duration),
    /// Sets the condition `LeaseHeld`: true, or false with a reason.
    SetLeaseHeld(Result<(), Problem>),
    /// Shows the keys that are not used, with the reasons.
    ShowIgnored(BTreeMap<String, String>),
    /// Shows how many leases are used, and how many are not.
    ShowCounts(LeaseCounts),
}

/// What an attempt to acquire a lease needs to know.
#[derive(Debug)]
pub(super) struct AcquireRequest {
    pub(super) listing: Rc<Listing>,
    pub(super) config: NetworkConfig,
    pub(super) identity: Identity,
    pub(super) courtesy: Courtesy,
    /// Our key, if this host has had a lease in this run.
    pub(super) joined: Option<JoinedKey>,
    /// A host that keeps undoing our writes to our key.
    pub(super) persistent: Option<Owner>,
}

/// When an event happened, and a random number for the decisions about it.
#[derive(Debug, Clone, Copy)]
pub(super) struct StepContext {
    /// Time since boot, the time in which the machine slept included.
    pub(super) now: Duration,
    /// Uniform in 0..1.
    pub(super) random: f64,
}
