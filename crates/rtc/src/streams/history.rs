//! What was sent lately, so that it can be sent again: handles into the publisher's payload ring, never payloads.

use base::CodecKind;
use base::ring::Slot;
use wire::media::Rewrite;
use wire::{dd, vp8, vp9};

/// The ring starts this small and doubles while it would forget packets younger than [`KEEP_MS`]: a stream of up to 90
/// packets per second costs 1.5 KB, one of up to 365 (3 Mbit/s) 6 KB, which keeps a subscription under its 8 KB.
const MIN_ENTRIES: usize = 64;
/// Two requests over a round trip of 300 ms. What is older would come too late to be played.
const KEEP_MS: u32 = 700;

const CODECS: [CodecKind; 8] = [
    CodecKind::Opus,
    CodecKind::Red,
    CodecKind::Vp8,
    CodecKind::Vp9,
    CodecKind::H264,
    CodecKind::Av1,
    CodecKind::Pcmu,
    CodecKind::Pcma,
];

/// A sent packet in 24 bytes. Audio level and capture time are not kept, nor which decode targets of VP9 are sent: a
/// retransmission is complete without them.
#[derive(Clone, Copy, Default)]
struct Entry {
    slot: Slot,
    timestamp: u32,
    /// When it was sent last, on the stream's millisecond clock, modulo a minute: what is that old is overwritten, or
    /// asked for in vain.
    sent_ms: u16,
    sequence: u16,
    /// Of VP8 and VP9, the changed picture id; of other codecs, the decode targets that are told.
    picture_or_active: u16,
    /// Of the dependency descriptor; of Opus, which has none, bytes cut from the front.
    frame_number: u16,
    tl0: u8,
    /// Of VP8, the changed index; of other codecs, which have none, the length of the dependency descriptor.
    key_or_descriptor: u8,
    flags: u8,
    /// Codec in the upper four bits, retransmissions in the lower.
    codec_and_resends: u8,
}

const USED: u8 = 1;
const MARKER: u8 = 2;
const QUEUED: u8 = 4;
/// It has a patch of VP8 or VP9.
const PATCHED: u8 = 8;
const PICTURE_ID: u8 = 16;
const TL0: u8 = 32;
/// Of VP8: the index is changed. Of other codecs: the descriptor is sent.
const KEY_OR_DESCRIBED: u8 = 64;
const BLANK: u8 = 128;

impl Entry {
    fn new(now_ms: u32, slot: Slot, rewrite: &Rewrite) -> Self {
        let entry = Self {
            slot,
            timestamp: rewrite.timestamp,
            sent_ms: now_ms as u16,
            sequence: rewrite.sequence as u16,
            flags: USED | flag(rewrite.marker, MARKER) | flag(rewrite.blank, BLANK),
            codec_and_resends: (rewrite.codec as u8) << 4,
            ..Self::default()
        };
        match rewrite.codec {
            CodecKind::Vp8 => entry.with_vp8(rewrite),
            CodecKind::Vp9 => entry.with_descriptor(rewrite).with_vp9(rewrite),
            CodecKind::Opus => Self { frame_number: rewrite.cut, ..entry.with_descriptor(rewrite) },
            _ => entry.with_descriptor(rewrite),
        }
    }

    fn with_vp8(self, rewrite: &Rewrite) -> Self {
        let patch = rewrite.vp8.unwrap_or_default();
        Self {
            picture_or_active: patch.picture_id.unwrap_or(0),
            tl0: patch.tl0.unwrap_or(0),
            key_or_descriptor: patch.key_idx.unwrap_or(0),
            flags: self.flags
                | flag(rewrite.vp8.is_some(), PATCHED)
                | flag(patch.picture_id.is_some(), PICTURE_ID)
                | flag(patch.tl0.is_some(), TL0)
                | flag(patch.key_idx.is_some(), KEY_OR_DESCRIBED),
            ..self
        }
    }

    fn with_vp9(self, rewrite: &Rewrite) -> Self {
        let patch = rewrite.vp9.unwrap_or_default();
        Self {
            picture_or_active: patch.picture_id.unwrap_or(0),
            tl0: patch.tl0.unwrap_or(0),
            flags: self.flags
                | flag(rewrite.vp9.is_some(), PATCHED)
                | flag(patch.picture_id.is_some(), PICTURE_ID)
                | flag(patch.tl0.is_some(), TL0),
            ..self
        }
    }

