//! What the program prints for who reads it: a pipe that closes early, and systemd's journal. Needs neither root nor a lab.

use std::io::pipe;
use std::process::{Command, Output};

use anyhow::{Result, ensure};
use integration::flanneld_binary;

fn flanneld(args: &[&str]) -> Result<Command> {
    let mut command = Command::new(flanneld_binary()?);
    command.args(args).env_clear();
    Ok(command)
}

#[test]
fn a_reader_may_close_the_pipe() -> Result<()> {
    for args in [&["--help"][..], &["status", "--help"], &["--version"]] {
        let (reader, writer) = pipe()?;
        drop(reader);
        let Output { status, stderr, .. } = flanneld(args)?.stdout(writer).output()?;
        let stderr = String::from_utf8_lossy(&stderr);
        ensure!(
            status.success() && stderr.is_empty(),
            "{args:?}: {status}, {stderr}"
        );
    }
    Ok(())
}

#[test]
fn each_line_of_a_refusal_is_an_error_in_the_journal() -> Result<()> {
    let Output { status, stderr, .. } = flanneld(&["--ifac=eth0"])?
        .env("JOURNAL_STREAM", "1:2")
        .output()?;
    let stderr = String::from_utf8_lossy(&stderr);
    ensure!(status.code() == Some(64), "{status}");
    ensure!(
        stderr.starts_with("<3>flanneld: unexpected argument"),
        "{stderr}"
    );
    ensure!(
        stderr.lines().all(|line| line.starts_with("<3>")),
        "{stderr}"
    );
    let plain = flanneld(&["--ifac=eth0"])?.output()?;
    let plain = String::from_utf8_lossy(&plain.stderr);
    ensure!(plain.starts_with("flanneld: unexpected"), "{plain}");
    Ok(())
}

#[test]
fn what_a_template_has_left_is_refused_before_anything_is_touched() -> Result<()> {
    for (variable, value, expected) in [
        (
            "FLANNELD_IFACE",
            "\"eth0\"",
            "write eth0 instead of \"eth0\"",
        ),
        (
            "FLANNELD_ETCD_ENDPOINTS",
            "http://${ETCD}:2379",
            "contains ${",
        ),
    ] {
        let Output { status, stderr, .. } = flanneld(&[])?.env(variable, value).output()?;
        let stderr = String::from_utf8_lossy(&stderr);
        ensure!(status.code() == Some(64), "{status}: {stderr}");
        ensure!(
            stderr.contains(variable) && stderr.contains(expected),
            "{stderr}"
        );
    }
    Ok(())
}
