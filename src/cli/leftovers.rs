//! What shells, unit files and templates leave in values: nothing at all, quotes, variables that nobody has expanded, ends of
//! lines. An empty value counts as not given; the rest is named, with the right spelling, before any option looks at its
//! value. Pure.

use clap::{Arg, Command};

use crate::cli::ParseExit;

/// A password may be anything, and is not shown.
const PASSWORD: &str = "etcd-password";
/// So may the name of a user of etcd, which may hold a password by mistake.
const USER: &str = "etcd-username";
/// Quotation marks, those of word processors included.
const QUOTES: [char; 6] = ['"', '\'', '\u{201c}', '\u{201d}', '\u{2018}', '\u{2019}'];
/// What ends a value by mistake, with its name.
const ENDS: [(&str, &str); 4] = [
    (";", "a semicolon"),
    ("\\n", "\\n as two characters"),
    ("\\r", "\\r as two characters"),
    ("\\", "a backslash"),
];
/// The specifiers of systemd for names of units and hosts (systemd.unit(5)). None is a part of a percent-encoded text.
const SPECIFIERS: [&str; 10] = ["%i", "%I", "%n", "%N", "%p", "%P", "%j", "%J", "%H", "%l"];

/// Returns the arguments without empty values and the options that they belong to, and without blanks around values.
///
/// # Errors
/// A value has something in it that cannot be meant.
pub(super) fn cleaned(command: &Command, args: Vec<String>) -> Result<Vec<String>, ParseExit> {
    let mut kept: Vec<String> = Vec::with_capacity(args.len());
    for arg in args {
        let (option, value) = arg.split_once('=').unwrap_or((arg.as_str(), ""));
        if let Some(other) = second_option(command, &arg) {
            let first = option.split_whitespace().next().unwrap_or(option);
            let problem = format!(
                "several options stand in one argument, {first} and {other}: in a unit file, write $OPTIONS instead of \
                 ${{OPTIONS}} or \"$OPTIONS\"\n"
            );
            return Err(ParseExit::Usage(problem));
        }
        if let (true, Some(known)) = (arg.contains('='), known(command, option)) {
            if let Some(value) = clean(name(known), value)? {
                kept.push(format!("{option}={value}"));
            }
            continue;
        }
        if arg.starts_with('-') && arg.len() > 1 {
            kept.push(arg);
            continue;
        }
        let before = kept.last().and_then(|before| known(command, before));
        let option = before.filter(|option| takes_word(option));
        match (option, clean(option.map_or("", name), &arg)?) {
            (_, Some(value)) => kept.push(value),
            // The option goes with its value.
            (Some(_), None) => _ = kept.pop(),
            (None, None) => {}
        }
    }
    Ok(kept)
}

/// Finds an option behind a blank: systemd makes one argument of `${OPTIONS}`, whatever is in it.
fn second_option<'a>(command: &Command, arg: &'a str) -> Option<&'a str> {
    let mut words = arg.split_whitespace();
    let first = words.next().filter(|first| first.starts_with('-'))?;
    if first.contains(PASSWORD) {
        return None;
    }
    let names = words.map(|word| word.split('=').next().unwrap_or(word));
    let mut options = names.filter(|name| name.starts_with('-'));
    options.find(|name| known(command, &format!("--{}", name.trim_start_matches('-'))).is_some())
}

/// Returns the option that an argument spells, `--iface` or `-v`.
fn known<'a>(command: &'a Command, spelling: &str) -> Option<&'a Arg> {
    let bare = spelling.strip_prefix('-')?;
    let mut letters = bare.chars();
    let letter = letters.next().filter(|_| letters.next().is_none());
    command.get_arguments().find(|arg| {
        let is_long = || arg.get_long().is_some() && arg.get_long() == bare.strip_prefix('-');
        (letter.is_some() && arg.get_short() == letter) || is_long()
    })
}

fn name(option: &Arg) -> &str {
    option
        .get_long()
        .unwrap_or_else(|| option.get_id().as_str())
}

/// Whether the word after this option is its value.
fn takes_word(option: &Arg) -> bool {
    option.get_action().takes_values() && !option.is_require_equals_set()
}

/// Returns the value as it is meant; `None` if it is empty.
fn clean(name: &str, value: &str) -> Result<Option<String>, ParseExit> {
    if [PASSWORD, USER].contains(&name) {
        return Ok((!value.is_empty()).then(|| value.to_owned()));
    }
    let value = value.trim();
    let bare = without_quotes(value);
    if bare.is_empty() {
        return Ok(None);
    }
    match problem(name, value, &bare) {
        None => Ok(Some(value.to_owned())),
        Some(problem) if name.is_empty() => Err(ParseExit::Usage(format!("{problem}\n"))),
        Some(problem) => Err(ParseExit::Usage(format!("--{name}: {problem}\n"))),
    }
}

fn without_quotes(value: &str) -> String {
    let bare = value.replace(QUOTES, "");
    bare.trim_matches(['\\', ' ']).to_owned()
}

fn problem(name: &str, value: &str, bare: &str) -> Option<String> {
    let ends = value.trim_matches('\\');
    if ends.starts_with(QUOTES) || ends.ends_with(QUOTES) {
        return Some(format!(
            "the value is wrapped in quotes: write {bare} instead of {value}"
        ));
    }
    if let Some(leftover) = unexpanded(value) {
        return Some(format!(
            "the value {value} contains {leftover}, which should have been replaced before flanneld was started: write \
             the value itself"
        ));
    }
    if let Some((end, what)) = ENDS.into_iter().find(|(end, _)| value.ends_with(end)) {
        let meant = value.strip_suffix(end).unwrap_or(value).trim();
        return Some(format!(
            "the value ends with {what}: write {meant} instead of {value}"
        ));
    }
    let rest = value.trim_start_matches('-').strip_prefix(name)?;
    let meant = rest.strip_prefix('=').filter(|_| !name.is_empty())?;
    Some(format!(
        "the value repeats the name of the option: write {meant} instead of {value}"
    ))
}

/// Finds a variable of a shell or of systemd, or a placeholder of a template.
fn unexpanded(value: &str) -> Option<&str> {
    let placeholder = value.starts_with('<') && value.ends_with('>');
    if placeholder {
        return Some(value);
    }
    let specifier = SPECIFIERS.into_iter().find(|one| value.contains(one));
    let template = ["{{", "}}", "<no value>"].into_iter();
    let template = template
        .chain(["${", "$(", "`"])
        .find(|one| value.contains(one));
    template.or(specifier).or_else(|| shell_variable(value))
}

/// Finds `$NAME`. A `$` at the end of a regular expression is none.
fn shell_variable(value: &str) -> Option<&str> {
    let is_start = |c: char| c.is_ascii_alphabetic() || c == '_';
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut dollars = value.match_indices('$').map(|(at, _)| at);
    let at = dollars.find(|at| value[at + 1..].starts_with(is_start))?;
    let name = &value[at + 1..];
    let end = name.find(|c| !is_part(c)).unwrap_or(name.len());
    Some(&value[at..=at + end])
}

#[cfg(test)]
mod tests;
