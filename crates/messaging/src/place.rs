//! Where an event stands: region, epoch and number; vectors of such places; and how epochs of one region follow each other.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::clock::Hlc;
use crate::format::{Encoded, Malformed, Reader, encoded_struct};

/// Longest name of a region, in bytes.
pub const REGION_BYTES: usize = 12;

/// An independent failure domain with logs of its own, by its name: up to 12 of `a-z`, `0-9` and `-`. A single node is one region.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Region([u8; REGION_BYTES]);

/// The text names no region, or no event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoPlace;

impl fmt::Display for NoPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "an event is region.epoch.number, as in eu.3.4711; a region is up to 12 of a-z, 0-9 and -",
        )
    }
}

impl std::error::Error for NoPlace {}

impl FromStr for Region {
    type Err = NoPlace;
    fn from_str(text: &str) -> Result<Self, NoPlace> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if text.is_empty() || text.len() > REGION_BYTES || !text.bytes().all(allowed) {
            return Err(NoPlace);
        }
        let mut name = [0; REGION_BYTES];
        name[..text.len()].copy_from_slice(text.as_bytes());
        Ok(Self(name))
    }
}

impl Region {
    /// The name.
    pub fn as_str(&self) -> &str {
        let end = self.0.iter().position(|b| *b == 0).unwrap_or(REGION_BYTES);
        std::str::from_utf8(&self.0[..end]).expect("a name is ASCII, or it was not made")
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Encoded for Region {
    fn put(&self, out: &mut Vec<u8>) {
        let name = self.as_str().as_bytes();
        out.push(name.len() as u8);
        out.extend_from_slice(name);
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let length = usize::from(reader.take(1)?[0]);
        let name = std::str::from_utf8(reader.take(length)?).map_err(|_| Malformed::Broken)?;
        name.parse().map_err(|_| Malformed::Broken)
    }
}

/// A place in the log of one partition in one region. The order is that of epochs, then numbers; whether one place *covers* another
/// of an older epoch is known to [`Lineage`] alone.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Place {
    /// Changes when the log was lost, restored or rebuilt.
    pub epoch: u32,
    /// The sequence in the partition's log, from 1.
    pub n: u64,
}

encoded_struct!(Place { epoch, n });

/// An event's id, unique in a deployment. Its text is `region.epoch.n`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId {
    /// In whose log it is.
    pub region: Region,
    /// Where in that log.
    pub place: Place,
}

encoded_struct!(EventId { region, place });

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.region, self.place.epoch, self.place.n)
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for EventId {
    type Err = NoPlace;
    fn from_str(text: &str) -> Result<Self, NoPlace> {
        let mut parts = text.split('.');
        let mut next = || parts.next().ok_or(NoPlace);
        let region = next()?.parse()?;
        let epoch = number(next()?)?.try_into().map_err(|_| NoPlace)?;
        let place = Place { epoch, n: number(next()?)? };
        if parts.next().is_some() { Err(NoPlace) } else { Ok(Self { region, place }) }
    }
}

/// Digits alone: `parse` would take a sign too, and one event would have two names.
fn number(text: &str) -> Result<u64, NoPlace> {
    let canonical = text == "0" || !text.starts_with('0');
    if !canonical || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(NoPlace);
    }
    text.parse().map_err(|_| NoPlace)
}

/// How far something reaches in one region's log of a channel.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Mark {
    /// The last event covered.
    pub place: Place,
    /// Countable messages of the channel in this log up to there.
    pub count: u64,
}

encoded_struct!(Mark { place, count });

/// How far something reaches, by region. A region that is not named is not covered at all.
///
/// Every stream of every connection has one, and most deployments are one region: the first needs no allocation.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Vector {
    /// That of the lowest region.
    first: Slot,
    /// `None` rather than empty, so that equal vectors are alike.
    #[expect(clippy::box_collection, reason = "it is not there in most of very many vectors")]
    rest: Option<Box<BTreeMap<Region, Mark>>>,
}

/// A region's mark in 32 bytes, or none: a region without a name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Slot {
    region: [u8; REGION_BYTES],
    epoch: u32,
    n: u64,
    count: u64,
}

impl Slot {
    fn new(region: Region, mark: Mark) -> Self {
        Self { region: region.0, epoch: mark.place.epoch, n: mark.place.n, count: mark.count }
    }

    fn get(&self) -> Option<(Region, Mark)> {
        let place = Place { epoch: self.epoch, n: self.n };
        (self.region[0] != 0).then_some((Region(self.region), Mark { place, count: self.count }))
    }
}

