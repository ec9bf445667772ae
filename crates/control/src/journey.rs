//! The stages of one participant's join, told in one log line and in the counters.

use std::time::{Duration, Instant};

use base::model::LeaveReason;
use base::{Identity, ParticipantId, RoomName};
use contract::media::SetupTimes;

use crate::metrics::{Metrics, count};

/// A participant that publishes nothing sends no media: its join is told this long after its connection is up.
pub(crate) const FIRST_MEDIA_WAIT: Duration = Duration::from_secs(5);

/// How far a join has come.
pub(crate) struct Journey {
    room: RoomName,
    participant: ParticipantId,
    identity: Identity,
    client: String,
    started: Instant,
    /// From the call to the answer.
    admission: Duration,
    times: SetupTimes,
    connected: bool,
    told: bool,
}

impl Journey {
    /// Called at `started`, admitted `now`.
    pub fn new(
        room: RoomName,
        participant: ParticipantId,
        identity: Identity,
        client: String,
        started: Instant,
        now: Instant,
    ) -> Self {
        let admission = now.saturating_duration_since(started);
        let times = SetupTimes::default();
        let (connected, told) = (false, false);
        Self { room, participant, identity, client, started, admission, times, connected, told }
    }

    /// Was the primary connection ever up?
    pub fn connected(&self) -> bool {
        self.connected
    }

    /// The primary connection got this far, whatever came of it.
    pub fn reached(&mut self, times: SetupTimes) {
        self.times.ice = self.times.ice.or(times.ice);
        self.times.dtls = self.times.dtls.or(times.dtls);
        self.times.first_media = self.times.first_media.or(times.first_media);
    }

    /// The primary connection is up.
    pub fn connect(&mut self, metrics: &Metrics) {
        if !std::mem::replace(&mut self.connected, true) {
            count(&metrics.ice_ok);
            count(&metrics.dtls_ok);
        }
    }

    /// The first media of any connection arrived.
    pub fn first_media(&mut self, times: SetupTimes, metrics: &Metrics) {
        if self.times.first_media.is_none() {
            self.times.first_media = times.first_media;
            count(&metrics.media_ok);
        }
        if self.connected {
            self.tell(None);
        }
    }

    /// It is up and has sent nothing for [`FIRST_MEDIA_WAIT`].
    pub fn settled(&mut self) {
        if self.connected {
            self.tell(None);
        }
    }

    /// The participant is gone.
    pub fn end(&mut self, now: Instant, reason: LeaveReason, metrics: &Metrics) {
        if self.connected {
            return self.tell(None);
        }
        let gave_up = matches!(
            reason,
            LeaveReason::ClientInitiated | LeaveReason::SignalClosed | LeaveReason::DuplicateIdentity
        );
        match (self.times.ice, gave_up) {
            (Some(_), _) => {
                count(&metrics.ice_ok);
                count(&metrics.dtls_failed);
            }
            (None, true) => count(&metrics.ice_abandoned),
            (None, false) => count(&metrics.ice_failed),
        }
        self.tell(Some((reason, now)));
    }

    fn tell(&mut self, failure: Option<(LeaveReason, Instant)>) {
        if std::mem::replace(&mut self.told, true) {
            return;
        }
        let ms = |time: Duration| time.as_micros() as f64 / 1_000.0;
        let (admission_ms, ice_ms) = (ms(self.admission), self.times.ice.map(ms));
        let (dtls_ms, first_media_ms) = (self.times.dtls.map(ms), self.times.first_media.map(ms));
        // As texts, which are written in quotes: a name with a line end in it must not write a line of its own.
        let (room, identity) = (self.room.as_str(), self.identity.as_str());
        let (participant, client) = (self.participant, self.client.as_str());
        match failure {
            None => tracing::info!(
                room, %participant, identity, client, admission_ms, ice_ms, dtls_ms, first_media_ms, "joined"
            ),
            Some((reason, at)) => tracing::info!(
                room, %participant, identity, client, admission_ms, ice_ms, dtls_ms, first_media_ms,
                ?reason, after_ms = ms(at.saturating_duration_since(self.started)), "join failed"
            ),
        }
    }
}
