//! One old entry must not keep all that came after it: what little is left in the oldest segment is written again, under its number,
//! at the end, and the segment can go.

use std::ops::Range;

use super::record::{self, Kind};
use super::{Place, Queue};
use crate::disk::Disk;

/// Segments that are left alone: what is in them is likely to be finished soon.
const YOUNG: usize = 4;
/// Carried is what takes at most one part in so many of its segment, so that three times as much is freed as is written.
const SPARSE: u64 = 4;

impl<D: Disk> Queue<D> {
    /// Stages what is left in the oldest segment, where that is worth it. What cannot be read stays where it is, and is
    /// found out when it is wanted.
    pub(super) fn stage_carried(&mut self) {
        let Some(oldest) = self.segments.front().filter(|_| self.segments.len() > YOUNG) else { return };
        let number = oldest.number;
        let of_oldest = self.entries.iter().filter(|(_, place)| place.segment == number);
        let left: Vec<(u64, Place)> = of_oldest.map(|(number, place)| (*number, *place)).collect();
        let bytes: u64 = left.iter().map(|(_, place)| u64::from(place.size)).sum();
        if left.is_empty() || bytes * SPARSE > oldest.size {
            return;
        }
        let payloads = left.iter().map(|(number, _)| Some((*number, self.read(*number).ok()??)));
        let Some(payloads): Option<Vec<_>> = payloads.collect() else { return };
        let body = &mut self.staged.body;
        let place = |(number, payload): (u64, Vec<u8>)| -> (u64, Range<usize>) {
            (number, record::push_record(body, Kind::Entry, number, &payload))
        };
        self.staged.carried = payloads.into_iter().map(place).collect();
    }
}
