//! Writes options for Docker from subnet.env, to a file or to standard output, or the command that
//! creates a network: `flanneld docker-opts`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::adapters::file_system;
use crate::cli::DockerOptions;
use crate::files::docker_opts::{DockerSettings, Form};

/// The file that flannel's script writes.
const DOCKER_ENV_FILE: &str = "/run/docker_opts.env";
/// The name that means standard output.
const STANDARD_OUTPUT: &str = "-";

/// Reads subnet.env and writes the options for Docker. Returns what is to be printed: the options,
/// or nothing if they went into a file.
///
/// # Errors
/// subnet.env is missing or incomplete, or the options cannot be written. The file to write is
/// unchanged then.
pub fn run(options: &DockerOptions) -> anyhow::Result<String> {
    let path = options.subnet_file.display();
    let subnet_env = file_system::read(&options.subnet_file).with_context(|| {
        format!(
            "failed to read \"{path}\": flanneld writes it when it has a lease; use -f to name another file"
        )
    })?;
    let text = convert(options, &subnet_env)
        .with_context(|| format!("\"{path}\" is not a complete subnet.env"))?;
    let Some(output) = output(options) else {
        return Ok(text);
    };
    file_system::replace(&output, &text)?;
    Ok(String::new())
}

fn convert(options: &DockerOptions, subnet_env: &str) -> anyhow::Result<String> {
    let mut settings = DockerSettings::read(subnet_env)?;
    if !options.ip_masq {
        settings.ip_masq = None;
    }
    if let Some(name) = &options.network_create {
        return Ok(settings.network_create(name));
    }
    settings.networks = options.docker_networks;
    Ok(settings.after(&options.earlier).render(&form(options)))
}

/// Without `-i` and `-c` both kinds of variables are written, as by flannel's script.
fn form(options: &DockerOptions) -> Form {
    if options.json {
        return Form::Json;
    }
    let both = options.individual == options.combined;
    Form::Variables {
        individual: options.individual || both,
        combined: (options.combined || both).then(|| options.combined_key.clone()),
    }
}

/// Returns the file to write, or `None` for standard output.
fn output(options: &DockerOptions) -> Option<PathBuf> {
    match &options.docker_env_file {
        Some(path) if path == Path::new(STANDARD_OUTPUT) => None,
        Some(path) => Some(path.clone()),
        None if options.json || options.network_create.is_some() => None,
        None => Some(PathBuf::from(DOCKER_ENV_FILE)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{self, Command};
    use std::collections::BTreeMap;

    fn options(args: &[&str]) -> DockerOptions {
        let args: Vec<String> = ["docker-opts"]
            .iter()
            .chain(args)
            .map(ToString::to_string)
            .collect();
        match cli::parse(&args, &BTreeMap::new()) {
            Ok(Command::DockerOpts(options)) => options,
            other => panic!("{args:?}: {other:?}"),
        }
    }

    #[test]
    fn writes_the_variables_that_flannels_script_writes() {
        assert_eq!(form(&options(&[])), Form::usual());
        let individual = Form::Variables {
            individual: true,
            combined: None,
        };
        assert_eq!(form(&options(&["-i"])), individual);
        let combined = Form::Variables {
            individual: false,
            combined: Some("NETWORK".to_owned()),
        };
        assert_eq!(form(&options(&["-c", "-k", "NETWORK"])), combined);
        assert_eq!(form(&options(&["-ic"])), Form::usual());
        assert_eq!(form(&options(&["--json"])), Form::Json);
    }

    #[test]
    fn writes_the_scripts_file_unless_another_output_is_named() {
        assert_eq!(output(&options(&[])), Some("/run/docker_opts.env".into()));
        assert_eq!(output(&options(&["-d/b"])), Some("/b".into()));
        assert_eq!(output(&options(&["-d", "-"])), None);
        assert_eq!(output(&options(&["--json"])), None);
        assert_eq!(output(&options(&["--network-create=pods"])), None);
        assert_eq!(
            output(&options(&["--json", "-d", "/etc/docker/daemon.json"])),
            Some("/etc/docker/daemon.json".into())
        );
    }

    #[test]
    fn prints_the_command_for_a_network_of_ones_own() {
        let subnet_env = "FLANNEL_SUBNET=10.5.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";
        let text = convert(&options(&["--network-create=pods"]), subnet_env).expect("a subnet.env");
        assert!(text.starts_with("docker network create "), "{text}");
        assert!(text.ends_with(" pods\n"), "{text}");
    }

    #[test]
    fn says_who_masquerades_unless_told_not_to() {
        let subnet_env = "FLANNEL_SUBNET=10.5.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";
        let text = |args: &[&str]| convert(&options(args), subnet_env).expect("a subnet.env");
        assert_eq!(
            text(&["-c"]),
            "DOCKER_OPTS=\"--bip=10.5.1.1/24 --mtu=1450 --ip-masq=false\"\n"
        );
        assert_eq!(
            text(&["-c", "-m"]),
            "DOCKER_OPTS=\"--bip=10.5.1.1/24 --mtu=1450\"\n"
        );
    }
}
