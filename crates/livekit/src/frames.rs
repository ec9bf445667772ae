//! Signal messages to and from WebSocket frames, and a bounded queue of what is to be sent.

use std::collections::VecDeque;

use axum::extract::ws::{CloseFrame, Message as Frame, WebSocket};
use futures_util::stream::SplitSink;
use futures_util::{Sink as _, SinkExt as _};
use livekit_protocol as proto;
use prost::Message as _;

use crate::shape;

/// Largest message in either direction, in bytes.
pub(crate) const MAX_MESSAGE: usize = 2 * 1024 * 1024;
/// Most bytes that wait for a slow socket. A client that falls this far behind could not follow a call either.
const MAX_QUEUED: usize = 8 * 1024 * 1024;

/// A decoded frame.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// A request; `None` for one that this server does not know.
    Request(Box<Option<proto::signal_request::Message>>),
    /// Not a signal request.
    Malformed,
    /// A ping or pong of the WebSocket.
    Keepalive,
    /// The client closed the socket.
    Closed,
}

/// How replies are written: like the last frame that came.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Form {
    /// Protobuf in binary frames.
    #[default]
    Binary,
    /// Proto-JSON in text frames.
    Json,
}

/// Reads a frame; text and binary frames set the form of the replies.
pub(crate) fn decode(frame: &Frame, form: &mut Form) -> Incoming {
    let request = match frame {
        Frame::Binary(bytes) => {
            *form = Form::Binary;
            let sane = Some(bytes.as_ref()).filter(|bytes| shape::is_sane(bytes));
            sane.and_then(|bytes| proto::SignalRequest::decode(bytes).ok())
        }
        Frame::Text(text) => {
            *form = Form::Json;
            let sane = Some(text.as_str()).filter(|text| shape::is_sane_json(text));
            sane.and_then(|text| serde_json::from_str::<proto::SignalRequest>(text).ok())
        }
        Frame::Ping(_) | Frame::Pong(_) => return Incoming::Keepalive,
        Frame::Close(_) => return Incoming::Closed,
    };
    request.map_or(Incoming::Malformed, |request| Incoming::Request(Box::new(request.message)))
}

/// Writes a message.
pub(crate) fn encode(message: proto::signal_response::Message, form: Form) -> Frame {
    let response = proto::SignalResponse { message: Some(message) };
    match form {
        Form::Binary => Frame::Binary(response.encode_to_vec().into()),
        // Messages are made of strings, numbers and bytes, all of which JSON can hold.
        Form::Json => Frame::Text(serde_json::to_string(&response).unwrap_or_default().into()),
    }
}

/// What waits to be sent on a socket.
pub(crate) struct Outbox {
    sink: SplitSink<WebSocket, Frame>,
    queue: VecDeque<Frame>,
    bytes: usize,
}

/// The socket is gone, or so slow that it might as well be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Broken;

impl Outbox {
    pub fn new(sink: SplitSink<WebSocket, Frame>) -> Self {
        Self { sink, queue: VecDeque::new(), bytes: 0 }
    }

    /// Queues a frame.
    pub fn push(&mut self, frame: Frame) -> Result<(), Broken> {
        self.bytes += size(&frame);
        self.queue.push_back(frame);
        if self.bytes > MAX_QUEUED { Err(Broken) } else { Ok(()) }
    }

    /// What the socket has not taken, oldest first.
    pub fn unsent(&self) -> Vec<proto::signal_response::Message> {
        self.queue.iter().filter_map(written).collect()
    }

    /// Sends what is queued, then waits for ever. Nothing is lost when it is dropped half-way: a frame leaves the queue in the
    /// moment in which the socket takes it.
    pub async fn pump(&mut self) -> Broken {
        if self.flush().await.is_err() {
            return Broken;
        }
        std::future::pending().await
    }

    /// Sends what is queued.
    pub async fn flush(&mut self) -> Result<(), Broken> {
        loop {
            if self.queue.is_empty() {
                return self.sink.flush().await.map_err(|_| Broken);
            }
            let ready =
                std::future::poll_fn(|context| std::pin::Pin::new(&mut self.sink).poll_ready(context));
            ready.await.map_err(|_| Broken)?;
            if let Some(frame) = self.queue.pop_front() {
                self.bytes -= size(&frame);
                self.sink.start_send_unpin(frame).map_err(|_| Broken)?;
            }
        }
    }

    /// Sends what is queued and closes.
    pub async fn close(mut self, code: u16, reason: &'static str) {
        let frame = CloseFrame { code, reason: reason.into() };
        // The client may be gone; then there is nobody to say it to.
        let _ = self.push(Frame::Close(Some(frame)));
        let _ = self.flush().await;
    }
}

/// The inverse of [`encode`].
fn written(frame: &Frame) -> Option<proto::signal_response::Message> {
    let response = match frame {
        Frame::Binary(bytes) => proto::SignalResponse::decode(bytes.as_ref()).ok(),
        Frame::Text(text) => serde_json::from_str::<proto::SignalResponse>(text.as_str()).ok(),
        _ => None,
    };
    response?.message
}

fn size(frame: &Frame) -> usize {
    match frame {
        Frame::Binary(bytes) | Frame::Ping(bytes) | Frame::Pong(bytes) => bytes.len(),
        Frame::Text(text) => text.len(),
        Frame::Close(_) => 0,
    }
}
