//! Microphones without a place: their packets are judged before any receiver is looked at, and what was sent before is
//! interrupted like by a mute.

use std::time::Instant;

use super::Audio;
use crate::media::Sink;
use crate::packet::Packet;
use crate::publication::Publication;
use crate::segment::Stream;

/// The interruption of one publication.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gate {
    /// The first packet that was withheld, and of which stream; `None` while packets pass.
    from: Option<(Stream, u64)>,
    /// How often it was interrupted, modulo 256.
    interruptions: u8,
}

impl Gate {
    /// Packets are withheld.
    pub fn is_closed(self) -> bool {
        self.from.is_some()
    }

    /// How often it was interrupted, modulo 256.
    pub fn interruptions(self) -> u8 {
        self.interruptions
    }
}

impl<S: Sink> Publication<S> {
    /// Hears the packet, and tells whether it is forwarded. What comes late is, where it belongs before the
    /// interruption: its receivers have kept its number.
    #[inline]
    pub(crate) fn passes(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        audio: &mut Audio,
        index: u32,
    ) -> bool {
        if !packet.newest {
            let before = |(stream, from)| packet.stream == stream && packet.sequence() < from;
            return self.gate.from.is_none_or(before);
        }
        let passes = match packet.received.extensions.audio_level {
            Some(level) => audio.hear(now, index, level),
            None => audio.passes(index),
        };
        if passes {
            self.gate.from = None;
        } else if self.gate.from.is_none() {
            self.gate.from = Some((packet.stream, packet.sequence()));
            self.interrupt_all();
        }
        passes
    }

    /// What was sent to receivers ends here; what comes next follows it without a gap.
    #[cold]
    fn interrupt_all(&mut self) {
        self.gate.interruptions = self.gate.interruptions.wrapping_add(1);
        self.rows.iter_mut().for_each(|row| row.pause());
    }

    /// The worker that it is relayed from has interrupted it so often: the numbers between were not lost, but withheld.
    pub(crate) fn hear_interruptions(&mut self, count: u8) {
        if let Some(relayed) = self.relayed.as_mut().filter(|relayed| relayed.interruptions != count) {
            relayed.interruptions = count;
            self.interrupt_all();
        }
    }
}
