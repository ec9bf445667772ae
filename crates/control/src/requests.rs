//! What adapters ask on behalf of their participants.

use base::model::TrackSettings;
use base::{ParticipantId, PeerId, TrackId};
use contract::media::{ChannelSpec, Command, IceCredentials, Sections};
use contract::session::{Event, PublishRefused, PublishTrack, Request};
use room::Negotiated;

use crate::metrics::count;
use crate::relays::Of;
use crate::room_task::{RoomTask, now};
use crate::seat::{MAX_PEERS, Peer};
use crate::sections::{brings, carries, grant, receives, refused, sends};

/// Data channels that are opened from our side on one connection.
const MAX_CHANNELS: usize = 16;

impl RoomTask {
    /// Handles one request. Requests about connections and tracks that are not the participant's are ignored.
    pub(crate) fn request(&mut self, id: ParticipantId, request: Request) {
        if !self.seats.contains_key(&id) {
            return;
        }
        match request {
            Request::AddPeer { peer, local, channels, primary } => {
                self.add_peer(id, peer, local, channels, primary);
            }
            Request::SetRemote { peer, remote, fingerprint, role } => {
                self.command_of(id, peer, Command::SetRemote { peer, remote, fingerprint, role });
            }
            Request::RestartIce { peer, local } => {
                self.command_of(id, peer, Command::RestartIce { peer, local });
            }
            Request::SetSections { peer, sections } => self.set_sections(id, peer, sections),
            Request::Publish(track) => self.publish(id, track),
            Request::TrackNegotiated { track, mid, codec, simulcast, sdp_cid } => {
                self.room.negotiated(now(), id, track, Negotiated { mid, codec, simulcast, sdp_cid });
            }
            Request::BackupNegotiated { track, stream } => {
                self.room.backup_negotiated(now(), id, track, Some(stream));
            }
            Request::NeedBackup { track } => self.need_backup(id, track),
            Request::Unpublish { track } if track.is_backup() => {
                if self.room.backup_negotiated(now(), id, track.primary(), None) {
                    self.refresh_receiving(id, track);
                }
            }
            Request::ChangeTrack { track, change } => {
                self.room.change_track(now(), id, track, change);
            }
            Request::Unpublish { track } => {
                if self.room.unpublish(now(), id, track) {
                    self.refresh_receiving(id, track);
                }
            }
            Request::Mute { track, muted } => {
                self.room.mute(now(), id, track, muted);
            }
            Request::UpdateSubscription { tracks, subscribe } => {
                self.update_subscription(id, &tracks, subscribe);
            }
            Request::TrackSettings { tracks, settings } => self.track_settings(id, &tracks, settings),
            Request::SubscriptionPermission { all, allowed } => {
                self.room.set_audience(now(), id, all, allowed);
            }
            Request::ChangeMetadata { request_id, change } => {
                let allowed = self.room.change_metadata(now(), id, change);
                self.deliver(id, Event::MetadataChanged { request_id, allowed });
            }
            Request::Data { kind, target, sequence, payload } => {
                self.send_data(id, kind, &target, sequence, &payload);
            }
            Request::ReplayData { received } => self.replay(id, received),
            Request::PublishDataTrack(track) => self.publish_data_track(id, track),
            Request::UnpublishDataTrack { handle } => self.unpublish_data_track(id, handle),
            Request::UpdateDataSubscription { updates } => self.update_data_subscription(id, &updates),
            Request::RpcAnswer { id: call, outcome } => self.calls_to.answered(id, call, outcome),
            Request::MoveOn => self.move_on(id),
            Request::Leave(reason) => {
                self.room.leave(now(), id, reason);
            }
        }
    }

    /// Holds the sections of the connection that sends `track` against what the participant may receive now.
    pub(crate) fn refresh_sending(&mut self, id: ParticipantId, track: TrackId) {
        self.refresh(id, |peer| sends(&peer.wanted, track));
    }

    /// Holds the sections of the connection that brings `track` against what the participant publishes now.
    pub(crate) fn refresh_receiving(&mut self, id: ParticipantId, track: TrackId) {
        self.refresh(id, |peer| receives(&peer.wanted, track));
    }

    fn add_peer(
        &mut self,
        participant: ParticipantId,
        peer: PeerId,
        local: IceCredentials,
        channels: Vec<ChannelSpec>,
        primary: bool,
    ) {
        let room = self.room.info().id;
        let Some(seat) = self.seats.get_mut(&participant) else { return };
        if seat.peers.len() >= MAX_PEERS || !self.routes.add_peer(peer, room, seat.place.worker.index()) {
            return tracing::warn!(%participant, "connection refused: too many, or its id is taken");
        }
        seat.peers.insert(peer, Peer::default());
        if primary {
            seat.primary = Some(peer);
        }
        self.peers.insert(peer, participant);
        self.peer_command(peer, Command::AddPeer { peer, room, participant, local });
        for channel in channels.into_iter().take(MAX_CHANNELS) {
            self.peer_command(peer, Command::OpenChannel { peer, channel });
        }
    }

