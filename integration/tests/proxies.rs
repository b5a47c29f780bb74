//! etcd behind a proxy: `etcd grpc-proxy`, nginx, HAProxy. What works without one works through one, and a proxy that cuts
//! idle streams or is restarted loses no event. Needs root.

use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::{
    CONFIG_KEY, Etcd, Flanneld, Lab, Lease, QUICK, SLOW, SUBNETS, WIDE_CONFIG, eventually, in_lab,
    messages,
};

/// Where the proxy listens, in the underlay as etcd.
const PORT: u16 = 23790;
const THROUGH_THE_PROXY: &str = "--etcd-endpoints=http://10.99.0.1:23790";

/// Long enough for no test to see its end.
const LONG: &str = "60s";
/// As short as no operator sets it, and above what counts as a loop.
const IDLE: &str = "1200ms";

/// A proxy that runs; it ends with this value.
type Running<'a> = Box<dyn Debug + 'a>;

#[derive(Debug, Clone, Copy)]
enum Kind {
    GrpcProxy,
    Nginx,
    HaproxyHttp,
    HaproxyTcp,
}

impl Kind {
    /// Starts the proxy; `idle` is after how long it ends an idle stream, where it does.
    fn start<'a>(self, lab: &'a Lab, idle: &str) -> Result<Running<'a>> {
        let underlay = &*lab.underlay;
        Ok(match self {
            Self::GrpcProxy => Box::new(underlay.grpc_proxy(PORT, "10.99.0.1:2379", &[])?),
            Self::Nginx => Box::new(underlay.nginx(&nginx(idle, ""), PORT)?),
            Self::HaproxyHttp => Box::new(underlay.haproxy(&haproxy("http", idle), PORT)?),
            Self::HaproxyTcp => Box::new(underlay.haproxy(&haproxy("tcp", idle), PORT)?),
        })
    }
}

fn nginx(idle: &str, more: &str) -> String {
    format!(
        "server {{
            listen {PORT} http2;
            grpc_read_timeout {idle};
            {more}
            location / {{ grpc_pass grpc://10.99.0.1:2379; }}
        }}"
    )
}

fn haproxy(mode: &str, idle: &str) -> String {
    let h2 = if mode == "http" { "proto h2" } else { "" };
    format!(
        "defaults
            mode {mode}
            timeout connect 1s
            timeout client {idle}
            timeout server {idle}
        frontend clients
            bind :{PORT} {h2}
            default_backend etcd
        backend etcd
            server etcd 10.99.0.1:2379 {h2}\n"
    )
}

fn start(lab: &Lab, host: u8) -> Result<Flanneld> {
    let readyz = ["--healthz-ip=127.0.0.1", "--healthz-port=8080"];
    let daemon = lab.host(host).flanneld().arg(THROUGH_THE_PROXY);
    daemon.args(&readyz).start_ready()
}

/// Writes the lease of an invented host, whose subnet no host of the test takes by chance, and waits until the daemon of host 1 has it.
fn see_a_new_peer(lab: &Lab, number: u8) -> Result<()> {
    put_stranger(&lab.etcd, number)?;
    lab.wait_for_mesh(&[1]).map(drop)
}

fn put_stranger(etcd: &Etcd, number: u8) -> Result<()> {
    let (key, value) = Lease::invented(number.into()).entry();
    etcd.put(&key, &value)
}

fn own_key(lab: &Lab) -> Result<String> {
    Ok(lab.lease(1)?.entry().0)
}

/// Moves the key of host 1 to an etcd lease of three seconds, which is renewed about each second.
fn shorten_etcd_lease(lab: &Lab) -> Result<()> {
    let key = own_key(lab)?;
    let value = lab.etcd.get(&key)?.context("no key")?;
    let lease = lab.etcd.grant_lease(3)?;
    lab.etcd.put_with_lease(&key, &value, lease)
}

fn wait_for_count(daemon: &Flanneld, text: &str, count: usize) -> Result<()> {
    eventually(SLOW, format_args!("{count} times {text:?}"), || {
        let found = daemon.log()?.matches(text).count();
        ensure!(found >= count, "{found} times");
        Ok(())
    })
}

/// Waits until the key of host 1 is there again as it was.
fn wait_for_own_key(lab: &Lab, key: &str, value: &str) -> Result<()> {
    eventually(QUICK, "our key", || {
        ensure!(lab.etcd.get(key)?.as_deref() == Some(value));
        Ok(())
    })
}

/// The lines about etcd that an operator has to look at.
fn warnings(daemon: &Flanneld) -> Result<Vec<String>> {
    let log = daemon.log()?;
    let lines = log.lines().filter(|line| {
        let is_warning = line.contains("WARN") || line.contains("ERROR");
        is_warning
            && ["etcd", "lease", "watch"]
                .iter()
                .any(|word| line.contains(word))
    });
    Ok(lines.map(str::to_owned).collect())
}

