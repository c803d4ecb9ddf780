//! How far a request has come: the body of a request that knows when it is asked for.
//!
//! Invariant: whoever gives up on a request and the connection that would write it agree, by one atomic word, whether
//! any of its message can have been written. On HTTP/2 its headers may have left before; a method that takes one message
//! begins when that is there, so headers alone have done nothing.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tonic::Status;

/// How far a request has come.
#[derive(Debug, Default)]
pub(super) struct Passage(AtomicU8);

const WAITING: u8 = 0;
const BEGUN: u8 = 1;
const GIVEN_UP: u8 = 2;

impl Passage {
    /// Called when the message is about to be written. False: it has been given up, and must not be.
    fn begin(&self) -> bool {
        match self.0.compare_exchange(WAITING, BEGUN, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => true,
            Err(seen) => seen == BEGUN,
        }
    }

    /// Called when nobody waits for an answer any more. True: no byte of the message was written, and none will be.
    pub(super) fn give_up(&self) -> bool {
        match self.0.compare_exchange(WAITING, GIVEN_UP, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => true,
            Err(seen) => seen == GIVEN_UP,
        }
    }
}

/// The body of a request, which knows when it is asked for.
pub(super) struct Order {
    pub(super) body: tonic::body::Body,
    pub(super) passage: Arc<Passage>,
}

impl Body for Order {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if !self.passage.begin() {
            return Poll::Ready(Some(Err(Status::cancelled("given up before it was written"))));
        }
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[test]
    fn a_request_is_either_written_or_given_up_and_never_both() {
        let written = Passage::default();
        assert!(written.begin() && written.begin() && !written.give_up() && written.begin());
        let given_up = Passage::default();
        assert!(given_up.give_up() && !given_up.begin() && given_up.give_up());
    }

    #[tokio::test]
    async fn a_request_that_was_given_up_yields_no_byte() {
        let passage = Arc::new(Passage::default());
        assert!(passage.give_up());
        let order = Order { body: tonic::body::Body::default(), passage };
        assert!(order.collect().await.is_err());
    }
}
