//! Which tools the daemon calls, how often and in which order, and what it does when they do not work.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use integration::{
    CONFIG, CONFIG_KEY, Flanneld, Host, Iptables, Mark, SLOW, eventually, in_lab, messages,
};

use super::{lines, populate, repair_times, repaired};

/// Tools that write down that they were called, before they do their work. The checks of this host read rules as JSON.
const TOOLS: &str = "mkdir /run/tools
for tool in nft iptables-save iptables-nft-save iptables-legacy-save iptables-nft-restore iptables-legacy-restore; do
    printf '#!/bin/sh\\ncase $1 in --json) echo nft-json;; *) echo %s;; esac >> /run/calls\\nexec %s \"$@\"\\n' $tool $(command -v $tool) > /run/tools/$tool
    chmod +x /run/tools/$tool
done";

/// Makes the tools; returns a PATH that finds them first.
fn tools(host: &Host) -> Result<String> {
    host.sh(TOOLS)?;
    Ok(format!("/run/tools:{}", std::env::var("PATH")?))
}

/// The tools that were called so far.
fn calls(host: &Host) -> Result<Vec<String>> {
    Ok(host
        .read("/run/calls")?
        .lines()
        .map(str::to_owned)
        .collect())
}

#[test]
fn no_process_is_started_while_kube_proxy_rewrites_its_own_chains() -> Result<()> {
    in_lab(1, |lab| {
        let host = lab.host(1);
        populate(host, Iptables::Nft)?;
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let _daemon = host.flanneld().env("PATH", &tools(host)?).start_ready()?;
        repaired(host, Iptables::Nft, "nft delete table ip flannel.1")?;
        let before = calls(host)?.len();
        for _ in 0..40 {
            host.kube_proxy(Iptables::Nft, &[], Mark::Cleared)?;
        }
        // A repair at the end shows that the daemon does react to events.
        repaired(host, Iptables::Nft, "nft delete table ip flannel.1")?;
        let started = calls(host)?.len() - before;
        ensure!(
            (2..=12).contains(&started),
            "{started} processes: {:?}",
            calls(host)?
        );
        Ok(())
    })
}

#[test]
fn changes_beside_our_rules_start_few_processes_and_hide_no_damage() -> Result<()> {
    in_lab(1, |lab| {
        let host = lab.host(1);
        populate(host, Iptables::Nft)?;
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let _daemon = host.flanneld().env("PATH", &tools(host)?).start_ready()?;
        let others = "iptables-nft -A FORWARD -s 198.51.100.1 -j DROP; iptables-nft -D FORWARD -s 198.51.100.1 -j DROP";
        let nft_calls = || {
            Ok::<usize, anyhow::Error>(calls(host)?.iter().filter(|tool| *tool == "nft").count())
        };
        let (before, since) = (nft_calls()?, Instant::now());
        host.sh(&format!("for turn in $(seq 400); do {others}; done"))?;
        let (called, took) = (nft_calls()? - before, since.elapsed());
        println!(
            "figure: {called} calls of nft during {} ms of changes beside our rules",
            took.as_millis()
        );
        // Some at once, then one a second: a machine that is slow allows for more.
        let allowed = 10 + usize::try_from(took.as_secs())?;
        ensure!(called <= allowed, "{called} calls of nft in {took:?}");
        let churn = format!("while :; do {others}; done");
        let _churn = host.start(&["sh", "-c", &churn], &[], "churn")?;
        let (time, _) = repair_times(host, Iptables::Nft, "nft delete table ip flannel.1", 1)?;
        println!(
            "figure: beside changes of others: back after {} ms",
            time.as_millis()
        );
        Ok(())
    })
}

#[test]
fn a_tool_that_never_shows_our_rules_is_called_less_and_less() -> Result<()> {
    in_lab(1, |lab| {
        let host = lab.host(1);
        let path = tools(host)?;
        host.sh("sed -i 's/^exec \\(.*\\)/\\1 | sed s,--random-fully,--random,/' /run/tools/iptables-nft-save")?;
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let since = Instant::now();
        let daemon = host
            .flanneld()
            .arg("--firewall=iptables")
            .env("PATH", &path)
            .start()?;
        eventually(SLOW, "six calls of nft", || {
            let called = calls(host)?.iter().filter(|tool| *tool == "nft").count();
            ensure!(called >= 6, "{called} calls of nft");
            Ok(())
        })?;
        // 200 ms, doubled four times, each by up to a half less.
        let took = since.elapsed();
        ensure!(
            took > Duration::from_millis(3000),
            "six calls of nft in {took:?}: {:?}\n{}",
            calls(host)?,
            daemon.log()?
        );
        let log = daemon.log()?;
        ensure!(log.contains(messages::STILL_TO_DO), "{log}");
        ensure!(lines(&log, messages::RULES_NOT_IN_SYNC).len() == 1, "{log}");
        Ok(())
    })
}