    fn with_descriptor(self, rewrite: &Rewrite) -> Self {
        let patch = rewrite.described.unwrap_or_default();
        Self {
            picture_or_active: dd::Active::pack(patch.active),
            frame_number: patch.frame_number,
            key_or_descriptor: rewrite.descriptor,
            flags: self.flags | flag(rewrite.described.is_some(), KEY_OR_DESCRIBED),
            ..self
        }
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    fn resends(&self) -> u8 {
        self.codec_and_resends & 0x0F
    }

    fn codec(&self) -> CodecKind {
        CODECS[usize::from(self.codec_and_resends >> 4) % CODECS.len()]
    }

    fn rewrite(&self, sequence: u64) -> Rewrite {
        let codec = self.codec();
        let picture_id = self.has(PICTURE_ID).then_some(self.picture_or_active);
        let tl0 = self.has(TL0).then_some(self.tl0);
        let key_idx = self.has(KEY_OR_DESCRIBED).then_some(self.key_or_descriptor);
        let is = |kind: CodecKind| codec == kind && self.has(PATCHED);
        let described = codec != CodecKind::Vp8;
        Rewrite {
            marker: self.has(MARKER),
            vp8: is(CodecKind::Vp8).then_some(vp8::Patch { picture_id, tl0, key_idx }),
            vp9: is(CodecKind::Vp9).then_some(vp9::Patch { picture_id, tl0 }),
            descriptor: if described { self.key_or_descriptor } else { 0 },
            described: Some(self.descriptor_patch()).filter(|_| described && self.has(KEY_OR_DESCRIBED)),
            cut: if codec == CodecKind::Opus { self.frame_number } else { 0 },
            blank: self.has(BLANK),
            ..Rewrite::plain(sequence, self.timestamp, codec)
        }
    }

    fn descriptor_patch(&self) -> dd::Patch {
        let packed = if self.codec() == CodecKind::Vp9 { 0 } else { self.picture_or_active };
        dd::Patch { frame_number: self.frame_number, active: dd::Active::unpack(packed) }
    }
}

/// Milliseconds, modulo a minute.
fn since(now_ms: u32, sent_ms: u16) -> u32 {
    u32::from((now_ms as u16).wrapping_sub(sent_ms))
}

fn flag(set: bool, bit: u8) -> u8 {
    if set { bit } else { 0 }
}

/// Sent packets by sequence number; the last `max` of them at most.
#[derive(Clone, Default)]
pub(super) struct History {
    /// A power of two long, or empty; a packet lies at its sequence number modulo that.
    entries: Vec<Entry>,
    max: usize,
    highest: u64,
}

impl History {
    /// `max` is rounded up to a power of two, at most 32,768; 0 remembers nothing.
    pub(super) fn new(max: usize) -> Self {
        let max = if max == 0 { 0 } else { max.next_power_of_two().clamp(MIN_ENTRIES, 32_768) };
        Self { entries: Vec::new(), max, highest: 0 }
    }

    #[inline]
    pub(super) fn insert(&mut self, now_ms: u32, slot: Slot, rewrite: &Rewrite) {
        if self.max == 0 {
            return;
        }
        if self.entries.is_empty() {
            self.entries = vec![Entry::default(); MIN_ENTRIES];
        }
        self.highest = self.highest.max(rewrite.sequence);
        let old = self.entries[self.place(rewrite.sequence as u16)];
        let young = old.has(USED) && since(now_ms, old.sent_ms) < KEEP_MS;
        if young && old.sequence != rewrite.sequence as u16 && self.entries.len() < self.max {
            self.grow();
        }
        if self.highest - rewrite.sequence < self.entries.len() as u64 {
            let place = self.place(rewrite.sequence as u16);
            self.entries[place] = Entry::new(now_ms, slot, rewrite);
        }
    }

    #[cold]
    fn grow(&mut self) {
        let doubled = vec![Entry::default(); self.entries.len() * 2];
        let old = std::mem::replace(&mut self.entries, doubled);
        for entry in old.into_iter().filter(|e| e.has(USED)) {
            let place = self.place(entry.sequence);
            self.entries[place] = entry;
        }
    }

    fn place(&self, sequence: u16) -> usize {
        usize::from(sequence) & (self.entries.len() - 1)
    }

    fn find(&mut self, sequence: u16) -> Option<&mut Entry> {
        if self.entries.is_empty() {
            return None;
        }
        let place = self.place(sequence);
        self.entries.get_mut(place).filter(|e| e.has(USED) && e.sequence == sequence)
    }

    /// Marks a packet for sending again. `false`: forgotten, marked already, sent again less than `spacing_ms` ago, or
    /// `max_resends` times.
    pub(super) fn queue(&mut self, now_ms: u32, sequence: u16, spacing_ms: u32, max_resends: u8) -> bool {
        let Some(entry) = self.find(sequence) else { return false };
        let resends = entry.resends();
        let too_soon = resends > 0 && since(now_ms, entry.sent_ms) < spacing_ms;
        if entry.has(QUEUED) || too_soon || resends >= max_resends.min(15) {
            return false;
        }
        entry.flags |= QUEUED;
        true
    }

