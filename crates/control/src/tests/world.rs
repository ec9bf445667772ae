//! The control plane with workers that only write down what they are told. Time is virtual: `quiet` lets everything that is
//! ready run, and a wait that ends without an answer costs nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use base::events::RoomEvent;
use base::model::{
    Encryption, LeaveReason, Notice, ParticipantKind, Permissions, RoomInfo, Track, TrackSource,
};
use base::{CodecKind, ExtensionMap, Identity, MediaKind, Mid, PeerId, RoomName, TrackId};
use contract::events::{BEHIND_AT, Follower, RoomEvents};
use contract::media::{
    ChannelSpec, Command, Event as MediaEvent, Fingerprint, IceCredentials, PeerEnd, ReceiveSection,
    Sections, SendSection, SetupTimes, WorkerHandle, WorkerInfo,
};
use contract::session::{AdminRequest, ControlHandle, Event, Join, JoinError, Joined, PublishTrack, Request};

use crate::{Config, Control, spawn};

pub struct World {
    pub handle: ControlHandle,
    pub control: Control,
    pub workers: Vec<async_channel::Receiver<Command>>,
    pub media: async_channel::Sender<MediaEvent>,
    /// What is told of the rooms.
    pub follower: Follower,
    events: RoomEvents,
    /// The next command makes the task that sends it panic.
    pub trap: Arc<AtomicBool>,
}

/// A joined participant and its adapter's view.
pub struct Person {
    pub joined: Joined,
    pub peer: PeerId,
}

impl World {
    pub fn new() -> Self {
        Self::with(Config::default(), 1)
    }

    pub fn with(config: Config, workers: usize) -> Self {
        let trap = Arc::new(AtomicBool::new(false));
        let (handles, queues) = (0..workers).map(|index| fake_worker(index, Arc::clone(&trap))).unzip();
        let (media, events) = async_channel::bounded(1_024);
        let mut told = RoomEvents::default();
        let follower = told.follow();
        let (handle, control) = spawn(config, handles, events, told.clone());
        Self { handle, control, workers: queues, media, follower, events: told, trap }
    }

    pub async fn try_join(&self, join: Join) -> Result<Joined, JoinError> {
        self.handle.join(join).await
    }

    /// Joins without any connection.
    pub async fn join(&self, identity: &str) -> Person {
        self.join_with(join(identity)).await
    }

    pub async fn join_with(&self, join: Join) -> Person {
        let joined = self.try_join(join).await.expect("there is room");
        Person { joined, peer: PeerId(rand::random()) }
    }

    /// Joins, and its primary connection comes up with its data channels.
    pub async fn connect(&self, identity: &str) -> Person {
        let person = self.join(identity).await;
        person.add_peer(true).await;
        quiet().await;
        self.up(person.peer).await;
        self.channels(person.peer).await;
        quiet().await;
        person
    }

    pub async fn up(&self, peer: PeerId) {
        let ms = |ms| Some(Duration::from_millis(ms));
        let times = SetupTimes { ice: ms(1), dtls: ms(2), first_media: None };
        self.say(MediaEvent::Connected { peer, times }).await;
    }

    pub async fn channels(&self, peer: PeerId) {
        for (label, max_retransmits) in [("_reliable", None), ("_lossy", Some(0))] {
            let channel =
                ChannelSpec { label: label.to_owned(), ordered: max_retransmits.is_none(), max_retransmits };
            self.say(MediaEvent::ChannelOpen { peer, channel }).await;
        }
    }

    pub async fn down(&self, peer: PeerId, end: PeerEnd) {
        self.say(MediaEvent::Closed { peer, end, times: SetupTimes::default() }).await;
        quiet().await;
    }

    pub async fn say(&self, event: MediaEvent) {
        self.media.send(event).await.expect("control listens");
    }

    /// What the first worker was told since the last call.
    pub async fn told(&self) -> Vec<Command> {
        quiet().await;
        std::iter::from_fn(|| self.workers[0].try_recv().ok()).collect()
    }

    pub async fn rooms(&self) -> Vec<RoomInfo> {
        let list = |reply| AdminRequest::ListRooms { names: Vec::new(), reply };
        self.handle.admin(list).await.expect("control answers")
    }

    pub async fn participants(&self) -> Vec<String> {
        let list = |reply| AdminRequest::ListParticipants { room: lobby(), reply };
        let participants = self.handle.admin(list).await.expect("control answers");
        let mut names: Vec<String> = participants.iter().map(|one| one.identity.to_string()).collect();
        names.sort();
        names
    }

    /// Tells the follower more than it may have waiting.
    pub fn fill_follower(&self, event: &RoomEvent) {
        (0..BEHIND_AT).for_each(|_| self.events.tell(event.clone()));
    }

    pub fn count(&self, name: &str, label: &str) -> u64 {
        let mut sum = 0;
        self.control.metrics().for_each(|this, labels, value| {
            let is_it = this == name && (label.is_empty() || labels.iter().any(|(_, value)| *value == label));
            sum += if is_it { value } else { 0 };
        });
        sum
    }
}

impl Person {
    pub async fn ask(&self, request: Request) {
        self.joined.session.send(request).await.expect("the room is there");
    }

    pub async fn add_peer(&self, primary: bool) {
        self.ask(add_peer(self.peer, primary)).await;
    }

    /// What the adapter was told since the last call.
    pub async fn events(&self) -> Vec<Event> {
        quiet().await;
        std::iter::from_fn(|| self.joined.events.try_recv().ok()).collect()
    }

    pub async fn notices(&self) -> Vec<Notice> {
        let notice = |event| match event {
            Event::Notice(notice) => Some(notice),
            _ => None,
        };
        self.events().await.into_iter().filter_map(notice).collect()
    }

