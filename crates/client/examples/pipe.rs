//! A place in a room for a program in any language that brings encoders and decoders: one JSON object per line on standard input and
//! output.
//!
//! ```text
//! cargo run -p client --example pipe -- ws://127.0.0.1:7880 "$(stoa token --identity bot --room lobby)" 640x360
//! ```
//!
//! With a size it publishes a camera (VP8), and always a microphone (Opus). What comes in, payloads in base64, timestamps in units of the
//! codec's RTP clock:
//!
//! | line | what it does |
//! |---|---|
//! | `{"sound": "…", "timestamp": 960}` | sends an Opus packet |
//! | `{"picture": "…", "timestamp": 6000}` | sends a VP8 frame |
//! | `{"mute": true}` | mutes the microphone, or unmutes it |
//! | `{"say": "hello"}` | sends a reliable message to everybody |
//! | the end of input | leaves |
//!
//! What comes out: `{"frame": "…", "codec": "opus", "from": "ada", "track": "TR_…", "timestamp": 0, "keyframe": true}`,
//! `{"message": "hello", "from": "ada", "topic": ""}`, `{"keyframe wanted": true}` when somebody needs one of the camera, and
//! `{"state": "reconnecting"}`, `{"state": "reconnected", "full": false}`, `{"state": "ended", "why": "…"}`.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{BufRead, Write};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use client::{CodecKind, DataKind, Event, LocalTrack, MediaKind, Options, Publication, Room};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// Lines that wait to be sent: a second of sound and picture, then who writes them waits.
const WAITING: usize = 100;

/// What may go wrong: the arguments, the network, the server, the other end of a pipe.
type Fault = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Fault> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (url, token, publish) = match args.as_slice() {
        [url, token] => (url, token, vec![LocalTrack::microphone()]),
        [url, token, size] => (url, token, vec![LocalTrack::microphone(), camera(size)?]),
        _ => return Err("usage: pipe URL TOKEN [WIDTHxHEIGHT]".into()),
    };
    let options = Options { publish, packets: false, frames: true, ..Options::default() };
    let (room, events) = Room::connect(url, token, options).await?;
    let mut orders = standard_input();
    let mut owners = BTreeMap::new();
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(order) => obey(&room, &order).await?,
                None => break,
            },
            event = events.recv() => match event {
                Ok(event) => tell(&mut owners, event)?,
                Err(_) => return Ok(()),
            },
        }
    }
    room.leave().await;
    Ok(())
}

fn camera(size: &str) -> Result<LocalTrack, Fault> {
    let (width, height) = size.split_once('x').ok_or_else(|| format!("{size} is no WIDTHxHEIGHT"))?;
    Ok(LocalTrack::camera(width.parse()?, height.parse()?))
}

/// Lines from standard input, until it ends. A thread, because reading there cannot be interrupted.
fn standard_input() -> mpsc::Receiver<String> {
    let (lines, orders) = mpsc::channel(WAITING);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if lines.blocking_send(line).is_err() {
                return;
            }
        }
    });
    orders
}

/// Does what a line asks for.
async fn obey(room: &Room, line: &str) -> Result<(), Fault> {
    let order: Value = serde_json::from_str(line).map_err(|error| format!("{line:.80}: {error}"))?;
    if let Some(sound) = order["sound"].as_str() {
        send(track(room, MediaKind::Audio), sound, &order)?;
    } else if let Some(picture) = order["picture"].as_str() {
        send(track(room, MediaKind::Video), picture, &order)?;
    } else if let Some(text) = order["say"].as_str() {
        room.send_data(DataKind::Reliable, "pipe", text.to_owned(), &[]);
    } else if let (Some(muted), Some(microphone)) = (order["mute"].as_bool(), track(room, MediaKind::Audio)) {
        microphone.set_muted(muted).await;
    } else {
        return Err(format!("{line:.80}: nothing that can be done").into());
    }
    Ok(())
}

fn track(room: &Room, kind: MediaKind) -> Option<&Publication> {
    room.published().iter().find(|publication| publication.kind() == kind)
}

/// A frame may be dropped while the connection is being made anew.
fn send(publication: Option<&Publication>, payload: &str, order: &Value) -> Result<(), Fault> {
    let publication = publication.ok_or("nothing of this kind is published")?;
    let timestamp = order["timestamp"].as_u64().ok_or("a frame has a timestamp")?;
    // RTP's clock wraps.
    publication.send(BASE64.decode(payload)?, timestamp as u32);
    Ok(())
}

/// Writes a line about what happened, unless it is of no interest to whoever reads. `owners`: who publishes a track.
fn tell(owners: &mut BTreeMap<Arc<str>, String>, event: Event) -> Result<(), Fault> {
    let line = match event {
        Event::Participant(participant) => {
            for track in &participant.tracks {
                owners.insert(track.sid.as_str().into(), participant.identity.clone());
            }
            return Ok(());
        }
        Event::ParticipantLeft { identity } => {
            owners.retain(|_, owner| *owner != identity);
            return Ok(());
        }
        Event::Frame(frame) => json!({
            "frame": BASE64.encode(&frame.payload),
            "codec": codec(frame.codec),
            "from": owners.get(&frame.track),
            "track": &*frame.track,
            "timestamp": frame.timestamp,
            "keyframe": frame.keyframe,
        }),
        Event::Data(message) => json!({
            "message": String::from_utf8_lossy(&message.payload),
            "from": message.from,
            "topic": message.topic,
        }),
        Event::KeyframeRequested { .. } => json!({"keyframe wanted": true}),
        Event::Reconnecting { .. } => json!({"state": "reconnecting"}),
        Event::Reconnected { full } => json!({"state": "reconnected", "full": full}),
        Event::Ended(why) => json!({"state": "ended", "why": why.to_string()}),
        Event::PublishRefused { name, reason } => return Err(format!("{name} is refused: {reason}").into()),
        _ => return Ok(()),
    };
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}

/// The name in SDP, in lower case.
fn codec(codec: CodecKind) -> &'static str {
    match codec {
        CodecKind::Opus => "opus",
        CodecKind::Vp8 => "vp8",
        CodecKind::H264 => "h264",
        _ => "other",
    }
}
