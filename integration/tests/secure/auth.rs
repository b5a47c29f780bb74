//! Users, passwords, tokens and roles.

use std::fs;

use anyhow::{Result, ensure};
use integration::{
    CONFIG, CONFIG_KEY, Etcd, EtcdOptions, Flanneld, FlanneldCommand, Lab, Lease, QUICK, SLOW,
    SUBNETS, eventually, in_lab, messages,
};

use super::wait_for_line;

/// As in docs/how-to/etcd-tls-and-auth.md: what the daemon needs, and no more.
const MINIMAL_ROLE: [&str; 3] = [
    "role add flannel",
    "role grant-permission flannel --prefix=true read /coreos.com/network/",
    "role grant-permission flannel --prefix=true readwrite /coreos.com/network/subnets/",
];

/// Turns authentication on, for the users root:secret and flannel:hunter2, who has a role.
fn turn_on(etcd: &Etcd, role: &[&str]) -> Result<()> {
    etcd.put(CONFIG_KEY, CONFIG)?;
    let users = ["user add root:secret", "user grant-role root root"];
    let flannel = [
        "user add flannel:hunter2",
        "user grant-role flannel flannel",
        "auth enable",
    ];
    for line in users.iter().chain(role).chain(&flannel) {
        etcd.ctl(&line.split(' ').collect::<Vec<_>>())?;
    }
    Ok(())
}

fn as_root(etcd: &Etcd, args: &[&str]) -> Result<String> {
    etcd.ctl(&[&["--user=root:secret"], args].concat())
}

fn change_password(lab: &Lab, password: &str) -> Result<()> {
    let endpoint = format!("--endpoints={}", lab.etcd.endpoint());
    let line = [
        "env",
        "ETCDCTL_API=3",
        "etcdctl",
        &endpoint,
        "--user=root:secret",
        "user",
        "passwd",
        "flannel",
    ];
    lab.underlay
        .finish(&[&line[..], &["--interactive=false"]].concat(), password)?
        .success()
        .map(drop)
}

fn daemon<'a>(lab: &'a Lab, etcd: &Etcd) -> FlanneldCommand<'a> {
    lab.host(1)
        .flanneld()
        .arg(&format!("--etcd-endpoints={}", etcd.endpoint()))
        .arg("--etcd-username=flannel")
}

/// Waits until the daemon, which shows its debug lines, has been refused so many times more.
fn goes_on_trying(daemon: &Flanneld, times: usize) -> Result<()> {
    let tries = || {
        Ok::<_, anyhow::Error>(
            daemon
                .log()?
                .matches(messages::ETCD_IS_STILL_UNREACHABLE)
                .count(),
        )
    };
    let before = tries()?;
    eventually(SLOW, format_args!("{times} more tries"), || {
        ensure!(tries()? >= before + times, "{}", tries()?);
        Ok(())
    })
}

/// How many passwords etcd was asked to check.
fn logins(etcd: &Etcd) -> Result<u64> {
    etcd.metric(&["grpc_server_started_total", "\"Authenticate\""])
}

#[test]
fn a_refused_password_is_tried_seldom_and_works_once_etcd_has_it() -> Result<()> {
    in_lab(1, |lab| {
        turn_on(&lab.etcd, &MINIMAL_ROLE)?;
        let before = logins(&lab.etcd)?;
        let daemon = daemon(lab, &lab.etcd)
            .env("FLANNELD_ETCD_PASSWORD", "hunter3")
            .arg("-v=10")
            .start()?;
        wait_for_line(&daemon, &["invalid user ID or password"])?;
        goes_on_trying(&daemon, 20)?;
        let asked = logins(&lab.etcd)? - before;
        println!("passwords checked in 20 tries: {asked}");
        // About 12 s go by, and pauses begin with a second and double.
        ensure!((2..=8).contains(&asked), "{asked}");
        change_password(lab, "hunter3")?;
        daemon.wait_ready()
    })
}

