//! Scenarios that client SDKs ask for in their own tests.

use std::time::{Duration, Instant};

use base::model::LeaveReason;
use livekit_protocol as proto;
use livekit_protocol::leave_request::Action;
use livekit_protocol::simulate_scenario::Scenario;

use crate::metrics::count;

use super::{End, Session, SimulatedSpeech, action};

/// Longest simulated speech.
const MAX_SPEECH: Duration = Duration::from_secs(60);

/// The next resume is to fail at the socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum FailingResume {
    /// Before anything is said.
    Silent,
    /// When all is said.
    Told,
}

impl Session {
    pub(super) fn simulate(&mut self, simulate: &proto::SimulateScenario, now: Instant) {
        match &simulate.scenario {
            Some(Scenario::SpeakerUpdate(seconds)) => {
                let time = Duration::from_secs(u64::try_from(*seconds).unwrap_or_default()).min(MAX_SPEECH);
                self.speech = Some(SimulatedSpeech { until: now + time });
                self.tell_own_speech(true);
            }
            Some(Scenario::ServerLeave(_)) => {
                let reason = LeaveReason::ServerShutdown;
                let leave = self.leave(reason, Action::Disconnect);
                self.finish(End { leave: Some(leave), reason: Some(reason) });
            }
            Some(Scenario::LeaveRequestFullReconnect(_)) => {
                let reason = LeaveReason::StateMismatch;
                self.part(reason, action(reason), now);
            }
            Some(Scenario::Migration(_)) => self.migrate(now),
            // Neither a word nor a session to come back to.
            Some(Scenario::NodeFailure(_)) => {
                self.finish(End { leave: None, reason: Some(LeaveReason::SignalClosed) });
            }
            // There is no other protocol to switch to, but a restart. On one connection the client does it by itself.
            Some(Scenario::SwitchCandidateProtocol(_)) if self.subscriber.is_some() => self.restart_ice(now),
            Some(Scenario::DisconnectSignalOnResume(true)) => {
                self.failing_resume = Some(FailingResume::Told);
            }
            Some(Scenario::DisconnectSignalOnResumeNoMessages(true)) => {
                self.failing_resume = Some(FailingResume::Silent);
            }
            _ => count(&self.metrics().requests_ignored),
        }
    }
}
