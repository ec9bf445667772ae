//! The task behind a room: what the server says, what the application asks, pings.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use livekit_protocol as proto;
use livekit_protocol::request_response::{Reason, Request as Echo};
use livekit_protocol::signal_request::Message as Ask;
use livekit_protocol::signal_response::Message;
use rtc::CloseReason;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::error::PublishError;
use crate::event::{Ended, Event, Participant};
use crate::join;
use crate::media::{Command, Thread};
use crate::negotiation::{Negotiation, Uplink};
use crate::options::LocalTrack;
use crate::room::Publication;
use crate::socket::{Incoming, Socket};

/// How often we ping when the server does not say.
const PING: Duration = Duration::from_secs(5);
/// How long the server may be silent when it does not say.
const SILENCE: Duration = Duration::from_secs(15);

/// How long the Leave may take after the server has closed the media connection.
const GOODBYE: Duration = Duration::from_secs(1);

/// What the application asks.
pub(crate) enum Request {
    /// Publish a track.
    Publish { track: LocalTrack, reply: oneshot::Sender<Result<Publication, PublishError>> },
    /// Subscribe to tracks, or do not any more.
    Subscribe { tracks: Vec<String>, subscribe: bool },
    /// Send this.
    Raw(Box<Ask>),
    /// Leave; the reply says that it is done.
    Leave(oneshot::Sender<()>),
}

/// A publication that is not settled.
pub(crate) struct Pending {
    pub track: LocalTrack,
    pub publication: Publication,
    /// The server accepted the track.
    pub published: bool,
    /// Its section is negotiated.
    pub negotiated: bool,
    /// Who waits for it; nobody for those that came with the join.
    pub reply: Option<oneshot::Sender<Result<Publication, PublishError>>>,
}

/// What goes on after the join.
pub(crate) struct Driver {
    pub socket: Socket,
    pub negotiation: Negotiation,
    pub media: Thread,
    pub events: async_channel::Sender<Event>,
    pub requests: mpsc::Receiver<Request>,
    pub pending: Vec<Pending>,
    pub me: String,
}

/// The end, and who waits for it.
struct End {
    why: Ended,
    reply: Option<oneshot::Sender<()>>,
}

impl From<Ended> for End {
    fn from(why: Ended) -> Self {
        Self { why, reply: None }
    }
}

fn media_ended(reason: Option<CloseReason>) -> End {
    let why = reason.map_or("its thread ended".to_owned(), |reason| format!("{reason:?}"));
    Ended::Media(why).into()
}

impl Driver {
    /// Runs to the end of the session. `ping`: interval and timeout in seconds, as the server said.
    pub async fn run(mut self, ping: (i32, i32)) {
        let End { why, reply } = self.serve(ping).await;
        if why == Ended::Left {
            let leave = proto::LeaveRequest {
                reason: proto::DisconnectReason::ClientInitiated as i32,
                action: proto::leave_request::Action::Disconnect as i32,
                ..proto::LeaveRequest::default()
            };
            self.socket.send(Ask::Leave(leave)).await;
        }
        for pending in self.pending.drain(..) {
            pending.finish(Err(PublishError::Ended));
        }
        // Ends the thread, which says goodbye on the media connection.
        drop(self.media);
        // When the queue is full of unread events, its end is told by its closing.
        let _ = self.events.try_send(Event::Ended(why));
        self.events.close();
        self.socket.close().await;
        if let Some(reply) = reply {
            let _ = reply.send(());
        }
    }

