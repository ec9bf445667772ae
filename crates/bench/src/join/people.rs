//! Who joins, and what they say.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};

use auth::{Claims, DEVELOPMENT_KEY, DEVELOPMENT_SECRET};
use base::UnixMillis;
use client::{LocalTrack, Options, Publication, Room};

use super::PATIENCE;
use super::server::Server;

/// An audio frame, and in 48 kHz.
const FRAME: Duration = Duration::from_millis(20);
const FRAME_UNITS: u32 = 960;
/// Bytes of a frame: speech at 32 kbit/s.
const FRAME_BYTES: usize = 80;
/// Loud, in -dBov.
const LOUD: u8 = 30;
/// How long a token is good.
const TOKEN_LIFE: Duration = Duration::from_secs(3_600);

/// Somebody who can join.
pub struct Guest {
    server: Arc<Server>,
    /// One certificate for all: making them is the clients' work, and would be done beside the joins that are measured.
    transport: Arc<rtc::Config>,
}

impl Guest {
    pub fn new(server: Arc<Server>) -> Result<Self, String> {
        let certificate = rtc::Certificate::generate([7; 16]).map_err(|error| error.to_string())?;
        let transport = rtc::Config::new(certificate).map(Arc::new).map_err(|error| error.to_string())?;
        Ok(Self { server, transport })
    }

    /// Joins a room, publishing this.
    pub async fn join(&self, room: &str, identity: &str, publish: Vec<LocalTrack>) -> Result<Room, String> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let claims = Claims::join(identity, room).valid_for(UnixMillis(now.as_millis() as u64), TOKEN_LIFE);
        let token = auth::mint(DEVELOPMENT_KEY, DEVELOPMENT_SECRET, &claims);
        let options = Options {
            publish,
            packets: false,
            transport: Some(self.transport.clone()),
            timeout: PATIENCE,
            ..Options::default()
        };
        let (room, _) = Room::connect(&self.server.url(), &token, options)
            .await
            .map_err(|error| format!("{identity}: {error}"))?;
        Ok(room)
    }
}

/// A thread that sends frames of all who publish, each at a time of its own within the frame; it ends with this.
#[derive(Clone)]
pub struct Speakers {
    publications: Arc<Mutex<Vec<Publication>>>,
}

impl Speakers {
    pub fn start() -> Self {
        let publications = Arc::new(Mutex::new(Vec::new()));
        let weak = Arc::downgrade(&publications);
        std::thread::spawn(move || speak(&weak));
        Self { publications }
    }

    pub fn add(&self, publications: &[Publication]) {
        let mut all = self.publications.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(publications.iter().cloned());
    }
}

fn speak(publications: &Weak<Mutex<Vec<Publication>>>) {
    let start = Instant::now();
    for number in 0u32.. {
        let Some(speakers) = publications.upgrade() else { return };
        let speakers: Vec<Publication> = speakers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let begin = start + FRAME * number;
        let count = speakers.len().max(1) as u32;
        for (index, speaker) in speakers.iter().enumerate() {
            std::thread::sleep(
                (begin + FRAME * index as u32 / count).saturating_duration_since(Instant::now()),
            );
            speaker.send_with_level(vec![0xfc; FRAME_BYTES], number.wrapping_mul(FRAME_UNITS), Some(LOUD));
        }
        std::thread::sleep((begin + FRAME).saturating_duration_since(Instant::now()));
    }
}
