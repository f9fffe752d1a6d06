//! A connection that can be broken from our side, for a reason that whoever uses it is told.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use futures::{
    FutureExt,
    future::{BoxFuture, Fuse},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// `IO` until a future ends; then reading from it is its error. Somebody always reads from an HTTP/2 connection. `T` is
/// what is held for as long as the connection is.
pub(crate) struct Cut<IO, T> {
    io: IO,
    end: Fuse<BoxFuture<'static, io::Error>>,
    pub(crate) held: T,
}

impl<IO, T> Cut<IO, T> {
    pub(crate) fn new(io: IO, end: impl Future<Output = io::Error> + Send + 'static, held: T) -> Self {
        Self { io, end: end.boxed().fuse(), held }
    }
}

impl<IO: AsyncRead + Unpin, T: Unpin> AsyncRead for Cut<IO, T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(error) = self.end.poll_unpin(cx) {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<IO: AsyncWrite + Unpin, T: Unpin> AsyncWrite for Cut<IO, T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
