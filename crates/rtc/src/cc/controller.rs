//! The parts composed: what is sent and what is heard of it go in, the target rate and probes come out.

use std::time::{Duration, Instant};

use base::Bitrate;

use super::acked::AckedRate;
use super::cluster::{Clusters, ProbeResult};
use super::groups::{Groups, Outcome};
use super::limited::AppLimited;
use super::loss::LossControl;
use super::probe::{CLUSTER_MASK, Planner, Sent, Situation};
use super::queue::QueueDelay;
use super::rate::{Input, RateControl};
use super::remb::Remb;
use super::trend::{Trend, Usage};
use super::{Arrived, Config};
use crate::moment::AtMoment;
use crate::streams::PacketResult;

/// What stands in for an unknown round trip.
const DEFAULT_RTT_US: i64 = 200_000;
/// Packets that nothing is heard of for this long and a round trip, and the cut that is made then and each
/// [`SILENCE_REPEAT_US`] again.
const SILENCE_US: i64 = 1_000_000;
const SILENCE_REPEAT_US: i64 = 500_000;
const SILENCE_CUT: f64 = 0.75;
/// While there is more queue than this, there is nothing to probe for.
const QUEUED_US: i64 = 15_000;
/// This much queue, and this many times as much that may be sent as arrives, are overuse.
const FLOOD_US: i64 = 100_000;
const FLOOD: f64 = 1.5;
/// A sender that met the limit of the path within this time is one of those that fill it.
const LIMIT_MET_US: i64 = 12_000_000;
/// Of what a sender finds that has met the limit before, it takes this share: others may have found the same.
const CAREFUL_SHARE: f64 = 0.5;
/// What was heard says nothing of the path any more after this time.
const STALE_US: i64 = 2_000_000;
/// A probe that finds less than this share of the estimate corrects it, if the application does not use it.
const FAR_BELOW: f64 = 0.9;

/// A probe that is to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Probe {
    /// Its number, which [`Controller::on_sent`] gives to every packet sent while it lasts.
    pub cluster: u8,
    /// The rate at which it is to leave.
    pub rate: Bitrate,
    /// Bytes of padding that are due now, at least one: what is sent besides counts too.
    pub bytes: usize,
}

/// What a person who debugs a call wants to see.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct ControllerSnapshot {
    /// What may be sent.
    pub target: Bitrate,
    /// Of which the delay allows.
    pub delay_based: Bitrate,
    /// And the loss, if it limits.
    pub loss_based: Option<Bitrate>,
    /// What arrives, when known.
    pub acked: Option<Bitrate>,
    /// The application sends less than it may.
    pub app_limited: bool,
    /// What the trend of the delay says.
    pub usage: Usage,
    /// Queueing delay on the path.
    pub queue: Duration,
    /// Smoothed round trip.
    pub rtt: Option<Duration>,
}

/// Congestion control of one connection. One value in, one value out: it sends nothing and reads no clock.
///
/// The contract: [`Self::on_sent`] for every packet, whose tag goes into the send history; [`Self::on_feedback`] with the
/// results of each feedback; [`Self::handle_timeout`] when [`Self::poll_timeout`] says so. While [`Self::poll_probe`]
/// returns a probe, its owner sends that much padding if it has any. `now` never goes back.
#[derive(Clone, Debug)]
pub struct Controller {
    config: Config,
    epoch: Instant,
    groups: Groups,
    trend: Trend,
    queue: QueueDelay,
    acked: AckedRate,
    limited: AppLimited,
    rate: RateControl,
    loss: LossControl,
    loss_limit: Option<f64>,
    clusters: Clusters,
    planner: Planner,
    remb: Remb,
    rtt_us: Option<i64>,
    /// The first packet after the last feedback, and when the next cut is due if none comes.
    unreported_since: Option<Instant>,
    cut_at: Option<Instant>,
    /// When the last feedback came, and the last that the trend was learned from: probes say nothing of it.
    heard_us: i64,
    trend_us: i64,
    target: f64,
    /// When the newest packet was sent that the last feedback called lost.
    lost_us: Option<i64>,
    /// Buffer of [`Self::on_feedback`], kept so that it need not be made each time.
    arrived: Vec<(Arrived, bool)>,
}