    async fn serve(&mut self, ping: (i32, i32)) -> End {
        let seconds = |seconds: i32, default| {
            u64::try_from(seconds).ok().filter(|seconds| *seconds > 0).map_or(default, Duration::from_secs)
        };
        let silence = seconds(ping.1, SILENCE);
        let mut ping = interval(seconds(ping.0, PING));
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        let mut goodbye: Option<Instant> = None;
        loop {
            let done = tokio::select! {
                incoming = self.socket.next() => {
                    heard = Instant::now();
                    match incoming {
                        Incoming::Message(Some(message)) => self.message(*message).await,
                        Incoming::Message(None) | Incoming::Alive => None,
                        Incoming::Closed(how) => Some(Ended::Signal(how).into()),
                    }
                }
                request = self.requests.recv() => match request {
                    Some(request) => self.request(request).await,
                    // Whoever drops the room leaves it.
                    None => Some(Ended::Left.into()),
                },
                reason = &mut self.media.ended, if goodbye.is_none() => match reason {
                    // The server closed it; its Leave, which says why, may still be on its way.
                    Ok(CloseReason::Remote) => {
                        goodbye = Some(Instant::now() + GOODBYE);
                        None
                    }
                    reason => Some(media_ended(reason.ok())),
                },
                () = sleep_until(goodbye.unwrap_or(heard)), if goodbye.is_some() => {
                    Some(media_ended(Some(CloseReason::Remote)))
                }
                _ = ping.tick() => self.ping().await,
                () = sleep_until(heard + silence) => Some(Ended::Signal("the server is silent".to_owned()).into()),
            };
            if let Some(end) = done {
                return end;
            }
        }
    }

