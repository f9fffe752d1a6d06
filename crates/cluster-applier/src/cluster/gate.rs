//! The last look at the clock: when a request's body is written to the connection, and not when the request is made. Between
//! the two lie queues and tasks, in which a process that is stopped would stay.
//!
//! kube's own stack of layers, with the gate in its innermost place.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::Bytes;
use http::Request;
use http_body::{Frame, SizeHint};
use hyper_util::{client::legacy, rt::TokioExecutor};
use kube::{
    Client, Config,
    client::{Body, ClientBuilder, ConfigExt},
};
use tower::{BoxError, ServiceBuilder};

use crate::lease::Turn;

/// A client that sends no body unless it is our turn.
pub(super) fn client(config: &Config, turn: &Turn) -> kube::Result<Client> {
    let turn = turn.clone();
    let connections = legacy::Client::builder(TokioExecutor::new()).build(config.rustls_https_connector()?);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_request(move |request: Request<Body>| request.map(|body| Gated { body, turn: turn.clone() }))
        .map_err(BoxError::from)
        .service(connections);
    Ok(ClientBuilder::new(service, config.default_namespace.clone()).build())
}

/// Why a body breaks off; the API server never gets to see a whole request.
#[derive(Debug, thiserror::Error)]
#[error("not sent, this applier stands by")]
struct Withheld;

/// A body that is there only while we may write.
struct Gated {
    body: Body,
    turn: Turn,
}

impl http_body::Body for Gated {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let withheld = frame.is_some() && !self.turn.is_held(Instant::now());
        let frame = frame.map(|frame| frame.map_err(Into::into));
        Poll::Ready(if withheld { Some(Err(Withheld.into())) } else { frame })
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
    use std::{future::poll_fn, time::Duration};

    use http_body::Body as _;

    use super::*;

    async fn sent(body: &mut Gated) -> Option<Result<Bytes, String>> {
        let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await?;
        Some(frame.map_err(|e| e.to_string()).map(|frame| frame.into_data().expect("data")))
    }

    #[tokio::test]
    async fn a_body_is_given_out_only_while_we_may_write() {
        let turn = Turn::not_yet();
        let body =
            |text: &'static str| Gated { body: Body::from(text.as_bytes().to_vec()), turn: turn.clone() };
        let (mut late, mut made_before) = (body("{}"), body("{}"));
        assert_eq!(sent(&mut late).await, Some(Err(Withheld.to_string())));
        assert_eq!(sent(&mut body("")).await, None, "a GET has none");
        turn.lasts_until(Instant::now() + Duration::from_mins(1));
        assert_eq!(sent(&mut made_before).await, Some(Ok("{}".into())));
    }
}
