//! A proxy between the hosts and etcd: `etcd grpc-proxy`, or HAProxy. For nginx, see [`Netns::nginx`]. It knows how each is
//! started, and not what passes through it.

use anyhow::{Result, ensure};

use crate::netns::Netns;
use crate::process::Process;
use crate::wait::{QUICK, eventually};

impl Netns {
    /// Starts `etcd grpc-proxy` here, which listens on `port` and passes everything on to `endpoints`.
    ///
    /// # Errors
    /// When it does not listen in time.
    pub fn grpc_proxy(&self, port: u16, endpoints: &str, args: &[&str]) -> Result<Process> {
        let listen = format!("--listen-addr=0.0.0.0:{port}");
        let endpoints = format!("--endpoints={endpoints}");
        let line = ["etcd", "grpc-proxy", "start", &listen, &endpoints];
        let process = self.start(&[&line[..], args].concat(), &[], "grpc-proxy")?;
        self.wait_for_listener(&process, port)?;
        Ok(process)
    }

    /// Starts HAProxy here, with this configuration, which makes it listen on `port`.
    ///
    /// # Errors
    /// When it does not listen in time.
    pub fn haproxy(&self, conf: &str, port: u16) -> Result<Process> {
        let file = format!("/run/haproxy-{port}.cfg");
        self.finish(&["tee", &file], conf)?.success()?;
        let process = self.start(&["haproxy", "-db", "-f", &file], &[], "haproxy")?;
        self.wait_for_listener(&process, port)?;
        Ok(process)
    }

    /// Waits until a process that was started here listens on a port.
    ///
    /// # Errors
    /// When it ends, or does not in time.
    pub(crate) fn wait_for_listener(&self, process: &Process, port: u16) -> Result<()> {
        eventually(QUICK, format_args!("a server on port {port}"), || {
            ensure!(process.is_running(), "it ended: {}", process.log()?);
            self.run(&["bash", "-c", &format!("exec 3<>/dev/tcp/127.0.0.1/{port}")])
                .map(drop)
        })
    }
}
