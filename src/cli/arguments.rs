//! Applies one set of clap flags to a command line and an environment: Go's spelling of options,
//! and options that come from variables. Knows the name of no option. Pure.

use std::collections::BTreeMap;

use clap::{ArgMatches, Command, Parser};

use crate::cli::ParseExit;
use crate::cli::leftovers::cleaned;

/// Reads the flags of one command from its arguments, and from the environment what the arguments
/// lack.
pub(super) fn read<F: Parser>(
    args: &[String],
    env: &BTreeMap<String, String>,
) -> Result<F, ParseExit> {
    let command = F::command();
    let mut args = cleaned(&command, normalized(&command, args))?;
    let given = matches::<F>(&args).map_err(|exit| with_tip(&command, &args, exit))?;
    for (variable, arg) in from_env(&command, &given, env) {
        // Each variable is tried by itself first, so that the error can name it.
        let tried = cleaned(&command, vec![arg]);
        let arg = tried.and_then(|arg| matches::<F>(&arg).map(|_| arg));
        args.extend(arg.map_err(|exit| in_variable(&variable, exit))?);
    }
    F::from_arg_matches(&matches::<F>(&args)?).map_err(|error| parse_exit(&error))
}

/// Adds to a refusal which variables set the options that it names: the operator may know only those.
pub(super) fn name_variables<F: Parser>(
    exit: ParseExit,
    args: &[String],
    env: &BTreeMap<String, String>,
) -> ParseExit {
    let command = F::command();
    let given = cleaned(&command, normalized(&command, args));
    match (exit, given.and_then(|args| matches::<F>(&args))) {
        (ParseExit::Usage(text), Ok(given)) => {
            let named = from_env(&command, &given, env)
                .into_iter()
                .filter(|(_, arg)| mentions(&text, arg))
                .map(|(variable, _)| variable)
                .collect::<Vec<_>>();
            ParseExit::Usage(with_variables(&text, &named))
        }
        (exit, _) => exit,
    }
}

/// Whether a text names the option of an argument, and not only a longer one that begins alike.
fn mentions(text: &str, arg: &str) -> bool {
    let option = arg.split('=').next().unwrap_or(arg);
    let is_name_char = |c: char| c.is_ascii_alphanumeric() || c == '-';
    text.split(|c| !is_name_char(c)).any(|word| word == option)
}

fn with_variables(text: &str, variables: &[String]) -> String {
    match variables {
        [] => text.to_owned(),
        [one] => format!("in the environment variable {one}: {text}"),
        several => format!(
            "in the environment variables {}: {text}",
            several.join(", ")
        ),
    }
}

fn normalized(command: &Command, args: &[String]) -> Vec<String> {
    args.iter()
        .map(|arg| with_two_dashes(command, arg))
        .collect()
}

fn matches<F: Parser>(args: &[String]) -> Result<ArgMatches, ParseExit> {
    let program = [F::command().get_name().to_owned()];
    F::command()
        .try_get_matches_from(program.iter().chain(args))
        .map_err(|error| parse_exit(&error))
}

fn parse_exit(error: &clap::Error) -> ParseExit {
    let text = error.to_string();
    if error.use_stderr() {
        // The caller prints the program's name in front.
        ParseExit::Usage(text.trim_start_matches("error: ").to_owned())
    } else {
        ParseExit::Text(text)
    }
}

/// A value of `--ip-masq` needs a `=`: without one, clap takes it for an argument of its own.
fn with_tip(command: &Command, args: &[String], exit: ParseExit) -> ParseExit {
    let mut pairs = args.iter().zip(args.iter().skip(1));
    let separated = pairs.find(|(option, value)| {
        let name = option.strip_prefix("--").unwrap_or_default();
        let mut known = command.get_arguments();
        let takes_value =
            known.any(|arg| arg.get_long() == Some(name) && arg.is_require_equals_set());
        takes_value && !value.starts_with('-')
    });
    match (exit, separated) {
        (ParseExit::Usage(text), Some((option, value))) => ParseExit::Usage(format!(
            "{text}\n  tip: write the value after an equals sign: {option}={value}\n"
        )),
        (exit, _) => exit,
    }
}

fn in_variable(variable: &str, exit: ParseExit) -> ParseExit {
    match exit {
        ParseExit::Usage(text) => {
            ParseExit::Usage(format!("in the environment variable {variable}: {text}"))
        }
        ParseExit::Text(text) => ParseExit::Text(text),
    }
}

/// Go accepts one dash before the name of an option, as in `-iface=eth0`. Options of one letter
/// stay as they are.
fn with_two_dashes(command: &Command, arg: &str) -> String {
    let name = arg
        .strip_prefix('-')
        .and_then(|rest| rest.split('=').next())
        .unwrap_or_default();
    if name.len() > 1 && is_long_option(command, name) {
        format!("-{arg}")
    } else {
        arg.to_owned()
    }
}

fn is_long_option(command: &Command, name: &str) -> bool {
    // clap adds these two when it parses.
    ["help", "version"].contains(&name)
        || command
            .get_arguments()
            .any(|arg| arg.get_long() == Some(name))
}

/// Returns the options that only the environment gives, as arguments, each with the name of its
/// variable. An empty variable gives nothing: a file for `EnvironmentFile=` often has a line for
/// each option.
fn from_env(
    command: &Command,
    given: &ArgMatches,
    env: &BTreeMap<String, String>,
) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for arg in command.get_arguments() {
        let Some(long) = arg.get_long() else { continue };
        let variable = variable(long);
        let value = env.get(&variable).filter(|value| !value.is_empty());
        if let Some(value) = value
            && !is_on_command_line(given, arg.get_id().as_str())
        {
            found.push((variable, format!("--{long}={value}")));
        }
    }
    found
}

fn is_on_command_line(given: &ArgMatches, id: &str) -> bool {
    given.value_source(id) == Some(clap::parser::ValueSource::CommandLine)
}

/// Returns the environment variable that sets an option.
pub(super) fn variable(long: &str) -> String {
    format!("FLANNELD_{}", long.replace('-', "_").to_uppercase())
}
