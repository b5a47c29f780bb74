//! What the daemon, its subcommands and its package print, as far as tests read it: when a text
//! changes, this is the place to change. Texts of other programs stand in the tests.

/// The state of a daemon that misses nothing: in `status`, to systemd, and as a line of the log.
pub const READY: &str = "ready";
/// The line of `flanneld status` that says so.
pub const STATUS_READY: &str = "state:     ready";
/// How a state begins while the daemon does without something for a time.
pub const DEGRADED: &str = "degraded";

// The start.

/// The interface of a node was chosen.
pub const EXTERNAL_INTERFACE_ETH1: &str = "external interface interface=\"eth1\"";
/// The host has a lease.
pub const LEASE_ACQUIRED: &str = "lease acquired";
/// A file for others was written.
pub const WROTE_THE_FILE: &str = "wrote the file";
/// Another daemon uses the same files.
pub const ANOTHER_FLANNELD_ANSWERS: &str = "another flanneld answers on";
/// What the refusal of `--kube-subnet-mgr` explains.
pub const KEEPS_ITS_LEASES_IN_ETCD: &str = "keeps its leases in etcd";
/// The device belongs to the daemon of another prefix.
pub const DEVICE_OF_THE_FIRST_INSTANCE: &str = "belongs to \\\"flanneld /coreos.com/network\\\"";

/// How to remove the device that a stopped daemon has left.
pub const REMOVE_THE_DEVICE: &str = "ip link del flannel.1";
/// A device of the daemon's own, from the time before `VNI` changed.
pub const REMOVING_AN_OLD_DEVICE: &str =
    "removing a device of an earlier VNI: ip link del flannel.1";

// The network config.

/// There is no network config, or it was deleted.
pub const NO_NETWORK_CONFIG: &str = "no network config";
/// There is none at the start.
pub const NO_NETWORK_CONFIG_YET: &str = "no network config in etcd yet";
/// What `/readyz` answers then.
pub const WAITING_FOR_A_NETWORK_CONFIG: &str = "waiting for a network config";
/// The config that the daemon had has become unusable.
pub const CONFIG_CANNOT_BE_USED: &str =
    "the network config in etcd cannot be used; using the previous one";
/// A network with host bits.
pub const PROBABLY_MEANT_10_5: &str = r#""10.5.0.0/16" was probably meant"#;
/// A change of `Network`.
pub const NETWORK_CHANGED: &str =
    "Network 10.5.0.0/16 -> 10.6.0.0/16: a restart would take a subnet of the new";
/// A change of `SubnetLen`.
pub const SUBNET_LEN_CHANGED: &str = "SubnetLen 24 -> 26: a restart would";
/// A change of `Backend.VNI`.
pub const VNI_CHANGED: &str = "Backend.VNI 1 -> 7: a restart would make the device flannel.7";

// etcd.

/// The first failure of a row.
pub const ETCD_IS_UNREACHABLE: &str = "etcd is unreachable";
/// A further failure, at debug level.
pub const ETCD_IS_STILL_UNREACHABLE: &str = "etcd is still unreachable";
/// The end of a row of failures.
pub const ETCD_IS_REACHABLE_AGAIN: &str = "etcd is reachable again";
/// The state of a host with a lease.
pub const DEGRADED_SINCE: &str = "degraded: etcd unreachable since ";
/// The beginning of the state of a host that has started without etcd.
pub const DEGRADED_ETCD: &str = "degraded: etcd ";
/// The state of a host without a lease.
pub const WAITING_FOR_A_LEASE: &str = "waiting for a lease: etcd unreachable since ";
/// Nothing listens on the port.
pub const REFUSED: &str = "connection refused";
/// No answer to a SYN.
pub const NO_CONNECTION: &str = "no answer to the attempt to connect";
/// EHOSTUNREACH.
pub const HOST_UNREACHABLE: &str = "host unreachable";
/// ENETUNREACH.
pub const NETWORK_UNREACHABLE: &str = "network unreachable";
/// The resolver does not know the host.
pub const UNKNOWN_NAME: &str = "the host name cannot be resolved";
/// A request has had no answer.
pub const NO_ANSWER_WITHIN_5_S: &str = "no answer within 5 s";
/// One of several endpoints does not answer.
pub const ENDPOINT_FAILED: &str = "an etcd endpoint failed; using the next one";
/// A watch was refused.
pub const FAILED_TO_WATCH: &str = "failed to watch";
/// The watch goes on after a cut, at debug level.
pub const RESUMED_THE_WATCH: &str = "resumed the watch";
/// It does not, and everything is listed, at debug level.
pub const WATCH_CANNOT_BE_CONTINUED: &str = "the watch cannot be continued";
/// It is cut all the time.
pub const KEEPS_ENDING_WATCHES: &str = "a proxy in front of etcd keeps ending watches";
/// The lease was prolonged.
pub const LEASE_RENEWED: &str = "lease renewed";

