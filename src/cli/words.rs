//! Finds what was meant by a word that does not exist: a command, or an environment variable. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::cli::arguments::variable;
use crate::cli::commands;
use crate::model::nearest::nearest;

/// What every variable of ours begins with.
const VARIABLE_PREFIX: &str = "FLANNELD_";
/// What the variables begin with that RHEL's `/etc/sysconfig/flanneld` and CoreOS have.
const PREFIX_OF_OTHERS: &str = "FLANNEL_";
/// The rest of such names, if it is not that of an option, and what to write instead.
const NAMES_OF_OTHERS: [(&str, &str); 4] = [
    ("ETCD", "FLANNELD_ETCD_ENDPOINTS"),
    ("ETCD_KEY", "FLANNELD_ETCD_PREFIX"),
    (OPTIONS, OPTIONS_MEANT),
    ("OPTS", OPTIONS_MEANT),
];
/// The rest of the name of a variable that unit files put on the command line.
const OPTIONS: &str = "OPTIONS";
const OPTIONS_MEANT: &str = "a variable for each option, such as FLANNELD_IFACE for -iface";
/// The rest of the names in subnet.env.
const IN_SUBNET_ENV: [&str; 4] = ["NETWORK", "SUBNET", "MTU", "IPMASQ"];
const MAX_SHOWN_CHARS: usize = 80;

/// Returns what to say about a command that does not exist.
pub(super) fn unknown_command(word: &str) -> String {
    let command = commands::command();
    let names: Vec<&str> = command
        .get_subcommands()
        .map(clap::Command::get_name)
        .collect();
    let shown = shown(word);
    let meant = nearest(word, names.iter().copied(), bare);
    let tip = meant.map_or_else(String::new, |meant| format!("; did you mean \"{meant}\"?"));
    format!(
        "there is no command \"{shown}\"{tip}\n\nCommands: {}. Without a command, flanneld runs the daemon. For more \
         information, try 'flanneld --help'.\n",
        names.join(", ")
    )
}

/// Returns a sentence for each variable that looks like one of ours and sets no option. Values are not shown: one may be
/// a password.
pub(super) fn unknown_variables(args: &[String], env: &BTreeMap<String, String>) -> Vec<String> {
    let known = known_variables();
    let unused = env.iter().filter(|(name, value)| {
        // One of ours that only looks used would go unnoticed: `true` is a frequent value.
        let may_be_used = !name.starts_with(VARIABLE_PREFIX) || value.starts_with('-');
        !(may_be_used && is_used(value, args))
    });
    let unused = unused.filter(|(name, _)| !known.contains(*name));
    unused
        .filter_map(|(name, value)| {
            let of_others = meant_by_name_of_others(name, &known);
            if let Some(rest) = name.strip_prefix(VARIABLE_PREFIX) {
                let options = (rest == OPTIONS).then_some(OPTIONS_MEANT);
                let nearest = || nearest(name, known.iter().map(String::as_str), bare);
                return Some(ignored(name, options.or_else(nearest)));
            }
            let is_set = !value.trim().is_empty();
            is_set.then_some(ignored(name, Some(of_others?)))
        })
        .collect()
}

fn ignored(name: &str, meant: Option<&str>) -> String {
    let shown = shown(name);
    let sentence = format!("the environment variable {shown} sets no option and is ignored");
    match meant {
        Some(meant) => format!("{sentence}; did you mean {meant}?"),
        None => sentence,
    }
}

/// Returns what a variable of other packages of flannel means here. subnet.env has names of the same form, which set no
/// option anywhere.
fn meant_by_name_of_others<'a>(name: &str, known: &'a BTreeSet<String>) -> Option<&'a str> {
    let rest = name.strip_prefix(PREFIX_OF_OTHERS)?;
    if let Some((_, meant)) = NAMES_OF_OTHERS
        .into_iter()
        .find(|(other, _)| *other == rest)
    {
        return Some(meant);
    }
    let mut known = known.iter().map(String::as_str);
    known.find(|known| bare(known) == rest.replace('_', "") && !IN_SUBNET_ENV.contains(&rest))
}

/// Whether the command line was made with a variable: `-etcd-endpoints=${FLANNEL_ETCD_ENDPOINTS} $FLANNEL_OPTIONS`.
fn is_used(value: &str, args: &[String]) -> bool {
    let is_arg = |word: &str| {
        let mut values = args.iter().filter_map(|arg| arg.split_once('='));
        args.iter().any(|arg| arg == word) || values.any(|(_, value)| value == word)
    };
    let mut words = value.split_whitespace().peekable();
    words.peek().is_some() && words.all(is_arg)
}

