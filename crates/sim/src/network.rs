//! Links put together: routes over several links, of which any may be shared.

use std::collections::VecDeque;
use std::time::Instant;

use crate::{Conditions, Link, QueueSample, Random, Schedule, Setting, Statistics};

/// One direction of a link, in a [`Network`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct LinkId(usize);

/// A way over links, in a [`Network`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct RouteId(usize);

impl RouteId {
    /// Its number: routes are counted from 0 in the order in which they are added.
    pub(crate) fn index(self) -> usize {
        self.0
    }
}

/// Both directions of a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Duplex {
    /// From the near end to the far one.
    pub forward: LinkId,
    /// From the far end to the near one.
    pub backward: LinkId,
}

/// A way from a near end to a far one, and back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Path {
    /// From the near end to the far one.
    pub forward: RouteId,
    /// From the far end to the near one.
    pub backward: RouteId,
}

/// A packet that has come to the end of its route.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Arrival<T> {
    /// When.
    pub at: Instant,
    /// On which route.
    pub route: RouteId,
    /// What it is.
    pub payload: T,
}

/// Links and routes over them. Flows share a bottleneck when their routes have a link in common.
///
/// ```
/// # use std::time::{Duration, Instant};
/// # let start = Instant::now();
/// let mut network = sim::Network::new(start, 1);
/// let bottleneck = network.duplex("rate=2mbit,delay=50ms".parse().unwrap(), "delay=50ms".parse().unwrap());
/// let slow = network.symmetric("delay=100ms".parse().unwrap());
/// let near = network.path(&[bottleneck]);
/// let far = network.path(&[slow, bottleneck]);
/// network.send(start, near.forward, 1250, 'a');
/// network.send(start, far.forward, 1250, 'b');
/// let mut arrivals = Vec::new();
/// while let Some(at) = network.poll_timeout() {
///     arrivals.extend(network.poll_deliver(at).map(|arrival| (arrival.payload, (arrival.at - start).as_millis())));
/// }
/// assert_eq!(arrivals, [('a', 55), ('b', 155)]);
/// ```
pub struct Network<T> {
    start: Instant,
    random: Random,
    links: Vec<Link<Travelling<T>>>,
    routes: Vec<Vec<LinkId>>,
    arrived: VecDeque<Arrival<T>>,
}

#[derive(Clone)]
struct Travelling<T> {
    route: RouteId,
    /// How many links it has passed, the present one included.
    hops: usize,
    size: usize,
    payload: T,
}

impl<T: Clone> Network<T> {
    /// A network without links, that exists from `start` on. `seed` decides all that is random in it.
    pub fn new(start: Instant, seed: u64) -> Self {
        let random = Random::new(seed);
        Self { start, random, links: Vec::new(), routes: Vec::new(), arrived: VecDeque::new() }
    }

    /// Adds one direction of a link.
    pub fn link(&mut self, conditions: Conditions) -> LinkId {
        let link = Link::new(self.start, self.random.number(), conditions);
        self.links.push(link);
        LinkId(self.links.len() - 1)
    }

    /// Adds both directions of a link.
    pub fn duplex(&mut self, forward: Conditions, backward: Conditions) -> Duplex {
        Duplex { forward: self.link(forward), backward: self.link(backward) }
    }

    /// Adds both directions of a link that does the same in both.
    pub fn symmetric(&mut self, conditions: Conditions) -> Duplex {
        self.duplex(conditions, conditions)
    }

    /// Adds a way over these links, in this order. Without links it takes no time.
    pub fn route(&mut self, links: &[LinkId]) -> RouteId {
        self.routes.push(links.to_vec());
        RouteId(self.routes.len() - 1)
    }

    /// Adds a way over these links, from the near end to the far one, and the way back.
    pub fn path(&mut self, links: &[Duplex]) -> Path {
        let forward: Vec<_> = links.iter().map(|link| link.forward).collect();
        let backward: Vec<_> = links.iter().rev().map(|link| link.backward).collect();
        Path { forward: self.route(&forward), backward: self.route(&backward) }
    }

    /// Statistics of a link until `now`.
    pub fn statistics(&mut self, now: Instant, link: LinkId) -> Statistics {
        self.advance(now);
        self.links[link.0].statistics(now)
    }

    /// See [`Link::take_samples`].
    pub fn take_samples(&mut self, link: LinkId) -> impl Iterator<Item = QueueSample> + use<T> {
        self.links[link.0].take_samples()
    }

    /// What a link does to packets at present.
    pub fn conditions(&self, link: LinkId) -> &Conditions {
        self.links[link.0].conditions()
    }

    /// Has a link follow a schedule, which begins when the network began.
    pub fn follow(&mut self, link: LinkId, schedule: &Schedule) {
        self.links[link.0].follow(self.start, schedule);
    }

    /// Changes what a link does, now.
    pub fn set(&mut self, now: Instant, link: LinkId, setting: Setting) {
        self.advance(now);
        self.links[link.0].set(now, setting);
    }

