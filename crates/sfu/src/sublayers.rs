//! What a stream's own spatial and temporal layers are, as its packets tell.

use std::time::{Duration, Instant};

use base::{CodecKind, MediaKind};
use wire::dd::{self, Structure};
use wire::media::Received;

use crate::drops::Dropped;
use crate::packet::{Content, Frame, Layering};
use crate::select::Layers;

/// A spatial layer is dead after so many pictures without it: a third of a second of a camera. Publishers send all layers
/// of a picture, or leave one out for long.
const DEAD_AFTER_PICTURES: u32 = 10;
/// So many packets that cannot be read are a tenth of a second of a camera or more: a retransmission would have come.
const UNREADABLE: u32 = 32;
/// Spatial layers, at most: libwebrtc's encoders make three.
const MAX_SPATIAL: usize = 4;
/// Temporal layers, at most (three bits in AV1 and VP9).
const MAX_TEMPORAL: usize = 8;

/// What a packet changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    Nothing,
    /// Which layers there are or live.
    Layers,
    /// All that comes from now on has nothing to do with what came before, though it goes on in the same numbering.
    Restart,
}

/// The layers within one stream.
#[derive(Debug, Default)]
pub(crate) struct Sublayers {
    codec: Option<CodecKind>,
    /// It has dependency descriptors.
    described: bool,
    structure: Option<Structure>,
    /// The frame that brought it first.
    structure_frame: u64,
    /// The one before and its first frame, for frames that come late.
    earlier: Option<(u64, Structure)>,
    /// Counts structures.
    generation: u32,
    newest_frame: u64,
    /// The newest that brought a structure.
    key_frame: u64,
    /// Decode targets that are sent.
    active: u32,
    /// The newest frame that told them.
    told_frame: u64,
    /// Packets that could not be read since one could.
    unreadable: u32,
    /// Counts pictures.
    pictures: u32,
    timestamp: Option<u32>,
    /// When each spatial layer was heard last, in pictures.
    heard: [Option<u32>; MAX_SPATIAL],
    alive: Layers,
    /// Spatial layers.
    count: u8,
    sizes: Vec<(u32, u32)>,
    rates: Rates,
}

impl Sublayers {
    /// The structure by which the newest frames are described.
    pub fn structure(&self) -> Option<&Structure> {
        self.structure.as_ref()
    }

    /// Decode targets that are sent, bit n for target n.
    pub fn active(&self) -> u32 {
        self.active
    }

    /// Spatial layers, and their sizes in pixels, lowest first, where told.
    pub fn spatial(&self) -> (u8, &[(u32, u32)]) {
        (self.count.max(1), &self.sizes)
    }

    /// Who gets spatial layer `layer` gets all frames of the layer `below` it too, and not those of keyframes alone.
    pub fn needs(&self, layer: u8, below: u8) -> bool {
        let Some(structure) = &self.structure else { return true };
        let best = |spatial: u8| {
            let targets = structure.layers.iter().enumerate().filter(|(_, target)| target.0 == spatial);
            targets.max_by_key(|(_, target)| target.1).map(|(index, _)| index)
        };
        let (Some(layer), Some(below)) = (best(layer), best(below)) else { return true };
        structure.within.get(layer).is_some_and(|within| within & 1 << below != 0)
    }

    /// Spatial layers that are heard.
    pub fn alive(&self) -> Layers {
        self.alive
    }

    /// Frames per second up to each temporal layer; zeros while not known.
    pub fn frame_rates(&self) -> &[f32] {
        &self.rates.cumulative
    }

    /// The structure by which packets are to be read was lost, and no repair of it came while many packets did: only a
    /// keyframe helps.
    pub fn is_lost(&self) -> bool {
        self.unreadable >= UNREADABLE
    }

