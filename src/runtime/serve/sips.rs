//! A connection that is read in sips, once it has had several requests under way at a time.
//!
//! Invariant: every byte is handed on, in order; a sip that ends early asks to be polled again. Of many requests that
//! arrive in one piece the first are answered, and those answers written, before the last are read: else client and gateway
//! take turns, and each waits while the other works. When a sip is refilled is decided in `serve`, and who counts the bytes
//! is in `watched`.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

/// About a dozen and a half requests of a kind that is asked often: as many answers go into one piece.
const SIP_BYTES: usize = 1024;

/// How much may be read until the connection is polled again.
#[derive(Clone)]
pub(super) struct Sip(Arc<AtomicUsize>);

impl Sip {
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicUsize::new(usize::MAX)))
    }

    /// Called before each poll of a connection that has had several requests under way.
    pub(super) fn refill(&self) {
        self.0.store(SIP_BYTES, Ordering::Relaxed);
    }

    /// Reads what is left of the sip, or as it comes where nothing was ever refilled.
    pub(super) fn poll_read<S: AsyncRead + Unpin>(
        &self,
        stream: &mut S,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = self.0.load(Ordering::Relaxed);
        if left == usize::MAX {
            return Pin::new(stream).poll_read(context, buffer);
        }
        if left == 0 {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut portion = ReadBuf::new(buffer.initialize_unfilled_to(left.min(buffer.remaining())));
        ready!(Pin::new(stream).poll_read(context, &mut portion))?;
        let count = portion.filled().len();
        buffer.advance(count);
        self.0.store(left.saturating_sub(count), Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn a_sip_bounds_what_is_read_between_two_polls_and_nothing_is_lost() {
        let (mut sender, mut receiver) = duplex(64 * 1024);
        let sip = Sip::new();
        let sent: Vec<u8> = (0..50_000_u32).map(|place| u8::try_from(place % 251).expect("less than 256")).collect();
        sender.write_all(&sent).await.expect("room");
        drop(sender);
        let (mut got, mut polls) = (Vec::new(), 0);
        let mut is_over = false;
        while !is_over {
            // A task that never rests is given nothing to read.
            tokio::task::yield_now().await;
            sip.refill();
            polls += 1;
            is_over = poll_fn(|context| {
                let before = got.len();
                loop {
                    let mut room = [0; 300];
                    let mut portion = ReadBuf::new(&mut room);
                    match sip.poll_read(&mut receiver, context, &mut portion) {
                        Poll::Ready(read) => read.expect("it reads"),
                        Poll::Pending => return Poll::Ready(false),
                    }
                    if portion.filled().is_empty() {
                        return Poll::Ready(true);
                    }
                    got.extend_from_slice(portion.filled());
                    assert!(got.len() - before <= SIP_BYTES);
                }
            })
            .await;
        }
        assert!(got == sent);
        assert_eq!(polls, sent.len().div_ceil(SIP_BYTES));
    }
}
