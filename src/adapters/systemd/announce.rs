//! Announces the readiness to systemd: READY once, and the status line at each change.

use tracing::info;

use crate::adapters::systemd;
use crate::conditions::readiness::Readiness;
use crate::conditions::status::StatusView;

/// Runs for as long as conditions can change.
///
/// # Errors
/// No task is left that could set a condition.
pub(crate) async fn announce(mut view: StatusView) -> anyhow::Result<()> {
    let mut announced = Announced::default();
    loop {
        let notices = announced.update(&view.readiness());
        if let Some(text) = &notices.status {
            systemd::status(text);
        }
        if let Some(text) = &notices.ready {
            systemd::ready();
            info!("{text}");
        }
        view.condition_changed().await?;
    }
}

/// What systemd knows.
#[derive(Debug, Default)]
struct Announced {
    status: Option<String>,
    stage: Stage,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Starting,
    Ready,
}

/// What systemd has to learn.
#[derive(Debug, PartialEq, Eq)]
struct Notices {
    status: Option<String>,
    ready: Option<String>,
}

impl Announced {
    fn update(&mut self, readiness: &Readiness) -> Notices {
        let text = readiness.to_string();
        let status = (self.status.as_ref() != Some(&text)).then(|| text.clone());
        self.status = Some(text.clone());
        let ready = match (&self.stage, readiness) {
            (Stage::Starting, Readiness::Ready | Readiness::Degraded(_)) => {
                self.stage = Stage::Ready;
                Some(text)
            }
            (Stage::Ready, _) | (Stage::Starting, Readiness::NotReady(_)) => None,
        };
        Notices { status, ready }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_announced_once_and_each_new_status_too() {
        let mut announced = Announced::default();
        let mut check = |readiness: &Readiness, status: Option<&str>, ready: Option<&str>| {
            let expected = Notices {
                status: status.map(str::to_owned),
                ready: ready.map(str::to_owned),
            };
            assert_eq!(announced.update(readiness), expected);
        };
        let missing = Readiness::NotReady(vec!["waiting for a lease".to_owned()]);
        let degraded = Readiness::Degraded("no answer".to_owned());
        check(&missing, Some("waiting for a lease"), None);
        check(&missing, None, None);
        let text = "degraded: no answer";
        check(&degraded, Some(text), Some(text));
        check(&missing, Some("waiting for a lease"), None);
        check(&Readiness::Ready, Some("ready"), None);
    }
}
