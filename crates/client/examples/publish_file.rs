//! Publishes files into a room, in a loop: VP8 in IVF, Opus in Ogg.
//!
//! ```text
//! cargo run -p client --example publish_file -- ws://127.0.0.1:7880 "$(stoa token --identity film --room lobby)" film.ivf film.ogg
//! ```
//!
//! Such files come from `ffmpeg -i film.mp4 -c:v libvpx -b:v 1M -g 60 film.ivf` and `ffmpeg -i film.mp4 -c:a libopus film.ogg`.
//! There is no encoder here, so a keyframe that somebody asks for is the next one in the file.

use std::error::Error;
use std::time::Duration;

use client::{Event, LocalTrack, Options, Publication, Room, ivf, ogg};
use tokio::time::{Instant, sleep_until};

/// A frame: its payload, its RTP timestamp, and how long after it the next one is due.
struct Frame {
    payload: Vec<u8>,
    units: u32,
    lasts: Duration,
}

/// What may go wrong: files, the network, the server.
type Fault = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Fault> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [url, token, files @ ..] = args.as_slice() else {
        return Err("usage: publish_file URL TOKEN FILE.ivf|FILE.ogg ...".into());
    };
    publish(url, token, files).await
}

/// Plays files into the room that the token is for, until the session ends.
///
/// # Errors
/// A file cannot be read, or the server does not let us in.
pub async fn publish(url: &str, token: &str, files: &[String]) -> Result<(), Fault> {
    let (mut publish, mut recordings) = (Vec::new(), Vec::new());
    for file in files {
        let bytes = std::fs::read(file).map_err(|error| format!("{file}: {error}"))?;
        let (track, frames) = match file.ends_with(".ivf") {
            true => video(&bytes),
            false => audio(&bytes),
        }
        .map_err(|error| format!("{file}: {error}"))?;
        publish.push(track);
        recordings.push(frames);
    }
    let options = Options { publish, auto_subscribe: false, packets: false, ..Options::default() };
    let (room, events) = Room::connect(url, token, options).await?;
    println!("in room {} as {}", room.name(), room.sid());
    for (publication, frames) in room.published().iter().zip(recordings) {
        tokio::spawn(play(publication.clone(), frames));
    }
    while let Ok(event) = events.recv().await {
        match event {
            Event::PublishRefused { name, reason } => println!("{name} is refused: {reason}"),
            Event::Reconnecting { full, why } => println!("reconnecting (full: {full}): {why}"),
            Event::Reconnected { .. } => println!("back"),
            Event::Ended(why) => println!("ended: {why}"),
            _ => {}
        }
    }
    Ok(())
}

fn video(file: &[u8]) -> Result<(LocalTrack, Vec<Frame>), Fault> {
    let (header, frames) = ivf::read(file)?;
    if &header.codec != b"VP80" {
        return Err("only VP8 is played".into());
    }
    let units = |time: u64| (time * 90_000 * u64::from(header.scale) / u64::from(header.rate)) as u32;
    let ends = frames.iter().skip(1).map(|next| next.time).chain(frames.last().map(|last| last.time + 1));
    let frame = |(frame, end): (&ivf::Frame<'_>, u64)| {
        let units = units(end).saturating_sub(units(frame.time));
        let lasts = Duration::from_micros(u64::from(units) * 100 / 9);
        Frame { payload: frame.payload.to_vec(), units, lasts }
    };
    let frames = frames.iter().zip(ends).map(frame).collect();
    Ok((LocalTrack::camera(header.width.into(), header.height.into()), frames))
}

fn audio(file: &[u8]) -> Result<(LocalTrack, Vec<Frame>), Fault> {
    let frame = |payload: Vec<u8>| {
        let units = ogg::samples(&payload);
        Frame { payload, units, lasts: Duration::from_micros(u64::from(units) * 1_000 / 48) }
    };
    Ok((LocalTrack::microphone(), ogg::read(file)?.into_iter().map(frame).collect()))
}

/// Until the session is over.
async fn play(publication: Publication, frames: Vec<Frame>) {
    let (mut due, mut timestamp) = (Instant::now(), 0u32);
    for frame in frames.iter().cycle() {
        sleep_until(due).await;
        // A frame may be dropped while the connection is being made anew.
        if !publication.send(frame.payload.clone(), timestamp) && publication.is_over() {
            return;
        }
        timestamp = timestamp.wrapping_add(frame.units);
        due += frame.lasts.max(Duration::from_millis(1));
    }
}
