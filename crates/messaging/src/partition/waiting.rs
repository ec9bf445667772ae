//! Commands that wait for events of other regions.

use std::collections::VecDeque;
use std::time::Instant;

use crate::command::Command;

/// A command that waits.
pub(super) struct Waiter {
    pub until: Instant,
    pub command: Command,
}

/// All that wait, in the order in which they came.
#[derive(Default)]
pub(super) struct Waiting(VecDeque<Waiter>);

impl Waiting {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn push(&mut self, until: Instant, command: Command) {
        self.0.push_back(Waiter { until, command });
    }

    /// Does a command of the same connection for the same channel wait? Then this one comes after it.
    pub fn is_behind_another(&self, command: &Command) -> bool {
        let same = |waiter: &Waiter| {
            waiter.command.origin.connection == command.origin.connection
                && waiter.command.channel == command.channel
        };
        self.0.iter().any(same)
    }

    pub fn take(&mut self) -> VecDeque<Waiter> {
        std::mem::take(&mut self.0)
    }

    /// The one that was just pushed has waited before.
    pub fn restore_deadline(&mut self, until: Instant) {
        if let Some(last) = self.0.back_mut() {
            last.until = last.until.min(until);
        }
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.0.iter().map(|waiter| waiter.until).min()
    }

    /// One that has waited long enough.
    pub fn expired(&mut self, now: Instant) -> Option<Command> {
        let at = self.0.iter().position(|waiter| waiter.until <= now)?;
        self.0.remove(at).map(|waiter| waiter.command)
    }
}