#[test]
fn a_host_whose_role_may_not_create_its_key_again_is_not_ready() -> Result<()> {
    in_lab(1, |lab| {
        turn_on(&lab.etcd, &MINIMAL_ROLE)?;
        let _daemon = daemon(lab, &lab.etcd)
            .env("FLANNELD_ETCD_PASSWORD", "hunter2")
            .start_ready()?;
        let revoke = [
            "role",
            "revoke-permission",
            "--prefix=true",
            "flannel",
            SUBNETS,
        ];
        as_root(&lab.etcd, &revoke)?;
        as_root(&lab.etcd, &["del", "--prefix", "--", SUBNETS])?;
        let message = lab
            .host(1)
            .wait_for_problem(SLOW, "LeaseHeld", "LeaseMissing")?;
        ensure!(message.contains(SUBNETS), "{message}");
        let grant: Vec<&str> = MINIMAL_ROLE[2].split(' ').collect();
        as_root(&lab.etcd, &grant)?;
        lab.host(1).wait_for_condition(SLOW, "LeaseHeld")
    })
}

#[test]
fn a_password_that_becomes_wrong_is_tried_seldom() -> Result<()> {
    in_lab(1, |lab| {
        turn_on(&lab.etcd, &MINIMAL_ROLE)?;
        let daemon = daemon(lab, &lab.etcd)
            .env("FLANNELD_ETCD_PASSWORD", "hunter2")
            .arg("-v=10")
            .start_ready()?;
        change_password(lab, "hunter3")?;
        as_root(&lab.etcd, &["del", "--prefix", "--", SUBNETS])?;
        wait_for_line(&daemon, &["invalid user ID or password"])?;
        let before = logins(&lab.etcd)?;
        goes_on_trying(&daemon, 20)?;
        let asked = logins(&lab.etcd)? - before;
        println!("passwords checked in 20 tries after a change: {asked}");
        ensure!(asked <= 8, "{asked}");
        change_password(lab, "hunter2")?;
        wait_for_line(&daemon, &[messages::ETCD_IS_REACHABLE_AGAIN])
    })
}

#[test]
fn reads_the_password_file_again_when_it_changes() -> Result<()> {
    in_lab(1, |lab| {
        turn_on(&lab.etcd, &MINIMAL_ROLE)?;
        let file = lab.dir().join("password");
        fs::write(&file, "hunter3\n")?;
        let daemon = daemon(lab, &lab.etcd)
            .arg(&format!("--etcd-password-file={}", file.display()))
            .arg("-v=10")
            .start()?;
        let name = file.display().to_string();
        wait_for_line(
            &daemon,
            &[
                "invalid user ID or password",
                messages::USER_FLANNEL,
                messages::THE_PASSWORD_IN,
                &name,
            ],
        )?;
        fs::write(&file, "hunter2\n")?;
        daemon.wait_ready()?;
        wait_for_line(&daemon, &[messages::FILES_WERE_RENEWED, "password"])?;
        // etcd takes back the tokens of a user whose password changes.
        fs::write(&file, "hunter4")?;
        change_password(lab, "hunter4")?;
        lose_our_key(&lab.etcd)?;
        let log = daemon.log()?;
        ensure!(
            !["hunter2", "hunter3", "hunter4"]
                .iter()
                .any(|password| log.contains(password)),
            "{log}"
        );
        Ok(())
    })
}

#[test]
fn reads_the_password_from_the_environment() -> Result<()> {
    in_lab(1, |lab| {
        turn_on(&lab.etcd, &MINIMAL_ROLE)?;
        let daemon = |password: &str| {
            daemon(lab, &lab.etcd)
                .env("FLANNELD_ETCD_PASSWORD", password)
                .arg("-v=10")
        };
        let wrong = daemon("hunter3").start()?;
        wait_for_line(&wrong, &["invalid user ID or password", "--etcd-password"])?;
        wrong.kill()?;
        let anonymous = lab.host(1).flanneld().start()?;
        wait_for_line(
            &anonymous,
            &[messages::HAS_AUTHENTICATION_ENABLED, "--etcd-username"],
        )?;
        anonymous.kill()?;
        let daemon = daemon("hunter2").start_ready()?;
        ensure!(!daemon.log()?.contains("hunter2") && !wrong.log()?.contains("hunter3"));
        Ok(())
    })
}