fn readyz(lab: &Lab) -> Result<String> {
    let ask =
        "exec 3<>/dev/tcp/127.0.0.1/8080; printf 'GET /readyz HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3";
    lab.host(1).run(&["bash", "-c", ask])
}

fn works_through(kind: Kind) -> Result<()> {
    in_lab(2, |lab| {
        lab.etcd.put(CONFIG_KEY, WIDE_CONFIG)?;
        let proxy = kind.start(lab, LONG)?;
        let daemon = start(lab, 1)?;
        let second = start(lab, 2)?;
        lab.wait_for_mesh(&[1, 2])?;
        shorten_etcd_lease(lab)?;
        wait_for_count(&daemon, messages::LEASE_RENEWED, 3)?;
        let key = own_key(lab)?;
        let value = lab.etcd.get(&key)?.context("no key")?;
        let quiet = warnings(&daemon)?;
        ensure!(quiet.is_empty(), "{kind:?}: {quiet:?}");
        lab.etcd.delete(&key)?;
        wait_for_own_key(lab, &key, &value)?;
        let lease = lab.etcd.get_prefix(&key)?[0].lease;
        lab.etcd.revoke_lease(lease)?;
        wait_for_own_key(lab, &key, &value)?;
        // Each goes and comes back, and what happens meanwhile is known afterwards.
        drop(proxy);
        daemon.wait_for_log(messages::ETCD_IS_UNREACHABLE)?;
        put_stranger(&lab.etcd, 41)?;
        let proxy = kind.start(lab, LONG)?;
        lab.wait_for_mesh(&[1, 2])?;
        lab.etcd.restart()?;
        see_a_new_peer(lab, 42)?;
        lab.wait_for_mesh(&[1, 2])?;
        lab.etcd.delete(&key)?;
        wait_for_own_key(lab, &key, &value)?;
        let said = warnings(&daemon)?;
        println!("{kind:?}: {said:#?}");
        let is_raw = |line: &String| {
            ["no answer", "hyper", "h2", "{ "]
                .iter()
                .any(|raw| line.contains(raw))
        };
        ensure!(!said.iter().any(is_raw), "{kind:?}: {said:?}");
        drop((proxy, second));
        Ok(())
    })
}

#[test]
fn works_through_a_grpc_proxy() -> Result<()> {
    works_through(Kind::GrpcProxy)
}

#[test]
fn works_through_nginx() -> Result<()> {
    works_through(Kind::Nginx)
}

#[test]
fn works_through_haproxy_that_understands_http2() -> Result<()> {
    works_through(Kind::HaproxyHttp)
}

#[test]
fn works_through_haproxy_that_passes_bytes() -> Result<()> {
    works_through(Kind::HaproxyTcp)
}

/// Idle streams are cut again and again. No line says so, readiness stays, and each event is seen.
fn takes_idle_cuts_in_silence(kind: Kind) -> Result<()> {
    in_lab(1, |lab| {
        lab.etcd.put(CONFIG_KEY, WIDE_CONFIG)?;
        let _proxy = kind.start(lab, IDLE)?;
        let daemon = start(lab, 1)?;
        for number in 1..=3 {
            wait_for_count(&daemon, messages::RESUMED_THE_WATCH, usize::from(number))?;
            see_a_new_peer(lab, 40 + number)?;
        }
        // Other programs write, too, and etcd forgets its history: only a list helps then.
        for value in ["1", "2"] {
            lab.etcd.put("/others", value)?;
        }
        lab.etcd.compact()?;
        daemon.wait_for_log(messages::WATCH_CANNOT_BE_CONTINUED)?;
        see_a_new_peer(lab, 50)?;
        let said = warnings(&daemon)?;
        ensure!(said.is_empty(), "{kind:?}: {said:?}");
        let degraded: Vec<String> = daemon.told();
        let degraded = degraded
            .iter()
            .filter(|line| line.contains(messages::DEGRADED));
        ensure!(degraded.count() == 0, "{kind:?}: {:?}", daemon.told());
        ensure!(readyz(lab)?.contains("200 OK"), "{}", readyz(lab)?);
        Ok(())
    })
}

#[test]
fn idle_streams_that_nginx_cuts_are_opened_again_in_silence() -> Result<()> {
    takes_idle_cuts_in_silence(Kind::Nginx)
}

#[test]
fn idle_streams_that_haproxy_cuts_are_opened_again_in_silence() -> Result<()> {
    takes_idle_cuts_in_silence(Kind::HaproxyHttp)
}

#[test]
fn idle_connections_that_haproxy_cuts_are_opened_again_in_silence() -> Result<()> {
    takes_idle_cuts_in_silence(Kind::HaproxyTcp)
}

