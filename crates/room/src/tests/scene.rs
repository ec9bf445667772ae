//! A room with people in it and a clock that the test turns.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use base::events::Happening;
use base::model::{
    DataTrack, Encryption, LeaveReason, Notice, ParticipantKind, ParticipantState, Permissions, RoomInfo,
    Track, TrackSource,
};
use base::{CodecKind, Identity, MediaKind, Mid, ParticipantId, RoomId, RoomName, TrackId, UnixMillis};

use crate::{Event, JoinRefused, Limits, Negotiated, Newcomer, PublishRefused, Room, Welcome};

pub struct Scene {
    pub room: Room,
    pub now: Instant,
    pub ended: Option<LeaveReason>,
    pub muted: Vec<(TrackId, bool)>,
    pub happened: Vec<Happening>,
    told: BTreeMap<ParticipantId, Vec<Notice>>,
    next: u64,
}

pub fn everything() -> Permissions {
    Permissions {
        publish: true,
        subscribe: true,
        publish_data: true,
        update_own_metadata: true,
        ..Permissions::default()
    }
}

pub fn hidden() -> Permissions {
    Permissions { hidden: true, ..everything() }
}

impl Scene {
    pub fn new() -> Self {
        Self::limited(0)
    }

    pub fn limited(max_participants: u32) -> Self {
        Self::with_limits(max_participants, Limits::default())
    }

    pub fn with_limits(max_participants: u32, limits: Limits) -> Self {
        let info = RoomInfo {
            id: RoomId(1),
            name: RoomName::new("lobby"),
            metadata: String::new(),
            empty_timeout_s: 300,
            departure_timeout_s: 20,
            max_participants,
            created_at: UnixMillis(0),
            participants: 0,
            publishers: 0,
            recording: false,
        };
        let now = Instant::now();
        let room = Room::new(now, info, limits);
        Self {
            room,
            now,
            ended: None,
            muted: Vec::new(),
            happened: Vec::new(),
            told: BTreeMap::new(),
            next: 0,
        }
    }

    pub fn newcomer(&mut self, identity: &str) -> Newcomer {
        self.next += 1;
        Newcomer {
            id: ParticipantId(self.next),
            identity: Identity::new(identity),
            name: identity.to_owned(),
            metadata: String::new(),
            attributes: BTreeMap::new(),
            kind_details: Default::default(),
            kind: ParticipantKind::Standard,
            permissions: everything(),
            auto_subscribe: true,
            auto_subscribe_data: false,
            abilities: base::model::Abilities::default(),
            joined_at: UnixMillis(0),
        }
    }

    pub fn enter(&mut self, newcomer: Newcomer) -> Result<Welcome, JoinRefused> {
        let welcome = self.room.join(self.now, newcomer);
        self.settle();
        welcome
    }

    /// Joins and becomes active.
    pub fn join(&mut self, identity: &str) -> ParticipantId {
        self.join_with(identity, |_| {})
    }

    pub fn join_with(&mut self, identity: &str, change: impl FnOnce(&mut Newcomer)) -> ParticipantId {
        let mut newcomer = self.newcomer(identity);
        change(&mut newcomer);
        let id = newcomer.id;
        self.enter(newcomer).expect("there is room");
        self.room.activate(self.now, id);
        self.settle();
        id
    }

    pub fn leave(&mut self, id: ParticipantId) {
        assert!(self.room.leave(self.now, id, LeaveReason::ClientInitiated));
        self.settle();
    }

    pub fn ask_to_publish(
        &mut self,
        id: ParticipantId,
        source: TrackSource,
        muted: bool,
    ) -> Result<TrackId, PublishRefused> {
        self.next += 1;
        let track = track(TrackId(self.next), source, muted);
        let published = self.room.publish(id, track).map(|track| track.id);
        self.settle();
        published
    }

    pub fn negotiate(&mut self, id: ParticipantId, track: TrackId) {
        let mid = Mid::new(b"0").expect("a valid mid");
        assert!(self.room.negotiated(self.now, id, track, negotiated(mid, CodecKind::Vp8, false)));
        self.settle();
    }

    /// Publishes a camera and negotiates it.
    pub fn publish(&mut self, id: ParticipantId) -> TrackId {
        let track = self.ask_to_publish(id, TrackSource::Camera, false).expect("allowed");
        self.negotiate(id, track);
        track
    }