#[test]
fn names_user_and_keys_when_a_permission_is_missing() -> Result<()> {
    in_lab(1, |lab| {
        // Without the right to write leases.
        turn_on(&lab.etcd, &MINIMAL_ROLE[..2])?;
        let daemon = daemon(lab, &lab.etcd)
            .env("FLANNELD_ETCD_PASSWORD", "hunter2")
            .arg("-v=10")
            .start()?;
        let needs = messages::NEEDS_TO_READ_AND_WRITE;
        wait_for_line(
            &daemon,
            &[messages::FAILED_TO_CREATE, "permission denied", needs],
        )?;
        // Each try lists, which works, and then writes, which does not: it is logged once all the same.
        goes_on_trying(&daemon, 6)?;
        let log = daemon.log()?;
        let warnings = log
            .lines()
            .filter(|line| line.contains("WARN") && line.contains(messages::NEEDS_TO_READ));
        ensure!(warnings.count() == 1, "{log}");
        let grant: Vec<&str> = MINIMAL_ROLE[2].split(' ').collect();
        as_root(&lab.etcd, &grant)?;
        daemon.wait_ready()
    })
}

#[test]
fn names_the_user_when_a_watch_is_not_permitted() -> Result<()> {
    in_lab(1, |lab| {
        // Enough to list, not to watch: the watch is on all below the prefix.
        let config_only = "role grant-permission flannel read /coreos.com/network/config";
        turn_on(&lab.etcd, &[MINIMAL_ROLE[0], MINIMAL_ROLE[2], config_only])?;
        let before = logins(&lab.etcd)?;
        let daemon = daemon(lab, &lab.etcd)
            .env("FLANNELD_ETCD_PASSWORD", "hunter2")
            .arg("-v=10")
            .start()?;
        wait_for_line(
            &daemon,
            &[
                messages::FAILED_TO_WATCH,
                "permission denied",
                messages::NEEDS_TO_READ_THE_PREFIX,
            ],
        )?;
        goes_on_trying(&daemon, 6)?;
        let asked = logins(&lab.etcd)? - before;
        ensure!(
            asked == 1,
            "the connection stays: {asked} passwords checked"
        );
        Ok(())
    })
}

#[test]
fn learns_and_renews_after_its_token_has_expired() -> Result<()> {
    in_lab(1, |lab| {
        let args = ["--auth-token=simple", "--auth-token-ttl=1", "--logger=zap"]
            .map(str::to_owned)
            .to_vec();
        let etcd = lab.start_etcd(EtcdOptions {
            args,
            ..EtcdOptions::new("tokens", 3379)
        })?;
        // A lease that is there already and ends soon is renewed soon.
        let own = Lease {
            public_ip: lab.host(1).address().to_string(),
            ..Lease::numbered(100)
        };
        let (key, value) = own.entry();
        let lease = etcd.grant_lease(15)?;
        etcd.put_with_lease(&key, &value, lease)?;
        turn_on(&etcd, &MINIMAL_ROLE)?;
        let daemon = daemon(lab, &etcd)
            .env("FLANNELD_ETCD_PASSWORD", "hunter2")
            .start_ready()?;
        eventually(SLOW, "the end of the token", || {
            let log = etcd.log();
            ensure!(
                log.lines().any(|line| line.contains("deleted a simple token") && line.contains("flannel")),
                "{log}"
            );
            Ok(())
        })?;
        let peer = Lease::numbered(201);
        let (key, value) = peer.entry();
        as_root(&etcd, &["put", "--", &key, &value])?;
        lab.host(1).wait_for_route(&peer)?;
        wait_for_line(&daemon, &[messages::LEASE_RENEWED])?;
        lose_our_key(&etcd)
    })
}

/// Deletes all leases and waits until the daemon has written its own again: that takes a list and a write.
fn lose_our_key(etcd: &Etcd) -> Result<()> {
    as_root(etcd, &["del", "--prefix", "--", SUBNETS])?;
    eventually(QUICK, "our lease", || {
        let keys = as_root(etcd, &["get", "--prefix", "--keys-only", "--", SUBNETS])?;
        ensure!(keys.contains(SUBNETS), "no key");
        Ok(())
    })
}
