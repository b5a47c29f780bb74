//! Runs the preflight checks once and logs a warning for each problem. It judges nothing itself.

use tokio::sync::watch;
use tracing::{debug, warn};

use crate::host::port::HostFacts;
use crate::host::vxlan_conflicts::{self, NeededDevice, PortUse};
use crate::model::membership::Membership;

/// Returns the ports in use as they are before the daemon creates its device.
pub(crate) async fn port_use(facts: impl HostFacts) -> PortUse {
    facts.port_use().await.unwrap_or_else(|reason| {
        debug!(
            reason,
            "not checking for conflicts with other VXLAN devices"
        );
        PortUse::default()
    })
}

/// Waits until the network config is known, and checks for what conflicts with the device that it asks for.
pub(crate) async fn check_network(
    port_use: PortUse,
    mut membership: watch::Receiver<Option<Membership>>,
) {
    if let Some(warnings) = conflicts(&port_use, &mut membership).await {
        warn_all(&warnings);
    }
}

/// Returns the conflicts, or `None` if the daemon stops before the network config is known.
async fn conflicts(
    port_use: &PortUse,
    membership: &mut watch::Receiver<Option<Membership>>,
) -> Option<Vec<String>> {
    let joined = membership.wait_for(Option::is_some).await.ok()?;
    let needed = NeededDevice::of(&joined.as_ref()?.config);
    Some(vxlan_conflicts::warnings(&needed, port_use))
}

fn warn_all(warnings: &[String]) {
    for warning in warnings {
        warn!("{warning}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::table::tests::membership;

    /// A host of which only the ports in use are known, or not even these.
    struct FakeHostFacts(Result<PortUse, String>);

    impl HostFacts for FakeHostFacts {
        async fn port_use(&self) -> Result<PortUse, String> {
            self.0.clone()
        }
    }

    #[tokio::test]
    async fn ports_that_cannot_be_read_are_no_conflict() {
        let facts = FakeHostFacts(Err("failed to list interfaces".to_owned()));
        assert_eq!(port_use(facts).await, PortUse::default());
    }

    #[tokio::test]
    async fn conflicts_are_known_once_the_host_has_joined() {
        let port_use = PortUse {
            udp_ports: vec![8472],
            ..PortUse::default()
        };
        let facts = FakeHostFacts(Ok(port_use));
        let port_use = super::port_use(facts).await;
        let (sender, mut receiver) = watch::channel(None);
        let join = async { sender.send_replace(Some(membership())) };
        let (warnings, _) = tokio::join!(conflicts(&port_use, &mut receiver), join);
        let warnings = warnings.expect("the host has joined");
        assert_eq!(warnings.len(), 1, "{warnings:?}");
    }

    #[tokio::test]
    async fn a_daemon_that_stops_before_it_joins_checks_nothing() {
        let (sender, mut receiver) = watch::channel(None);
        drop(sender);
        let conflicts = conflicts(&PortUse::default(), &mut receiver).await;
        assert_eq!(conflicts, None);
    }
}
