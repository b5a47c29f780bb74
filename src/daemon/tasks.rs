//! The tasks of the daemon, by name: when one ends that must not, the daemon ends with its name in the error.

use anyhow::{Error, anyhow};
use tokio::task::{Id, JoinError, JoinSet};

#[derive(Debug, Default)]
pub(super) struct Tasks {
    running: JoinSet<anyhow::Result<()>>,
    tasks: Vec<Task>,
}

#[derive(Debug, Clone, Copy)]
struct Task {
    id: Id,
    name: &'static str,
    lifetime: Lifetime,
}

#[derive(Debug, Clone, Copy)]
enum Lifetime {
    /// As long as the daemon: its end is an error.
    WholeRun,
    /// It may end when it has done its work.
    OneShot,
}

impl Tasks {
    /// Starts a task that must not end while the daemon runs.
    pub(super) fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + 'static) {
        self.spawn_fallible(name, async {
            task.await;
            Ok(())
        });
    }

    /// Starts a task that must not end while the daemon runs, and that says why it does.
    pub(super) fn spawn_fallible(
        &mut self,
        name: &'static str,
        task: impl Future<Output = anyhow::Result<()>> + 'static,
    ) {
        self.start(name, Lifetime::WholeRun, task);
    }

    /// Starts a task that ends when it has done its work.
    pub(super) fn spawn_one_shot(
        &mut self,
        name: &'static str,
        task: impl Future<Output = ()> + 'static,
    ) {
        self.start(name, Lifetime::OneShot, async {
            task.await;
            Ok(())
        });
    }

    fn start(
        &mut self,
        name: &'static str,
        lifetime: Lifetime,
        task: impl Future<Output = anyhow::Result<()>> + 'static,
    ) {
        let id = self.running.spawn_local(task).id();
        self.tasks.push(Task { id, name, lifetime });
    }

    /// Waits until a task ends that must not, or panics. Returns an error that names it. Cancel-safe.
    pub(super) async fn failed(&mut self) -> Error {
        loop {
            let Some((task, outcome)) = self.next_end().await else {
                return anyhow!("no task is left");
            };
            let name = task.name;
            match (outcome, task.lifetime) {
                (Ok(Ok(())), Lifetime::OneShot) => {}
                (Ok(Ok(())), Lifetime::WholeRun) => return anyhow!("the task \"{name}\" ended"),
                (Ok(Err(error)), _) => return error.context(format!("the task \"{name}\" failed")),
                (Err(error), _) => {
                    return Error::from(error).context(format!("the task \"{name}\" broke down"));
                }
            }
        }
    }

    /// Waits until the task of this name ends, in whatever way. What other tasks do meanwhile does not matter.
    pub(super) async fn ended(&mut self, name: &str) {
        while let Some((task, _)) = self.next_end().await {
            if task.name == name {
                return;
            }
        }
    }

    async fn next_end(&mut self) -> Option<(Task, Result<anyhow::Result<()>, JoinError>)> {
        let (id, outcome) = match self.running.join_next_with_id().await? {
            Ok((id, outcome)) => (id, Ok(outcome)),
            Err(error) => (error.id(), Err(error)),
        };
        let task = self.tasks.iter().find(|task| task.id == id);
        let task = *task.expect("each task is in the list from its start");
        Some((task, outcome))
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::time::Duration;

    use tokio::task::LocalSet;

    use super::*;

    /// Returns the error with which the daemon ends, or `None` if it goes on.
    async fn failed(tasks: &mut Tasks) -> Option<String> {
        let failed = tokio::time::timeout(Duration::from_secs(1), tasks.failed()).await;
        failed.ok().map(|error| format!("{error:#}"))
    }

    async fn check(start: impl FnOnce(&mut Tasks), expected: Option<&str>) {
        let local = LocalSet::new();
        let run = async {
            let mut tasks = Tasks::default();
            tasks.spawn("leases", pending());
            start(&mut tasks);
            failed(&mut tasks).await
        };
        let error = local.run_until(run).await;
        let starts = |error: &String| expected.is_some_and(|start| error.starts_with(start));
        assert!(
            error.as_ref().map_or(expected.is_none(), starts),
            "{error:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_error_names_the_task_that_ended() {
        check(|_| {}, None).await;
        check(|tasks| tasks.spawn_one_shot("checks", async {}), None).await;
        let ends = |tasks: &mut Tasks| tasks.spawn("rules", async {});
        check(ends, Some("the task \"rules\" ended")).await;
        let fails = |tasks: &mut Tasks| {
            tasks.spawn_fallible("HTTP server", async {
                Err(anyhow!("no descriptor is left"))
            });
        };
        check(
            fails,
            Some("the task \"HTTP server\" failed: no descriptor is left"),
        )
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_error_names_the_task_that_panicked() {
        let panics = |tasks: &mut Tasks| {
            tasks.spawn_one_shot("checks", async { panic!("a test of panics") });
        };
        check(panics, Some("the task \"checks\" broke down: ")).await;
    }

    #[tokio::test(start_paused = true)]
    async fn waits_for_the_end_of_one_task() {
        let run = async {
            let mut tasks = Tasks::default();
            tasks.spawn("overlay", async {});
            let save = tokio::time::sleep(Duration::from_secs(3));
            tasks.spawn("peers", save);
            let started = tokio::time::Instant::now();
            tasks.ended("peers").await;
            assert_eq!(started.elapsed(), Duration::from_secs(3));
        };
        LocalSet::new().run_until(run).await;
    }
}
