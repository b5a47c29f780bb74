//! Beside an operator's source NAT: which address the world sees depends neither on the order of the rules nor on the tool
//! that carries ours; and an operator can choose another address. Needs root.

use std::net::Ipv4Addr;

use anyhow::{Result, ensure};
use integration::{
    CONFIG, CONFIG_KEY, Flanneld, Host, Iptables, Lab, Pod, Process, QUICK, eventually, in_lab,
    tool,
};

const PORT: u16 = 8080;
/// A second address of the node.
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 99, 1, 77);
/// The tool that carries our rules, and the one that carries those of the operator.
const BACK_ENDS: [(&str, Iptables); 4] = [
    ("--firewall=nftables", Iptables::Nft),
    ("--firewall=nftables", Iptables::Legacy),
    ("--firewall=iptables", Iptables::Nft),
    ("--firewall=iptables", Iptables::Legacy),
];
/// As operators write it.
const SNAT: &str = "POSTROUTING -s 10.5.0.0/16 -o eth0 -j SNAT --to-source 10.99.1.77";

/// A node with a pod, and a second host, without a daemon, that is the outside.
struct Scene<'a> {
    node: &'a Host,
    firewall: &'static str,
    tool: &'static str,
    pod: Pod,
    outside: String,
    daemon: Flanneld,
    _server: Process,
}

impl<'a> Scene<'a> {
    /// `before` is what the operator has set up before the daemon starts.
    fn new(
        lab: &'a Lab,
        (firewall, iptables): (&'static str, Iptables),
        before: &str,
    ) -> Result<Self> {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let (node, outside, name) = (lab.host(1), lab.host(2), iptables.name());
        // A chain by which the daemon sees which iptables is in use here.
        node.sh(&format!(
            "{name} -t nat -N KUBE-SERVICES; ip address add {OTHER}/16 dev eth0; {before}"
        ))?;
        let daemon = start(node, firewall)?;
        node.docker0()?;
        let pod = node.pod()?;
        let server = outside.start(
            &[&tool("whoami")?, "serve", &PORT.to_string()],
            &[],
            "whoami",
        )?;
        eventually(QUICK, "the server to listen", || {
            outside.sh("ss -Hltn sport = :8080 | grep -q 8080")
        })?;
        let outside = format!("{}:{PORT}", outside.address());
        Ok(Self {
            node,
            firewall,
            tool: name,
            pod,
            outside,
            daemon,
            _server: server,
        })
    }

    /// The address under which the pod is seen must be this one.
    fn check(&self, expected: Ipv4Addr, when: &str) -> Result<()> {
        for protocol in ["tcp", "udp"] {
            let seen = self
                .pod
                .run(&[&tool("whoami")?, "ask", protocol, &self.outside])?;
            let case = format!("{}, {}, {when}, {protocol}", self.firewall, self.tool);
            ensure!(
                seen.starts_with(&format!("{expected}:")),
                "{case}: {seen} instead of {expected}"
            );
        }
        Ok(())
    }

    /// Whatever happens to our rules and to his, the address stays.
    fn check_always(&mut self, expected: Ipv4Addr, his_again: &str) -> Result<()> {
        self.check(expected, "his rules first")?;
        self.daemon.kill()?;
        self.daemon = start(self.node, self.firewall)?;
        self.check(expected, "after a restart")?;
        self.take_ours_away()?;
        self.check(expected, "after a repair")?;
        self.node.sh(his_again)?;
        self.check(expected, "his rules last")
    }

    fn take_ours_away(&self) -> Result<()> {
        let (nat, table) = (
            format!("{} -w -t nat", self.tool),
            "nft list table ip flannel.1 2>/dev/null",
        );
        let jump = "POSTROUTING -m comment --comment 'flanneld masq' -j FLANNEL-POSTRTG";
        self.node.sh(&format!(
            "nft delete table ip flannel.1 2>/dev/null || {nat} -D {jump}"
        ))?;
        // Either comes back in one piece.
        let ours = format!("{table} | grep -q masquerade || {nat} -C {jump}");
        eventually(QUICK, "our rules again", || self.node.sh(&ours))?;
        Ok(())
    }
}

#[test]
fn an_operators_snat_rule_gives_the_same_result_in_any_order() -> Result<()> {
    for back_end in BACK_ENDS {
        in_lab(2, |lab| {
            let name = back_end.1.name();
            let mut scene = Scene::new(lab, back_end, &format!("{name} -w -t nat -A {SNAT}"))?;
            let again = format!("{name} -w -t nat -D {SNAT}; {name} -w -t nat -A {SNAT}");
            scene.check_always(lab.host(1).address(), &again)?;
            // The rule works: without ours it is the one that decides.
            scene.daemon.kill()?;
            scene.node.sh(&format!(
                "nft delete table ip flannel.1 2>/dev/null || {name} -t nat -F FLANNEL-POSTRTG"
            ))?;
            scene.check(OTHER, "without our rules")
        })?;
    }
    Ok(())
}

#[test]
fn an_operators_snat_table_in_nftables_gives_the_same_result_in_any_order() -> Result<()> {
    // The chains of iptables have the same priority as his, and we cannot give them another.
    for back_end in BACK_ENDS
        .into_iter()
        .filter(|(firewall, _)| firewall.ends_with("nftables"))
    {
        in_lab(2, |lab| {
            let table = table("srcnat");
            let mut scene = Scene::new(lab, back_end, &table)?;
            let again = format!("nft delete table ip egress; {table}");
            scene.check_always(lab.host(1).address(), &again)
        })?;
    }
    Ok(())
}

#[test]
fn a_chain_with_an_earlier_priority_gives_pods_the_operators_address() -> Result<()> {
    for back_end in BACK_ENDS {
        in_lab(2, |lab| {
            let table = table("90");
            let mut scene = Scene::new(lab, back_end, &table)?;
            scene.check_always(OTHER, &format!("nft delete table ip egress; {table}"))
        })?;
    }
    Ok(())
}

#[test]
fn a_mark_gives_pods_the_operators_address_without_nft() -> Result<()> {
    for back_end in BACK_ENDS {
        in_lab(2, |lab| {
            let name = back_end.1.name();
            let mark = "POSTROUTING -s 10.5.0.0/16 -o eth0 -j MARK --or-mark 0x4000";
            let before = format!("{name} -w -t mangle -A {mark}; {name} -w -t nat -A {SNAT}");
            let mut scene = Scene::new(lab, back_end, &before)?;
            scene.check_always(
                OTHER,
                &format!("{name} -w -t nat -D {SNAT}; {name} -w -t nat -A {SNAT}"),
            )
        })?;
    }
    Ok(())
}

fn start(node: &Host, firewall: &str) -> Result<Flanneld> {
    node.flanneld()
        .arg(firewall)
        .arg("--iptables-resync=1")
        .start_ready()
}

/// The operator's own table, with this priority.
fn table(priority: &str) -> String {
    format!(
        "nft 'table ip egress {{ chain postrouting {{ type nat hook postrouting priority {priority};
            ip saddr 10.5.0.0/16 oifname eth0 snat to {OTHER}; }}; }}'"
    )
}
