//! The task behind a room: what the server says, what the application asks, pings.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use livekit_protocol as proto;
use livekit_protocol::leave_request::Action;
use livekit_protocol::request_response::{Reason, Request as Echo};
use livekit_protocol::signal_request::Message as Ask;
use livekit_protocol::signal_response::Message;
use rtc::CloseReason;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::error::PublishError;
use crate::event::{Ended, Event};
use crate::join;
use crate::known::Known;
use crate::media::{Command, Thread, Told};
use crate::negotiation::{Negotiation, Uplink};
use crate::options::{LocalTrack, Options, TrackSettings};
use crate::publication::Publication;
use crate::reconnect::Broken;
use crate::socket::{Incoming, Socket};

/// How often we ping when the server does not say.
const PING: Duration = Duration::from_secs(5);
/// How long the server may be silent when it does not say.
const SILENCE: Duration = Duration::from_secs(15);
/// How long the Leave may take after the server has closed the media connection.
const GOODBYE: Duration = Duration::from_secs(1);
/// Tracks that were asked for by name, from which on those that are gone are forgotten.
const MAX_ASKED: usize = 256;
/// Requests that wait until a connection is back; further ones wait in the channel.
const MAX_HELD: usize = 64;

/// What the application asks.
pub(crate) enum Request {
    /// Publish a track.
    Publish { track: Box<LocalTrack>, reply: oneshot::Sender<Result<Publication, PublishError>> },
    /// End a publication.
    Unpublish { cid: Arc<str> },
    /// Mute a publication, or unmute it.
    Mute { cid: Arc<str>, muted: bool },
    /// Subscribe to tracks, or do not any more.
    Subscribe { tracks: Vec<String>, subscribe: bool },
    /// What is wanted of tracks.
    Settings { tracks: Vec<String>, settings: TrackSettings },
    /// The network has changed.
    Reconnect,
    /// Send this.
    Raw(Box<Ask>),
    /// Leave; the reply says that it is done.
    Leave(oneshot::Sender<()>),
}

/// A track of ours.
pub(crate) struct Upload {
    pub track: LocalTrack,
    pub uplink: Uplink,
    pub publication: Publication,
    /// What the server says of it, once it has accepted it.
    pub info: Option<proto::TrackInfo>,
    /// Its section is negotiated.
    pub negotiated: bool,
    /// Who waits for both; nobody for those that came with the join.
    pub reply: Option<oneshot::Sender<Result<Publication, PublishError>>>,
}

/// Where to come back to.
pub(crate) struct Place {
    pub url: String,
    /// The latest that the server gave us.
    pub token: String,
    pub options: Options,
}

/// Who is told when the connection is up.
pub(crate) enum Rising {
    /// Nobody: it is.
    Up,
    /// It begins with the first connection, for which `connect` waits.
    First(oneshot::Sender<()>),
    /// It was resumed, and the answer to our offer ends that.
    Resumed,
    /// It began anew.
    Rejoined,
}

/// A connection, and what has to survive it.
pub(crate) struct Session {
    pub place: Place,
    pub socket: Socket,
    pub negotiation: Negotiation,
    pub media: Thread,
    /// Counts connections and ICE restarts.
    pub generation: u32,
    pub events: async_channel::Sender<Event>,
    pub known: Arc<Known>,
    pub uploads: Vec<Upload>,
    /// What was asked for by name, by track.
    pub subscriptions: BTreeMap<String, bool>,
    pub settings: BTreeMap<String, TrackSettings>,
    pub rising: Rising,
    /// Fires when media and both data channels are up.
    pub ready: Option<oneshot::Receiver<()>>,
    /// Attempts to reconnect since the connection was up last.
    pub attempts: usize,
    /// Interval and timeout of pings in seconds, as the server said.
    pub ping: (i32, i32),
}

/// The task.
pub(crate) struct Driver {
    pub session: Session,
    pub requests: mpsc::Receiver<Request>,
    /// For publications that are made on the way.
    pub sender: mpsc::WeakSender<Request>,
    /// Requests that came while there was no connection.
    pub held: VecDeque<Request>,
}

/// Why serving stops.
enum Stop {
    /// For good; and who waits for that.
    End(Ended, Option<oneshot::Sender<()>>),
    /// The connection is to be made anew.
    Broken(Broken),
}

impl Stop {
    fn signal(why: &str) -> Option<Self> {
        Some(Self::Broken(Broken::signal(Ended::Signal(why.to_owned()))))
    }
}

impl Driver {
    /// Runs to the end of the session.
    pub async fn run(mut self) {
        let (why, reply) = loop {
            let broken = match self.serve().await {
                Stop::End(why, reply) => break (why, reply),
                Stop::Broken(broken) => broken,
            };
            if !self.session.place.options.reconnect || matches!(self.session.rising, Rising::First(_)) {
                break (broken.why, None);
            }
            if let Err(end) = self.come_back(broken).await {
                break end;
            }
        };
        self.session.end(why).await;
        if let Some(reply) = reply {
            // Whoever asked may have stopped waiting.
            let _ = reply.send(());
        }
    }

