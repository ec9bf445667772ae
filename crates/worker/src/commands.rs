//! What control wants.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use base::model::TrackSettings;
use base::{ParticipantId, PeerId, RoomId, TrackId};
use bytes::Bytes;
use contract::media::{ChannelSpec, Command, IceCredentials, PeerEnd, ReceiveSection, Sections, SendSection};

use crate::guard::{discard, guard};
use crate::peers::{MAX_SETTINGS, Peer, Published, Subscribed};
use crate::rooms::{Sink, Source};
use crate::slots::{PeerKey, RoomKey};
use crate::tick::Worker;
use crate::{snapshot, translate};

/// Commands executed in one tick; the rest waits, so that media is never kept waiting for control.
const MAX_PER_TICK: usize = 128;
/// SSRCs whose numbering is remembered after they were given up; the sealing side has the same bound on SSRCs.
const MAX_USED_SEQUENCES: usize = 8_192;

impl Worker {
    /// Executes what is queued. `false`: the worker is to stop.
    pub(crate) fn take_commands(&mut self, now: Instant) -> bool {
        for _ in 0..MAX_PER_TICK {
            match self.commands.try_recv() {
                Ok(Command::Stop) | Err(async_channel::TryRecvError::Closed) => return false,
                Err(async_channel::TryRecvError::Empty) => return true,
                Ok(command) => {
                    self.counts.commands += 1;
                    self.execute(now, command);
                }
            }
        }
        true
    }

    fn execute(&mut self, now: Instant, command: Command) {
        match command {
            Command::AddPeer { peer, room, participant, local } => {
                self.add_peer(now, peer, room, participant, &local);
            }
            Command::SetRemote { peer, remote, fingerprint, role } => self.with_peer(peer, |peer| {
                let remote = translate::credentials(&remote);
                peer.rtc.set_remote(now, remote, fingerprint.0, translate::role(role));
            }),
            Command::RestartIce { peer, local } => self.restart_ice(now, peer, &local),
            Command::SetSections { peer, sections } => self.set_sections(now, peer, &sections),
            Command::OpenChannel { peer, channel } => self.with_peer(peer, |peer| {
                let ChannelSpec { label, ordered, max_retransmits } = &channel;
                peer.rtc.open_channel(now, label, *ordered, *max_retransmits);
            }),
            Command::SendData { peer, label, text, payload } => {
                self.send_data(now, peer, label, text, payload);
            }
            Command::PauseData { peer, paused } => self.with_peer(peer, |peer| {
                peer.data_held = paused;
                peer.rtc.pause_data(now, paused || peer.data_paused);
            }),
            Command::SetTrackSettings { peer, track, settings } => {
                self.set_settings(now, peer, track, settings);
            }
            Command::SetMuted { room, track, muted } => {
                if let Some(room) = self.rooms.find(room) {
                    self.with_media(room, |media| media.set_muted(now, track, muted));
                }
            }
            Command::SetRelay { room, track, to } => self.set_relay(now, room, track, &to),
            Command::SetRelayed { room, track, source } => {
                self.set_relayed(now, room, track, source.as_ref());
            }
            Command::SetForwarded { room, track, source } => {
                self.set_forwarded(now, room, track, source.as_ref());
            }
            Command::EndRelays { room } => self.end_relays(now, room),
            Command::MovePeer { peer, room } => self.move_peer(now, peer, room),
            Command::RemovePeer { peer } => self.remove_peer(now, peer),
            Command::Snapshot { room, reply } => {
                let room = self.rooms.find(room).and_then(|key| Some((key, self.rooms.get(key)?)));
                let text = guard(|| snapshot::room(now, room, &self.peers));
                let _ = reply.try_send(text.unwrap_or_else(|| "null".to_owned()));
            }
            Command::Stop => {}
        }
    }

    fn add_peer(
        &mut self,
        now: Instant,
        id: PeerId,
        room: RoomId,
        participant: ParticipantId,
        local: &IceCredentials,
    ) {
        if self.peers.find(id).is_some() {
            return;
        }
        let (room_seed, peer_seed) = (self.draw(), self.draw());
        let loudest = self.loudest;
        let room = self.rooms.enter(room, || media(now, room_seed, loudest));
        let ice = rtc::IceRole::Lite { local: translate::credentials(local), candidate: self.candidate };
        let rtc = rtc::Peer::new(now, self.wall, &self.config, ice, peer_seed);
        let Some(key) = self.peers.insert(Peer::new(now, id, participant, room, rtc)) else { return };
        self.add_user(key, &local.ufrag);
        self.peers.touch(key);
        self.take_early(now, key, &local.ufrag);
    }