// Leases of this host.

/// The PublicIP or the node id belongs to another host that is alive.
pub const IS_IN_USE_BY: &str = "is in use by";
/// The same, as the status says it of node alpha.
pub const IN_USE_BY_ALPHA: &str = "in use by node alpha";
/// The same, in full.
pub const PUBLIC_IP_IN_USE_BY_ALPHA: &str =
    "PublicIP 10.0.2.15 is in use by node alpha at 10.0.2.15";
/// The same, of node gone.
pub const IN_USE_BY_GONE: &str = "is in use by node gone";
/// The same, of a copied machine id.
pub const IN_USE_BY_HOST_1: &str = "is in use by a host at 10.99.1.1";
/// The same, of node beta at an address to which this host has come.
pub const PUBLIC_IP_IN_USE_BY_BETA: &str = "PublicIP 10.99.2.1 is in use by node beta";
/// The same, of node beta at the address of host 1.
pub const PUBLIC_IP_IN_USE_BY_BETA_AT_HOST_1: &str = "PublicIP 10.99.1.1 is in use by node beta";
/// Another host shows no sign of life.
pub const TAKING_OVER_FROM_ALPHA: &str = "taking over the lease of node alpha at 10.99.1.1: no other machine answers for this address on eth0";
/// The link is silent, but the daemon of the other host is not.
pub const RENEWS_WHEN_ASKED: &str = "its flanneld renews the lease when asked";
/// The pods of this host have addresses of another one's subnet.
pub const ANOTHER_HOST_HOLDS_OUR_SUBNET: &str = "another host holds the previous subnet";
/// The PublicIP in etcd is outdated.
pub const NOT_PUBLISHED_YET: &str = "etcd holds PublicIP 10.99.1.1, but this host is at 10.99.2.1";
/// Who the host is that keeps its lease.
pub const THIS_HOST_IS_NODE_ALPHA: &str = "this host is node alpha";
/// Who the refused host is.
pub const THIS_HOST_IS_NODE_BETA: &str = "this host is node beta";
/// Another client has written to our key.
pub const KEY_OVERWRITTEN: &str = "another client has overwritten the key of our lease";
/// It does so again and again.
pub const KEEPS_OVERWRITING: &str = "another client keeps overwriting our key";
/// Another host has the subnet now.
pub const SUBNET_HELD_BY_ANOTHER: &str = "another host holds the previous subnet of this host";
/// No other subnet is free.
pub const SUBNET_HELD_BY_ALPHA: &str =
    "the previous subnet of this host, 10.5.4.0/24, is held by node alpha at 10.99.1.1";
/// The same, of node beta on host 2.
pub const SUBNET_HELD_BY_BETA: &str =
    "the previous subnet of this host, 10.5.4.0/24, is held by node beta at 10.99.1.2";

// Leases of other hosts.

