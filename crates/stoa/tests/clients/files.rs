//! The examples of the crate `client`, against the real server: a file that is published is recorded as it was.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use client::{clip, ivf, ogg};

use crate::server::Server;

#[path = "../../../client/examples/publish_file.rs"]
#[allow(dead_code)]
mod publish_file;
#[path = "../../../client/examples/record_room.rs"]
#[allow(dead_code)]
mod record_room;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_from_files_is_recorded_into_files_that_play() {
    let server = Server::start();
    let media = Path::new(env!("CARGO_MANIFEST_DIR")).join("../client/media");
    let files: Vec<String> =
        ["clip-360.ivf", "voice.ogg"].iter().map(|name| media.join(name).display().to_string()).collect();
    let folder = std::env::temp_dir().join(format!("stoa-record-{}", std::process::id()));
    let (url, film) = (server.socket_url(), server.token("cinema", "the film"));
    let playing = tokio::spawn(async move { publish_file::publish(&url, &film, &files).await });
    let recorder = server.token("cinema", "recorder");
    let limit = Some(Duration::from_secs(5));
    record_room::record(&server.socket_url(), &recorder, &folder, limit).await.expect("it records");
    playing.abort();
    let recorded: Vec<PathBuf> =
        fs::read_dir(&folder).expect("it was made").flatten().map(|entry| entry.path()).collect();
    assert_eq!(recorded.len(), 2, "{recorded:?}");
    for path in &recorded {
        assert!(path.display().to_string().contains("the_film-TR_"), "{path:?}");
        let bytes = fs::read(path).expect("it is there");
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("ivf") => is_the_clip(&bytes),
            _ => is_the_voice(&bytes),
        }
        plays(path);
    }
    fs::remove_dir_all(&folder).expect("it is ours");
}

/// Every picture is one of the recording, and the next is the one after it.
fn is_the_clip(file: &[u8]) {
    let (header, frames) = ivf::read(file).expect("it is IVF");
    assert_eq!((&header.codec, header.width, header.height), (b"VP80", 640, 360));
    let pictures = clip::pictures(1);
    let place = |payload: &[u8]| {
        pictures.iter().position(|picture| picture.as_ref() == payload).expect("it is a picture of the clip")
    };
    let places: Vec<usize> = frames.iter().map(|frame| place(frame.payload)).collect();
    assert_eq!(places.first(), Some(&0), "it begins with the keyframe");
    assert!(places.len() > 60, "only {} pictures", places.len());
    assert!(places.windows(2).all(|two| two[1] == (two[0] + 1) % pictures.len()), "{places:?}");
}

fn is_the_voice(file: &[u8]) {
    let packets = ogg::read(file).expect("it is Ogg");
    let voice = clip::voice();
    let known =
        packets.iter().filter(|packet| voice.iter().any(|of| of.as_ref() == packet.as_slice())).count();
    assert!(known > 100, "only {known} of {} packets are of the voice", packets.len());
}

/// Where ffprobe is installed, it reads the file without a complaint.
fn plays(path: &Path) {
    let probe =
        Command::new("ffprobe").args(["-v", "error", "-count_packets", "-show_streams"]).arg(path).output();
    let Ok(probe) = probe else {
        return println!("ffprobe is not installed: {} is not probed", path.display());
    };
    let errors = String::from_utf8_lossy(&probe.stderr);
    assert!(probe.status.success() && errors.is_empty(), "{errors}");
}
