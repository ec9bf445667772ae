//! Connections and what belongs to them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use base::model::{Quality, TrackSettings};
use base::{Bitrate, Codec, Mid, ParticipantId, PeerId, TrackId};
use contract::media::{SendSection, SetupTimes};
use rtc::SendIndex;
use wire::media::Received;

use crate::outbox::Outbox;
use crate::pacer::Pacer;
use crate::slots::{PeerKey, RingsKey, RoomKey, Slots};
use crate::timers::Armed;
use crate::waiting::Waiting;

/// Remote addresses of a peer for which it is remembered which of our addresses they use: all that may be routed to it (16),
/// and as many from which only checks came so far.
const MAX_PATHS: usize = 32;
/// Settings kept, with those for tracks that are not subscribed (yet); when there are more, those are forgotten.
pub(crate) const MAX_SETTINGS: usize = 4_096;

/// A receive section that feeds a publication.
#[derive(Clone, Debug)]
pub(crate) struct Published {
    pub(crate) mid: Mid,
    pub(crate) track: TrackId,
    pub(crate) key: sfu::TrackKey,
    pub(crate) rings: RingsKey,
    /// What the publication was made from, to see whether it changed.
    pub(crate) spec: sfu::PublicationSpec,
    /// The highest number that came, of sound.
    pub(crate) newest: Option<u64>,
}

/// A send section that a subscription feeds.
#[derive(Clone, Debug)]
pub(crate) struct Subscribed {
    pub(crate) mid: Mid,
    pub(crate) section: SendIndex,
    pub(crate) ssrc: u32,
    pub(crate) track: TrackId,
    pub(crate) codecs: Vec<Codec>,
    /// Above every sequence number (extended) that was sealed under the SSRC.
    pub(crate) next_sequence: u64,
    /// Of the newest keyframe that has begun to leave.
    pub(crate) keyframe: u64,
    /// Its connection does not carry it.
    pub(crate) paused: bool,
}

/// One connection.
pub(crate) struct Peer {
    pub(crate) id: PeerId,
    pub(crate) participant: ParticipantId,
    pub(crate) room: RoomKey,
    pub(crate) rtc: rtc::Peer,
    /// Every user fragment under which checks find it.
    pub(crate) users: Vec<String>,
    /// Addresses that are routed to it.
    pub(crate) addresses: Vec<SocketAddr>,
    /// Which of our addresses each of its addresses talks to; empty when the socket has only one.
    pub(crate) paths: Vec<(SocketAddr, IpAddr)>,
    pub(crate) published: Vec<Published>,
    /// By section.
    pub(crate) subscribed: Vec<Subscribed>,
    /// What is to be subscribed as soon as it can be sent to.
    pub(crate) to_subscribe: Vec<SendSection>,
    /// Where the numbering of SSRCs that were given up would go on: no sequence number is used twice under one SSRC.
    pub(crate) used_sequences: BTreeMap<u32, u64>,
    pub(crate) settings: BTreeMap<TrackId, TrackSettings>,
    pub(crate) outbox: Outbox,
    /// Once it is known what its path carries, and what would be sent if it carried it.
    pub(crate) pacer: Option<Pacer>,
    /// What would be sent to it if its path carried it.
    pub(crate) wanted: Bitrate,
    /// It is in the list of peers to be looked at before the tick ends.
    pub(crate) touched: bool,
    /// It waits for its turn to be sent the picture that came for it.
    pub(crate) awaits_turn: bool,
    /// And for more than media that it is to be sent: it may have events, control datagrams, another deadline.
    pub(crate) stirred: bool,
    /// It has more events than were read in one go.
    pub(crate) unread: bool,
    pub(crate) armed: Armed,
    pub(crate) setup: Setup,
    pub(crate) grade: Grade,
    /// Its messages are left in SCTP's receive window, since the event queue is full.
    pub(crate) data_paused: bool,
    /// Likewise, since control said so.
    pub(crate) data_held: bool,
    /// Labels of its channels that may lose messages.
    pub(crate) lossy: Vec<Arc<str>>,
    /// Reliable messages that it has no room for yet.
    pub(crate) waiting: Waiting,
}

impl Peer {
    pub(crate) fn new(
        now: Instant,
        id: PeerId,
        participant: ParticipantId,
        room: RoomKey,
        rtc: rtc::Peer,
    ) -> Self {
        Self {
            id,
            participant,
            room,
            rtc,
            users: Vec::new(),
            addresses: Vec::new(),
            paths: Vec::new(),
            published: Vec::new(),
            subscribed: Vec::new(),
            to_subscribe: Vec::new(),
            used_sequences: BTreeMap::new(),
            settings: BTreeMap::new(),
            outbox: Outbox::default(),
            pacer: None,
            wanted: Bitrate(0),
            touched: false,
            awaits_turn: false,
            stirred: false,
            unread: false,
            armed: None,
            setup: Setup { added: now, times: SetupTimes::default() },
            grade: Grade::default(),
            data_paused: false,
            data_held: false,
            lossy: Vec::new(),
            waiting: Waiting::default(),
        }
    }

