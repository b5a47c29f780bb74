//! Which options Docker gets beside those of the daemon: `systemd/docker/docker-options`, with a dockerd that only knows how
//! to validate. Needs neither root nor a lab.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Result, ensure};
use integration::{QUICK, command, package};

/// What the daemon writes.
const OPTIONS: &str = "DOCKER_OPT_BIP=\"--bip=10.5.99.1/24\"\nDOCKER_OPTS=\" --bip=10.5.99.1/24 --mtu=1450 --ip-masq=false\"\n";
/// What dockerd gets then, and what the script adds.
const PLAIN: &str = " --bip=10.5.99.1/24 --mtu=1450 --ip-masq=false";
const ROUTING: &str = " --allow-direct-routing";
const MARK: &str = " --bridge-accept-fwmark=0x1000/0x1000";

/// Docker 29: knows all options.
const NEW: &str = "exit 0";
/// Docker 28: does not know the mark.
const WITHOUT_MARK: &str =
    "case \"$*\" in *fwmark*) echo 'unknown flag: --bridge-accept-fwmark' >&2; exit 1;; esac";
/// Docker 20.10: does not even know that it could validate.
const OLD: &str = "echo 'unknown flag: --validate' >&2; exit 125";
/// Refuses what daemon.json holds, whether the values agree or not.
const CLASH: &str = "case \"$*\" in *allow-direct-routing*) echo 'unable to configure the Docker daemon with file \
    /etc/docker/daemon.json: the following directives are specified both as a flag and in the configuration file: \
    allow-direct-routing: (from flag: true, from file: true)' >&2; exit 1;; esac";

/// A directory with fake programs, and what the script left there.
struct Trial {
    home: tempfile::TempDir,
    printed: String,
}

impl Trial {
    /// Runs the script beside a dockerd that does `validate`, a unit with the command line `unit`, and a daemon.json.
    fn new(validate: &str, unit: &str, daemon_json: Option<&str>) -> Result<Self> {
        let home = tempfile::tempdir()?;
        let path = |name: &str| home.path().join(name).display().to_string();
        // Each call must be a validation of the daemon's options and one more.
        let checked = format!(
            "case \"$*\" in \"--validate{PLAIN} --\"*) ;; *) echo \"called: $*\" >&2; exit 99;; esac\n{validate}"
        );
        program(&home.path().join("dockerd"), &checked)?;
        program(
            &home.path().join("systemctl"),
            &format!("echo 'ExecStart={{ argv[]={unit} ; }}'"),
        )?;
        fs::write(path("options"), OPTIONS)?;
        if let Some(text) = daemon_json {
            fs::write(path("daemon.json"), text)?;
        }
        // What a start before has left.
        fs::write(path("file"), "DOCKER_OPTS=\" --old\"\n")?;
        let script = package::in_repository("systemd/docker/docker-options");
        let search = format!("PATH={}:/usr/bin:/bin", home.path().display());
        let line = [
            "env",
            "-i",
            &search,
            &script,
            &path("options"),
            &path("daemon.json"),
            &path("file"),
        ];
        let line: Vec<String> = line.iter().map(|&word| word.to_owned()).collect();
        let printed = command::finish(&line, "", QUICK)?.success()?;
        Ok(Self { home, printed })
    }

    /// Checks what dockerd gets: these options beside those of the daemon, or no file at all.
    fn adds(&self, expected: &str) -> Result<()> {
        let file = fs::read_to_string(self.home.path().join("file")).unwrap_or_default();
        let wanted = if expected.is_empty() {
            String::new()
        } else {
            format!("DOCKER_OPTS=\"{PLAIN}{expected}\"\n")
        };
        ensure!(
            file == wanted,
            "{file:?}, expected {wanted:?}; {}",
            self.printed
        );
        Ok(())
    }
}

fn program(path: &Path, text: &str) -> Result<()> {
    fs::write(path, format!("#!/bin/sh\n{text}\n"))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

const UNIT: &str = "dockerd -H fd:// $DOCKER_OPTS";
const NFTABLES: &str = "{\n  \"firewall-backend\": \"nftables\"\n}";

#[test]
fn the_iptables_backend_needs_no_option() -> Result<()> {
    for daemon_json in [
        None,
        Some("{}"),
        Some("{\"firewall-backend\": \"iptables\"}"),
        Some("{\"labels\": [\"nftables\"]}"),
    ] {
        let trial = Trial::new(NEW, UNIT, daemon_json)?;
        trial.adds("")?;
        ensure!(trial.printed.is_empty(), "{}", trial.printed);
    }
    Ok(())
}

#[test]
fn the_nftables_backend_is_seen_in_daemon_json_and_in_the_unit() -> Result<()> {
    let both = format!("{ROUTING}{MARK}");
    for (unit, daemon_json) in [
        (UNIT, Some(NFTABLES)),
        ("dockerd --firewall-backend=nftables $DOCKER_OPTS", None),
        (
            "dockerd --firewall-backend nftables $DOCKER_OPTS",
            Some("{}"),
        ),
    ] {
        let trial = Trial::new(NEW, unit, daemon_json)?;
        trial.adds(&both)?;
        ensure!(trial.printed.is_empty(), "{}", trial.printed);
    }
    Ok(())
}

#[test]
fn an_option_that_docker_does_not_know_is_left_out_and_named() -> Result<()> {
    let trial = Trial::new(WITHOUT_MARK, UNIT, Some(NFTABLES))?;
    trial.adds(ROUTING)?;
    let warning = "<4>Docker does not take --bridge-accept-fwmark=0x1000/0x1000";
    ensure!(
        trial.printed.starts_with(warning) && trial.printed.contains("unknown flag"),
        "{}",
        trial.printed
    );

    let trial = Trial::new(OLD, UNIT, Some(NFTABLES))?;
    trial.adds("")?;
    ensure!(trial.printed.lines().count() == 2, "{}", trial.printed);
    Ok(())
}

#[test]
fn an_option_in_daemon_json_is_left_to_it() -> Result<()> {
    let trial = Trial::new(CLASH, UNIT, Some(NFTABLES))?;
    trial.adds(MARK)?;
    ensure!(
        trial
            .printed
            .starts_with("<5>--allow-direct-routing is left to ")
            && trial.printed.contains("both as a flag"),
        "{}",
        trial.printed
    );
    Ok(())
}