impl fmt::Debug for Vector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Most regions in a vector: what a foreign one may claim, and more than a deployment has.
pub const REGIONS: usize = 16;

impl Encoded for Vector {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u64).put(out);
        self.iter().for_each(|entry| entry.put(out));
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let marks = <BTreeMap<_, _> as Encoded>::get(reader)?;
        if marks.len() > REGIONS { Err(Malformed::Broken) } else { Ok(marks.into_iter().collect()) }
    }
}

impl Vector {
    /// Its mark in `region`.
    pub fn get(&self, region: Region) -> Option<Mark> {
        if self.first.region == region.0 {
            return self.first.get().map(|(_, mark)| mark);
        }
        self.rest.as_ref()?.get(&region).copied()
    }

    /// Its place in `region`.
    pub fn place(&self, region: Region) -> Option<Place> {
        self.get(region).map(|mark| mark.place)
    }

    /// All marks, by region.
    pub fn iter(&self) -> impl Iterator<Item = (Region, Mark)> + '_ {
        let rest = self.rest.iter().flat_map(|rest| rest.iter());
        self.first.get().into_iter().chain(rest.map(|(region, mark)| (*region, *mark)))
    }

    fn len(&self) -> usize {
        usize::from(!self.is_empty()) + self.rest.as_ref().map_or(0, |rest| rest.len())
    }

    /// Reaches nowhere?
    pub fn is_empty(&self) -> bool {
        self.first.get().is_none()
    }

    /// Stands at `mark` in `region` from now on, whatever stood there.
    pub fn set(&mut self, region: Region, mark: Mark) {
        match self.first.get() {
            Some((first, _)) if first < region => {
                self.rest.get_or_insert_default().insert(region, mark);
            }
            Some((first, old)) if first > region => {
                self.rest.get_or_insert_default().insert(first, old);
                self.first = Slot::new(region, mark);
            }
            _ => self.first = Slot::new(region, mark),
        }
    }

    /// Stands nowhere in `region` from now on.
    pub fn remove(&mut self, region: Region) {
        if self.first.region == region.0 {
            let next = self.rest.as_mut().and_then(|rest| rest.pop_first());
            self.first = next.map_or_else(Slot::default, |(region, mark)| Slot::new(region, mark));
        } else if let Some(rest) = &mut self.rest {
            rest.remove(&region);
        }
        if self.rest.as_ref().is_some_and(|rest| rest.is_empty()) {
            self.rest = None;
        }
    }

    /// Reaches to `mark` at least.
    pub fn raise(&mut self, region: Region, mark: Mark) {
        if self.get(region).is_none_or(|old| mark.place > old.place) {
            self.set(region, mark);
        }
    }

    /// Reaches wherever either does.
    pub fn join(&mut self, other: &Self) {
        other.iter().for_each(|(region, mark)| self.raise(region, mark));
    }

    /// Is the event covered?
    pub fn covers(&self, lineage: &Lineage, id: EventId) -> bool {
        self.place(id.region).is_some_and(|place| lineage.covers(id.region, place, id.place))
    }

    /// Is everything covered that `other` covers?
    pub fn covers_all(&self, lineage: &Lineage, other: &Self) -> bool {
        other.iter().all(|(region, mark)| self.covers(lineage, EventId { region, place: mark.place }))
    }
}

impl FromIterator<(Region, Mark)> for Vector {
    fn from_iter<I: IntoIterator<Item = (Region, Mark)>>(marks: I) -> Self {
        let mut vector = Self::default();
        marks.into_iter().for_each(|(region, mark)| vector.set(region, mark));
        vector
    }
}

/// Which place each epoch of a region's log follows: what lies beyond it in older epochs was lost.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Lineage(BTreeMap<(Region, u32), Place>);

impl Encoded for Lineage {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        <BTreeMap<_, _> as Encoded>::get(reader).map(Self)
    }
}

impl Lineage {
    /// `epoch` of `region` follows `place`, which is of an older epoch; otherwise nothing is recorded and the answer is false.
    pub fn follow(&mut self, region: Region, epoch: u32, place: Place) -> bool {
        let older = place.epoch < epoch;
        if older {
            self.0.insert((region, epoch), place);
        }
        older
    }

    /// The oldest epoch that `epoch` of `region` goes back to.
    pub fn oldest(&self, region: Region, epoch: u32) -> u32 {
        let mut at = epoch;
        while let Some(follows) = self.0.get(&(region, at)) {
            at = follows.epoch;
        }
        at
    }

