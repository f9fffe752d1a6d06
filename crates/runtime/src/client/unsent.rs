//! Requests that were never sent: a connection that its server takes leave of may take a call that it cannot carry any
//! more. As long as nobody has asked for the call's body no server can have begun with it, and it may go another way.

use std::{
    error::Error as StdError,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tonic::{Status, body::Body};

type Slot = Arc<Mutex<Option<Body>>>;

/// A request's body, which can be had back until it is first asked for data.
pub(super) struct Unsent {
    slot: Slot,
    begun: Option<Body>,
}

/// The way back to the body.
pub(super) struct Back(Slot);

pub(super) fn keep(body: Body) -> (Unsent, Back) {
    let slot = Arc::new(Mutex::new(Some(body)));
    (Unsent { slot: Arc::clone(&slot), begun: None }, Back(slot))
}

impl Back {
    /// The body, if the call failed because of its connection before anything of it was sent.
    pub(super) fn take(self, failure: &tonic::transport::Error) -> Option<Body> {
        stood(failure).then(|| take(&self.0)).flatten()
    }
}

/// Whether there was a connection at all: one that cannot be opened is no better the second time.
fn stood(failure: &tonic::transport::Error) -> bool {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(failure);
    while let Some(error) = cause {
        if error.is::<hyper::Error>() {
            return true;
        }
        cause = error.source();
    }
    false
}

fn take(slot: &Slot) -> Option<Body> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}

impl http_body::Body for Unsent {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.begun.is_none() {
            self.begun = take(&self.slot);
        }
        self.begun.as_mut().map_or(Poll::Ready(None), |body| Pin::new(body).poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        if let Some(body) = &self.begun {
            return body.is_end_stream();
        }
        self.slot.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
