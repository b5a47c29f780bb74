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
    assert_eq!(
        options.docker_opts_file,
        PathBuf::from("/run/flannel/docker_opts.env")
    );
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
            (options.selectors.ifaces, options.ip_masq, options.verbosity),
            (vec!["eth0".to_owned()], true, 10)
        );
    }
    assert!(!options(&["--iptables-forward-rules=false"]).forward_rules);
    assert!(!options(&["--ip-masq-fully-random-disable"]).random_fully);
}

#[test]
fn repeats_interfaces_and_lets_the_last_word_count_elsewhere() {
    let options = options(&[
        "--iface=eth1",
        "--iface=10.0.0.1",
        "--etcd-prefix=/a",
        "--etcd-prefix=/b",
    ]);
    assert_eq!(options.selectors.ifaces, ["eth1", "10.0.0.1"]);
    assert_eq!(options.etcd.prefix, "/b");
}

#[test]
fn splits_endpoints_and_completes_them() {
    let options = options(&["--etcd-endpoints=https://a:2379/, b:4001,http://[::1]:2379"]);
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
fn reads_the_environment_where_the_command_line_is_silent() {
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
    assert!(options.selectors.ifaces.is_empty());
}

#[test]
fn accepts_what_flannel_accepts_and_does_not_need() {
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
    check_refused(&["argument"], &[], "unexpected argument");
    check_refused(&["--ip-masq=maybe"], &[], "expected true or false");
    check_refused(&["--iface-regex=("], &[], "unclosed group");
    check_refused(&["--iface-can-reach=host"], &[], "invalid IPv4");
    check_refused(&["--public-ip=fd00::1"], &[], "invalid IPv4");
    check_refused(
        &["--subnet-lease-renew-margin=1440"],
        &[],
        "1440 is not in 1..1440",
    );
    check_refused(
        &["--etcd-endpoints=ftp://a:1"],
        &[],
        "expected URLs such as",
    );
    check_refused(&["--etcd-endpoints=http://a"], &[], "expected URLs such as");
    check_refused(&["--etcd-endpoints="], &[], "expected URLs such as");
    check_refused(
        &["--etcd-endpoints=http://user:secret@a:2379"],
        &[],
        "expected URLs such as",
    );
    check_refused(&["--etcd-certfile=a"], &[], "go together");
    check_refused(&["--etcd-username=a"], &[], "goes together");
    check_refused(&["--etcd-password-file=a"], &[], "goes together");
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
fn teaches_when_asked() {
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
fn does_not_show_the_password() {
    let options = options(&["--etcd-username=a", "--etcd-password=hunter2"]);
    assert!(!format!("{options:?}").contains("hunter2"));
}

#[test]
fn cleanup_finds_the_files_that_the_daemon_with_the_same_options_makes() {
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
        (cleanup.socket, cleanup.docker_opts_file),
        (daemon.socket, daemon.docker_opts_file)
    );
    assert_eq!(
        cleanup.snapshot.expect("the state goes too").parent(),
        Some(daemon.state_dir.as_path())
    );
    assert!(cleanup.vni.is_none() && !cleanup.force);
    let bad = ["cleanup".to_owned(), "--vni=16777216".to_owned()];
    assert!(
        matches!(parse(&bad, &BTreeMap::new()), Err(ParseExit::Usage(text)) if text.contains("from 0 to 16777215"))
    );
}

#[test]
fn rules_are_wherever_they_fit_unless_told_otherwise() {
    let default = options(&[]);
    assert_eq!(
        (default.firewall, default.iptables_resync),
        (Asked::Auto, Duration::from_secs(5))
    );
    assert!(!default.checksums_in_software);
    let told = options(&[
        "--firewall=iptables",
        "--iptables-resync=30",
        "--tx-checksum-offload=off",
    ]);
    assert_eq!(
        (told.firewall, told.iptables_resync),
        (Asked::Iptables, Duration::from_secs(30))
    );
    assert!(told.checksums_in_software);
    check_refused(&["--firewall=pf"], &[], "nftables");
    check_refused(&["--iptables-resync=0"], &[], "0 is not in 1..");
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
fn docker_opts_has_the_options_of_the_script() {
    let plain = docker_opts(&[]);
    assert_eq!(plain.subnet_file, PathBuf::from("/run/flannel/subnet.env"));
    assert_eq!(
        (plain.output, plain.ip_masq),
        (Some(PathBuf::from("/run/docker_opts.env")), true)
    );
    assert_eq!(plain.form, Form::usual());
    let individual = Form::Variables {
        individual: true,
        combined: None,
    };
    assert_eq!(docker_opts(&["-i"]).form, individual);
    let combined = Form::Variables {
        individual: false,
        combined: Some("NETWORK".to_owned()),
    };
    assert_eq!(docker_opts(&["-c", "-k", "NETWORK"]).form, combined);
    assert_eq!(docker_opts(&["-ic"]).form, Form::usual());
    let named = docker_opts(&["-f", "/a", "-d/b", "-m"]);
    assert_eq!(
        (named.subnet_file, named.output, named.ip_masq),
        ("/a".into(), Some("/b".into()), false)
    );
}

#[test]
fn docker_opts_knows_what_its_variable_holds_already() {
    let env = BTreeMap::from([("NETWORK".to_owned(), "--debug".to_owned())]);
    let args = ["docker-opts", "-k", "NETWORK"].map(str::to_owned);
    let Ok(Command::DockerOpts(options)) = parse(&args, &env) else {
        panic!("{args:?} is refused")
    };
    assert_eq!(options.earlier, "--debug");
}

#[test]
fn docker_opts_prints_where_no_file_is_wanted() {
    assert_eq!(docker_opts(&["-d", "-"]).output, None);
    let json = docker_opts(&["--json"]);
    assert_eq!((json.output, json.form), (None, Form::Json));
    assert_eq!(
        docker_opts(&["--json", "-d", "/etc/docker/daemon.json"]).output,
        Some("/etc/docker/daemon.json".into())
    );
    let refused = parse(
        &["docker-opts".to_owned(), "-k".to_owned(), "A B".to_owned()],
        &BTreeMap::new(),
    );
    assert!(matches!(refused, Err(ParseExit::Usage(text)) if text.contains("expected letters")));
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
    for variable in visible.map(variable) {
        assert!(
            DEFAULTS
                .lines()
                .any(|line| line.starts_with(&format!("#{variable}="))),
            "{variable} is missing"
        );
    }
    for line in DEFAULTS.lines().filter(|line| !line.is_empty()) {
        assert!(line.starts_with('#'), "a default that nobody chose: {line}");
        let name = line
            .strip_prefix('#')
            .and_then(|line| line.split_once('='))
            .map_or("", |(name, _)| name);
        let known = |name: &str| {
            options
                .get_arguments()
                .any(|arg| arg.get_long().map(variable).as_deref() == Some(name))
        };
        assert!(
            !name.starts_with("FLANNELD_") || known(name),
            "{name} is no option"
        );
    }
}
