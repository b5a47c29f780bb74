//! Generates the manual pages and shell completions from the daemon's command line, for `make deb`. It starts no daemon.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap_complete::Shell;
use clap_mangen::Man;

const SHELLS: [(Shell, &str); 3] = [
    (Shell::Bash, "flanneld.bash"),
    (Shell::Zsh, "_flanneld"),
    (Shell::Fish, "flanneld.fish"),
];

fn main() -> Result<()> {
    let dir: PathBuf = std::env::args_os()
        .nth(1)
        .context("expected a directory to write to")?
        .into();
    fs::create_dir_all(&dir).with_context(|| format!("failed to create {dir:?}"))?;
    let command = flanneld::cli::command();
    manual(&dir, "flanneld", &command)?;
    for part in command.get_subcommands() {
        let name = format!("flanneld-{}", part.get_name());
        manual(&dir, &name, part)?;
    }
    SHELLS
        .into_iter()
        .try_for_each(|(shell, file)| completion(&dir, shell, file))
}

/// Section 8: a daemon, and commands for the administrator.
fn manual(dir: &Path, name: &str, command: &clap::Command) -> Result<()> {
    let mut text = Vec::new();
    // clap needs names that live as long as the program.
    let static_name: &'static str = name.to_owned().leak();
    let command = command
        .clone()
        .name(static_name)
        .bin_name(name.replacen('-', " ", 1));
    Man::new(command)
        .section("8")
        .manual("System administration")
        .render(&mut text)?;
    write(&dir.join(format!("{name}.8")), &text)
}

fn completion(dir: &Path, shell: Shell, file: &str) -> Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut flanneld::cli::command(), "flanneld", &mut text);
    write(&dir.join(file), &text)
}

fn write(path: &Path, text: &[u8]) -> Result<()> {
    fs::write(path, text).with_context(|| format!("failed to write {path:?}"))
}
