//! Is the process: takes arguments and environment, calls one command, prints its answer, returns
//! the exit status. All else is in the library.
#![expect(
    clippy::disallowed_methods,
    reason = "main passes arguments and environment to the library"
)]

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::process::ExitCode;

use flanneld::cli::{self, Command, EX_USAGE, ParseExit};
use flanneld::commands;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args_os().skip(1).map(into_string).collect();
    let env: BTreeMap<String, String> = std::env::vars_os()
        .map(|(name, value)| (into_string(name), into_string(value)))
        .collect();
    let journal = env.contains_key("JOURNAL_STREAM");
    match cli::parse(&args, &env) {
        Ok(Command::Run(options)) => commands::run::run(*options, journal),
        Ok(Command::Cleanup(options)) => print(commands::cleanup::run(&options)),
        Ok(Command::Status(options)) => print(commands::status::run(&options)),
        Ok(Command::DockerOpts(options)) => print(commands::docker_opts::run(&options)),
        Err(ParseExit::Text(text)) => print(Ok(text)),
        Err(ParseExit::Usage(text)) => {
            complain(&text, journal);
            ExitCode::from(EX_USAGE)
        }
    }
}

fn into_string(text: std::ffi::OsString) -> String {
    text.to_string_lossy().into_owned()
}

/// Prints the answer of a command that logs nothing. A reader that has seen enough may close the pipe.
fn print(answer: anyhow::Result<String>) -> ExitCode {
    let error = match answer {
        Ok(text) => match io::stdout().write_all(text.as_bytes()) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
            Err(error) => format!("failed to write to standard output: {error}"),
        },
        Err(error) => format!("{error:#}"),
    };
    complain(&error, false);
    ExitCode::FAILURE
}

/// Prints why the program ends. `journal` says whether stderr goes to systemd's journal: then each line begins with the
/// priority of an error, as sd-daemon(3) describes it.
fn complain(reason: &str, journal: bool) {
    let priority = if journal { "<3>" } else { "" };
    let lines = format!("flanneld: {reason}")
        .lines()
        .filter(|line| !(journal && line.is_empty()))
        .map(|line| format!("{priority}{line}\n"))
        .collect::<String>();
    // There is nobody else to tell that stderr is closed.
    let _closed = io::stderr().write_all(lines.as_bytes());
}