impl Controller {
    /// `config.start` is the target until something is known.
    pub fn new(now: Instant, config: Config) -> Self {
        let config = config.sound();
        let bps = |rate: Bitrate| rate.0 as f64;
        Self {
            config,
            epoch: now,
            groups: Groups::default(),
            trend: Trend::default(),
            queue: QueueDelay::default(),
            acked: AckedRate::default(),
            limited: AppLimited::new(now, bps(config.start)),
            rate: RateControl::new(bps(config.start), bps(config.min), bps(config.max)),
            loss: LossControl::default(),
            loss_limit: None,
            clusters: Clusters::default(),
            planner: Planner::new(),
            remb: Remb::new(),
            rtt_us: None,
            unreported_since: None,
            cut_at: None,
            heard_us: 0,
            trend_us: 0,
            target: bps(config.start),
            lost_us: None,
            arrived: Vec::new(),
        }
    }

    /// Does a packet that is sent now move what [`Self::poll_timeout`] says?
    #[inline]
    pub fn moves_deadline(&self) -> bool {
        self.unreported_since.is_none() || self.planner.is_sending()
    }

    /// A packet of `size` bytes is sent. Returns its tag for the send history; the upper two bits are free for the
    /// caller.
    #[inline]
    pub fn on_sent(&mut self, now: Instant, size: usize) -> u8 {
        self.limited.on_sent(now, size);
        self.remb.on_sent(size);
        if self.unreported_since.is_none() {
            self.unreported_since = Some(now);
        }
        if self.planner.is_sending() { self.on_probe_sent(now, size) } else { 0 }
    }

    #[cold]
    fn on_probe_sent(&mut self, now: Instant, size: usize) -> u8 {
        let situation = self.situation(now);
        let Some(sent) = self.planner.on_sent(size, &situation) else { return 0 };
        let (Sent::More(number) | Sent::Last(number)) = sent;
        self.clusters.on_sent(number);
        if sent == Sent::Last(number) {
            self.clusters.close(number);
            self.tick(now);
        }
        number
    }

    /// What became of packets that were sent: the results of one feedback. `rtt`: the round trip it shows.
    pub fn on_feedback(&mut self, now: Instant, results: &[PacketResult], rtt: Option<Duration>) {
        if results.is_empty() {
            return;
        }
        self.unreported_since = None;
        self.cut_at = None;
        self.heard_us = self.micros(now);
        self.learn_rtt(rtt);
        self.sort(results);
        let limited = self.limited.is_limited(now);
        self.learn_arrivals(limited);
        self.loss_limit = self.loss.update(self.target);
        let probed = self.take_probe_results(now);
        if !probed {
            let longer_route = self.rate.update(&Input {
                now_us: self.micros(now),
                usage: self.usage(now),
                acked: self.acked.bps(),
                bottleneck: self.acked.latest_bps(),
                limited,
                useful: self.planner.useful(),
                rtt_us: self.rtt_us.unwrap_or(DEFAULT_RTT_US),
                queue_us: self.queue.queue_us(),
                standing_us: self.queue.standing_us(),
                lost_us: self.lost_us,
            });
            if longer_route {
                self.queue.forget_longest();
            }
        }
        self.settle(now);
        self.tick(now);
    }

    fn usage(&self, now: Instant) -> Usage {
        match self.trend.usage() {
            _ if self.micros(now) - self.trend_us > STALE_US => Usage::Normal,
            Usage::Normal if self.is_flooded() => Usage::Over,
            usage => usage,
        }
    }

    /// Much more may be sent than arrives, and there is a long queue already: the trend need not be awaited, which sees a queue
    /// grow, and not that it is full.
    fn is_flooded(&self) -> bool {
        let much_more = |arrives: f64| self.rate.bps() > FLOOD * arrives;
        self.queue.queue_us() >= FLOOD_US && self.acked.latest_bps().is_some_and(much_more)
    }

    fn learn_rtt(&mut self, rtt: Option<Duration>) {
        let Some(rtt) = rtt else { return };
        let rtt_us = (rtt.as_micros() as i64).min(10_000_000);
        self.rtt_us = Some(self.rtt_us.map_or(rtt_us, |smoothed| (7 * smoothed + rtt_us) / 8));
    }

    /// Counts losses, and puts what arrived into the order of its arrival.
    fn sort(&mut self, results: &[PacketResult]) {
        self.arrived.clear();
        self.lost_us = None;
        // Packets of a frame left at one moment.
        let (epoch, mut sent_us) = (self.epoch, AtMoment::default());
        for result in results {
            let sent_us = sent_us.get(result.sent, || micros(epoch, result.sent));
            let cluster = result.tag & CLUSTER_MASK;
            self.loss.add(sent_us, u32::from(result.size), result.arrival.is_none(), result.was_lost);
            match result.arrival {
                Some(arrival_us) => {
                    let packet = Arrived { sent_us, arrival_us, size: u32::from(result.size), cluster };
                    self.arrived.push((packet, result.was_lost));
                }
                None => {
                    self.lost_us = self.lost_us.max(Some(sent_us));
                    self.clusters.lost(cluster);
                }
            }
        }
        // Nearly always they arrived in the order in which they were sent.
        if !self.arrived.is_sorted_by_key(|(packet, _)| packet.arrival_us) {
            self.arrived.sort_by_key(|(packet, _)| packet.arrival_us);
        }
    }

