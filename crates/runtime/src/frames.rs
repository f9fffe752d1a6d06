//! The size of request messages: gRPC tells it in front of each, so one that is too large is refused before it is read.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::Frame;
use tonic::{Code, Status, body::Body};

use crate::{
    role::{self, Allowance},
    status,
};

/// One byte says whether the message is compressed, four how long it is.
const PREFIX: usize = 5;
const TOO_LARGE: &str = "MESSAGE_TOO_LARGE";

/// A request's body, in which no message may have more than `most` bytes.
pub(crate) struct Frames {
    inner: Body,
    most: usize,
    prefix: [u8; PREFIX],
    /// Bytes of the prefix that are known.
    known: usize,
    /// Bytes of the message that are still to come.
    rest: usize,
    /// Whom the metrics count a refusal for.
    role: String,
}

impl Frames {
    pub(crate) fn new(inner: Body, allowed: &Allowance) -> Self {
        let (most, role) = (allowed.max_message_bytes, allowed.role.to_owned());
        Self { inner, most, prefix: [0; PREFIX], known: 0, rest: 0, role }
    }

    fn look_at(&mut self, mut data: &[u8]) -> Result<(), Status> {
        while !data.is_empty() {
            if self.rest > 0 {
                let step = self.rest.min(data.len());
                self.rest -= step;
                data = &data[step..];
                continue;
            }
            let step = (PREFIX - self.known).min(data.len());
            self.prefix[self.known..self.known + step].copy_from_slice(&data[..step]);
            self.known += step;
            data = &data[step..];
            if self.known == PREFIX {
                self.known = 0;
                self.rest = self.announced()?;
            }
        }
        Ok(())
    }

    fn announced(&self) -> Result<usize, Status> {
        let [_, length @ ..] = self.prefix;
        let (length, most) = (u32::from_be_bytes(length) as usize, self.most);
        if length <= most {
            return Ok(length);
        }
        role::count_refused(&self.role, TOO_LARGE);
        Err(status::with_reason(
            Code::ResourceExhausted,
            TOO_LARGE,
            format!("the request has {length} bytes, {most} are allowed: send less at a time"),
            [("messageBytes", length.to_string()), ("maxMessageBytes", most.to_string())],
        ))
    }
}

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
            && let Err(refused) = self.look_at(data)
        {
            return Poll::Ready(Some(Err(refused)));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt as _;

    use super::*;

    fn message(length: usize) -> Vec<u8> {
        let mut message = vec![0];
        message.extend_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
        message.extend(std::iter::repeat_n(7, length));
        message
    }

    /// Looks at `bytes` as they come in pieces of `piece`.
    fn look(bytes: &[u8], piece: usize, most: usize) -> Result<(), Status> {
        let allowed = Allowance { role: "test", requests_per_second: 1, burst: 1, max_message_bytes: most };
        let mut frames = Frames::new(Body::empty(), &allowed);
        bytes.chunks(piece).try_for_each(|piece| frames.look_at(piece))
    }

    #[test]
    fn messages_of_the_allowed_size_pass_in_whatever_pieces_they_come() {
        let stream = [message(100), message(0), message(99), message(1)].concat();
        for piece in 1..=stream.len() {
            look(&stream, piece, 100).unwrap();
        }
    }

    #[test]
    fn a_message_that_is_too_large_is_refused_by_its_prefix() {
        for piece in 1..=8 {
            let stream = [message(100), message(101)[..PREFIX].to_vec()].concat();
            let refused = look(&stream, piece, 100).unwrap_err();
            assert_eq!(refused.code(), Code::ResourceExhausted);
            let info = refused.get_details_error_info().unwrap();
            assert_eq!((info.reason.as_str(), info.metadata["maxMessageBytes"].as_str()), (TOO_LARGE, "100"));
            assert!(refused.message().contains("101 bytes, 100 are allowed"), "{}", refused.message());
        }
    }
}
