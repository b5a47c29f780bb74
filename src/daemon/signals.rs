//! The signals that the daemon handles: SIGTERM and SIGINT shut it down, SIGHUP has it check its files again.

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// The signals that shut the daemon down.
pub(super) struct ShutdownSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl ShutdownSignals {
    pub(super) fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: listen(SignalKind::terminate(), "SIGTERM")?,
            interrupt: listen(SignalKind::interrupt(), "SIGINT")?,
        })
    }

    /// Waits for one of the signals and returns its name. Cancel-safe.
    pub(super) async fn received(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// SIGHUP.
pub(super) struct ReloadSignal(Signal);

impl ReloadSignal {
    pub(super) fn listen() -> anyhow::Result<Self> {
        listen(SignalKind::hangup(), "SIGHUP").map(Self)
    }

    /// Passes each signal on.
    pub(super) async fn forward(mut self, to: mpsc::Sender<()>) {
        while self.0.recv().await.is_some() {
            // If the queue is full, the request in it covers this signal too.
            _ = to.try_send(());
        }
    }
}

fn listen(kind: SignalKind, name: &str) -> anyhow::Result<Signal> {
    signal(kind).with_context(|| format!("failed to listen for {name}"))
}
