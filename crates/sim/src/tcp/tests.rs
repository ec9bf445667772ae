use std::time::{Duration, Instant};

use super::*;
use crate::{Conditions, EndpointId, LinkId, Setting, World};

const SECOND: Duration = Duration::from_secs(1);

/// Connections that share one bottleneck, with the sender's and the receiver's end of each.
struct Bed {
    world: World<Host>,
    bottleneck: LinkId,
    flows: Vec<(EndpointId, EndpointId)>,
}

impl Bed {
    /// Each sender begins with the access delay given for it.
    fn new(forward: &str, access: &[&str], sender: fn() -> Sender) -> Self {
        let mut world = World::new(Instant::now(), 1);
        let back: Conditions = "delay=50ms".parse().expect("conditions");
        let bottleneck = world.network().duplex(forward.parse().expect("conditions"), back);
        let flows = access.iter().map(|access| {
            let access = world.network().symmetric(access.parse().expect("conditions"));
            let path = world.network().path(&[access, bottleneck]);
            let ends = (world.add(Host::Sender(sender())), world.add(Host::Receiver(Receiver::new())));
            world.connect(ends.0, ends.1, path);
            ends
        });
        let flows = flows.collect();
        Self { world, bottleneck: bottleneck.forward, flows }
    }

    fn sender(&mut self, flow: usize) -> &mut Sender {
        match &mut self.world[self.flows[flow].0] {
            Host::Sender(sender) => sender,
            Host::Receiver(_) => unreachable!("the first of the pair is the sender"),
        }
    }

    fn received(&self) -> Vec<u64> {
        let ends = self.flows.iter().map(|(_, receiver)| match &self.world[*receiver] {
            Host::Receiver(receiver) => receiver.received(),
            Host::Sender(_) => unreachable!("the second of the pair is the receiver"),
        });
        ends.collect()
    }

    /// Payload bits per second of each flow over a span that begins now.
    fn rates(&mut self, seconds: u32) -> Vec<f64> {
        let before = self.received();
        self.world.run_for(seconds * SECOND);
        self.received()
            .iter()
            .zip(before)
            .map(|(now, then)| ((now - then) * 8) as f64 / f64::from(seconds))
            .collect()
    }

    fn statistics(&mut self) -> crate::Statistics {
        let (now, link) = (self.world.now(), self.bottleneck);
        self.world.network().statistics(now, link)
    }
}

const RFC_8867: &str = "rate=2mbit,delay=50ms,queue=300ms";

#[test]
fn one_flow_fills_the_bottleneck_and_loses_little() {
    let mut bed = Bed::new(RFC_8867, &[""], Sender::endless);
    bed.world.run_for(10 * SECOND);
    let before = bed.statistics();
    let rates = bed.rates(60);
    let statistics = bed.statistics().since(&before);
    assert!(statistics.utilisation().is_some_and(|share| share > 0.98), "{statistics:?}");
    // Less the headers.
    assert!(rates[0] > 0.98 * 2e6 * 1_448.0 / 1_500.0, "{rates:?}");
    assert!(statistics.dropped_full.packets > 0 && statistics.loss() < 0.01, "{statistics:?}");
}

#[test]
fn slow_start_overshoots_and_recovers_without_stalling() {
    let mut bed = Bed::new(RFC_8867, &[""], Sender::endless);
    let rates: Vec<f64> = (0..12).map(|_| bed.rates(1)[0]).collect();
    assert!(rates[2..].iter().all(|rate| *rate > 0.5e6), "{rates:?}");
    let (again, timeouts) = bed.sender(0).trouble();
    assert!(again > 0 && timeouts <= 1, "{again} {timeouts}");
}

#[test]
fn the_window_doubles_each_round_trip_until_the_first_loss() {
    let mut bed = Bed::new("rate=100mbit,delay=50ms", &[""], Sender::endless);
    bed.world.run_for(Duration::from_millis(90));
    assert!((bed.sender(0).window() - 10.0).abs() < 1e-9);
    bed.world.run_for(Duration::from_millis(100));
    let first = bed.sender(0).window();
    bed.world.run_for(Duration::from_millis(102));
    let second = bed.sender(0).window();
    assert!((19.0..=20.5).contains(&first) && (38.0..=41.0).contains(&second), "{first} {second}");
}

#[test]
fn a_loss_takes_the_window_to_seven_tenths() {
    let mut cubic = cubic::Cubic::default();
    let now = Instant::now();
    cubic.acknowledged(now, 90, SECOND / 10);
    cubic.lost();
    assert!((cubic.window() - 70.0).abs() < 1e-9);
    // Back at the peak after the cube root of 30 / 0.4 seconds, which is 4.2 (RFC 9438 section 4.2).
    let mut at = now;
    while cubic.window() < 99.0 {
        at += SECOND / 100;
        cubic.acknowledged(at, (cubic.window() / 10.0) as u64, SECOND / 10);
    }
    let took = at - now;
    assert!((2 * SECOND..5 * SECOND).contains(&took), "{took:?}");
}