    /// Completes what the payload of a packet told by its descriptor (empty: it has none), and takes note.
    pub fn read(
        &mut self,
        received: &Received,
        descriptor: &[u8],
        content: &mut Content,
        newest: bool,
    ) -> Result<Change, Dropped> {
        if content.empty || received.media != MediaKind::Video {
            return Ok(Change::Nothing);
        }
        let mut change = self.take_codec(received.codec, newest)?;
        let read = if received.codec == CodecKind::Vp8 { None } else { self.parse(descriptor) };
        match read {
            Some(read) => change = change.max(self.take_descriptor(read, content)),
            // A stream that is described begins anew without descriptors, or the packet is of no use.
            None if self.described && content.start && newest => {
                self.forget();
                change = Change::Restart;
            }
            None if self.described => {
                self.unreadable = self.unreadable.saturating_add(1);
                content.layering = self.early(descriptor).filter(|_| newest).ok_or(Dropped::Malformed)?;
            }
            None => {}
        }
        if newest {
            change = change.max(self.note(received, content));
        }
        Ok(change)
    }

    /// The stream starts over.
    pub fn forget(&mut self) {
        let generation = self.generation.wrapping_add(1);
        *self = Self { generation, codec: self.codec, ..Self::default() };
    }

    fn take_codec(&mut self, codec: CodecKind, newest: bool) -> Result<Change, Dropped> {
        match self.codec {
            Some(known) if known == codec => Ok(Change::Nothing),
            Some(_) if !newest => Err(Dropped::TooLate),
            known => {
                self.forget();
                self.codec = Some(codec);
                Ok(if known.is_some() { Change::Restart } else { Change::Nothing })
            }
        }
    }

    /// By the structure of its time: the ids of another may mean other things.
    fn parse(&self, descriptor: &[u8]) -> Option<dd::Descriptor> {
        let number = self.unwrap(dd::Mandatory::parse(descriptor)?.frame_number);
        let earlier = || Some(&self.earlier.as_ref().filter(|(first, _)| *first <= number)?.1);
        let known = if number < self.structure_frame { earlier() } else { self.structure.as_ref() };
        dd::Descriptor::parse(descriptor, known)
    }

    /// Of the frame that comes next, in which a keyframe may begin.
    fn early(&self, descriptor: &[u8]) -> Option<Layering> {
        let read = dd::Mandatory::parse(descriptor)?;
        let number = self.unwrap(read.frame_number);
        let next = number == self.newest_frame + 1;
        next.then_some(Layering::Early { number, end: read.end_of_frame })
    }

    fn take_descriptor(&mut self, read: dd::Descriptor, content: &mut Content) -> Change {
        let number = self.unwrap(read.mandatory.frame_number);
        let begins = read.structure.is_some();
        // A structure begins with all of them.
        let told = read.active.or(read.structure.as_ref().map(Structure::all));
        let mut change = match read.structure.filter(|_| number > self.key_frame) {
            Some(structure) => self.take_structure(structure, number),
            None => Change::Nothing,
        };
        if let Some(active) = told.filter(|_| number >= self.told_frame) {
            self.told_frame = number;
            if active != self.active {
                self.active = active;
                change = change.max(Change::Layers);
            }
        }
        self.newest_frame = self.newest_frame.max(number);
        self.unreadable = 0;
        let current = number >= self.structure_frame;
        content.start = begins && read.mandatory.start_of_frame;
        content.layering = Layering::Described(Frame {
            number,
            generation: if current { self.generation } else { self.generation.wrapping_sub(1) },
            template: read.frame,
            end: read.mandatory.end_of_frame,
            structured: begins,
            tells: read.active.is_some(),
        });
        change
    }

    fn take_structure(&mut self, structure: Structure, number: u64) -> Change {
        let mut change = Change::Nothing;
        if !self.described && self.timestamp.is_some() {
            change = Change::Restart;
            self.forget();
        }
        self.key_frame = number;
        // Keyframes of libwebrtc bring the same one until something changes; what overtakes them is read rightly then.
        if self.structure.as_ref() != Some(&structure) {
            self.adopt(structure, number);
            change = change.max(Change::Layers);
        }
        change
    }

    fn adopt(&mut self, structure: Structure, number: u64) {
        self.described = true;
        self.told_frame = number;
        self.active = structure.all();
        self.count = structure.spatial_layers;
        self.sizes.clone_from(&structure.resolutions);
        let earlier = self.structure.replace(structure);
        self.earlier = earlier.map(|earlier| (self.structure_frame, earlier));
        self.generation = self.generation.wrapping_add(1);
        self.structure_frame = number;
    }

