//! What a worker counts. Written by its thread alone, read by anyone: relaxed atomics, no lock.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use base::Bitrate;

/// Upper bounds of the lag histogram, in microseconds; above the last is one more bucket.
const LAG_BOUNDS: [u64; 9] = [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000];

/// Upper bounds of the histogram of estimates, in bit/s; above the last is one more bucket.
const ESTIMATE_BOUNDS: [u64; 8] =
    [100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000, 25_000_000];

/// Name, labels, value.
type Visit<'a> = dyn FnMut(&'static str, &[(&'static str, &'static str)], u64) + 'a;

macro_rules! counts {
    ($($(#[$doc:meta])* $field:ident => $name:literal $(, $label:literal = $value:literal)?;)*) => {
        /// A worker's own counters, plain: the thread's copy.
        #[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
        pub(crate) struct Counts {
            $($(#[$doc])* pub(crate) $field: u64,)*
        }

        #[derive(Default, Debug)]
        struct Shared {
            $($field: AtomicU64,)*
        }

        impl Shared {
            fn store(&self, counts: &Counts) {
                $(self.$field.store(counts.$field, Relaxed);)*
            }

            fn for_each(&self, visit: &mut Visit<'_>) {
                $(visit($name, &[$(($label, $value))?], self.$field.load(Relaxed));)*
            }
        }
    };
}

counts! {
    /// Datagrams received.
    datagrams_in => "stoa_worker_datagrams_received_total";
    /// Bytes received in them.
    bytes_in => "stoa_worker_received_bytes_total";
    /// Datagrams the kernel took from us.
    datagrams_out => "stoa_worker_datagrams_sent_total";
    /// Bytes in them.
    bytes_out => "stoa_worker_sent_bytes_total";
    /// Messages the kernel took: runs of datagrams with one header pass.
    messages_out => "stoa_worker_messages_sent_total";
    /// Of these, messages of more than one datagram.
    coalesced_out => "stoa_worker_coalesced_messages_sent_total";
    /// Messages that had to be split because a route does not segment.
    split_out => "stoa_worker_split_messages_total";
    /// RTP packets handed to the forwarding decision.
    forwarded_in => "stoa_worker_media_packets_received_total";
    /// Of these, lost packets of sound that were made good from the next one's redundancy.
    made_good => "stoa_worker_media_packets_made_good_total";
    /// RTP packets handed to other workers.
    relayed_out => "stoa_worker_relayed_packets_total", "direction" = "out";
    /// RTP packets that came from other workers.
    relayed_in => "stoa_worker_relayed_packets_total", "direction" = "in";
    /// RTP packets sealed for a receiver.
    forwarded_out => "stoa_worker_media_packets_sent_total";
    /// Retransmissions sealed.
    resent => "stoa_worker_retransmissions_sent_total";
    /// Video packets that did not leave in the tick in which they came, because their receiver's budget was used up.
    paced_delayed => "stoa_worker_paced_packets_delayed_total";
    /// Frames dropped, whole or in part, because they waited too long for their receiver's budget.
    paced_frames_dropped => "stoa_worker_paced_frames_dropped_total";
    /// Probes of what a path carries, as far as they needed padding or held back video.
    probes => "stoa_worker_probes_sent_total";
    /// Bytes of padding sent for them.
    padding_bytes => "stoa_worker_padding_sent_bytes_total";
    /// Plain STUN requests of those who asked for their address, all answered.
    questions => "stoa_worker_stun_requests_total";
    /// Checks for nobody, counted as dropped, that were taken all the same when their connection was made a moment later.
    early_checks => "stoa_worker_early_checks_total";
    /// Commands executed.
    commands => "stoa_worker_commands_total";
    /// Events that waited for room in the event queue.
    events_delayed => "stoa_worker_events_delayed_total";
    /// Ticks.
    ticks => "stoa_worker_ticks_total";
    /// Datagrams that found the socket's queue full.
    dropped_overflow => "stoa_worker_dropped_total", "reason" = "receive_queue_full";
    /// Messages larger than any buffer.
    dropped_truncated => "stoa_worker_dropped_total", "reason" = "truncated";
    /// No protocol of ours.
    dropped_class => "stoa_worker_dropped_total", "reason" = "unknown_class";
    /// STUN for nobody.
    dropped_user => "stoa_worker_dropped_total", "reason" = "stun_unknown_user";
    /// Refusals of checks with a wrong password, beyond what may leave in a second.
    dropped_refusals => "stoa_worker_dropped_total", "reason" = "stun_refusal_rate";
    /// DTLS and SRTP from addresses that ICE has not validated.
    dropped_source => "stoa_worker_dropped_total", "reason" = "unvalidated_source";
    /// RTP of a section that feeds no publication (yet).
    dropped_unpublished => "stoa_worker_dropped_total", "reason" = "no_publication";
    /// Payloads overwritten before they were sent.
    dropped_overrun => "stoa_worker_dropped_total", "reason" = "payload_overrun";
    /// Packets for a receiver that cannot be sent to.
    dropped_unsendable => "stoa_worker_dropped_total", "reason" = "receiver_not_ready";
    /// Packets for another worker that does not keep up.
    dropped_relay => "stoa_worker_dropped_total", "reason" = "relay_full";
    /// Packets beyond what one receiver may have in one tick.
    dropped_outbox => "stoa_worker_dropped_total", "reason" = "outbox_full";
    /// Video that waited longer for its receiver's budget than it is worth, or depends on what was overwritten while it did.
    dropped_paced => "stoa_worker_dropped_total", "reason" = "pacing_queue_full";
    /// Packets asked for again that are beyond the share of the estimate that retransmissions have, or that a keyframe which has
    /// left makes useless on a thin path.
    dropped_resends => "stoa_worker_dropped_total", "reason" = "retransmission_share";
    /// The kernel's send buffer stayed full.
    dropped_send_full => "stoa_worker_dropped_total", "reason" = "send_buffer_full";
    /// The kernel refused to send.
    dropped_send_refused => "stoa_worker_dropped_total", "reason" = "send_refused";
    /// Messages for a channel that is not open, or whose receiver is too far behind.
    dropped_data_out => "stoa_worker_dropped_total", "reason" = "data_channel_not_ready";
    /// Unreliable messages dropped because control did not take them.
    dropped_data_in => "stoa_worker_dropped_total", "reason" = "event_queue_full";
    /// Panics that cost one peer.
    peer_panics => "stoa_worker_recovered_panics_total", "scope" = "peer";
    /// Panics that cost one room's media.
    room_panics => "stoa_worker_recovered_panics_total", "scope" = "room";
    /// Connections now.
    peers => "stoa_worker_peers";
    /// Video streams that are paused now because their receivers' paths do not carry them.
    paused => "stoa_worker_paused_streams";
    /// Rooms now.
    rooms => "stoa_worker_rooms";
    /// The longest tick so far.
    lag_max_us => "stoa_worker_lag_max_microseconds";
}

/// A worker's metrics. Make one with `Arc::new(Metrics::default())`, hand it to [`crate::spawn`], read it whenever.
///
/// Two kinds: the worker's own, current to the tick, and the totals over its peers of [`rtc::Counters`], current to the
/// second.
#[derive(Debug)]
pub struct Metrics {
    shared: Shared,
    /// In the order of [`rtc::Counters::fields`].
    peers: Vec<(&'static str, AtomicU64)>,
    lag: [AtomicU64; LAG_BOUNDS.len() + 1],
    lag_sum_us: AtomicU64,
    estimates: [AtomicU64; ESTIMATE_BOUNDS.len() + 1],
    estimate_sum: AtomicU64,
    cpu: OnceLock<udp::CpuClock>,
}

impl Default for Metrics {
    fn default() -> Self {
        let fields = rtc::Counters::default();
        Self {
            shared: Shared::default(),
            peers: fields.fields().map(|(name, _)| (name, AtomicU64::new(0))).collect(),
            lag: Default::default(),
            lag_sum_us: AtomicU64::new(0),
            estimates: Default::default(),
            estimate_sum: AtomicU64::new(0),
            cpu: OnceLock::new(),
        }
    }
}

impl Metrics {
    /// Calls `visit` with each metric: Prometheus name, labels, value. Names that end in `_total` only grow, those of
    /// histograms end in `_bucket`, `_sum` and `_count` (cumulative), the others are states.
    pub fn for_each(&self, mut visit: impl FnMut(&'static str, &[(&'static str, &'static str)], u64)) {
        self.shared.for_each(&mut visit);
        for (name, count) in &self.peers {
            visit("stoa_worker_transport_total", &[("kind", name)], count.load(Relaxed));
        }
        self.for_each_lag(&mut visit);
        self.for_each_estimate(&mut visit);
        if let Some(time) = self.cpu_time() {
            visit("stoa_worker_cpu_microseconds_total", &[], time.as_micros() as u64);
        }
    }

    fn for_each_lag(&self, visit: &mut Visit<'_>) {
        const BOUNDS: [&str; LAG_BOUNDS.len() + 1] =
            ["100", "250", "500", "1000", "2500", "5000", "10000", "25000", "100000", "+Inf"];
        let mut sum = 0;
        for (bound, bucket) in BOUNDS.into_iter().zip(&self.lag) {
            sum += bucket.load(Relaxed);
            visit("stoa_worker_lag_microseconds_bucket", &[("le", bound)], sum);
        }
        visit("stoa_worker_lag_microseconds_sum", &[], self.lag_sum_us.load(Relaxed));
        visit("stoa_worker_lag_microseconds_count", &[], sum);
    }

    fn for_each_estimate(&self, visit: &mut Visit<'_>) {
        const BOUNDS: [&str; ESTIMATE_BOUNDS.len() + 1] =
            ["100000", "250000", "500000", "1000000", "2500000", "5000000", "10000000", "25000000", "+Inf"];
        let mut count = 0;
        for (bound, bucket) in BOUNDS.into_iter().zip(&self.estimates) {
            count += bucket.load(Relaxed);
            visit("stoa_worker_estimate_bits_per_second_bucket", &[("le", bound)], count);
        }
        visit("stoa_worker_estimate_bits_per_second_sum", &[], self.estimate_sum.load(Relaxed));
        visit("stoa_worker_estimate_bits_per_second_count", &[], count);
    }

    /// Sum of all values of a name whose labels contain `label`; for tests and benches.
    pub fn value(&self, name: &str, label: Option<(&str, &str)>) -> u64 {
        let mut sum = 0;
        self.for_each(|this, labels, value| {
            if this == name && label.is_none_or(|label| labels.contains(&label)) {
                sum += value;
            }
        });
        sum
    }

    /// CPU time (user plus kernel) of the worker's thread; `None` before it runs and after it ended.
    pub fn cpu_time(&self) -> Option<Duration> {
        self.cpu.get()?.read()
    }

    pub(crate) fn set_clock(&self, clock: udp::CpuClock) {
        let _ = self.cpu.set(clock);
    }

    pub(crate) fn store(&self, counts: &Counts) {
        self.shared.store(counts);
    }

    pub(crate) fn store_peers(&self, totals: &rtc::Counters) {
        for ((_, shared), (_, count)) in self.peers.iter().zip(totals.fields()) {
            shared.store(count, Relaxed);
        }
    }

    /// A tick took this long: what a datagram waits at worst that arrives just after its beginning.
    pub(crate) fn observe_lag(&self, lag_us: u64) {
        let bucket = LAG_BOUNDS.iter().position(|bound| lag_us <= *bound).unwrap_or(LAG_BOUNDS.len());
        self.lag[bucket].fetch_add(1, Relaxed);
        self.lag_sum_us.fetch_add(lag_us, Relaxed);
    }

    /// What the path to one peer carries: observed once a second, while anything happens.
    pub(crate) fn observe_estimate(&self, estimate: Bitrate) {
        let bucket = ESTIMATE_BOUNDS.iter().position(|bound| estimate.0 <= *bound);
        self.estimates[bucket.unwrap_or(ESTIMATE_BOUNDS.len())].fetch_add(1, Relaxed);
        self.estimate_sum.fetch_add(estimate.0, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_what_is_read() {
        let metrics = Metrics::default();
        metrics.store(&Counts { dropped_class: 3, dropped_user: 4, peers: 2, ..Counts::default() });
        metrics.store_peers(&rtc::Counters { srtp_replayed: 9, ..rtc::Counters::default() });
        let dropped = "stoa_worker_dropped_total";
        assert_eq!(metrics.value(dropped, Some(("reason", "unknown_class"))), 3);
        assert_eq!(metrics.value(dropped, None), 7);
        assert_eq!(metrics.value("stoa_worker_peers", None), 2);
        assert_eq!(metrics.value("stoa_worker_transport_total", Some(("kind", "srtp_replayed"))), 9);
    }

    #[test]
    fn the_lag_histogram_is_cumulative() {
        let metrics = Metrics::default();
        for lag in [10, 100, 101, 1_000_000] {
            metrics.observe_lag(lag);
        }
        let bucket = |le| metrics.value("stoa_worker_lag_microseconds_bucket", Some(("le", le)));
        assert_eq!((bucket("100"), bucket("250"), bucket("100000"), bucket("+Inf")), (2, 3, 3, 4));
        assert_eq!(metrics.value("stoa_worker_lag_microseconds_count", None), 4);
    }

    #[test]
    fn the_histogram_of_estimates_is_cumulative_and_its_labels_are_its_bounds() {
        let metrics = Metrics::default();
        for kbps in [30, 100, 101, 200_000] {
            metrics.observe_estimate(Bitrate::kbps(kbps));
        }
        let mut buckets = Vec::new();
        metrics.for_each(|name, label, value| {
            if name == "stoa_worker_estimate_bits_per_second_bucket" {
                buckets.push((label[0].1.to_owned(), value));
            }
        });
        let bounds = ESTIMATE_BOUNDS.iter().map(u64::to_string).chain(["+Inf".to_owned()]);
        assert!(bounds.eq(buckets.iter().map(|(bound, _)| bound.clone())), "{buckets:?}");
        let counts: Vec<u64> = buckets.iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [2, 3, 3, 3, 3, 3, 3, 3, 4]);
        assert_eq!(metrics.value("stoa_worker_estimate_bits_per_second_sum", None), 200_231_000);
    }

    #[test]
    fn the_labels_of_the_lag_histogram_are_its_bounds() {
        let metrics = Metrics::default();
        let mut labels = Vec::new();
        metrics.for_each(|name, label, _| {
            if name == "stoa_worker_lag_microseconds_bucket" {
                labels.push(label[0].1.to_owned());
            }
        });
        let bounds: Vec<String> = LAG_BOUNDS.iter().map(u64::to_string).chain(["+Inf".to_owned()]).collect();
        assert_eq!(labels, bounds);
    }
}
