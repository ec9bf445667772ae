//! Two connections: the one on which we offer. One offer is outstanding at a time; what changes meanwhile goes into the
//! next one.

use std::time::Instant;

use base::{CodecKind, MediaKind, Mid};
use contract::media::Sections;
use contract::session::Request;
use livekit_protocol as proto;
use livekit_protocol::signal_response::Message;
use rand::rngs::StdRng;
use sdp::{
    Description, Direction, OutBody, OutSection, Role, choose, offered_codecs, offered_extensions,
    offered_red,
};

use crate::metrics::count;

use super::connection::Connection;
use super::downlinks::{MAX_SLOTS, Slot};
use super::uplink::{MAX_MESSAGE_SIZE, add_parameter};
use super::{ANSWER_DEADLINE, Session, channels};

/// Mid of the data section, which is always the first.
const DATA_MID: &str = "0";

/// The connection on which we offer.
#[derive(Debug)]
pub(super) struct Subscriber {
    connection: Connection,
    /// The worker knows it.
    added: bool,
    /// Id of the last offer.
    offer_id: u32,
    /// When the outstanding offer was made.
    offered_at: Option<Instant>,
    /// Something changed while an offer was outstanding.
    stale: bool,
    /// What the worker was last told.
    sections: Sections,
}

impl Subscriber {
    pub fn new(connection: Connection) -> Self {
        Self {
            connection,
            added: false,
            offer_id: 0,
            offered_at: None,
            stale: false,
            sections: Sections::default(),
        }
    }

    /// When the client must have answered.
    pub fn answer_deadline(&self) -> Option<Instant> {
        self.offered_at.map(|at| at + ANSWER_DEADLINE)
    }

    /// True, once, when that time has come.
    pub fn give_up(&mut self, now: Instant) -> bool {
        let late = self.answer_deadline().is_some_and(|deadline| deadline <= now);
        if late {
            self.offered_at = None;
        }
        late
    }

    /// New ICE credentials for the next offer, which waits for no answer to an older one: it may be lost. `None`: there is
    /// nothing to restart.
    pub fn restart(&mut self, rng: &mut StdRng) -> Option<Request> {
        if !self.added {
            return None;
        }
        self.offered_at = None;
        Some(self.connection.restart(rng))
    }

    pub fn peer(&self) -> base::PeerId {
        self.connection.peer
    }
}

impl Session {
    pub(super) fn add_subscriber(&mut self) {
        let primary = self.subscriber_primary;
        let Some(subscriber) = self.subscriber.as_mut().filter(|subscriber| !subscriber.added) else {
            return;
        };
        subscriber.added = true;
        let request = subscriber.connection.add(channels(), primary);
        self.request(request);
    }

