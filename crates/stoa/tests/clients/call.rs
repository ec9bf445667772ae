//! A call of two, with media flowing both ways, that notices the smallest disturbance.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use client::{Event, Events, LocalTrack, Options, Publication, Room};

use crate::PATIENCE;
use crate::server::Server;

/// The room of the call.
pub const ROOM: &str = "undisturbed";
/// Longest way of a packet from one client to the other. It takes a millisecond; the machine may be busy.
const LONGEST_WAY: Duration = Duration::from_secs(1);
/// An audio frame, and in 48 kHz.
const FRAME: Duration = Duration::from_millis(20);
const FRAME_UNITS: u32 = 960;
/// Every so many audio frames a video frame is sent.
const VIDEO_EVERY: u64 = 2;
/// Bytes of a video frame: three packets.
const VIDEO_BYTES: usize = 3_000;

/// The two of them.
pub struct Call {
    stop: Arc<AtomicBool>,
    people: Vec<Person>,
}

struct Person {
    room: Room,
    /// Sends frames; returns how many of each kind.
    sender: JoinHandle<Sent>,
    /// Reads events; returns what arrived.
    reader: JoinHandle<Arrived>,
}

#[derive(Clone, Copy, Default, Debug)]
struct Sent {
    audio: u64,
}

/// What one of them received of the other.
#[derive(Default, Debug)]
struct Arrived {
    /// Numbers of the audio frames.
    audio: BTreeMap<u64, ()>,
    video_packets: u64,
    longest_way: Duration,
    /// The session ended before it was told to.
    ended: Option<String>,
}

impl Call {
    /// Connects both and waits until each hears and sees the other.
    pub async fn start(server: &Server) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut people = Vec::new();
        for identity in ["ada", "bob"] {
            let options = Options {
                publish: vec![LocalTrack::microphone(), LocalTrack::camera(640, 360)],
                timeout: PATIENCE,
                ..Options::default()
            };
            let token = server.token(ROOM, identity);
            let (room, events) =
                Room::connect(&server.socket_url(), &token, options).await.expect("it lets them in");
            people.push(Person::start(room, events, &stop));
        }
        let call = Self { stop, people };
        let deadline = Instant::now() + PATIENCE;
        while !call.people.iter().all(Person::hears_and_sees) {
            assert!(Instant::now() < deadline, "media does not flow: {:?}", call.people[0].room.counters());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        call
    }

    /// Ends the call. Since its start every audio frame has arrived, in time, no video packet is missing, and nobody was
    /// thrown out.
    pub async fn was_undisturbed(self) {
        // A while longer, so that a disturbance that has only begun is seen.
        tokio::time::sleep(Duration::from_millis(500)).await;
        self.stop.store(true, Ordering::Relaxed);
        let mut rooms = Vec::new();
        let (mut sent, mut readers) = (Vec::new(), Vec::new());
        for Person { room, sender, reader } in self.people {
            sent.push(sender.join().expect("it does not panic"));
            rooms.push(room);
            readers.push(reader);
        }
        // What is on its way, retransmissions included.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let counters: Vec<_> = rooms.iter().map(Room::counters).collect();
        for room in rooms {
            room.leave().await;
        }
        for (index, reader) in readers.into_iter().enumerate() {
            let arrived = reader.join().expect("it does not panic");
            arrived.is_whole(sent[1 - index]);
            for (track, counts) in &counters[index].tracks {
                assert_eq!(counts.missing, 0, "of {track}: {counts:?}");
            }
            assert_eq!(counters[index].events_dropped, 0, "the test reads too slowly");
        }
    }
}

impl Person {
    fn start(room: Room, events: Events, stop: &Arc<AtomicBool>) -> Self {
        let (audio, video) = (room.published()[0].clone(), room.published()[1].clone());
        let (stopped, keyframe) = (stop.clone(), Arc::new(AtomicBool::new(true)));
        let asked = keyframe.clone();
        let sender = std::thread::spawn(move || send_all(&audio, &video, &stopped, &keyframe));
        let stopped = stop.clone();
        let reader = std::thread::spawn(move || read_all(&events, &stopped, &asked));
        Self { room, sender, reader }
    }

    fn hears_and_sees(&self) -> bool {
        let counters = self.room.counters();
        counters.tracks.len() == 2 && counters.tracks.values().all(|track| track.packets >= 10)
    }
}

/// Every audio frame carries its number and the time at which it was sent.
fn send_all(audio: &Publication, video: &Publication, stop: &AtomicBool, keyframe: &AtomicBool) -> Sent {
    let (start, mut sent) = (Instant::now(), Sent::default());
    while !stop.load(Ordering::Relaxed) {
        let number = sent.audio;
        let units = (number as u32).wrapping_mul(FRAME_UNITS);
        let mut payload = number.to_be_bytes().to_vec();
        payload.extend(micros(Instant::now()).to_be_bytes());
        payload.resize(80, 0);
        if !audio.send_with_level(payload, units, Some(30)) {
            // The reader knows why.
            break;
        }
        sent.audio += 1;
        if number.is_multiple_of(VIDEO_EVERY) {
            // The lowest bit of the first byte is 0 in keyframes (RFC 6386 section 9.1).
            let mut frame = vec![7; VIDEO_BYTES];
            frame[0] = if keyframe.swap(false, Ordering::Relaxed) { 0x10 } else { 0x11 };
            video.send(frame, units / 48 * 90);
        }
        let next = start + FRAME * sent.audio as u32;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    sent
}

fn read_all(events: &Events, stop: &AtomicBool, keyframe: &AtomicBool) -> Arrived {
    let mut arrived = Arrived::default();
    while let Ok(event) = events.recv_blocking() {
        match event {
            Event::Packet(packet) if packet.kind == base::MediaKind::Audio => {
                let (number, at) = packet.payload.split_at(8);
                let (number, at) = (number_in(number), number_in(&at[..8]));
                arrived.audio.insert(number, ());
                let way = Duration::from_micros(micros(packet.arrival).saturating_sub(at));
                arrived.longest_way = arrived.longest_way.max(way);
            }
            Event::Packet(_) => arrived.video_packets += 1,
            Event::KeyframeRequested { .. } => keyframe.store(true, Ordering::Relaxed),
            Event::Ended(why) if !stop.load(Ordering::Relaxed) => arrived.ended = Some(why.to_string()),
            _ => {}
        }
    }
    arrived
}

impl Arrived {
    fn is_whole(&self, sent: Sent) {
        assert_eq!(self.ended, None, "somebody was thrown out");
        let first = *self.audio.keys().next().expect("something arrived");
        let missing: Vec<u64> =
            (first..sent.audio).filter(|number| !self.audio.contains_key(number)).collect();
        assert!(missing.is_empty(), "audio frames of {first}..{} did not arrive: {missing:?}", sent.audio);
        assert!(self.longest_way < LONGEST_WAY, "a packet took {:?}", self.longest_way);
        assert!(self.video_packets > 0);
    }
}

fn number_in(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes.try_into().expect("eight bytes"))
}

/// Microseconds since some moment of this process.
fn micros(at: Instant) -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let start = *START.get_or_init(|| at - Duration::from_secs(1));
    at.saturating_duration_since(start).as_micros() as u64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[should_panic(expected = "a packet took")]
async fn a_call_that_is_disturbed_says_so() {
    let server = Server::start();
    let call = Call::start(&server).await;
    server.freeze(LONGEST_WAY + Duration::from_millis(300));
    call.was_undisturbed().await;
}