    /// The number without wraps that is nearest to the newest.
    fn unwrap(&self, number: u16) -> u64 {
        // The first lap begins high enough for what comes late.
        let newest = if self.newest_frame == 0 { 0x1_0000 + u64::from(number) } else { self.newest_frame };
        let ahead = number.wrapping_sub(newest as u16) as i16;
        newest.saturating_add_signed(i64::from(ahead)).max(1)
    }

    /// Counts pictures, and tells which spatial layers live.
    fn note(&mut self, received: &Received, content: &Content) -> Change {
        let (spatial, temporal) = content.layering.layers();
        if self.timestamp != Some(received.timestamp) {
            self.timestamp = Some(received.timestamp);
            self.pictures = self.pictures.wrapping_add(1);
            self.rates.count(received.arrival, temporal);
        }
        if let Some(heard) = self.heard.get_mut(usize::from(spatial)) {
            *heard = Some(self.pictures);
        }
        let mut change = Change::Nothing;
        if let Layering::Pictures(picture) = &content.layering {
            change = self.note_sizes(picture);
        }
        let alive = self.living();
        if alive != self.alive {
            self.alive = alive;
            change = Change::Layers;
        }
        change
    }

    /// What a VP9 scalability structure says of the spatial layers; without one, what is seen of them.
    fn note_sizes(&mut self, picture: &wire::vp9::Descriptor) -> Change {
        let before = self.count;
        self.count = self.count.max((picture.spatial + 1).min(MAX_SPATIAL as u8));
        if let Some(told) = &picture.structure {
            self.count = told.layers.min(MAX_SPATIAL as u8);
            let sizes = told.sizes[..usize::from(self.count)].iter();
            let sizes = sizes.map(|size| (u32::from(size.0), u32::from(size.1)));
            self.sizes.clear();
            self.sizes.extend(sizes.filter(|size| size.0 > 0));
        }
        if self.count == before { Change::Nothing } else { Change::Layers }
    }

    fn living(&self) -> Layers {
        let heard =
            |at: &Option<u32>| at.is_some_and(|at| self.pictures.wrapping_sub(at) < DEAD_AFTER_PICTURES);
        let sent = self.sent_spatial();
        let living = self.heard.iter().enumerate().filter(|(layer, at)| heard(at) && sent.has(*layer as u8));
        living.fold(Layers::default(), |all, (layer, _)| all.with(layer as u8))
    }

    /// Spatial layers of which some decode target is sent.
    fn sent_spatial(&self) -> Layers {
        let Some(structure) = &self.structure else { return Layers::ALL };
        let targets = structure.layers.iter().enumerate();
        let sent = targets.filter(|(target, _)| self.active & 1 << target != 0);
        sent.fold(Layers::default(), |all, (_, (spatial, _))| (0..=*spatial).fold(all, Layers::with))
    }
}

impl Change {
    fn max(self, other: Self) -> Self {
        match (self, other) {
            (Self::Restart, _) | (_, Self::Restart) => Self::Restart,
            (Self::Layers, _) | (_, Self::Layers) => Self::Layers,
            _ => Self::Nothing,
        }
    }
}

/// Frame rates up to each temporal layer, over windows of about a second.
#[derive(Debug, Default)]
struct Rates {
    since: Option<Instant>,
    frames: [u32; MAX_TEMPORAL],
    cumulative: [f32; MAX_TEMPORAL],
}

impl Rates {
    const WINDOW: Duration = Duration::from_secs(1);

    fn count(&mut self, now: Instant, temporal: u8) {
        let since = *self.since.get_or_insert(now);
        let elapsed = now.saturating_duration_since(since);
        if elapsed >= Self::WINDOW {
            let mut sum = 0;
            for (rate, frames) in self.cumulative.iter_mut().zip(&mut self.frames) {
                sum += std::mem::take(frames);
                *rate = sum as f32 / elapsed.as_secs_f32();
            }
            self.since = Some(now);
        }
        self.frames[usize::from(temporal).min(MAX_TEMPORAL - 1)] += 1;
    }
}
