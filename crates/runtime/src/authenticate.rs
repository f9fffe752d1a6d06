//! Who is calling: the layer that gives each call its [`PeerIdentity`], by the connection's certificate or by a token.
//!
//! A call has exactly one of them. A token is taken out of the request here: neither handlers nor the log ever see it. A
//! stream that was opened with a token ends when the token does.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use futures::future::{BoxFuture, Either};
use http::{HeaderValue, header::AUTHORIZATION};
use tokio::time::sleep;
use tonic::{Code, Status, body::Body};
use tower::{Service, ServiceExt as _};
use tracing::{Span, field};

use crate::{
    authorize::refusal,
    clock::Clock,
    ending,
    identity::{self, Certified, PeerIdentity},
    status,
    token::{Issuers, Refusal, Verified},
};

/// The layer.
#[derive(Debug, Clone)]
pub(crate) struct Authenticate<S> {
    inner: S,
    issuers: Issuers,
    clock: Clock,
}

impl<S> Authenticate<S> {
    pub(crate) fn new(inner: S, issuers: Issuers, clock: Clock) -> Self {
        Self { inner, issuers, clock }
    }
}

impl<S> Service<http::Request<Body>> for Authenticate<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = Either<S::Future, BoxFuture<'static, Result<Self::Response, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let certified = request.extensions_mut().remove().and_then(|Certified(peer)| peer);
        let tokens: Vec<HeaderValue> = request.headers().get_all(AUTHORIZATION).iter().cloned().collect();
        request.headers_mut().remove(AUTHORIZATION);
        match (certified, &tokens[..]) {
            (Some(peer), []) => {
                request.extensions_mut().insert(peer);
                Either::Left(self.inner.call(request))
            }
            (None, [token]) => {
                let work = with_token(self.clone(), token.clone(), request);
                Either::Right(Box::pin(work))
            }
            (certified, tokens) => {
                let status = unclear(certified.is_some(), tokens.len());
                Either::Right(Box::pin(async move { Ok(refusal(status, false)) }))
            }
        }
    }
}

/// What is answered to a call that says nothing, or more than one thing, about who makes it.
fn unclear(certified: bool, tokens: usize) -> Status {
    if !certified && tokens == 0 {
        return identity::unauthenticated();
    }
    status::with_reason(
        Code::Unauthenticated,
        "AMBIGUOUS_IDENTITY",
        "more than one thing says who is calling: send one token, or none over a connection with a certificate",
        [],
    )
}

async fn with_token<S>(
    layer: Authenticate<S>,
    token: HeaderValue,
    mut request: http::Request<Body>,
) -> Result<http::Response<Body>, S::Error>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
{
    let Verified { spiffe_id, ends } = match verified(&layer.issuers, &token).await {
        Ok(verified) => verified,
        Err(refused) => return Ok(refusal(refused.into(), false)),
    };
    Span::current().record("principal", field::display(&spiffe_id));
    request.extensions_mut().insert(PeerIdentity { spiffe_id, certificate_sha256: None });
    let answer = layer.inner.oneshot(request).await?;
    let left = Duration::try_from(ends - layer.clock.now()).unwrap_or_default();
    let expired = async move {
        sleep(left).await;
        Refusal::Expired.into()
    };
    Ok(answer.map(|inner| ending::until(inner, expired)))
}

async fn verified(issuers: &Issuers, header: &HeaderValue) -> Result<Verified, Refusal> {
    let text = header.to_str().ok();
    let (scheme, token) = text.and_then(|text| text.split_once(' ')).unwrap_or_default();
    if !scheme.eq_ignore_ascii_case("Bearer") {
        return Err(Refusal::Invalid("`authorization` is not of the form `Bearer TOKEN`"));
    }
    issuers.verify(token.trim()).await
}
