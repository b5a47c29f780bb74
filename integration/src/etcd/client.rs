//! What is read from and written to etcd, through `etcdctl`: another program than the daemon's
//! client, so that both must agree. It owns the forms of `etcdctl`'s input and output.

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use serde_json::Value;

use super::Etcd;

/// etcd refuses transactions of more than 128 operations, unless told otherwise.
const OPERATIONS_PER_TXN: usize = 100;

/// A key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
    /// The etcd lease that the key is attached to; 0 means none.
    pub lease: i64,
    /// The revision that last wrote it.
    pub mod_revision: i64,
}

impl Etcd {
    /// Runs `etcdctl` (API 3) and hands on its standard output.
    ///
    /// # Errors
    /// When it fails; by itself it gives up after five seconds without an answer.
    pub fn ctl(&self, args: &[&str]) -> Result<String> {
        self.ctl_with_input(args, "")
    }

    fn ctl_with_input(&self, args: &[&str], input: &str) -> Result<String> {
        let endpoint = format!("--endpoints={}", self.endpoint());
        let tls = self.options.tls.as_ref();
        let tls = tls.map(|tls| tls.options(["--cacert", "--cert", "--key"]));
        let tls = tls.unwrap_or_default();
        let mut line = vec!["env", "ETCDCTL_API=3", "etcdctl", &endpoint];
        line.extend(tls.iter().map(String::as_str));
        line.extend(args);
        self.underlay.finish(&line, input)?.success()
    }

    fn ctl_json(&self, args: &[&str]) -> Result<Value> {
        let mut line = vec!["-w", "json"];
        line.extend(args);
        let text = self.ctl(&line)?;
        serde_json::from_str(&text).with_context(|| format!("expected JSON, got {text:?}"))
    }

    /// A number that etcd publishes about itself: the sum of those whose names and labels hold all these parts. It asks
    /// without TLS and without a user.
    ///
    /// # Errors
    /// When etcd does not answer, or publishes what is no number.
    pub fn metric(&self, wanted: &[&str]) -> Result<u64> {
        let port = self.options.client_port;
        let ask = format!(
            "exec 3<>/dev/tcp/127.0.0.1/{port}; printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3"
        );
        let all = self.underlay.finish(&["bash", "-c", &ask], "")?.success()?;
        let found = all
            .lines()
            .filter(|line| !line.starts_with('#') && wanted.iter().all(|part| line.contains(part)));
        let numbers = found.map(|line| line.rsplit(' ').next().unwrap_or_default().parse::<f64>());
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a counter"
        )]
        Ok(numbers
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .sum::<f64>() as u64)
    }

    /// Writes a key.
    ///
    /// # Errors
    /// When etcd does not answer or refuses; so for all that follow.
    pub fn put(&self, key: &str, value: &str) -> Result<()> {
        self.ctl(&["put", "--", key, value]).map(drop)
    }

    /// Writes a key that is attached to an etcd lease.
    ///
    /// # Errors
    /// See [`Etcd::put`].
    pub fn put_with_lease(&self, key: &str, value: &str, lease: i64) -> Result<()> {
        let lease = format!("--lease={lease:x}");
        self.ctl(&["put", &lease, "--", key, value]).map(drop)
    }

    /// Reads a key's value, if there is such a key.
    ///
    /// # Errors
    /// See [`Etcd::put`].
    pub fn get(&self, key: &str) -> Result<Option<String>> {
        let found = key_values(&self.ctl_json(&["get", "--", key])?)?;
        Ok(found.into_iter().next().map(|pair| pair.value))
    }

    /// Reads all keys that start with `prefix`, in the order of the keys.
    ///
    /// # Errors
    /// See [`Etcd::put`].
    pub fn get_prefix(&self, prefix: &str) -> Result<Vec<KeyValue>> {
        key_values(&self.ctl_json(&["get", "--prefix", "--", prefix])?)
    }

    /// Deletes a key.
    ///
    /// # Errors
    /// See [`Etcd::put`].
    pub fn delete(&self, key: &str) -> Result<()> {
        self.ctl(&["del", "--", key]).map(drop)
    }

    /// Deletes all keys that start with `prefix`.
    ///
    /// # Errors
    /// See [`Etcd::put`].
    pub fn delete_prefix(&self, prefix: &str) -> Result<()> {
        self.ctl(&["del", "--prefix", "--", prefix]).map(drop)
    }

    /// Writes many keys in as few transactions as etcd allows, each on `lease` if there is one.
    ///
    /// # Errors
    /// See [`Etcd::put`].
    pub fn load(&self, pairs: &[(String, String)], lease: Option<i64>) -> Result<()> {
        let lease = lease.map_or_else(String::new, |id| format!("--lease={id:x} "));
        for chunk in pairs.chunks(OPERATIONS_PER_TXN) {
            self.ctl_with_input(&["txn"], &txn_of_puts(chunk, &lease))?;
        }
        Ok(())
    }

    /// Writes many keys, each with a request of its own, eight at a time.
    ///
    /// # Errors
    /// See [`Etcd::put`].
    pub fn put_each(&self, pairs: &[(String, String)]) -> Result<()> {
        let endpoint = format!("--endpoints={}", self.endpoint());
        let put = ["env", "ETCDCTL_API=3", "etcdctl", &endpoint, "put", "--"];
        let line: Vec<&str> = ["xargs", "-0", "-n2", "-P8"]
            .into_iter()
            .chain(put)
            .collect();
        // A process for each key takes long on a busy machine, and each command has a deadline.
        pairs.chunks(250).try_for_each(|pairs| {
            let input: String = pairs
                .iter()
                .map(|(key, value)| format!("{key}\0{value}\0"))
                .collect();
            self.underlay.finish(&line, &input)?.success().map(drop)
        })
    }

    /// Grants an etcd lease.
    ///
    /// # Errors
    /// See [`Etcd::put`].
    pub fn grant_lease(&self, seconds: u32) -> Result<i64> {
        let granted = self.ctl_json(&["lease", "grant", &seconds.to_string()])?;
        integer(&granted, "/ID")
    }

    /// All etcd leases.
    ///
    /// # Errors
    /// See [`Etcd::put`].
    pub fn etcd_leases(&self) -> Result<Vec<i64>> {
        let answer = self.ctl_json(&["lease", "list"])?;
        let leases = answer.pointer("/leases").and_then(Value::as_array);
        let leases = leases.into_iter().flatten();
        leases.map(|lease| integer(lease, "/id")).collect()
    }

    /// The seconds that an etcd lease has left; negative when there is no such lease.
    ///
    /// # Errors
    /// See [`Etcd::put`].
    pub fn lease_seconds_left(&self, lease: i64) -> Result<i64> {
        let answer = self.ctl_json(&["lease", "timetolive", &format!("{lease:x}")])?;
        integer(&answer, "/ttl")
    }

    /// Revokes an etcd lease: its keys go with it, as they do when it expires.
    ///
    /// # Errors
    /// See [`Etcd::put`].
    pub fn revoke_lease(&self, lease: i64) -> Result<()> {
        self.ctl(&["lease", "revoke", &format!("{lease:x}")])
            .map(drop)
    }

    /// The current revision: it grows by one with each transaction that writes.
    ///
    /// # Errors
    /// See [`Etcd::put`].
    pub fn revision(&self) -> Result<i64> {
        let answer = self.ctl_json(&["endpoint", "status"])?;
        integer(&answer, "/0/Status/header/revision")
    }

    /// Forgets the history before the current revision: watches that lag behind break.
    ///
    /// # Errors
    /// See [`Etcd::put`].
    pub fn compact(&self) -> Result<()> {
        let revision = self.revision()?.to_string();
        self.ctl(&["compact", &revision]).map(drop)
    }
}