    /// The room, whoever is in it; what holds it comes next.
    pub(crate) fn hold_room(&mut self, now: Instant, room: RoomId) -> RoomKey {
        let (seed, loudest) = (self.draw(), self.loudest);
        self.rooms.hold(room, || media(now, seed, loudest))
    }

    fn add_user(&mut self, key: PeerKey, user: &str) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        // Another peer with the same random fragment: this one will time out, and its client tries again.
        if !self.routes.add_user(user, key) || peer.users.iter().any(|known| known == user) {
            return;
        }
        peer.users.push(user.to_owned());
    }

    /// Routes no fragment that the peer does not answer to any more: those of restarts that never came through, and those
    /// before one that did.
    fn drop_old_users(&mut self, key: PeerKey) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let old = |user: &mut String| !peer.rtc.answers_to(user);
        for user in peer.users.extract_if(.., old) {
            self.routes.remove_user(&user, key);
        }
    }

    fn restart_ice(&mut self, now: Instant, peer: PeerId, local: &IceCredentials) {
        let Some(key) = self.peers.find(peer) else { return };
        self.add_user(key, &local.ufrag);
        self.with_peer(peer, |peer| peer.rtc.restart_ice(now, translate::credentials(local)));
        self.drop_old_users(key);
        self.take_early(now, key, &local.ufrag);
    }

    fn send_data(&mut self, now: Instant, peer: PeerId, label: Arc<str>, text: bool, payload: Bytes) {
        let mut sent = false;
        self.with_peer(peer, |peer| {
            sent = if peer.lossy.contains(&label) {
                peer.rtc.send_message(now, &label, text, &payload).is_ok()
            } else {
                peer.waiting.send(now, &mut peer.rtc, label, text, payload)
            };
        });
        self.counts.dropped_data_out += u64::from(!sent);
    }

    fn set_settings(&mut self, now: Instant, peer: PeerId, track: TrackId, settings: TrackSettings) {
        let Some(key) = self.peers.find(peer) else { return };
        let Some(peer) = self.peers.get_mut(key) else { return };
        if peer.settings.len() >= MAX_SETTINGS {
            let subscribed: BTreeSet<TrackId> = peer.subscribed.iter().map(|each| each.track).collect();
            peer.settings.retain(|track, _| subscribed.contains(track));
        }
        peer.settings.insert(track, settings);
        let room = peer.room;
        let sections = peer.subscribed.iter().filter(|each| each.track == track);
        let sections: Vec<_> = sections.map(|each| each.section).collect();
        for section in sections {
            let sink = Sink { peer: key, section };
            self.with_media(room, |media| media.set_settings(now, track, sink, &settings));
        }
    }

    /// The peer belongs to another room. Its transport knows nothing of rooms and goes on; the next sections say what it publishes
    /// and receives there.
    fn move_peer(&mut self, now: Instant, id: PeerId, room: RoomId) {
        let Some(key) = self.peers.find(id) else { return };
        self.set_published(now, key, &[]);
        self.set_subscribed(now, key, &[]);
        let (seed, loudest) = (self.draw(), self.loudest);
        let room = self.rooms.enter(room, || media(now, seed, loudest));
        let Some(peer) = self.peers.get_mut(key) else { return };
        peer.to_subscribe.clear();
        peer.settings.clear();
        let old = std::mem::replace(&mut peer.room, room);
        self.with_media(old, |media| media.remove_receiver(key));
        if let Some(room) = self.rooms.leave(old) {
            discard(room);
        }
        self.peers.touch(key);
    }

    /// Says goodbye and forgets it. Control knows, so no event is sent, not even one that waits.
    fn remove_peer(&mut self, now: Instant, id: PeerId) {
        self.with_peer(id, |peer| peer.rtc.close(now));
        // Gone already when closing it panicked.
        if let Some(key) = self.peers.find(id) {
            self.flush_peer(now, key);
            self.forget_peer(now, key);
        }
        self.events.forget(id);
    }

    /// Takes a peer out of everything that knows it.
    pub(crate) fn forget_peer(&mut self, now: Instant, key: PeerKey) {
        let Some(peer) = self.peers.remove(key) else { return };
        for user in &peer.users {
            self.routes.remove_user(user, key);
        }
        for address in &peer.addresses {
            self.routes.remove_address(*address, key);
        }
        for published in &peer.published {
            self.unpublish(now, peer.room, key, published);
        }
        for Subscribed { track, section, .. } in &peer.subscribed {
            let sink = Sink { peer: key, section: *section };
            self.with_media(peer.room, |media| media.remove_subscription(now, *track, sink));
        }
        self.with_media(peer.room, |media| media.remove_receiver(key));
        self.gone.add(peer.rtc.counters());
        if let Some(room) = self.rooms.leave(peer.room) {
            discard(room);
        }
        discard(peer);
    }

    /// One peer's work panicked: it is dropped, nothing else.
    pub(crate) fn peer_panicked(&mut self, now: Instant, key: PeerKey) {
        self.counts.peer_panics += 1;
        self.end_peer(now, key, PeerEnd::Panicked);
    }

    /// One room's media panicked: it is dropped; its peers stay connected until control takes them away.
    pub(crate) fn room_panicked(&mut self, key: RoomKey) {
        self.counts.room_panics += 1;
        let Some(room) = self.rooms.get_mut(key) else { return };
        if let Some(media) = room.media.take() {
            discard(media);
        }
        let room = room.id;
        tracing::error!(%room, "the media state of a room panicked and was dropped");
        self.events.push(contract::media::Event::RoomLost { worker: self.index, room });
    }

    /// Runs one peer's work, and sees to it that what follows from it is looked at in this tick.
    pub(crate) fn with_peer(&mut self, id: PeerId, work: impl FnOnce(&mut Peer)) {
        let Some(key) = self.peers.find(id) else { return };
        let Some(peer) = self.peers.touch_and_get(key) else { return };
        if guard(|| work(peer)).is_none() {
            self.peer_panicked(Instant::now(), key);
        }
    }

    /// Runs one room's media work likewise. `None`: the room is gone or its media was lost.
    pub(crate) fn with_media<R>(
        &mut self,
        key: RoomKey,
        work: impl FnOnce(&mut sfu::Media<Sink>) -> R,
    ) -> Option<R> {
        self.rooms.touch(key);
        let media = self.rooms.get_mut(key)?.media.as_mut()?;
        let result = guard(|| work(media));
        if result.is_none() {
            self.room_panicked(key);
        }
        result
    }
}

