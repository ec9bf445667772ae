//! Coming back: resuming a session on a new signal socket with an ICE restart, or joining again.

use std::time::{Duration, Instant};

use livekit_protocol as proto;
use livekit_protocol::leave_request::Action;
use livekit_protocol::signal_request::Message as Ask;
use livekit_protocol::signal_response::Message;
use proto::ReconnectReason;
use rtc::CloseReason;
use tokio::time::{sleep, timeout};

use crate::driver::{Place, Rising, Session, wanted};
use crate::endpoint;
use crate::error::ConnectError;
use crate::event::{Ended, Event};
use crate::join;
use crate::media::Command;
use crate::room::{self, Begun};
use crate::socket::{self, Dialled, Incoming, Socket};

/// Before each attempt, in milliseconds; after the last one it is given up. What LiveKit's clients do.
const DELAYS_MS: [u64; 10] = [0, 300, 1_200, 2_700, 4_800, 7_000, 7_000, 7_000, 7_000, 7_000];
/// From the second attempt on up to so much is added by chance, so that not all clients of a server come at once.
const JITTER_MS: u64 = 1_000;

/// What broke, and what it takes.
pub(crate) struct Broken {
    /// What the session's end says if it cannot be mended.
    pub why: Ended,
    /// Only by joining again.
    full: bool,
    /// Media needs another socket.
    fresh: bool,
    reason: ReconnectReason,
}

impl Broken {
    /// The signal connection.
    pub fn signal(why: Ended) -> Self {
        Self { why, full: false, fresh: false, reason: ReconnectReason::RrSignalDisconnected }
    }

    /// The path on which media goes.
    pub fn path() -> Self {
        let why = Ended::Media("nothing comes any more".to_owned());
        Self { why, full: false, fresh: true, reason: ReconnectReason::RrPublisherFailed }
    }

    /// The connection that carries media is over.
    pub fn media(reason: CloseReason) -> Self {
        let why = Ended::Media(format!("{reason:?}"));
        Self { why, full: true, fresh: true, reason: ReconnectReason::RrPublisherFailed }
    }

    /// The server has given up the session.
    pub fn session(why: Ended) -> Self {
        Self { why, full: true, fresh: true, reason: ReconnectReason::RrUnknown }
    }
}

/// Why an attempt failed.
enum Failed {
    /// Another one may succeed.
    Again,
    /// The session is gone: only joining again helps.
    Gone,
    /// No attempt will succeed.
    ForGood(Ended),
}