#[test]
fn a_proxy_that_cuts_all_the_time_is_told_once_and_not_asked_in_a_loop() -> Result<()> {
    in_lab(1, |lab| {
        lab.etcd.put(CONFIG_KEY, WIDE_CONFIG)?;
        let _proxy = Kind::Nginx.start(lab, "100ms")?;
        let daemon = start(lab, 1)?;
        daemon.wait_for_log(messages::KEEPS_ENDING_WATCHES)?;
        let used = daemon.cpu_time()?;
        for number in 41..=43 {
            see_a_new_peer(lab, number)?;
        }
        let used = daemon.cpu_time()?.saturating_sub(used);
        ensure!(used < Duration::from_secs(1), "{used:?}: a hot loop");
        let said = warnings(&daemon)?;
        ensure!(said.len() == 1, "{said:?}");
        ensure!(readyz(lab)?.contains("200 OK"), "{}", readyz(lab)?);
        Ok(())
    })
}

#[test]
fn a_proxy_that_ends_each_connection_after_a_few_requests_is_not_noticed() -> Result<()> {
    in_lab(1, |lab| {
        lab.etcd.put(CONFIG_KEY, WIDE_CONFIG)?;
        // HTTP/2 GOAWAY.
        let _nginx = lab
            .underlay
            .nginx(&nginx(IDLE, "keepalive_requests 2;"), PORT)?;
        let daemon = start(lab, 1)?;
        shorten_etcd_lease(lab)?;
        wait_for_count(&daemon, messages::LEASE_RENEWED, 4)?;
        see_a_new_peer(lab, 41)?;
        let said = warnings(&daemon)?;
        ensure!(said.is_empty(), "{said:?}");
        Ok(())
    })
}

#[test]
fn readiness_tells_that_our_key_is_gone_and_cannot_be_made_again() -> Result<()> {
    in_lab(1, |lab| {
        lab.etcd.put(CONFIG_KEY, WIDE_CONFIG)?;
        let no_renewals = nginx(
            LONG,
            "location = /etcdserverpb.Lease/LeaseKeepAlive { return 403; }",
        );
        let nginx_conf = nginx(LONG, "");
        let proxy = lab.underlay.nginx(&nginx_conf, PORT)?;
        let daemon = start(lab, 1)?;
        // Not by a reload: the old workers serve the connections that they have.
        drop(proxy);
        let proxy = lab.underlay.nginx(&no_renewals, PORT)?;
        let key = own_key(lab)?;
        lab.etcd.delete(&key)?;
        let message = lab
            .host(1)
            .wait_for_problem(SLOW, "LeaseHeld", "LeaseMissing")?;
        ensure!(message.contains(&key), "{message}");
        let answer = readyz(lab)?;
        ensure!(answer.contains("503") && answer.contains(&key), "{answer}");
        let told = daemon.told();
        ensure!(
            told.iter().any(|line| line.contains(&key)),
            "STATUS= says it: {told:?}"
        );
        drop(proxy);
        let _proxy = lab.underlay.nginx(&nginx_conf, PORT)?;
        lab.host(1).wait_for_condition(SLOW, "LeaseHeld")?;
        ensure!(lab.etcd.get(&key)?.is_some() && readyz(lab)?.contains("200 OK"));
        Ok(())
    })
}

#[test]
fn a_grpc_proxy_of_its_own_namespace_and_with_a_dead_member_works() -> Result<()> {
    in_lab(1, |lab| {
        lab.etcd.put(&format!("/site1{CONFIG_KEY}"), WIDE_CONFIG)?;
        let endpoints = "10.99.0.1:9,10.99.0.1:2379";
        let _proxy = lab
            .underlay
            .grpc_proxy(PORT, endpoints, &["--namespace=/site1"])?;
        // A dead endpoint, and a URL with a slash at its end.
        let urls = "--etcd-endpoints=http://10.99.0.1:9,http://10.99.0.1:23790/";
        let daemon = lab.host(1).flanneld().arg(urls).start_ready()?;
        let subnets = format!("/site1{SUBNETS}");
        let key = lab.etcd.get_prefix(&subnets)?[0].key.clone();
        lab.etcd.delete(&key)?;
        eventually(QUICK, "our key", || {
            ensure!(lab.etcd.get(&key)?.is_some());
            Ok(())
        })?;
        let (stranger, value) = Lease::invented(41).entry();
        lab.etcd.put(&format!("/site1{stranger}"), &value)?;
        eventually(QUICK, "the peer", || {
            ensure!(lab.host(1).routes("flannel.1")?.len() == 1);
            Ok(())
        })?;
        let log = daemon.log()?;
        ensure!(
            log.matches(messages::ETCD_IS_UNREACHABLE).count() == 0,
            "{log}"
        );
        Ok(())
    })
}
