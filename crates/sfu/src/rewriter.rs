//! One subscription's numbers: from the publisher's several streams to the one that the receiver sees.
//!
//! Told with a picture in `docs/forwarding.md`.

use std::time::{Duration, Instant};

use wire::media::Rewrite;

use crate::clock::{Clock, ahead, ticks};
use crate::packet::{Content, Indices, Packet};
use crate::segment::{Past, Segment, Shift, Stream};

/// A sender report that places a frame further than this from where its arrival places it is not believed: the
/// publisher's clock was set, or the report is of another stream. Well above the queueing delay of a bad uplink.
const BELIEVABLE: Duration = Duration::from_millis(500);

/// The numbers with which a receiver's stream begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    pub sequence: u64,
    pub timestamp: u32,
    pub indices: Shift,
}

/// The newest of what was forwarded: what begins must come after it.
#[derive(Debug)]
struct Newest {
    /// One past its sequence number.
    next: u64,
    /// One past the sequence number of the newest that was not empty.
    media: u64,
    timestamp: u32,
    indices: Shift,
    /// `None` until the first packet.
    arrival: Option<Instant>,
    /// The stream last forwarded and its timestamp shift, to be taken up again after a pause.
    shift: Option<(Stream, u32)>,
}

/// Gives packets their output numbers. Every output number is given to one input alone.
#[derive(Debug)]
pub(crate) struct Rewriter {
    open: Option<Segment>,
    newest: Newest,
    /// The publisher's clock in output timestamps, as last told to the receiver.
    clock: Option<Clock>,
    past: Past,
}

impl Rewriter {
    pub fn new(start: Start) -> Self {
        let newest = Newest {
            next: start.sequence,
            media: start.sequence,
            timestamp: start.timestamp,
            indices: start.indices,
            arrival: None,
            shift: None,
        };
        Self { open: None, newest, clock: None, past: Past::new() }
    }

    /// The stream being forwarded.
    pub fn stream(&self) -> Option<Stream> {
        self.open.as_ref().map(|open| open.stream)
    }

    /// Goes over to the packet's stream, beginning with this packet. Its output follows all that was forwarded before,
    /// in sequence number, timestamp and indices.
    pub fn begin(&mut self, packet: &Packet<'_>) {
        self.close();
        self.past.cut(self.newest.media);
        let timestamp = self.timestamp_shift(packet);
        self.newest.shift = Some((packet.stream, timestamp));
        self.open = Some(Segment {
            stream: packet.stream,
            first: packet.sequence(),
            end: packet.sequence(),
            sequence: self.newest.next.wrapping_sub(packet.sequence()),
            timestamp,
            indices: self.newest.shift_to(&packet.content),
        });
    }

    /// Stops forwarding; late packets still find their places.
    pub fn close(&mut self) {
        if let Some(open) = self.open.take() {
            self.past.push(open);
        }
    }

    /// The packet's numbers, or `None` when it has no place in the output.
    #[inline]
    pub fn rewrite(&mut self, packet: &Packet<'_>) -> Option<Rewrite> {
        let rewrite = self.place(packet)?;
        self.newest.advance(&rewrite, packet);
        Some(rewrite)
    }

    /// An empty packet with the packet's number, or `None` when it has no place in the output.
    pub fn blank(&mut self, packet: &Packet<'_>) -> Option<Rewrite> {
        let numbers = self.place(packet)?;
        let blank = Rewrite {
            descriptor: numbers.descriptor,
            blank: true,
            ..Rewrite::plain(numbers.sequence, numbers.timestamp, numbers.codec)
        };
        self.newest.advance(&blank, packet);
        Some(blank)
    }

    fn place(&mut self, packet: &Packet<'_>) -> Option<Rewrite> {
        let segment = match &mut self.open {
            Some(open) if open.stream == packet.stream && packet.sequence() >= open.first => {
                open.end = open.end.max(packet.sequence().wrapping_add(1));
                &*open
            }
            // The newest packet of another stream is in no past segment: those hold what was there before.
            _ if packet.newest => return None,
            _ => self.past.find(packet.stream, packet.sequence())?,
        };
        Some(segment.apply(packet))
    }

