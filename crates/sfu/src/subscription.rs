//! One receiver of one publication.

use std::time::Instant;

use base::model::TrackSettings;
use base::{Codec, CodecKind};
use wire::media::Rewrite;

use crate::allocator::Cap;
use crate::clock::Clock;
use crate::layer::Layer;
use crate::packet::{Layering, Packet};
use crate::rewriter::{Rewriter, Start};
use crate::segment::Stream;
use crate::selector::{Selector, Verdict, Wanted};
use crate::sublayers::Sublayers;

/// The codecs that a receiver negotiated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Codecs(u16);

impl Codecs {
    fn new(codecs: &[Codec]) -> Self {
        Self(codecs.iter().fold(0, |all, codec| all | 1 << codec.kind as u16))
    }

    fn has(self, codec: CodecKind) -> bool {
        self.0 & 1 << codec as u16 != 0
    }

    /// As what the receiver gets the packet, and how many bytes of its front it does not get: without redundancy, where it
    /// does not know that. `None`: it cannot get it.
    #[inline]
    fn accept(self, packet: &Packet<'_>) -> Option<(CodecKind, u16)> {
        let codec = packet.received.codec;
        if self.has(codec) {
            return Some((codec, 0));
        }
        let front = if packet.content.empty { Some(0) } else { packet.content.primary };
        let unwrapped = codec == CodecKind::Red && self.has(CodecKind::Opus);
        front.filter(|_| unwrapped).map(|front| (CodecKind::Opus, front))
    }
}

/// One row of a publication's table.
#[derive(Debug)]
pub(crate) struct Subscription<Sink> {
    pub sink: Sink,
    /// The layer to be sent; `None` while nothing is.
    pub target: Option<u8>,
    /// What is to be sent of that layer.
    pub wanted: Wanted,
    pub settings: TrackSettings,
    /// What its receiver's connection carries.
    pub cap: Cap,
    /// It was told that nothing is sent for want of bandwidth.
    pub paused: bool,
    /// It was cut, and what it still gets of another layer than its target is to be little.
    pub hasty: bool,
    /// Since when there is something to allocate.
    pub since: Option<Instant>,
    /// When its receiver asked for it, or asked for something else.
    pub asked: Option<Instant>,
    pub forwarded: u64,
    pub begun: u32,
    codecs: Codecs,
    rewriter: Rewriter,
    /// What was begun last and before that, for packets of it that come late.
    stretches: [Option<Stretch>; 2],
}

/// What a receiver gets of a stream from one beginning on.
#[derive(Debug)]
struct Stretch {
    stream: Stream,
    /// The sequence number with which it began.
    first: u64,
    selector: Selector,
}

impl Stretch {
    fn has(&self, packet: &Packet<'_>) -> bool {
        self.stream == packet.stream && self.first <= packet.sequence()
    }
}

/// What becomes of a packet for one receiver.
#[derive(Debug)]
pub(crate) struct Forwarded {
    pub rewrite: Rewrite,
    /// The receiver's stream begins or goes over to another layer with it, and this is the publisher's clock for it.
    pub clock: Option<Clock>,
}

impl<Sink> Subscription<Sink> {
    pub fn new(sink: Sink, codecs: &[Codec], start: Start) -> Self {
        Self {
            sink,
            target: None,
            wanted: Wanted::default(),
            settings: TrackSettings::default(),
            cap: Cap::Free,
            paused: false,
            hasty: false,
            since: None,
            asked: None,
            forwarded: 0,
            begun: 0,
            codecs: Codecs::new(codecs),
            rewriter: Rewriter::new(start),
            stretches: [None, None],
        }
    }

    /// It accepts what `other` does from now on.
    pub fn set_codecs(&mut self, other: &Self) {
        self.codecs = other.codecs;
    }

    /// Does its receiver understand the codec?
    pub fn accepts(&self, codec: CodecKind) -> bool {
        self.codecs.has(codec)
    }

    /// The layer being sent.
    pub fn current(&self) -> Option<u8> {
        self.rewriter.stream().map(|stream| stream.layer)
    }

    /// Spatial and temporal layer of its stream that is sent, where the stream tells.
    pub fn current_within(&self) -> Option<(u8, u8)> {
        let open = self.rewriter.stream()?;
        self.stretches[0].as_ref().filter(|now| now.stream == open)?.selector.layers()
    }

