//! A worker without a thread: for measurements that hold the time in their hands.

use std::io;
use std::time::Instant;

use contract::media::{Event, WorkerHandle};
use udp::Slab;

use crate::tick::Worker;
use crate::{WorkerConfig, prepare};

/// A worker that works when its owner says so. It never sleeps, and `now` never goes back.
pub struct ByHand {
    worker: Worker,
    slab: Slab,
}

/// As [`crate::spawn`], but nothing happens except in [`ByHand::tick`].
///
/// # Errors
/// As those of [`crate::spawn`].
pub fn by_hand(
    config: WorkerConfig,
    events: async_channel::Sender<Event>,
) -> io::Result<(WorkerHandle, ByHand)> {
    let (handle, parts) = prepare(config, events)?;
    Ok((handle, ByHand { worker: Worker::new(parts), slab: Slab::new() }))
}

impl ByHand {
    /// Takes commands, datagrams and timers and sends what follows from them. `false`: the worker was told to stop.
    pub fn tick(&mut self, now: Instant) -> bool {
        let goes_on = self.worker.tick(now, &mut self.slab);
        self.worker.observe(now);
        goes_on
    }
}
