//! Endpoints on a network, driven in virtual time.

use std::ops::{Index, IndexMut};
use std::time::{Duration, Instant};

use crate::{Conditions, Network, Path, RouteId};

/// Calls at one and the same instant, after which an endpoint is taken to ask for time in a circle. All that is due
/// at once is done in one of them.
const MAX_ROUNDS: u32 = 10_000;

/// Something that sends and receives packets, without IO and without a clock.
pub trait Endpoint {
    /// What its packets carry.
    type Payload: Clone;

    /// A packet has arrived on one of its ports. Ports are numbered from 0, in the order of [`World::connect`].
    fn receive(&mut self, now: Instant, port: usize, payload: Self::Payload);

    /// The time that [`Self::poll_timeout`] told has come.
    fn handle_timeout(&mut self, now: Instant);

    /// When [`Self::handle_timeout`] is to be called; after that call, later than `now` or with something sent.
    fn poll_timeout(&mut self) -> Option<Instant>;

    /// The next packet that it sends; asked until there is none.
    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit<Self::Payload>>;
}

/// A packet on its way out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transmit<P> {
    /// Which of the endpoint's ports it leaves by. Without such a port it is dropped.
    pub port: usize,
    /// Bytes on the wire, headers included.
    pub size: usize,
    /// What it carries.
    pub payload: P,
}

/// An endpoint of a [`World`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct EndpointId(usize);

/// Endpoints, the network between them, and the time.
///
/// All endpoints are of one type; where there are several, an enum of them.
pub struct World<E: Endpoint> {
    now: Instant,
    network: Network<E::Payload>,
    endpoints: Vec<E>,
    /// For each endpoint and port, the route that leaves there.
    ports: Vec<Vec<RouteId>>,
    /// For each route in the order of their numbers: where it ends.
    ends: Vec<Option<(usize, usize)>>,
}

impl<E: Endpoint> World<E> {
    /// An empty world, whose time begins at `start`. `seed` decides what the network does.
    pub fn new(start: Instant, seed: u64) -> Self {
        let network = Network::new(start, seed);
        Self { now: start, network, endpoints: Vec::new(), ports: Vec::new(), ends: Vec::new() }
    }

    /// The time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The network, to add links to and to read statistics from.
    pub fn network(&mut self) -> &mut Network<E::Payload> {
        &mut self.network
    }

    /// Adds an endpoint, without connections.
    pub fn add(&mut self, endpoint: E) -> EndpointId {
        self.endpoints.push(endpoint);
        self.ports.push(Vec::new());
        EndpointId(self.endpoints.len() - 1)
    }

    /// Connects the next port of `near` with the next port of `far`.
    pub fn connect(&mut self, near: EndpointId, far: EndpointId, path: Path) {
        self.plug(near, path.forward, path.backward);
        self.plug(far, path.backward, path.forward);
    }

    /// Two endpoints and one link between them.
    pub fn pair(
        &mut self,
        near: E,
        far: E,
        forward: Conditions,
        backward: Conditions,
    ) -> (EndpointId, EndpointId) {
        let link = self.network.duplex(forward, backward);
        let path = self.network.path(&[link]);
        let ends = (self.add(near), self.add(far));
        self.connect(ends.0, ends.1, path);
        ends
    }

    /// Lets this much time pass.
    pub fn run_for(&mut self, time: Duration) {
        self.run_until(self.now + time);
    }

    /// Lets time pass until `end`; what is due then has happened afterwards.
    ///
    /// # Panics
    /// When an endpoint asks for the same instant again and again.
    pub fn run_until(&mut self, end: Instant) {
        // What was changed from outside since the last run.
        (0..self.endpoints.len()).for_each(|index| self.flush(index));
        let mut rounds = 0;
        while let Some(at) = self.next().filter(|at| *at <= end) {
            rounds = if at > self.now { 0 } else { rounds + 1 };
            assert!(rounds < MAX_ROUNDS, "an endpoint asks for the same instant again and again");
            self.now = self.now.max(at);
            self.step();
        }
        self.now = self.now.max(end);
    }

    fn plug(&mut self, endpoint: EndpointId, out: RouteId, back: RouteId) {
        let ports = &mut self.ports[endpoint.0];
        ports.push(out);
        let port = ports.len() - 1;
        let index = back.index();
        self.ends.resize(self.ends.len().max(index + 1), None);
        self.ends[index] = Some((endpoint.0, port));
    }

    fn next(&mut self) -> Option<Instant> {
        let endpoints = self.endpoints.iter_mut().filter_map(E::poll_timeout);
        endpoints.chain(self.network.poll_timeout()).min()
    }

