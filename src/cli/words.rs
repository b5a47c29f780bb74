//! Finds what was meant by a word that does not exist: a command, or an environment variable. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::cli::arguments::variable;
use crate::cli::commands;

/// What every variable of ours begins with.
const VARIABLE_PREFIX: &str = "FLANNELD_";
/// How alike two words must be, from 0 to 1, for one to be a spelling of the other.
const ALIKE: f64 = 0.8;
const MAX_SHOWN_CHARS: usize = 80;

/// Returns what to say about a command that does not exist.
pub(super) fn unknown_command(word: &str) -> String {
    let command = commands::command();
    let names: Vec<&str> = command
        .get_subcommands()
        .map(clap::Command::get_name)
        .collect();
    let shown = shown(word);
    let meant = nearest(word, names.iter().copied());
    let tip = meant.map_or_else(String::new, |meant| format!("; did you mean \"{meant}\"?"));
    format!(
        "there is no command \"{shown}\"{tip}\n\nCommands: {}. Without a command, flanneld runs the daemon. For more \
         information, try 'flanneld --help'.\n",
        names.join(", ")
    )
}

/// Returns a sentence for each variable that looks like one of ours and sets no option. Values are not shown: one may be
/// a password.
pub(super) fn unknown_variables(env: &BTreeMap<String, String>) -> Vec<String> {
    let known = known_variables();
    let ours = env.keys().filter(|name| name.starts_with(VARIABLE_PREFIX));
    ours.filter(|name| !known.contains(*name))
        .map(|name| {
            let shown = shown(name);
            let sentence =
                format!("the environment variable {shown} sets no option and is ignored");
            match nearest(name, known.iter().map(String::as_str)) {
                Some(meant) => format!("{sentence}; did you mean {meant}?"),
                None => sentence,
            }
        })
        .collect()
}

fn known_variables() -> BTreeSet<String> {
    let command = commands::command();
    let all = command.get_subcommands().chain([&command]);
    all.flat_map(clap::Command::get_arguments)
        .filter_map(|arg| arg.get_long().map(variable))
        .collect()
}

/// Returns the known word that is most like `word`. Underscores do not count: subnet.env has `FLANNEL_IPMASQ`.
fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let bare = |word: &str| {
        word.trim_start_matches(VARIABLE_PREFIX)
            .replace(['_', '-'], "")
    };
    let word = bare(word);
    let rated = known.map(|known| (strsim::jaro(&word, &bare(known)), known));
    let best = rated.max_by(|one, other| one.0.total_cmp(&other.0));
    best.filter(|(likeness, _)| *likeness >= ALIKE)
        .map(|(_, known)| known)
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
            let found = unknown_variables(&env.into());
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
        assert_eq!(unknown_variables(&env.into()), Vec::<String>::new());
    }
}