    fn command_of(&mut self, id: ParticipantId, peer: PeerId, command: Command) {
        if self.peers.get(&peer) == Some(&id) {
            self.peer_command(peer, command);
        }
    }

    pub(crate) fn set_sections(&mut self, id: ParticipantId, peer: PeerId, wanted: Sections) {
        let granted = grant(&self.room, id, &wanted);
        if refused(&wanted, &granted) > 0 {
            count(&self.metrics.sections_refused);
        }
        let Some(seat) = self.seats.get_mut(&id) else { return };
        let Some(state) = seat.peers.get_mut(&peer) else { return };
        state.wanted = wanted;
        self.grant_sections(id, peer, granted);
    }

    fn refresh(&mut self, id: ParticipantId, concerns: impl Fn(&Peer) -> bool) {
        let Some(seat) = self.seats.get(&id) else { return };
        let concerned = seat.peers.iter().filter(|(_, peer)| concerns(peer));
        let changed: Vec<(PeerId, Sections)> = concerned
            .map(|(id_of_peer, peer)| (*id_of_peer, grant(&self.room, id, &peer.wanted), &peer.granted))
            .filter(|(_, granted, before)| granted != *before)
            .map(|(peer, granted, _)| (peer, granted))
            .collect();
        for (peer, granted) in changed {
            self.grant_sections(id, peer, granted);
        }
    }

    /// Tells the worker the sections, and what it must know about tracks that are new in them.
    fn grant_sections(&mut self, id: ParticipantId, peer: PeerId, granted: Sections) {
        let room = self.room.info().id;
        let Some(seat) = self.seats.get_mut(&id) else { return };
        let Some(state) = seat.peers.get_mut(&peer) else { return };
        let before = std::mem::replace(&mut state.granted, granted.clone());
        let brought = granted.receive.iter().filter_map(|section| section.track);
        let muted = brought.filter(|track| !brings(&before, *track) && self.room.is_muted(track.primary()));
        let muted: Vec<Command> = muted.map(|track| Command::SetMuted { room, track, muted: true }).collect();
        let sent = granted.send.iter().map(|section| section.track);
        let settings = sent.filter(|track| !carries(&before, *track)).filter_map(|track| {
            Some(Command::SetTrackSettings { peer, track, settings: seat.settings.get(track.primary())? })
        });
        // First: nobody is asked to send what the receiver does not want.
        let settings: Vec<Command> = settings.collect();
        seat.count_streams();
        let of = Of { peer, participant: id, worker: seat.place.worker.index() };
        self.relays.change(of, &before, &granted);
        settings.into_iter().for_each(|command| self.peer_command(peer, command));
        self.peer_command(peer, Command::SetSections { peer, sections: granted });
        muted.into_iter().for_each(|command| self.peer_command(peer, command));
    }

    fn publish(&mut self, id: ParticipantId, asked: PublishTrack) {
        let cid = asked.cid.clone();
        if self.teller.is_behind() {
            count(&self.metrics.held_back);
            return self.deliver(id, Event::Published { cid, outcome: Err(PublishRefused::LimitExceeded) });
        }
        let track = asked.into_track(TrackId::fresh(rand::random()));
        let outcome = self.room.publish(id, track);
        self.deliver(id, Event::Published { cid, outcome });
    }

    pub(crate) fn update_subscription(&mut self, id: ParticipantId, tracks: &[TrackId], subscribe: bool) {
        for track in self.room.update_subscription(now(), id, tracks, subscribe) {
            self.deliver(id, Event::SubscriptionRefused { track });
        }
    }

    /// Asks the publisher of a track for its second encoding, on behalf of a receiver.
    fn need_backup(&mut self, id: ParticipantId, track: TrackId) {
        if self.room.is_subscribed(id, track)
            && self.room.offers_backup(track)
            && let Some(publisher) = self.room.publisher(track)
        {
            self.deliver(publisher, Event::BackupNeeded { track });
        }
    }

    /// Settings for a track that is not negotiated yet hold from when it is.
    fn track_settings(&mut self, id: ParticipantId, tracks: &[TrackId], settings: TrackSettings) {
        for track in tracks.iter().copied() {
            if !self.room.is_subscribed(id, track) {
                continue;
            }
            let Some(seat) = self.seats.get_mut(&id) else { return };
            let room = &self.room;
            if !seat.settings.set(track, settings, |track| room.publisher(track).is_some()) {
                continue;
            }
            let sections = seat.peers.iter().flat_map(|(peer, state)| {
                state.granted.send.iter().map(move |section| (*peer, section.track))
            });
            let carrier = sections.into_iter().find(|(_, sent)| sent.primary() == track);
            if let Some((peer, track)) = carrier {
                self.peer_command(peer, Command::SetTrackSettings { peer, track, settings });
            }
        }
    }
}
