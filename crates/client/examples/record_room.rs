//! Records everything that is published in a room: a file for each track, `IDENTITY-TRACK.ivf` (VP8 and H.264) or `.ogg` (Opus), which
//! `ffprobe`, `ffmpeg` and players read.
//!
//! ```text
//! cargo run -p client --example record_room -- ws://127.0.0.1:7880 "$(stoa token --identity recorder --room lobby --grant hidden)" folder 30
//! ```
//!
//! The last argument is how many seconds; without it, until Ctrl-C.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::time::Duration;

use client::{CodecKind, Event, Frame, Options, Participant, Room, ivf, ogg};

/// A packet of silence, and how long it lasts, at 48 kHz.
const SILENCE: [u8; 3] = [0xf8, 0xff, 0xfe];
const SILENCE_SAMPLES: u32 = 960;
/// A jump of an hour is no gap: the publisher began anew.
const LONGEST_GAP: u32 = 48_000 * 3_600;

/// What may go wrong: files, the network, the server.
type Fault = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Fault> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let limit = |seconds: &String| seconds.parse().map(Duration::from_secs);
    match args.as_slice() {
        [url, token, folder] => record(url, token, Path::new(folder), None).await,
        [url, token, folder, seconds] => record(url, token, Path::new(folder), Some(limit(seconds)?)).await,
        _ => Err("usage: record_room URL TOKEN FOLDER [SECONDS]".into()),
    }
}

/// Records the room that the token is for, for so long, or until Ctrl-C or the end of the session.
///
/// # Errors
/// A file cannot be written, or the server does not let us in.
pub async fn record(url: &str, token: &str, folder: &Path, limit: Option<Duration>) -> Result<(), Fault> {
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let options = Options { packets: false, frames: true, ..Options::default() };
    let (room, events) = Room::connect(url, token, options).await?;
    println!("recording {}", room.name());
    let mut recorder = Recorder { folder: folder.to_owned(), ..Recorder::default() };
    let end = async {
        match limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => tokio::signal::ctrl_c().await.unwrap_or_default(),
        }
    };
    tokio::pin!(end);
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Ok(Event::Participant(participant)) => recorder.know(&participant),
                Ok(Event::Frame(frame)) => recorder.write(&frame)?,
                Ok(Event::Ended(why)) => println!("ended: {why}"),
                Ok(_) => {}
                Err(_) => break,
            },
            () = &mut end => break,
        }
    }
    recorder.finish()?;
    room.leave().await;
    Ok(())
}

#[derive(Default)]
struct Recorder {
    folder: PathBuf,
    /// Whose a track is.
    owners: BTreeMap<String, String>,
    files: BTreeMap<String, Recording>,
}

/// A file that is being written.
struct Recording {
    /// RTP timestamp of its beginning, and of the last frame.
    start: u32,
    last: u32,
    sink: Sink,
}

enum Sink {
    Video(BufWriter<File>),
    Audio(ogg::Writer<BufWriter<File>>),
}

impl Recorder {
    fn know(&mut self, participant: &Participant) {
        for track in &participant.tracks {
            self.owners.insert(track.sid.clone(), participant.identity.clone());
        }
    }

    fn write(&mut self, frame: &Frame) -> Result<(), Fault> {
        let name = frame.track.to_string();
        if !self.files.contains_key(&name) {
            let owner = self.owners.get(&name).map_or("somebody", String::as_str);
            let recording = Recording::create(&self.folder, owner, frame)?;
            self.files.insert(name.clone(), recording);
        }
        self.files.get_mut(&name).map_or(Ok(()), |recording| recording.write(frame))
    }

    fn finish(self) -> Result<(), Fault> {
        for (track, recording) in self.files {
            let units = recording.last.wrapping_sub(recording.start);
            let rate = match recording.sink {
                Sink::Video(_) => 90_000.0,
                Sink::Audio(_) => 48_000.0,
            };
            println!("{track}: {:.1} s", f64::from(units) / rate);
            if let Sink::Audio(writer) = recording.sink {
                writer.finish()?;
            }
        }
        Ok(())
    }
}

impl Recording {
    fn create(folder: &Path, owner: &str, frame: &Frame) -> Result<Self, Fault> {
        // An identity is any text; in the name of a file only what is harmless everywhere.
        let harmless = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let owner: String = owner.chars().map(harmless).take(64).collect();
        let suffix = if frame.codec == CodecKind::Opus { "ogg" } else { "ivf" };
        let path = folder.join(format!("{owner}-{}.{suffix}", frame.track));
        println!("{}", path.display());
        let mut file =
            BufWriter::new(File::create(&path).map_err(|error| format!("{}: {error}", path.display()))?);
        let sink = match frame.codec {
            CodecKind::Opus => Sink::Audio(ogg::Writer::new(file, frame.timestamp, 2)?),
            codec => {
                let (width, height) = size(frame).unwrap_or_default();
                let name = if codec == CodecKind::H264 { *b"H264" } else { *b"VP80" };
                ivf::write_header(
                    &mut file,
                    &ivf::Header { codec: name, width, height, rate: 90_000, scale: 1 },
                )?;
                Sink::Video(file)
            }
        };
        Ok(Self { start: frame.timestamp, last: frame.timestamp, sink })
    }

    fn write(&mut self, frame: &Frame) -> Result<(), Fault> {
        let since_last = frame.timestamp.wrapping_sub(self.last);
        self.last = frame.timestamp;
        match &mut self.sink {
            Sink::Video(file) => {
                let time = frame.timestamp.wrapping_sub(self.start);
                ivf::write_frame(file, time.into(), &frame.payload)?;
            }
            Sink::Audio(writer) => {
                // What was not sent, or was lost, is silence, so that the files of a room stay together.
                let samples = ogg::samples(&frame.payload);
                let missing = since_last.saturating_sub(samples);
                if missing < LONGEST_GAP {
                    for _ in 0..missing / SILENCE_SAMPLES {
                        writer.packet(&SILENCE, SILENCE_SAMPLES)?;
                    }
                }
                writer.packet(&frame.payload, samples)?;
            }
        }
        Ok(())
    }
}

/// Width and height of a VP8 keyframe (RFC 6386 section 9.1).
fn size(frame: &Frame) -> Option<(u16, u16)> {
    let bytes = frame.payload.get(6..10)?;
    let number = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]) & 0x3fff;
    (frame.codec == CodecKind::Vp8).then(|| (number(0), number(2)))
}
