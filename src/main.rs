//! Owns the process: arguments in, exit status out. All else is the library's.
#![expect(
    clippy::disallowed_methods,
    reason = "main hands arguments and environment to the library"
)]

use std::collections::BTreeMap;
use std::process::ExitCode;

use flanneld::cli::{self, CleanupOptions, Command, EX_USAGE, Options, ParseExit};

fn main() -> ExitCode {
    match parse() {
        Ok(Command::Run(options)) => run(*options),
        Ok(Command::Cleanup(options)) => shown(cleanup(&options)),
        Ok(Command::Status(options)) => shown(flanneld::commands::status::show(&options)),
        Ok(Command::DockerOpts(options)) => shown(flanneld::commands::docker_opts::run(&options)),
        Err(ParseExit::Text(text)) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(ParseExit::Usage(text)) => {
            eprint!("flanneld: {text}");
            ExitCode::from(EX_USAGE)
        }
    }
}

fn parse() -> Result<Command, ParseExit> {
    let args: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    let env: BTreeMap<_, _> = std::env::vars_os()
        .map(|(name, value)| (text(name), text(value)))
        .collect();
    cli::parse(&args, &env)
}

fn run(options: Options) -> ExitCode {
    flanneld::adapters::log::start(
        options.verbosity,
        std::env::var_os("JOURNAL_STREAM").is_some(),
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    exit(match runtime {
        Ok(runtime) => runtime.block_on(flanneld::daemon::run(options)),
        Err(error) => Err(anyhow::Error::from(error).context("failed to start the runtime")),
    })
}

fn cleanup(options: &CleanupOptions) -> anyhow::Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(flanneld::commands::cleanup::run(options))
}

fn exit(ended: anyhow::Result<()>) -> ExitCode {
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// For commands, which log nothing.
fn shown(shown: anyhow::Result<String>) -> ExitCode {
    match shown {
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
