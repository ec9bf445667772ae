//! A recording to play in a loop: for load, tests and the first steps.
//!
//! Two seconds of a made-up camera in three sizes (VP8, 30 frames a second, together 1.5 Mbit/s) and of a voice (Opus, 20 ms). Made
//! by `tests/e2e/tools/record-clip.mjs`.

use std::time::Duration;

use bytes::Bytes;

use crate::options::Layer;
use crate::{ivf, ogg};

/// Time between two pictures: 30 a second.
pub const PICTURE: Duration = Duration::from_nanos(33_333_333);
/// The same in units of 90 kHz.
pub const PICTURE_UNITS: u32 = 3_000;
/// Time between two packets of the voice.
pub const SOUND: Duration = Duration::from_millis(20);
/// The same in units of 48 kHz.
pub const SOUND_UNITS: u32 = 960;

/// The sizes, lowest first.
pub const LAYERS: [Layer; 3] = [
    Layer { width: 320, height: 180, bitrate: 150_000 },
    Layer { width: 640, height: 360, bitrate: 450_000 },
    Layer { width: 1280, height: 720, bitrate: 1_500_000 },
];

const PICTURES: [&[u8]; 3] = [
    include_bytes!("../media/clip-180.ivf"),
    include_bytes!("../media/clip-360.ivf"),
    include_bytes!("../media/clip-720.ivf"),
];
const VOICE: &[u8] = include_bytes!("../media/voice.ogg");

/// Frames of one size, the first of which is the only keyframe; `layer`: index into [`LAYERS`].
pub fn pictures(layer: usize) -> Vec<Bytes> {
    let file = PICTURES[layer.min(PICTURES.len() - 1)];
    let (_, frames) = ivf::read(file).expect("the recording is whole: a test reads it");
    frames.iter().map(|frame| Bytes::from_static(frame.payload)).collect()
}

/// Packets of the voice.
pub fn voice() -> Vec<Bytes> {
    let packets = ogg::read(VOICE).expect("the recording is whole: a test reads it");
    packets.into_iter().map(Bytes::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::CodecKind;
    use wire::keyframe::is_keyframe_start;

    #[test]
    fn the_recording_is_whole_and_begins_with_its_only_keyframe() {
        for (index, layer) in LAYERS.iter().enumerate() {
            let (header, _) = ivf::read(PICTURES[index]).expect("it is IVF");
            assert_eq!((header.width.into(), header.height.into()), (layer.width, layer.height));
            let pictures = pictures(index);
            assert_eq!(pictures.len(), 60);
            let bits = 8 * pictures.iter().map(Bytes::len).sum::<usize>() / 2;
            assert!(bits < layer.bitrate as usize, "{bits} bit/s");
            // A descriptor of one byte before the frame: its first partition begins.
            let key =
                |frame: &Bytes| is_keyframe_start(CodecKind::Vp8, &[&[0x10], &frame[..1]].concat(), None);
            let keys: Vec<usize> = (0..60).filter(|at| key(&pictures[*at])).collect();
            assert_eq!(keys, [0]);
        }
    }

    #[test]
    fn the_voice_is_two_seconds_of_packets_of_one_length() {
        let voice = voice();
        // One more than 20 ms go into two seconds: what the encoder holds back comes at the end.
        assert_eq!(voice.len(), 101);
        assert!(voice.iter().all(|packet| ogg::samples(packet) == SOUND_UNITS));
    }
}
