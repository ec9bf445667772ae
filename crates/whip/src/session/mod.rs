//! One session as a value: events of the control plane, PATCH requests and time in, requests to the control plane out. No IO,
//! no clock of its own.
//!
//! Whoever drives it performs its requests after every call and calls [`Session::handle_timeout`] when
//! [`Session::poll_timeout`] has passed.

mod layers;
mod offer;
mod play;
mod publish;
#[cfg(test)]
mod tests;

use std::time::Instant;

use base::model::{LeaveReason, Notice, Participant};
use base::{MediaKind, Mid, PeerId};
use contract::media::{DtlsRole, Event as MediaEvent, IceCredentials, PeerEnd, WorkerInfo};
use contract::session::{Event, Request, Session as RoomHandle};
use rand::Rng;
use rand::rngs::StdRng;
use sdp::{Document, Fragment, Ice, Role, Transport, write_fragment};

use crate::Protocol;
use crate::precondition::{self, Match};
use crate::refusal::Refusal;

pub(crate) use layers::Choice;
pub(crate) use offer::Offer;
pub(crate) use play::News;
use play::Playing;
use publish::Publishing;

/// The session is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// The room said so.
    Room,
    /// Media never came up, or ended; the room is told why.
    Media(LeaveReason),
}

/// What a PATCH led to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Patched {
    /// Its candidates were taken note of. An ICE-lite agent has no use for them.
    Trickled,
    /// ICE was restarted: the new entity-tag, without its quotes, and our end of the transport.
    Restarted { etag: String, fragment: String },
}

/// The session.
#[derive(Debug)]
pub(crate) struct Session {
    offer: Offer,
    worker: WorkerInfo,
    peer: PeerId,
    local: Ice,
    remote: Ice,
    /// Identifies the ICE session.
    etag: String,
    restarted: bool,
    /// The connection is made; until then tracks are only noted.
    begun: bool,
    media: Media,
    rng: StdRng,
    requests: Vec<Request>,
    end: Option<End>,
    /// On the way into another room: the requests that wait until it is there.
    waiting: Option<Vec<Request>>,
    /// Where requests go from now on.
    room: Option<RoomHandle>,
    /// Media must be up by then; `None` when it is.
    media_deadline: Option<Instant>,
}

#[derive(Debug)]
enum Media {
    Publishing(Publishing),
    Playing(Playing),
}

impl Session {
    /// A session of a participant that has just joined. Events that are there already may be given before [`Self::begin`].
    pub fn new(
        protocol: Protocol,
        offer: Offer,
        me: &Participant,
        worker: WorkerInfo,
        media_deadline: Instant,
        mut rng: StdRng,
    ) -> Self {
        let media = match protocol {
            Protocol::Whip => Media::Publishing(Publishing::new(&offer, &me.permissions)),
            Protocol::Whep => Media::Playing(Playing::new(&offer)),
        };
        Self {
            remote: offer.remote.clone(),
            offer,
            worker,
            peer: PeerId(rng.random()),
            local: Ice::from_random(rng.random()),
            etag: tag(&mut rng),
            restarted: false,
            begun: false,
            media,
            rng,
            requests: Vec::new(),
            end: None,
            waiting: None,
            room: None,
            media_deadline: Some(media_deadline),
        }
    }

    /// Makes the connection, and asks for the tracks that are published or takes those that are played.
    pub fn begin(&mut self) {
        self.begun = true;
        let local = credentials(&self.local);
        self.requests.push(Request::AddPeer { peer: self.peer, local, channels: Vec::new(), primary: true });
        self.set_remote();
        match &mut self.media {
            Media::Publishing(publishing) => self.requests.extend(publishing.publish()),
            Media::Playing(playing) => {
                playing.assign(&mut self.rng);
                self.set_sections();
            }
        }
    }

    /// The room that the participant was moved to: requests go there.
    pub fn take_room(&mut self) -> Option<RoomHandle> {
        self.room.take()
    }