    /// It cannot begin on `layer`, or come to what it is to receive of it, without a keyframe. Nobody is asked for one in
    /// vain: `codec` is what the publisher sends.
    pub fn waits_for(&self, layer: &Layer, codec: Option<CodecKind>) -> bool {
        self.target == Some(layer.stream.layer)
            && self.cap.is_settled()
            && codec.is_some_and(|codec| self.codecs.has(codec))
            && (self.rewriter.stream() != Some(layer.stream) || self.is_stuck(layer))
    }

    fn is_stuck(&self, layer: &Layer) -> bool {
        let now = self.stretches[0].as_ref().filter(|now| now.stream == layer.stream);
        now.is_some_and(|now| now.selector.needs_keyframe(self.wanted, &layer.within))
    }

    /// Stops sending until the next beginning.
    pub fn pause(&mut self) {
        self.rewriter.close();
    }

    /// What it receives of the packet.
    #[inline]
    pub fn forward(&mut self, packet: &Packet<'_>, within: &Sublayers) -> Option<Forwarded> {
        // With several layers, most packets are of one that this receiver does not get: only what comes late of such a stream may
        // have a place.
        if packet.newest && self.rewriter.stream() != Some(packet.stream) && !self.begins(packet) {
            return None;
        }
        let accepted = self.codecs.accept(packet);
        let clock = if accepted.is_some() && self.begins(packet) { self.begin(packet) } else { None };
        if packet.content.empty || accepted.is_none() {
            let closed_up = self.rewriter.skip(packet, false);
            // An empty packet whose number is taken already fills the gap that the receiver sees.
            if closed_up || !packet.content.empty {
                return None;
            }
        }
        let mut rewrite = match self.decide(packet, within) {
            Verdict::Forward { last, active } => {
                let mut rewrite = self.rewriter.rewrite(packet)?;
                rewrite.marker |= last;
                if let Some(patch) = &mut rewrite.described {
                    patch.active = active;
                }
                rewrite
            }
            Verdict::Withhold { first } if self.rewriter.skip(packet, first) => return None,
            // It left a gap when it was missed.
            Verdict::Withhold { .. } => self.rewriter.blank(packet)?,
        };
        if let Some((codec, front)) = accepted {
            (rewrite.codec, rewrite.cut) = (codec, front);
        }
        self.forwarded += 1;
        Some(Forwarded { rewrite, clock })
    }

    /// Is it among the layers that are sent of its stream?
    #[inline]
    fn decide(&mut self, packet: &Packet<'_>, within: &Sublayers) -> Verdict {
        let open = self.rewriter.stream() == Some(packet.stream);
        let [now, before] = &mut self.stretches;
        match (now, before) {
            (Some(now), _) if open && now.has(packet) => {
                let mut wanted = self.wanted;
                if self.hasty && self.target != Some(packet.stream.layer) {
                    wanted.temporal = 0;
                }
                now.selector.decide(packet, wanted, within)
            }
            (Some(was), _) | (_, Some(was)) if was.has(packet) => was.selector.recall(packet),
            _ if matches!(packet.content.layering, Layering::Whole) => {
                Verdict::Forward { last: false, active: None }
            }
            _ => Verdict::Withhold { first: false },
        }
    }

    fn begins(&self, packet: &Packet<'_>) -> bool {
        self.target == Some(packet.stream.layer)
            && self.rewriter.stream() != Some(packet.stream)
            && packet.begins()
    }

    /// A new sender report for `stream`. Returns the clock in the receiver's timestamps when it receives that stream.
    pub fn set_clock(&mut self, stream: Stream, clock: Clock) -> Option<Clock> {
        if self.rewriter.stream() != Some(stream) {
            return None;
        }
        self.rewriter.set_clock(clock)
    }

    #[cold]
    fn begin(&mut self, packet: &Packet<'_>) -> Option<Clock> {
        self.rewriter.begin(packet);
        let selector = Selector::new(packet);
        if !matches!(selector, Selector::Whole) {
            self.rewriter.expect_layers();
        }
        self.hasty = false;
        self.stretches.swap(0, 1);
        self.stretches[0] = Some(Stretch { stream: packet.stream, first: packet.sequence(), selector });
        self.begun += 1;
        self.rewriter.set_clock(packet.clock?)
    }
}
