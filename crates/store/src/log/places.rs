//! Where the events are. Numbers of a partition are dense, so an event is found by counting: for the segment that is written to, the
//! places are in memory; for one that is full, they are in a file beside it, and memory has one [`Span`] for each partition in it.
//!
//! ```text
//! head   magic "STOAIDX", version 1 | number of the segment | its size
//! frame  body: partitions (2) | partition (2), its first n in the segment (8), how many (4) … | places in the segment (4) …
//! ```
//!
//! The file can be made anew from the segment at any time, and is when it is not as it was written.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;

use crate::disk::{Disk, File};
use crate::frame::{self, FRAME, Format, HEAD, Head, u16_at, u32_at, u64_at};

const FORMAT: Format = Format { magic: b"STOAIDX", version: 1 };

/// The file beside a segment.
pub(super) fn name(segment: u64) -> String {
    format!("{segment:020}.idx")
}

/// Events of one partition that follow each other in one segment.
#[derive(Clone, Debug)]
pub(super) struct Span {
    /// The number of the first.
    pub first: u64,
    pub count: u32,
    pub segment: u64,
    pub places: Places,
}

/// Where in the segment they are.
#[derive(Clone, Debug)]
pub(super) enum Places {
    /// At this byte of the file beside it begins a row of 4 bytes each.
    Beside(u64),
    /// Here: that file could not be written.
    Held(Arc<[u32]>),
}

/// The segment that is written to: by partition, the number of the first event and the places of all.
pub(super) type Active = BTreeMap<u16, (u64, Vec<u32>)>;

/// All events of a log.
#[derive(Default)]
pub(super) struct Index {
    sealed: BTreeMap<u16, VecDeque<Span>>,
    pub active: Active,
}

/// Where some events are that follow each other.
pub(super) enum Run {
    /// In the segment that is written to, at these places.
    Active(Vec<u32>),
    /// In this span, from this one on.
    Sealed(Span, u32),
}

impl Index {
    pub fn add(&mut self, partition: u16, n: u64, place: u32) {
        self.active.entry(partition).or_insert((n, Vec::new())).1.push(place);
    }

    /// Takes over a segment's spans. Segments come in order.
    pub fn add_sealed(&mut self, spans: Vec<(u16, Span)>) {
        for (partition, span) in spans {
            self.sealed.entry(partition).or_default().push_back(span);
        }
    }

    /// Where the event is, and up to `max` after it in the same segment.
    pub fn find(&self, partition: u16, n: u64, max: usize) -> Option<Run> {
        if let Some((first, places)) = self.active.get(&partition)
            && n >= *first
        {
            let at = (n - first) as usize;
            let end = places.len().min(at.saturating_add(max));
            return (at < end).then(|| Run::Active(places[at..end].to_vec()));
        }
        let spans = self.sealed.get(&partition)?;
        let span = &spans[spans.partition_point(|span| span.first <= n).checked_sub(1)?];
        let at = n - span.first;
        (at < u64::from(span.count)).then(|| Run::Sealed(span.clone(), at as u32))
    }

    /// May the segment go, when of each partition only `first(partition)` and above are wanted?
    pub fn is_unwanted(&self, segment: u64, first: impl Fn(u16) -> u64) -> bool {
        let is_below = |partition: u16, span: &Span| span.first + u64::from(span.count) <= first(partition);
        self.sealed.iter().all(|(partition, spans)| {
            spans.iter().filter(|span| span.segment == segment).all(|span| is_below(*partition, span))
        })
    }

    /// Segments below `oldest` are no more.
    pub fn forget_below(&mut self, oldest: u64) {
        for spans in self.sealed.values_mut() {
            while spans.front().is_some_and(|span| span.segment < oldest) {
                spans.pop_front();
            }
        }
        self.sealed.retain(|_, spans| !spans.is_empty());
    }

    /// How many pieces of memory it takes: spans, and events of the segment that is written to.
    pub fn weight(&self) -> (usize, usize) {
        let spans = self.sealed.values().map(VecDeque::len).sum();
        (spans, self.active.values().map(|(_, places)| places.len()).sum())
    }
}

/// Writes the file beside a segment that is full. Where that fails the places stay in memory.
pub(super) fn seal<D: Disk>(disk: &mut D, segment: u64, size: u64, events: &Active) -> Vec<(u16, Span)> {
    let written = write(disk, segment, size, events);
    let mut at = table_end(events.len()) as u64;
    let mut spans = Vec::with_capacity(events.len());
    for (partition, (first, places)) in events {
        let beside = Places::Beside(at);
        let place = if written.is_ok() { beside } else { Places::Held(places.as_slice().into()) };
        let count = places.len() as u32;
        spans.push((*partition, Span { first: *first, count, segment, places: place }));
        at += 4 * u64::from(count);
    }
    spans
}

/// The spans of a segment of `size` bytes by the file beside it. `None`: it is of no use.
pub(super) fn load<D: Disk>(disk: &mut D, segment: u64, size: u64) -> Option<Vec<(u16, Span)>> {
    let bytes = frame::read_all(&mut disk.open(&name(segment)).ok()?).ok()?;
    if FORMAT.read_head(&bytes, segment) != Head::Good(size) {
        return None;
    }
    let body = frame::read_frame(segment, &bytes, HEAD)?;
    let partitions = usize::from(u16_at(body, 0)?);
    let mut at = table_end(partitions) as u64;
    let mut spans = Vec::with_capacity(partitions);
    for row in (0..partitions).map(|row| 2 + 14 * row) {
        let (first, count) = (u64_at(body, row + 2)?, u32_at(body, row + 10)?);
        spans.push((u16_at(body, row)?, Span { first, count, segment, places: Places::Beside(at) }));
        at += 4 * u64::from(count);
    }
    (at as usize == HEAD + FRAME + body.len()).then_some(spans)
}

fn write<D: Disk>(disk: &mut D, segment: u64, size: u64, events: &Active) -> io::Result<()> {
    let mut body = (events.len() as u16).to_le_bytes().to_vec();
    for (partition, (first, places)) in events {
        body.extend_from_slice(&partition.to_le_bytes());
        body.extend_from_slice(&first.to_le_bytes());
        body.extend_from_slice(&(places.len() as u32).to_le_bytes());
    }
    for place in events.values().flat_map(|(_, places)| places) {
        body.extend_from_slice(&place.to_le_bytes());
    }
    let mut file = frame::create(disk, &name(segment))?;
    file.append(&FORMAT.head(segment, size))?;
    // It is not synced: what a crash leaves of it is checked, and made anew where it is not all.
    file.append(&frame::frame(segment, HEAD as u64, &body))
}

/// Where in the file the places begin.
fn table_end(partitions: usize) -> usize {
    HEAD + FRAME + 2 + 14 * partitions
}
