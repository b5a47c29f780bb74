use std::path::Path;

use super::*;

fn parse_with(args: &[&str], env: &[(&str, &str)]) -> Result<Options, ParseExit> {
    let args: Vec<String> = args.iter().map(ToString::to_string).collect();
    let env = env
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    match parse(&args, &env)? {
        Command::Run(options) => Ok(*options),
        other @ (Command::Status(_) | Command::Cleanup(_) | Command::DockerOpts(_)) => {
            panic!("{other:?}")
        }
    }
}

fn options(args: &[&str]) -> Options {
    parse_with(args, &[]).expect("a command line that is accepted")
}

fn check_refused(args: &[&str], env: &[(&str, &str)], hint: &str) {
    match parse_with(args, env) {
        Err(ParseExit::Usage(text)) => assert!(text.contains(hint), "{args:?}: {text}"),
        other => panic!("{args:?}: {other:?}"),
    }
}

#[test]
fn has_the_defaults_of_the_contract() {
    let options = options(&[]);
    assert_eq!(options.etcd.endpoints, ["http://127.0.0.1:2379"]);
    assert_eq!(options.etcd.prefix, "/coreos.com/network");
    assert_eq!(
        options.subnet_file,
        PathBuf::from("/run/flannel/subnet.env")
    );
    assert_eq!(options.docker_opts_file, None);
    assert_eq!(options.state_dir, PathBuf::from("/var/lib/flannel"));
    assert_eq!(options.renew_margin, Duration::from_secs(3600));
    assert!(
        !options.ip_masq && options.random_fully && options.forward_rules && !options.blackhole
    );
    assert_eq!((options.healthz, options.verbosity), (None, 0));
}

#[test]
fn takes_the_spellings_of_go() {
    for args in [
        &["-iface=eth0", "-ip-masq", "-v=10"][..],
        &["--iface=eth0", "--ip-masq=true", "-v", "10"],
        &["-iface", "eth0", "--ip-masq=T", "--v=10"],
        &["--iface", "eth0", "-ip-masq=1", "-v10"],
    ] {
        let options = options(args);
        assert_eq!(
            (options.ifaces, options.ip_masq, options.verbosity),
            (vec!["eth0".to_owned()], true, 10)
        );
    }
    assert!(!options(&["--iptables-forward-rules=false"]).forward_rules);
    assert!(!options(&["--ip-masq-fully-random-disable"]).random_fully);
}

#[test]
fn interfaces_add_up_and_otherwise_the_last_option_counts() {
    let options = options(&[
        "--iface=eth1",
        "--iface=10.0.0.1",
        "--etcd-prefix=/a",
        "--etcd-prefix=/b",
    ]);
    assert_eq!(options.ifaces, ["eth1", "10.0.0.1"]);
    assert_eq!(options.etcd.prefix, "/b");
}

#[test]
fn splits_endpoints_and_completes_them() {
    let options = options(&["--etcd-endpoints= HTTPS://a:2379/ , b:4001,,http://[::1]:2379, "]);
    assert_eq!(
        options.etcd.endpoints,
        ["https://a:2379", "http://b:4001", "http://[::1]:2379"]
    );
    let hosts: Vec<&str> = options
        .etcd
        .endpoints
        .iter()
        .map(|url| host_of(url))
        .collect();
    assert_eq!(hosts, ["a", "b", "::1"]);
}

#[test]
fn the_environment_supplies_what_the_command_line_lacks() {
    let env = [
        ("FLANNELD_ETCD_PREFIX", "/env"),
        ("FLANNELD_IP_MASQ", "true"),
        ("FLANNELD_IFACE", ""),
        ("FLANNELD_V", "2"),
    ];
    let options = parse_with(&["--etcd-prefix=/line"], &env).expect("a good environment");
    assert_eq!(
        (
            options.etcd.prefix.as_str(),
            options.ip_masq,
            options.verbosity
        ),
        ("/line", true, 2)
    );
    assert!(options.ifaces.is_empty());
}

#[test]
fn accepts_options_of_flannel_that_have_no_effect() {
    options(&[
        "--iptables-resync=5",
        "--public-ipv6=fd00::1",
        "--healthz-ip=127.0.0.1",
    ]);
    let healthz = options(&["--healthz-ip=127.0.0.1", "--healthz-port=8080"]).healthz;
    assert_eq!(healthz, "127.0.0.1:8080".parse().ok());
}

