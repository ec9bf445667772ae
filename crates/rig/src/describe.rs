//! Tracks and connections as control would describe them to a worker, and the same seen from the client.

use base::model::TrackSource;
use base::{Codec, CodecKind, Extension, ExtensionMap, MediaKind, Mid, Rid, TrackId};
use contract::media::{self, Sections};

/// A codec that tracks are sent with, and what browsers negotiate for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kind {
    /// Audio or video.
    pub media: MediaKind,
    /// The codec.
    pub codec: CodecKind,
    payload_type: u8,
}

/// VP8 with NACK and RTX.
pub const VIDEO: Kind = Kind { media: MediaKind::Video, codec: CodecKind::Vp8, payload_type: 96 };
/// Opus.
pub const AUDIO: Kind = Kind { media: MediaKind::Audio, codec: CodecKind::Opus, payload_type: 111 };

impl Kind {
    fn negotiated(self) -> Codec {
        let video = self.media == MediaKind::Video;
        Codec {
            kind: self.codec,
            payload_type: self.payload_type,
            rtx: video.then_some(self.payload_type + 1),
            nack: video,
            pli: video,
            fir: video,
            transport_cc: true,
            remb: false,
            ccfb: false,
        }
    }

    fn extensions(self) -> ExtensionMap {
        let mut map = ExtensionMap::default();
        map.set(Extension::Mid, 1);
        map.set(Extension::TransportSequence, 2);
        map.set(Extension::AbsSendTime, 3);
        if self.media == MediaKind::Audio {
            map.set(Extension::AudioLevel, 4);
        }
        map
    }
}

/// A published track.
#[derive(Clone, PartialEq, Debug)]
pub struct Track {
    /// Its id.
    pub id: TrackId,
    /// What it is sent with.
    pub kind: Kind,
    /// Width and height of each simulcast layer, lowest first; one for a single one.
    pub layers: Vec<(u32, u32)>,
}

impl Track {
    /// A track of one layer.
    pub fn single(id: u64, kind: Kind) -> Self {
        Self { id: TrackId(id), kind, layers: vec![(1_280, 720)] }
    }

    /// A track of three simulcast layers up to 720p.
    pub fn simulcast(id: u64) -> Self {
        Self { id: TrackId(id), kind: VIDEO, layers: vec![(320, 180), (640, 360), (1_280, 720)] }
    }
}

/// The mid of the section number `index`.
fn mid(index: usize) -> Mid {
    Mid::new(index.to_string().as_bytes()).expect("a few digits")
}

/// What a publisher of these tracks sends, as the server describes it. The SSRC of layer `l` of section `s` is
/// `16 s + 2 l + 10`, one below that of its retransmissions.
pub fn publish(tracks: &[Track]) -> Sections {
    let receive = tracks.iter().enumerate().map(|(index, track)| {
        let simulcast = track.layers.len() > 1;
        let rid = |layer: usize| Rid::new(layer.to_string().as_bytes()).expect("a digit");
        let ssrc = |layer: usize| 16 * index as u32 + 2 * layer as u32 + 10;
        let rtx = |layer: usize| (track.kind.media == MediaKind::Video).then(|| ssrc(layer) + 1);
        media::ReceiveSection {
            mid: mid(index),
            media: track.kind.media,
            codecs: vec![track.kind.negotiated()],
            extensions: track.kind.extensions(),
            rids: (0..track.layers.len()).filter(|_| simulcast).map(rid).collect(),
            ssrcs: (0..track.layers.len()).map(|layer| (ssrc(layer), rtx(layer))).collect(),
            sizes: track.layers.iter().copied().filter(|_| simulcast).collect(),
            source: match track.kind.media {
                MediaKind::Audio => TrackSource::Microphone,
                MediaKind::Video => TrackSource::Camera,
            },
            track: Some(track.id),
        }
    });
    Sections { receive: receive.collect(), send: Vec::new() }
}

/// What a subscriber to these tracks gets, as the server describes it.
pub fn subscribe<'a>(tracks: impl IntoIterator<Item = &'a Track>) -> Sections {
    let send = tracks.into_iter().enumerate().map(|(index, track)| {
        let ssrc = 1_000 + 2 * index as u32;
        media::SendSection {
            mid: mid(index),
            media: track.kind.media,
            track: track.id,
            ssrc,
            rtx_ssrc: (track.kind.media == MediaKind::Video).then_some(ssrc + 1),
            codecs: vec![track.kind.negotiated()],
            extensions: track.kind.extensions(),
            cname: "rig".to_owned(),
            strips_trailers: false,
        }
    });
    Sections { receive: Vec::new(), send: send.collect() }
}

/// The sections seen from the client's side. Each simulcast layer is a send section of its own there, of which the first has
/// the mid of the server's: the server tells layers by their SSRCs.
pub fn mirrored(sections: &Sections) -> (Vec<rtc::ReceiveSection>, Vec<rtc::SendSection>) {
    let receive = sections.send.iter().map(|section| rtc::ReceiveSection {
        mid: section.mid,
        media: section.media,
        codecs: section.codecs.clone(),
        extensions: section.extensions,
        rids: Vec::new(),
        ssrcs: vec![(section.ssrc, section.rtx_ssrc)],
    });
    let send = sections.receive.iter().flat_map(|section| {
        section.ssrcs.iter().enumerate().map(|(layer, (ssrc, rtx_ssrc))| rtc::SendSection {
            mid: layer_mid(section.mid, layer),
            media: section.media,
            ssrc: *ssrc,
            rtx_ssrc: *rtx_ssrc,
            codecs: section.codecs.clone(),
            extensions: section.extensions,
            cname: "rig".to_owned(),
            strips_trailers: false,
        })
    });
    (receive.collect(), send.collect())
}

/// The mid of the client's send section for a layer of the section `mid`: see [`mirrored`].
fn layer_mid(mid: Mid, layer: usize) -> Mid {
    match layer {
        0 => mid,
        layer => Mid::new(format!("{mid}.{layer}").as_bytes()).expect("a few digits and a point"),
    }
}

/// The mids under which a publisher's client sends the layers of the track number `index`, lowest first.
pub fn mids(index: usize, layers: usize) -> Vec<Mid> {
    (0..layers).map(|layer| layer_mid(mid(index), layer)).collect()
}
