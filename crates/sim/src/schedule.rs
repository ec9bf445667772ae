//! Conditions that change.

use std::time::Duration;

use base::Bitrate;

use crate::Setting;

/// Changes of a link's conditions, each at its time after the start.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Schedule {
    changes: Vec<(Duration, Setting)>,
}

impl Schedule {
    /// One without changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Rates in thousands of bits per second, each from its second on: the form in which RFC 8867 gives them.
    pub fn rates(steps: &[(u64, u64)]) -> Self {
        steps.iter().fold(Self::new(), |schedule, (second, kbps)| {
            schedule.at(Duration::from_secs(*second), Setting::Rate(Some(Bitrate::kbps(*kbps))))
        })
    }

    /// With one change more. Among changes of the same time, the one added last is applied last.
    pub fn at(mut self, time: Duration, setting: Setting) -> Self {
        let place = self.changes.partition_point(|(other, _)| *other <= time);
        self.changes.insert(place, (time, setting));
        self
    }

    /// The changes in the order of their times.
    pub fn changes(&self) -> &[(Duration, Setting)] {
        &self.changes
    }

    /// Is there nothing in it?
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}
