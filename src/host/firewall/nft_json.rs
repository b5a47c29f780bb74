//! Reads what `nft --json` lists (libnftables-json(5)): tables, chains and rules. What it does not know becomes a condition
//! or a verdict that is unknown. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use ipnetwork::Ipv4Network;
use serde_json::Value;

use crate::host::firewall::packet::FilterHook;
use crate::host::firewall::ruleset::{
    BaseChain, Condition, FilterRule, FilterTable, FilterVerdict, Subject, TableName,
};

/// The tables of `iptables-nft`. Its rules carry matches that only it can show.
const OF_IPTABLES: [&str; 5] = ["filter", "nat", "mangle", "raw", "security"];
/// The families whose chains see IPv4 packets between interfaces.
const FAMILIES: [&str; 2] = ["ip", "inet"];

/// Returns family and name of the tables in `nft --json list chains` that filter packets at some hook.
pub(crate) fn nft_base_tables(json: &str) -> Result<BTreeSet<(String, String)>, String> {
    let chains = objects(json, "chain")?;
    Ok(chains
        .iter()
        .filter(|chain| base_chain(chain).is_some())
        .filter_map(table_of)
        .filter(|(family, name)| {
            let is_of_iptables = family == "ip" && OF_IPTABLES.contains(&name.as_str());
            FAMILIES.contains(&family.as_str()) && !is_of_iptables
        })
        .collect())
}

fn table_of(chain: &Value) -> Option<(String, String)> {
    Some((text(chain, "family")?, text(chain, "table")?))
}

/// Reads `nft --json list table FAMILY NAME`.
///
/// # Errors
/// It is not what nft prints.
pub(crate) fn nft_table(family: &str, name: &str, json: &str) -> Result<FilterTable, String> {
    let chains = objects(json, "chain")?;
    let names = chains.iter().filter_map(|chain| text(chain, "name"));
    let mut rules: BTreeMap<String, Vec<FilterRule>> =
        names.map(|name| (name, Vec::new())).collect();
    for rule in objects(json, "rule")? {
        let chain = text(&rule, "chain").unwrap_or_default();
        let read = rules_of(rule.get("expr").and_then(Value::as_array));
        rules.entry(chain).or_default().extend(read);
    }
    Ok(FilterTable {
        name: TableName::Nft {
            family: family.to_owned(),
            name: name.to_owned(),
        },
        base: chains.iter().filter_map(base_chain).collect(),
        chains: rules,
    })
}

/// Returns all objects of one kind.
fn objects(json: &str, kind: &str) -> Result<Vec<Value>, String> {
    let mut listing: Value =
        serde_json::from_str(json).map_err(|error| format!("nft printed no JSON: {error}"))?;
    let Some(Value::Array(all)) = listing.get_mut("nftables").map(Value::take) else {
        return Err("nft printed JSON without \"nftables\"".to_owned());
    };
    let of_kind = all.into_iter().filter_map(|mut object| {
        let found = object.get_mut(kind)?;
        Some(found.take())
    });
    Ok(of_kind.collect())
}

fn text(object: &Value, key: &str) -> Option<String> {
    object.get(key).and_then(Value::as_str).map(str::to_owned)
}

fn base_chain(chain: &Value) -> Option<BaseChain> {
    if chain.get("type").and_then(Value::as_str) != Some("filter") {
        return None;
    }
    Some(BaseChain {
        name: text(chain, "name")?,
        hook: FilterHook::of_nft(&text(chain, "hook")?)?,
        drops_by_default: chain.get("policy").and_then(Value::as_str) == Some("drop"),
    })
}

/// One rule of nft is several of ours if it ends with a map of verdicts: one for each element.
fn rules_of(expressions: Option<&Vec<Value>>) -> Vec<FilterRule> {
    let mut conditions = Vec::new();
    for expression in expressions.into_iter().flatten() {
        let Some((kind, value)) = expression
            .as_object()
            .and_then(|object| object.iter().next())
        else {
            continue;
        };
        let verdict = match kind.as_str() {
            "match" => {
                conditions.extend(matches(value));
                continue;
            }
            "vmap" => return verdict_map(&conditions, value),
            // It lets through what is within the limit, or what is beyond it.
            "limit" | "quota" | "ct count" | "xt" => {
                conditions.push(Condition::unknown());
                continue;
            }
            "queue" | "fwd" | "dup" | "tproxy" | "synproxy" => FilterVerdict::Unknown,
            other => match verdict(other, value) {
                Some(verdict) => verdict,
                // A statement without a verdict: a counter, a log, a mark.
                None => continue,
            },
        };
        return vec![FilterRule {
            conditions,
            verdict,
        }];
    }
    Vec::new()
}

fn verdict(kind: &str, value: &Value) -> Option<FilterVerdict> {
    match kind {
        "accept" => Some(FilterVerdict::Accept),
        "drop" | "reject" => Some(FilterVerdict::Drop),
        "return" => Some(FilterVerdict::Return),
        "continue" => Some(FilterVerdict::Continue),
        "jump" => text(value, "target").map(FilterVerdict::Jump),
        "goto" => text(value, "target").map(FilterVerdict::Goto),
        _ => None,
    }
}

