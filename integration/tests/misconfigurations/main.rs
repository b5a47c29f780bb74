//! What an operator gets to read after a mistake. Each case is made on real parts, and the sentence that the daemon then
//! says is checked and printed: `cargo test -p integration --test misconfigurations -- --nocapture | grep ^figure`
//! prints them all, so that they can be judged anew. Needs root.
//!
//! Cases that are made elsewhere:
//!
//! | case | test |
//! |---|---|
//! | options: misspelt, contradictory, wrong values | unit tests of `src/cli` |
//! | wrong CA, missing client certificate, client certificate of an unknown CA, expired certificates, http:// to TLS, wrong host name, unusable files | `secure/tls.rs` |
//! | no user, wrong password, no permission, expired token | `secure/auth.rs` |
//! | etcd away, frozen, cut off, emptied, restored | `outage/` |
//! | one PublicIP or machine id for two hosts, a second daemon, no free subnet | `identity.rs` |
//! | network configuration | `leases/main.rs` and unit tests of `src/model/network_config` |
//! | leases of others that cannot be used | `leases/strangers.rs` |
//! | settings of the kernel, VNI or UDP port taken, Cilium | `preflight.rs`, `host.rs` |
//! | firewalls that drop packets | `host.rs` |
//! | nft or iptables missing or broken | `firewall/choice.rs`, unit tests of `src/rules` |
//! | external interface missing, down, renamed | `underlay/` |

mod endpoints;
mod etcd;
mod files;
mod host;
mod tls;

use anyhow::{Context, Result, ensure};
use integration::{Flanneld, Host, SLOW, eventually};
use serde_json::Value;

/// A daemon with a mistake. Several may run on one host: each has files of its own.
struct Mistaken<'a> {
    case: &'static str,
    host: &'a Host,
    subnet_file: String,
    daemon: Flanneld,
}

impl<'a> Mistaken<'a> {
    fn start(host: &'a Host, case: &'static str, number: usize, args: &[&str]) -> Result<Self> {
        let subnet_file = format!("/run/flannel{number}/subnet.env");
        let daemon = host
            .flanneld()
            .args(args)
            .arg(&format!("--subnet-file={subnet_file}"))
            .arg(&format!("--state-dir=/var/lib/flannel{number}"))
            .start()?;
        Ok(Self {
            case,
            host,
            subnet_file,
            daemon,
        })
    }

    /// Waits until a condition is false with all these words, prints its message, and returns it.
    fn wait_for(&self, condition: &str, words: &[&str]) -> Result<String> {
        let what = format!("{}: {condition} with {words:?}", self.case);
        let message = eventually(SLOW, what, || {
            let (status, message) = self.condition(condition)?;
            let has_all = words.iter().all(|word| message.contains(word));
            ensure!(status == "False" && has_all, "{status}: {message}");
            Ok(message)
        })?;
        println!("figure: {} | {message}", self.case);
        // As hyper and tonic put it.
        for debug_text in [
            "hyper::",
            "Error {",
            "Kind(",
            "tcp connect error",
            "transport error",
        ] {
            ensure!(!message.contains(debug_text), "{message}");
        }
        Ok(message)
    }

    fn condition(&self, kind: &str) -> Result<(String, String)> {
        let report: Value = serde_json::from_str(&self.status(&["--json"])?)?;
        let all = report["conditions"].as_array().context("no conditions")?;
        let found = all.iter().find(|condition| condition["type"] == kind);
        let found = found.with_context(|| format!("no {kind}"))?;
        let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
        Ok((text("status"), text("message")))
    }

    fn status(&self, args: &[&str]) -> Result<String> {
        let command = self.host.flanneld().arg("status").args(args);
        let answer = command
            .arg(&format!("--subnet-file={}", self.subnet_file))
            .finish()?;
        answer.success()
    }

    /// Returns the warnings of its log.
    fn warnings(&self, part: &str) -> Result<Vec<String>> {
        let log = self.daemon.log()?;
        let lines = log
            .lines()
            .filter(|line| line.contains("WARN") && line.contains(part));
        Ok(lines.map(str::to_owned).collect())
    }
}
