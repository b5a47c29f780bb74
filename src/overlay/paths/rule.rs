//! The rules that say which table of routes a packet is looked up in (`ip rule`): whether one applies to packets to the
//! peers, and what is asked before the main table, where our routes are. Pure.

use std::fmt;
use std::net::Ipv4Addr;

use ipnetwork::Ipv4Network;

use crate::model::addr::covers;
use crate::overlay::paths::Sender;
use crate::overlay::paths::route::{LOCAL_TABLE, MAIN_TABLE};

/// The rules of a host on which nobody made any, and of a kernel that has none.
pub(crate) const DEFAULT_TABLES: [u32; 3] = [LOCAL_TABLE, MAIN_TABLE, 253];

/// What a rule does with a packet that it applies to (`fib_rule_hdr.action`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RuleAction {
    Lookup(u32),
    /// Goes on with the first rule of this or a higher priority.
    Goto(u32),
    Blackhole,
    Unreachable,
    Prohibit,
    /// Goes on with the next rule.
    Nop,
    /// The table of the VRF to which the interface belongs.
    LookupVrf,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) priority: u32,
    /// It applies to all packets but those that it describes (`not`).
    pub(crate) inverted: bool,
    pub(crate) from: Option<Ipv4Network>,
    pub(crate) to: Option<Ipv4Network>,
    pub(crate) iif: Option<String>,
    pub(crate) oif: Option<String>,
    /// Mark and mask.
    pub(crate) mark: Option<(u32, u32)>,
    /// Whether it asks for more than the above, such as a port or a user: it applies to some packets only.
    pub(crate) selective: bool,
    pub(crate) action: RuleAction,
    /// Routes of this or a shorter prefix length are passed over.
    pub(crate) suppress: Option<u8>,
}

/// Whether a rule applies to packets to the peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Applies {
    Never,
    /// To those with such a destination.
    To(Ipv4Network),
    /// It cannot be told here: the kernel has to be asked.
    Unclear,
}

/// A step of the search that comes before our routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    /// The destinations for which it is taken.
    pub(crate) to: Ipv4Network,
    pub(crate) kind: StepKind,
    /// Its rule, by place; `None` for the built-in order.
    pub(crate) rule: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StepKind {
    /// Routes of this table that are longer than the number, if there is one.
    Table(u32, Option<u8>),
    /// Packets are dropped or refused.
    Refuse,
}

/// What is asked before the main table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct SearchOrder {
    pub(crate) before_main: Vec<Step>,
    /// The first rule of which only the kernel can tell whether it leads elsewhere.
    pub(crate) unclear: Option<usize>,
    /// Whether the main table is asked at all.
    pub(crate) reaches_main: bool,
}

/// Returns the order in which packets of `sender` to `network` search. `shortest` is the prefix length of the shortest
/// route of ours.
pub(crate) fn search_order(
    rules: &[Rule],
    sender: &Sender,
    network: Ipv4Network,
    shortest: u8,
) -> SearchOrder {
    let mut order = SearchOrder::default();
    if rules.is_empty() {
        let local = StepKind::Table(LOCAL_TABLE, None);
        order.before_main = vec![Step {
            to: everything(),
            kind: local,
            rule: None,
        }];
        order.reaches_main = true;
        return order;
    }
    let mut place = 0;
    while let Some(rule) = rules.get(place) {
        let here = place;
        place += 1;
        let to = match rule.applies(sender) {
            Applies::Never => continue,
            Applies::Unclear => {
                order.unclear.get_or_insert(here);
                continue;
            }
            Applies::To(to) => to,
        };
        let kind = match rule.action {
            RuleAction::Nop => continue,
            RuleAction::LookupVrf => {
                order.unclear.get_or_insert(here);
                continue;
            }
            // A jump for some destinations only is left to the kernel.
            RuleAction::Goto(_) if to != everything() => {
                order.unclear.get_or_insert(here);
                continue;
            }
            RuleAction::Goto(priority) => {
                let ahead = rules.iter().skip(place);
                place += ahead.take_while(|rule| rule.priority < priority).count();
                continue;
            }
            RuleAction::Lookup(MAIN_TABLE) => {
                let keeps_ours = rule.suppress.is_none_or(|length| length < shortest);
                if covers(to, network) && keeps_ours {
                    order.reaches_main = true;
                    return order;
                }
                if !keeps_ours {
                    order.unclear.get_or_insert(here);
                }
                // Routes of the main table for some destinations: ours are among them, nothing comes before.
                continue;
            }
            RuleAction::Lookup(table) => StepKind::Table(table, rule.suppress),
            RuleAction::Blackhole | RuleAction::Unreachable | RuleAction::Prohibit => {
                StepKind::Refuse
            }
        };
        order.before_main.push(Step {
            to,
            kind,
            rule: Some(here),
        });
    }
    order
}

