//! The task behind a device: opens sockets one after the other, and carries frames between them and the core.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{sleep, sleep_until, timeout};
use wire::messaging::{Encoding, ErrorCode, Incoming, Request};

use super::core::{Core, Verdict};
use super::event::{End, Event};
use super::{Options, Shared};
use crate::error::ConnectError;
use crate::socket::{self, Heard, MessageSocket};

/// The first pause; each further one is twice as long, up to the longest.
const FIRST: Duration = Duration::from_millis(400);
const LONGEST: Duration = Duration::from_secs(30);
/// After so long a connection counts as good.
const STABLE: Duration = Duration::from_secs(10);
/// A socket opens, and is welcomed, within this.
const OPENING: Duration = Duration::from_secs(15);
/// A request without an answer for so long: the connection is dead.
const ANSWERING: Duration = Duration::from_secs(20);
/// How often that is looked at.
const LOOKING: Duration = Duration::from_millis(2_500);

/// How a connection ended.
enum Lost {
    Again { why: String, pause: Option<Duration> },
    Over(End),
}

impl Lost {
    fn again(why: impl Into<String>) -> Self {
        Self::Again { why: why.into(), pause: None }
    }
}

/// Runs until it is closed, or refused for good.
pub(super) async fn run(options: Options, shared: Arc<Shared>, events: async_channel::Sender<Event>) {
    let mut attempt = 0;
    let end = loop {
        if shared.lock().closed {
            break End::Closed;
        }
        let started = Instant::now();
        let lost = connection(&options, &shared, &events).await;
        shared.lock().core.lost();
        let (why, asked) = match lost {
            Lost::Again { why, pause } => (why, pause),
            Lost::Over(end) => break end,
        };
        let _ = events.try_send(Event::Waiting { why });
        attempt = if started.elapsed() > STABLE { 0 } else { attempt + 1 };
        let pause = pause(attempt, asked, rand::random());
        if !waited(&shared, pause, &events).await {
            break End::Closed;
        }
    };
    let mut inner = shared.lock();
    inner.closed = true;
    inner.replies.clear();
    let _ = events.try_send(Event::Ended(end));
}

/// How long to wait before the `attempt`-th connection in a row (from 1), and not less than was `asked`: clients that lost the same server
/// do not come back in step.
fn pause(attempt: u32, asked: Option<Duration>, random: f64) -> Duration {
    let full = (FIRST * 2_u32.saturating_pow(attempt.saturating_sub(1).min(16))).min(LONGEST);
    let own = full.mul_f64(0.5 + random / 2.0);
    own.max(asked.unwrap_or_default().mul_f64(1.0 + random / 2.0))
}

/// Waits, while what the application asks is kept. False: it was closed.
async fn waited(shared: &Shared, pause: Duration, events: &async_channel::Sender<Event>) -> bool {
    let over = sleep(pause);
    tokio::pin!(over);
    loop {
        let timer = deadline(shared);
        tokio::select! {
            () = &mut over => return true,
            () = shared.asked.notified() => if shared.lock().closed { return false },
            () = sleep_until(timer.into()) => {}
        }
        shared.lock().core.handle_timeout(Instant::now());
        tell(shared, events);
    }
}

fn deadline(shared: &Shared) -> Instant {
    let far = Instant::now() + Duration::from_secs(3_600);
    shared.lock().core.poll_timeout().map_or(far, |at| at.min(far))
}

async fn connection(options: &Options, shared: &Shared, events: &async_channel::Sender<Event>) -> Lost {
    let mut socket = match timeout(OPENING, open(options)).await {
        Ok(Ok(socket)) => socket,
        Ok(Err(error)) => return of_connecting(error),
        Err(_) => return Lost::again("the server did not answer in time"),
    };
    let (id, hello) = shared.lock().core.connect(Instant::now(), (options.token)());
    let mut out = Vec::new();
    Request::write(options.encoding, id, &hello, &mut out);
    if !socket.send(options.encoding == Encoding::Cbor, out).await {
        return Lost::again("the connection broke");
    }
    let lost = carry(options.encoding, &mut socket, shared, events).await;
    socket.close().await;
    lost
}

async fn open(options: &Options) -> Result<MessageSocket, ConnectError> {
    let secured = socket::dial(&options.url).await?.secure(&options.trust).await?;
    secured.open_messages("/m/v1", options.encoding.subprotocol()).await
}

/// A refusal of the socket itself is passing, as a proxy's may be; an address that cannot be right is not.
fn of_connecting(error: ConnectError) -> Lost {
    match error {
        ConnectError::Address(why) | ConnectError::Tls(why) => Lost::Over(End::Address(why)),
        other => Lost::again(other.to_string()),
    }
}

