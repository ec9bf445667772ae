//! What a receiver's path carries goes to its room, which allots it; what the room would send if the path carried it goes to
//! the receiver's probes; its pacing follows both.

use std::time::Instant;

use base::{Bitrate, TrackId};
use contract::media::Event;

use crate::guard::guard;
use crate::pacer::Pacer;
use crate::rooms::Sink;
use crate::slots::{PeerKey, RoomKey};
use crate::tick::Worker;

impl Worker {
    /// What the peer's path carries has changed, or it is known from now on that media may be sent.
    pub(crate) fn estimate_changed(&mut self, now: Instant, key: PeerKey) {
        let Some(peer) = self.peers.get(key) else { return };
        // A peer that negotiated nothing to tell it by has no limit.
        let Some(estimate) = peer.rtc.estimate() else { return };
        let room = peer.room;
        self.with_media(room, |media| media.set_estimate(now, key, Some(estimate)));
        self.set_budget(now, key);
    }

    /// The room would send so much to the peer if its path carried it.
    pub(crate) fn wanted_changed(&mut self, now: Instant, key: PeerKey, wanted: Bitrate) {
        if let Some(peer) = self.peers.touch_and_get(key) {
            peer.wanted = wanted;
            self.set_budget(now, key);
        }
    }

    fn set_budget(&mut self, now: Instant, key: PeerKey) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let (estimate, wanted) = (peer.rtc.estimate(), peer.wanted);
        match (&mut peer.pacer, estimate) {
            (Some(pacer), Some(estimate)) => pacer.set(now, estimate, wanted),
            (pacer @ None, Some(estimate)) if wanted.0 > 0 => {
                *pacer = Some(Pacer::new(now, estimate, wanted))
            }
            _ => {}
        }
        // A probe that cannot leave yet would be given up.
        if peer.rtc.can_send() && guard(|| peer.rtc.set_wanted(now, wanted)).is_none() {
            self.peer_panicked(now, key);
        }
    }

    pub(crate) fn stream_state_changed(&mut self, track: TrackId, sink: Sink, active: bool) {
        let Some(peer) = self.peers.get_mut(sink.peer) else { return };
        if let Ok(at) = peer.subscribed.binary_search_by_key(&sink.section, |each| each.section) {
            peer.subscribed[at].paused = !active;
        }
        self.events.push(Event::StreamState { peer: peer.id, track, active });
    }

    pub(crate) fn wanted_layer_changed(&mut self, room: RoomKey, track: TrackId, highest: Option<u8>) {
        let Some(room) = self.rooms.get(room).map(|room| room.id) else { return };
        self.events.push(Event::WantedLayer { worker: self.index, room, track, highest });
    }
}