/// The input of `etcdctl txn`: no comparisons, then the operations, then none for the other case.
fn txn_of_puts(pairs: &[(String, String)], lease: &str) -> String {
    let put = |(key, value): &(String, String)| {
        format!("put {lease}-- {} {}\n", quoted(key), quoted(value))
    };
    let puts: String = pairs.iter().map(put).collect();
    format!("\n{puts}\n\n")
}

/// `etcdctl` unquotes words as Go does, and a JSON string is a Go string too.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn key_values(answer: &Value) -> Result<Vec<KeyValue>> {
    let found = answer.pointer("/kvs").and_then(Value::as_array);
    found.into_iter().flatten().map(key_value).collect()
}

fn key_value(pair: &Value) -> Result<KeyValue> {
    Ok(KeyValue {
        key: text(pair, "/key")?,
        value: text(pair, "/value")?,
        lease: integer(pair, "/lease")?,
        mod_revision: integer(pair, "/mod_revision")?,
    })
}

/// A number, or 0: `etcdctl` leaves out what is zero.
fn integer(value: &Value, pointer: &str) -> Result<i64> {
    match value.pointer(pointer) {
        None => Ok(0),
        Some(number) => number
            .as_i64()
            .with_context(|| format!("expected a number at {pointer}, got {number}")),
    }
}

/// A text in base64, or nothing: `etcdctl` leaves out what is empty.
fn text(value: &Value, pointer: &str) -> Result<String> {
    let encoded = value.pointer(pointer).and_then(Value::as_str);
    let bytes = BASE64.decode(encoded.unwrap_or_default())?;
    String::from_utf8(bytes).context("expected text in etcd")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_json_for_etcdctl() {
        let pairs = [("/k".to_owned(), r#"{"a":1}"#.to_owned())];
        let expected = "\nput --lease=ff -- \"/k\" \"{\\\"a\\\":1}\"\n\n\n";
        assert_eq!(txn_of_puts(&pairs, "--lease=ff "), expected);
    }
}
