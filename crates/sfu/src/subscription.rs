//! One receiver of one publication.

use base::model::TrackSettings;
use base::{Codec, CodecKind};
use wire::media::Rewrite;

use crate::clock::Clock;
use crate::packet::Packet;
use crate::rewriter::{Rewriter, Start};
use crate::segment::Stream;

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
}

/// One row of a publication's table.
#[derive(Debug)]
pub(crate) struct Subscription<Sink> {
    pub sink: Sink,
    /// The layer to be sent; `None` while nothing is.
    pub target: Option<u8>,
    pub settings: TrackSettings,
    pub forwarded: u64,
    pub begun: u32,
    codecs: Codecs,
    rewriter: Rewriter,
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
            settings: TrackSettings::default(),
            forwarded: 0,
            begun: 0,
            codecs: Codecs::new(codecs),
            rewriter: Rewriter::new(start),
        }
    }

    pub fn set_codecs(&mut self, codecs: &[Codec]) {
        self.codecs = Codecs::new(codecs);
    }

    /// The layer being sent.
    pub fn current(&self) -> Option<u8> {
        self.rewriter.stream().map(|stream| stream.layer)
    }

    /// It cannot begin on `stream`, which it is to receive, without a keyframe. Nobody is asked for one in vain: `codec` is
    /// what the publisher sends.
    pub fn waits_for(&self, stream: Stream, codec: Option<CodecKind>) -> bool {
        self.target == Some(stream.layer)
            && self.rewriter.stream() != Some(stream)
            && codec.is_some_and(|codec| self.codecs.has(codec))
    }

    /// Stops sending until the next beginning.
    pub fn pause(&mut self) {
        self.rewriter.close();
    }

    /// What it receives of the packet.
    #[inline]
    pub fn forward(&mut self, packet: &Packet<'_>) -> Option<Forwarded> {
        let accepted = self.codecs.has(packet.received.codec);
        let clock = if accepted && self.begins(packet) { self.begin(packet) } else { None };
        if packet.content.empty || !accepted {
            let closed_up = self.rewriter.skip(packet);
            // An empty packet whose number is taken already fills the gap that the receiver sees.
            if closed_up || !packet.content.empty {
                return None;
            }
        }
        let rewrite = self.rewriter.rewrite(packet)?;
        self.forwarded += 1;
        Some(Forwarded { rewrite, clock })
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
        self.begun += 1;
        self.rewriter.set_clock(packet.clock?)
    }
}
