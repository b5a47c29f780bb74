//! States and actions as text.

use super::*;
use crate::conditions::Problem;
use crate::lease::manager::state::ListOutcome;
use crate::peers::update::LeaseUpdate;

fn until(at: Duration) -> String {
    format!("{}ms", at.saturating_sub(NOW).as_millis())
}

pub(super) fn state_text(state: &LeaseState) -> String {
    match state {
        LeaseState::Relisting { at } => format!("relisting in {}", until(*at)),
        LeaseState::Unreachable { retry_at } => {
            format!("unreachable, retry in {}", until(*retry_at))
        }
        LeaseState::Listing => "listing".to_owned(),
        LeaseState::Acquiring { .. } => "acquiring".to_owned(),
        LeaseState::AwaitingOwner { until: at } => format!("awaiting owner for {}", until(*at)),
        LeaseState::OpeningWatch(ListOutcome::Lease(held)) => {
            format!("opening watch for {}", held.own.subnet)
        }
        LeaseState::OpeningWatch(ListOutcome::Refused(held, no_lease)) => {
            format!(
                "opening watch for {}: {:?}",
                held.own.subnet, no_lease.blocker
            )
        }
        LeaseState::OpeningWatch(ListOutcome::NoLease(no_lease)) => {
            format!("opening watch: {:?}", no_lease.blocker)
        }
        LeaseState::Holding(holding) => {
            let renewal = holding.held.renewal;
            let renewal = renewal.map_or("never".to_owned(), |renewal| {
                format!("in {}", until(renewal.at))
            });
            let write_back = holding.write_back.as_ref();
            let write_back = write_back.map_or(String::new(), |write_back| {
                format!(", write back in {}", until(write_back.at))
            });
            let subnet = holding.held.own.subnet;
            format!("holding {subnet}, renewal {renewal}{write_back}")
        }
        LeaseState::Waiting { no_lease, .. } => format!("waiting: {:?}", no_lease.blocker),
    }
}

pub(super) fn is_request(action: &LeaseAction) -> bool {
    match action {
        LeaseAction::List
        | LeaseAction::Acquire(_)
        | LeaseAction::OpenWatch { .. }
        | LeaseAction::KeepAlive(_)
        | LeaseAction::WriteBack { .. }
        | LeaseAction::LookUp(_) => true,
        LeaseAction::CloseWatch
        | LeaseAction::Publish(_)
        | LeaseAction::SetEtcdReachable(_)
        | LeaseAction::LogReachableAgain(_)
        | LeaseAction::SetLeaseHeld(_)
        | LeaseAction::ShowIgnored(_)
        | LeaseAction::ShowCounts(_) => false,
    }
}

pub(super) fn text(action: &LeaseAction) -> String {
    match action {
        LeaseAction::List => "list".to_owned(),
        LeaseAction::Acquire(request) => {
            format!(
                "acquire in {} {:?}",
                request.config.network, request.courtesy
            )
        }
        LeaseAction::OpenWatch { from } => format!("watch from {from}"),
        LeaseAction::KeepAlive(lease) => format!("keep alive {lease}"),
        LeaseAction::WriteBack { read, .. } => {
            format!("write back over {} on {:?}", read.revision, read.lease)
        }
        LeaseAction::LookUp(subnet) => format!("look up {subnet}"),
        LeaseAction::CloseWatch => "close watch".to_owned(),
        LeaseAction::Publish(update) => update_text(update),
        LeaseAction::SetEtcdReachable(status) => format!("etcd {}", status_text(status)),
        LeaseAction::LogReachableAgain(_) => "log the end of the outage".to_owned(),
        LeaseAction::SetLeaseHeld(status) => format!("lease {}", status_text(status)),
        LeaseAction::ShowCounts(counts) => format!("count {}", counts.used),
        LeaseAction::ShowIgnored(reasons) => format!("ignored {}", reasons.len()),
    }
}

fn status_text(status: &Result<(), Problem>) -> String {
    match status {
        Ok(()) => "true".to_owned(),
        Err(problem) => format!("false ({problem})"),
    }
}

fn update_text(update: &LeaseUpdate) -> String {
    match update {
        LeaseUpdate::Unreachable { .. } => "tell unreachable".to_owned(),
        LeaseUpdate::Waiting => "tell waiting".to_owned(),
        LeaseUpdate::Synced => "tell synced".to_owned(),
        LeaseUpdate::SubnetTaken(subnet) => format!("tell {subnet} taken"),
        LeaseUpdate::Joined(membership) => format!("tell joined {}", membership.own.subnet),
        LeaseUpdate::Suspect => "tell suspect".to_owned(),
        LeaseUpdate::Leases(leases) => format!("tell {} leases", leases.usable.len()),
        LeaseUpdate::Changes(changes) => format!("tell {} changes", changes.len()),
    }
}
