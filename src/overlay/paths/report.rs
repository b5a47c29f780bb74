//! What is in front of our routes, in one sentence: how many peers it hides, one of them, the command that shows it and the
//! command that clears the way. Pure.

use std::fmt::Write as _;

use crate::conditions::{Problem, Reason};
use crate::overlay::desired::DesiredOverlay;
use crate::overlay::paths::Sender;
use crate::overlay::paths::rule::{Rule, RuleAction};
use crate::overlay::paths::shadows::{Cause, Shadow, hidden_peers};

/// Returns the problem, or `None` if nothing hides a peer.
pub(crate) fn problem(overlay: &DesiredOverlay, shadows: &[Shadow]) -> Option<Problem> {
    let first = shadows.first()?;
    let index = overlay.peers().index();
    let (hidden, all) = (hidden_peers(shadows, index), index.len());
    let (device, peer) = (&overlay.device().name, first.peer);
    let mut text = format!(
        "packets to {hidden} of {all} peers do not go through {device}, for example to {peer}: {}; \
         to see it: {}; to clear the way: {}",
        what(first),
        show(first),
        cure(overlay, first)
    );
    if shadows.len() > 1 {
        _ = write!(text, "; {} more are in the way", shadows.len() - 1);
    }
    Some(Problem::new(Reason::Shadowed, text))
}

fn what(shadow: &Shadow) -> String {
    match &shadow.cause {
        Cause::Route(route, None) => format!("the route \"{route}\" wins over ours"),
        Cause::Address(address, device) => format!("{device} has the address {address}"),
        Cause::Route(route, Some(rule)) => {
            format!("the rule \"{rule}\" comes first and finds the route \"{route}\"")
        }
        Cause::Rule(rule) => format!("the rule \"{rule}\" comes first"),
        Cause::Answer(answer, Some(rule)) => format!("{answer}, maybe by the rule \"{rule}\""),
        Cause::Answer(answer, None) => answer.clone(),
    }
}

fn show(shadow: &Shadow) -> String {
    match &shadow.cause {
        Cause::Route(route, None) => route.show(),
        Cause::Address(_, device) => format!("ip addr show {device}"),
        Cause::Route(route, Some(_)) => format!("ip rule; {}", route.show()),
        Cause::Rule(_) => "ip rule".to_owned(),
        Cause::Answer(..) => format!("ip rule; {}", shadow.query),
    }
}

fn cure(overlay: &DesiredOverlay, shadow: &Shadow) -> String {
    match &shadow.cause {
        Cause::Route(route, None) => format!("ip route del {route}"),
        Cause::Address(address, device) => {
            let is_docker = device.starts_with("docker");
            let hint = if is_docker { "restart Docker, or " } else { "" };
            format!("{hint}ip addr del {address} dev {device}")
        }
        Cause::Route(_, Some(rule)) | Cause::Rule(rule) => rule_in_front(overlay, rule),
        Cause::Answer(_, Some(rule)) if rule.action == RuleAction::LookupVrf => {
            match &shadow.query.sender {
                Sender::Pod { bridge, .. } => format!("ip link set {bridge} nomaster"),
                Sender::Host => rule_in_front(overlay, rule),
            }
        }
        Cause::Answer(_, Some(rule)) => rule_in_front(overlay, rule),
        Cause::Answer(_, None) => "ip rule add lookup main pref 32766".to_owned(),
    }
}

/// The rule of another program has its reason: ours goes in front of it, for the overlay alone.
fn rule_in_front(overlay: &DesiredOverlay, rule: &Rule) -> String {
    match rule.priority.checked_sub(1) {
        Some(priority) if priority > 0 => {
            let network = overlay.network();
            format!("ip rule add to {network} lookup main pref {priority}")
        }
        Some(_) | None => format!("ip rule del pref {}", rule.priority),
    }
}

#[cfg(test)]
mod tests;