fn media(now: Instant, seed: u64, loudest: usize) -> sfu::Media<Sink> {
    let mut media = sfu::Media::new(seed);
    media.set_loudest(now, loudest);
    media
}

/// Sections: the wanted state against what is there.
impl Worker {
    fn set_sections(&mut self, now: Instant, id: PeerId, sections: &Sections) {
        let receive: Vec<_> = sections.receive.iter().map(translate::receive_section).collect();
        let send: Vec<_> = sections.send.iter().map(translate::send_section).collect();
        self.with_peer(id, |peer| peer.rtc.set_sections(now, &receive, &send));
        if let Some(key) = self.peers.find(id) {
            self.set_published(now, key, &sections.receive);
            self.subscribe_when_ready(now, key, &sections.send);
        }
    }

    /// A peer that cannot be sent to yet gets nothing: the keyframes asked for on its behalf would be gone when it can.
    fn subscribe_when_ready(&mut self, now: Instant, key: PeerKey, sections: &[SendSection]) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        if peer.rtc.can_send() {
            peer.to_subscribe.clear();
            // First: who is limited asks for no keyframes of layers that are too much.
            self.estimate_changed(now, key);
            self.set_subscribed(now, key, sections);
        } else {
            peer.to_subscribe = sections.to_vec();
        }
    }

    /// The peer can be sent to from now on.
    pub(crate) fn subscribe_at_last(&mut self, now: Instant, key: PeerKey) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let sections = std::mem::take(&mut peer.to_subscribe);
        self.estimate_changed(now, key);
        if !sections.is_empty() {
            self.set_subscribed(now, key, &sections);
        }
    }

    fn set_published(&mut self, now: Instant, key: PeerKey, sections: &[ReceiveSection]) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let (room, participant) = (peer.room, peer.participant);
        let old = std::mem::take(&mut peer.published);
        let wanted = |published: &Published| {
            sections.iter().any(|s| s.mid == published.mid && s.track == Some(published.track))
        };
        let (stay, go): (Vec<_>, Vec<_>) = old.into_iter().partition(wanted);
        for published in &go {
            self.unpublish(now, room, key, published);
        }
        let mut published = Vec::with_capacity(sections.len());
        for section in sections {
            let Some(track) = section.track else { continue };
            let known = stay.iter().find(|known| known.mid == section.mid);
            let spec = sfu::PublicationSpec {
                participant,
                kind: section.media,
                layers: section.layers().min(sfu::MAX_LAYERS),
                sizes: section.sizes.clone(),
                source: section.source,
            };
            published.extend(self.publish(now, (room, key), section, track, spec, known));
        }
        if let Some(peer) = self.peers.get_mut(key) {
            peer.published = published;
        }
    }

    fn publish(
        &mut self,
        now: Instant,
        (room, key): (RoomKey, PeerKey),
        section: &ReceiveSection,
        track: TrackId,
        spec: sfu::PublicationSpec,
        known: Option<&Published>,
    ) -> Option<Published> {
        if let Some(known) = known
            && known.spec == spec
            && self.rooms.get(room)?.rings.get(known.rings).is_some()
        {
            return Some(known.clone());
        }
        let outcome = self.with_media(room, |media| media.set_publication(now, track, spec.clone()))?;
        let Ok(track_key) = outcome else {
            tracing::warn!(%track, "not published: the room has as many tracks as it may have");
            return None;
        };
        let (mid, kind) = (section.mid, section.media);
        let rings = self.rooms.add_rings(room, track, Source::Peer(key, mid), kind, spec.layers)?;
        Some(Published { mid, track, key: track_key, rings, spec, newest: None })
    }

    /// Unless another connection of the participant publishes the track by now.
    fn unpublish(&mut self, now: Instant, room: RoomKey, key: PeerKey, published: &Published) {
        let track = published.track;
        let Some(state) = self.rooms.get_mut(room) else { return };
        if state.tracks.get(&track) != Some(&published.rings) {
            return;
        }
        debug_assert_eq!(state.publisher(track), Some((key, published.mid)));
        state.tracks.remove(&track);
        state.rings.remove(published.rings);
        self.with_media(room, |media| media.remove_publication(now, track));
    }

    fn set_subscribed(&mut self, now: Instant, key: PeerKey, sections: &[SendSection]) {
        let Some(peer) = self.peers.get_mut(key) else { return };
        let room = peer.room;
        let old = std::mem::take(&mut peer.subscribed);
        // The handle tells whether the section's state was kept.
        let wanted: Vec<_> = sections
            .iter()
            .filter_map(|section| Some((section, peer.rtc.send_index(section.mid)?)))
            .collect();
        let (stay, go): (Vec<_>, Vec<_>) = old.into_iter().partition(|known| {
            let same = |(section, index): &(&SendSection, rtc::SendIndex)| {
                *index == known.section && section.track == known.track && section.ssrc == known.ssrc
            };
            wanted.iter().any(same)
        });
        for gone in &go {
            self.unsubscribe(now, room, key, gone);
        }
        let mut subscribed = Vec::with_capacity(wanted.len());
        for (section, index) in wanted {
            let known = stay.iter().find(|known| known.section == index);
            subscribed.extend(self.subscribe(now, (room, key), section, index, known));
        }
        subscribed.sort_by_key(|each| each.section);
        if let Some(peer) = self.peers.get_mut(key) {
            peer.subscribed = subscribed;
        }
    }

    fn subscribe(
        &mut self,
        now: Instant,
        (room, key): (RoomKey, PeerKey),
        section: &SendSection,
        index: rtc::SendIndex,
        known: Option<&Subscribed>,
    ) -> Option<Subscribed> {
        if let Some(known) = known
            && known.codecs == section.codecs
        {
            return Some(known.clone());
        }
        let track = section.track;
        let fresh = self.draw() & 0x7fff;
        let peer = self.peers.get(key)?;
        let settings = peer.settings.get(&track).copied().unwrap_or_default();
        let used = known.map(|known| known.next_sequence).or(peer.used_sequences.get(&section.ssrc).copied());
        // Below 2^15, far from the first wrap, about which the two sides could disagree.
        let first = used.unwrap_or(fresh);
        let sink = Sink { peer: key, section: index };
        let outcome = self.with_media(room, |media| {
            media.set_subscription_as(now, track, sink, &section.codecs, first, &settings)
        })?;
        if outcome.is_err() {
            tracing::warn!(%track, "not subscribed: the room has as many subscriptions as it may have");
            return None;
        }
        Some(Subscribed {
            mid: section.mid,
            section: index,
            ssrc: section.ssrc,
            track,
            codecs: section.codecs.clone(),
            next_sequence: first,
            keyframe: 0,
            paused: known.is_some_and(|known| known.paused),
        })
    }

    fn unsubscribe(&mut self, now: Instant, room: RoomKey, key: PeerKey, gone: &Subscribed) {
        let sink = Sink { peer: key, section: gone.section };
        self.with_media(room, |media| media.remove_subscription(now, gone.track, sink));
        let Some(peer) = self.peers.get_mut(key) else { return };
        // Whoever has the section next begins with the numbers of what has not left.
        peer.outbox.video.forget(gone.section);
        if peer.used_sequences.len() < MAX_USED_SEQUENCES {
            peer.used_sequences.insert(gone.ssrc, gone.next_sequence);
        }
    }
}
