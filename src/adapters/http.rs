//! Owns saying how we are: to systemd (READY=1, STATUS=), and over HTTP. What "ready" means is `readiness`'s.

use std::net::SocketAddr;

use anyhow::Context as _;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tracing::{debug, info};

use crate::conditions::readiness::Readiness;
use crate::conditions::status::StatusView;

/// Takes the port, if one is asked for, before anything else is touched.
pub(crate) async fn bind(address: Option<SocketAddr>) -> anyhow::Result<Option<TcpListener>> {
    let Some(address) = address else {
        return Ok(None);
    };
    let listener = TcpListener::bind(address).await;
    let hint = || {
        format!(
            "failed to listen on {address} for /healthz; choose another --healthz-ip or --healthz-port"
        )
    };
    listener.map(Some).with_context(hint)
}

/// Tells systemd when we are ready, and in words how we are.
pub(crate) async fn announce(mut vitals: StatusView) -> anyhow::Result<()> {
    let mut ready = false;
    let mut said = String::new();
    loop {
        let state = vitals.readiness();
        let text = state.to_string();
        if text != said {
            notify(&[NotifyState::Status(&text)]);
        }
        if !ready && !matches!(state, Readiness::NotReady(_)) {
            ready = true;
            notify(&[NotifyState::Ready]);
            info!("{text}");
        }
        said = text;
        vitals.condition_changed().await?;
    }
}

/// Tells systemd that the end is wanted.
pub(crate) fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Without systemd there is nobody to tell.
pub(crate) fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!(%error, "failed to tell systemd");
    }
}

/// Answers `/healthz` with 200 while we are alive, `/readyz` with 200 or with 503 and the reason. Degraded is ready: all
/// packets flow, and to take every node out because etcd is away would be the greater harm.
pub(crate) async fn serve(listener: TcpListener, vitals: StatusView) -> anyhow::Result<()> {
    let ready = move || async move {
        let state = vitals.readiness();
        let code = match state {
            Readiness::Ready | Readiness::Degraded(_) => StatusCode::OK,
            Readiness::NotReady(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        (code, format!("{state}\n"))
    };
    let routes = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready));
    axum::serve(listener, routes)
        .await
        .context("failed to answer questions about our health")
}
