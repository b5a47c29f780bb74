//! The packet filter on a node without nft, whose iptables takes a lock that belongs to root.

use anyhow::{Result, ensure};
use integration::{Rack, SLOW, eventually};

/// With the drop-in that the package offers. Docker's chains go along: where they are decides which iptables it is.
const TO_LEGACY: &str =
    "systemctl stop docker.socket docker; nft flush ruleset; mv /usr/sbin/nft /usr/sbin/nft.away
    update-alternatives --quiet --set iptables /usr/sbin/iptables-legacy
    install -D -m 0644 /usr/share/doc/flanneld/iptables-legacy.conf \
        /etc/systemd/system/flanneld.service.d/iptables-legacy.conf
    systemctl daemon-reload; systemctl restart flanneld; systemctl start docker";

const BACK_TO_NFT: &str = "systemctl stop docker.socket docker flanneld
    for table in filter nat mangle raw; do iptables-legacy -t $table -F; iptables-legacy -t $table -X; done
    iptables-legacy -P FORWARD ACCEPT
    mv /usr/sbin/nft.away /usr/sbin/nft; update-alternatives --quiet --set iptables /usr/sbin/iptables-nft
    rm /etc/systemd/system/flanneld.service.d/iptables-legacy.conf
    systemctl daemon-reload; systemctl start flanneld; systemctl start docker";

pub fn iptables_legacy_works_without_root(rack: &mut Rack) -> Result<()> {
    let node = rack.node(3);
    node.sh(TO_LEGACY)?;
    let rules =
        node.sh("iptables-legacy -S FLANNEL-FWD; iptables-legacy -t nat -S FLANNEL-POSTRTG")?;
    ensure!(
        rules.contains("ACCEPT") && rules.contains("MASQUERADE"),
        "{rules}"
    );
    // Docker came after us and put its own first: that is found by polling.
    eventually(SLOW, "our accept to be first", || {
        let chain = node.sh("iptables-legacy -S FORWARD")?;
        let first = chain
            .lines()
            .find(|line| line.starts_with("-A"))
            .unwrap_or_default();
        ensure!(first.contains("FLANNEL-FWD"), "{chain}");
        Ok(())
    })?;
    let process = node.sh(
        "ps -o user= -p $(systemctl show flanneld -P MainPID); systemd-analyze security flanneld",
    )?;
    ensure!(
        process.starts_with("flanneld") && !process.contains("UNSAFE"),
        "{process}"
    );
    node.sh(BACK_TO_NFT).map(drop)
}
