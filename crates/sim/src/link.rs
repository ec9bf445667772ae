//! One direction of one link.
//!
//! ```text
//!  send ──▶ queue (drop-tail) ──rate──▶ lost? ──▶ flight: delay + jitter (+ held up) ──▶ poll_deliver
//!                                                └─▶ doubled?
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use base::Bitrate;

use crate::{Conditions, Queue, QueueSample, Random, Schedule, Setting, Statistics};

/// Samples of the queue delay that are kept until somebody takes them: an hour at 250 packets a second.
const MAX_SAMPLES: usize = 1 << 20;
/// What one bit is in the unit in which sending is measured: a rate of 1 bit/s does one of it per nanosecond.
const BIT: u64 = 1_000_000_000;

/// One direction of one link: a queue with a rate in front of a flight with a delay. See the crate's documentation for how
/// it is driven.
pub struct Link<T> {
    conditions: Conditions,
    changes: VecDeque<(Instant, Setting)>,
    random: Random,
    /// What happens until here has happened.
    clock: Instant,
    queue: VecDeque<Waiting<T>>,
    queued_bytes: u64,
    /// What is left of the head of the queue, in [`BIT`].
    work: u64,
    /// When the head of the queue began to be sent.
    head_since: Instant,
    /// The last rate that was not zero.
    last_rate: Bitrate,
    /// By arrival, then by order of sending.
    flight: BTreeMap<(Instant, u64), Flying<T>>,
    departures: u64,
    /// When the last packet that was not held up arrives.
    last_arrival: Instant,
    in_burst: bool,
    statistics: Statistics,
    /// The fractions of `statistics.capacity_bits`, in [`BIT`].
    capacity_rest: u64,
    samples: VecDeque<QueueSample>,
}

struct Waiting<T> {
    since: Instant,
    size: usize,
    payload: T,
}

struct Flying<T> {
    size: usize,
    payload: T,
}

impl<T> Link<T> {
    /// A link that exists from `start` on. The same seed and the same packets give the same deliveries.
    pub fn new(start: Instant, seed: u64, conditions: Conditions) -> Self {
        Self {
            conditions,
            changes: VecDeque::new(),
            random: Random::new(seed),
            clock: start,
            queue: VecDeque::new(),
            queued_bytes: 0,
            work: 0,
            head_since: start,
            last_rate: conditions.rate.unwrap_or_default(),
            flight: BTreeMap::new(),
            departures: 0,
            last_arrival: start,
            in_burst: false,
            statistics: Statistics::default(),
            capacity_rest: 0,
            samples: VecDeque::new(),
        }
    }

    /// Follows a schedule that begins at `start`, in place of one followed before.
    pub fn follow(&mut self, start: Instant, schedule: &Schedule) {
        self.changes = schedule.changes().iter().map(|(time, setting)| (start + *time, *setting)).collect();
    }

    /// What it does to packets at present.
    pub fn conditions(&self) -> &Conditions {
        &self.conditions
    }

    /// How many packets are inside, waiting or in flight.
    pub fn len(&self) -> usize {
        self.queue.len() + self.flight.len()
    }

    /// Is there nothing inside?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The samples of the queue's delay since they were last taken: one for each packet that left it, the newest million.
    pub fn take_samples(&mut self) -> impl Iterator<Item = QueueSample> + use<T> {
        std::mem::take(&mut self.samples).into_iter()
    }

    /// When to call [`Self::poll_deliver`] again at the latest. `None`: nothing is inside, or what is inside waits for a rate
    /// that is zero for good. Not every call will give something.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let change = self.changes.front().map(|(at, _)| *at).filter(|_| !self.queue.is_empty());
        let arrival = self.flight.keys().next().map(|(at, _)| *at);
        [self.departure(), change, arrival].into_iter().flatten().min()
    }

    /// When the head of the queue has been sent, as things are.
    fn departure(&self) -> Option<Instant> {
        self.queue.front()?;
        match self.conditions.rate {
            None => Some(self.clock),
            Some(Bitrate(0)) => None,
            Some(Bitrate(rate)) => Some(self.clock + Duration::from_nanos(self.work.div_ceil(rate))),
        }
    }

    /// How long what is in the queue takes to leave it, at the present rate.
    fn backlog(&self) -> Duration {
        let rate = self.conditions.rate.filter(|rate| rate.0 > 0).unwrap_or(self.last_rate).0;
        let head = self.queue.front().map_or(0, |head| head.size as u64);
        let work = u128::from(self.queued_bytes - head) * 8 * u128::from(BIT) + u128::from(self.work);
        Duration::from_nanos(u64::try_from(work / u128::from(rate.max(1))).unwrap_or(u64::MAX))
    }

    fn has_room(&self, size: usize) -> bool {
        match self.conditions.queue {
            _ if self.queue.is_empty() => true,
            Queue::Time(limit) => self.backlog() <= limit,
            Queue::Bytes(limit) => self.queued_bytes + size as u64 <= limit,
        }
    }

    /// Lets `time` pass, in which the head of the queue is not sent to its end.
    fn pass(&mut self, to: Instant) {
        let time = to.saturating_duration_since(self.clock);
        self.clock = self.clock.max(to);
        self.statistics.time += time;
        if let Some(rate) = self.conditions.rate {
            let done = u128::from(rate.0) * time.as_nanos();
            self.work = self.work.saturating_sub(u64::try_from(done).unwrap_or(u64::MAX));
            let capacity = done + u128::from(self.capacity_rest);
            self.statistics.capacity_bits += (capacity / u128::from(BIT)) as u64;
            self.capacity_rest = (capacity % u128::from(BIT)) as u64;
        }
    }

    fn apply(&mut self, setting: Setting) {
        self.conditions.set(setting);
        if let Some(rate) = self.conditions.rate.filter(|rate| rate.0 > 0) {
            self.last_rate = rate;
        }
    }
}