/// How each line about a lease that is not used begins.
pub const IGNORING_A_LEASE: &str = "ignoring a lease";
/// The key names a subnet outside the network.
pub const NOT_INSIDE_THE_NETWORK: &str = "not inside the network";
/// The key names no subnet.
pub const EXPECTED_A_KEY_SUCH_AS: &str = "expected a key such as";
/// The VTEP MAC is none.
pub const NOT_THE_ADDRESS_OF_A_DEVICE: &str = "not the address of a device";
/// The VTEP MAC or the PublicIP is that of this host.
pub const IS_OUR_OWN: &str = "is our own";
/// The PublicIP is none.
pub const NOT_THE_ADDRESS_OF_A_HOST: &str = "not the address of a host";
/// The PublicIP is a multicast address.
pub const MULTICAST: &str = "multicast";
/// The PublicIP is a loopback address.
pub const LOOPBACK: &str = "loopback";
/// The PublicIP lies in the overlay.
pub const INSIDE_THE_OVERLAY: &str = "inside the overlay";
/// Another VNI.
pub const VNI_IS_2_OURS_IS_1: &str = "VNI is 2, ours is 1";
/// The value is no lease.
pub const FAILED_TO_READ_THE_VALUE: &str = "failed to read the value";
/// The value is too long.
pub const LONGER_THAN_4096_BYTES: &str = "longer than 4096 bytes";
/// Another backend.
pub const BACKEND_IS_UDP: &str = "backend is \"udp\"";
/// The subnet overlaps that of this host.
pub const OVERLAPS_OUR_OWN: &str = "overlaps our own";
/// The value is damaged, and its host may live.
pub const KEPT_AS_LAST_KNOWN: &str = "its peer is kept as last known until 2";

// Removals that are held.

/// Most peers have gone at once.
pub const PEERS_HAVE_VANISHED: &str = "peers have vanished from etcd at once";
/// The status meanwhile.
pub const EIGHT_GONE: &str = "8 of them gone from etcd";
/// They have not come back.
pub const REMOVING_EIGHT: &str = "removing the peers that have not come back to etcd gone=8";

// The snapshot.

/// It is not used; the reason follows.
pub const IGNORING_THE_SNAPSHOT: &str = "ignoring the last known state";
/// It was changed.
pub const CHECKSUM_IS_WRONG: &str = "checksum is wrong";
/// It was copied from another host.
pub const BELONGS_TO_NODE: &str = "belongs to node";
/// It is no text; the words are those of Rust's standard library.
pub const NO_UTF_8: &str = "did not contain valid UTF-8";
/// The external interface could not be looked up.
pub const INTERFACE_OF_THE_LAST_RUN: &str = "taking the external interface of the last run";

// The kernel's state.

/// A repair.
pub const REPAIRED_THE_OVERLAY: &str =
    "INFO repaired a change by another program slice=\"overlay\"";
/// Another program keeps changing our state.
pub const KEEPS_UNDOING_THE_OVERLAY: &str =
    "another program keeps undoing this; limiting repairs from now on slice=\"overlay\"";
/// A neighbour entry was replaced, as the command that the log shows.
pub const IP_NEIGH_REPLACE: &str = "ip neigh replace";
/// A neighbour entry was set to stale, as the command that the log shows.
pub const NUD_STALE: &str = "nud stale";
/// The overlay is in the kernel, for the first time or again.
pub const KERNEL_HOLDS_ALL: &str = "the kernel holds the device and the entries for all peers";

// Files.

/// A repair.
pub const REPAIRED_THE_FILES: &str = "repaired a change by another program slice=\"files\"";

// The packet filter.

/// All rules are installed; the fields say where, and why there.
pub const RULES_ARE_IN_PLACE: &str = "rules are in place";
/// In iptables-legacy.
pub const RULES_ARE_IN_LEGACY: &str = "rules are in place masquerade=\"iptables-legacy\"";
/// Both fields name iptables-legacy.
pub const ALL_IN_LEGACY: &str = "masquerade=\"iptables-legacy\" forward=\"iptables-legacy\"";
/// Masquerading in nftables, the accept in iptables-legacy.
pub const NFTABLES_AND_LEGACY: &str = "masquerade=\"nftables\" forward=\"iptables-legacy\"";
/// Masquerading in nftables, and nothing that needs an accept.
pub const NFTABLES_AND_NOTHING: &str = "masquerade=\"nftables\" forward=\"nothing\"";
/// Why, on a host whose Docker uses iptables-legacy.
pub const WHY_LEGACY: &str =
    "why=\"nft works here, and chains of kube-proxy or Docker are in iptables-legacy\"";
