//! Identifiers as LiveKit's clients know them: a prefix over the text form of our ids.

use base::{AgentWorkerId, DispatchId, JobId, NodeId, ParticipantId, RoomId, TrackId};

/// `PA_…`
pub(crate) fn participant(id: ParticipantId) -> String {
    format!("PA_{id}")
}

/// `RM_…`
pub(crate) fn room(id: RoomId) -> String {
    format!("RM_{id}")
}

/// `ND_…`
pub(crate) fn node(id: NodeId) -> String {
    format!("ND_{id}")
}

/// `AW_…`
pub(crate) fn agent_worker(id: AgentWorkerId) -> String {
    format!("AW_{id}")
}

/// `AD_…`
pub(crate) fn dispatch(id: DispatchId) -> String {
    format!("AD_{id}")
}

/// The inverse of [`dispatch`].
pub(crate) fn parse_dispatch(text: &str) -> Option<DispatchId> {
    text.strip_prefix("AD_")?.parse().ok()
}

/// `AJ_…`
pub(crate) fn job(id: JobId) -> String {
    format!("AJ_{id}")
}

/// The inverse of [`job`].
pub(crate) fn parse_job(text: &str) -> Option<JobId> {
    text.strip_prefix("AJ_")?.parse().ok()
}

/// `TR_…`. Clients look at the prefix alone.
pub(crate) fn track(id: TrackId) -> String {
    format!("TR_{id}")
}

/// `DTR_…`, of a data track.
pub(crate) fn data_track(id: TrackId) -> String {
    format!("DTR_{id}")
}

/// The inverse of [`data_track`].
pub(crate) fn parse_data_track(text: &str) -> Option<TrackId> {
    text.strip_prefix("DTR_")?.parse().ok()
}

/// The inverse of [`participant`].
pub(crate) fn parse_participant(text: &str) -> Option<ParticipantId> {
    text.strip_prefix("PA_")?.parse().ok()
}

/// The inverse of [`track`].
pub(crate) fn parse_track(text: &str) -> Option<TrackId> {
    text.strip_prefix("TR_")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_their_prefix_and_others_are_refused() {
        assert_eq!(parse_track(&track(TrackId(u64::MAX))), Some(TrackId(u64::MAX)));
        assert_eq!(parse_participant(&participant(ParticipantId(7))), Some(ParticipantId(7)));
        for text in ["", "TR_", "TR_VC", "PA_000000000000", "TR_é00000000000"] {
            assert_eq!(parse_track(text), None, "{text}");
        }
    }
}
