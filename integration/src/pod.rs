//! A pod: a namespace with a cable to the bridge of its host. It owns its address and knows its
//! host only by number.

use std::net::Ipv4Addr;
use std::ops::Deref;
use std::path::Path;

use anyhow::{Context, Result};

use crate::netns::Netns;

/// A pod of the lab. Everything that a [`Netns`] offers works on it as well.
#[derive(Debug)]
pub struct Pod {
    netns: Netns,
    gateway: Ipv4Addr,
    prefix: String,
    offset: u8,
}

impl Pod {
    /// Makes the namespace. `subnet` is the bridge's address with its length, such as
    /// `172.16.99.1/24`; `offset` is how far the pod's address lies behind the subnet's first.
    pub(crate) fn new(dir: &Path, host: u8, subnet: &str, offset: u8) -> Result<Self> {
        let (gateway, prefix) = parse_subnet(subnet)?;
        Ok(Self {
            netns: Netns::new(&format!("host{host}-pod{offset}"), dir, None)?,
            gateway,
            prefix,
            offset,
        })
    }

    /// Gives the pod its address, once the cable is there.
    pub(crate) fn configure(&self, mtu: u32) -> Result<()> {
        let (address, prefix) = (self.address(), &self.prefix);
        self.sh(&format!(
            "ip address add {address}/{prefix} dev eth0
             ip link set eth0 mtu {mtu} up
             ip route add default via {}",
            self.gateway
        ))?;
        Ok(())
    }

    /// Its address on the overlay.
    pub fn address(&self) -> Ipv4Addr {
        let behind_gateway = u32::from(self.offset) - 1;
        Ipv4Addr::from_bits(self.gateway.to_bits() + behind_gateway)
    }

    pub(crate) fn offset(&self) -> u8 {
        self.offset
    }
}

impl Deref for Pod {
    type Target = Netns;
    fn deref(&self) -> &Netns {
        &self.netns
    }
}

fn parse_subnet(subnet: &str) -> Result<(Ipv4Addr, String)> {
    let (gateway, prefix) = subnet
        .split_once('/')
        .with_context(|| format!("expected ADDRESS/LENGTH, got {subnet:?}"))?;
    let address = gateway
        .parse()
        .with_context(|| format!("expected an IPv4 address, got {gateway:?}"))?;
    Ok((address, prefix.to_owned()))
}
