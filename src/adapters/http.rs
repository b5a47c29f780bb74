//! The HTTP server for probes: `/healthz` and `/readyz`. What "ready" means is decided in `conditions::readiness`.

use std::net::SocketAddr;

use anyhow::Context as _;
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::conditions::readiness::Readiness;
use crate::conditions::report::ConditionReport;
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

/// Answers `/healthz` with 200 while the daemon runs, and `/readyz` with 200 when it is ready, else with 503 and one reason
/// in each line. `/readyz?verbose` shows all conditions. Degraded counts as ready: all packets flow, and to take every
/// node out of service because etcd is unreachable would do more harm.
///
/// # Errors
/// The server failed.
pub(crate) async fn serve(listener: TcpListener, status: StatusView) -> anyhow::Result<()> {
    let routes = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready_answer).with_state(status));
    axum::serve(listener, routes)
        .await
        .context("failed to serve /healthz and /readyz")
}

async fn ready_answer(
    State(status): State<StatusView>,
    RawQuery(query): RawQuery,
) -> (StatusCode, String) {
    let readiness = status.readiness();
    let body = if is_verbose(query.as_deref().unwrap_or_default()) {
        verbose_text(&readiness, &status.conditions())
    } else {
        text(&readiness)
    };
    (status_code(&readiness), body)
}

/// The parameter has no value, as in the probes of Kubernetes.
fn is_verbose(query: &str) -> bool {
    query.split('&').any(|parameter| parameter == "verbose")
}

const fn status_code(readiness: &Readiness) -> StatusCode {
    match readiness {
        Readiness::Ready | Readiness::Degraded(_) => StatusCode::OK,
        Readiness::NotReady(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn text(readiness: &Readiness) -> String {
    match readiness {
        Readiness::Ready | Readiness::Degraded(_) => format!("{readiness}\n"),
        Readiness::NotReady(reasons) => {
            reasons.iter().map(|reason| format!("{reason}\n")).collect()
        }
    }
}

/// Marks each condition as the probes of Kubernetes do: `[+]` for true, `[-]` for everything else.
fn verbose_text(readiness: &Readiness, conditions: &[ConditionReport]) -> String {
    let lines = conditions.iter().map(|condition| {
        let mark = if condition.status == "True" { '+' } else { '-' };
        format!("[{mark}]{condition}\n")
    });
    lines.chain([text(readiness)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(readiness: &Readiness, code: u16, body: &str) {
        assert_eq!(status_code(readiness).as_u16(), code);
        assert_eq!(text(readiness), body);
    }

    #[test]
    fn degraded_is_ready_and_what_is_missing_is_the_body() {
        let reason = || "no subnet is free".to_owned();
        check(&Readiness::Ready, 200, "ready\n");
        let degraded = Readiness::Degraded(reason());
        check(&degraded, 200, "degraded: no subnet is free\n");
        let missing = Readiness::NotReady(vec![reason(), "no space".to_owned()]);
        check(&missing, 503, "no subnet is free\nno space\n");
    }

    #[test]
    fn the_verbose_answer_marks_each_condition() {
        let condition = |status: &str, reason: &str| ConditionReport {
            kind: "HostFit".to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: String::new(),
            since: "2026-11-27T10:00:00Z".to_owned(),
        };
        let conditions = [
            condition("True", "AsExpected"),
            condition("Unknown", "Starting"),
        ];
        let expected = "\
            [+]HostFit         True     AsExpected since 2026-11-27T10:00:00Z\n\
            [-]HostFit         Unknown  Starting since 2026-11-27T10:00:00Z\n\
            ready\n";
        assert_eq!(verbose_text(&Readiness::Ready, &conditions), expected);
    }

    #[test]
    fn verbose_is_a_parameter_of_its_own() {
        assert!(is_verbose("verbose") && is_verbose("a=b&verbose"));
        assert!(!is_verbose("") && !is_verbose("verbosely"));
    }
}
