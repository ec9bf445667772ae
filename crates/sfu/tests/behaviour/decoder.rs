//! A strict decoder: it believes only what a receiver can read, and complains where the truth is otherwise.

use std::collections::{BTreeMap, BTreeSet};

use base::CodecKind;
use wire::dd::{Descriptor, Structure};
use wire::{vp8, vp9};

use crate::encoder::Truth;
use crate::support::Raw;

/// Names a frame over all streams.
pub type Name = (u32, u32);

/// One frame as it was put together.
#[derive(Clone, Debug)]
pub struct Decoded {
    pub name: Name,
    pub spatial: u8,
    pub temporal: u8,
    pub timestamp: u32,
    /// All of its packets are there.
    pub whole: bool,
    keyframe: bool,
    references: Vec<Name>,
    /// Running frame number, or the picture's id; without wraps.
    number: Option<i64>,
    /// By those numbers.
    named: Vec<i64>,
    marker: bool,
}

/// The frames of a stream in the order of its sequence numbers. Panics where a receiver would see nonsense. Frames that
/// cannot be read, because the packet that described them was lost, are left out and added to `damaged`; on a perfect
/// network there are none.
pub fn assemble(raw: &[Raw], damaged: &mut BTreeSet<Name>) -> Vec<Decoded> {
    let perfect = damaged.is_empty();
    let mut raw = raw.to_vec();
    raw.sort_by_key(|raw| raw.sequence);
    raw.windows(2).for_each(|pair| assert!(pair[0].sequence < pair[1].sequence, "a number twice: {pair:?}"));
    let mut reader = Reader::default();
    let mut frames: Vec<Decoded> = Vec::new();
    let mut places: BTreeMap<Name, Vec<u8>> = BTreeMap::new();
    for raw in raw.iter().filter(|raw| !raw.payload.is_empty()) {
        let (truth, read) = reader.read(raw);
        let name = (truth.ssrc, truth.frame);
        let Some((number, named)) = read else {
            assert!(!perfect, "it cannot be read: {raw:?}");
            damaged.insert(name);
            continue;
        };
        let before = places.entry(name).or_default();
        assert!(before.last().is_none_or(|last| *last < truth.at), "packets out of order: {truth:?}");
        before.push(truth.at);
        if before.len() > 1 {
            let frame = frames.last_mut().unwrap();
            assert_eq!(
                (frame.name, frame.number, frame.timestamp),
                (name, number, raw.timestamp),
                "{truth:?}"
            );
            frame.whole = before.len() == usize::from(truth.of);
            frame.marker |= raw.marker;
            continue;
        }
        frames.push(Decoded {
            name,
            spatial: truth.spatial,
            temporal: truth.temporal,
            timestamp: raw.timestamp,
            whole: truth.of == 1,
            keyframe: truth.references.is_empty(),
            references: truth.references.iter().map(|frame| (truth.ssrc, *frame)).collect(),
            number,
            named,
            marker: raw.marker,
        });
    }
    frames
}

/// A frame's running number, where it has one, and the numbers of those that it names.
type Numbers = (Option<i64>, Vec<i64>);

/// What a receiver remembers from packet to packet.
#[derive(Default)]
struct Reader {
    structure: Option<Structure>,
    newest: Option<i64>,
}

impl Reader {
    /// `None`: it does not know the structure.
    fn read(&mut self, raw: &Raw) -> (Truth, Option<Numbers>) {
        let (head, mut number, mut named) = match raw.codec {
            CodecKind::Vp8 => {
                let read = vp8::Descriptor::parse(&raw.payload).unwrap();
                (read.len + 1, self.unwrap(read.picture_id.unwrap(), 15), Vec::new())
            }
            CodecKind::Vp9 if raw.descriptor.is_none() => {
                let read = vp9::Descriptor::parse(&raw.payload).unwrap();
                let number = self.unwrap(read.picture_id.unwrap(), 15);
                let references = read.references[..usize::from(read.reference_count)].iter();
                (read.len, number, references.map(|back| number - i64::from(*back)).collect())
            }
            CodecKind::Vp9 => (vp9::Descriptor::parse(&raw.payload).unwrap().len, 0, Vec::new()),
            _ => (1, 0, Vec::new()),
        };
        let numbered = raw.descriptor.is_some() || matches!(raw.codec, CodecKind::Vp8 | CodecKind::Vp9);
        let truth = Truth::read(&raw.payload[head..]);
        if let Some(descriptor) = &raw.descriptor {
            let Some(read) = Descriptor::parse(descriptor, self.structure.as_ref()) else {
                return (truth, None);
            };
            number = self.unwrap(read.mandatory.frame_number, 16);
            let differences = read.frame.differences.as_slice().iter();
            named = differences.map(|back| number - i64::from(*back)).collect();
            if let Some(structure) = read.structure {
                self.structure = Some(structure);
            }
        }
        (truth, Some((numbered.then_some(number), named)))
    }

