//! Questions about the devices of this host.

use futures_util::TryStreamExt as _;
use netlink_packet_route::link::LinkMessage;
use nix::libc;

use crate::adapters::netlink::requests::{answer, answer_if_any};
use crate::adapters::netlink::{Netlink, decode, name_of};
use crate::overlay::port::KernelError;
use crate::overlay::state::Device;

impl Netlink {
    /// Returns all vxlan devices of this host: `ip -details link show type vxlan`.
    ///
    /// # Errors
    /// The kernel refuses the request or does not answer in time.
    pub(crate) async fn vxlans(&self) -> Result<Vec<Device>, KernelError> {
        let links = self.links().await?;
        Ok(links
            .iter()
            .filter_map(|message| decode::vxlan::device(message, name_of))
            .collect())
    }

    /// Returns the messages about all interfaces, in the order of their indexes.
    pub(super) async fn links(&self) -> Result<Vec<LinkMessage>, KernelError> {
        list(&self.handle).await
    }

    /// Returns the message about the interface with this name, if there is one.
    pub(super) async fn link(&self, name: &str) -> Result<Option<LinkMessage>, KernelError> {
        let request = self.handle.link().get().match_name(name.to_owned());
        let links = request.execute().try_collect::<Vec<_>>();
        let operation = format!("look up device \"{name}\"");
        let links = answer_if_any(&operation, links, &[libc::ENODEV]).await?;
        Ok(links.and_then(|links| links.into_iter().next()))
    }
}

/// Returns the messages about all interfaces, in the order of their indexes.
pub(super) async fn list(handle: &rtnetlink::Handle) -> Result<Vec<LinkMessage>, KernelError> {
    let links = handle.link().get().execute();
    answer("list interfaces", links.try_collect()).await
}