    /// The reason of the session's end, if it has ended since the last call.
    pub async fn closed(&self) -> Option<LeaveReason> {
        self.notices().await.into_iter().find_map(|notice| match notice {
            Notice::Closed(reason) => Some(reason),
            _ => None,
        })
    }

    /// Publishes a camera up to its announcement.
    pub async fn publish(&self) -> TrackId {
        self.ask(Request::Publish(camera())).await;
        let track = self.published().await.expect("allowed").id;
        self.ask(Request::SetSections { peer: self.peer, sections: receiving(Some(track)) }).await;
        let mid = Mid::new(b"0").expect("a valid mid");
        self.ask(Request::TrackNegotiated {
            track,
            mid,
            codec: CodecKind::Vp8,
            simulcast: false,
            sdp_cid: String::new(),
        })
        .await;
        quiet().await;
        track
    }

    pub async fn published(&self) -> Option<Arc<Track>> {
        self.events().await.into_iter().find_map(|event| match event {
            Event::Published { outcome, .. } => outcome.ok(),
            _ => None,
        })
    }
}

/// Lets everything that is ready run. A millisecond passes.
pub async fn quiet() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

pub async fn seconds(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

pub fn lobby() -> RoomName {
    RoomName::new("lobby")
}

pub fn join(identity: &str) -> Join {
    Join {
        room: lobby(),
        create: true,
        options: Default::default(),
        identity: Identity::new(identity),
        name: identity.to_owned(),
        metadata: String::new(),
        attributes: BTreeMap::new(),
        kind: ParticipantKind::Standard,
        kind_details: Default::default(),
        issued_s: 0,
        permissions: Permissions {
            publish: true,
            subscribe: true,
            publish_data: true,
            update_own_metadata: true,
            ..Permissions::default()
        },
        auto_subscribe: true,
        auto_subscribe_data: false,
        abilities: base::model::Abilities::default(),
        client: "test".to_owned(),
    }
}

pub fn add_peer(peer: PeerId, primary: bool) -> Request {
    let channels = vec![ChannelSpec { label: "_reliable".to_owned(), ordered: true, max_retransmits: None }];
    Request::AddPeer { peer, local: credentials(), channels, primary }
}

pub fn credentials() -> IceCredentials {
    IceCredentials { ufrag: "ufrag".to_owned(), password: "a password of enough length".to_owned() }
}

pub fn camera() -> PublishTrack {
    PublishTrack {
        cid: "cid".to_owned(),
        kind: MediaKind::Video,
        source: TrackSource::Camera,
        name: "camera".to_owned(),
        muted: false,
        width: 1_280,
        height: 720,
        layers: Vec::new(),
        codec: CodecKind::Vp8,
        disable_red: false,
        stereo: false,
        no_dtx: false,
        features: Default::default(),
        backup: None,
        encryption: Encryption::None,
        stream: String::new(),
        trailers: Default::default(),
    }
}

/// One section in which the participant sends.
pub fn receiving(track: Option<TrackId>) -> Sections {
    let section = ReceiveSection {
        mid: Mid::new(b"0").expect("a valid mid"),
        media: MediaKind::Video,
        codecs: Vec::new(),
        extensions: ExtensionMap::default(),
        rids: Vec::new(),
        sizes: Vec::new(),
        ssrcs: Vec::new(),
        source: TrackSource::Camera,
        track,
    };
    Sections { receive: vec![section], send: Vec::new() }
}

/// Sections in which the participant is sent these tracks.
pub fn sending(tracks: &[TrackId]) -> Sections {
    let send = tracks.iter().enumerate().map(|(at, track)| SendSection {
        mid: Mid::new(at.to_string().as_bytes()).expect("a valid mid"),
        media: MediaKind::Video,
        track: *track,
        ssrc: at as u32,
        rtx_ssrc: None,
        codecs: Vec::new(),
        extensions: ExtensionMap::default(),
        cname: String::new(),
        strips_trailers: false,
    });
    Sections { receive: Vec::new(), send: send.collect() }
}

/// The tracks of the last sections that this connection was given.
pub fn sent_tracks(commands: &[Command], of: PeerId) -> Option<Vec<TrackId>> {
    commands.iter().rev().find_map(|command| match command {
        Command::SetSections { peer, sections } if *peer == of => {
            Some(sections.send.iter().map(|section| section.track).collect())
        }
        _ => None,
    })
}

/// The tracks that the last sections of this connection feed.
pub fn fed_tracks(commands: &[Command], of: PeerId) -> Option<Vec<Option<TrackId>>> {
    commands.iter().rev().find_map(|command| match command {
        Command::SetSections { peer, sections } if *peer == of => {
            Some(sections.receive.iter().map(|section| section.track).collect())
        }
        _ => None,
    })
}

pub fn was_removed(commands: &[Command], peer: PeerId) -> bool {
    commands
        .iter()
        .any(|command| matches!(command, Command::RemovePeer { peer: removed } if *removed == peer))
}

fn fake_worker(index: usize, trap: Arc<AtomicBool>) -> (WorkerHandle, async_channel::Receiver<Command>) {
    let (commands, queue) = async_channel::bounded(10_000);
    let info = WorkerInfo {
        index,
        candidates: vec![SocketAddr::from(([127, 0, 0, 1], 7_882))],
        fingerprint: Fingerprint([0; 32]),
    };
    let wake = move || assert!(!trap.swap(false, Relaxed), "this test makes a room's task panic");
    (WorkerHandle::new(info, commands, Arc::new(wake)), queue)
}
