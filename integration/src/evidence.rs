//! What is printed when a test fails: the logs, and the state of each host's kernel and of etcd.
//! It only reads, and never fails itself.

use std::fs;
use std::path::Path;

use anyhow::Result;

use crate::etcd::Etcd;
use crate::host::Host;
use crate::netns::Netns;

/// The last lines of a log are enough: the first ones show a start like any other.
const LOG_LINES: usize = 200;

/// What to ask each host. A tool or a device that is missing is part of the answer.
const QUESTIONS: [&str; 10] = [
    "ip -d link",
    "ip -4 address",
    "ip -4 route",
    "ip neigh",
    "ip -s -s link show type vxlan",
    "bridge fdb",
    "nft list ruleset",
    "iptables-save",
    "tail -n +1 /run/flannel/*.env",
    "ss -Hulnp",
];

/// Prints the state of a lab to standard error, where the test harness shows it. The reason stands at both ends, for
/// those who read only a part.
pub fn print(dir: &Path, hosts: &[Host], etcd: &Etcd, reason: &str) {
    eprintln!("\n===== evidence of the lab in {dir:?}; failed: {reason}");
    print_logs(dir);
    hosts.iter().for_each(|host| print_host(host));
    // An etcd that stands still would not answer; whether it did is in the test's own words.
    match etcd.thaw() {
        Ok(()) => {
            print_answer(
                "etcd",
                "get --prefix /",
                etcd.ctl(&["get", "--prefix", "/"]),
            );
            print_answer("etcd", "lease list", etcd.ctl(&["lease", "list"]));
        }
        Err(error) => eprintln!("\n## etcd\n{error:#}"),
    }
    eprintln!("===== end of the evidence; failed: {reason}");
}

fn print_host(host: &Netns) {
    for question in QUESTIONS {
        print_answer(host.name(), question, host.sh(&format!("{question} 2>&1")));
    }
}

fn print_answer(whom: &str, question: &str, answer: Result<String>) {
    let answer = answer.unwrap_or_else(|error| format!("{error:#}"));
    eprintln!("\n## {whom} $ {question}\n{}", answer.trim_end());
}

fn print_logs(dir: &Path) {
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut logs: Vec<_> = files.map(|file| file.path()).collect();
    logs.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.sort();
    logs.iter().for_each(|log| print_log(log));
}

fn print_log(path: &Path) {
    let content = fs::read(path).unwrap_or_default();
    let content = String::from_utf8_lossy(&content);
    let lines = fold(content.lines());
    let tail = &lines[lines.len().saturating_sub(LOG_LINES)..];
    if !tail.is_empty() {
        eprintln!("\n## {}\n{}", path.display(), tail.join("\n"));
    }
}

/// Leaves out lines that say what the line before says but for the time, the first word; and says how many.
fn fold<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut folded: Vec<String> = Vec::new();
    let (mut last, mut repeated) = (None, 0);
    for line in lines {
        let said = line.split_once(' ').map_or(line, |(_, said)| said);
        if last == Some(said) {
            repeated += 1;
            continue;
        }
        folded.extend(times_more(repeated));
        folded.push(line.to_owned());
        (last, repeated) = (Some(said), 0);
    }
    folded.extend(times_more(repeated));
    folded
}

fn times_more(repeated: usize) -> Option<String> {
    (repeated > 0).then(|| format!("    ({repeated} times more)"))
}

#[cfg(test)]
mod tests {
    use super::fold;

    #[test]
    fn repeated_lines_are_counted() {
        let lines = ["1 a", "2 a", "3 a", "4 b", "5 a", "6 a"];
        assert_eq!(
            fold(lines.into_iter()),
            [
                "1 a",
                "    (2 times more)",
                "4 b",
                "5 a",
                "    (1 times more)"
            ]
        );
    }
}
