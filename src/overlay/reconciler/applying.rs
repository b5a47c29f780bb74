//! Applies operations in chunks, and takes kernel events in between: a packet that waits for a miss must not wait for a
//! large plan. It decides nothing about what is applied.

use futures_util::FutureExt as _;
use tracing::debug;

use crate::overlay::plan::Op;
use crate::overlay::port::Kernel;
use crate::overlay::reconciler::OverlaySlice;
use crate::overlay::reconciler::effects::{failure, stronger};
use crate::reconcile::slice::{Effect, OpFailed};

/// Operations between two checks for misses: a packet waits no longer than these take, about a millisecond.
const OPS_PER_CHUNK: usize = 256;
/// Limit of the kernel events that are handled between two chunks.
const EVENTS_PER_CHUNK: usize = 512;

impl<K: Kernel> OverlaySlice<K> {
    pub(super) async fn apply_outside_of_run(&mut self, ops: &[Op]) -> Effect {
        let (failed, effect) = self.apply_in_chunks(ops).await;
        stronger(failure(&failed), effect)
    }

    /// Applies the operations, and handles kernel events in between. Returns the operations that failed, and the effect of
    /// the events.
    pub(super) async fn apply_in_chunks(&mut self, ops: &[Op]) -> (Vec<OpFailed>, Effect) {
        let mut failed = Vec::new();
        let mut effect = Effect::None;
        // What follows the creation of the device stands on it. If another flanneld was quicker, the device is not ours.
        let created = ops.iter().position(Op::creates_device);
        let (create, rest) = ops.split_at(created.map_or(0, |place| place + 1));
        failed.append(&mut self.apply_now(create));
        if !failed.is_empty() {
            return (failed, effect);
        }
        for chunk in rest.chunks(OPS_PER_CHUNK) {
            if let Some(heartbeat) = &self.heartbeat {
                heartbeat.beat();
            }
            failed.append(&mut self.apply_now(chunk));
            effect = stronger(effect, self.take_waiting_events());
            tokio::task::yield_now().await;
        }
        (failed, effect)
    }

    pub(super) fn apply_now(&mut self, ops: &[Op]) -> Vec<OpFailed> {
        let Some(overlay) = self.phase.known_overlay() else {
            return Vec::new();
        };
        let device = &overlay.device().name;
        for op in ops {
            debug!("{}", op.command(device));
        }
        let errors = self.kernel.apply(device, ops);
        self.parent_change.note(device, ops, &errors);
        errors.into_iter().map(OpFailed::from).collect()
    }

    fn take_waiting_events(&mut self) -> Effect {
        let mut effect = Effect::None;
        for _ in 0..EVENTS_PER_CHUNK {
            let Some(overlay) = self.phase.known_overlay() else {
                break;
            };
            let event = self.kernel.event(&overlay.device().name);
            let Some(event) = event.now_or_never() else {
                break;
            };
            effect = stronger(effect, self.take_event(event));
        }
        effect
    }
}