    /// Lets time pass, with every deadline met on time.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.room.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.room.handle_timeout(self.now);
            self.settle();
        }
        self.now = end;
    }

    pub fn pass_ms(&mut self, time: u64) {
        self.pass(Duration::from_millis(time));
    }

    /// Longer than every window, shorter than every timeout.
    pub fn quiet(&mut self) {
        self.pass(Duration::from_secs(6));
    }

    /// What the participant was told since the last call.
    pub fn told(&mut self, id: ParticipantId) -> Vec<Notice> {
        self.settle();
        self.told.remove(&id).unwrap_or_default()
    }

    /// Forgets what everybody was told.
    pub fn forget(&mut self) {
        self.quiet();
        self.told.clear();
    }

    /// In short form, without the room's own data.
    pub fn heard(&mut self, id: ParticipantId) -> Vec<String> {
        self.told(id).iter().filter_map(short).collect()
    }

    pub fn settle(&mut self) {
        while let Some(event) = self.room.poll_event() {
            match event {
                Event::Notice(id, notice) => self.told.entry(id).or_default().push(notice),
                Event::SetMuted { track, muted } => self.muted.push((track, muted)),
                Event::Happened(happening) => self.happened.push(happening),
                Event::Ended(reason) => self.ended = Some(reason),
            }
        }
    }
}

pub fn negotiated(mid: Mid, codec: CodecKind, simulcast: bool) -> Negotiated {
    Negotiated { mid, codec, simulcast, sdp_cid: String::new() }
}

pub fn track(id: TrackId, source: TrackSource, muted: bool) -> Track {
    let sound = matches!(source, TrackSource::Microphone | TrackSource::ScreenShareAudio);
    let kind = if sound { MediaKind::Audio } else { MediaKind::Video };
    Track {
        source,
        name: "track".to_owned(),
        muted,
        width: 1_280,
        height: 720,
        cid: format!("cid-{}", id.0),
        ..Track::new(id, kind, CodecKind::Vp8)
    }
}

/// `+ann` here, `+ann:2` here with two tracks of whichever kind, `-ann` gone, `?ann` here and not active; several in one notice joined.
fn short(notice: &Notice) -> Option<String> {
    Some(match notice {
        Notice::Participants(participants) => {
            let each = participants.iter().map(|participant| {
                let sign = match participant.state {
                    ParticipantState::Disconnected => '-',
                    ParticipantState::Active => '+',
                    _ => '?',
                };
                match participant.tracks.len() + participant.data_tracks.len() {
                    0 => format!("{sign}{}", participant.identity),
                    tracks => format!("{sign}{}:{tracks}", participant.identity),
                }
            });
            each.collect::<Vec<_>>().join(" ")
        }
        Notice::Room(_) => return None,
        Notice::Subscribe { publisher, .. } => format!("subscribe {}", publisher.identity),
        Notice::Unsubscribe { .. } => "unsubscribe".to_owned(),
        Notice::EncodingsChanged { track } => format!("encodings {}", track.backup_stream().is_some()),
        Notice::FirstSubscriber { .. } => "first subscriber".to_owned(),
        Notice::TrackRemoved { .. } => "track removed".to_owned(),
        Notice::DataHandles(handles) => {
            let each = handles.iter().map(|one| format!("{}={}", one.handle, one.identity));
            format!("handles {}", each.collect::<Vec<_>>().join(" ")).trim_end().to_owned()
        }
        Notice::DataTrackRemoved(track) => format!("data track removed {}", track.handle),
        Notice::MuteRequested { muted, .. } => format!("mute {muted}"),
        Notice::PermissionsChanged => "permissions".to_owned(),
        Notice::Speakers(speakers) => {
            let each = speakers.iter().map(|speaker| format!("{}:{}", speaker.participant.0, speaker.active));
            format!("speakers {}", each.collect::<Vec<_>>().join(" "))
        }
        Notice::Quality(qualities) => {
            let each = qualities.iter().map(|(id, quality)| format!("{}:{quality:?}", id.0));
            format!("quality {}", each.collect::<Vec<_>>().join(" "))
        }
        Notice::Closed(reason) => format!("closed {reason:?}"),
    })
}

/// Two rooms whose people and tracks have different ids.
pub fn rooms() -> (Scene, Scene) {
    let (first, mut second) = (Scene::new(), Scene::new());
    for _ in 0..20 {
        second.newcomer("nobody");
    }
    (first, second)
}

pub fn data_track(id: u64, handle: u16) -> DataTrack {
    DataTrack {
        id: TrackId(id),
        handle,
        name: format!("track {handle}"),
        encryption: Encryption::None,
        encoding: None,
        schema: None,
    }
}