    /// What is due now: arrivals, then timeouts, then what the endpoints have to send.
    fn step(&mut self) {
        let now = self.now;
        while let Some(arrival) = self.network.poll_deliver(now) {
            if let Some(Some((endpoint, port))) = self.ends.get(arrival.route.index()) {
                self.endpoints[*endpoint].receive(now, *port, arrival.payload);
                self.flush(*endpoint);
            }
        }
        for index in 0..self.endpoints.len() {
            if self.endpoints[index].poll_timeout().is_some_and(|at| at <= now) {
                self.endpoints[index].handle_timeout(now);
            }
            self.flush(index);
        }
    }

    fn flush(&mut self, index: usize) {
        while let Some(Transmit { port, size, payload }) = self.endpoints[index].poll_transmit(self.now) {
            if let Some(route) = self.ports[index].get(port) {
                self.network.send(self.now, *route, size, payload);
            }
        }
    }
}

impl<E: Endpoint> Index<EndpointId> for World<E> {
    type Output = E;

    fn index(&self, id: EndpointId) -> &E {
        &self.endpoints[id.0]
    }
}

impl<E: Endpoint> IndexMut<EndpointId> for World<E> {
    fn index_mut(&mut self, id: EndpointId) -> &mut E {
        &mut self.endpoints[id.0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers every number with the next one, up to a limit, each after a while.
    struct Counter {
        wait: Duration,
        limit: u32,
        due: Option<(Instant, usize, u32)>,
        out: Vec<(usize, u32)>,
        heard: Vec<u32>,
    }

    impl Counter {
        fn new(first: Option<u32>, wait: Duration) -> Self {
            let out = first.map(|number| (0, number)).into_iter().collect();
            Self { wait, limit: 5, due: None, out, heard: Vec::new() }
        }
    }

    impl Endpoint for Counter {
        type Payload = u32;

        fn receive(&mut self, now: Instant, port: usize, number: u32) {
            self.heard.push(number);
            self.due = (number < self.limit).then(|| (now + self.wait, port, number + 1));
        }

        fn handle_timeout(&mut self, _: Instant) {
            self.out.extend(self.due.take().map(|(_, port, number)| (port, number)));
        }

        fn poll_timeout(&mut self) -> Option<Instant> {
            self.due.map(|(at, ..)| at)
        }

        fn poll_transmit(&mut self, _: Instant) -> Option<Transmit<u32>> {
            self.out.pop().map(|(port, payload)| Transmit { port, size: 125, payload })
        }
    }

    #[test]
    fn two_endpoints_talk_in_virtual_time() {
        let mut world = World::new(Instant::now(), 1);
        let link: Conditions = "rate=1mbit,delay=9ms".parse().expect("conditions");
        let wait = Duration::from_millis(5);
        let (a, b) = world.pair(Counter::new(Some(0), wait), Counter::new(None, wait), link, link);
        // Each packet takes 10 ms, each answer 5.
        world.run_for(Duration::from_millis(39));
        assert_eq!((&world[a].heard[..], &world[b].heard[..]), (&[1][..], &[0][..]));
        world.run_for(Duration::from_millis(1));
        assert_eq!(world[b].heard, [0, 2]);
        world.run_for(Duration::from_secs(3_600));
        assert_eq!((&world[a].heard[..], &world[b].heard[..]), (&[1, 3, 5][..], &[0, 2, 4][..]));
    }

    #[test]
    fn answers_leave_by_the_port_of_the_question() {
        let mut world = World::new(Instant::now(), 1);
        let ends = [Some(0), Some(3), None].map(|n| world.add(Counter::new(n, Duration::ZERO)));
        for end in &ends[..2] {
            let link = world.network().symmetric(Conditions::default());
            let path = world.network().path(&[link]);
            world.connect(*end, ends[2], path);
        }
        world[ends[0]].limit = 0;
        world[ends[1]].limit = 0;
        world.run_for(Duration::ZERO);
        // Both questions came in the same instant; the counter keeps the last.
        assert_eq!((&world[ends[2]].heard[..], &world[ends[1]].heard[..]), (&[0, 3][..], &[4][..]));
    }

    #[test]
    #[should_panic(expected = "again and again")]
    fn an_endpoint_that_asks_in_a_circle_is_stopped() {
        let mut world = World::new(Instant::now(), 1);
        let perfect = Conditions::default();
        let [a, b] = [Some(0), None].map(|first| Counter::new(first, Duration::ZERO));
        let (a, b) = world.pair(a, b, perfect, perfect);
        world[a].limit = u32::MAX;
        world[b].limit = u32::MAX;
        world.run_for(Duration::ZERO);
    }
}
