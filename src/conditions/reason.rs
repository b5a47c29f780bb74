//! Why a condition is as it is: one word for programs and one sentence for people. It decides nothing.

use std::fmt;

/// The word, in the form of Kubernetes' conditions: CamelCase, stable, to be matched by programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The condition is true.
    AsExpected,
    /// The task has not found out yet.
    Starting,
    /// An operation, or a request to observe, failed. It is tried again.
    OperationFailed,
    /// etcd gives no answer.
    EtcdUnreachable,
    /// etcd holds no network config.
    NoConfig,
    /// The network config in etcd cannot be used.
    InvalidConfig,
    /// All subnets that the network config allows are taken.
    NoFreeSubnet,
    /// Another live host uses the node id or the PublicIP of this one.
    Rival,
    /// etcd does not hold our lease, and it could not be created again.
    LeaseMissing,
    /// Another client keeps overwriting the key of our lease.
    Contested,
    /// The other hosts would ignore a lease with the PublicIP of this one.
    PublicIpUnusable,
    /// The overlay lies in the network of the hosts.
    NetworkOverlap,
    /// etcd does not hold the current PublicIP of this host yet.
    PublicIpNotPublished,
    /// Another program owns the device with our name.
    ForeignDevice,
    /// No interface fits to carry the overlay, or the one that does is down.
    NoExternalInterface,
    /// A setting of the kernel keeps packets from flowing.
    KernelSetting,
    /// Most other hosts have another VNI or backend.
    ExcludesOthers,
    /// A packet filter of another program drops packets of the overlay.
    Firewall,
    /// A route or a rule of another program is in front of ours.
    Shadowed,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Why a condition is false.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) reason: Reason,
    /// What is wrong and what to do about it, for people.
    pub(crate) message: String,
}

impl Problem {
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }

    /// An operation failed, or a request to observe.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(Reason::OperationFailed, message)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
