//! Turns the daemon's flags into [`Options`]: fills in what follows from other options, and refuses
//! options that contradict each other. Each refusal says what to write instead. Pure.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use crate::cli::flags::Flags;
use crate::cli::{EtcdLogin, EtcdOptions, OffloadOption, Options, ParseExit, Password};
use crate::model::secret::Secret;

/// `unknown_variables`: one sentence for each variable that sets no option.
pub(super) fn options(flags: Flags, unknown_variables: Vec<String>) -> Result<Options, ParseExit> {
    if let Some(option) = flags.kubernetes.first_given() {
        return Err(usage(format!(
            "--{option}: this flanneld keeps its leases in etcd and does not use the Kubernetes API; remove the option \
             and use --etcd-endpoints"
        )));
    }
    Ok(Options {
        etcd: etcd_options(&flags)?,
        healthz: healthz(&flags),
        ifaces: ifaces(&flags.iface)?,
        iface_patterns: flags.iface_regex,
        iface_can_reach: flags.iface_can_reach,
        public_ip: flags.public_ip,
        peers: flags.peers,
        idle: Duration::from_secs(flags.peers_idle.into()),
        ip_masq: flags.ip_masq,
        random_fully: !flags.ip_masq_fully_random_disable,
        forward_rules: flags.iptables_forward_rules,
        firewall: flags.firewall,
        iptables_resync: Duration::from_secs(flags.iptables_resync.into()),
        blackhole: flags.ip_blackhole_route,
        checksums_in_software: flags.tx_checksum_offload == OffloadOption::Off,
        subnet_file: flags.subnet_file,
        docker_opts_file: flags.docker_opts_file,
        docker_networks: flags.docker_networks,
        renew_margin: Duration::from_secs(60 * u64::from(flags.subnet_lease_renew_margin)),
        node_id: flags.node_id,
        state_dir: flags.state_dir,
        removal_grace: Duration::from_secs(flags.removal_grace.into()),
        verbosity: flags.verbosity,
        unknown_variables,
    })
}

/// Splits lists: Go repeats the option, but a variable holds one value.
fn ifaces(given: &[String]) -> Result<Vec<String>, ParseExit> {
    let words = given
        .iter()
        .flat_map(|words| words.split([',', ' ', '\t']))
        .filter(|word| !word.is_empty());
    words
        .map(|word| match refused_iface(word) {
            None => Ok(word.to_owned()),
            Some(reason) => Err(usage(format!("--iface: {word} is {reason}"))),
        })
        .collect()
}

fn refused_iface(word: &str) -> Option<&'static str> {
    if word.contains(['*', '?', '^', '$', '|', '[', '(']) || word.ends_with('+') {
        return Some("a pattern: use --iface-regex, such as --iface-regex='^eth'");
    }
    if word.starts_with('-') {
        return Some("an option, which is an argument of its own");
    }
    let is_ipv6 = word.parse::<Ipv6Addr>().is_ok();
    is_ipv6.then_some("an IPv6 address, and this flanneld carries IPv4 only")
}

fn healthz(flags: &Flags) -> Option<SocketAddr> {
    (flags.healthz_port != 0).then(|| SocketAddr::new(flags.healthz_ip, flags.healthz_port))
}

fn etcd_options(flags: &Flags) -> Result<EtcdOptions, ParseExit> {
    let endpoints = flags
        .etcd_endpoints
        .iter()
        .filter(|text| !text.trim().is_empty())
        .map(|text| endpoint(text))
        .collect::<Result<Vec<_>, _>>()?;
    if endpoints.is_empty() {
        return Err(usage(
            "--etcd-endpoints: expected URLs such as http://10.0.0.1:2379, separated by commas, got none",
        ));
    }
    if flags.etcd_certfile.is_some() != flags.etcd_keyfile.is_some() {
        return Err(usage(
            "--etcd-certfile and --etcd-keyfile go together: give both or neither",
        ));
    }
    Ok(EtcdOptions {
        endpoints,
        prefix: flags.etcd_prefix.clone(),
        keyfile: flags.etcd_keyfile.clone(),
        certfile: flags.etcd_certfile.clone(),
        cafile: flags.etcd_cafile.clone(),
        login: login(flags)?,
    })
}

fn login(flags: &Flags) -> Result<Option<EtcdLogin>, ParseExit> {
    match (&flags.etcd_username, password(flags)?) {
        (None, None) => Ok(None),
        (Some(user), Some(password)) => Ok(Some(EtcdLogin {
            user: user.clone(),
            password,
        })),
        (Some(_), None) => Err(usage(
            "--etcd-username goes together with a password: add --etcd-password-file",
        )),
        (None, Some(_)) => Err(usage(
            "a password for etcd goes together with a user: add --etcd-username",
        )),
    }
}

fn password(flags: &Flags) -> Result<Option<Password>, ParseExit> {
    match (&flags.etcd_password, &flags.etcd_password_file) {
        (None, None) => Ok(None),
        (Some(password), None) => Ok(Some(Password::Given(Secret(password.clone())))),
        (None, Some(file)) => Ok(Some(Password::File(file.clone()))),
        (Some(_), Some(_)) => Err(usage(
            "give one of --etcd-password and --etcd-password-file, not both; their environment variables count too",
        )),
    }
}

/// Checks an endpoint and completes it: without a scheme it means http, as for etcd's own clients.
fn endpoint(text: &str) -> Result<String, ParseExit> {
    let text = text.trim().trim_end_matches('/');
    let (scheme, authority) = text.split_once("://").unwrap_or(("http", text));
    let scheme = scheme.to_ascii_lowercase();
    let scheme = scheme.as_str();
    if let Some(meant) = in_brackets(authority) {
        return Err(usage(format!(
            "--etcd-endpoints: an IPv6 address stands in brackets: write {scheme}://{meant} instead of {text:?}"
        )));
    }
    if ["http", "https"].contains(&scheme) && is_host_and_port(authority) {
        return Ok(format!("{scheme}://{authority}"));
    }
    Err(usage(format!(
        "--etcd-endpoints: expected URLs such as http://10.0.0.1:2379, separated by commas, got {text:?}"
    )))
}

/// Returns an IPv6 address with its port as a URL has it, if it stands there without brackets.
fn in_brackets(authority: &str) -> Option<String> {
    let (host, port) = authority.rsplit_once(':')?;
    // Its last part may be meant as a port, as the one that follows `::1`.
    let whole = authority.parse::<Ipv6Addr>();
    let is_port = port.len() == 4 && port.bytes().all(|byte| byte.is_ascii_digit());
    match host.parse::<Ipv6Addr>() {
        Ok(address) if is_port || whole.is_err() => Some(format!("[{address}]:{port}")),
        Ok(_) | Err(_) => whole.ok().map(|address| format!("[{address}]:2379")),
    }
}

fn is_host_and_port(authority: &str) -> bool {
    let Some((host, port)) = authority.rsplit_once(':') else {
        return false;
    };
    !host.is_empty() && port.parse::<u16>().is_ok() && !authority.contains(['/', '@'])
}

/// Returns the host of an endpoint that [`crate::cli::parse`] has accepted.
pub(crate) fn host_of(endpoint: &str) -> &str {
    let authority = endpoint
        .split_once("://")
        .map_or(endpoint, |(_, authority)| authority);
    let host = authority
        .rsplit_once(':')
        .map_or(authority, |(host, _)| host);
    host.trim_matches(['[', ']'])
}

fn usage(sentence: impl Into<String>) -> ParseExit {
    ParseExit::Usage(sentence.into() + "\n")
}