    /// Reconnects; meanwhile requests wait, but for leaving.
    async fn come_back(&mut self, broken: Broken) -> Result<(), (Ended, Option<oneshot::Sender<()>>)> {
        let Self { session, requests, held, .. } = self;
        let mut reconnecting = Box::pin(session.reconnect(broken));
        loop {
            tokio::select! {
                outcome = &mut reconnecting => return outcome.map_err(|why| (why, None)),
                request = requests.recv(), if held.len() < MAX_HELD => match request {
                    Some(Request::Leave(reply)) => return Err((Ended::Left, Some(reply))),
                    Some(request) => held.push_back(request),
                    None => return Err((Ended::Left, None)),
                }
            }
        }
    }

    async fn serve(&mut self) -> Stop {
        let seconds = |seconds: i32, default| {
            u64::try_from(seconds).ok().filter(|seconds| *seconds > 0).map_or(default, Duration::from_secs)
        };
        let silence = seconds(self.session.ping.1, SILENCE);
        let mut ping = interval(seconds(self.session.ping.0, PING));
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        let mut goodbye: Option<Instant> = None;
        while let Some(request) = self.held.pop_front() {
            if let Some(stop) = self.request(request).await {
                return stop;
            }
        }
        loop {
            let session = &mut self.session;
            let stop = tokio::select! {
                incoming = session.socket.next() => {
                    heard = Instant::now();
                    match incoming {
                        Incoming::Message(Some(message)) => session.message(*message).await,
                        Incoming::Message(None) | Incoming::Alive => None,
                        Incoming::Closed(how) => Stop::signal(&how),
                    }
                }
                request = self.requests.recv() => match request {
                    Some(request) => self.request(request).await,
                    // Whoever drops the room leaves it.
                    None => Some(Stop::End(Ended::Left, None)),
                },
                told = session.media.told.recv() => session.told(told, &mut goodbye),
                up = up(&mut session.ready), if session.ready.is_some() => session.risen(up),
                () = sleep_until(goodbye.unwrap_or(heard)), if goodbye.is_some() => {
                    Some(Stop::Broken(Broken::media(CloseReason::Remote)))
                }
                _ = ping.tick() => session.ping().await,
                () = sleep_until(heard + silence) => Stop::signal("the server is silent"),
            };
            if let Some(stop) = stop {
                return stop;
            }
        }
    }

    async fn request(&mut self, request: Request) -> Option<Stop> {
        let session = &mut self.session;
        match request {
            Request::Publish { track, reply } => {
                let sender = self.sender.clone();
                session.publish(*track, sender, reply).await
            }
            Request::Unpublish { cid } => session.unpublish(&cid).await,
            Request::Mute { cid, muted } => session.mute(&cid, muted).await,
            Request::Subscribe { tracks, subscribe } => {
                session.subscriptions.extend(tracks.iter().map(|track| (track.clone(), subscribe)));
                session.known.forget_gone(&mut session.subscriptions, MAX_ASKED);
                session.subscribe(tracks, subscribe).await
            }
            Request::Settings { tracks, settings } => {
                session.settings.extend(tracks.iter().map(|track| (track.clone(), settings)));
                session.known.forget_gone(&mut session.settings, MAX_ASKED);
                session.send(Ask::TrackSetting(wanted(tracks, settings))).await
            }
            Request::Reconnect => Some(Stop::Broken(Broken::path())),
            Request::Raw(ask) => session.send(*ask).await,
            Request::Leave(reply) => Some(Stop::End(Ended::Left, Some(reply))),
        }
    }
}

/// Fires with the value of the receiver that is there.
async fn up(ready: &mut Option<oneshot::Receiver<()>>) -> bool {
    match ready {
        Some(receiver) => receiver.await.is_ok(),
        None => std::future::pending().await,
    }
}

pub(crate) fn wanted(tracks: Vec<String>, settings: TrackSettings) -> proto::UpdateTrackSettings {
    proto::UpdateTrackSettings {
        track_sids: tracks,
        disabled: settings.disabled,
        quality: proto::VideoQuality::High as i32,
        width: settings.width,
        height: settings.height,
        fps: settings.fps,
        priority: 0,
    }
}