    /// What is to be done now. Leaves nothing behind, unless it is between two rooms.
    pub fn take_requests(&mut self) -> Vec<Request> {
        let requests = std::mem::take(&mut self.requests);
        match &mut self.waiting {
            // A client asks for little: each PATCH for one thing.
            Some(waiting) if !requests.is_empty() => {
                let on_the_way = requests.iter().position(|request| matches!(request, Request::MoveOn));
                let mut requests = requests;
                waiting.extend(requests.split_off(on_the_way.map_or(0, |at| at + 1)));
                requests
            }
            _ => requests,
        }
    }

    /// Set when the session is over.
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// Can the offer be answered? `None`: not yet.
    pub fn outcome(&self) -> Option<Result<(), Refusal>> {
        match &self.media {
            Media::Playing(_) => Some(Ok(())),
            Media::Publishing(publishing) if publishing.is_answered() => {
                Some(publishing.refused().map_or(Ok(()), Err))
            }
            Media::Publishing(_) => None,
        }
    }

    /// The answer.
    pub fn answer(&mut self) -> String {
        let sections = match &self.media {
            Media::Publishing(publishing) => publishing.answer(&self.offer),
            Media::Playing(playing) => playing.answer(&self.offer),
        };
        let document = Document {
            role: Role::Answer,
            session_id: self.rng.random(),
            version: 1,
            extmap_allow_mixed: self.offer.description.extmap_allow_mixed,
            transport: Transport {
                ice: self.local.clone(),
                fingerprint: self.worker.fingerprint.0,
                candidates: self.worker.candidates.clone(),
            },
            sections,
        };
        document.write()
    }

    /// The entity-tag of the ICE session, without its quotes.
    pub fn etag(&self) -> &str {
        &self.etag
    }

    /// One event of the control plane.
    pub fn event(&mut self, event: Event) {
        match event {
            Event::Notice(notice) => self.notice(notice),
            Event::Published { cid, outcome } => {
                if let Media::Publishing(publishing) = &mut self.media {
                    publishing.published(&cid, outcome);
                    self.announce();
                }
            }
            // What it publishes or plays is another room's from then on; the client need not know.
            Event::Moving { .. } => {
                self.requests.push(Request::MoveOn);
                self.waiting = Some(Vec::new());
            }
            Event::Moved(moved) => {
                self.room = Some(moved.session);
                self.requests.splice(0..0, self.waiting.take().unwrap_or_default());
            }
            Event::Media(MediaEvent::Connected { peer, .. }) if peer == self.peer => {
                self.media_deadline = None
            }
            Event::Media(MediaEvent::Interrupted { peer }) if peer == self.peer => {
                self.finish(End::Media(LeaveReason::ConnectionTimeout));
            }
            Event::Media(MediaEvent::Closed { peer, end, .. }) if peer == self.peer => {
                self.finish(End::Media(reason(end)));
            }
            // There is no way to tell a client of the others, of speakers, or of what is wanted of it.
            _ => {}
        }
    }

    /// The room is gone without a word.
    pub fn room_gone(&mut self) {
        self.finish(End::Room);
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.media_deadline
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.media_deadline.is_some_and(|deadline| deadline <= now) {
            self.media_deadline = None;
            self.finish(End::Media(LeaveReason::JoinFailure));
        }
    }

    /// A PATCH: candidates, or a restart of ICE when its credentials are others than before.
    ///
    /// # Errors
    /// 428 and 412 when it is not for the ICE session as it is.
    pub fn patch(&mut self, if_match: Option<&str>, fragment: Fragment) -> Result<Patched, Refusal> {
        let matched = precondition::check(if_match, &self.etag)?;
        match fragment.ice {
            Some(ice) if ice != self.remote => Ok(self.restart(ice)),
            // The answer to the restart was lost, and the client asks again.
            Some(_) if matched == Match::Any && self.restarted => Ok(self.told()),
            _ => Ok(Patched::Trickled),
        }
    }

    /// A player chooses a layer.
    ///
    /// # Errors
    /// See [`Playing::choose`]; 404 when nothing is played here.
    pub fn choose(&mut self, choice: Choice) -> Result<(), Refusal> {
        let Media::Playing(playing) = &mut self.media else { return Err(Refusal::no_session()) };
        self.requests.extend(playing.choose(choice)?);
        Ok(())
    }