    fn unwrap(&mut self, number: u16, bits: u32) -> i64 {
        let end = 1i64 << bits;
        let newest = self.newest.unwrap_or_else(|| i64::from(number));
        let ahead = (i64::from(number) - newest).rem_euclid(end);
        let found = newest + if ahead < end / 2 { ahead } else { ahead - end };
        self.newest = Some(newest.max(found));
        found
    }
}

/// Frames are in order, by time and number; streams begin with keyframes; pictures have an end; and what a frame refers to was
/// sent, all but those frames that were `damaged` on the way to the server, or cut off there. On a perfect network none are.
pub fn check(frames: &[Decoded], described: bool, damaged: &BTreeSet<Name>) {
    let mut decoded: BTreeSet<Name> = BTreeSet::new();
    let mut numbers: BTreeMap<i64, Name> = BTreeMap::new();
    for (at, frame) in frames.iter().enumerate() {
        assert!(frame.whole || damaged.contains(&frame.name), "a part of it was withheld: {frame:?}");
        if let Some(before) = at.checked_sub(1).map(|at| &frames[at]) {
            check_order(before, frame, described, damaged);
        } else {
            assert!(frame.keyframe, "begins in mid-stream: {frame:?}");
        }
        for reference in &frame.references {
            let known = decoded.contains(reference) || damaged.contains(reference);
            assert!(known, "{reference:?} was withheld from {frame:?}");
        }
        check_names(frame, described, &numbers, damaged);
        if let Some(number) = frame.number {
            let other = numbers.insert(number, frame.name);
            assert!(other.is_none() || !described, "a frame number twice: {other:?} {frame:?}");
        }
        decoded.insert(frame.name);
    }
}

fn check_order(before: &Decoded, frame: &Decoded, described: bool, damaged: &BTreeSet<Name>) {
    let time = frame.timestamp.wrapping_sub(before.timestamp) as i32;
    let number = frame.number.zip(before.number).map(|(new, old)| new - old);
    assert!(time >= 0, "time goes back: {before:?} {frame:?}");
    assert!(frame.name.0 == before.name.0 || frame.keyframe, "a switch in mid-stream: {before:?} {frame:?}");
    if time == 0 {
        assert!(frame.spatial > before.spatial, "one time, two pictures: {before:?} {frame:?}");
        assert!(!before.marker, "the picture was over: {before:?} {frame:?}");
        assert!(
            number.is_none_or(|number| if described { number > 0 } else { number == 0 }),
            "{before:?} {frame:?}"
        );
    } else {
        // Its end may have been in any of its spatial layers.
        let (ssrc, first) = (before.name.0, before.name.1 / 4 * 4);
        let damaged = damaged.range((ssrc, first)..(ssrc, first + 4)).next().is_some();
        assert!(before.marker || damaged, "no end: {before:?} {frame:?}");
        assert!(number.is_none_or(|number| number > 0), "numbers do not advance: {before:?} {frame:?}");
    }
}

/// The numbers by which a frame names its references are those of its references.
fn check_names(frame: &Decoded, described: bool, numbers: &BTreeMap<i64, Name>, damaged: &BTreeSet<Name>) {
    for number in &frame.named {
        match numbers.get(number) {
            Some(name) if described => {
                assert!(frame.references.contains(name), "it names {name:?}: {frame:?}")
            }
            // Names of pictures, whatever the spatial layer.
            Some(name) => {
                let same = |reference: &Name| reference.0 == name.0 && reference.1 / 4 == name.1 / 4;
                assert!(frame.references.iter().any(same), "it names {name:?}: {frame:?}");
            }
            None => {
                let damaged = frame.references.iter().any(|reference| damaged.contains(reference));
                assert!(damaged, "it names {number}, which is not there: {frame:?}");
            }
        }
    }
}

/// VP8's picture ids have no gaps where nothing is lost.
pub fn check_no_gaps(frames: &[Decoded]) {
    for pair in frames.windows(2) {
        assert_eq!(pair[1].number.unwrap() - pair[0].number.unwrap(), 1, "{pair:?}");
    }
}

/// Nothing is missing.
pub fn check_no_loss(raw: &[Raw]) {
    for pair in raw.windows(2) {
        assert_eq!(pair[1].sequence, pair[0].sequence + 1, "{pair:?}");
    }
}
