use super::*;
use crate::cli::{self, Command, Options};
use crate::daemon::settings;
use std::net::Ipv4Addr;

const PREFIX: &str = "/coreos.com/network";

fn parse(args: &[&str]) -> Command {
    let args: Vec<String> = args.iter().map(ToString::to_string).collect();
    cli::parse(&args, &BTreeMap::new()).expect("a command line that is accepted")
}

fn cleanup(args: &[&str]) -> CleanupOptions {
    let args: Vec<&str> = ["cleanup"].iter().chain(args).copied().collect();
    let Command::Cleanup(options) = parse(&args) else {
        panic!("{args:?} is no cleanup")
    };
    options
}

fn daemon(args: &[&str]) -> Options {
    let Command::Run(options) = parse(args) else {
        panic!("{args:?} is a subcommand")
    };
    *options
}

fn vni(number: u32) -> Vni {
    Vni::try_from(number).expect("a VNI of 24 bits")
}

fn device(number: u32, alias: &str) -> Device {
    Device {
        name: vni(number).device(),
        vni: vni(number),
        parent: "eth0".to_owned(),
        local: Ipv4Addr::new(10, 99, 0, 2),
        port: 8472,
        mac: "02:00:00:00:00:01".parse().expect("an Ethernet address"),
        mtu: 1450,
        learning: false,
        gbp: false,
        alias: alias.to_owned(),
    }
}

fn names(files: &[PathBuf]) -> Vec<String> {
    files
        .iter()
        .map(|path| path.display().to_string())
        .collect()
}

#[test]
fn finds_the_instance_by_the_alias_of_its_device() {
    let devices = [
        device(1, "flanneld /coreos.com/network"),
        device(7, "flanneld /blue"),
    ];
    assert_eq!(
        instance(&cleanup(&[]), &devices),
        Instance::Ours(Vni::DEFAULT)
    );
    let blue = cleanup(&["--etcd-prefix=/blue"]);
    assert_eq!(instance(&blue, &devices), Instance::Ours(vni(7)));
    assert_eq!(device_alias(PREFIX), "flanneld /coreos.com/network");
}

#[test]
fn never_takes_the_device_of_another_instance() {
    for alias in ["flanneld /blue", "flanneld /coreos.com/network2", ""] {
        let devices = [device(1, alias)];
        assert_eq!(
            instance(&cleanup(&[]), &devices),
            Instance::Foreign(&devices[0]),
            "{alias:?}"
        );
        let named = cleanup(&["--vni=1"]);
        assert_eq!(
            instance(&named, &devices),
            Instance::Foreign(&devices[0]),
            "{alias:?}"
        );
    }
}

#[test]
fn a_named_vni_must_be_the_vni_of_our_device() {
    let devices = [
        device(1, "flanneld /coreos.com/network"),
        device(7, "flanneld /blue"),
    ];
    let seven = cleanup(&["--vni=7"]);
    assert_eq!(instance(&seven, &devices), Instance::Foreign(&devices[1]));
    let eight = cleanup(&["--vni=8"]);
    assert_eq!(instance(&eight, &devices), Instance::Ours(vni(8)));
}

#[test]
fn without_a_device_the_vni_selects_the_rules() {
    assert_eq!(instance(&cleanup(&[]), &[]), Instance::Ours(Vni::DEFAULT));
    assert_eq!(
        instance(&cleanup(&["--vni=7"]), &[]),
        Instance::Ours(vni(7))
    );
    let others = [device(7, "flanneld /blue")];
    assert_eq!(
        instance(&cleanup(&[]), &others),
        Instance::Foreign(&others[0]),
        "the files may be those of the only instance that is here"
    );
    let named = cleanup(&["--vni=1"]);
    assert_eq!(instance(&named, &others), Instance::Ours(Vni::DEFAULT));
}

#[test]
fn removes_all_files_of_our_instance() {
    let files = files(&cleanup(&[]), &Instance::Ours(Vni::DEFAULT));
    assert_eq!(
        names(&files)[..2],
        ["/run/flannel/subnet.env", "/run/flannel/docker_opts.env"]
    );
    assert_eq!(
        files[2].parent(),
        Some(std::path::Path::new("/var/lib/flannel"))
    );
    assert_eq!(names(&files)[3], "/run/flannel/flanneld.sock");
    assert_eq!(files.len(), 4);
}

#[test]
fn keeps_the_files_that_may_belong_to_another_instance() {
    let foreign = device(1, "flanneld /blue");
    let options = cleanup(&[]);
    let left = files(&options, &Instance::Foreign(&foreign));
    assert_eq!(
        left,
        [
            snapshot_path(&options.state_dir, PREFIX),
            PathBuf::from("/run/flannel/flanneld.sock")
        ]
    );
    let text = left_alone(&options, &foreign);
    assert!(text.starts_with("left alone: device flannel.1"), "{text}");
    assert!(
        text.contains("subnet.env") && text.contains("flanneld /blue"),
        "{text}"
    );
}

#[test]
fn keeps_the_state_if_asked_to() {
    let files = files(&cleanup(&["--keep-state"]), &Instance::Ours(Vni::DEFAULT));
    assert_eq!(
        names(&files),
        [
            "/run/flannel/subnet.env",
            "/run/flannel/docker_opts.env",
            "/run/flannel/flanneld.sock"
        ]
    );
}

#[test]
fn finds_the_files_that_a_daemon_with_the_same_options_makes() {
    let args = [
        "--etcd-prefix=/blue",
        "-subnet-file=/run/flannel/blue.env",
        "--state-dir=/s",
    ];
    let daemon = daemon(&args);
    let expected = [
        daemon.subnet_file.clone(),
        settings::docker_opts_file(&daemon),
        snapshot_path(&daemon.state_dir, &daemon.etcd.prefix),
        socket_path(&daemon.subnet_file),
    ];
    let found = files(&cleanup(&args), &Instance::Ours(Vni::DEFAULT));
    assert_eq!(found, expected);
    assert_eq!(found[2].parent(), Some(daemon.state_dir.as_path()));
    assert_eq!(names(&found)[1], "/run/flannel/blue.docker_opts.env");
}

#[test]
fn removes_the_device_and_only_our_blackhole_routes() {
    let network: Ipv4Network = "10.5.0.0/16".parse().expect("a network");
    let key = |destination: &str| RouteKey {
        destination: destination.parse().expect("a network"),
        metric: 1,
        protocol: 102,
    };
    let routes = BTreeMap::from([
        (key("10.5.99.0/24"), NextHop::Blackhole),
        (key("10.6.99.0/24"), NextHop::Blackhole),
        (
            key("10.5.40.0/24"),
            NextHop::Vtep(Ipv4Addr::new(10, 5, 40, 0)),
        ),
    ]);
    assert_eq!(
        device_ops(&routes, Some(network)),
        [
            Op::DelRoute(key("10.5.99.0/24"), NextHop::Blackhole),
            Op::DeleteDevice
        ]
    );
    assert_eq!(device_ops(&routes, None), [Op::DeleteDevice]);
}