    /// What a player is told.
    pub fn news(&self) -> News {
        match &self.media {
            Media::Playing(playing) => playing.news(),
            Media::Publishing(_) => News::default(),
        }
    }

    fn restart(&mut self, remote: Ice) -> Patched {
        self.remote = remote;
        self.local = Ice::from_random(self.rng.random());
        self.etag = tag(&mut self.rng);
        self.restarted = true;
        self.requests.push(Request::RestartIce { peer: self.peer, local: credentials(&self.local) });
        self.set_remote();
        self.told()
    }

    /// What the client is to know of the ICE session as it is.
    fn told(&self) -> Patched {
        let bundle: Vec<Mid> = self.offer.lines.iter().map(|line| line.mid).collect();
        let kind = self.offer.lines.first().map_or(MediaKind::Audio, |line| line.kind);
        let fragment = write_fragment(&self.local, &self.worker.candidates, &bundle, kind);
        Patched::Restarted { etag: self.etag.clone(), fragment }
    }

    fn notice(&mut self, notice: Notice) {
        match notice {
            Notice::Closed(_) => self.finish(End::Room),
            Notice::Subscribe { publisher, track } => {
                if let Media::Playing(playing) = &mut self.media {
                    playing.subscribe(track, publisher.id);
                    self.assign();
                }
            }
            Notice::Unsubscribe { track } => {
                if let Media::Playing(playing) = &mut self.media
                    && playing.unsubscribe(track)
                {
                    // The freed section stops at once, before another track takes it.
                    self.set_sections();
                    self.assign();
                }
            }
            Notice::EncodingsChanged { track } => {
                if let Media::Playing(playing) = &mut self.media
                    && playing.encodings_changed(track)
                {
                    let needed = playing.need_backup();
                    self.set_sections();
                    self.requests.extend(needed);
                }
            }
            Notice::TrackRemoved { track } => {
                if let Media::Publishing(publishing) = &mut self.media
                    && publishing.removed(track)
                {
                    self.set_sections();
                }
            }
            Notice::MuteRequested { track, muted } => {
                // The client cannot be asked. It has not muted itself either, which is why unmuting opens nothing that it closed.
                self.requests.push(Request::Mute { track, muted });
            }
            _ => {}
        }
    }

    /// Announces the tracks when the room has accepted all of them.
    fn announce(&mut self) {
        let Media::Publishing(publishing) = &self.media else { return };
        if publishing.is_answered() && publishing.refused().is_none() {
            let announcements: Vec<Request> = publishing.announce().collect();
            self.set_sections();
            self.requests.extend(announcements);
        }
    }

    /// Plays what has come, once the connection is known to the worker.
    fn assign(&mut self) {
        let Media::Playing(playing) = &mut self.media else { return };
        if self.begun && playing.assign(&mut self.rng) {
            let mut then: Vec<Request> = playing.wanted().collect();
            then.extend(playing.need_backup());
            self.set_sections();
            self.requests.extend(then);
        }
    }

    fn set_sections(&mut self) {
        let sections = match &self.media {
            Media::Publishing(publishing) => publishing.sections(),
            Media::Playing(playing) => playing.sections(),
        };
        self.requests.push(Request::SetSections { peer: self.peer, sections });
    }

    fn set_remote(&mut self) {
        self.requests.push(Request::SetRemote {
            peer: self.peer,
            remote: credentials(&self.remote),
            fingerprint: self.offer.fingerprint,
            role: DtlsRole::Server,
        });
    }

    /// The first end holds.
    fn finish(&mut self, end: End) {
        self.end.get_or_insert(end);
    }
}

fn credentials(ice: &Ice) -> IceCredentials {
    IceCredentials { ufrag: ice.ufrag.clone(), password: ice.password.clone() }
}

fn tag(rng: &mut StdRng) -> String {
    format!("{:016x}", rng.random::<u64>())
}

fn reason(end: PeerEnd) -> LeaveReason {
    match end {
        PeerEnd::ClosedByRemote => LeaveReason::ClientInitiated,
        PeerEnd::IceTimeout => LeaveReason::ConnectionTimeout,
        PeerEnd::DtlsFailed | PeerEnd::SctpFailed | PeerEnd::Panicked => LeaveReason::MediaFailure,
    }
}
