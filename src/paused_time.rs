//! Runs tests of loops with a clock that does not wait: an hour costs nothing. Built for tests only.

use tokio::task::LocalSet;

/// Runs a test on one thread, with a clock that jumps to the next timer when all is idle.
pub(crate) fn on_paused_time(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    LocalSet::new().block_on(&runtime.expect("a runtime for a test"), test);
}
