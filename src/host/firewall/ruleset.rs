//! The filter rules of other programs as data, whichever tool made them. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

use ipnetwork::Ipv4Network;

use crate::host::firewall::packet::FilterHook;

/// One table with the chains that filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FilterTable {
    pub(super) name: TableName,
    pub(super) base: Vec<BaseChain>,
    pub(super) chains: BTreeMap<String, Vec<FilterRule>>,
}

/// Which table it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TableName {
    /// A table that was made with nft, with its family.
    Nft { family: String, name: String },
    /// A table of iptables: the program that shows it, such as `iptables-nft`, and its name.
    Iptables { program: String, name: String },
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nft { family, name } => write!(f, "nft table {family} {name}"),
            Self::Iptables { program, name } => write!(f, "{program} table {name}"),
        }
    }
}

/// A chain that the kernel calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BaseChain {
    pub(super) name: String,
    pub(super) hook: FilterHook,
    /// What happens to a packet that reaches its end.
    pub(super) drops_by_default: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FilterRule {
    /// All must hold.
    pub(super) conditions: Vec<Condition>,
    pub(super) verdict: FilterVerdict,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FilterVerdict {
    Accept,
    /// The packet is dropped, with an answer or without.
    Drop,
    /// Goes on with another chain, and comes back.
    Jump(String),
    /// Goes on with another chain, and does not come back.
    Goto(String),
    Return,
    /// Goes on with the next rule: a counter, a log.
    Continue,
    /// It cannot be understood.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) subject: Subject,
    pub(super) negated: bool,
}

impl Condition {
    pub(super) const fn new(subject: Subject, negated: bool) -> Self {
        Self { subject, negated }
    }

    pub(super) const fn unknown() -> Self {
        Self::new(Subject::Unknown, false)
    }

    /// No packet of the overlay meets it, such as one about IPv6.
    pub(super) const fn never() -> Self {
        Self::new(Subject::Never, false)
    }
}

/// What a condition is about, and the values of which the packet must have one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    /// Names of interfaces; a `*` or `+` at the end stands for anything.
    InInterface(Vec<String>),
    OutInterface(Vec<String>),
    Source(Vec<Ipv4Network>),
    Destination(Vec<Ipv4Network>),
    /// Names of protocols in small letters.
    Protocol(Vec<String>),
    DestinationPort(Vec<RangeInclusive<u16>>),
    SourcePort,
    /// States of connection tracking in small letters.
    State(Vec<String>),
    /// Kinds of destination addresses in small letters: `local`, `broadcast`.
    DestinationKind(Vec<String>),
    Never,
    Unknown,
}
