//! An answer that ends before its handler ends it: by a status, as soon as something happens while it waits for news.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::HeaderMap;
use http_body::Frame;
use tonic::{Status, body::Body};

/// `inner` until `end` says how it ends. What `end` holds is held as long as the body, if that does not end it.
pub(crate) fn until(inner: Body, end: impl Future<Output = Status> + Send + 'static) -> Body {
    Body::new(Ending { inner: Some(inner), end: Box::pin(end) })
}

struct Ending {
    /// None once it was ended.
    inner: Option<Body>,
    end: BoxFuture<'static, Status>,
}

impl http_body::Body for Ending {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        let polled = Pin::new(inner).poll_frame(cx);
        if polled.is_ready() {
            return polled;
        }
        let Poll::Ready(status) = self.end.as_mut().poll(cx) else { return Poll::Pending };
        self.inner = None;
        let mut trailers = HeaderMap::new();
        Poll::Ready(Some(status.add_header(&mut trailers).map(|()| Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> http_body::SizeHint {
        // Not the inner one: it may end sooner.
        http_body::SizeHint::default()
    }
}