fn known_variables() -> BTreeSet<String> {
    let command = commands::command();
    let all = command.get_subcommands().chain([&command]);
    all.flat_map(clap::Command::get_arguments)
        .filter_map(|arg| arg.get_long().map(variable))
        .collect()
}

/// What counts when words are compared. Underscores do not: subnet.env has `FLANNEL_IPMASQ`.
fn bare(word: &str) -> String {
    let name = word.trim_start_matches(VARIABLE_PREFIX);
    name.replace(['_', '-'], "")
}

fn shown(word: &str) -> String {
    word.escape_debug().take(MAX_SHOWN_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_sets_no_option_is_named_with_the_nearest_one_and_without_its_value() {
        for (name, meant) in [
            ("FLANNELD_IPMASQ", Some("FLANNELD_IP_MASQ")),
            ("FLANNELD_ETCD_ENDPOINT", Some("FLANNELD_ETCD_ENDPOINTS")),
            ("FLANNELD_ETCD_PASSWROD", Some("FLANNELD_ETCD_PASSWORD")),
            ("FLANNELD_IFCE", Some("FLANNELD_IFACE")),
            ("FLANNELD_XYZ", None),
        ] {
            let env = [(name.to_owned(), "hunter2".to_owned())];
            let found = unknown_variables(&[], &env.into());
            let [sentence] = found.as_slice() else {
                panic!("{name}: {found:?}");
            };
            assert!(
                sentence.contains(name) && !sentence.contains("hunter2"),
                "{sentence}"
            );
            let end = meant.map_or("is ignored".to_owned(), |meant| format!("mean {meant}?"));
            assert!(sentence.ends_with(&end), "{sentence}");
        }
    }

    #[test]
    fn variables_that_set_options_are_known() {
        let known = [
            "FLANNELD_V",
            "FLANNELD_ETCD_PASSWORD",
            "FLANNELD_VNI",
            "FLANNELD_KUBE_API_URL",
            "FLANNEL_MTU",
        ];
        let env = known.map(|name| (name.to_owned(), String::new()));
        assert_eq!(unknown_variables(&[], &env.into()), Vec::<String>::new());
    }

    fn named(args: &[&str], env: &[(&str, &str)]) -> Vec<String> {
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        let env = env
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        unknown_variables(&args, &env.collect())
    }

    #[test]
    fn variables_of_other_packages_of_flannel_are_named_with_ours() {
        for (name, meant) in [
            ("FLANNEL_ETCD_ENDPOINTS", "FLANNELD_ETCD_ENDPOINTS"),
            ("FLANNEL_ETCD", "FLANNELD_ETCD_ENDPOINTS"),
            ("FLANNEL_ETCD_PREFIX", "FLANNELD_ETCD_PREFIX"),
            ("FLANNEL_ETCD_KEY", "FLANNELD_ETCD_PREFIX"),
            ("FLANNEL_IFACE", "FLANNELD_IFACE"),
            ("FLANNEL_IP_MASQ", "FLANNELD_IP_MASQ"),
            (
                "FLANNEL_OPTIONS",
                "a variable for each option, such as FLANNELD_IFACE for -iface",
            ),
        ] {
            let expected = format!(
                "the environment variable {name} sets no option and is ignored; did you mean {meant}?"
            );
            assert_eq!(named(&[], &[(name, "-iface=eth0")]), [expected]);
            assert!(named(&[], &[(name, "")]).is_empty());
        }
    }

    #[test]
    fn what_subnet_env_holds_and_what_the_command_line_was_made_with_is_right() {
        let of_subnet_env = [
            ("FLANNEL_NETWORK", "10.5.0.0/16"),
            ("FLANNEL_SUBNET", "10.5.3.1/24"),
            ("FLANNEL_MTU", "1450"),
            ("FLANNEL_IPMASQ", "true"),
            ("FLANNEL_IMAGE_TAG", "v0.7.1"),
        ];
        assert!(named(&[], &of_subnet_env).is_empty());
        // The unit of RHEL.
        let env = [
            ("FLANNEL_ETCD_ENDPOINTS", "http://a:2379"),
            ("FLANNEL_OPTIONS", "-iface=eth0 -ip-masq"),
        ];
        let args = ["-etcd-endpoints=http://a:2379", "-iface=eth0", "-ip-masq"];
        assert!(named(&args, &env).is_empty());
        assert_eq!(named(&args[..1], &env).len(), 1);
        let ours = [("FLANNELD_OPTIONS", "-iface=eth0 -ip-masq")];
        assert!(named(&args, &ours).is_empty());
        assert!(named(&[], &ours)[0].ends_with("such as FLANNELD_IFACE for -iface?"));
    }
}