    /// Closes up the numbering behind a packet that is not forwarded, and that of VP8 pictures behind the `first` packet of
    /// one. False when its number is behind what was forwarded already, so that the receiver sees a gap.
    ///
    /// Pictures of VP9 and frames with a descriptor keep their numbers: others name them by the distance.
    pub fn skip(&mut self, packet: &Packet<'_>, first: bool) -> bool {
        let Some(open) = &mut self.open else { return false };
        if open.stream != packet.stream || packet.sequence() < open.end {
            return false;
        }
        // What was lost just before keeps its number.
        let mut rest = *open;
        open.end = packet.sequence();
        self.past.push(*open);
        rest.first = packet.sequence().wrapping_add(1);
        rest.end = rest.first;
        rest.sequence = rest.sequence.wrapping_sub(1);
        if first && matches!(packet.content.indices, Indices::Vp8(_)) {
            rest.indices.picture_id = rest.indices.picture_id.wrapping_sub(1);
        }
        *open = rest;
        true
    }

    /// Layers of a stream are withheld from now on.
    pub fn expect_layers(&mut self) {
        self.past.keep_more();
    }

    /// The publisher's clock for the open stream changed; returns it in output timestamps.
    pub fn set_clock(&mut self, clock: Clock) -> Option<Clock> {
        self.clock = Some(clock.shifted(self.open?.timestamp));
        self.clock
    }

    /// Where the packet's frame belongs: its own stream's place when that is taken up again, else where the publisher's
    /// clock puts it, else where its arrival puts it; never at or before what was forwarded.
    fn timestamp_shift(&self, packet: &Packet<'_>) -> u32 {
        let newest = &self.newest;
        let Some(arrival) = newest.arrival else {
            return newest.timestamp.wrapping_sub(packet.received.timestamp);
        };
        let rate = packet.received.codec.clock_rate();
        let elapsed = packet.received.arrival.saturating_duration_since(arrival);
        let by_arrival = newest.timestamp.wrapping_add(ticks(elapsed, rate));
        let resumed = newest
            .shift
            .filter(|(stream, _)| *stream == packet.stream)
            .map(|(_, shift)| packet.received.timestamp.wrapping_add(shift));
        let by_clock =
            || Some(self.clock.as_ref()?.translate(packet.clock.as_ref()?, packet.received.timestamp, rate));
        let place = resumed
            .or_else(by_clock)
            .filter(|place| ahead(*place, by_arrival).unsigned_abs() <= ticks(BELIEVABLE, rate))
            .unwrap_or(by_arrival);
        let place = if ahead(place, newest.timestamp) > 0 { place } else { newest.timestamp.wrapping_add(1) };
        place.wrapping_sub(packet.received.timestamp)
    }
}

impl Newest {
    fn advance(&mut self, rewrite: &Rewrite, packet: &Packet<'_>) {
        if rewrite.sequence >= self.next {
            self.next = rewrite.sequence.wrapping_add(1);
            self.arrival = Some(packet.received.arrival);
        }
        if rewrite.sequence < self.media || packet.content.empty || rewrite.blank {
            return;
        }
        self.media = rewrite.sequence.wrapping_add(1);
        if ahead(rewrite.timestamp, self.timestamp) > 0 {
            self.timestamp = rewrite.timestamp;
        }
        let (vp8, vp9) = (rewrite.vp8.unwrap_or_default(), rewrite.vp9.unwrap_or_default());
        let indices = &mut self.indices;
        indices.picture_id = vp8.picture_id.or(vp9.picture_id).unwrap_or(indices.picture_id);
        indices.tl0 = vp8.tl0.or(vp9.tl0).unwrap_or(indices.tl0);
        indices.key_idx = vp8.key_idx.unwrap_or(indices.key_idx);
        let frame = rewrite.described.map_or(indices.frame, |patch| patch.frame_number);
        if frame.wrapping_sub(indices.frame) as i16 > 0 {
            indices.frame = frame;
        }
    }

    /// A keyframe begins: each index goes on by one (for VP8 see RFC 7741 section 4.2).
    fn shift_to(&self, content: &Content) -> Shift {
        let (picture_id, tl0, key_idx) = match content.indices {
            Indices::None => (None, None, None),
            Indices::Vp8(indices) => (indices.picture_id, indices.tl0, indices.key_idx),
            Indices::Vp9(indices) => (indices.picture_id, indices.tl0, None),
        };
        let newest = self.indices;
        Shift {
            picture_id: newest.picture_id.wrapping_add(1).wrapping_sub(picture_id.unwrap_or(0)),
            tl0: newest.tl0.wrapping_add(1).wrapping_sub(tl0.unwrap_or(0)),
            key_idx: newest.key_idx.wrapping_add(1).wrapping_sub(key_idx.unwrap_or(0)),
            frame: newest.frame.wrapping_add(1).wrapping_sub(content.frame_number().unwrap_or(0)),
        }
    }
}
