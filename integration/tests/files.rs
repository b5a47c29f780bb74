//! subnet.env and the options for Docker while other programs change them. Needs root.

use std::time::Instant;

use anyhow::{Result, ensure};
use integration::{CONFIG, CONFIG_KEY, Host, QUICK, SUBNET_ENV, eventually, in_lab, messages};

const DOCKER_OPTS: &str = "/run/flannel/docker_opts.env";

/// What other programs do, each with both files there before.
const DAMAGE: [&str; 7] = [
    "rm /run/flannel/subnet.env",
    ": > /run/flannel/subnet.env",
    "sed -i s/1450/1500/ /run/flannel/subnet.env",
    "echo FLANNEL_MTU=9000 >> /run/flannel/subnet.env",
    "mv /run/flannel/docker_opts.env /tmp/",
    "rm /run/flannel/subnet.env /run/flannel/docker_opts.env",
    "rm -r /run/flannel",
];

fn ensure_same(host: &Host, before: &[String; 2]) -> Result<()> {
    let now = texts(host)?;
    ensure!(now == *before, "{now:?}");
    Ok(())
}

fn texts(host: &Host) -> Result<[String; 2]> {
    Ok([host.read(SUBNET_ENV)?, host.read(DOCKER_OPTS)?])
}

#[test]
fn files_are_right_again_whatever_others_do_to_them() -> Result<()> {
    in_lab(1, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let daemon = lab.host(1).flanneld().start_ready()?;
        let host = lab.host(1);
        let before = texts(host)?;
        for damage in DAMAGE {
            host.sh(damage)?;
            let damaged = Instant::now();
            eventually(QUICK, damage, || ensure_same(host, &before))?;
            let milliseconds = damaged.elapsed().as_millis();
            println!("figure: {damage}: files right after {milliseconds} ms");
        }
        let log = daemon.log()?;
        ensure!(log.contains(messages::REPAIRED_THE_FILES), "{log}");
        Ok(())
    })
}

#[test]
fn nothing_is_written_while_nothing_changes() -> Result<()> {
    in_lab(1, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let daemon = lab.host(1).flanneld().start_ready()?;
        let host = lab.host(1);
        let inode = || host.sh("stat -c %i-%Z /run/flannel/*.env");
        let (before, log) = (inode()?, daemon.log()?);
        // Another file of the folder, and a reader.
        host.sh("echo > /run/flannel/other; cat /run/flannel/*.env; touch -a /run/flannel/other")?;
        // Its repair shows that what came before was handled.
        host.sh("rm /run/flannel/docker_opts.env")?;
        eventually(QUICK, "the options for Docker", || host.read(DOCKER_OPTS))?;
        let subnet_env = |all: &str| all.lines().last().map(str::to_owned);
        ensure!(
            subnet_env(&inode()?) == subnet_env(&before),
            "subnet.env was written"
        );
        let written = daemon.log()?.matches(messages::WROTE_THE_FILE).count();
        ensure!(written == log.matches(messages::WROTE_THE_FILE).count() + 1);
        Ok(())
    })
}