/// The elements of a map exclude each other.
fn verdict_map(conditions: &[Condition], map: &Value) -> Vec<FilterRule> {
    let elements = map.get("data").and_then(|data| data.get("set"));
    let Some(elements) = elements.and_then(Value::as_array) else {
        return vec![FilterRule {
            conditions: conditions.to_vec(),
            verdict: FilterVerdict::Unknown,
        }];
    };
    let rule = |element: &Value| {
        let (key, action) = (element.get(0)?, element.get(1)?);
        let (kind, value) = action.as_object()?.iter().next()?;
        let left = map.get("key")?;
        let mut all = conditions.to_vec();
        all.extend(compare(left, key, false));
        Some(FilterRule {
            conditions: all,
            verdict: verdict(kind, value)?,
        })
    };
    let unknown = || FilterRule {
        conditions: vec![Condition::unknown()],
        verdict: FilterVerdict::Unknown,
    };
    let rules = elements.iter();
    rules
        .map(|element| rule(element).unwrap_or_else(unknown))
        .collect()
}

fn matches(value: &Value) -> Vec<Condition> {
    let (left, right) = (&value["left"], &value["right"]);
    match value["op"].as_str() {
        Some("==" | "in") => compare(left, right, false),
        Some("!=") => compare(left, right, true),
        Some(_) | None => vec![Condition::unknown()],
    }
}

/// Returns the conditions that together mean that `left` has the value `right`.
fn compare(left: &Value, right: &Value, negated: bool) -> Vec<Condition> {
    let values = values(right);
    let one = |subject: Option<Subject>| {
        let known = subject.map(|subject| Condition::new(subject, negated));
        vec![known.unwrap_or_else(Condition::unknown)]
    };
    if let Some(key) = left["meta"]["key"].as_str() {
        return match key {
            "iifname" | "iif" => one(values.map(Subject::InInterface)),
            "oifname" | "oif" => one(values.map(Subject::OutInterface)),
            "l4proto" => one(values.map(Subject::Protocol)),
            "nfproto" | "protocol" => vec![family_condition(values, negated)],
            _ => vec![Condition::unknown()],
        };
    }
    if let Some(key) = left["ct"]["key"].as_str() {
        return match key {
            "state" => one(values.map(Subject::State)),
            // The packets of the overlay are not translated.
            "status" if !negated && right.as_str() == Some("dnat") => vec![Condition::never()],
            _ => vec![Condition::unknown()],
        };
    }
    let payload = &left["payload"];
    match (payload["protocol"].as_str(), payload["field"].as_str()) {
        (Some("ip"), Some("saddr")) => one(networks(right).map(Subject::Source)),
        (Some("ip"), Some("daddr")) => one(networks(right).map(Subject::Destination)),
        (Some("ip"), Some("protocol")) => one(values.map(Subject::Protocol)),
        (Some("ip6" | "icmpv6" | "arp" | "ether"), _) if !negated => vec![Condition::never()],
        (Some(protocol @ ("udp" | "tcp")), Some(field)) => {
            let is_protocol = Subject::Protocol(vec![protocol.to_owned()]);
            let mut all = vec![Condition::new(is_protocol, false)];
            all.extend(one(port_subject(field, right)));
            all
        }
        (Some("th"), Some(field)) => one(port_subject(field, right)),
        (Some("icmp"), _) => {
            let is_protocol = Subject::Protocol(vec!["icmp".to_owned()]);
            vec![Condition::new(is_protocol, false)]
        }
        _ => vec![Condition::unknown()],
    }
}

fn port_subject(field: &str, right: &Value) -> Option<Subject> {
    match field {
        "dport" => ports(right).map(Subject::DestinationPort),
        "sport" => Some(Subject::SourcePort),
        _ => None,
    }
}

/// Only IPv4 is of interest.
fn family_condition(values: Option<Vec<String>>, negated: bool) -> Condition {
    let Some(values) = values else {
        return Condition::unknown();
    };
    let is_ipv4 = values.iter().any(|value| value == "ipv4" || value == "ip");
    Condition::new(Subject::Never, is_ipv4 != negated)
}

/// Returns the elements of a set, or the value itself; `None` for a named set.
fn elements(right: &Value) -> Option<Vec<&Value>> {
    match right {
        Value::String(name) if name.starts_with('@') => None,
        Value::Array(all) => Some(all.iter().collect()),
        Value::Object(object) => match object.get("set") {
            Some(Value::Array(all)) => Some(all.iter().collect()),
            Some(_) => None,
            None => Some(vec![right]),
        },
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Some(vec![right]),
    }
}

fn values(right: &Value) -> Option<Vec<String>> {
    let value = |element: &Value| match element {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    elements(right)?.into_iter().map(value).collect()
}

fn networks(right: &Value) -> Option<Vec<Ipv4Network>> {
    let network = |element: &Value| match element {
        Value::String(text) => text.parse::<Ipv4Addr>().ok().map(Ipv4Network::from),
        Value::Object(object) => {
            let prefix = object.get("prefix")?;
            let address = prefix.get("addr")?.as_str()?.parse().ok()?;
            let length = prefix.get("len")?.as_u64()?;
            Ipv4Network::new(address, u8::try_from(length).ok()?).ok()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => None,
    };
    elements(right)?.into_iter().map(network).collect()
}

fn ports(right: &Value) -> Option<Vec<RangeInclusive<u16>>> {
    let port = |value: &Value| u16::try_from(value.as_u64()?).ok();
    let range = |element: &Value| match element.get("range") {
        Some(range) => Some(port(range.get(0)?)?..=port(range.get(1)?)?),
        None => port(element).map(|port| port..=port),
    };
    elements(right)?.into_iter().map(range).collect()
}
