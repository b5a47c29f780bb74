//! Says in words what a restart would change on this host after the network config in etcd has
//! changed. A running daemon keeps the configuration that it started with. Pure.

use std::fmt;

use crate::model::network_config::NetworkConfig;

impl NetworkConfig {
    /// Returns one sentence for each setting that differs between this configuration and `now`.
    pub fn differences(&self, now: &Self) -> Vec<String> {
        let (old, new) = (&self.vxlan, &now.vxlan);
        let other_subnet = "take another subnet if ours is outside the new range";
        let other_device = format!(
            "make the device {} and remove {}",
            new.vni.device(),
            old.vni.device()
        );
        [
            difference(
                "Network",
                self.network,
                now.network,
                "take a subnet of the new network",
            ),
            difference(
                "SubnetLen",
                self.subnet_len,
                now.subnet_len,
                "take a subnet of the new size",
            ),
            difference("SubnetMin", self.subnet_min, now.subnet_min, other_subnet),
            difference("SubnetMax", self.subnet_max, now.subnet_max, other_subnet),
            difference("Backend.VNI", old.vni, new.vni, &other_device),
            difference("Backend.Port", old.port, new.port, "recreate the device"),
            difference("Backend.GBP", old.gbp, new.gbp, "recreate the device"),
            difference(
                "Backend.Learning",
                old.learning,
                new.learning,
                "change the device",
            ),
            difference(
                "Backend.MTU",
                mtu(old.mtu),
                mtu(new.mtu),
                "change the MTU of the device, and of pods that start after it",
            ),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

fn difference<T: PartialEq + fmt::Display>(
    name: &str,
    before: T,
    now: T,
    effect: &str,
) -> Option<String> {
    if before == now {
        return None;
    }
    Some(format!(
        "{name} {before} -> {now}: a restart would {effect}"
    ))
}

fn mtu(mtu: Option<u32>) -> String {
    mtu.map_or("that of the interface".to_owned(), |mtu| mtu.to_string())
}
