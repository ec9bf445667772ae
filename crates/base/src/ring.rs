//! The payload ring: a bounded byte store into which received payloads are written once and from which every
//! subscriber's send, retransmission and pacing handles read.

/// Names a payload in a [`PayloadRing`]. Goes stale, never wrong: a slot whose bytes were overwritten reads as `None`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Slot {
    /// The ring's id in the upper bits; below, the number of the push, from 1, which also tells which entry holds it.
    index: u64,
}

/// Pushes that a slot can tell apart: 40 bits are years of packets.
const COUNT_BITS: u32 = 40;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;

impl Slot {
    /// The id of the ring that it lies in (see [`PayloadRing::with_id`]).
    pub fn ring(self) -> u32 {
        (self.index >> COUNT_BITS) as u32
    }

    /// `entries` is a power of two.
    fn entry(self, entries: usize) -> usize {
        (self.index & COUNT_MASK) as usize & (entries - 1)
    }
}

#[derive(Clone, Copy, Default)]
struct Entry {
    index: u64,
    /// Position of the first byte in the endless stream of bytes ever written; `stream % capacity` is its place.
    start: u64,
    len: u32,
    /// Place of the first byte.
    place: u32,
}

/// Bounded in bytes and in payloads; the oldest go first. Memory grows to the bound only as it is used.
pub struct PayloadRing {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    capacity: usize,
    max_entries: usize,
    written: u64,
    next: Slot,
}

impl PayloadRing {
    /// `capacity` bytes (below 4 GB) and `max_entries` payloads at most, or as many as the next lower power of two; both at
    /// least 1.
    pub fn new(capacity: usize, max_entries: usize) -> Self {
        Self::with_id(0, capacity, max_entries)
    }

    /// The same, with an id (the lower 24 bits count) that its slots carry, so that a slot is never read from another ring
    /// by mistake: rings among which slots could be confused have different ids.
    pub fn with_id(id: u32, capacity: usize, max_entries: usize) -> Self {
        Self {
            bytes: Vec::new(),
            entries: Vec::new(),
            capacity: capacity.clamp(1, u32::MAX as usize),
            max_entries: 1 << max_entries.max(1).ilog2(),
            written: 0,
            next: Slot { index: (u64::from(id) << COUNT_BITS) | 1 },
        }
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.next.ring()
    }

    /// Copies `payload` in. `None` when it is larger than the whole ring.
    #[inline]
    pub fn push(&mut self, payload: &[u8]) -> Option<Slot> {
        self.push_joined(&[], payload)
    }

    /// Copies `front` and, right behind it, `payload` in: one slot holds both.
    pub fn push_joined(&mut self, front: &[u8], payload: &[u8]) -> Option<Slot> {
        let len = front.len() + payload.len();
        if len > self.capacity {
            return None;
        }
        let mut place = (self.written % self.capacity as u64) as usize;
        if place + len > self.capacity {
            // A payload is contiguous: skip the rest of the lap.
            self.written += (self.capacity - place) as u64;
            place = 0;
        }
        let (middle, end) = (place + front.len(), place + len);
        if self.bytes.len() < end {
            let grown = end.next_power_of_two().min(self.capacity);
            self.bytes.reserve_exact(grown - self.bytes.len());
            self.bytes.resize(grown, 0);
        }
        self.bytes[place..middle].copy_from_slice(front);
        self.bytes[middle..end].copy_from_slice(payload);
        let slot = self.next;
        let entry = Entry { index: slot.index, start: self.written, len: len as u32, place: place as u32 };
        let at = slot.entry(self.max_entries);
        if self.entries.len() <= at {
            self.entries.resize(at + 1, Entry::default());
        }
        self.entries[at] = entry;
        self.written += len as u64;
        let count = (slot.index & COUNT_MASK) % COUNT_MASK + 1;
        self.next = Slot { index: (slot.index & !COUNT_MASK) | count };
        Some(slot)
    }

    /// The payload, unless it has been overwritten.
    #[inline]
    pub fn get(&self, slot: Slot) -> Option<&[u8]> {
        let entry = self.entries.get(slot.entry(self.max_entries))?;
        let overrun = self.written - entry.start > self.capacity as u64;
        if entry.index != slot.index || slot.index & COUNT_MASK == 0 || overrun {
            return None;
        }
        let place = entry.place as usize;
        self.bytes.get(place..place + entry.len as usize)
    }

    /// Bytes of memory held.
    pub fn memory(&self) -> usize {
        self.bytes.capacity() + self.entries.capacity() * size_of::<Entry>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_ring_reads_back_and_what_was_overrun_reads_as_none() {
        let mut ring = PayloadRing::new(1_000, 8);
        let mut slots = Vec::new();
        for i in 0..200u32 {
            let payload = vec![i as u8; 1 + (i as usize * 37) % 300];
            slots.push((ring.push(&payload).expect("smaller than the ring"), payload));
            let mut held = 0;
            for (slot, payload) in slots.iter().rev() {
                match ring.get(*slot) {
                    Some(bytes) => {
                        assert_eq!(bytes, payload);
                        held += 1;
                    }
                    None => break,
                }
            }
            assert!(held >= 1, "the newest is always there");
            assert!(held <= 8);
        }
        assert!(ring.memory() < 2_000);
    }

    #[test]
    fn a_payload_larger_than_the_ring_is_refused() {
        assert!(PayloadRing::new(10, 4).push(&[0; 11]).is_none());
    }

    #[test]
    fn two_parts_read_back_as_one_payload_also_over_the_end_of_the_ring() {
        let mut ring = PayloadRing::new(100, 8);
        for i in 0..50u8 {
            let (front, payload) = (vec![i; usize::from(i % 7)], vec![0x80 | i; 20]);
            let slot = ring.push_joined(&front, &payload).expect("fits");
            assert_eq!(ring.get(slot), Some(&[front, payload].concat()[..]));
        }
        assert!(ring.push_joined(&[0; 50], &[0; 51]).is_none(), "too large together");
    }

    #[test]
    fn a_slot_reads_as_none_in_a_ring_of_another_id() {
        let mut rings: Vec<_> = [7, 8].map(|id| PayloadRing::with_id(id, 100, 4)).into();
        let slots: Vec<_> = rings.iter_mut().map(|ring| ring.push(b"x").expect("fits")).collect();
        assert_eq!((slots[0].ring(), slots[1].ring(), rings[1].id()), (7, 8, 8));
        assert_eq!(rings[0].get(slots[0]), Some(&b"x"[..]));
        assert_eq!(rings[1].get(slots[0]), None);
    }

    #[test]
    fn the_default_slot_is_never_valid() {
        let mut ring = PayloadRing::new(10, 1);
        ring.push(&[1]);
        assert!(ring.get(Slot::default()).is_none());
    }
}
