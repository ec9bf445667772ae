//! `stoa load`: many native clients that publish and watch, and what they see of it.
//!
//! | file | what |
//! |---|---|
//! | `people` | one publisher, one subscriber |
//! | `watch` | what is subscribed, and in which size |
//! | `summary` | the table, and what is said at the end |

mod people;
mod summary;
mod watch;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use auth::Claims;
use client::{ConnectError, Ended, clip};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::cli::Load;
use crate::token;
use people::{Outcome, Person, Role};
use summary::Summary;
pub use watch::Layout;

/// What the clients hold of each other beyond their own work.
struct Crowd {
    url: String,
    key: String,
    secret: String,
    options: Load,
    /// One certificate for all: making one for each takes longer than the join.
    transport: Arc<rtc::Config>,
    media: Arc<people::Media>,
}

/// Runs the load that the options describe. Fails when nobody gets in, with what to do about it, and when some do not.
pub fn run(options: Load) -> Result<(), String> {
    let (key, secret) = token::signer(&options.signer)?;
    if options.publishers + options.subscribers == 0 {
        return Err("nobody would join: give --publishers, --subscribers or both".into());
    }
    let certificate = rtc::Certificate::generate(rand::random()).map_err(|error| error.to_string())?;
    let transport = rtc::Config::new(certificate).map(Arc::new).map_err(|error| error.to_string())?;
    let media = Arc::new(people::Media::new());
    let crowd = Arc::new(Crowd { url: options.url.clone(), key, secret, options, transport, media });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("the runtime cannot be started: {error}"))?;
    runtime.block_on(drive(&crowd))
}

async fn drive(crowd: &Arc<Crowd>) -> Result<(), String> {
    let mut summary = Summary::new(crowd.options.json);
    let mut waiting = roles(&crowd.options).into_iter();
    let (room, index, role) = waiting.next().ok_or("nobody would join")?;
    // The first one alone: what is wrong with the address or the key is said once and at once.
    let first = crowd.join(room, index, role).await;
    if let Err(error) = &first.joined {
        return Err(advice(&crowd.url, error));
    }
    let mut people = vec![summary.add(first)];
    let mut joining: JoinSet<Outcome> = JoinSet::new();
    let mut ramp = interval(Duration::from_secs(1).div_f64(crowd.options.ramp));
    ramp.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut second = interval(Duration::from_secs(1));
    let (mut all_asked, mut end) = (false, None);
    loop {
        tokio::select! {
            _ = ramp.tick(), if !all_asked => match waiting.next() {
                Some((room, index, role)) => {
                    let crowd = crowd.clone();
                    joining.spawn(async move { crowd.join(room, index, role).await });
                }
                None => all_asked = true,
            },
            Some(Ok(outcome)) = joining.join_next() => people.push(summary.add(outcome)),
            _ = second.tick() => summary.second(&people),
            () = over(end) => break,
            _ = tokio::signal::ctrl_c() => break,
        }
        if end.is_none() && all_asked && joining.is_empty() {
            // The time begins when everybody is in.
            end = Some(Instant::now() + crowd.options.duration);
            summary.all_in(&people);
        }
    }
    summary.finish(&people);
    let leaving = people.into_iter().flatten().map(Person::leave);
    let mut leaving: JoinSet<()> = leaving.collect();
    while leaving.join_next().await.is_some() {}
    summary.tell()
}

async fn over(end: Option<Instant>) {
    match end {
        Some(end) => sleep(end.saturating_duration_since(Instant::now())).await,
        None => std::future::pending().await,
    }
}

/// Who joins, in order: room, number in it, role. Publishers of a room come first.
fn roles(options: &Load) -> Vec<(u32, u32, Role)> {
    let of_room = |room| {
        let publishers = (0..options.publishers).map(move |index| (room, index, Role::Publisher));
        publishers.chain((0..options.subscribers).map(move |index| (room, index, Role::Subscriber)))
    };
    (0..options.rooms).flat_map(of_room).collect()
}

impl Crowd {
    async fn join(&self, room: u32, index: u32, role: Role) -> Outcome {
        let name = match self.options.rooms {
            1 => self.options.room.clone(),
            _ => format!("{}-{room}", self.options.room),
        };
        let identity = format!("{role:?}-{index}").to_lowercase();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        // It outlives the load, so that who reconnects is let in.
        let life = self.options.duration + Duration::from_secs(24 * 3_600);
        let claims = Claims::join(&identity, &name).valid_for(base::UnixMillis(now.as_millis() as u64), life);
        let token = auth::mint(&self.key, &self.secret, &claims);
        people::join(self, &token, role).await
    }

    fn tracks(&self) -> Vec<client::LocalTrack> {
        let mut tracks = Vec::new();
        if !self.options.no_audio {
            tracks.push(client::LocalTrack::microphone());
        }
        let [.., top] = clip::LAYERS;
        match (self.options.no_video, self.options.no_simulcast) {
            (true, _) => {}
            (false, true) => tracks.push(client::LocalTrack::camera(top.width, top.height)),
            (false, false) => tracks.push(client::LocalTrack::simulcast(&clip::LAYERS)),
        }
        tracks
    }
}

/// What to do when not even the first gets in.
fn advice(url: &str, error: &ConnectError) -> String {
    let what = match error {
        ConnectError::Address(_) => "--url takes an address like ws://127.0.0.1:7880 or wss://example.org",
        ConnectError::Io(_) => "is the server running, and is --url its address? `stoa dev` starts one",
        ConnectError::Tls(_) => {
            "is the certificate of an authority that this machine trusts? SSL_CERT_FILE names others (PEM)"
        }
        ConnectError::Refused { status: 401, .. } => {
            "give the server's key with --api-key and its secret with --config, STOA_KEYS or --api-secret"
        }
        ConnectError::Refused { .. } => "the server's log may say more",
        ConnectError::TimedOut | ConnectError::Media(_) | ConnectError::Ended(Ended::Media(_)) => {
            "the signal connection works; are the server's UDP ports reachable from here, and does it announce the right address?"
        }
        ConnectError::Protocol(_) | ConnectError::Ended(_) => "is that a server of this protocol?",
    };
    format!("{url}: {error}\n{what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publishers_of_each_room_come_before_its_subscribers() {
        let options = Load { rooms: 2, publishers: 1, subscribers: 2, ..crate::cli::load_defaults() };
        let roles = roles(&options);
        let words: Vec<String> =
            roles.iter().map(|(room, index, role)| format!("{room}{index}{role:?}")).collect();
        assert_eq!(
            words,
            ["00Publisher", "00Subscriber", "01Subscriber", "10Publisher", "10Subscriber", "11Subscriber"]
        );
    }

    #[test]
    fn who_cannot_get_in_is_told_what_to_do() {
        let refused = |status| ConnectError::Refused { status, text: "no".to_owned() };
        for (error, word) in [
            (ConnectError::Io(std::io::ErrorKind::ConnectionRefused.into()), "is the server running"),
            (refused(401), "--api-secret"),
            (refused(503), "log"),
            (ConnectError::TimedOut, "UDP"),
            (ConnectError::Address("x".to_owned()), "--url"),
        ] {
            let text = advice("ws://x", &error);
            assert!(text.starts_with("ws://x: ") && text.contains(word), "{text}");
        }
    }
}