/// Whether another program made rules: else the built-in order needs no question to the kernel.
pub(crate) fn are_default(rules: &[Rule]) -> bool {
    let plain = |rule: &Rule| match rule.action {
        RuleAction::Lookup(table) => DEFAULT_TABLES.contains(&table) && rule.has_no_selector(),
        RuleAction::Goto(_)
        | RuleAction::Blackhole
        | RuleAction::Unreachable
        | RuleAction::Prohibit
        | RuleAction::Nop
        | RuleAction::LookupVrf => false,
    };
    rules.is_empty() || (rules.len() == DEFAULT_TABLES.len() && rules.iter().all(plain))
}

fn everything() -> Ipv4Network {
    Ipv4Network::new(Ipv4Addr::UNSPECIFIED, 0).expect("0 is a prefix length")
}

impl Rule {
    fn has_no_selector(&self) -> bool {
        let Self {
            priority: _,
            inverted,
            from,
            to,
            iif,
            oif,
            mark,
            selective,
            action: _,
            suppress,
        } = self;
        !inverted
            && from.is_none()
            && to.is_none()
            && iif.is_none()
            && oif.is_none()
            && mark.is_none()
            && !selective
            && suppress.is_none()
    }

    fn applies(&self, sender: &Sender) -> Applies {
        let describes = self.describes(sender);
        match (self.inverted, describes, self.to) {
            (false, false, _) => Applies::Never,
            (_, true, _) if self.selective => Applies::Unclear,
            (false, true, to) => Applies::To(to.unwrap_or(everything())),
            (true, false, _) => Applies::To(everything()),
            (true, true, None) => Applies::Never,
            (true, true, Some(_)) => Applies::Unclear,
        }
    }

    /// Whether the rule describes packets of `sender`, whatever their destination. They carry no mark, and are bound to no
    /// interface.
    fn describes(&self, sender: &Sender) -> bool {
        let from = match (self.from, sender) {
            (None, _) => true,
            // A packet of the host gets its source after the search.
            (Some(network), Sender::Host) => network.prefix() == 0,
            (Some(network), Sender::Pod { address, .. }) => network.contains(*address),
        };
        let iif = match (&self.iif, sender) {
            (None, _) => true,
            (Some(name), Sender::Host) => name == "lo",
            (Some(name), Sender::Pod { bridge, .. }) => **name == **bridge,
        };
        let unmarked = self.mark.is_none_or(|(mark, mask)| mark & mask == 0);
        from && iif && unmarked && self.oif.is_none()
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.priority)?;
        if self.inverted {
            f.write_str(" not")?;
        }
        match self.from {
            Some(from) => write!(f, " from {from}")?,
            None => f.write_str(" from all")?,
        }
        if let Some(to) = self.to {
            write!(f, " to {to}")?;
        }
        if let Some(iif) = &self.iif {
            write!(f, " iif {iif}")?;
        }
        if let Some(oif) = &self.oif {
            write!(f, " oif {oif}")?;
        }
        if let Some((mark, mask)) = self.mark {
            write!(f, " fwmark {mark:#x}/{mask:#x}")?;
        }
        match self.action {
            RuleAction::Lookup(table) => write!(f, " lookup {table}"),
            RuleAction::Goto(priority) => write!(f, " goto {priority}"),
            RuleAction::Blackhole => f.write_str(" blackhole"),
            RuleAction::Unreachable => f.write_str(" unreachable"),
            RuleAction::Prohibit => f.write_str(" prohibit"),
            RuleAction::Nop => f.write_str(" nop"),
            RuleAction::LookupVrf => f.write_str(" lookup [l3mdev-table]"),
        }
    }
}
