use std::collections::BTreeMap;

use crate::cli::{Command, Options, ParseExit, parse};

fn parse_with(args: &[&str], env: &[(&str, &str)]) -> Result<Options, String> {
    let args: Vec<String> = args.iter().map(ToString::to_string).collect();
    let env = env
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let env: BTreeMap<String, String> = env.collect();
    match parse(&args, &env) {
        Ok(Command::Run(options)) => Ok(*options),
        Err(ParseExit::Usage(text)) => Err(text),
        other => panic!("{args:?}: {other:?}"),
    }
}

fn options(args: &[&str]) -> Options {
    parse_with(args, &[]).expect("a command line that is accepted")
}

fn check(arg: &str, expected: &str) {
    let refused = parse_with(&[arg], &[]).expect_err(arg);
    assert_eq!(refused, format!("{expected}\n"), "{arg}");
}

#[test]
fn an_empty_value_counts_as_not_given() {
    for args in [
        &["--iface="][..],
        &["--iface", ""],
        &["-iface="],
        &["--iface= "],
        &["--iface=\"\""],
        &["--iface=''", "--iface="],
        &["", "--iface="],
    ] {
        let options = options(args);
        assert!(options.ifaces.is_empty(), "{args:?}");
    }
    let all = options(&[
        "--etcd-endpoints=",
        "--etcd-prefix=",
        "--etcd-cafile=",
        "--etcd-username=",
        "--etcd-password=",
        "--public-ip=",
        "--iface-regex=",
        "--iface-can-reach=",
        "--healthz-port=",
        "--node-id=",
        "--ip-masq=",
        "--subnet-file=",
        "-v=",
    ]);
    assert_eq!(all.etcd.endpoints, ["http://127.0.0.1:2379"]);
    assert_eq!(all.etcd.prefix, "/coreos.com/network");
    assert!(all.etcd.cafile.is_none() && all.etcd.login.is_none() && !all.ip_masq);
    assert!(all.iface_patterns.is_empty() && all.public_ip.is_none());
    // A word that is empty takes no option with it that needs none.
    assert!(options(&["--ip-masq", ""]).ip_masq);
    // What the command line leaves empty, the environment may give.
    let env = [("FLANNELD_IFACE", "eth1"), ("FLANNELD_ETCD_PREFIX", "\"\"")];
    let from_env = parse_with(&["--iface="], &env).expect("a good environment");
    assert_eq!(from_env.ifaces, ["eth1"]);
    assert_eq!(from_env.etcd.prefix, "/coreos.com/network");
}

#[test]
fn blanks_and_ends_of_lines_around_a_value_do_not_count() {
    for value in ["eth0 ", " eth0", "eth0\n", "eth0\r", "\teth0\r\n"] {
        assert_eq!(
            options(&[&format!("--iface={value}")]).ifaces,
            ["eth0"],
            "{value:?}"
        );
        let env = [
            ("FLANNELD_IFACE", value),
            ("FLANNELD_HEALTHZ_PORT", "8080\r"),
        ];
        let options = parse_with(&[], &env).expect("a good environment");
        assert_eq!(options.ifaces, ["eth0"], "{value:?}");
        assert!(options.healthz.is_some());
    }
}

#[test]
fn quotes_around_a_value_are_named_with_the_right_spelling() {
    let wrapped = "the value is wrapped in quotes: write";
    for (arg, option, meant, value) in [
        (
            "--etcd-endpoints=\"http://E:2379\"",
            "--etcd-endpoints",
            "http://E:2379",
            "\"http://E:2379\"",
        ),
        (
            "--etcd-endpoints=\"http://a:1\",\"http://b:1\"",
            "--etcd-endpoints",
            "http://a:1,http://b:1",
            "\"http://a:1\",\"http://b:1\"",
        ),
        ("--iface=\"eth0\"", "--iface", "eth0", "\"eth0\""),
        ("-iface='eth0'", "--iface", "eth0", "'eth0'"),
        ("--iface=eth0\"", "--iface", "eth0", "eth0\""),
        ("--iface=\\\"eth0\\\"", "--iface", "eth0", "\\\"eth0\\\""),
        (
            "--iface=\u{201c}eth0\u{201d}",
            "--iface",
            "eth0",
            "\u{201c}eth0\u{201d}",
        ),
        (
            "--etcd-prefix=\"/coreos.com/network\"",
            "--etcd-prefix",
            "/coreos.com/network",
            "\"/coreos.com/network\"",
        ),
        (
            "--public-ip='10.0.0.1'",
            "--public-ip",
            "10.0.0.1",
            "'10.0.0.1'",
        ),
        ("--ip-masq=\"true\"", "--ip-masq", "true", "\"true\""),
    ] {
        check(
            arg,
            &format!("{option}: {wrapped} {meant} instead of {value}"),
        );
    }
    let separate = parse_with(&["--iface", "\"eth0\""], &[]).expect_err("quotes");
    assert!(
        separate.starts_with("--iface: the value is wrapped"),
        "{separate}"
    );
    let of_env = parse_with(&[], &[("FLANNELD_IFACE", "\"eth0\"")]).expect_err("quotes");
    let expected = "in the environment variable FLANNELD_IFACE: --iface: the value is wrapped in quotes: write eth0";
    assert!(of_env.starts_with(expected), "{of_env}");
}