    /// Sends a packet of `size` bytes on the wire, headers included.
    pub fn send(&mut self, now: Instant, route: RouteId, size: usize, payload: T) {
        self.advance(now);
        self.hop(now, Travelling { route, hops: 0, size, payload });
    }

    /// When to call [`Self::poll_deliver`] again at the latest. Not every call will give something.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let arrived = self.arrived.front().map(|arrival| arrival.at);
        arrived.or_else(|| self.links.iter().filter_map(Link::poll_timeout).min())
    }

    /// The next packet that has come to the end of its route until `now`, in the order in which they came.
    pub fn poll_deliver(&mut self, now: Instant) -> Option<Arrival<T>> {
        self.advance(now);
        self.arrived.pop_front()
    }

    /// Everything that happens until `now`, in the order of its time, whichever link it happens on.
    fn advance(&mut self, now: Instant) {
        loop {
            let due =
                self.links.iter().enumerate().filter_map(|(index, link)| Some((link.poll_timeout()?, index)));
            let Some((at, index)) = due.min().filter(|(at, _)| *at <= now) else { return };
            while let Some(packet) = self.links[index].poll_deliver(at) {
                self.hop(at, packet);
            }
        }
    }

    /// Puts a packet on the next link of its route.
    fn hop(&mut self, now: Instant, mut packet: Travelling<T>) {
        match self.routes[packet.route.0].get(packet.hops) {
            Some(link) => {
                packet.hops += 1;
                self.links[link.0].send(now, packet.size, packet);
            }
            None => self.arrived.push_back(Arrival { at: now, route: packet.route, payload: packet.payload }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn conditions(text: &str) -> Conditions {
        text.parse().expect(text)
    }

    /// Arrivals in their order: what, and after how many milliseconds.
    fn arrivals(network: &mut Network<u32>, start: Instant) -> Vec<(u32, u128)> {
        let mut arrived = Vec::new();
        while let Some(at) = network.poll_timeout() {
            while let Some(arrival) = network.poll_deliver(at) {
                arrived.push((arrival.payload, (arrival.at - start).as_millis()));
            }
        }
        arrived
    }

    #[test]
    fn flows_that_share_a_bottleneck_wait_for_each_other() {
        let start = Instant::now();
        let mut network = Network::new(start, 1);
        let bottleneck = network.link(conditions("rate=1mbit"));
        let routes = [network.route(&[bottleneck]), network.route(&[bottleneck])];
        for number in 0..4 {
            network.send(start, routes[number as usize % 2], 1_250, number);
        }
        assert_eq!(arrivals(&mut network, start), [(0, 10), (1, 20), (2, 30), (3, 40)]);
        assert_eq!(
            network.statistics(start + Duration::from_millis(40), bottleneck).utilisation(),
            Some(1.0)
        );
    }

    #[test]
    fn a_path_back_takes_the_links_in_reverse() {
        let start = Instant::now();
        let mut network = Network::new(start, 1);
        let access = network.duplex(conditions("delay=10ms"), conditions("delay=20ms,rate=8kbit"));
        let core = network.duplex(conditions("delay=1ms"), conditions("delay=2ms"));
        let path = network.path(&[access, core]);
        network.send(start, path.forward, 10, 1);
        network.send(start, path.backward, 10, 2);
        assert_eq!(arrivals(&mut network, start), [(1, 11), (2, 32)]);
        // The packet was in the access link's queue after the core's delay.
        let sample = network.take_samples(access.backward).next().expect("one packet");
        assert_eq!((sample.at - start, sample.delay), (Duration::from_millis(12), Duration::ZERO));
    }

    #[test]
    fn jumping_in_time_gives_the_same_as_going_step_by_step() {
        let run = |step: Option<Duration>| {
            let start = Instant::now();
            let mut network = Network::new(start, 3);
            let access =
                [network.link(conditions("delay=7ms,jitter=9ms")), network.link(conditions("delay=3ms"))];
            let shared = network.link(conditions("rate=1mbit,queue=100ms,loss=5%"));
            let routes = access.map(|access| network.route(&[access, shared]));
            for number in 0..200 {
                let at = start + Duration::from_millis(4) * number;
                network.send(at, routes[number as usize % 2], 700, number);
            }
            match step {
                None => arrivals(&mut network, start),
                Some(step) => {
                    let polled = (0..100).map(|n| start + step * n);
                    let mut arrived = Vec::new();
                    polled.for_each(|now| arrived.extend(std::iter::from_fn(|| network.poll_deliver(now))));
                    arrived.into_iter().map(|a| (a.payload, (a.at - start).as_millis())).collect()
                }
            }
        };
        let exact = run(None);
        assert!((120..200).contains(&exact.len()));
        assert_eq!(exact, run(Some(Duration::from_millis(50))));
    }

    #[test]
    fn a_route_without_links_takes_no_time() {
        let start = Instant::now();
        let mut network = Network::new(start, 1);
        let route = network.route(&[]);
        network.send(start, route, 100, 5);
        assert_eq!(network.poll_timeout(), Some(start));
        assert_eq!(arrivals(&mut network, start), [(5, 0)]);
    }
}