impl Session {
    /// Comes back.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn reconnect(&mut self, broken: Broken) -> Result<(), Ended> {
        let mut full = broken.full || matches!(self.rising, Rising::Rejoined);
        // When the queue is full nobody is reading.
        let _ = self.events.try_send(Event::Reconnecting { full, why: broken.why.clone() });
        loop {
            let Some(delay) = DELAYS_MS.get(self.attempts) else { return Err(broken.why) };
            let jitter = if self.attempts > 1 { rand::random_range(0..JITTER_MS) } else { 0 };
            self.attempts += 1;
            sleep(Duration::from_millis(delay + jitter)).await;
            let limit = self.place.options.timeout;
            let attempt = async {
                match full {
                    true => self.rejoin().await,
                    false => self.resume(&broken).await,
                }
            };
            match timeout(limit, attempt).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(Failed::ForGood(why))) => return Err(why),
                Ok(Err(Failed::Gone)) if !full => {
                    full = true;
                    let why = broken.why.clone();
                    let _ = self.events.try_send(Event::Reconnecting { full, why });
                }
                Ok(Err(_)) | Err(_) => {}
            }
        }
    }

    /// The same session on another socket; media goes on, on its old path until the new one is there.
    async fn resume(&mut self, broken: &Broken) -> Result<(), Failed> {
        let options = &self.place.options;
        let dialled = socket::dial(&self.place.url).await.map_err(failed)?;
        let local = options.ip.unwrap_or(dialled.local);
        let request = join::resume(options.auto_subscribe, self.known.sid(), broken.reason);
        let mut socket = open(&self.place, dialled, &request).await?;
        let response = resumed(&mut socket).await?;
        self.replace_socket(socket);
        let moved = self.negotiation.candidate().is_none_or(|candidate| candidate.ip() != local);
        let fresh =
            if broken.fresh || moved { Some(room::bind_socket(local).map_err(failed)?) } else { None };
        let candidate = fresh.as_ref().map(udp::Socket::local_addr).or(self.negotiation.candidate());
        let seed = rand::random();
        let credentials = endpoint::credentials(seed);
        let ice = sdp::Ice { ufrag: credentials.ufrag, password: credentials.password };
        let sync = self.sync_state();
        self.negotiation.restart(ice, candidate);
        self.generation += 1;
        let restart = Command::Restart { generation: self.generation, seed, socket: fresh };
        self.media.sender.send_surely(restart).await;
        self.media.sender.send_surely(Command::Replay(response.last_message_seq)).await;
        self.rising = Rising::Resumed;
        let offer = self.negotiation.offer().expect("after a restart an offer is due");
        for ask in [Ask::SyncState(sync), Ask::Offer(offer)] {
            if !self.socket.send(ask).await {
                return Err(Failed::Again);
            }
        }
        self.ask_again().await
    }

    /// A new session, in which we publish and subscribe what we did in the old one.
    async fn rejoin(&mut self) -> Result<(), Failed> {
        let dialled = socket::dial(&self.place.url).await.map_err(failed)?;
        let local = self.place.options.ip.unwrap_or(dialled.local);
        self.generation += 1;
        let Begun { replacement, mut negotiation, ready } =
            room::begin(&self.place.options, local, self.generation).map_err(failed)?;
        for upload in &mut self.uploads {
            (upload.info, upload.negotiated) = (None, false);
            negotiation.add_uplink(upload.uplink.clone());
        }
        negotiation.add_receivers(self.place.options.receive.0, self.place.options.receive.1);
        let offer = negotiation.offer().expect("the first offer is always due");
        let uploads = self.uploads.iter();
        let tracks = uploads.map(|upload| join::add_track(&upload.track, upload.publication.cid())).collect();
        let request = join::request(self.place.options.auto_subscribe, tracks, offer);
        let mut socket = open(&self.place, dialled, &request).await?;
        let join = room::joined(&mut socket).await.map_err(failed)?;
        self.replace_socket(socket);
        self.negotiation = negotiation;
        self.media.sender.send_surely(Command::Replace(Box::new(replacement))).await;
        self.ready = Some(ready);
        self.rising = Rising::Rejoined;
        self.ping = (join.ping_interval, join.ping_timeout);
        for event in self.known.joined(&join) {
            let _ = self.events.try_send(event);
        }
        for subscribe in [true, false] {
            let tracks = self.asked_for(subscribe);
            let update = proto::UpdateSubscription { track_sids: tracks, subscribe, ..Default::default() };
            if !update.track_sids.is_empty() && !self.socket.send(Ask::Subscription(update)).await {
                return Err(Failed::Again);
            }
        }
        for (track, settings) in self.settings.clone() {
            if !self.socket.send(Ask::TrackSetting(wanted(vec![track], settings))).await {
                return Err(Failed::Again);
            }
        }
        Ok(())
    }

    /// Tracks of ours that the server had not answered when the connection broke: the request may be lost.
    async fn ask_again(&mut self) -> Result<(), Failed> {
        for upload in self.uploads.iter().filter(|upload| upload.info.is_none()) {
            let add = join::add_track(&upload.track, upload.publication.cid());
            if !self.socket.send(Ask::AddTrack(add)).await {
                return Err(Failed::Again);
            }
        }
        Ok(())
    }

    /// The old one is dead as a rule, and its last words are not waited for.
    fn replace_socket(&mut self, socket: Socket) {
        tokio::spawn(std::mem::replace(&mut self.socket, socket).close());
    }

    /// The tracks that were asked for by name, or asked not to come.
    fn asked_for(&self, subscribe: bool) -> Vec<String> {
        let named = self.subscriptions.iter().filter(|(_, wanted)| **wanted == subscribe);
        named.map(|(track, _)| track.clone()).collect()
    }

    /// What the server has to know of us to go on.
    fn sync_state(&self) -> proto::SyncState {
        let exceptions = !self.place.options.auto_subscribe;
        let published = self.uploads.iter().filter_map(|upload| {
            let track = Some(upload.info.clone()?);
            Some(proto::TrackPublishedResponse { cid: upload.publication.cid().to_owned(), track })
        });
        let disabled = self.settings.iter().filter(|(_, settings)| settings.disabled);
        let (answer, offer) = self.negotiation.settled();
        proto::SyncState {
            offer,
            answer,
            // With auto_subscribe those that we do not want, without it those that we do.
            subscription: Some(proto::UpdateSubscription {
                track_sids: self.asked_for(exceptions),
                subscribe: exceptions,
                ..Default::default()
            }),
            publish_tracks: published.collect(),
            track_sids_disabled: disabled.map(|(track, _)| track.clone()).collect(),
            datachannel_receive_states: self.known.received(),
            ..Default::default()
        }
    }
}

async fn open(place: &Place, dialled: Dialled, request: &str) -> Result<Socket, Failed> {
    let secured = dialled.secure(&place.options.trust).await.map_err(failed)?;
    secured.open(&place.token, request).await.map_err(failed)
}

/// The first message is a ReconnectResponse, or a Leave; what else is there is of the old socket.
async fn resumed(socket: &mut Socket) -> Result<proto::ReconnectResponse, Failed> {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(5) {
        match socket.next().await {
            Incoming::Message(Some(message)) => match *message {
                Message::Reconnect(response) => return Ok(response),
                Message::Leave(leave) if leave.action() == Action::Disconnect && !leave.can_reconnect => {
                    return Err(Failed::ForGood(Ended::ByServer(leave.reason().as_str_name().to_owned())));
                }
                Message::Leave(_) => return Err(Failed::Gone),
                _ => {}
            },
            Incoming::Message(None) | Incoming::Alive => {}
            Incoming::Closed(_) => return Err(Failed::Again),
        }
    }
    Err(Failed::Again)
}

fn failed(error: ConnectError) -> Failed {
    match error {
        // The token is no longer good; the same one will not be better.
        ConnectError::Refused { status: status @ (400 | 401 | 403), text } => {
            Failed::ForGood(Ended::ByServer(format!("it refuses us ({status}): {text}")))
        }
        ConnectError::Refused { status: 404, .. } => Failed::Gone,
        ConnectError::Ended(Ended::ByServer(why)) => Failed::ForGood(Ended::ByServer(why)),
        _ => Failed::Again,
    }
}