#[test]
fn what_nobody_has_expanded_is_named() {
    for (arg, leftover) in [
        ("--iface=${IFACE}", "${"),
        ("--iface=$IFACE", "$IFACE"),
        ("--etcd-endpoints=http://$ETCD:2379", "$ETCD"),
        ("--public-ip=$(hostname -I)", "$("),
        ("--node-id=%H", "%H"),
        ("--node-id=`hostname`", "`"),
        ("--iface=%i", "%i"),
        ("--etcd-prefix={{ .Prefix }}", "{{"),
        ("--etcd-endpoints=<no value>", "<no value>"),
        ("--public-ip=<your-ip>", "<your-ip>"),
    ] {
        let refused = parse_with(&[arg], &[]).expect_err(arg);
        let expected = format!("contains {leftover}, which should have been replaced");
        assert!(refused.contains(&expected), "{arg}: {refused}");
    }
    for (arg, expected) in [
        (
            "--iface=eth0;",
            "ends with a semicolon: write eth0 instead of eth0;",
        ),
        (
            "--iface=eth0\\n",
            "ends with \\n as two characters: write eth0 instead",
        ),
        (
            "--iface=eth0 \\",
            "ends with a backslash: write eth0 instead",
        ),
        (
            "--iface=--iface=eth0",
            "repeats the name of the option: write eth0 instead",
        ),
        (
            "--etcd-prefix=etcd-prefix=/a",
            "repeats the name of the option: write /a instead",
        ),
    ] {
        let refused = parse_with(&[arg], &[]).expect_err(arg);
        assert!(refused.contains(expected), "{arg}: {refused}");
    }
}

#[test]
fn several_options_in_one_argument_are_named() {
    for (arg, two) in [
        ("-iface=eth0 -ip-masq", "--iface and -ip-masq"),
        ("--ip-masq --iface=eth0", "--ip-masq and --iface"),
        ("--etcd-prefix=/a -iface eth0", "--etcd-prefix and -iface"),
    ] {
        let refused = parse_with(&[arg], &[]).expect_err(arg);
        let expected =
            format!("several options stand in one argument, {two}: in a unit file, write $OPTIONS");
        assert!(refused.starts_with(&expected), "{arg}: {refused}");
    }
    let refused = parse_with(&["--iface", "eth0 --ip-masq"], &[]).expect_err("two options");
    assert!(
        refused.starts_with("--iface: --ip-masq is an option"),
        "{refused}"
    );
    let env = [("FLANNELD_IFACE", "eth0 --ip-masq")];
    let refused = parse_with(&[], &env).expect_err("two options");
    assert!(
        refused.starts_with("in the environment variable FLANNELD_IFACE: several"),
        "{refused}"
    );
    options(&["--etcd-username=a", "--etcd-password=b --ip-masq"]);
    options(&["--etcd-cafile=/etc/a --b/ca.pem"]);
}

#[test]
fn patterns_paths_and_passwords_keep_what_they_may_contain() {
    let kept = options(&[
        "--iface-regex=^eth[0-9]$",
        "--iface-regex=(en|eth0$|^lan)",
        "--etcd-cafile=/etc/it's here/ca%20.pem",
        "--etcd-prefix=/it's",
        "--etcd-username=a",
        "--etcd-password='${pw}%i;",
    ]);
    assert_eq!(kept.iface_patterns.len(), 2);
    assert_eq!(kept.etcd.prefix, "/it's");
    let refused = parse_with(&["--etcd-password='${hunter2}"], &[]).expect_err("no user");
    assert!(!refused.contains("hunter2"), "{refused}");
}

#[test]
fn interfaces_may_be_a_list() {
    for arg in [
        "--iface=eth0,10.0.0.0/24",
        "--iface=eth0 10.0.0.0/24",
        "--iface=eth0, 10.0.0.0/24,",
    ] {
        assert_eq!(options(&[arg]).ifaces, ["eth0", "10.0.0.0/24"], "{arg}");
    }
    let env = [("FLANNELD_IFACE", "eth0,eth1")];
    let options = parse_with(&[], &env).expect("a good environment");
    assert_eq!(options.ifaces, ["eth0", "eth1"]);
    for (arg, expected) in [
        (
            "--iface=eth*",
            "--iface: eth* is a pattern: use --iface-regex",
        ),
        (
            "--iface=eth+",
            "--iface: eth+ is a pattern: use --iface-regex",
        ),
        (
            "--iface=^eth0$",
            "--iface: ^eth0$ is a pattern: use --iface-regex",
        ),
        (
            "--iface=fd00::1",
            "--iface: fd00::1 is an IPv6 address, and this flanneld carries IPv4 only",
        ),
    ] {
        let refused = parse_with(&[arg], &[]).expect_err(arg);
        assert!(refused.contains(expected), "{arg}: {refused}");
    }
}