/// Why, where the network config decides.
pub const WHY_CONFIG: &str = "why=\"EnableNFTables in the network's config asks for iptables";
/// The options ask for no rule.
pub const NO_RULES_ARE_CONFIGURED: &str = "no firewall rules are configured";
/// Chains of others in both kinds of iptables.
pub const IN_BOTH_IPTABLES: &str = "are in both iptables-legacy and iptables-nft";
/// What the daemon may not look at.
pub const NOT_AT_LEGACY: &str = "as far as we may look (not at iptables-legacy)";
/// The hint at the drop-in for iptables-legacy.
pub const LEGACY_DROP_IN: &str = "iptables-legacy.conf";
/// The same, as a warning.
pub const LEGACY_SEEMS_TO_BE_USED: &str = "WARN iptables-legacy seems to be used on this host";
/// A repair.
pub const REPAIRED_THE_RULES: &str = "repaired a change by another program slice=\"rules\"";
/// A try to bring the rules in place, whether it works or not, and at whichever level.
pub const RULE_OPERATIONS: &str = "slice=\"rules\" operations=";
/// A try that has failed.
pub const RULES_NOT_IN_SYNC: &str = "not in sync; retrying slice=\"rules\"";
/// A further try that has failed, at debug level.
pub const NOT_IN_SYNC_STILL: &str = "still not in sync";
/// Rules that could not be installed, and that the host does not need as it is.
pub const OPTIONAL_RULES_NOT_INSTALLED: &str = "optional rules could not be installed";
/// A tool that does not show what it was given.
pub const STILL_TO_DO: &str = "still to do after all operations succeeded";
/// Another program keeps removing our rules.
pub const KEEPS_UNDOING_THE_RULES: &str =
    "another program keeps undoing this; limiting repairs from now on slice=\"rules\"";

// Preflight warnings.

/// Forwarding is off.
pub const IP_FORWARD_IS_0: &str = "net.ipv4.ip_forward is 0";
/// Strict reverse path filtering.
pub const RP_FILTER_IS_STRICT: &str =
    "net.ipv4.conf.*.rp_filter is 1 (strict) for eth0 and our device";
/// Bridged packets do not pass iptables.
pub const BRIDGE_NF_IS_0: &str = "net.bridge.bridge-nf-call-iptables is 0";
/// Another device has the VNI.
pub const OTHER_DEVICE_HAS_VNI: &str = "device vxlan.other has VNI 1 on UDP port 8472 already";
/// Another program has the port.
pub const PORT_IS_TAKEN: &str = "UDP port 8472 is taken by a program";
/// The same, as the kernel refuses the device.
pub const UDP_PORT_IN_USE: &str = "another program uses the VXLAN UDP port";
/// Another program has the port for IPv6, and perhaps for IPv4.
pub const PORT_MAY_BE_TAKEN: &str = "UDP port 8472 may be taken by a program that has it for IPv6";
/// Another device has the port for all VNIs.
pub const CILIUM_DIFFERS: &str = "device cilium_vxlan on UDP port 8472 differs in the kinds of packets that it receives (external)";

/// What keeps packets from flowing is over.
pub const NOTHING_KEEPS_PACKETS: &str =
    "nothing on this host keeps packets of the overlay from flowing any more";

// Certificates, users and passwords.

/// What is logged when files were renewed.
pub const FILES_WERE_RENEWED: &str = "files for etcd were renewed";
/// Renewed files do not fit together yet.
pub const FILES_CANNOT_BE_USED: &str =
    "files for etcd cannot be used; keeping what was read before";
/// A key without its certificate.
pub const BELONGS_TO_ANOTHER_CERTIFICATE: &str = "it belongs to another certificate";
/// A certificate file without a certificate.
pub const NO_READABLE_CERTIFICATE: &str = "contains no readable certificate";
/// A file that cannot be read.
pub const FAILED_TO_READ: &str = "failed to read";
/// A key that works, with a warning.
pub const TOO_SHORT_TO_BE_SAFE: &str = "too short to be safe";
/// A file of another form.
pub const IS_NOT_PEM: &str = "is not PEM";
/// A password file without a password.
pub const IS_EMPTY: &str = "is empty";
/// etcd's certificate is of another authority; a file follows.
pub const NOT_SIGNED_BY: &str = "not signed by an authority in";
/// etcd refuses our certificate; a file follows.
pub const DOES_NOT_TRUST_OUR_CERTIFICATE: &str = "does not trust our certificate";
/// etcd requires a certificate.
pub const REQUIRES_A_CERTIFICATE: &str = "requires a client certificate";
/// etcd does not speak TLS.
pub const USE_HTTP: &str = "use http://";
/// etcd speaks TLS.
pub const USE_HTTPS: &str = "use https://";
/// etcd's certificate has expired.
pub const CERTIFICATE_OF_ETCD_HAS_EXPIRED: &str =
    "certificate of etcd at https://10.99.0.1:3379 has expired";