    /// A datagram from `remote` was sent to `local`, so answers leave from there.
    pub(crate) fn note_path(&mut self, remote: SocketAddr, local: IpAddr) {
        match self.paths.iter_mut().find(|(known, _)| *known == remote) {
            Some((_, known)) => *known = local,
            None => {
                if self.paths.len() == MAX_PATHS {
                    // Anybody who knows the user fragment gets here: strangers make room, the peer's own addresses do not.
                    let stranger = |(known, _): &(SocketAddr, IpAddr)| !self.addresses.contains(known);
                    self.paths.remove(self.paths.iter().position(stranger).unwrap_or(0));
                }
                self.paths.push((remote, local));
            }
        }
    }

    /// Our address towards `remote`.
    pub(crate) fn path_to(&self, remote: SocketAddr) -> Option<IpAddr> {
        self.paths.iter().find(|(known, _)| *known == remote).map(|(_, local)| *local)
    }

    pub(crate) fn published(&self, mid: Mid) -> Option<&Published> {
        self.published.iter().find(|published| published.mid == mid)
    }

    /// A packet of sound came. True when packets are missing right before it.
    pub(crate) fn note_sound(&mut self, received: &Received) -> bool {
        let Some(published) = self.published.iter_mut().find(|each| each.mid == received.mid) else {
            return false;
        };
        let newest = published.newest;
        published.newest = newest.max(Some(received.sequence));
        newest.is_some_and(|newest| received.sequence > newest + 1)
    }

    /// What feeds a send section.
    pub(crate) fn subscribed(&self, section: SendIndex) -> Option<&Subscribed> {
        let at = self.subscribed.binary_search_by_key(&section, |each| each.section).ok()?;
        self.subscribed.get(at)
    }

    /// All numbers of a section below this one may have been sealed, and maybe a keyframe that begins with this number.
    pub(crate) fn note_sequence(&mut self, section: SendIndex, next: u64, keyframe: Option<u64>) {
        if let Ok(at) = self.subscribed.binary_search_by_key(&section, |each| each.section) {
            let known = &mut self.subscribed[at];
            known.next_sequence = next.max(known.next_sequence);
            known.keyframe = keyframe.unwrap_or(known.keyframe);
        }
    }
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    added: Instant,
    pub(crate) times: SetupTimes,
}

impl Setup {
    pub(crate) fn ice(&mut self, now: Instant) {
        self.times.ice.get_or_insert(now - self.added);
    }

    /// True the first time.
    pub(crate) fn dtls(&mut self, now: Instant) -> bool {
        let first = self.times.dtls.is_none();
        self.times.dtls.get_or_insert(now - self.added);
        first
    }

    /// True the first time.
    pub(crate) fn media(&mut self, now: Instant) -> bool {
        let first = self.times.first_media.is_none();
        self.times.first_media.get_or_insert(now - self.added);
        first
    }
}

/// The quality that was last told, and whether it is about to improve.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Grade {
    told: Option<Quality>,
    improving: bool,
}

impl Grade {
    /// What control believes.
    pub(crate) fn told(&self) -> Option<Quality> {
        self.told
    }

    /// The quality to tell, if it changed. A fall is told at once, a rise when the second report in a row shows it: else a
    /// connection at a bound would flap.
    pub(crate) fn update(&mut self, quality: Quality) -> Option<Quality> {
        let rises = self.told.is_some_and(|told| quality > told);
        if self.told == Some(quality) || (rises && !self.improving) {
            self.improving = rises;
            return None;
        }
        *self = Self { told: Some(quality), improving: false };
        Some(quality)
    }
}

/// All connections of the worker.
#[derive(Default)]
pub(crate) struct Peers {
    slots: Slots<PeerKey, Box<Peer>>,
    ids: HashMap<PeerId, PeerKey>,
    touched: Vec<PeerKey>,
    /// Who has picture to be sent, and since when, in the order in which it came.
    turns: VecDeque<(PeerKey, Instant)>,
}

impl Peers {
    /// `None`: the id is taken.
    pub(crate) fn insert(&mut self, peer: Peer) -> Option<PeerKey> {
        if self.ids.contains_key(&peer.id) {
            return None;
        }
        let id = peer.id;
        let key = self.slots.insert(Box::new(peer));
        self.ids.insert(id, key);
        Some(key)
    }

    pub(crate) fn remove(&mut self, key: PeerKey) -> Option<Box<Peer>> {
        let peer = self.slots.remove(key)?;
        self.ids.remove(&peer.id);
        Some(peer)
    }

