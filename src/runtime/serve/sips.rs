//! A connection that is read in sips, once it has had several requests under way at a time.
//!
//! Invariant: every byte is handed on, in order; a sip that ends early asks to be polled again. Of many requests that
//! arrive in one piece the first are answered, and those answers written, before the last are read: else client and gateway
//! take turns, and each waits while the other works.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

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
}

/// A stream that is read in sips. Whoever polls the connection refills them.
pub(super) struct Sips<S> {
    stream: S,
    sip: Sip,
}

impl<S> Sips<S> {
    pub(super) const fn new(stream: S, sip: Sip) -> Self {
        Self { stream, sip }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Sips<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = self.sip.0.load(Ordering::Relaxed);
        if left == usize::MAX {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        if left == 0 {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut portion = ReadBuf::new(buffer.initialize_unfilled_to(left.min(buffer.remaining())));
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut portion))?;
        let count = portion.filled().len();
        buffer.advance(count);
        self.sip.0.store(left.saturating_sub(count), Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Sips<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn a_sip_bounds_what_is_read_between_two_polls_and_nothing_is_lost() {
        let (mut sender, receiver) = duplex(64 * 1024);
        let sip = Sip::new();
        let mut sips = Sips::new(receiver, sip.clone());
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
                    match Pin::new(&mut sips).poll_read(context, &mut portion) {
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
