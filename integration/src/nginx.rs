//! A real nginx in a host or a pod: it owns the process and the folder of its configuration.

use std::fs;

use anyhow::{Context, Result};

use crate::command;
use crate::netns::{Netns, words};
use crate::process::Process;

/// What is the same for all. Each nginx sees a /run of its own.
const MAIN: &str = "daemon off; pid /run/nginx/nginx.pid; worker_processes 2; error_log stderr warn;
events { worker_connections 1024; }
http {
    access_log off;
    client_body_temp_path /run/nginx/body; proxy_temp_path /run/nginx/proxy; fastcgi_temp_path /run/nginx/fastcgi;
    uwsgi_temp_path /run/nginx/uwsgi; scgi_temp_path /run/nginx/scgi;
    include /run/nginx/conf.d/*.conf;
}
";

/// A running nginx.
#[derive(Debug)]
pub struct Nginx<'a> {
    inside: &'a Netns,
    process: Process,
}

impl Netns {
    /// Starts nginx here, with `conf` as its `conf.d/default.conf`, which makes it listen on `port`.
    ///
    /// # Errors
    /// When it does not serve in time.
    pub fn nginx(&self, conf: &str, port: u16) -> Result<Nginx<'_>> {
        self.sh("mkdir -p /run/nginx/conf.d")?;
        self.finish(&["tee", "/run/nginx/nginx.conf"], MAIN)?
            .success()?;
        self.finish(&["tee", "/run/nginx/conf.d/default.conf"], conf)?
            .success()?;
        // In a process namespace of its own, so that its workers end with it however it ends.
        let line = [
            "unshare",
            "--pid",
            "--fork",
            "--kill-child",
            "nginx",
            "-c",
            "/run/nginx/nginx.conf",
        ];
        let process = self.start(&line, &[], "nginx")?;
        self.wait_for_listener(&process, port)?;
        Ok(Nginx {
            inside: self,
            process,
        })
    }
}

impl Nginx<'_> {
    /// Replaces `conf.d/default.conf` and has nginx read it: `nginx -s reload`.
    ///
    /// # Errors
    /// When nginx does not take it.
    pub fn reload(&self, conf: &str) -> Result<()> {
        self.inside
            .finish(&["tee", "/run/nginx/conf.d/default.conf"], conf)?
            .success()?;
        let master = self.master()?;
        let config = "/run/nginx/nginx.conf";
        let line = words(&[
            "nsenter", "-t", &master, "-n", "-m", "-p", "--", "nginx", "-c", config, "-s", "reload",
        ]);
        command::finish(&line, "", command::DEADLINE)?
            .success()
            .map(drop)
    }

    fn master(&self) -> Result<String> {
        let pid = self.process.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        let first = children.split_whitespace().next().map(str::to_owned);
        first.with_context(|| {
            format!(
                "nginx does not run: {}",
                self.process.log().unwrap_or_default()
            )
        })
    }
}