    #[inline]
    pub(crate) fn get(&self, key: PeerKey) -> Option<&Peer> {
        self.slots.get(key).map(|peer| &**peer)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: PeerKey) -> Option<&mut Peer> {
        self.slots.get_mut(key).map(|peer| &mut **peer)
    }

    pub(crate) fn find(&self, id: PeerId) -> Option<PeerKey> {
        self.ids.get(&id).copied()
    }

    pub(crate) fn keys(&self) -> Vec<PeerKey> {
        self.slots.keys()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (PeerKey, &Peer)> {
        self.slots.iter().map(|(key, peer)| (key, &**peer))
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The peer's events, datagrams and deadline are to be looked at before the tick ends.
    #[inline]
    pub(crate) fn touch(&mut self, key: PeerKey) {
        self.touch_and_get(key);
    }

    #[inline]
    pub(crate) fn touch_and_get(&mut self, key: PeerKey) -> Option<&mut Peer> {
        let peer = self.hand_sound(key)?;
        peer.stirred = true;
        Some(peer)
    }

    /// The peer gets sound to send, and nothing else happens to it: its outbox alone is to be looked at before the tick ends.
    /// Looking at the rest of it would cost as much as sealing a packet.
    #[inline]
    pub(crate) fn hand_sound(&mut self, key: PeerKey) -> Option<&mut Peer> {
        let peer = self.slots.get_mut(key)?;
        if !peer.touched {
            peer.touched = true;
            self.touched.push(key);
        }
        Some(peer)
    }

    /// The peer gets picture to send: when its turn comes ([`Self::next_turn`]).
    #[inline]
    pub(crate) fn hand_picture(&mut self, now: Instant, key: PeerKey) -> Option<&mut Peer> {
        let peer = self.slots.get_mut(key)?;
        if !peer.awaits_turn {
            peer.awaits_turn = true;
            self.turns.push_back((key, now));
        }
        Some(peer)
    }

    /// Whose picture is to be sent now.
    pub(crate) fn next_turn(&mut self) -> Option<PeerKey> {
        let (key, _) = self.turns.pop_front()?;
        if let Some(peer) = self.slots.get_mut(key) {
            peer.awaits_turn = false;
        }
        Some(key)
    }

    /// Since when the next in turn waits.
    pub(crate) fn waits_since(&self) -> Option<Instant> {
        self.turns.front().map(|(_, since)| *since)
    }

    /// Moves the touched peers to the empty `into`, keeping both allocations. They stay marked until they were flushed.
    pub(crate) fn take_touched(&mut self, into: &mut Vec<PeerKey>) {
        std::mem::swap(&mut self.touched, into);
    }

    pub(crate) fn has_touched(&self) -> bool {
        !self.touched.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_who_know_the_user_fragment_do_not_make_us_forget_where_a_client_reaches_us() {
        let now = Instant::now();
        let certificate = rtc::Certificate::generate([9; 16]).expect("a certificate");
        let config = Arc::new(rtc::Config::new(certificate).expect("a configuration"));
        let wall = rtc::WallClock { at: now, ntp: base::NtpTime(0) };
        let local =
            rtc::IceCredentials { ufrag: "user".into(), password: "password of 22 characters".into() };
        let (client, ours) = (SocketAddr::from(([10, 0, 0, 2], 5_000)), IpAddr::from([10, 0, 0, 1]));
        let ice = rtc::IceRole::Lite { local, candidate: SocketAddr::new(ours, 7_882) };
        let rtc = rtc::Peer::new(now, wall, &config, ice, 1);
        let room = crate::slots::Slots::<RoomKey, ()>::default().insert(());
        let mut peer = Peer::new(now, PeerId(1), ParticipantId(1), room, rtc);
        peer.note_path(client, ours);
        peer.addresses.push(client);
        for port in 1..200 {
            peer.note_path(SocketAddr::from(([203, 0, 113, 9], port)), IpAddr::from([10, 0, 0, 9]));
        }
        assert_eq!(peer.path_to(client), Some(ours));
        assert_eq!(peer.paths.len(), MAX_PATHS);
    }

    #[test]
    fn quality_falls_at_once_and_rises_on_the_second_report() {
        let mut grade = Grade::default();
        assert_eq!(grade.update(Quality::Excellent), Some(Quality::Excellent));
        assert_eq!(grade.update(Quality::Poor), Some(Quality::Poor));
        assert_eq!(grade.update(Quality::Good), None);
        assert_eq!(grade.update(Quality::Poor), None);
        assert_eq!(grade.update(Quality::Good), None);
        assert_eq!(grade.update(Quality::Excellent), Some(Quality::Excellent));
        assert_eq!(grade.update(Quality::Excellent), None);
    }
}
