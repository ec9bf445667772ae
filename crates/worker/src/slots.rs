//! A table whose keys are cheap to follow and go stale, never wrong.

use std::marker::PhantomData;

/// Place and generation of an entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Key {
    index: u32,
    generation: u32,
}

macro_rules! key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub(crate) struct $name(Key);

        impl From<Key> for $name {
            fn from(key: Key) -> Self {
                Self(key)
            }
        }

        impl From<$name> for Key {
            fn from(key: $name) -> Self {
                key.0
            }
        }
    };
}

key!(
    /// A connection on this worker.
    PeerKey
);
key!(
    /// A room's media on this worker.
    RoomKey
);
key!(
    /// A track's payload rings in its room.
    RingsKey
);

struct Place<T> {
    generation: u32,
    value: Option<T>,
}

/// Values by key; places are used again under a new generation.
pub(crate) struct Slots<K, T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
    key: PhantomData<K>,
}

impl<K, T> Default for Slots<K, T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new(), key: PhantomData }
    }
}

impl<K: From<Key> + Into<Key> + Copy, T> Slots<K, T> {
    pub(crate) fn insert(&mut self, value: T) -> K {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place { generation: 0, value: None });
            (self.places.len() - 1) as u32
        });
        let place = &mut self.places[index as usize];
        place.value = Some(value);
        Key { index, generation: place.generation }.into()
    }

    pub(crate) fn get(&self, key: K) -> Option<&T> {
        let key = key.into();
        let place = self.places.get(key.index as usize)?;
        if place.generation == key.generation { place.value.as_ref() } else { None }
    }

    pub(crate) fn get_mut(&mut self, key: K) -> Option<&mut T> {
        let key = key.into();
        let place = self.places.get_mut(key.index as usize)?;
        if place.generation == key.generation { place.value.as_mut() } else { None }
    }

    pub(crate) fn remove(&mut self, key: K) -> Option<T> {
        let key: Key = key.into();
        let place = self.places.get_mut(key.index as usize)?;
        if place.generation != key.generation {
            return None;
        }
        let value = place.value.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(key.index);
        Some(value)
    }

    /// All entries, in the order of their places.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, &T)> {
        self.places.iter().enumerate().filter_map(|(index, place)| {
            let key = Key { index: index as u32, generation: place.generation };
            place.value.as_ref().map(|value| (key.into(), value))
        })
    }

    pub(crate) fn keys(&self) -> Vec<K> {
        self.iter().map(|(key, _)| key).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_a_removed_entry_finds_nothing_even_when_its_place_is_taken_again() {
        let mut slots: Slots<PeerKey, &str> = Slots::default();
        let first = slots.insert("first");
        assert_eq!(slots.remove(first), Some("first"));
        let second = slots.insert("second");
        assert_eq!(slots.get(first), None);
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.get(second), Some(&"second"));
        assert_eq!((slots.len(), slots.keys()), (1, vec![second]));
    }
}
