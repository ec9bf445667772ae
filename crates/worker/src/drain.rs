//! What peers and rooms say, and what follows from it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use base::{Mid, TrackId};
use bytes::Bytes;
use contract::media::{ChannelSpec, Event, PeerEnd};

use crate::guard::guard;
use crate::rooms::{Sink, Source};
use crate::slots::{PeerKey, RoomKey};
use crate::tick::Worker;
use crate::timers::Owner;
use crate::translate;

/// Events of one peer in one round; the rest is read in the next.
const MAX_PEER_EVENTS: usize = 512;
/// Events of one room in one round; each comes from a packet or a command of this tick.
const MAX_ROOM_EVENTS: usize = 100_000;
/// Labels of lossy channels remembered per peer.
const MAX_LOSSY: usize = 64;

impl Worker {
    pub(crate) fn drain_peer(&mut self, now: Instant, key: PeerKey) {
        if !self.peers.get(key).is_some_and(|peer| peer.stirred) {
            return;
        }
        for _ in 0..MAX_PEER_EVENTS {
            self.pause_data(now, key);
            let Some(peer) = self.peers.get_mut(key) else { return };
            match guard(|| peer.rtc.poll_event()) {
                Some(Some(event)) => self.peer_event(now, key, event),
                Some(None) => return,
                None => return self.peer_panicked(now, key),
            }
        }
        if let Some(peer) = self.peers.get_mut(key) {
            peer.unread = true;
        }
    }

    /// While control does not keep up, messages stay where they slow their sender.
    fn pause_data(&mut self, now: Instant, key: PeerKey) {
        if !self.events.is_backlogged() {
            return;
        }
        if let Some(peer) = self.peers.get_mut(key)
            && !peer.data_paused
        {
            peer.data_paused = true;
            self.paused.push(key);
            let outcome = guard(|| {
                #[cfg(test)]
                crate::guard::trap::spring(!peer.id.0);
                peer.rtc.pause_data(now, true);
            });
            if outcome.is_none() {
                self.peer_panicked(now, key);
            }
        }
    }

    /// Control has taken everything: peers may be read again.
    pub(crate) fn resume_data(&mut self, now: Instant) {
        if self.paused.is_empty() || !self.events.has_drained() {
            return;
        }
        for key in std::mem::take(&mut self.paused) {
            if let Some(peer) = self.peers.touch_and_get(key) {
                peer.data_paused = false;
                if guard(|| peer.rtc.pause_data(now, peer.data_held)).is_none() {
                    self.peer_panicked(now, key);
                }
            }
        }
    }

    fn peer_event(&mut self, now: Instant, key: PeerKey, event: rtc::Event) {
        match event {
            rtc::Event::SourceValidated(address) => self.add_address(now, key, address),
            rtc::Event::SourceForgotten(address) => self.remove_address(key, address),
            rtc::Event::IceConnected => {}
            rtc::Event::Interrupted => self.interrupted(key),
            rtc::Event::Estimate(_) => self.estimate_changed(now, key),
            rtc::Event::DtlsConnected => self.connected(now, key),
            rtc::Event::FirstMedia => self.first_media(now, key),
            rtc::Event::ChannelOpen { label, ordered, max_retransmits } => {
                self.channel_open(key, &label, ordered, max_retransmits);
            }
            rtc::Event::ChannelClosed { label } => {
                if let Some(peer) = self.peers.get_mut(key) {
                    peer.lossy.retain(|known| *known != label);
                }
            }
            rtc::Event::Data { label, text, payload } => self.data(key, label, text, payload),
            rtc::Event::KeyframeRequest { mid } => self.keyframe_wanted(now, key, mid),
            rtc::Event::SenderReport { mid, layer, ntp, rtp, at } => {
                let Some(peer) = self.peers.get(key) else { return };
                let Some(published) = peer.published(mid) else { return };
                let (room, track, key) = (peer.room, published.track, published.key);
                let taken = self.with_media(room, |media| media.sender_report(key, layer, ntp, rtp, at));
                // What is sent without end fills no rings.
                if taken == Some(true) {
                    self.relay_report(room, track, layer, (ntp, rtp, at));
                    self.report_to_copies((room, track), layer, (ntp, rtp, at));
                }
            }
            rtc::Event::Quality { loss, rtt, jitter } => {
                let Some(peer) = self.peers.get_mut(key) else { return };
                if let Some(quality) = peer.grade.update(translate::quality(loss, rtt, jitter)) {
                    self.events.push(Event::Quality { peer: peer.id, quality });
                }
            }
            rtc::Event::Closed(reason) => {
                // Its last words: an alert, or the answer to a goodbye.
                self.flush_peer(now, key);
                match translate::end(reason) {
                    Some(end) => self.end_peer(now, key, end),
                    None => self.forget_peer(now, key),
                }
            }
        }
    }

