//! The state of a room as JSON, for people who look for a fault.

use std::time::Duration;

use base::model::{Participant, Track};
use contract::media::Command;
use serde_json::{Value, json};

use crate::door::answer;
use crate::room_task::RoomTask;
use crate::seat::Seat;

/// A worker that does not answer within this time is left out.
const WORKER_WAIT: Duration = Duration::from_secs(1);

impl RoomTask {
    /// Answers with control's and the worker's view. Does not hold the room up.
    pub(crate) fn snapshot(&self, reply: async_channel::Sender<Option<String>>) {
        let control = self.describe();
        let (room, worker) = (self.room.info().id, self.worker.handle.clone());
        tokio::spawn(async move {
            let (told, tells) = async_channel::bounded(1);
            let asked = worker.try_send(Command::Snapshot { room, reply: told });
            let media = match tokio::time::timeout(WORKER_WAIT, tells.recv()).await {
                Ok(Ok(text)) if asked => serde_json::from_str(&text).unwrap_or(Value::String(text)),
                _ => Value::Null,
            };
            let text = json!({ "control": control, "media": media }).to_string();
            answer(&reply, Some(text));
        });
    }

    fn describe(&self) -> Value {
        let info = self.room.info();
        let participants = self.room.participants().map(|participant| self.describe_participant(participant));
        json!({
            "id": info.id.to_string(),
            "name": info.name.as_str(),
            "metadata_bytes": info.metadata.len(),
            "created_at_ms": info.created_at.0,
            "recording": info.recording,
            "worker": self.worker.handle.info.index,
            "participants": participants.collect::<Vec<_>>(),
        })
    }

    fn describe_participant(&self, participant: &Participant) -> Value {
        let receives = self.room.subscriptions(participant.id).map(|track| track.to_string());
        json!({
            "id": participant.id.to_string(),
            "identity": participant.identity.as_str(),
            "state": format!("{:?}", participant.state),
            "kind": format!("{:?}", participant.kind),
            "permissions": format!("{:?}", participant.permissions),
            "version": participant.version,
            "joined_at_ms": participant.joined_at.0,
            "publishes": participant.tracks.iter().map(describe_track).collect::<Vec<_>>(),
            "receives": receives.collect::<Vec<_>>(),
            "connections": self.seats.get(&participant.id).map(describe_connections),
        })
    }
}

fn describe_track(track: &Track) -> Value {
    json!({
        "id": track.id.to_string(),
        "kind": format!("{:?}", track.kind),
        "source": format!("{:?}", track.source),
        "codec": track.codec.mime(),
        "mid": track.mid.map(|mid| mid.to_string()),
        "muted": track.muted,
        "simulcast": track.simulcast,
        "width": track.width,
        "height": track.height,
    })
}

fn describe_connections(seat: &Seat) -> Value {
    let each = seat.peers.iter().map(|(id, peer)| {
        json!({
            "id": id.to_string(),
            "primary": seat.primary == Some(*id),
            "reliable_channel_open": peer.reliable_open,
            "quality": peer.quality.map(|quality| format!("{quality:?}")),
            "receive_sections": peer.granted.receive.len(),
            "send_sections": peer.granted.send.len(),
        })
    });
    each.collect()
}
