//! A connection whose bytes and requests are seen: what `connections` judges by.
//!
//! Invariant: nothing is changed or kept; what is read is held up by `sips` alone. A request counts from its head until its
//! answer's body is gone.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connections::Connection;
use super::sips::Sip;

/// A stream that tells what it receives.
pub(super) struct Watched<S> {
    stream: S,
    sip: Sip,
    connection: Arc<Connection>,
}

impl<S> Watched<S> {
    pub(super) const fn new(stream: S, sip: Sip, connection: Arc<Connection>) -> Self {
        Self { stream, sip, connection }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let Self { stream, sip, .. } = &mut *self;
        let polled = sip.poll_read(stream, context, buffer);
        if let Some(received) = buffer.filled().get(before..).filter(|received| !received.is_empty()) {
            self.connection.received(received);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
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

/// A request under way, until it is dropped.
pub(super) struct Underway(Arc<Connection>);

impl Underway {
    pub(super) fn begin(connection: &Arc<Connection>) -> Self {
        connection.request_began();
        Self(Arc::clone(connection))
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.0.request_ended();
    }
}

/// The body of an answer, which ends its request when it is gone.
pub(super) struct Answering<B> {
    body: Option<B>,
    _underway: Underway,
}

impl<B> Answering<B> {
    pub(super) const fn new(body: Option<B>, underway: Underway) -> Self {
        Self { body, _underway: underway }
    }
}

impl<B: Body + Unpin> Body for Answering<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
