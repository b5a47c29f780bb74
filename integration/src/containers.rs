//! Containers of a node's Docker. It owns the words for Docker; what is in them is busybox, since there is no registry.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::node::{BOOT, Node};
use crate::ping::Ping;
use crate::process::Process;
use crate::{command, netns::words};

/// An image from Debian's busybox-static.
const IMPORT: &str = "docker image inspect lab > /dev/null 2>&1 || {
    mkdir -p /root/image/bin; cp /bin/busybox /root/image/bin/; ln -sf busybox /root/image/bin/sh
    tar -C /root/image -c . | docker import - lab > /dev/null
}";

impl Node {
    /// Starts a container that Docker also starts after a reboot; returns its address. As process 1,
    /// busybox ignores SIGTERM: Docker would wait ten seconds for its end at each restart.
    ///
    /// # Errors
    /// When Docker does not run, or refuses.
    pub fn run_container(&self, name: &str) -> Result<Ipv4Addr> {
        self.sh_within(BOOT, IMPORT)?;
        self.sh(&format!(
            "docker run --detach --restart=always --stop-signal=KILL --name={name} lab /bin/busybox sleep 100000"
        ))?;
        self.container_address(name)
    }

    /// The address that Docker gave to a container.
    ///
    /// # Errors
    /// When it does not run.
    pub fn container_address(&self, name: &str) -> Result<Ipv4Addr> {
        let address = self.inspect(name, "{{.NetworkSettings.IPAddress}}")?;
        address
            .parse()
            .with_context(|| format!("{name} has the address {address:?}"))
    }

    /// One field of what Docker knows of a container.
    ///
    /// # Errors
    /// When there is no such container.
    pub fn inspect(&self, name: &str, field: &str) -> Result<String> {
        Ok(self
            .sh(&format!("docker inspect -f '{field}' {name}"))?
            .trim()
            .to_owned())
    }

    /// Pings from the network of a container, once per `interval`; the program is the lab's own.
    ///
    /// # Errors
    /// When there is no such container, or ping cannot be started.
    pub fn ping_from(&self, container: &str, target: Ipv4Addr, interval: Duration) -> Result<Ping> {
        let enter = self.entering(container)?;
        Ping::start_with(target, interval, |argv, log| {
            let line = [enter.clone(), words(argv)].concat();
            Process::start(&line, &[], &self.log(log))
        })
    }

    /// Runs a command of the lab in the network of a container.
    ///
    /// # Errors
    /// When there is no such container, or the command fails.
    pub fn run_in(&self, container: &str, argv: &[&str]) -> Result<String> {
        let line = [self.entering(container)?, words(argv)].concat();
        command::finish(&line, "", command::DEADLINE)?.success()
    }

    /// Enters the network alone, so that the program that is started stays our child.
    fn entering(&self, container: &str) -> Result<Vec<String>> {
        let key = self.inspect(container, "{{.NetworkSettings.SandboxKey}}")?;
        // /var/run is an absolute link, which would lead out of the node.
        let netns = self.path(&key.replacen("/var/run/", "/run/", 1))?;
        Ok(words(&[
            "nsenter",
            &format!("--net={}", netns.display()),
            "--",
        ]))
    }
}
