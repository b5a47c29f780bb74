//! Machines that have one PublicIP: a machine that was replaced by another one, clones, and what the link and etcd tell of
//! them. Needs root.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use integration::{
    CONFIG, CONFIG_KEY, Flanneld, Host, Lab, Lease, Ping, SLOW, eventually, in_lab, messages,
};

/// The address of host 1, which its successor gets.
const ADDRESS: &str = "10.99.1.1";

/// Gives a host the address of host 1, as a cloud gives the address of a machine that is gone to the next one.
fn give_address_of_host_1(host: &Host) -> Result<()> {
    host.sh(
        "ip address flush dev eth0; ip address add 10.99.1.1/16 dev eth0
             ip route replace default via 10.99.0.1",
    )
    .map(drop)
}

/// Lets a host reach etcd from an address that no other host has, whatever PublicIP it has.
fn reach_etcd_from(host: &Host, address: &str) -> Result<()> {
    host.sh(&format!(
        "ip address add {address}/32 dev eth0; ip route replace 10.99.0.1 dev eth0 src {address}"
    ))
    .map(drop)
}

fn start_first(lab: &Lab) -> Result<(Flanneld, Lease)> {
    lab.etcd.put(CONFIG_KEY, CONFIG)?;
    let first = lab
        .host(1)
        .flanneld()
        .arg("--node-id=alpha")
        .start_ready()?;
    Ok((first, lab.etcd.lease_at(ADDRESS)?))
}

fn start_second(lab: &Lab) -> Result<Flanneld> {
    lab.host(2).flanneld().arg("--node-id=beta").start()
}

/// Ends host 1 without a trace, and gives its address to host 2.
fn replace_host_1(lab: &Lab, first: &Flanneld) -> Result<()> {
    first.kill()?;
    lab.host(1).unplug()?;
    give_address_of_host_1(lab.host(2))
}

fn is_ready(daemon: &Flanneld) -> bool {
    daemon.told().contains(&"READY=1".to_owned())
}

#[test]
fn a_successor_gets_the_lease_within_seconds_and_the_old_machine_another_one() -> Result<()> {
    in_lab(3, |lab| {
        let (first, before) = start_first(lab)?;
        let _third = lab.host(3).flanneld().start_ready()?;
        replace_host_1(lab, &first)?;
        let started = Instant::now();
        let second = start_second(lab)?;
        second.wait_for_log(messages::TAKING_OVER_FROM_ALPHA)?;
        second.wait_ready()?;
        println!(
            "figure: the successor was ready after {:?}",
            started.elapsed()
        );
        let now = lab.etcd.lease_at(ADDRESS)?;
        ensure!(
            now.subnet == before.subnet && now.mac != before.mac,
            "{now:?}"
        );
        lab.host(3).wait_for_route(&now)?;
        lab.host(2).docker0()?;
        lab.host(3).docker0()?;
        let (to, from) = (lab.host(2).pod()?, lab.host(3).pod()?);
        Ping::start(&from, to.address(), Duration::from_millis(50))?.wait_for_answer()?;
        // The old machine comes back, under another address.
        lab.host(1).sh(
            "ip address flush dev eth0; ip address add 10.99.1.77/16 dev eth0
             ip route replace default via 10.99.0.1",
        )?;
        lab.host(1).plug()?;
        let first = lab
            .host(1)
            .flanneld()
            .arg("--node-id=alpha")
            .start_ready()?;
        ensure!(
            first
                .log()?
                .contains(messages::ANOTHER_HOST_HOLDS_OUR_SUBNET)
        );
        ensure!(lab.etcd.lease_at("10.99.1.77")?.subnet != before.subnet);
        ensure!(lab.etcd.lease_at(ADDRESS)? == now && second.is_running());
        Ok(())
    })
}

#[test]
fn an_old_machine_that_comes_back_with_its_address_waits_and_names_its_successor() -> Result<()> {
    in_lab(2, |lab| {
        let (first, _) = start_first(lab)?;
        replace_host_1(lab, &first)?;
        reach_etcd_from(lab.host(2), "10.99.1.202")?;
        let second = start_second(lab)?;
        second.wait_ready()?;
        let now = lab.etcd.lease_at(ADDRESS)?;
        reach_etcd_from(lab.host(1), "10.99.1.201")?;
        lab.host(1).plug()?;
        let first = lab.host(1).flanneld().arg("--node-id=alpha").start()?;
        first.wait_for_log(messages::PUBLIC_IP_IN_USE_BY_BETA_AT_HOST_1)?;
        let log = first.log()?;
        let mac = lab.host(2).link("eth0")?.mac;
        ensure!(log.contains(&messages::answers_on_eth0(&mac)), "{log}");
        ensure!(!is_ready(&first) && first.is_running());
        ensure!(lab.etcd.lease_at(ADDRESS)? == now);
        Ok(())
    })
}

