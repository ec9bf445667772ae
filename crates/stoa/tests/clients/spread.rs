//! A room over two workers, with native clients.

use std::time::{Duration, Instant};

use client::{Event, Events, LocalTrack, Options, Publication, Room};
use tokio::task::JoinHandle;

use crate::PATIENCE;
use crate::server::Server;

const ROOM: &str = "large";

/// Somebody, with microphone and camera or without, who sends until told to stop.
pub struct Person {
    pub room: Room,
    pub events: Events,
    sending: Option<JoinHandle<()>>,
}

impl Person {
    /// One with microphone and camera.
    pub async fn join(server: &Server, room: &str, identity: &str) -> Self {
        let publish = vec![LocalTrack::microphone(), LocalTrack::camera(640, 360)];
        let mut person = Self::enter(server, room, identity, publish).await;
        let published = person.room.published();
        person.sending = Some(send(published[0].clone(), published[1].clone()));
        person
    }

    /// One that only listens and looks.
    pub async fn watch(server: &Server, room: &str, identity: &str) -> Self {
        Self::enter(server, room, identity, Vec::new()).await
    }

    async fn enter(server: &Server, room: &str, identity: &str, publish: Vec<LocalTrack>) -> Self {
        let options = Options { publish, timeout: PATIENCE, ..Options::default() };
        let token = server.token(room, identity);
        let (room, events) =
            Room::connect(&server.socket_url(), &token, options).await.expect("it lets them in");
        Self { room, events, sending: None }
    }

    /// Gets so many tracks, of which media still comes.
    pub async fn receives(&self, tracks: usize) {
        let counts =
            || -> Vec<u64> { self.room.counters().tracks.values().map(|track| track.packets).collect() };
        let deadline = Instant::now() + PATIENCE;
        let before = counts();
        loop {
            let now = counts();
            let old = before.iter().copied().chain(std::iter::repeat(0));
            let growing = now.iter().zip(old).filter(|(now, before)| **now > before + 20).count();
            if growing == tracks {
                return;
            }
            assert!(Instant::now() < deadline, "{growing} of {tracks}: {:?}", self.room.counters());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn leave(self) {
        self.sending.inspect(JoinHandle::abort);
        self.room.leave().await;
    }
}

/// 50 audio and 25 video frames a second; every video frame is a keyframe of two packets.
fn send(audio: Publication, video: Publication) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut interval = tokio::time::interval(Duration::from_millis(20));
        for number in 0u32.. {
            interval.tick().await;
            let mut alive = audio.send_with_level(vec![7; 80], number.wrapping_mul(960), Some(30));
            if number.is_multiple_of(2) {
                alive &= video.send(vec![0x10; 2_000], number.wrapping_mul(1_800));
            }
            if !alive {
                return;
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_hear_and_see_all_when_a_room_is_on_two_workers() {
    let mut server = Server::with(&["--spread-at", "1"]);
    let before = server.before();
    let mut people = Vec::new();
    for identity in ["ada", "bob", "cid", "dan"] {
        people.push(Person::join(&server, ROOM, identity).await);
    }
    for worker in ["worker=\"0\"", "worker=\"1\""] {
        assert_eq!(server.metric("stoa_worker_peers", worker), 2.0, "{worker}");
        assert_eq!(server.metric("stoa_worker_rooms", worker), 1.0, "{worker}");
    }
    for person in &people {
        person.receives(6).await;
    }
    let relayed = |direction: &str| server.metric("stoa_worker_relayed_packets_total", direction);
    assert!(relayed("direction=\"in\"") > 100.0);
    assert_eq!(server.metric("stoa_worker_dropped_total", "reason=\"relay_full\""), 0.0);
    // Somebody goes and comes again, to the same worker as before.
    people.remove(2).leave().await;
    server.has_peers(3.0);
    people.push(Person::join(&server, ROOM, "cid").await);
    for person in &people {
        while person.events.try_recv().is_ok_and(|event| !matches!(event, Event::Ended(_))) {}
        person.receives(6).await;
    }
    for person in people {
        person.leave().await;
    }
    server.is_unharmed(&before);
}
