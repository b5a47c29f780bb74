//! Owns the command `flanneld docker-opts`: from one file to another, or to standard output.

use anyhow::Context as _;

use crate::adapters::file_system;
use crate::cli::DockerOptions;
use crate::files::docker_opts::DockerSettings;

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
    let subnet_env = file_system::read(&options.subnet_file).with_context(hint)?;
    let settings = DockerSettings::read(&subnet_env)
        .with_context(|| format!("\"{from}\" is no subnet.env of flannel"))?;
    let ip_masq = settings.ip_masq.filter(|_| options.ip_masq);
    let text = DockerSettings {
        ip_masq,
        ..settings
    }
    .after(&options.earlier)
    .render(&options.form);
    match &options.output {
        Some(path) => file_system::replace(path, &text)
            .map(|_| String::new())
            .map_err(Into::into),
        None => Ok(text),
    }
}
