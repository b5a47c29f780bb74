//! Finds the lines in drop-ins of flanneld.service that keep the unit from starting: setups of Go flannel leave them, and
//! their programs do not exist any more, or need more than the unit may do. Pure; it reads no file.

/// Where the unit may write, besides its own /tmp.
const WRITABLE: [&str; 3] = ["/run/flannel", "/var/lib/flannel", "/tmp"];
/// Commands that must succeed before systemd takes the unit for started.
const COMMANDS: [&str; 4] = [
    "ExecCondition",
    "ExecStart",
    "ExecStartPre",
    "ExecStartPost",
];

/// A drop-in.
pub(super) struct DropIn {
    pub(super) path: String,
    pub(super) text: String,
}

/// A line that keeps the unit from starting.
struct Bad<'a> {
    key: &'a str,
    sentence: String,
}

/// Returns a sentence for each line that keeps the unit from starting. The drop-ins stand in the order in which systemd
/// reads them. `exists` says whether there is a file at a path.
pub(super) fn bad_lines(drop_ins: &[DropIn], exists: impl Fn(&str) -> bool) -> Vec<String> {
    let mut bad: Vec<Bad<'_>> = Vec::new();
    for drop_in in drop_ins {
        for (key, value) in assignments(&drop_in.text) {
            // An empty value takes back all values from before.
            if value.is_empty() {
                bad.retain(|bad| bad.key != key);
            } else if let Some(why) = judge(key, value, &exists) {
                let path = &drop_in.path;
                let sentence = format!("{path}: {key}={value} keeps flanneld from starting: {why}");
                bad.push(Bad { key, sentence });
            }
        }
    }
    bad.into_iter().map(|bad| bad.sentence).collect()
}

/// Returns the assignments of the section `[Service]`. A line that goes on in the next one counts up to there: the program
/// stands in the first.
fn assignments(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut in_service = false;
    text.lines().map(str::trim).filter_map(move |line| {
        if line.starts_with('[') {
            in_service = line == "[Service]";
        }
        let (key, value) = line.split_once('=')?;
        let is_setting = in_service && !line.starts_with(['#', ';', '[']);
        is_setting.then(|| (key.trim(), value.trim().trim_end_matches('\\').trim_end()))
    })
}

fn judge(key: &str, value: &str, exists: &impl Fn(&str) -> bool) -> Option<String> {
    if COMMANDS.contains(&key) {
        command(value, exists)
    } else if key == "EnvironmentFile" {
        environment_file(value, exists)
    } else {
        None
    }
}

/// systemd.service(5): `-` ignores a failure; `+` and `!` give the privileges of root.
fn command(value: &str, exists: &impl Fn(&str) -> bool) -> Option<String> {
    let line = value.trim_start_matches(['-', '@', ':', '+', '!', '|']);
    let prefixes = &value[..value.len() - line.len()];
    let mut words = line.split_whitespace();
    let program = words.next()?.trim_matches(['"', '\'']);
    // What systemd replaces, we do not know.
    if prefixes.contains('-') || program.contains(['$', '%']) {
        return None;
    }
    let name = program.rsplit('/').next().unwrap_or(program);
    if program.starts_with('/') && !exists(program) {
        return Some(missing(program, name));
    }
    if prefixes.contains(['+', '!']) {
        return None;
    }
    match name {
        "modprobe" | "insmod" => Some(
            "the unit may load no kernel modules; name them in /etc/modules-load.d/flanneld.conf, and remove the line"
                .to_owned(),
        ),
        "systemctl" | "service" | "docker" | "mount" | "chown" => Some(format!(
            "it runs as user flanneld, who may not use {name}; begin the command with +, which runs it as root"
        )),
        "mkdir" | "touch" | "tee" | "cp" | "install" => {
            words.filter(|word| word.starts_with('/')).find_map(|path| not_writable(path, exists))
        }
        _ => None,
    }
}

fn missing(program: &str, name: &str) -> String {
    if name == "mk-docker-opts.sh" {
        return format!(
            "there is no {program}; remove the line: flanneld writes the options for Docker by itself"
        );
    }
    format!("there is no {program}; remove the line, or correct the path")
}

