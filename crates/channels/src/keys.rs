//! Keys of values in the index. Names are behind their length, so that no name is the beginning of another.
//!
//! ```text
//! i | channel | n                        an event that is displayed by itself
//! t | channel | target | "e" or "d"      the last edit of a message, or its deletion -> n
//! r | channel | target | emoji | user    a reaction that stands
//! c | channel | target | emoji           how many of it stand (8)
//! w | channel | word | n                 a word that a message has, or had before an edit
//! e | partition (2) | n                  an event with effects in other partitions, which are not done
//! k | partition (2) | channel | call     a call that rings or runs -> n of its beginning (8), of its first answer (8; 0: none)
//! ```

use base::{CallId, ChannelId, UserId};

/// Longest name in a key, in bytes: what [`messaging::limits::Limits`] accept. Longer ones never are in a log.
const NAME: usize = 255;

/// A key that is being made.
pub struct Key(pub Vec<u8>);

impl Key {
    fn of(kind: u8) -> Self {
        Self(vec![kind])
    }

    fn name(mut self, name: &str) -> Self {
        let name = &name.as_bytes()[..name.len().min(NAME)];
        self.0.push(name.len() as u8);
        self.0.extend_from_slice(name);
        self
    }

    fn number(mut self, n: u64) -> Self {
        self.0.extend_from_slice(&n.to_be_bytes());
        self
    }
}

/// Before the numbers of all that is displayed in a channel.
pub fn items(channel: &ChannelId) -> Key {
    Key::of(b'i').name(channel.as_str())
}

/// Something displayed.
pub fn item(channel: &ChannelId, n: u64) -> Key {
    items(channel).number(n)
}

/// The last edit of a message.
pub fn edit(channel: &ChannelId, target: u64) -> Key {
    let mut key = Key::of(b't').name(channel.as_str()).number(target);
    key.0.push(b'e');
    key
}

/// The deletion of a message.
pub fn delete(channel: &ChannelId, target: u64) -> Key {
    let mut key = Key::of(b't').name(channel.as_str()).number(target);
    key.0.push(b'd');
    key
}

/// Before all reactions to a message.
pub fn reactions(channel: &ChannelId, target: u64) -> Key {
    Key::of(b'r').name(channel.as_str()).number(target)
}

/// Somebody's reaction to a message.
pub fn reaction(channel: &ChannelId, target: u64, emoji: &str, user: &UserId) -> Key {
    reactions(channel, target).name(emoji).name(user.as_str())
}

/// Before the totals of all reactions to a message.
pub fn totals(channel: &ChannelId, target: u64) -> Key {
    Key::of(b'c').name(channel.as_str()).number(target)
}

/// How many of a reaction a message has.
pub fn total(channel: &ChannelId, target: u64, emoji: &str) -> Key {
    totals(channel, target).name(emoji)
}

/// Before the messages that have a word.
pub fn words(channel: &ChannelId, word: &str) -> Key {
    Key::of(b'w').name(channel.as_str()).name(word)
}

/// A word of a message.
pub fn word(channel: &ChannelId, word: &str, n: u64) -> Key {
    words(channel, word).number(n)
}

/// Before all effects of a partition that are not done.
pub fn effects(partition: u16) -> Key {
    let mut key = Key::of(b'e');
    key.0.extend_from_slice(&partition.to_be_bytes());
    key
}

/// An event with effects.
pub fn effect(partition: u16, n: u64) -> Key {
    effects(partition).number(n)
}

/// Before all calls of a partition that ring or run.
pub fn calls(partition: u16) -> Key {
    let mut key = Key::of(b'k');
    key.0.extend_from_slice(&partition.to_be_bytes());
    key
}

/// A call that rings or runs.
pub fn call(partition: u16, channel: &ChannelId, call: &CallId) -> Key {
    calls(partition).name(channel.as_str()).name(call.as_str())
}

/// The names at the beginning of what is behind a prefix.
pub fn names(mut rest: &[u8]) -> Vec<&str> {
    let mut names = Vec::new();
    while let Some((length, tail)) = rest.split_first()
        && let Some((name, tail)) = tail.split_at_checked(usize::from(*length))
    {
        names.extend(std::str::from_utf8(name).ok());
        rest = tail;
    }
    names
}

/// The number at the end of a key or value.
pub fn number(bytes: &[u8]) -> Option<u64> {
    bytes.last_chunk().map(|last| u64::from_be_bytes(*last))
}