    fn learn_arrivals(&mut self, limited: bool) {
        let competing = self.rate.is_competing();
        for (packet, was_lost) in &self.arrived {
            self.acked.add(packet.arrival_us, packet.size, limited);
            self.queue.add(packet.sent_us, packet.arrival_us, competing);
            if packet.cluster != 0 {
                self.clusters.arrived(packet, *was_lost);
                // A probe fills the queue on purpose: that is no trend. The next group has no predecessor.
                self.groups = Groups::default();
                continue;
            }
            match self.groups.add(packet) {
                Outcome::Delta(delta) => {
                    self.trend.add(&delta);
                    self.trend_us = self.heard_us;
                }
                Outcome::Reset => {
                    self.trend = Trend::default();
                    self.queue = QueueDelay::default();
                }
                Outcome::Nothing => {}
            }
        }
    }

    /// True when a probe has set the rate.
    fn take_probe_results(&mut self, now: Instant) -> bool {
        let mut set = false;
        while let Some(awaited) = self.planner.awaited() {
            let expired = self.micros(now) >= awaited.until_us;
            let Some(result) = self.clusters.take(awaited.number, expired) else { break };
            let before = self.target;
            if let Some(result) = result {
                set |= self.use_probe(now, &result, awaited.careful);
            }
            self.settle(now);
            let situation = self.situation(now);
            self.planner.on_result(result, before, &situation);
        }
        set
    }

    fn use_probe(&mut self, now: Instant, result: &ProbeResult, careful: bool) -> bool {
        let higher = result.bps > self.rate.bps() && self.usage(now) != Usage::Over;
        let unused = self.limited.is_limited(now);
        let lower = result.saturated && unused && result.bps < FAR_BELOW * self.rate.bps();
        if higher {
            let share = if careful { CAREFUL_SHARE } else { 1.0 };
            let bps = self.rate.bps() + share * (result.bps - self.rate.bps());
            let bps = self.planner.useful().map_or(bps, |useful| bps.min(useful.max(self.rate.bps())));
            self.rate.probed(self.micros(now), bps, result.saturated);
        } else if lower {
            // What arrives got through whatever the probe says.
            let bps = result.bps.max(self.acked.bps().unwrap_or(0.0));
            self.rate.probed(self.micros(now), bps, true);
        }
        higher || lower
    }

    /// REMB: without transport-wide feedback the estimate, with it a cap.
    pub fn on_remb(&mut self, now: Instant, rate: Bitrate) {
        let floor = self.config.start.0 as f64;
        self.remb.on_remb(self.micros(now), rate.0 as f64, floor);
        self.settle(now);
    }

    /// Loss (0.0 to 1.0) in a receiver report; counts only without transport-wide feedback, which tells it better.
    pub fn on_loss_report(&mut self, now: Instant, loss: f32) {
        let floor = self.config.start.0 as f64;
        self.remb.on_loss(self.micros(now), f64::from(loss), floor);
        self.settle(now);
    }

    /// What the application would send if it could, all of it together. Nothing is probed beyond; zero, as at the start,
    /// probes nothing.
    pub fn set_wanted(&mut self, now: Instant, wanted: Bitrate) {
        let situation = self.situation(now);
        self.planner.set_wanted(wanted.0 as f64, &situation);
        self.tick(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.cut_in_silence(now);
        if self.planner.awaited().is_some_and(|awaited| self.micros(now) >= awaited.until_us) {
            self.take_probe_results(now);
        }
        self.settle(now);
        self.tick(now);
    }

    /// When [`Self::handle_timeout`], or [`Self::poll_probe`], is due. `None`: when something else happens.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let silence = self.silence_at();
        let probe =
            self.config.feedback.then(|| self.planner.poll_timeout(&self.situation(self.epoch))).flatten();
        let probe = probe.map(|at_us| self.epoch + Duration::from_micros(at_us.max(0) as u64));
        silence.into_iter().chain(probe).min()
    }