fn not_writable(path: &str, exists: &impl Fn(&str) -> bool) -> Option<String> {
    let inside = |folder: &&str| {
        path.strip_prefix(*folder)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if exists(path) || WRITABLE.iter().any(inside) {
        return None;
    }
    Some(format!(
        "the unit may write in /run/flannel and /var/lib/flannel only, not to {path}; remove the line, or begin the command \
         with +, which runs it as root"
    ))
}

fn environment_file(value: &str, exists: &impl Fn(&str) -> bool) -> Option<String> {
    let is_plain = value.starts_with('/') && !value.contains(['*', '?', '[', '%']);
    (is_plain && !exists(value))
        .then(|| format!("there is no {value}; remove the line, or begin the value with -"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that exists on the host of the test.
    const EXISTING: [&str; 7] = [
        "/sbin/modprobe",
        "/bin/mkdir",
        "/bin/rm",
        "/usr/bin/etcdctl",
        "/usr/bin/systemctl",
        "/usr/sbin/flanneld",
        "/etc/default/flanneld",
    ];

    fn check(lines: &str, expected: &[&str]) {
        let drop_in = DropIn {
            path: "/etc/systemd/system/flanneld.service.d/10-old.conf".to_owned(),
            text: format!("[Service]\n{lines}"),
        };
        let found = bad_lines(&[drop_in], |path| EXISTING.contains(&path));
        assert_eq!(found.len(), expected.len(), "{lines}: {found:?}");
        for (sentence, part) in found.iter().zip(expected) {
            assert!(
                sentence.starts_with("/etc/systemd/system/flanneld.service.d/10-old.conf: ")
                    && sentence.contains(part),
                "{sentence}"
            );
        }
    }

    #[test]
    fn lines_of_the_common_guides_that_fail_are_named_with_the_cure() {
        for (lines, expected) in [
            (
                "ExecStartPre=/sbin/modprobe ip_tables",
                &["/etc/modules-load.d/flanneld.conf"][..],
            ),
            (
                "ExecStartPost=/usr/libexec/flannel/mk-docker-opts.sh -k DOCKER_NETWORK_OPTIONS -d /run/flannel/docker",
                &[
                    "there is no /usr/libexec/flannel/mk-docker-opts.sh; remove the line: flanneld writes",
                ],
            ),
            (
                "EnvironmentFile=/etc/sysconfig/flanneld",
                &[
                    "there is no /etc/sysconfig/flanneld; remove the line, or begin the value with -",
                ],
            ),
            (
                "ExecStart=\nExecStart=/usr/bin/flanneld -etcd-endpoints=${FLANNEL_ETCD_ENDPOINTS} \\\n  $FLANNEL_OPTIONS",
                &["there is no /usr/bin/flanneld; remove the line, or correct the path"],
            ),
            (
                "ExecStartPre=/usr/bin/systemctl start docker-early",
                &["begin the command with +"],
            ),
            (
                "ExecStartPre=/bin/mkdir -p /opt/flannel /run/flannel",
                &["not to /opt/flannel"],
            ),
            (
                "ExecStartPre=/opt/bin/wait-for-etcd\nExecStartPost=/sbin/modprobe vxlan",
                &[
                    "there is no /opt/bin/wait-for-etcd",
                    "vxlan keeps flanneld from starting",
                ],
            ),
        ] {
            check(lines, expected);
        }
    }

    #[test]
    fn lines_that_work_or_may_fail_are_not_named() {
        for lines in [
            "ExecStartPre=-/sbin/modprobe ip_tables",
            "ExecStartPre=+/sbin/modprobe ip_tables",
            "ExecStartPre=/bin/mkdir -p /run/flannel",
            "ExecStartPre=/bin/rm -f /run/flannel/docker",
            "ExecStartPre=/usr/bin/etcdctl --endpoints=http://10.0.0.1:2379 get /coreos.com/network/config",
            "EnvironmentFile=/etc/default/flanneld\nEnvironmentFile=-/etc/sysconfig/flanneld",
            "ExecStart=\nExecStart=/usr/sbin/flanneld --iface=eth1",
            "ExecStartPre=${WAIT} 10",
            "# ExecStartPre=/sbin/modprobe vxlan",
            "ExecStopPost=/opt/gone",
            "[Unit]\nExecStartPre=/opt/gone",
            "ExecStartPre=/sbin/modprobe vxlan\nExecStartPre=",
        ] {
            check(lines, &[]);
        }
    }

    #[test]
    fn a_later_drop_in_takes_back_what_an_earlier_one_says() {
        let drop_in = |path: &str, text: &str| DropIn {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let drop_ins = [
            drop_in("10", "[Service]\nExecStartPre=/gone\nExecStartPost=/gone"),
            drop_in("20", "[Service]\nExecStartPre=\n"),
        ];
        let found = bad_lines(&drop_ins, |_| false);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("10: ExecStartPost=/gone"), "{found:?}");
    }
}
