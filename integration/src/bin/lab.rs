//! Makes a lab and holds it until its input ends: for looking around by hand, and for the test
//! that a lab leaves nothing behind. On a terminal it opens a shell that knows the way into each
//! host. It starts no daemon.

use std::fmt::Write as _;
use std::fs;
use std::io::{IsTerminal as _, stdin};
use std::process::Command;

use anyhow::{Context, Result};
use integration::{Lab, flanneld_binary};

fn main() -> Result<()> {
    let hosts = std::env::args().nth(1).unwrap_or_else(|| "2".to_owned());
    let hosts: u8 = hosts
        .parse()
        .with_context(|| format!("expected a number of hosts, got {hosts:?}"))?;
    let lab = Lab::new(hosts)?;
    describe(&lab);
    if stdin().is_terminal() {
        open_shell(&lab)
    } else {
        wait_for_end_of_input()
    }
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

/// What the shell offers: a function for each host, and one for etcd.
fn functions(lab: &Lab) -> Result<String> {
    let mut text = "PS1='lab# '\n".to_owned();
    let underlay: &integration::Netns = &lab.underlay;
    for place in lab.hosts().iter().map(|host| &**host).chain([underlay]) {
        let (name, pid) = (place.name(), place.pid());
        writeln!(
            text,
            "{name}() {{ nsenter -t {pid} -n -m -u -- \"${{@:-bash}}\"; }}"
        )?;
    }
    let endpoint = lab.etcd.endpoint();
    writeln!(
        text,
        "etcdctl() {{ underlay env ETCDCTL_API=3 etcdctl --endpoints={endpoint} \"$@\"; }}"
    )?;
    // A daemon that was built is found by its name.
    if let Ok(binary) = flanneld_binary() {
        let dir = binary.parent().context("a program lies in a directory")?;
        writeln!(text, "PATH={}:$PATH", dir.display())?;
    }
    Ok(text)
}

fn open_shell(lab: &Lab) -> Result<()> {
    println!("`host1 COMMAND` runs a command on host1, `host1` alone opens a shell there,");
    println!("and `etcdctl get --prefix /coreos.com/network` asks etcd.");
    let file = lab.dir().join("shell");
    fs::write(&file, functions(lab)?).with_context(|| format!("failed to write {file:?}"))?;
    // How the shell ends is what its user typed last, and says nothing about the lab.
    Command::new("bash")
        .arg("--rcfile")
        .arg(&file)
        .arg("-i")
        .status()
        .context("failed to start bash")?;
    Ok(())
}

/// A signal needs no care: the lab dies with this process.
fn wait_for_end_of_input() -> Result<()> {
    std::io::copy(&mut stdin(), &mut std::io::sink()).context("failed to read input")?;
    Ok(())
}