#[test]
fn refuses_kubernetes_mode_with_a_sentence() {
    for args in [
        &["--kube-subnet-mgr"][..],
        &["-kube-subnet-mgr=true"],
        &["--kube-api-url=http://x"],
        &["--kubeconfig-file", "x"],
    ] {
        check_refused(args, &[], "keeps its leases in etcd");
    }
    options(&["--kube-subnet-mgr=false"]);
    check_refused(
        &[],
        &[("FLANNELD_KUBE_SUBNET_MGR", "true")],
        "keeps its leases in etcd",
    );
}

#[test]
fn refuses_what_cannot_be_used() {
    check_refused(&["--nonsense"], &[], "unexpected argument '--nonsense'");
    check_refused(&["argument"], &[], "there is no command \"argument\"\n");
    check_refused(&["statsu"], &[], "did you mean \"status\"?");
    check_refused(
        &["--ip-masq", "true"],
        &[],
        "tip: write the value after an equals sign: --ip-masq=true",
    );
    check_refused(&["-ip-masq", "true"], &[], "--ip-masq=true");
    check_refused(&["--etcd-endpoints= , "], &[], "expected URLs such as");
    for (ip, reason) in [
        ("0.0.0.0", "is not the address of a host"),
        ("255.255.255.255", "is not the address of a host"),
        ("224.1.2.3", "is a multicast address"),
        ("127.0.0.1", "is a loopback address"),
    ] {
        check_refused(
            &[&format!("--public-ip={ip}")],
            &[],
            &format!("PublicIP {ip} {reason}"),
        );
    }
    check_refused(&["--ip-masq=maybe"], &[], "expected true or false");
    check_refused(&["--iface-regex=("], &[], "unclosed group");
    check_refused(&["--iface-can-reach=host"], &[], "expected an IPv4 address");
    check_refused(&["--public-ip=fd00::1"], &[], "expected an IPv4 address");
    check_refused(&["--public-ipv6=10.0.0.1"], &[], "expected an IPv6 address");
    check_refused(&["--healthz-ip=host"], &[], "expected an IP address");
    check_refused(&["--healthz-port=65536"], &[], "from 0 to 65535");
    check_refused(&["--removal-grace=-1"], &[], "expected a number of seconds");
    check_refused(&["-v=many"], &[], "from 0 to 255");
    check_refused(&["--node-id=a b"], &[], "expected up to 128 letters");
    check_refused(
        &["--subnet-lease-renew-margin=1440"],
        &[],
        "expected a number of minutes from 1 to 1439",
    );
    check_refused(
        &["--etcd-endpoints=ftp://a:1"],
        &[],
        "expected URLs such as",
    );
    check_refused(&["--etcd-endpoints=http://a"], &[], "expected URLs such as");
    for (given, meant) in [
        ("fd00:9::1", "http://[fd00:9::1]:2379"),
        ("http://fd00:9::1:2379", "http://[fd00:9::1]:2379"),
        ("https://::1:2379", "https://[::1]:2379"),
    ] {
        let given = format!("--etcd-endpoints={given}");
        check_refused(
            &[&given],
            &[],
            &format!("in brackets: write {meant} instead"),
        );
    }
    check_refused(
        &["--etcd-endpoints=http://user:secret@a:2379"],
        &[],
        "expected URLs such as",
    );
    check_refused(&["--etcd-certfile=a"], &[], "go together");
    check_refused(&["--etcd-username=a"], &[], "add --etcd-password-file");
    check_refused(&["--etcd-password-file=a"], &[], "add --etcd-username");
    let both = ["--etcd-username=a", "--etcd-password-file=b"];
    check_refused(
        &both,
        &[("FLANNELD_ETCD_PASSWORD", "hunter2")],
        "give one of",
    );
    check_refused(
        &[],
        &[("FLANNELD_IP_MASQ", "maybe")],
        "in the environment variable FLANNELD_IP_MASQ",
    );
}

