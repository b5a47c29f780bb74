//! What the documentation tells operators to type.

use anyhow::{Result, ensure};
use integration::Rack;

use crate::support::{C, recipe, subnet};

/// The block of commands in docs/how-to/cni.md, as it stands there.
pub fn the_cni_recipe_of_the_documentation_works(rack: &mut Rack) -> Result<()> {
    let node = rack.node(3);
    node.sh("systemctl stop docker.socket docker; ip link delete docker0")?;
    std::fs::write(node.path("/root/recipe.sh")?, recipe("docs/how-to/cni.md")?)?;
    let target = rack.node(1).container_address(C)?;
    node.sh("bash -eu /root/recipe.sh; ip netns add pod")?;
    let cni = |command: &str| {
        node.sh(&format!(
            "export CNI_COMMAND={command} CNI_CONTAINERID=pod CNI_NETNS=/run/netns/pod CNI_IFNAME=eth0 CNI_PATH=/usr/lib/cni
             /usr/lib/cni/bridge < /etc/cni/net.d/10-flannel.conf"
        ))
    };
    let added = cni("ADD")?;
    let prefix = subnet(node)?.replace(".1/24", ".");
    ensure!(added.contains(&prefix), "{added}");
    node.sh(&format!(
        "ip netns exec pod ping -c1 -W5 -Mdo -s 1422 {target}"
    ))?;
    cni("DEL")?;
    node.sh("ip netns delete pod; ip link delete cni0; systemctl start docker")
        .map(drop)
}