/// etcd's certificate is of another host.
pub const DOES_NOT_NAME_THE_HOST: &str = "does not name the host in https://etcd.example:3379";
/// etcd wants a user.
pub const HAS_AUTHENTICATION_ENABLED: &str = "etcd has authentication enabled";
/// The user of a refused password.
pub const USER_FLANNEL: &str = "user \"flannel\"";
/// Where a refused password is from; a file follows.
pub const THE_PASSWORD_IN: &str = "the password in";
/// What the user needs.
pub const NEEDS_TO_READ: &str = "needs to read";
/// The same, in full.
pub const NEEDS_TO_READ_AND_WRITE: &str = "user \"flannel\" needs to read \"/coreos.com/network/\" and write \"/coreos.com/network/subnets/\"";
/// The same, for a watch.
pub const NEEDS_TO_READ_THE_PREFIX: &str =
    "user \"flannel\" needs to read \"/coreos.com/network/\"";
/// A key could not be created.
pub const FAILED_TO_CREATE: &str = "failed to create \"/coreos.com/network/subnets/10.5.";

// `flanneld cleanup`.

/// A daemon runs.
pub const STOP_IT_FIRST: &str = "stop it first";
/// What was removed.
pub const REMOVED_DEVICE: &str = "removed device flannel.1";
/// How to delete the lease.
pub const ETCDCTL_DEL: &str = "etcdctl del /coreos.com/network/subnets/";
/// There is nothing to remove.
pub const FOUND_NOTHING: &str = "found nothing to remove\n";
/// What belongs to another instance.
pub const LEFT_ALONE_DEVICE: &str = "left alone: device flannel.1";

// The package.

/// Docker is too old for an option.
pub const DOCKER_DOES_NOT_TAKE_THE_OPTIONS: &str =
    "Docker is not restarted, because it does not take the options";
/// Docker does not use the subnet.
pub const DOCKER0_DOES_NOT_HAVE_THE_ADDRESS: &str = "docker0 does not have the address";
/// An `ExecStart` hides that of the package.
pub const EXEC_START_OF_YOUR_OWN: &str = "ExecStart of your own";
/// A first installation.
pub const NOT_STARTED: &str = "not started";
/// Files of another flanneld hide those of the package.
pub const OVERRIDES_OURS: &str = "overrides ours";
/// What gives Docker's bridge an address that was not leased.
pub const BIP_OF_ITS_OWN: &str = "\"bip\": \"172.17.0.1/16\"";
/// A file of an older setup, whose path comes first.
pub const CONNECTS_DOCKER_TO_GO_FLANNEL: &str = "connects Docker to Go flannel and overrides ours";
/// What the removal of the package leaves.
pub const STAY_IN_PLACE: &str = "stay in place";

/// What opens the nftables backend of Docker 29.
pub const DOCKER_29_OPTIONS: &str =
    "start dockerd with --allow-direct-routing and --bridge-accept-fwmark=0x1000/0x1000";

// The command line.

/// What is wrong came from a file of options.
pub const IN_THE_VARIABLE: &str =
    "in the environment variable FLANNELD_IP_MASQ: invalid value 'yes'";

// Docker's unit.

/// Why Docker is not started before the first lease, or waits.
pub const NOT_LEASED_YET: &str =
    "because flanneld has not leased a subnet yet: see systemctl status flanneld";
/// What the start says that comes after a refused one.
pub const DOCKER_WAITS: &str = "Docker waits";

/// A route of another program leads through the device.
pub const STRAY_ROUTE: &str = "removing a route of another program";
/// The same, of a DHCP client.
pub const STRAY_DEFAULT_ROUTE: &str =
    "into flannel.1: default via 192.168.1.254 dev flannel.1 metric 208 proto dhcp; keep";

/// Another machine on the link has the PublicIP of this host.
#[must_use]
pub fn answers_on_eth0(mac: &str) -> String {
    format!("a machine with MAC address {mac} answers for this address on eth0")
}