    /// Does who stands at `later` in `region` have what stands at `earlier`? A place of an older epoch is covered by one that follows it at
    /// or beyond that place, directly or through other epochs.
    pub fn covers(&self, region: Region, later: Place, earlier: Place) -> bool {
        let mut at = later;
        while at.epoch > earlier.epoch {
            // Each step goes to an older epoch, so that the walk ends.
            let Some(follows) = self.0.get(&(region, at.epoch)) else { return false };
            at = *follows;
        }
        at.epoch == earlier.epoch && at.n >= earlier.n
    }
}

/// Where a stream stands in a channel. It resumes a stream and marks what was read. Sealed by the gateway; opaque to clients.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Cursor {
    /// What was truly delivered.
    pub at: Vector,
    /// The highest clock delivered.
    pub clock: Hlc,
    /// Holes that were delivered and are not filled: by region, up to where. What fills them is late for this stream on any node, also on
    /// one that has not heard of the hole yet.
    pub holes: BTreeMap<Region, Vec<Place>>,
}

encoded_struct!(Cursor { at, clock, holes });

/// What an answer proves to have been seen. It is never a place to resume from: a page of history may be seen without what is before it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Token {
    /// What was seen.
    pub seen: Vector,
}

encoded_struct!(Token { seen });

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, region};

    #[test]
    fn an_event_has_one_name_and_no_other() {
        let id: EventId = "eu.3.4711".parse().expect("it is one");
        assert_eq!(id.to_string(), "eu.3.4711");
        for text in [
            "",
            "eu",
            "eu.3",
            "eu.3.4.5",
            "eu.+3.1",
            "eu.03.1",
            "EU.3.1",
            "eu.3.-1",
            ".1.1",
            "a.4294967296.1",
        ] {
            assert_eq!(text.parse::<EventId>(), Err(NoPlace), "{text}");
        }
    }

    #[test]
    fn a_later_epoch_covers_what_it_follows_and_not_what_was_lost() {
        let eu = region("eu");
        let mut lineage = Lineage::default();
        assert!(lineage.follow(eu, 2, at(1, 40)) && lineage.follow(eu, 3, at(2, 60)));
        assert!(lineage.covers(eu, at(3, 1), at(1, 40)), "through epoch 2");
        assert!(!lineage.covers(eu, at(3, 1), at(1, 41)), "lost");
        assert!(!lineage.covers(eu, at(3, 1), at(2, 61)), "lost");
        assert!(!lineage.covers(eu, at(1, 99), at(2, 1)), "older never covers newer");
        assert!(!lineage.covers(region("us"), at(2, 1), at(1, 1)), "nothing is known of that region");
    }

    #[test]
    fn an_epoch_that_follows_itself_or_a_newer_one_is_not_recorded() {
        let mut lineage = Lineage::default();
        assert!(!lineage.follow(region("eu"), 2, at(2, 1)));
        assert!(!lineage.follow(region("eu"), 2, at(3, 1)));
        assert_eq!(lineage, Lineage::default());
    }

    #[test]
    fn a_vector_is_the_same_in_whichever_order_it_was_made() {
        let mark = |n| Mark { place: at(1, n), count: n };
        let regions = ["b", "a", "d", "c"].map(region);
        let ordered = ["a", "b", "c", "d"].map(region);
        let mut vector: Vector = regions.iter().map(|region| (*region, mark(1))).collect();
        let other: Vector = ordered.iter().map(|region| (*region, mark(1))).collect();
        assert_eq!((&vector, crate::format::encode(&vector)), (&other, crate::format::encode(&other)));
        assert_eq!(crate::format::decode(&crate::format::encode(&vector)), Ok(other));
        vector.raise(ordered[0], mark(7));
        vector.raise(ordered[3], mark(0));
        let marks: Vec<_> = vector.iter().collect();
        assert_eq!(
            marks,
            [(ordered[0], mark(7)), (ordered[1], mark(1)), (ordered[2], mark(1)), (ordered[3], mark(1))]
        );
        for region in [ordered[0], ordered[2], ordered[1], ordered[3]] {
            assert!(!vector.is_empty());
            vector.remove(region);
            assert_eq!(vector.get(region), None);
        }
        assert_eq!(vector, Vector::default());
    }

    #[test]
    fn a_vector_of_too_many_regions_is_malformed() {
        let marks = (0..=REGIONS).map(|i| (region(&format!("r{i}")), Mark { place: at(1, 1), count: 0 }));
        let bytes = crate::format::encode(&marks.collect::<Vector>());
        assert_eq!(crate::format::decode::<Vector>(&bytes), Err(Malformed::Broken));
    }
}
