//! Owns looking once, at the start, whether this host is fit for the overlay, and saying what is not. What that is, is
//! `preflight`'s.

use tokio::sync::watch;
use tracing::{debug, warn};

use crate::adapters::netlink::Netlink;
use crate::host::checks;
use crate::host::checks::PortUse;
use crate::model::external_interface::ExternalInterface;
use crate::model::membership::Membership;
use crate::overlay::desired::DesiredOverlay;
use crate::overlay::settings::OverlaySettings;

/// Says what is wrong with the host, and answers what is to be held against the network's configuration.
pub(crate) async fn of_host(netlink: &Netlink, external: &ExternalInterface) -> PortUse {
    checks::settings(&netlink.settings(&external.name))
        .iter()
        .for_each(|sentence| warn!("{sentence}"));
    netlink.preflight().await.unwrap_or_else(|error| {
        debug!(%error, "other vxlan devices are not known");
        PortUse::default()
    })
}

/// Waits until the network is known, and says what is in the way of our device.
pub(crate) async fn of_network(
    found: PortUse,
    local: OverlaySettings,
    mut joined: watch::Receiver<Option<Membership>>,
) {
    let Ok(membership) = joined
        .wait_for(Option::is_some)
        .await
        .map(|joined| joined.clone())
    else {
        return;
    };
    if let Some(membership) = membership {
        let overlay = DesiredOverlay::new(&membership, &local);
        checks::neighbours(overlay.device(), &found)
            .iter()
            .for_each(|sentence| warn!("{sentence}"));
    }
}
