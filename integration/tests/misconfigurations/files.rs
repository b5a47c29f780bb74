//! Folders and files that cannot be written.

use anyhow::{Result, ensure};
use integration::{CONFIG, CONFIG_KEY, SLOW, eventually, in_lab, messages};

use super::Mistaken;

#[test]
fn a_run_folder_that_is_full_or_read_only_is_reported_once() -> Result<()> {
    in_lab(1, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let host = lab.host(1);
        for (case, option, words) in [
            (
                "/run/flannel is full",
                "size=4k,nr_inodes=1",
                "No space left on device",
            ),
            ("/run/flannel is read-only", "ro", "Read-only file system"),
        ] {
            host.sh(&format!(
                "mkdir -p /run/flannel1; mount -t tmpfs -o {option} full /run/flannel1"
            ))?;
            let daemon = Mistaken::start(host, case, 1, &[]);
            let daemon = daemon?;
            let lines = || -> Result<Vec<String>> {
                let log = daemon.daemon.log()?;
                Ok(log
                    .lines()
                    .filter(|line| line.contains(words) && line.contains("slice=\"files\""))
                    .map(str::to_owned)
                    .collect())
            };
            eventually(SLOW, case, || {
                ensure!(!lines()?.is_empty(), "{}", daemon.daemon.log()?);
                Ok(())
            })?;
            // It is tried again and again, and said once.
            eventually(SLOW, "more tries", || {
                let log = daemon.daemon.log()?;
                ensure!(
                    log.matches(messages::NOT_IN_SYNC_STILL).count() >= 2,
                    "{log}"
                );
                Ok(())
            })?;
            let warnings = daemon.warnings("slice=\"files\"")?;
            ensure!(
                warnings.len() == 1 && !warnings[0].contains(".tmp"),
                "{warnings:?}"
            );
            println!("figure: {case} | {}", warnings[0]);
            daemon.daemon.kill()?;
            host.sh("umount /run/flannel1")?;
        }
        Ok(())
    })
}

#[test]
fn what_lies_on_a_file_is_named_with_what_to_do() -> Result<()> {
    in_lab(1, |lab| {
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let host = lab.host(1);
        for (case, number, script, words) in [
            (
                "subnet.env is a folder",
                1,
                "mkdir -p $FILE",
                "Is a directory (os error 21); a container engine makes such a folder",
            ),
            (
                "subnet.env is a bind mount",
                2,
                "mkdir -p $(dirname $FILE); touch $FILE; mount --bind $FILE $FILE",
                "a mount lies on this file",
            ),
            (
                "a file is in the place of the folder",
                3,
                "touch $(dirname $FILE)",
                "a part of this path is a file",
            ),
        ] {
            host.sh(&format!("FILE=/run/flannel{number}/subnet.env; {script}"))?;
            let daemon = Mistaken::start(host, case, number, &[])?;
            let line = eventually(SLOW, case, || {
                let warnings = daemon.warnings(words)?;
                ensure!(!warnings.is_empty(), "{}", daemon.daemon.log()?);
                Ok(warnings[0].clone())
            })?;
            println!("figure: {case} | {line}");
            daemon.daemon.kill()?;
        }
        Ok(())
    })
}