impl Session {
    async fn end(mut self, why: Ended) {
        if why == Ended::Left {
            let leave = proto::LeaveRequest {
                reason: proto::DisconnectReason::ClientInitiated as i32,
                action: Action::Disconnect as i32,
                ..proto::LeaveRequest::default()
            };
            self.socket.send(Ask::Leave(leave)).await;
        }
        for upload in &mut self.uploads {
            upload.finish(Err(PublishError::Ended));
        }
        // Ends the thread, which says goodbye on the media connection.
        drop(self.media);
        // When the queue is full of unread events, its end is told by its closing.
        let _ = self.events.try_send(Event::Ended(why));
        self.events.close();
        self.socket.close().await;
    }

    async fn ping(&mut self) -> Option<Stop> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let timestamp = now.as_millis() as i64;
        self.send(Ask::PingReq(proto::Ping { timestamp, rtt: 0 })).await
    }

    async fn send(&mut self, ask: Ask) -> Option<Stop> {
        match self.socket.send(ask).await {
            true => None,
            false => Stop::signal("it does not take messages"),
        }
    }

    fn told(&mut self, told: Option<Told>, goodbye: &mut Option<Instant>) -> Option<Stop> {
        match told {
            // The server closed it; its Leave, which says why, may still be on its way.
            Some(Told::Closed(generation, CloseReason::Remote)) if generation == self.generation => {
                *goodbye = Some(Instant::now() + GOODBYE);
                None
            }
            Some(Told::Closed(generation, reason)) if generation == self.generation => {
                Some(Stop::Broken(Broken::media(reason)))
            }
            Some(Told::Silent(generation)) if generation == self.generation => {
                Some(Stop::Broken(Broken::path()))
            }
            // Of a connection before this one.
            Some(_) => None,
            None => Some(Stop::End(Ended::Media("its thread ended".to_owned()), None)),
        }
    }

    /// Media and data channels are up, or never will be.
    fn risen(&mut self, up: bool) -> Option<Stop> {
        self.ready = None;
        if up {
            self.up();
        }
        // What ended it is told by the thread.
        None
    }

    fn up(&mut self) {
        self.attempts = 0;
        let full = match std::mem::replace(&mut self.rising, Rising::Up) {
            Rising::Up => return,
            Rising::First(tell) => {
                // Nobody waits when connecting was given up.
                let _ = tell.send(());
                return;
            }
            Rising::Resumed => false,
            Rising::Rejoined => true,
        };
        let _ = self.events.try_send(Event::Reconnected { full });
    }

    /// Sends the offer that is due, if one is.
    async fn negotiate(&mut self) -> Option<Stop> {
        let offer = self.negotiation.offer()?;
        self.send(Ask::Offer(offer)).await
    }

    async fn subscribe(&mut self, tracks: Vec<String>, subscribe: bool) -> Option<Stop> {
        let update = proto::UpdateSubscription { track_sids: tracks, subscribe, ..Default::default() };
        self.send(Ask::Subscription(update)).await
    }

    async fn publish(
        &mut self,
        track: LocalTrack,
        requests: mpsc::WeakSender<Request>,
        reply: oneshot::Sender<Result<Publication, PublishError>>,
    ) -> Option<Stop> {
        let uplink = Uplink::random(&track);
        let cid = uplink.cid.clone();
        if self.negotiation.add_uplink(uplink.clone()).is_none() {
            let _ = reply.send(Err(PublishError::Refused("there is no room for another track".to_owned())));
            return None;
        }
        let add = join::add_track(&track, &cid);
        let publication = Publication::new(cid, track.kind, self.media.sender.clone(), requests);
        let (info, negotiated, reply) = (None, false, Some(reply));
        self.uploads.push(Upload { track, uplink, publication, info, negotiated, reply });
        match self.send(Ask::AddTrack(add)).await {
            None => self.negotiate().await,
            stop => stop,
        }
    }

    async fn unpublish(&mut self, cid: &str) -> Option<Stop> {
        let index = self.uploads.iter().position(|upload| *upload.publication.cid == *cid)?;
        self.uploads.remove(index).finish(Err(PublishError::Ended));
        self.negotiation.end_uplink(cid);
        self.negotiate().await
    }

    async fn mute(&mut self, cid: &str, muted: bool) -> Option<Stop> {
        let upload = self.uploads.iter_mut().find(|upload| *upload.publication.cid == *cid)?;
        upload.track.muted = muted;
        let sid = upload.publication.sid()?.to_string();
        self.send(Ask::Mute(proto::MuteTrackRequest { sid, muted })).await
    }

    async fn message(&mut self, message: Message) -> Option<Stop> {
        match message {
            Message::Answer(answer) => return self.answer(&answer).await,
            Message::MediaSectionsRequirement(more) => {
                self.negotiation.add_receivers(more.num_audios as usize, more.num_videos as usize);
                return self.negotiate().await;
            }
            Message::Update(update) => {
                for event in update.participants.iter().filter_map(|info| self.known.update(info)) {
                    let _ = self.events.try_send(event);
                }
            }
            Message::TrackPublished(published) => return self.track_published(published).await,
            Message::RequestResponse(response) => self.refused(response),
            Message::SubscribedQualityUpdate(update) => self.layers_wanted(&update),
            Message::Mute(mute) => {
                if let Some(upload) = self.upload_of(&mute.sid) {
                    let cid = upload.publication.cid.clone();
                    let _ = self.events.try_send(Event::MuteRequested { cid, muted: mute.muted });
                }
            }
            Message::RefreshToken(token) => self.place.token = token,
            Message::Trickle(trickle) => self.candidate(&trickle),
            Message::Leave(leave) => return Some(left(&leave)),
            // Speakers, quality, permissions, pongs: nothing here depends on them.
            _ => {}
        }
        None
    }

    fn upload_of(&mut self, sid: &str) -> Option<&mut Upload> {
        self.uploads.iter_mut().find(|upload| upload.publication.sid().as_deref() == Some(sid))
    }

    async fn answer(&mut self, answer: &proto::SessionDescription) -> Option<Stop> {
        let agreed = match self.negotiation.answer(answer) {
            Ok(Some(agreed)) => agreed,
            Ok(None) => return None,
            Err(error) => {
                let why = Ended::Media(format!("the answer cannot be read: {error}"));
                return Some(Stop::End(why, None));
            }
        };
        for upload in &mut self.uploads {
            upload.negotiated |= agreed.layers.iter().any(|(cid, _)| *cid == upload.publication.cid);
        }
        self.media.sender.send_surely(Command::Agreed(Box::new(agreed))).await;
        self.settle();
        if matches!(self.rising, Rising::Resumed) {
            self.up();
        }
        self.negotiate().await
    }

    async fn track_published(&mut self, published: proto::TrackPublishedResponse) -> Option<Stop> {
        let info = published.track.unwrap_or_default();
        let mut mute = None;
        for upload in self.uploads.iter_mut().filter(|upload| *upload.publication.cid == *published.cid) {
            upload.publication.set_sid(&info.sid);
            if upload.track.muted != info.muted {
                let (sid, muted) = (info.sid.clone(), upload.track.muted);
                mute = Some(proto::MuteTrackRequest { sid, muted });
            }
            upload.info = Some(info.clone());
        }
        self.settle();
        // It was muted or unmuted before the server knew of it.
        self.send(Ask::Mute(mute?)).await
    }

    /// Tells those who wait about publications that are settled.
    fn settle(&mut self) {
        for upload in self.uploads.iter_mut().filter(|upload| upload.info.is_some() && upload.negotiated) {
            let publication = upload.publication.clone();
            upload.finish(Ok(publication));
        }
    }

    fn refused(&mut self, response: proto::RequestResponse) {
        let Some(Echo::AddTrack(request)) = &response.request else { return };
        // A track that is queued has its turn later.
        if matches!(response.reason(), Reason::Ok | Reason::Queued) {
            return;
        }
        let is = |upload: &Upload| *upload.publication.cid == *request.cid;
        let Some(index) = self.uploads.iter().position(is) else { return };
        let mut upload = self.uploads.remove(index);
        let reason = format!("{} {}", response.reason().as_str_name(), response.message);
        if upload.reply.is_none() {
            let name = upload.track.name.clone();
            let _ = self.events.try_send(Event::PublishRefused { name, reason: reason.clone() });
        }
        upload.finish(Err(PublishError::Refused(reason)));
    }

    fn layers_wanted(&mut self, update: &proto::SubscribedQualityUpdate) {
        let Some(codec) = update.subscribed_codecs.first() else { return };
        let qualities = &codec.qualities;
        let Some(upload) = self
            .uploads
            .iter()
            .find(|upload| upload.publication.sid().as_deref() == Some(update.track_sid.as_str()))
        else {
            return;
        };
        let count = upload.uplink.ssrcs.len();
        let wanted = |layer: usize| {
            qualities.iter().any(|quality| quality.enabled && (count == 1 || quality.quality == layer as i32))
        };
        let layers = (0..count).map(wanted).collect();
        let cid = upload.publication.cid.clone();
        let _ = self.events.try_send(Event::LayersWanted { cid, layers });
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

/// What a Leave of the server asks for.
fn left(leave: &proto::LeaveRequest) -> Stop {
    let why = Ended::ByServer(leave.reason().as_str_name().to_owned());
    match leave.action() {
        Action::Disconnect if !leave.can_reconnect => Stop::End(why, None),
        Action::Resume => Stop::Broken(Broken::signal(why)),
        Action::Disconnect | Action::Reconnect => Stop::Broken(Broken::session(why)),
    }
}

impl Upload {
    pub fn finish(&mut self, outcome: Result<Publication, PublishError>) {
        if let Some(reply) = self.reply.take() {
            // Whoever asked may have stopped waiting.
            let _ = reply.send(outcome);
        }
    }
}
