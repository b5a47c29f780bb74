//! Owns saying how we are: to systemd (READY=1, STATUS=), and over HTTP. What "ready" means is `readiness`'s.

use std::net::SocketAddr;

use anyhow::Context as _;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::{debug, info};

use crate::readiness::{Health, Published, missing};

/// Takes the port, if one is asked for, before anything else is touched.
pub(super) async fn bind(address: Option<SocketAddr>) -> anyhow::Result<Option<TcpListener>> {
    let Some(address) = address else { return Ok(None) };
    let listener = TcpListener::bind(address).await;
    let hint = || format!("failed to listen on {address} for /healthz; choose another --healthz-ip or --healthz-port");
    listener.map(Some).with_context(hint)
}

/// Tells systemd when we are ready, and in words how we are.
pub(super) async fn announce(
    mut health: watch::Receiver<Health>,
    mut published: watch::Receiver<Published>,
) -> anyhow::Result<()> {
    let mut ready = false;
    let mut said = None;
    loop {
        let missing = missing(&health.borrow_and_update(), &published.borrow_and_update());
        if said.as_ref() != Some(&missing) {
            notify(&[NotifyState::Status(missing.as_deref().unwrap_or("ready"))]);
        }
        if missing.is_none() && !ready {
            ready = true;
            notify(&[NotifyState::Ready]);
            info!("ready");
        }
        said = Some(missing);
        tokio::select! {
            changed = health.changed() => changed.context("the keeper of the kernel state ended")?,
            changed = published.changed() => changed.context("the publisher ended")?,
        }
    }
}

/// Tells systemd that the end is wanted.
pub(super) fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Without systemd there is nobody to tell.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!(%error, "failed to tell systemd");
    }
}

/// Answers `/healthz` with 200 while we are alive, `/readyz` with 200 or with 503 and the reason.
pub(super) async fn serve(
    listener: TcpListener,
    health: watch::Receiver<Health>,
    published: watch::Receiver<Published>,
) -> anyhow::Result<()> {
    let ready = move || async move {
        match missing(&health.borrow(), &published.borrow()) {
            None => (StatusCode::OK, "ready\n".to_owned()),
            Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
        }
    };
    let routes = Router::new().route("/healthz", get(|| async { "ok\n" })).route("/readyz", get(ready));
    axum::serve(listener, routes).await.context("failed to answer questions about our health")
}