    /// Offers the data section and everything that is subscribed, or remembers that there is something to offer.
    pub(super) fn make_offer(&mut self, now: Instant) {
        self.add_subscriber();
        let Some(subscriber) = self.subscriber.as_mut() else { return };
        if subscriber.offered_at.is_some() {
            subscriber.stale = true;
            return;
        }
        subscriber.offered_at = Some(now);
        subscriber.offer_id += 1;
        subscriber.stale = false;
        let id = subscriber.offer_id;
        self.assign_to_own_slots();
        self.downlinks.tell_draining();
        let data = OutSection { mid: data_mid(), body: OutBody::Data { max_message_size: MAX_MESSAGE_SIZE } };
        let media = self.downlinks.slots.iter().map(|slot| self.offer_section(slot));
        let sections: Vec<OutSection> = std::iter::once(data).chain(media).collect();
        let Some(subscriber) = self.subscriber.as_mut() else { return };
        let sdp = subscriber.connection.write(Role::Offer, true, &self.worker, sections);
        let mid_to_track_id = self.downlinks.mid_to_track_id();
        let offer = proto::SessionDescription { r#type: "offer".to_owned(), sdp, id, mid_to_track_id };
        self.frame(Message::Offer(offer));
        count(&self.metrics().offers_made);
    }

    /// Puts waiting tracks into free sections and makes new ones for the rest.
    fn assign_to_own_slots(&mut self) {
        self.downlinks.assign();
        let kinds: Vec<MediaKind> = self.downlinks.waiting().map(|known| known.track.kind).collect();
        for kind in kinds {
            let next = self.downlinks.slots.len() + 1;
            let mid = Mid::new(next.to_string().as_bytes());
            if let Some(mid) = mid.filter(|_| next <= MAX_SLOTS) {
                self.downlinks.slots.push(Slot::new(mid, kind, None));
            }
        }
        self.downlinks.assign();
    }

    fn offer_section(&self, slot: &Slot) -> OutSection {
        let known = self.downlinks.in_slot(slot);
        let prefer: Option<CodecKind> = known.map(|known| known.track.codec);
        let red = slot.kind == MediaKind::Audio && self.state.config.red;
        let mut codecs: Vec<_> =
            offered_codecs(slot.kind, prefer).into_iter().chain(red.then(offered_red)).collect();
        if self.downlinks.any_stereo() {
            // Of all sections alike: in a bundle a payload type has one meaning. Browsers play one channel without it.
            let opus = |line: &&mut sdp::CodecLine| sdp::codec_kind(line) == Some(CodecKind::Opus);
            codecs.iter_mut().filter(opus).for_each(|line| add_parameter(line, "sprop-stereo", "1"));
        }
        let body = OutBody::Media {
            kind: slot.kind,
            direction: Direction::of(known.is_some(), false),
            codecs,
            extensions: offered_extensions(slot.kind),
            rids: Vec::new(),
            downlink: known.map(|known| known.written(self.streams(slot), slot.kind == MediaKind::Video)),
        };
        OutSection { mid: slot.mid, body }
    }

    /// Takes the answer to our outstanding offer; any other is ignored.
    pub(super) fn take_answer(&mut self, answer: &proto::SessionDescription, now: Instant) {
        let Some(subscriber) = self.subscriber.as_mut() else { return };
        let current = answer.id == 0 || answer.id == subscriber.offer_id;
        if subscriber.offered_at.is_none() || !current {
            count(&self.state.metrics.requests_ignored);
            return;
        }
        let description = match sdp::parse(&answer.sdp) {
            Ok(description) => description,
            Err(error) => return self.refuse_description(&error),
        };
        let requests = &mut self.effects.requests;
        if let Err(error) = subscriber.connection.take_remote(&description, false, &mut self.rng, requests) {
            return self.refuse_description(&error);
        }
        subscriber.offered_at = None;
        let stale = std::mem::take(&mut subscriber.stale);
        self.take_accepted(&description);
        self.downlinks.drained();
        self.refuse_unknown_codecs();
        self.ask_for_backups();
        self.set_subscriber_sections();
        self.downlinks.begin_streams(now);
        if stale || self.downlinks.need_description() {
            self.negotiate_at = Some(now);
        }
    }

    /// What the answer accepts in each section.
    fn take_accepted(&mut self, description: &Description) {
        let policy = self.downlink_policy();
        for slot in &mut self.downlinks.slots {
            let section = description.section(slot.mid).filter(|section| !section.rejected);
            // An inactive section says nothing that holds for its next track.
            slot.accepted = match section {
                Some(section) if slot.track.is_some() && section.direction.receives() => {
                    Some(choose(section, &policy))
                }
                Some(_) if slot.track.is_none() => None,
                _ => Some(sdp::Accepted::default()),
            };
        }
    }

    fn set_subscriber_sections(&mut self) {
        let sections = Sections { receive: Vec::new(), send: self.downlinks.send_sections() };
        let Some(subscriber) = self.subscriber.as_mut().filter(|subscriber| subscriber.sections != sections)
        else {
            return;
        };
        subscriber.sections = sections.clone();
        let peer = subscriber.connection.peer;
        self.request(Request::SetSections { peer, sections });
    }

    /// What is sent changed without a description: a track was dropped, which the worker stops to send before the client is told, or
    /// is sent in another of the codecs that were accepted for it.
    pub(super) fn set_downlink_sections(&mut self) {
        if self.subscriber.is_some() {
            self.set_subscriber_sections();
        } else {
            self.set_publisher_sections();
        }
    }
}

fn data_mid() -> Mid {
    Mid::new(DATA_MID.as_bytes()).expect("one digit is a mid")
}