    fn silence_at(&self) -> Option<Instant> {
        let since = self
            .unreported_since
            .filter(|_| self.config.feedback && self.target > self.config.min.0 as f64)?;
        let patience_us = SILENCE_US + self.rtt_us.unwrap_or(DEFAULT_RTT_US);
        Some(self.cut_at.unwrap_or(since + Duration::from_micros(patience_us as u64)))
    }

    fn cut_in_silence(&mut self, now: Instant) {
        if self.silence_at().is_some_and(|at| at <= now) {
            self.rate.cap(self.target);
            self.rate.silence(SILENCE_CUT);
            self.cut_at = Some(now + Duration::from_micros(SILENCE_REPEAT_US as u64));
        }
    }

    /// Padding that is to be sent now. Ask again after sending it, until `None`, and at [`Self::poll_timeout`]. An owner
    /// that cannot send any may leave it: a probe that does not leave is given up.
    pub fn poll_probe(&mut self, now: Instant) -> Option<Probe> {
        let (bytes, bps) = self.planner.due(self.micros(now))?;
        let cluster = self.planner.number();
        Some(Probe { cluster, rate: Bitrate(bps as u64), bytes: bytes.ceil() as usize })
    }

    /// What may be sent, audio, video, retransmissions and padding together.
    pub fn target(&self) -> Bitrate {
        Bitrate(self.target as u64)
    }

    /// Smoothed round trip.
    pub fn rtt(&self) -> Option<Duration> {
        self.rtt_us.map(|us| Duration::from_micros(us as u64))
    }

    /// The state in plain values.
    pub fn snapshot(&self) -> ControllerSnapshot {
        let rate = |bps: f64| Bitrate(bps as u64);
        ControllerSnapshot {
            target: self.target(),
            delay_based: rate(self.rate.bps()),
            loss_based: self.loss_limit.map(rate),
            acked: self.acked.bps().map(rate),
            app_limited: self.limited.was_limited(),
            usage: self.trend.usage(),
            queue: Duration::from_micros(self.queue.queue_us() as u64),
            rtt: self.rtt(),
        }
    }

    /// The target from all that is known.
    fn settle(&mut self, now: Instant) {
        // Beside others who fill the queue, loss is answered there.
        let limit = self.loss_limit.filter(|_| !self.rate.is_competing());
        let own = limit.map_or(self.rate.bps(), |limit| limit.min(self.rate.bps()));
        let now_us = self.micros(now);
        let target = if self.config.feedback {
            self.remb.cap(now_us).map_or(own, |cap| cap.min(own))
        } else {
            self.remb.fallback().unwrap_or(own)
        };
        let target = target.clamp(self.config.min.0 as f64, self.config.max.0 as f64);
        if target != self.target {
            self.target = target;
            self.limited.set_target(target);
        }
    }

    fn tick(&mut self, now: Instant) {
        let situation = self.situation(now);
        if !self.config.feedback {
            return;
        }
        if let Some(number) = self.planner.tick(&situation) {
            self.clusters.open(number);
            self.rate.forget_dropped();
        }
    }

    fn situation(&self, now: Instant) -> Situation {
        Situation {
            now_us: self.micros(now),
            estimate: self.target,
            max: self.config.max.0 as f64,
            calm_from_us: self.calm_from_us(),
            decreased_us: self.rate.decreased_us(),
            dropped: self.rate.dropped(),
            beyond: self.rate.is_beyond_capacity(),
            rtt_us: self.rtt_us.unwrap_or(DEFAULT_RTT_US),
            saturating: self.met_limit(now) && !self.limited.is_limited_at(now),
        }
    }

    /// It has met the limit of the path lately.
    fn met_limit(&self, now: Instant) -> bool {
        self.rate.decreased_us().is_some_and(|at| self.micros(now) - at < LIMIT_MET_US)
    }

    /// From when on nothing speaks against a probe. What did so when a feedback came last is no reason for ever: without
    /// a probe a sender that has nothing else to send would never hear again.
    fn calm_from_us(&self) -> i64 {
        let empty = self.trend.usage() != Usage::Over && self.queue.queue_us() < QUEUED_US;
        let unlimited = self.loss_limit.is_none() && !self.rate.is_competing();
        if empty && unlimited && self.cut_at.is_none() { 0 } else { self.heard_us + STALE_US }
    }

    fn micros(&self, at: Instant) -> i64 {
        micros(self.epoch, at)
    }
}

fn micros(epoch: Instant, at: Instant) -> i64 {
    at.saturating_duration_since(epoch).as_micros() as i64
}