#[test]
fn the_window_falls_when_the_rate_does_and_comes_back() {
    let mut bed = Bed::new("rate=4mbit,delay=50ms,queue=300ms", &[""], Sender::endless);
    bed.world.run_for(20 * SECOND);
    let (now, link) = (bed.world.now(), bed.bottleneck);
    bed.world.network().set(now, link, Setting::Rate(Some(base::Bitrate::kbps(500))));
    bed.world.run_for(10 * SECOND);
    assert!(bed.sender(0).window() < 30.0, "{}", bed.sender(0).window());
    assert!(bed.rates(20)[0] > 0.9 * 0.5e6 * 0.965);
    let now = bed.world.now();
    bed.world.network().set(now, link, Setting::Rate(Some(base::Bitrate::kbps(4_000))));
    bed.world.run_for(20 * SECOND);
    assert!(bed.rates(10)[0] > 0.9 * 4e6 * 0.965);
}

#[test]
fn flows_of_equal_round_trips_share_about_equally() {
    let mut bed = Bed::new(RFC_8867, &["", ""], Sender::endless);
    bed.world.run_for(20 * SECOND);
    let rates = bed.rates(120);
    let (sum, squares) =
        rates.iter().fold((0.0, 0.0), |(sum, squares), rate| (sum + rate, squares + rate * rate));
    let jain = sum * sum / (2.0 * squares);
    assert!(jain > 0.95 && sum > 0.95 * 2e6 * 0.965, "{rates:?}");
}

#[test]
fn random_loss_slows_it_down_as_the_response_function_says() {
    for (share, loss) in [("1%", 0.01f64), ("4%", 0.04)] {
        let mut bed = Bed::new(&format!("rate=10mbit,delay=50ms,loss={share}"), &[""], Sender::endless);
        bed.world.run_for(10 * SECOND);
        let rate = bed.rates(60)[0];
        // At such losses Cubic is in its Reno-friendly region: 1.22 segments over the root of the loss in each round trip
        // (RFC 9438 section 5.1), here of 100 ms and a little; timeouts and recoveries take a part.
        let expected = 1.22 / loss.sqrt() * 1_448.0 * 8.0 / 0.1;
        assert!((0.5..1.2).contains(&(rate / expected)), "{share}: {rate} for {expected}");
    }
}

#[test]
fn a_transfer_ends_and_its_time_is_plausible() {
    let mut bed = Bed::new("rate=10mbit,delay=50ms", &[""], Sender::new);
    bed.sender(0).offer(100_000);
    // 70 segments: 10 + 20 + 40, three round trips of 100 ms and the sending of the last.
    bed.world.run_for(Duration::from_millis(280));
    assert!(!bed.sender(0).is_idle());
    bed.world.run_for(Duration::from_millis(120));
    assert!(bed.sender(0).is_idle(), "{:?}", bed.received());
    assert_eq!(bed.received(), [70 * SEGMENT_PAYLOAD]);
    // After a pause it begins slowly again.
    bed.world.run_for(10 * SECOND);
    bed.sender(0).offer(1_000_000);
    bed.world.run_for(Duration::from_millis(1));
    assert!((bed.sender(0).window() - 10.0).abs() < 1e-9);
    bed.world.run_for(5 * SECOND);
    assert!(bed.sender(0).is_idle());
}

#[test]
fn a_last_segment_that_is_lost_is_sent_again_after_the_timeout() {
    let mut bed = Bed::new("delay=50ms,loss=1", &[""], Sender::new);
    bed.sender(0).offer(1_000);
    bed.world.run_for(SECOND * 2);
    let (now, link) = (bed.world.now(), bed.bottleneck);
    bed.world.network().set(now, link, Setting::Loss(0.0));
    bed.world.run_for(2 * SECOND);
    assert!(bed.sender(0).is_idle());
    assert_eq!(bed.sender(0).trouble(), (2, 2));
}

#[test]
fn everything_arrives_over_a_path_that_loses_reorders_and_doubles() {
    for loss in ["5%", "20%"] {
        let path = format!("rate=5mbit,delay=30ms,jitter=20ms,order=free,duplicate=5%,loss={loss}");
        let mut bed = Bed::new(&path, &["loss=5%"], Sender::new);
        bed.sender(0).offer(500_000);
        bed.world.run_for(400 * SECOND);
        assert!(bed.sender(0).is_idle(), "{loss}");
        assert_eq!(bed.received(), [500_000u64.div_ceil(SEGMENT_PAYLOAD) * SEGMENT_PAYLOAD]);
    }
}

#[test]
fn the_receiver_tells_what_arrived_above_a_gap_newest_first() {
    let (now, mut receiver) = (Instant::now(), Receiver::new());
    let range = |start, end| start..end;
    let mut give = |number| {
        receiver.receive(now, &Segment { number, sent: now });
        receiver.poll_transmit()
    };
    assert_eq!(give(0), None, "the first waits for a second");
    assert_eq!(give(1).map(|ack| ack.next), Some(2));
    assert_eq!(give(5).map(|ack| (ack.next, ack.selective)), Some((2, vec![range(5, 6)])));
    assert_eq!(give(3).map(|ack| ack.selective), Some(vec![3..4, 5..6]));
    assert_eq!(give(6).map(|ack| ack.selective), Some(vec![5..7, 3..4]));
    assert_eq!(give(4).map(|ack| ack.selective), Some(vec![range(3, 7)]));
    assert_eq!(give(2).map(|ack| (ack.next, ack.selective)), Some((7, vec![])));
    assert_eq!(give(2).map(|ack| ack.next), Some(7), "an old one is answered at once");
}