    fn add_address(&mut self, now: Instant, key: PeerKey, address: SocketAddr) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        peer.setup.ice(now);
        if !peer.addresses.contains(&address) {
            peer.addresses.push(address);
        }
        self.routes.add_address(address, key);
    }

    fn remove_address(&mut self, key: PeerKey, address: SocketAddr) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        peer.addresses.retain(|known| *known != address);
        peer.paths.retain(|(remote, _)| *remote != address);
        self.routes.remove_address(address, key);
    }

    fn connected(&mut self, now: Instant, key: PeerKey) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        if peer.setup.dtls(now) {
            self.events.push(Event::Connected { peer: peer.id, times: peer.setup.times });
        }
        self.subscribe_at_last(now, key);
    }

    fn interrupted(&mut self, key: PeerKey) {
        if let Some(peer) = self.peers.get(key) {
            self.events.push(Event::Interrupted { peer: peer.id });
        }
    }

    fn first_media(&mut self, now: Instant, key: PeerKey) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        if peer.setup.media(now) {
            self.events.push(Event::FirstMedia { peer: peer.id, times: peer.setup.times });
        }
    }

    fn channel_open(&mut self, key: PeerKey, label: &Arc<str>, ordered: bool, max_retransmits: Option<u16>) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        peer.lossy.retain(|known| known != label);
        if max_retransmits.is_some() && peer.lossy.len() < MAX_LOSSY {
            peer.lossy.push(label.clone());
        }
        let channel = ChannelSpec { label: label.as_ref().to_owned(), ordered, max_retransmits };
        self.events.push(Event::ChannelOpen { peer: peer.id, channel });
    }

    fn data(&mut self, key: PeerKey, label: Arc<str>, text: bool, payload: Bytes) {
        let Some(peer) = self.peers.get(key) else { return };
        if self.events.is_backlogged() && peer.lossy.contains(&label) {
            self.counts.dropped_data_in += 1;
            return;
        }
        self.events.push(Event::Data { peer: peer.id, label, text, payload });
    }

    fn keyframe_wanted(&mut self, now: Instant, key: PeerKey, mid: Mid) {
        let Some(peer) = self.peers.get(key) else { return };
        let Some(subscribed) = peer.subscribed.iter().find(|each| each.mid == mid) else { return };
        let (track, sink) = (subscribed.track, Sink { peer: key, section: subscribed.section });
        self.with_media(peer.room, |media| media.keyframe_wanted(now, track, sink));
    }

    /// The peer is over by itself.
    pub(crate) fn end_peer(&mut self, now: Instant, key: PeerKey, end: PeerEnd) {
        let Some(peer) = self.peers.get(key) else { return };
        self.events.push(Event::Closed { peer: peer.id, end, times: peer.setup.times });
        self.forget_peer(now, key);
    }

    pub(crate) fn drain_room(&mut self, now: Instant, key: RoomKey) {
        for _ in 0..MAX_ROOM_EVENTS {
            let Some(room) = self.rooms.get_mut(key) else { return };
            let Some(media) = &mut room.media else { break };
            match guard(|| media.poll_event()) {
                Some(Some(event)) => self.room_event(now, key, event),
                Some(None) => break,
                None => self.room_panicked(key),
            }
        }
        let Some(room) = self.rooms.get_mut(key) else { return };
        room.touched = false;
        let deadline = room.media.as_ref().and_then(sfu::Media::poll_timeout);
        self.timers.arm(now, Owner::Room(key), &mut room.armed, deadline);
    }

    fn room_event(&mut self, now: Instant, key: RoomKey, event: sfu::Event<Sink>) {
        match event {
            sfu::Event::RequestKeyframe { track, layer } => self.request_keyframe(now, key, track, layer),
            sfu::Event::Clock { sink, clock } => {
                let sfu::Clock { ntp, rtp, at } = clock;
                let Some(peer) = self.peers.touch_and_get(sink.peer) else { return };
                if guard(|| peer.rtc.set_clock(sink.section, rtc::Clock { ntp, rtp, at })).is_none() {
                    self.peer_panicked(now, sink.peer);
                }
            }
            sfu::Event::Speakers(speakers) => {
                let Some(room) = self.rooms.get(key).map(|room| room.id) else { return };
                self.events.push(Event::Speakers { room, speakers });
            }
            sfu::Event::RelayWanted { track, layers } => self.relay_wanted_changed(key, track, layers),
            sfu::Event::RelayState { track } => self.relay_state_changed(now, key, track),
            sfu::Event::StreamState { track, sink, active } => self.stream_state_changed(track, sink, active),
            sfu::Event::Wanted { receiver, bitrate } => self.wanted_changed(now, receiver, bitrate),
            sfu::Event::WantedLayer { track, highest } => self.wanted_layer_changed(key, track, highest),
        }
    }

    fn request_keyframe(&mut self, now: Instant, room: RoomKey, track: TrackId, layer: u8) {
        let (key, mid) = match self.rooms.get(room).and_then(|room| room.source(track)) {
            Some(Source::Peer(key, mid)) => (key, mid),
            Some(Source::Relay(from)) => return self.request_relayed_keyframe(room, track, from, layer),
            Some(Source::Room(home)) => return self.request_keyframe_at_home(now, home, track, layer),
            None => return,
        };
        let Some(peer) = self.peers.touch_and_get(key) else { return };
        if guard(|| peer.rtc.request_keyframe(now, mid, layer)).is_none() {
            self.peer_panicked(now, key);
        }
    }
}