    async fn ping(&mut self) -> Option<End> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let timestamp = now.as_millis() as i64;
        self.send(Ask::PingReq(proto::Ping { timestamp, rtt: 0 })).await
    }

    async fn send(&mut self, ask: Ask) -> Option<End> {
        let sent = self.socket.send(ask).await;
        (!sent).then(|| Ended::Signal("it does not take messages".to_owned()).into())
    }

    /// Sends the offer that is due, if one is.
    async fn negotiate(&mut self) -> Option<End> {
        let offer = self.negotiation.offer()?;
        self.send(Ask::Offer(offer)).await
    }

    async fn request(&mut self, request: Request) -> Option<End> {
        match request {
            Request::Publish { track, reply } => self.publish(track, reply).await,
            Request::Subscribe { tracks, subscribe } => {
                let update =
                    proto::UpdateSubscription { track_sids: tracks, subscribe, ..Default::default() };
                self.send(Ask::Subscription(update)).await
            }
            Request::Raw(ask) => self.send(*ask).await,
            Request::Leave(reply) => Some(End { why: Ended::Left, reply: Some(reply) }),
        }
    }

    async fn publish(
        &mut self,
        track: LocalTrack,
        reply: oneshot::Sender<Result<Publication, PublishError>>,
    ) -> Option<End> {
        let uplink = Uplink::random(track.kind);
        let cid = uplink.cid.clone();
        let Some(mid) = self.negotiation.add_uplink(uplink) else {
            let _ = reply.send(Err(PublishError::Refused("there is no room for another track".to_owned())));
            return None;
        };
        let add = join::add_track(&track, &cid);
        let publication = Publication::new(mid, cid, track.kind, self.media.sender.clone());
        self.pending.push(Pending {
            track,
            publication,
            published: false,
            negotiated: false,
            reply: Some(reply),
        });
        match self.send(Ask::AddTrack(add)).await {
            None => self.negotiate().await,
            end => end,
        }
    }

    async fn message(&mut self, message: Message) -> Option<End> {
        match message {
            Message::Answer(answer) => self.answer(&answer).await,
            Message::MediaSectionsRequirement(more) => {
                self.negotiation.add_receivers(more.num_audios as usize, more.num_videos as usize);
                self.negotiate().await
            }
            Message::Update(update) => {
                self.participants(&update.participants);
                None
            }
            Message::TrackPublished(published) => {
                self.track_published(published);
                None
            }
            Message::RequestResponse(response) => {
                self.refused(response);
                None
            }
            Message::Trickle(trickle) => {
                self.candidate(&trickle);
                None
            }
            Message::Leave(leave) => Some(Ended::ByServer(leave.reason().as_str_name().to_owned()).into()),
            // Layers, speakers, quality, permissions, pongs: nothing here depends on them.
            _ => None,
        }
    }

    async fn answer(&mut self, answer: &proto::SessionDescription) -> Option<End> {
        let agreed = match self.negotiation.answer(answer) {
            Ok(Some(agreed)) => agreed,
            Ok(None) => return None,
            Err(error) => return Some(Ended::Media(format!("the answer cannot be read: {error}")).into()),
        };
        for pending in &mut self.pending {
            pending.negotiated |= agreed.cids.values().any(|cid| *cid == pending.publication.cid);
        }
        self.media.sender.send(Command::Agreed(Box::new(agreed)));
        self.settle();
        self.negotiate().await
    }

    fn track_published(&mut self, published: proto::TrackPublishedResponse) {
        let sid = published.track.map(|track| track.sid).unwrap_or_default();
        for pending in self.pending.iter_mut().filter(|pending| *pending.publication.cid == *published.cid) {
            pending.published = true;
            pending.publication.set_sid(&sid);
        }
        self.settle();
    }

    /// Tells those who wait about publications that are settled.
    fn settle(&mut self) {
        let (settled, waiting) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|pending: &Pending| pending.published && pending.negotiated);
        self.pending = waiting;
        for pending in settled {
            let publication = pending.publication.clone();
            pending.finish(Ok(publication));
        }
    }

    fn refused(&mut self, response: proto::RequestResponse) {
        let Some(Echo::AddTrack(request)) = &response.request else { return };
        // A track that is queued has its turn later.
        if matches!(response.reason(), Reason::Ok | Reason::Queued) {
            return;
        }
        let is = |pending: &Pending| *pending.publication.cid == *request.cid;
        let Some(index) = self.pending.iter().position(is) else { return };
        let pending = self.pending.remove(index);
        let reason = format!("{} {}", response.reason().as_str_name(), response.message);
        if pending.reply.is_none() {
            let name = pending.track.name.clone();
            let _ = self.events.try_send(Event::PublishRefused { name, reason: reason.clone() });
        }
        pending.finish(Err(PublishError::Refused(reason)));
    }

    fn participants(&mut self, participants: &[proto::ParticipantInfo]) {
        for info in participants.iter().filter(|info| info.sid != self.me) {
            let event = if info.state() == proto::participant_info::State::Disconnected {
                Event::ParticipantLeft { identity: info.identity.clone() }
            } else {
                Event::Participant(Participant::from_proto(info))
            };
            let _ = self.events.try_send(event);
        }
    }

    /// Servers that do not put their candidates into the answer send them one by one.
    fn candidate(&self, trickle: &proto::TrickleRequest) {
        let init: Option<serde_json::Value> = serde_json::from_str(&trickle.candidate_init).ok();
        let text = init.as_ref().and_then(|init| init.get("candidate")).and_then(|text| text.as_str());
        if let Some(address) = text.and_then(sdp::parse_candidate) {
            self.media.sender.send(Command::Candidate(address));
        }
    }
}

impl Pending {
    fn finish(self, outcome: Result<Publication, PublishError>) {
        if let Some(reply) = self.reply {
            // Whoever asked may have stopped waiting.
            let _ = reply.send(outcome);
        }
    }
}

impl Uplink {
    /// A track with random ids.
    pub fn random(kind: base::MediaKind) -> Self {
        let random: [u32; 2] = rand::random();
        // Two numbers that differ, neither of them 0, which stands for "unknown" in several places.
        let ssrc = random[0] | 1;
        let rtx_ssrc = random[1] | 1;
        let rtx_ssrc = if rtx_ssrc == ssrc { ssrc ^ 2 } else { rtx_ssrc };
        let cid: Arc<str> = format!("{:016x}", rand::random::<u64>()).into();
        Self { cid, kind, ssrc, rtx_ssrc }
    }
}
