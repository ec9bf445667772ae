//! The state of a room as JSON, for people who look for a fault.

use std::time::Duration;

use base::model::{Participant, Track};
use base::{RoomId, RoomName};
use contract::media::{Command, WorkerHandle};
use serde_json::{Value, json};

use crate::door::answer;
use crate::room_task::RoomTask;
use crate::seat::Seat;

/// A worker that does not answer within this time is left out.
const WORKER_WAIT: Duration = Duration::from_secs(1);

impl RoomTask {
    /// Answers with control's view and those of its workers. Does not hold the room up.
    pub(crate) fn snapshot(&self, reply: async_channel::Sender<Option<String>>) {
        let control = self.describe();
        let room = self.room.info().id;
        let workers: Vec<_> = self.placement.workers().map(|worker| worker.handle.clone()).collect();
        tokio::spawn(async move {
            let asked: Vec<_> = workers.iter().map(|worker| (worker.info.index, ask(worker, room))).collect();
            let mut media = Vec::new();
            let until = tokio::time::Instant::now() + WORKER_WAIT;
            for (index, answer) in asked {
                let state = match tokio::time::timeout_at(until, answer.recv()).await {
                    Ok(Ok(text)) => serde_json::from_str(&text).unwrap_or(Value::String(text)),
                    _ => Value::Null,
                };
                media.push(json!({ "worker": index, "state": state }));
            }
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
            "begun_on_worker": self.placement.home().index(),
            "relays": self.relays.iter().map(|(track, from, to)| json!({
                "track": track.to_string(),
                "from": from,
                "to": to,
            })).collect::<Vec<_>>(),
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
            "forwarded_to": self.forwarded_to(participant.id).map(RoomName::as_str).collect::<Vec<_>>(),
            "forwarded_from": self.forwarded_from(participant.id).map(RoomName::as_str),
            "worker": self.seats.get(&participant.id).map(|seat| seat.place.worker.index()),
            "connections": self.seats.get(&participant.id).map(describe_connections),
        })
    }
}

/// Asks a worker. Nothing comes when its queue is full.
fn ask(worker: &WorkerHandle, room: RoomId) -> async_channel::Receiver<String> {
    let (reply, answer) = async_channel::bounded(1);
    worker.try_send(Command::Snapshot { room, reply });
    answer
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
