//! What a link does to packets.

use std::time::Duration;

use base::Bitrate;

/// Everything that a link does to packets. The default is a perfect link: at once, all, in order.
///
/// As text (`FromStr`, `Display`): `rate=5mbit,delay=25ms,queue=300ms`; `docs/network-emulator.md` has all keys.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Conditions {
    /// How fast packets leave the queue; `None`: at once, so that there is no queue. Zero: not at all, until it changes.
    pub rate: Option<Bitrate>,
    /// How much waits for the rate; what comes on top of it is dropped (drop-tail).
    pub queue: Queue,
    /// Time in flight, after the queue.
    pub delay: Duration,
    /// Most of what is added to the delay of single packets. Distributed as RFC 8868 section 4.5.3 recommends: the amount
    /// of a normal distribution with a third of this as standard deviation, cut off here.
    pub jitter: Duration,
    /// Jitter and changes of delay keep packets in order: a packet arrives with the one before it at the earliest (RFC 8868
    /// section 4.5.2; without it, section 4.5.1). [`Self::reorder`] reorders either way.
    pub ordered: bool,
    /// Packets lost in flight, each for itself: 0 to 1. They have taken their share of the rate before.
    pub loss: f64,
    /// Packets lost in flight, in bursts; on top of [`Self::loss`].
    pub burst: Option<GilbertElliott>,
    /// Packets that are overtaken.
    pub reorder: Reorder,
    /// Packets that arrive twice, one copy directly behind the other: 0 to 1.
    pub duplicate: f64,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            rate: None,
            queue: Queue::default(),
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            ordered: true,
            loss: 0.0,
            burst: None,
            reorder: Reorder::default(),
            duplicate: 0.0,
        }
    }
}

/// The bound of a queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Queue {
    /// A packet that would wait longer than this at the present rate is dropped. After the rate fell, what waits already
    /// stays and may take longer. At rate zero the last other rate counts.
    Time(Duration),
    /// A packet is dropped when what is in the queue, the packet being sent included, would become more than this many
    /// bytes. An empty queue takes any packet.
    Bytes(u64),
}

impl Default for Queue {
    /// That of RFC 8867's cases.
    fn default() -> Self {
        Self::Time(Duration::from_millis(300))
    }
}

/// Loss that comes in bursts: two states, of which the bad one loses more (Gilbert 1960, Elliott 1963; the
/// parameters are those of Linux' netem, with the losses in place of their complements). All values are probabilities, 0 to 1.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct GilbertElliott {
    /// From the good state to the bad one, decided before each packet.
    pub to_bad: f64,
    /// From the bad state to the good one, decided before each packet.
    pub to_good: f64,
    /// That a packet is lost in the good state.
    pub loss_good: f64,
    /// That a packet is lost in the bad state.
    pub loss_bad: f64,
}

impl GilbertElliott {
    /// The simple form: everything is lost in the bad state and nothing in the good one; `average` (0 to less than 1) of all
    /// packets are lost, in bursts of `length` (1 or more) on average.
    pub fn bursts(average: f64, length: f64) -> Self {
        let to_good = 1.0 / length.max(1.0);
        let average = average.clamp(0.0, 0.999);
        Self { to_bad: to_good * average / (1.0 - average), to_good, loss_good: 0.0, loss_bad: 1.0 }
    }

    /// The share of packets that are lost in the long run.
    pub fn average(&self) -> f64 {
        let both = self.to_bad + self.to_good;
        let bad = if both > 0.0 { self.to_bad / both } else { 0.0 };
        bad * self.loss_bad + (1.0 - bad) * self.loss_good
    }
}

/// Packets that are held up while others overtake them.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Reorder {
    /// Which share of packets: 0 to 1.
    pub probability: f64,
    /// How long they are held up, in addition to everything else.
    pub by: Duration,
}

/// One value of [`Conditions`] to be changed.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Setting {
    /// See [`Conditions::rate`].
    Rate(Option<Bitrate>),
    /// See [`Conditions::queue`].
    Queue(Queue),
    /// See [`Conditions::delay`].
    Delay(Duration),
    /// See [`Conditions::jitter`].
    Jitter(Duration),
    /// See [`Conditions::ordered`].
    Ordered(bool),
    /// See [`Conditions::loss`].
    Loss(f64),
    /// See [`Conditions::burst`].
    Burst(Option<GilbertElliott>),
    /// See [`Conditions::reorder`].
    Reorder(Reorder),
    /// See [`Conditions::duplicate`].
    Duplicate(f64),
}

impl Conditions {
    /// Changes one value.
    pub fn set(&mut self, setting: Setting) {
        match setting {
            Setting::Rate(rate) => self.rate = rate,
            Setting::Queue(queue) => self.queue = queue,
            Setting::Delay(delay) => self.delay = delay,
            Setting::Jitter(jitter) => self.jitter = jitter,
            Setting::Ordered(ordered) => self.ordered = ordered,
            Setting::Loss(loss) => self.loss = loss,
            Setting::Burst(burst) => self.burst = burst,
            Setting::Reorder(reorder) => self.reorder = reorder,
            Setting::Duplicate(duplicate) => self.duplicate = duplicate,
        }
    }

    /// With these changes.
    pub fn with(mut self, settings: &[Setting]) -> Self {
        settings.iter().for_each(|setting| self.set(*setting));
        self
    }
}