/// Carries frames until the connection ends.
async fn carry(
    encoding: Encoding,
    socket: &mut MessageSocket,
    shared: &Shared,
    events: &async_channel::Sender<Event>,
) -> Lost {
    let mut heard = Instant::now();
    loop {
        let timer = deadline(shared).min(Instant::now() + LOOKING);
        tokio::select! {
            incoming = socket.next() => {
                heard = Instant::now();
                match taken(encoding, shared, incoming) {
                    Ok(()) => {}
                    Err(lost) => {
                        tell(shared, events);
                        return lost;
                    }
                }
            }
            () = shared.asked.notified() => if shared.lock().closed { return Lost::Over(End::Closed) },
            () = sleep_until(timer.into()) => {}
        }
        if let Some(lost) = ticked(shared, heard) {
            return lost;
        }
        tell(shared, events);
        if !flush(encoding, socket, shared).await {
            return Lost::again("the connection broke");
        }
    }
}

/// What time has done.
fn ticked(shared: &Shared, heard: Instant) -> Option<Lost> {
    let now = Instant::now();
    let core = &mut shared.lock().core;
    core.handle_timeout(now);
    let unanswered = core.oldest().is_some_and(|oldest| now - oldest > ANSWERING);
    let silent = now - heard > core.silence();
    (unanswered || silent).then(|| Lost::again("the server is silent"))
}

/// Sends what the core has.
async fn flush(encoding: Encoding, socket: &mut MessageSocket, shared: &Shared) -> bool {
    loop {
        let Some((id, command)) = shared.lock().core.poll_transmit() else { return true };
        let mut out = Vec::new();
        Request::write(encoding, id, &command, &mut out);
        if !socket.send(encoding == Encoding::Cbor, out).await {
            return false;
        }
    }
}

/// Hands out what the core has to say.
fn tell(shared: &Shared, events: &async_channel::Sender<Event>) {
    let mut inner = shared.lock();
    while let Some(event) = inner.core.poll_event() {
        let _ = events.try_send(event);
    }
    while let Some((tag, answer)) = inner.core.poll_answer() {
        if let Some(reply) = inner.replies.remove(&tag) {
            let _ = reply.send(answer);
        }
    }
}

fn taken(encoding: Encoding, shared: &Shared, incoming: Heard) -> Result<(), Lost> {
    match incoming {
        Heard::Message(bytes) => match Incoming::read(encoding, &bytes) {
            Ok(frame) => receive(&mut shared.lock().core, frame),
            // What cannot be read is of a newer server, or of nobody: it is passed over.
            Err(_) => Ok(()),
        },
        Heard::Alive => Ok(()),
        Heard::Closed { code, why } => Err(of_code(code, why)),
    }
}

fn receive(core: &mut Core, frame: Incoming) -> Result<(), Lost> {
    match core.receive(Instant::now(), frame) {
        Verdict::Fine => Ok(()),
        Verdict::Again(pause) => Err(Lost::Again { why: "the server asked to".to_owned(), pause }),
        Verdict::Over(error) if matches!(error.code, ErrorCode::Unauthorized | ErrorCode::Expired) => {
            Err(Lost::Over(End::Unauthorized(error.reason)))
        }
        Verdict::Over(error) => Err(Lost::Over(End::Protocol(error.reason))),
    }
}

/// What the code of a closed socket means: 4500 to 4999 is for good.
fn of_code(code: u16, why: String) -> Lost {
    match code {
        4500 => Lost::Over(End::Replaced),
        4501 => Lost::Over(End::Unauthorized(why)),
        4502..=4999 => Lost::Over(End::Protocol(why)),
        _ => Lost::again(if why.is_empty() { format!("closed with {code}") } else { why }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_are_never_shorter_than_was_asked() {
        let pause = |attempt, asked, random| pause(attempt, asked, random).as_millis();
        assert_eq!((pause(1, None, 0.0), pause(1, None, 1.0)), (200, 400));
        assert_eq!((pause(4, None, 1.0), pause(99, None, 1.0)), (3_200, 30_000));
        assert_eq!(pause(1, Some(Duration::from_secs(5)), 0.0), 5_000);
        assert_eq!(pause(1, Some(Duration::from_secs(5)), 1.0), 7_500);
    }

    #[test]
    fn close_codes_say_whether_to_come_again() {
        for code in [1000, 1001, 1006, 4000, 4001, 4002, 4003, 4499] {
            assert!(matches!(of_code(code, String::new()), Lost::Again { .. }), "{code}");
        }
        assert!(matches!(of_code(4500, String::new()), Lost::Over(End::Replaced)));
        assert!(matches!(of_code(4501, String::new()), Lost::Over(End::Unauthorized(_))));
        assert!(matches!(of_code(4504, String::new()), Lost::Over(End::Protocol(_))));
    }
}
