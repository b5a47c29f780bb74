//! The HTTP server for probes: `/healthz` and `/readyz`. What "ready" means is decided in `conditions::readiness`.

use std::net::SocketAddr;

use anyhow::Context as _;
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::conditions::readiness::Readiness;
use crate::conditions::status::StatusView;

/// Listens on the address, if the operator asks for one. Called before the daemon changes anything.
///
/// # Errors
/// The address cannot be used.
pub(crate) async fn bind(address: Option<SocketAddr>) -> anyhow::Result<Option<TcpListener>> {
    let Some(address) = address else {
        return Ok(None);
    };
    let listener = TcpListener::bind(address).await;
    listener.map(Some).with_context(|| {
        format!(
            "failed to listen on {address} for /healthz; choose another --healthz-ip or --healthz-port"
        )
    })
}

/// Answers `/healthz` with 200 while the daemon runs, and `/readyz` with 200 when it is ready, else with 503 and the
/// reason. Degraded counts as ready: all packets flow, and to take every node out of service because etcd is unreachable
/// would do more harm.
///
/// # Errors
/// The server failed.
pub(crate) async fn serve(listener: TcpListener, status: StatusView) -> anyhow::Result<()> {
    let routes = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route(
            "/readyz",
            get(|| async move { ready_answer(&status.readiness()) }),
        );
    axum::serve(listener, routes)
        .await
        .context("failed to serve /healthz and /readyz")
}

fn ready_answer(readiness: &Readiness) -> (StatusCode, String) {
    let code = match readiness {
        Readiness::Ready | Readiness::Degraded(_) => StatusCode::OK,
        Readiness::NotReady(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    (code, format!("{readiness}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(readiness: &Readiness, code: u16, body: &str) {
        let answer = ready_answer(readiness);
        assert_eq!((answer.0.as_u16(), answer.1.as_str()), (code, body));
    }

    #[test]
    fn degraded_is_ready_and_what_is_missing_is_the_body() {
        let reason = || "no subnet is free".to_owned();
        check(&Readiness::Ready, 200, "ready\n");
        check(
            &Readiness::Degraded(reason()),
            200,
            "degraded: no subnet is free\n",
        );
        check(&Readiness::NotReady(reason()), 503, "no subnet is free\n");
    }
}
