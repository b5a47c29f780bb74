//! Is the process: takes arguments and environment, calls one command, prints its answer, returns
//! the exit status. All else is in the library.
#![expect(
    clippy::disallowed_methods,
    reason = "main passes arguments and environment to the library"
)]

use std::collections::BTreeMap;
use std::process::ExitCode;

use flanneld::cli::{self, Command, EX_USAGE, ParseExit};
use flanneld::commands;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args_os().skip(1).map(into_string).collect();
    let env: BTreeMap<String, String> = std::env::vars_os()
        .map(|(name, value)| (into_string(name), into_string(value)))
        .collect();
    match cli::parse(&args, &env) {
        Ok(Command::Run(options)) => {
            commands::run::run(*options, env.contains_key("JOURNAL_STREAM"))
        }
        Ok(Command::Cleanup(options)) => print(commands::cleanup::run(&options)),
        Ok(Command::Status(options)) => print(commands::status::run(&options)),
        Ok(Command::DockerOpts(options)) => print(commands::docker_opts::run(&options)),
        Err(ParseExit::Text(text)) => print(Ok(text)),
        Err(ParseExit::Usage(text)) => {
            eprint!("flanneld: {text}");
            ExitCode::from(EX_USAGE)
        }
    }
}

fn into_string(text: std::ffi::OsString) -> String {
    text.to_string_lossy().into_owned()
}

/// Prints the answer of a command that logs nothing.
fn print(answer: anyhow::Result<String>) -> ExitCode {
    match answer {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("flanneld: {error:#}");
            ExitCode::FAILURE
        }
    }
}
