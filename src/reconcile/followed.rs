//! A value that another task changes and a slice follows, beside its other inputs.

use tokio::sync::watch;

/// Follows a value.
#[derive(Debug)]
pub(crate) struct Followed<T>(Option<watch::Receiver<T>>);

impl<T: Clone> Followed<T> {
    /// Follows nothing: it never changes.
    pub(crate) const fn nothing() -> Self {
        Self(None)
    }

    /// Starts with a change, so that what came before is not missed.
    pub(crate) fn new(mut value: watch::Receiver<T>) -> Self {
        value.mark_changed();
        Self(Some(value))
    }

    /// Waits for a change. Cancel-safe: it takes the change in the moment in which it returns.
    pub(crate) async fn changed(&mut self) {
        if let Some(value) = &mut self.0
            && value.changed().await.is_ok()
        {
            return;
        }
        // Nobody changes it any more: other inputs say that the daemon stops.
        std::future::pending().await
    }

    /// Returns the present value.
    pub(crate) fn take(&mut self) -> Option<T> {
        Some(self.0.as_mut()?.borrow_and_update().clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[tokio::test]
    async fn the_first_value_counts_as_a_change_and_an_end_does_not() {
        let (sender, receiver) = watch::channel(1);
        let mut followed = Followed::new(receiver);
        assert_eq!(followed.changed().now_or_never(), Some(()));
        assert_eq!(followed.take(), Some(1));
        assert_eq!(followed.changed().now_or_never(), None);
        sender.send_replace(2);
        assert_eq!(followed.changed().now_or_never(), Some(()));
        assert_eq!(followed.take(), Some(2));
        drop(sender);
        assert_eq!(followed.changed().now_or_never(), None);
        assert_eq!(Followed::<u8>::nothing().changed().now_or_never(), None);
    }
}
