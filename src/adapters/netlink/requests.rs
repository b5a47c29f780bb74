//! Waits for the kernel's replies to requests, with a time limit, and says which request failed.

use std::error::Error;
use std::time::Duration;

use crate::overlay::port::KernelError;

/// How long an answer may take; a dump of 60,000 entries takes 0.1 s. The limit is needed: the
/// library waits for ever if an answer is lost because the socket's buffer was full.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Waits for the reply to a request. `operation` is a verb phrase, which errors print after "failed to".
///
/// # Errors
/// The kernel refuses the request or does not answer in time.
pub(super) async fn answer<T>(
    operation: &str,
    question: impl Future<Output = Result<T, rtnetlink::Error>>,
) -> Result<T, KernelError> {
    match tokio::time::timeout(ANSWER_TIMEOUT, question).await {
        Ok(answer) => answer.map_err(|source| failed(operation, source)),
        Err(elapsed) => Err(failed(operation, elapsed)),
    }
}

/// Waits for the reply like [`answer`]; `None` if it is one of the error numbers in `absent`, which mean
/// that the object does not exist.
///
/// # Errors
/// The kernel refuses the request for another reason or does not answer in time.
pub(super) async fn answer_if_any<T>(
    operation: &str,
    question: impl Future<Output = Result<T, rtnetlink::Error>>,
    absent: &[i32],
) -> Result<Option<T>, KernelError> {
    let question = async {
        match question.await {
            Ok(answer) => Ok(Some(answer)),
            Err(rtnetlink::Error::NetlinkError(error))
                if absent.contains(&error.raw_code().abs()) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    };
    answer(operation, question).await
}

/// Builds the error of an operation.
pub(super) fn failed(operation: &str, source: impl Error + Send + Sync + 'static) -> KernelError {
    KernelError::Request {
        operation: operation.to_owned(),
        source: Box::new(source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::chain;
    use netlink_packet_core::ErrorMessage;
    use nix::libc;
    use std::future::{pending, ready};
    use std::num::NonZeroI32;

    fn refused(code: i32) -> rtnetlink::Error {
        let mut message = ErrorMessage::default();
        message.code = NonZeroI32::new(-code);
        rtnetlink::Error::NetlinkError(message)
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_without_answer_fails_after_the_timeout() {
        let error = answer::<()>("dump routes", pending()).await;
        let text = chain(&error.expect_err("no answer"));
        assert_eq!(text, "failed to dump routes: deadline has elapsed");
    }

    #[tokio::test]
    async fn only_the_given_errors_say_that_there_is_nothing() {
        let ask = async |code| {
            let question = ready(Err::<(), _>(refused(code)));
            answer_if_any("look up a device", question, &[libc::ENODEV]).await
        };
        assert_eq!(ask(libc::ENODEV).await.ok(), Some(None));
        assert!(ask(libc::EPERM).await.is_err());
    }
}
