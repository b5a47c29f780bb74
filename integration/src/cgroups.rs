//! The control groups of one node: below them its systemd and its Docker make theirs. It owns the groups, which go with the
//! node even when the test process is killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

const CGROUPS: &str = "/sys/fs/cgroup";

/// Waits for the end of its input, which comes when the test process ends in whatever way; then ends what still runs in the
/// groups and removes them. The machine's systemd outlives a killed nspawn, and all else in its namespace dies with it.
const SWEEP: &str = r#"
trap "" INT HUP TERM
cat
tries=0
while [ $tries -lt 200 ] && [ -n "$(ls -d "$@" 2> /dev/null)" ]; do
    find "$@" -name cgroup.procs -exec cat {} + 2> /dev/null | sort -u | xargs -r kill -9 2> /dev/null
    find "$@" -depth -type d -exec rmdir {} + 2> /dev/null
    tries=$((tries + 1)); sleep 0.05
done
"#;

/// A group in each hierarchy of the machine.
#[derive(Debug)]
pub(crate) struct Cgroups {
    groups: Vec<PathBuf>,
    sweeper: Child,
}

impl Cgroups {
    /// `name` is one that no other group has.
    pub(crate) fn new(name: &str) -> Result<Self> {
        let groups: Vec<PathBuf> = hierarchies()?
            .iter()
            .map(|hierarchy| hierarchy.join(name))
            .collect();
        let sweeper = Command::new("sh")
            .args(["-c", SWEEP, "sweep"])
            .args(&groups)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("failed to start the sweeper of cgroups")?;
        groups.iter().try_for_each(|group| make(group))?;
        Ok(Self { groups, sweeper })
    }

    /// The files that take a process into the groups.
    pub(crate) fn procs(&self) -> Vec<String> {
        self.groups
            .iter()
            .map(|group| group.join("cgroup.procs").display().to_string())
            .collect()
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        drop(self.sweeper.stdin.take());
        let _ = self.sweeper.wait();
    }
}

/// With cgroup v2 alone there is one hierarchy, else one for each controller.
fn hierarchies() -> Result<Vec<PathBuf>> {
    let top = PathBuf::from(CGROUPS);
    if top.join("cgroup.procs").exists() {
        return Ok(vec![top]);
    }
    let mut found: Vec<PathBuf> = fs::read_dir(&top)?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    found.retain(|path| path.join("cgroup.procs").exists() && !path.is_symlink());
    ensure!(
        !found.is_empty(),
        "no control groups in {CGROUPS}: nodes cannot boot here"
    );
    Ok(found)
}

/// A new group of cpuset has no CPU, and takes no process before it has.
fn make(group: &Path) -> Result<()> {
    fs::create_dir_all(group)
        .with_context(|| format!("failed to make the control group {group:?}"))?;
    let parent = group.parent().unwrap_or(group);
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if group.join("tasks").exists() && group.join(file).exists() {
            fs::write(group.join(file), fs::read_to_string(parent.join(file))?)?;
        }
    }
    Ok(())
}