    /// Takes a marked packet for sending it now.
    pub(super) fn take(&mut self, now_ms: u32, sequence: u16) -> Option<(Slot, Rewrite)> {
        let highest = self.highest;
        let entry = self.find(sequence).filter(|e| e.has(QUEUED))?;
        entry.flags &= !QUEUED;
        entry.codec_and_resends += 1;
        entry.sent_ms = now_ms as u16;
        let behind = (highest as u16).wrapping_sub(sequence);
        Some((entry.slot, entry.rewrite(highest.checked_sub(u64::from(behind))?)))
    }

    /// 0: it remembers nothing.
    pub(super) fn max_entries(&self) -> usize {
        self.max
    }

    /// Bytes of memory held.
    pub(super) fn memory(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewrite(sequence: u64) -> Rewrite {
        let picture_id = Some(sequence as u16 & 0x7FFF);
        Rewrite {
            marker: sequence.is_multiple_of(2),
            vp8: Some(vp8::Patch { picture_id, tl0: None, key_idx: Some(7) }),
            ..Rewrite::plain(sequence, sequence as u32 * 3_000, CodecKind::Vp8)
        }
    }

    fn comes_back(before: &Rewrite) {
        assert_eq!(Entry::new(5, Slot::default(), before).rewrite(before.sequence), *before);
    }

    #[test]
    fn an_entry_keeps_the_rewrite_in_24_bytes() {
        assert_eq!(size_of::<Entry>(), 24);
        let plain = Rewrite { vp8: None, ..rewrite(70_001) };
        let patches = [None, Some(vp8::Patch::default()), rewrite(3).vp8];
        for vp8 in patches.into_iter().chain([Some(vp8::Patch { tl0: Some(9), ..Default::default() })]) {
            comes_back(&Rewrite { vp8, ..plain });
        }
        for codec in CODECS.into_iter().filter(|codec| *codec != CodecKind::Vp8) {
            comes_back(&Rewrite { codec, ..plain });
            comes_back(&Rewrite { codec, descriptor: 9, ..plain });
            comes_back(&Rewrite { codec, descriptor: 9, blank: true, ..plain });
            let described = Some(dd::Patch { frame_number: 65_535, active: None });
            if codec != CodecKind::Opus {
                comes_back(&Rewrite { codec, descriptor: 255, described, ..plain });
            }
        }
        comes_back(&Rewrite { codec: CodecKind::Opus, cut: 1_023, ..plain });
        let active = dd::Active::new(0b101, 9);
        let described = Some(dd::Patch { frame_number: 3, active });
        comes_back(&Rewrite { codec: CodecKind::Av1, descriptor: 20, described, ..plain });
        let described = Some(dd::Patch { frame_number: 3, active: None });
        for vp9 in [
            vp9::Patch { picture_id: Some(0x7FFF), tl0: None },
            vp9::Patch { picture_id: None, tl0: Some(2) },
        ] {
            let vp9 = Some(vp9);
            comes_back(&Rewrite { codec: CodecKind::Vp9, vp9, descriptor: 20, described, ..plain });
            comes_back(&Rewrite { codec: CodecKind::Vp9, vp9, ..plain });
        }
    }

    #[test]
    fn the_ring_grows_only_as_far_as_the_packet_rate_needs() {
        let mut slow = History::new(1_024);
        let mut fast = History::new(1_024);
        let mut fastest = History::new(1_024);
        for i in 0..5_000 {
            slow.insert(i * 20, Slot::default(), &rewrite(u64::from(i)));
            fast.insert(i * 3, Slot::default(), &rewrite(u64::from(i)));
            fastest.insert(i / 4, Slot::default(), &rewrite(u64::from(i)));
        }
        assert_eq!(slow.memory(), 64 * 24);
        assert_eq!(fast.memory(), 256 * 24);
        assert_eq!(fastest.memory(), 1_024 * 24);
        assert_eq!(History::new(0).memory(), 0);
        for back in 0..250 {
            assert!(fast.queue(15_000, (4_999 - back) as u16, 0, 3), "{back}");
        }
    }

    #[test]
    fn what_comes_out_is_what_went_in_also_over_the_wrap() {
        let mut history = History::new(256);
        for sequence in 65_400..65_700u64 {
            history.insert(0, Slot::default(), &rewrite(sequence));
        }
        for sequence in 65_444..65_700u64 {
            assert!(history.queue(1, sequence as u16, 10, 3));
            let (_, found) = history.take(1, sequence as u16).expect("just queued");
            assert_eq!(found, rewrite(sequence));
        }
        assert!(!history.queue(1, 65_443u64 as u16, 10, 3), "overwritten");
    }

    #[test]
    fn a_late_packet_takes_its_own_place_and_a_very_late_one_none() {
        let mut history = History::new(64);
        history.insert(0, Slot::default(), &rewrite(1_000));
        history.insert(0, Slot::default(), &rewrite(990));
        history.insert(0, Slot::default(), &rewrite(936));
        assert!(history.queue(1, 990, 0, 1));
        assert!(!history.queue(1, 936, 0, 1));
        assert!(history.queue(1, 1_000, 0, 1), "not overwritten by 936");
    }
}
