//! What a client is told when it connects.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base::model::TrackSource;
use base::{CodecKind, MediaKind};

/// A track to publish: a microphone or a camera, or something of its own made from one of them.
///
/// ```
/// use client::{Layer, LocalTrack};
///
/// let screen = LocalTrack { name: "slides".to_owned(), ..LocalTrack::camera(1920, 1080) };
/// let layers = [Layer::new(320, 180, 150_000), Layer::new(1280, 720, 1_500_000)];
/// let simulcast = LocalTrack::simulcast(&layers);
/// assert_eq!((simulcast.width, simulcast.layers.len()), (1280, 2));
/// # assert_eq!(screen.width, 1920);
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LocalTrack {
    /// Audio or video.
    pub kind: MediaKind,
    /// What its frames are: [`CodecKind::Opus`], [`CodecKind::Vp8`] or [`CodecKind::H264`]. There is no encoder in this crate.
    pub codec: CodecKind,
    /// Where it comes from.
    pub source: TrackSource,
    /// Its name.
    pub name: String,
    /// Pixels; 0 for audio. Of the highest layer.
    pub width: u32,
    /// Pixels; 0 for audio. Of the highest layer.
    pub height: u32,
    /// Published muted.
    pub muted: bool,
    /// Simulcast layers, lowest first, two or three; empty = one encoding. Frames of all layers go in by
    /// [`crate::Publication::send_layer`].
    pub layers: Vec<Layer>,
}

/// A simulcast layer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layer {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Most bits per second.
    pub bitrate: u32,
}

impl Layer {
    /// Of this size in pixels and at most so many bits per second.
    pub fn new(width: u32, height: u32, bitrate: u32) -> Self {
        Self { width, height, bitrate }
    }
}

impl LocalTrack {
    /// A microphone: Opus.
    pub fn microphone() -> Self {
        Self {
            kind: MediaKind::Audio,
            codec: CodecKind::Opus,
            source: TrackSource::Microphone,
            name: "microphone".to_owned(),
            width: 0,
            height: 0,
            muted: false,
            layers: Vec::new(),
        }
    }

    /// A camera of this size in pixels: VP8.
    pub fn camera(width: u32, height: u32) -> Self {
        Self {
            kind: MediaKind::Video,
            codec: CodecKind::Vp8,
            source: TrackSource::Camera,
            name: "camera".to_owned(),
            width,
            height,
            muted: false,
            layers: Vec::new(),
        }
    }

    /// A camera in several sizes: VP8, lowest first. Of more than [`MAX_LAYERS`] the first ones count.
    pub fn simulcast(layers: &[Layer]) -> Self {
        let layers = &layers[..layers.len().min(MAX_LAYERS)];
        let (width, height) = layers.last().map_or((0, 0), |top| (top.width, top.height));
        Self { layers: layers.to_vec(), ..Self::camera(width, height) }
    }
}

/// Most simulcast layers of a track: LOW, MEDIUM and HIGH.
pub const MAX_LAYERS: usize = 3;

/// What is wanted of a video track: [`crate::Room::set_track_settings`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TrackSettings {
    /// Nothing at all for now.
    pub disabled: bool,
    /// Pixels in which it is shown, from which the server chooses a layer; 0 = the best.
    pub width: u32,
    /// Pixels; 0 = the best.
    pub height: u32,
    /// Most frames per second; 0 = all.
    pub fps: u32,
}

/// How to connect. `Default` subscribes to everything and publishes nothing.
#[derive(Clone, Debug)]
pub struct Options {
    /// Tracks that are published with the join itself, which saves a round trip: see [`crate::Room::published`].
    pub publish: Vec<LocalTrack>,
    /// Subscribe to everything that others publish.
    pub auto_subscribe: bool,
    /// Media sections for receiving in the first offer, audio and video. When they run out the server asks for more,
    /// which costs a round trip.
    pub receive: (usize, usize),
    /// Hand out received RTP packets as [`crate::Event::Packet`]; without, they are counted only.
    pub packets: bool,
    /// Put packets together and hand out whole frames as [`crate::Event::Frame`], in order, each once: Opus, VP8 and H.264. When a
    /// picture is lost for good a keyframe is asked for, and nothing of the track comes until it is there.
    pub frames: bool,
    /// Come back by itself when the signal connection or the path of media breaks: see [`crate::Event::Reconnecting`].
    pub reconnect: bool,
    /// Certificates (DER) that `wss://` trusts, and no others: the server's own or that of its authority. Empty: those of the
    /// authorities that this machine trusts, from the file that `SSL_CERT_FILE` names or from the distribution's.
    pub trust: Vec<Vec<u8>>,
    /// The local address for media; by default the one from which the server is reached.
    pub ip: Option<IpAddr>,
    /// DTLS certificate and settings, to be shared by the clients of a process; by default fresh ones are made, which
    /// takes a millisecond or two.
    pub transport: Option<Arc<rtc::Config>>,
    /// How long connecting may take in all, and each attempt to reconnect.
    pub timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            publish: Vec::new(),
            auto_subscribe: true,
            receive: (3, 3),
            packets: true,
            frames: false,
            reconnect: true,
            trust: Vec::new(),
            ip: None,
            transport: None,
            timeout: Duration::from_secs(10),
        }
    }
}
