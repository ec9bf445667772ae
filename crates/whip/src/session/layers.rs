//! Which layer a player gets: what it may choose from, and what its choice means
//! (the Video Layer Selection extension of WHEP, `urn:ietf:params:whep:ext:core:layer`).

use base::MediaKind;
use base::model::{Track, TrackSettings, VideoLayer};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// The names of layers that are streams of their own, by quality: those that LiveKit's clients use on the wire.
const RIDS: [&str; 3] = ["q", "h", "f"];
/// Three temporal layers of 30 frames a second are what browsers send: so many frames a second are layers 0 and 1.
const FRAME_RATES: [u32; 2] = [8, 15];

/// What a player asks for in one of its sections. What it does not say is left to the server.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Choice {
    /// Index of the section in the offer; without it the first one with pictures.
    pub media_id: Option<String>,
    /// A layer that is a stream of its own.
    #[serde(alias = "encodingId")]
    rid: Option<String>,
    /// A layer within a stream.
    spatial_layer_id: Option<u8>,
    max_spatial_layer_id: Option<u8>,
    temporal_layer_id: Option<u8>,
    max_temporal_layer_id: Option<u8>,
    /// No layer that is larger, in pixels.
    max_width: Option<u32>,
    max_height: Option<u32>,
    /// Nothing at all until it is false again; for sound too. Stoa's own.
    paused: bool,
}

impl Choice {
    /// What the room is to be asked for; or the layer that the track does not have.
    pub fn settings(&self, track: &Track) -> Result<TrackSettings, String> {
        let settings = self.any_layer(track);
        if track.kind == MediaKind::Audio {
            return Ok(settings);
        }
        let mut quality = settings.quality;
        if let Some(rid) = &self.rid {
            quality = named(track, rid).ok_or_else(|| unknown(track, rid))?;
        }
        let spatial = self.spatial_layer_id.into_iter().chain(self.max_spatial_layer_id).min();
        if let Some(spatial) = spatial.filter(|_| self.rid.is_none()) {
            quality = quality.min(highest(track, |layer| layer.spatial <= spatial));
        }
        let (width, height) = (self.max_width.unwrap_or(u32::MAX), self.max_height.unwrap_or(u32::MAX));
        quality = quality.min(highest(track, |layer| layer.width <= width && layer.height <= height));
        let temporal = self.temporal_layer_id.into_iter().chain(self.max_temporal_layer_id).min();
        let fps = temporal.and_then(|layer| FRAME_RATES.get(usize::from(layer))).copied().unwrap_or(0);
        Ok(TrackSettings { quality, fps, ..settings })
    }

    /// The same for a track that came after the choice: a layer that it does not have is left to the server.
    pub fn kept(&self, track: &Track) -> TrackSettings {
        self.settings(track).unwrap_or_else(|_| self.any_layer(track))
    }

    /// A player is not told that its connection is too slow for a picture, and would show a frozen one: the lowest layer is sent
    /// whatever there is, until the player itself wants none.
    fn any_layer(&self, track: &Track) -> TrackSettings {
        let firm = track.kind == MediaKind::Video;
        TrackSettings { disabled: self.paused, firm, ..TrackSettings::default() }
    }
}

/// The quality of a layer by its name.
fn named(track: &Track, rid: &str) -> Option<u8> {
    let of = |layer: &&VideoLayer| track.simulcast && name(layer) == Some(rid);
    track.layers.iter().find(of).map(|layer| layer.quality)
}

fn name(layer: &VideoLayer) -> Option<&'static str> {
    RIDS.get(usize::from(layer.quality)).copied()
}

/// The best quality of the layers that fit; the lowest when none does.
fn highest(track: &Track, fits: impl Fn(&VideoLayer) -> bool) -> u8 {
    if track.layers.is_empty() {
        return TrackSettings::default().quality;
    }
    track.layers.iter().filter(|layer| fits(layer)).map(|layer| layer.quality).max().unwrap_or(0)
}

fn unknown(track: &Track, rid: &str) -> String {
    let known: Vec<&str> = track.layers.iter().filter(|_| track.simulcast).filter_map(name).collect();
    match known.is_empty() {
        true => "what is played has no layers with names; use spatialLayerId".to_owned(),
        false => format!("there is no layer {rid:?}; there are {}", known.join(" ")),
    }
}

/// The layers of a track as the `layers` event has them, best first. `None`: it has one alone.
pub(crate) fn describe(track: &Track) -> Option<Value> {
    let mut layers: Vec<&VideoLayer> = track.layers.iter().collect();
    layers.sort_by_key(|layer| std::cmp::Reverse(layer.quality));
    (layers.len() > 1).then(|| layers.into_iter().map(|layer| one(track, layer)).collect())
}

fn one(track: &Track, layer: &VideoLayer) -> Value {
    let mut value = Map::new();
    match name(layer).filter(|_| track.simulcast) {
        // Older players look for the name under the older word.
        Some(rid) => value.extend([("rid".to_owned(), json!(rid)), ("encodingId".to_owned(), json!(rid))]),
        None => value.extend([("spatialLayerId".to_owned(), json!(layer.spatial))]),
    }
    // What nobody has said is left out.
    let told = [("bitrate", layer.bitrate), ("width", layer.width), ("height", layer.height)];
    let told = told.into_iter().filter(|(_, number)| *number > 0);
    value.extend(told.map(|(key, number)| (key.to_owned(), json!(number))));
    Value::Object(value)
}