#[test]
fn a_new_choice_of_tool_is_logged_and_leaves_no_moment_without_rules() -> Result<()> {
    in_lab(1, |lab| {
        let host = lab.host(1);
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let daemon = host
            .flanneld()
            .args(&["--firewall=iptables", "--iptables-resync=1"])
            .env("PATH", &tools(host)?)
            .start_ready()?;
        let before = calls(host)?.len();
        host.sh("iptables-legacy -t nat -N KUBE-SERVICES; iptables-legacy -A FORWARD -j DROP")?;
        eventually(SLOW, "the rules in iptables-legacy alone", || {
            let said = daemon.log()?;
            ensure!(
                lines(&said, messages::RULES_ARE_IN_LEGACY).len() == 1,
                "{said}"
            );
            ensure!(
                lines(&said, messages::RULES_ARE_IN_PLACE).len() == 2
                    && !said.contains(messages::REPAIRED_THE_RULES),
                "{said}"
            );
            Ok(())
        })?;
        let calls = calls(host)?.split_off(before);
        let restores = calls
            .iter()
            .filter(|tool| tool.ends_with("-restore"))
            .collect::<Vec<_>>();
        ensure!(
            restores == ["iptables-legacy-restore", "iptables-nft-restore"],
            "{calls:?}"
        );
        let rules = host.sh("iptables-nft-save; iptables-legacy-save -t nat")?;
        ensure!(rules.matches(":FLANNEL-").count() == 1, "{rules}");
        Ok(())
    })
}

#[test]
fn an_iptables_that_works_nowhere_does_not_keep_a_host_from_being_ready() -> Result<()> {
    in_lab(1, |lab| {
        let host = lab.host(1);
        let path = tools(host)?;
        // As on a kernel without legacy tables whose plain iptables is the legacy one.
        let broken = "case \"$1\" in --version) echo v1.8.9 '(legacy)';; *) echo 'no such table' >&2; exit 3;; esac";
        host.sh(&format!(
            "cd /run/tools; echo '#!/bin/sh' > iptables-legacy-restore; echo {} >> iptables-legacy-restore
             chmod +x iptables-legacy-restore; cp iptables-legacy-restore iptables-restore
             printf '#!/bin/sh\nexec iptables-legacy-save \"$@\"\n' > iptables-save",
            shell_quoted(broken)
        ))?;
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let daemon = host.flanneld().env("PATH", &path).start_ready()?;
        let log = daemon.log()?;
        ensure!(
            lines(&log, messages::OPTIONAL_RULES_NOT_INSTALLED).len() == 1,
            "{log}"
        );
        ensure!(log.contains(messages::NFTABLES_AND_NOTHING), "{log}");
        // Rules of others in another tool make our accept necessary there.
        host.docker_rules(Iptables::Nft)?;
        eventually(SLOW, "the accept in iptables-nft", || {
            ensure!(host.sh("iptables-nft -S FORWARD")?.contains("FLANNEL-FWD"));
            Ok(())
        })
    })
}

fn shell_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Starts the daemon as the unit does: another user, one capability.
fn start_without_root(host: &Host, path: &str) -> Result<Flanneld> {
    let wrapper = "/run/without-root";
    let binary = integration::flanneld_binary()?;
    std::fs::write(
        host.path(wrapper),
        format!(
            "#!/bin/sh
             mkdir -p /run/flannel /var/lib/flannel; chown -R 65534:65534 /run/flannel /var/lib/flannel
             touch /run/calls; chmod 666 $NOTIFY_SOCKET /run/calls
             exec setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all,+net_admin \
                 --ambient-caps=-all,+net_admin --bounding-set=-all,+net_admin {} \"$@\"\n",
            binary.display()
        ),
    )?;
    host.sh(&format!("chmod +x {wrapper}"))?;
    host.flanneld()
        .binary(wrapper.as_ref())
        .env("PATH", path)
        .start_ready()
}

#[test]
fn without_the_right_to_read_iptables_legacy_the_log_says_so() -> Result<()> {
    in_lab(1, |lab| {
        let host = lab.host(1);
        host.docker_rules(Iptables::Legacy)?;
        lab.etcd.put(CONFIG_KEY, CONFIG)?;
        let path = tools(host)?;
        let daemon = start_without_root(host, &path)?;
        let log = daemon.log()?;
        ensure!(log.contains(messages::NOT_AT_LEGACY), "{log}");
        // Where the kernel has the tables built in, they do not show that they are in use.
        ensure!(lines(&log, messages::LEGACY_DROP_IN).is_empty(), "{log}");
        daemon.stop()?;
        host.sh(
            "printf '#!/bin/sh\nexec iptables-legacy-save \"$@\"\n' > /run/tools/iptables-save",
        )?;
        let log = start_without_root(host, &path)?.log()?;
        ensure!(
            lines(&log, messages::LEGACY_SEEMS_TO_BE_USED).len() == 1,
            "{log}"
        );
        Ok(())
    })
}