impl<T: Clone> Link<T> {
    /// Takes a packet of `size` bytes on the wire, headers included, or drops it when the queue is full. `T` is what is
    /// handed out at the other end; its clone is the duplicate.
    pub fn send(&mut self, now: Instant, size: usize, payload: T) {
        self.advance(now);
        self.statistics.sent.add(size);
        if !self.has_room(size) {
            self.statistics.dropped_full.add(size);
            return;
        }
        if self.queue.is_empty() {
            self.begin(size);
        }
        self.queued_bytes += size as u64;
        self.queue.push_back(Waiting { since: self.clock, size, payload });
        // Through an unlimited link at once.
        self.advance(now);
    }

    /// The next packet that has arrived until `now`, if there is one.
    pub fn poll_deliver(&mut self, now: Instant) -> Option<T> {
        self.advance(now);
        let first = self.flight.first_entry().filter(|first| first.key().0 <= now)?;
        let Flying { size, payload } = first.remove();
        self.statistics.delivered.add(size);
        Some(payload)
    }

    /// Changes one value now.
    pub fn set(&mut self, now: Instant, setting: Setting) {
        self.advance(now);
        self.apply(setting);
    }

    /// What it has done until `now`.
    pub fn statistics(&mut self, now: Instant) -> Statistics {
        self.advance(now);
        self.statistics
    }

    /// Departures and changes until `now`, in the order of their times.
    fn advance(&mut self, now: Instant) {
        loop {
            let change = self.changes.front().map(|(at, _)| *at).filter(|at| *at <= now);
            let departure = self.departure().filter(|at| *at <= now);
            match (departure, change) {
                (Some(at), change) if change.is_none_or(|change| at <= change) => self.depart(at),
                (_, Some(at)) => {
                    self.pass(at);
                    let (_, setting) = self.changes.pop_front().expect("it was just looked at");
                    self.apply(setting);
                }
                (_, None) => break,
            }
        }
        self.pass(now);
    }

    /// The head of the queue has been sent, and the next one begins.
    fn depart(&mut self, at: Instant) {
        self.pass(at);
        let Some(Waiting { since, size, payload }) = self.queue.pop_front() else { return };
        self.queued_bytes -= size as u64;
        self.statistics.carried.add(size);
        if self.samples.len() == MAX_SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(QueueSample { at: self.clock, delay: self.head_since - since });
        if let Some(next) = self.queue.front() {
            self.begin(next.size);
        }
        self.fly(Flying { size, payload });
    }

    /// Begins to send a packet that has become the head of the queue.
    fn begin(&mut self, size: usize) {
        self.work = (size as u64 * 8).saturating_mul(BIT);
        self.head_since = self.clock;
    }

    /// Decides what happens to a packet after the queue. Each packet takes the same count of random numbers, so that with
    /// another value of one condition the others still hit the same packets.
    fn fly(&mut self, packet: Flying<T>) {
        let Conditions { delay, jitter, ordered, loss, reorder, duplicate, .. } = self.conditions;
        let lost = self.random.chance(loss);
        let in_burst = self.burst_loses();
        let held_up = self.random.chance(reorder.probability);
        let doubled = self.random.chance(duplicate);
        let jitter = jitter.mul_f64((self.random.normal().abs() / 3.0).min(1.0));
        if lost {
            return self.statistics.lost_random.add(packet.size);
        }
        if in_burst {
            return self.statistics.lost_burst.add(packet.size);
        }
        let mut arrival = self.clock + delay + jitter;
        if ordered {
            arrival = arrival.max(self.last_arrival);
        }
        if held_up {
            arrival += reorder.by;
            self.statistics.reordered += 1;
        } else {
            self.last_arrival = self.last_arrival.max(arrival);
        }
        if doubled {
            self.statistics.duplicated += 1;
            self.land(arrival, Flying { size: packet.size, payload: packet.payload.clone() });
        }
        self.land(arrival, packet);
    }

    fn land(&mut self, arrival: Instant, packet: Flying<T>) {
        self.flight.insert((arrival, self.departures), packet);
        self.departures += 1;
    }

    fn burst_loses(&mut self) -> bool {
        let (change, loss) = (self.random.share(), self.random.share());
        let Some(model) = self.conditions.burst else {
            self.in_burst = false;
            return false;
        };
        let turns = change < if self.in_burst { model.to_good } else { model.to_bad };
        self.in_burst ^= turns;
        loss < if self.in_burst { model.loss_bad } else { model.loss_good }
    }
}

#[cfg(test)]
mod tests;
