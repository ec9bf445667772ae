//! What an owner accepts. Announced to clients.

use std::time::Duration;

/// The limits of a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Longest body, in bytes: 32 KiB carry any text; files go elsewhere and are linked.
    pub body: usize,
    /// Longest name of a user, device, channel, call, custom event or emoji, in bytes.
    pub name: usize,
    /// People named in one message.
    pub mentions: usize,
    /// Members of a channel, by kind of it: group.
    pub group_members: usize,
    /// Members of a live channel.
    pub live_members: usize,
    /// Invitations and bans of people who are not in a channel.
    pub outsiders: usize,
    /// Members that one creation names.
    pub created_members: usize,
    /// Channels of a partition.
    pub channels: usize,
    /// Devices of one person whose send numbers a channel remembers.
    pub devices: usize,
    /// Positions of other channels that a send may name.
    pub after: usize,
    /// Tokens that a send may present.
    pub seen: usize,
    /// Commands that may wait for events of other regions.
    pub waiting: usize,
    /// Entries that may wait for the log.
    pub staged: usize,
    /// Bytes, about, of the entries that may wait for the log.
    pub staged_bytes: usize,
    /// Entries of one append.
    pub batch: usize,
    /// Bytes of one append, about; one entry beyond is in it.
    pub batch_bytes: usize,
    /// How long a command waits for events of another region before a hole stands in for them.
    pub hole_after: Duration,
    /// Read marks that move in this time are one record.
    pub mark_window: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 32 * 1024,
            name: 128,
            mentions: 50,
            group_members: 10_000,
            live_members: 1_000_000,
            outsiders: 10_000,
            created_members: 1_000,
            channels: 1_000_000,
            devices: 32,
            after: 8,
            seen: 8,
            waiting: 1_024,
            staged: 8_192,
            staged_bytes: 32 << 20,
            batch: 512,
            batch_bytes: 4 << 20,
            hole_after: Duration::from_secs(5),
            mark_window: Duration::from_millis(200),
        }
    }
}