#[test]
fn refusals_name_the_variables_that_set_the_options() {
    check_refused(
        &[],
        &[("FLANNELD_ETCD_ENDPOINTS", "10.0.0.1")],
        "in the environment variable FLANNELD_ETCD_ENDPOINTS: --etcd-endpoints: expected URLs",
    );
    check_refused(
        &["--etcd-username=a", "--etcd-password-file=b"],
        &[
            ("FLANNELD_ETCD_PASSWORD", "hunter2"),
            ("FLANNELD_ETCD_ENDPOINTS", "http://a:1"),
        ],
        "in the environment variable FLANNELD_ETCD_PASSWORD: give one of",
    );
    let env = [("FLANNELD_ETCD_ENDPOINTS", "b")];
    match parse_with(&["--etcd-endpoints=a"], &env) {
        Err(ParseExit::Usage(text)) => assert!(text.starts_with("--etcd-endpoints: "), "{text}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn help_and_version_are_texts_not_errors() {
    let text = |args: &[&str]| match parse_with(args, &[]) {
        Err(ParseExit::Text(text)) => text,
        other => panic!("{args:?}: {other:?}"),
    };
    assert_eq!(
        text(&["--version"]),
        format!("flanneld {}\n", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(text(&["-version"]), text(&["--version"]));
    let help = text(&["--help"]);
    for heading in [
        "etcd:",
        "This host:",
        "Packet filter:",
        "Files:",
        "Operation:",
        "Examples:",
    ] {
        assert!(help.contains(heading), "{help}");
    }
    assert!(!help.contains("kube"), "{help}");
}

#[test]
fn help_and_version_are_words_too_and_the_short_help_names_the_commands() {
    let text = |args: &[&str]| match parse_with(args, &[]) {
        Err(ParseExit::Text(text)) => text,
        other => panic!("{args:?}: {other:?}"),
    };
    assert_eq!(text(&["version"]), text(&["--version"]));
    assert_eq!(text(&["help"]), text(&["--help"]));
    assert_eq!(text(&["help", "status"]), text(&["status", "--help"]));
    for name in [
        "flanneld status",
        "flanneld cleanup",
        "flanneld docker-opts",
    ] {
        assert!(text(&["-h"]).contains(name));
    }
}

#[test]
fn a_prefix_has_one_spelling() {
    for given in ["/a/b", "a/b", "/a/b/", "//a//b"] {
        assert_eq!(
            options(&[&format!("--etcd-prefix={given}")]).etcd.prefix,
            "/a/b"
        );
    }
}

#[test]
fn refusals_do_not_repeat_the_word_error() {
    for args in [&["--nonsense"][..], &["--ip-masq=maybe"]] {
        match parse_with(args, &[]) {
            Err(ParseExit::Usage(text)) => assert!(!text.contains("error:"), "{text}"),
            other => panic!("{args:?}: {other:?}"),
        }
    }
}

#[test]
fn takes_a_password_from_a_file() {
    let options = parse_with(
        &["--etcd-username=a"],
        &[("FLANNELD_ETCD_PASSWORD_FILE", "/etc/pw")],
    );
    let login = options
        .expect("a good environment")
        .etcd
        .login
        .expect("a user");
    assert!(
        matches!(&login.password, Password::File(file) if file == Path::new("/etc/pw")),
        "{login:?}"
    );
}

#[test]
fn debug_output_does_not_contain_the_password() {
    let options = options(&["--etcd-username=a", "--etcd-password=hunter2"]);
    assert!(!format!("{options:?}").contains("hunter2"));
}

#[test]
fn cleanup_takes_the_options_of_the_daemon() {
    let args = [
        "cleanup",
        "--etcd-prefix=/blue",
        "-subnet-file=/run/flannel/blue.env",
        "--state-dir=/s",
    ];
    let parsed =
        parse(&args.map(str::to_owned), &BTreeMap::new()).expect("a command line that is accepted");
    let Command::Cleanup(cleanup) = parsed else {
        panic!("{parsed:?}")
    };
    let daemon = options(&args[1..]);
    assert_eq!(
        (cleanup.prefix, cleanup.subnet_file, cleanup.state_dir),
        (daemon.etcd.prefix, daemon.subnet_file, daemon.state_dir)
    );
    assert_eq!(cleanup.docker_opts_file, daemon.docker_opts_file);
    assert!(cleanup.vni.is_none() && !cleanup.force && !cleanup.keep_state);
    let bad = ["cleanup".to_owned(), "--vni=16777216".to_owned()];
    assert!(
        matches!(parse(&bad, &BTreeMap::new()), Err(ParseExit::Usage(text)) if text.contains("from 0 to 16777215"))
    );
}

#[test]
fn auto_chooses_the_tool_for_the_rules_unless_told_otherwise() {
    let default = options(&[]);
    assert_eq!(
        (default.firewall, default.iptables_resync),
        (FirewallOption::Auto, Duration::from_secs(5))
    );
    assert!(!default.checksums_in_software);
    let told = options(&[
        "--firewall=iptables",
        "--iptables-resync=30",
        "--tx-checksum-offload=off",
    ]);
    assert_eq!(
        (told.firewall, told.iptables_resync),
        (FirewallOption::Iptables, Duration::from_secs(30))
    );
    assert!(told.checksums_in_software);
    check_refused(&["--firewall=pf"], &[], "nftables");
    for option in ["--iptables-resync=0", "--peers-idle=0", "--peers-idle=x"] {
        check_refused(&[option], &[], "expected a number of seconds, at least 1");
    }
}

fn docker_opts(args: &[&str]) -> DockerOptions {
    let args: Vec<String> = ["docker-opts"]
        .iter()
        .chain(args)
        .map(ToString::to_string)
        .collect();
    match parse(&args, &BTreeMap::new()) {
        Ok(Command::DockerOpts(options)) => options,
        other => panic!("{args:?}: {other:?}"),
    }
}

#[test]
fn docker_opts_has_the_options_of_flannels_script() {
    let plain = docker_opts(&[]);
    assert_eq!(plain.subnet_file, PathBuf::from("/run/flannel/subnet.env"));
    assert_eq!((plain.docker_env_file, plain.ip_masq), (None, true));
    assert!(!plain.individual && !plain.combined && !plain.json);
    assert_eq!(plain.combined_key, "DOCKER_OPTS");
    let both = docker_opts(&["-ic"]);
    assert!(both.individual && both.combined);
    assert_eq!(
        docker_opts(&["-c", "-k", "NETWORK"]).combined_key,
        "NETWORK"
    );
    let named = docker_opts(&["-f", "/a", "-d/b", "-m"]);
    assert_eq!(
        (named.subnet_file, named.docker_env_file, named.ip_masq),
        ("/a".into(), Some("/b".into()), false)
    );
}

#[test]
fn docker_opts_keeps_what_its_variable_holds_already() {
    let env = BTreeMap::from([("NETWORK".to_owned(), "--debug".to_owned())]);
    let args = ["docker-opts", "-k", "NETWORK"].map(str::to_owned);
    let Ok(Command::DockerOpts(options)) = parse(&args, &env) else {
        panic!("{args:?} is refused")
    };
    assert_eq!(options.earlier, "--debug");
}

#[test]
fn docker_opts_takes_a_dash_for_a_file_and_refuses_a_bad_name_of_a_variable() {
    assert_eq!(docker_opts(&["-d", "-"]).docker_env_file, Some("-".into()));
    assert!(docker_opts(&["--json"]).json);
    let refused = parse(
        &["docker-opts".to_owned(), "-k".to_owned(), "A B".to_owned()],
        &BTreeMap::new(),
    );
    assert!(matches!(refused, Err(ParseExit::Usage(text)) if text.contains("expected letters")));
}

#[test]
fn docker_opts_takes_what_the_daemon_takes_for_networks() {
    let eight = docker_opts(&["--docker-networks=8"]).docker_networks;
    assert_eq!(eight, DockerNetworks::Divided(3));
    assert_eq!(options(&["--docker-networks=8"]).docker_networks, eight);
    assert_eq!(options(&[]).docker_networks, DockerNetworks::Docker0);
    for (option, expected) in [
        ("--docker-networks=3", "expected docker0, own, or a number"),
        ("--network-create=-x", "expected up to 15 letters"),
        (
            "--network-create=longer-than-a-bridge",
            "expected up to 15 letters",
        ),
    ] {
        let refused = parse(
            &["docker-opts".to_owned(), option.to_owned()],
            &BTreeMap::new(),
        );
        assert!(
            matches!(&refused, Err(ParseExit::Usage(text)) if text.contains(expected)),
            "{option}: {refused:?}"
        );
    }
}

/// The file that the package installs as /etc/default/flanneld.
const DEFAULTS: &str = include_str!("../../systemd/flanneld.default");

#[test]
fn the_defaults_file_lists_every_option_as_a_comment() {
    let options = command();
    let visible = options
        .get_arguments()
        .filter(|arg| !arg.is_hide_set())
        .filter_map(clap::Arg::get_long);
    for variable in visible.map(arguments::variable) {
        assert!(
            DEFAULTS
                .lines()
                .any(|line| line.starts_with(&format!("#{variable}="))),
            "{variable} is missing"
        );
    }
    for line in DEFAULTS.lines().filter(|line| !line.is_empty()) {
        assert!(
            line.starts_with('#'),
            "only comments, so that the program's defaults count: {line}"
        );
        let name = line
            .strip_prefix('#')
            .and_then(|line| line.split_once('='))
            .map_or("", |(name, _)| name);
        let known = |name: &str| {
            options
                .get_arguments()
                .any(|arg| arg.get_long().map(arguments::variable).as_deref() == Some(name))
        };
        assert!(
            !name.starts_with("FLANNELD_") || known(name),
            "{name} is not an option"
        );
    }
}
