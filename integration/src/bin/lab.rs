//! Makes a lab and holds it until its input ends: for looking around by hand, and for the test
//! that a lab leaves nothing behind. It starts no daemon.

use std::io::stdin;

use anyhow::{Context, Result};
use integration::Lab;

fn main() -> Result<()> {
    let hosts = std::env::args().nth(1).unwrap_or_else(|| "2".to_owned());
    let hosts: u8 = hosts
        .parse()
        .with_context(|| format!("expected a number of hosts, got {hosts:?}"))?;
    let lab = Lab::new(hosts)?;
    describe(&lab);
    hold()
}

fn describe(lab: &Lab) {
    println!("etcd at {}", lab.etcd.endpoint());
    for host in lab.hosts() {
        let (name, address, pid) = (host.name(), host.address(), host.pid());
        println!("{name} at {address}: nsenter -t {pid} -n -m -u bash");
    }
    println!("underlay: nsenter -t {} -n -m -u bash", lab.underlay.pid());
    println!("Press Ctrl-D to end the lab.");
}

/// Waits for the end of the input. A signal needs no care: the lab dies with this process.
fn hold() -> Result<()> {
    std::io::copy(&mut stdin(), &mut std::io::sink()).context("failed to read input")?;
    Ok(())
}