#[test]
fn of_two_clones_on_one_link_the_second_waits_and_writes_nothing() -> Result<()> {
    in_lab(2, |lab| {
        let (first, before) = start_first(lab)?;
        give_address_of_host_1(lab.host(2))?;
        reach_etcd_from(lab.host(2), "10.99.1.202")?;
        let revision = lab.etcd.revision()?;
        let second = start_second(lab)?;
        second.wait_for_log(messages::IN_USE_BY_ALPHA)?;
        let log = second.log()?;
        let mac = lab.host(1).link("eth0")?.mac;
        ensure!(log.contains(&messages::answers_on_eth0(&mac)), "{log}");
        ensure!(!is_ready(&second) && lab.etcd.revision()? == revision);
        // A daemon that is stopped does not end the life of its host: its pods go on.
        second.stop()?;
        first.stop()?;
        let second = start_second(lab)?;
        second.wait_for_log(messages::IN_USE_BY_ALPHA)?;
        ensure!(lab.etcd.lease_at(ADDRESS)? == before && lab.etcd.revision()? == revision);
        Ok(())
    })
}

#[test]
fn a_clone_on_another_link_waits_because_the_daemon_of_the_first_renews_its_lease() -> Result<()> {
    in_lab(2, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        // As Vagrant machines: each has 10.0.2.15 on a link of its own.
        for host in lab.hosts() {
            host.sh("ip link add nat0 type veth peer name nat1; ip link set nat0 up; ip link set nat1 up
                     ip address add 10.0.2.15/24 dev nat0")?;
        }
        let vagrant = |host: u8, id: &str| {
            let command = lab.host(host).flanneld().without("--iface");
            command.args(&["--iface=nat0", id]).start()
        };
        let first = vagrant(1, "--node-id=alpha")?;
        first.wait_ready()?;
        let before = lab.etcd.lease_at("10.0.2.15")?;
        let second = vagrant(2, "--node-id=beta")?;
        second.wait_for_log(messages::IN_USE_BY_ALPHA)?;
        let log = second.log()?;
        ensure!(log.contains(messages::RENEWS_WHEN_ASKED), "{log}");
        ensure!(!is_ready(&second) && lab.etcd.lease_at("10.0.2.15")? == before);
        ensure!(lab.etcd.leases()?.len() == 1);
        Ok(())
    })
}

#[test]
fn a_machine_that_was_replaced_during_a_partition_gives_way() -> Result<()> {
    in_lab(2, |lab| {
        reach_etcd_from(lab.host(1), "10.99.1.201")?;
        let (first, before) = start_first(lab)?;
        lab.host(1).unplug()?;
        give_address_of_host_1(lab.host(2))?;
        reach_etcd_from(lab.host(2), "10.99.1.202")?;
        let second = start_second(lab)?;
        second.wait_ready()?;
        let now = lab.etcd.lease_at(ADDRESS)?;
        ensure!(now.subnet == before.subnet);
        lab.host(1).plug()?;
        first.wait_for_log(messages::PUBLIC_IP_IN_USE_BY_BETA_AT_HOST_1)?;
        ensure!(lab.etcd.lease_at(ADDRESS)? == now, "it is not written over");
        ensure!(!second.log()?.contains(messages::KEY_OVERWRITTEN));
        // It gets another address, and with it another subnet.
        lab.host(1)
            .sh("ip address del 10.99.1.1/16 dev eth0; ip route replace 10.99.0.0/16 dev eth0")?;
        eventually(SLOW, "another lease", || {
            let own = lab.etcd.lease_at("10.99.1.201")?;
            ensure!(own.subnet != before.subnet, "{own:?}");
            Ok(())
        })?;
        ensure!(lab.etcd.lease_at(ADDRESS)? == now);
        Ok(())
    })
}

#[test]
fn a_second_interface_of_the_same_host_on_the_link_is_no_other_machine() -> Result<()> {
    in_lab(2, |lab| {
        let (first, before) = start_first(lab)?;
        replace_host_1(lab, &first)?;
        // The kernel answers ARP for any of its addresses on any interface.
        let pid = lab.host(2).pid();
        lab.underlay.sh(&format!(
            "ip link add second type veth peer name eth1 netns {pid}
             bridge=$(ip -o link show type bridge | awk -F': ' '{{print $2; exit}}')
             ip link set second master $bridge up"
        ))?;
        lab.host(2)
            .sh("ip link set eth1 up; ip address add 10.99.1.211/32 dev eth1")?;
        let second = start_second(lab)?;
        second.wait_ready()?;
        ensure!(lab.etcd.lease_at(ADDRESS)?.subnet == before.subnet);
        Ok(())
    })
}
