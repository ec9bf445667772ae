//! One WebSocket: frames in at a bounded pace, frames out through a bounded queue, pings, and an end that arrives.

use std::time::{Duration, Instant};

use axum::extract::ws::{Message as Frame, WebSocket, close_code};
use futures_util::StreamExt as _;
use futures_util::stream::SplitStream;
use tokio::time::{Interval, MissedTickBehavior, interval_at, sleep_until, timeout};

use crate::frames::{Broken, Form, Outbox};
use crate::rate::Pace;

/// The server pings sockets this often.
const PING: Duration = Duration::from_secs(10);
/// A socket on which nothing at all arrives for this long is dead: two pings went unanswered.
const SILENCE: Duration = Duration::from_secs(25);
/// How long the last frames may take.
const CLOSING: Duration = Duration::from_secs(2);

/// One socket.
pub(crate) struct Wire {
    stream: SplitStream<WebSocket>,
    pub outbox: Outbox,
    /// How replies are written.
    pub form: Form,
    /// When anything last arrived.
    pub heard: Instant,
    pub pace: Pace,
    ping: Interval,
}

impl Wire {
    pub fn new(socket: WebSocket) -> Self {
        let now = Instant::now();
        let mut ping = interval_at(now.into(), PING);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (sink, stream) = socket.split();
        Self { stream, outbox: Outbox::new(sink), form: Form::Binary, heard: now, pace: Pace::new(now), ping }
    }

    /// The next frame; `None`: the socket is gone, or as good as gone. Nothing is lost when it is dropped half-way.
    pub async fn hear(&mut self) -> Option<Frame> {
        loop {
            let wait = self.pace.wait_until(Instant::now());
            tokio::select! {
                () = until(wait), if wait.is_some() => {}
                frame = self.stream.next(), if wait.is_none() => {
                    // A message over the limit is an error here too.
                    return frame.and_then(Result::ok);
                }
                Broken = self.outbox.pump() => return None,
                _ = self.ping.tick() => {
                    let silent = self.heard.elapsed() > SILENCE;
                    if silent || self.outbox.push(Frame::Ping(Default::default())).is_err() {
                        return None;
                    }
                }
            }
        }
    }

    /// Sends what is queued, closes, and reads until the client has closed too: a socket that is given up with something
    /// unread is reset, and the reset overtakes what was just sent.
    pub async fn close(self) {
        self.close_with(close_code::NORMAL, "").await;
    }

    /// The same with a reason for whoever wrote the other end.
    pub async fn close_with(self, code: u16, reason: &'static str) {
        let Self { mut stream, outbox, .. } = self;
        let closing = async {
            outbox.close(code, reason).await;
            while let Some(Ok(_)) = stream.next().await {}
        };
        let _ = timeout(CLOSING, closing).await;
    }
}

/// Waits until then; `None`: for ever.
pub(crate) async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
