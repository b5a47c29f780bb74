//! Owns the command `flanneld docker-opts`: from one file to another, or to standard output.

use anyhow::Context as _;

use super::docker::Settings;
use super::write;
use crate::cli::DockerOptions;

/// Reads subnet.env and writes the options for Docker. Returns what is to be printed: all of it, or nothing when it went
/// into a file.
///
/// # Errors
/// subnet.env is missing or incomplete; nothing is written then. Or the file cannot be written.
pub fn run(options: &DockerOptions) -> anyhow::Result<String> {
    let from = options.subnet_file.display();
    let hint = || {
        format!(
            "failed to read \"{from}\"; flanneld writes it when it is ready; another is named with -f"
        )
    };
    let subnet_env = write::read(&options.subnet_file).with_context(hint)?;
    let settings = Settings::read(&subnet_env)
        .with_context(|| format!("\"{from}\" is no subnet.env of flannel"))?;
    let ip_masq = settings.ip_masq.filter(|_| options.ip_masq);
    let text = Settings {
        ip_masq,
        ..settings
    }
    .after(&options.earlier)
    .render(&options.form);
    match &options.output {
        Some(path) => write::replace(path, &text)
            .map(|_| String::new())
            .map_err(Into::into),
        None => Ok(text),
    }
}
