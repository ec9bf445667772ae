//! What the fuzz target of `/agent` runs.

use std::time::{Duration, Instant};

use agents::{Agents, Decision, Now};
use axum::extract::ws::Message as Frame;
use base::agents::Dispatch;
use base::events::{EventId, Happening, RoomEvent};
use base::model::RoomInfo;
use base::{RoomId, RoomName, UnixMillis};
use livekit_protocol::worker_message::Message as Heard;

use super::{Said, translate};

const START: UnixMillis = UnixMillis(1_760_000_000_123);
/// Jobs that are offered, assigned and ended for one message; far more than one room gives rise to.
const MAX_DECISIONS: usize = 4_096;

/// A worker's frames, one after the other, in a server with one room to which agents of two names were ordered. Ids are counted from
/// 1, so that messages can name jobs. Ends where a worker would lose its connection.
pub(crate) fn frames(now: Instant, frames: impl Iterator<Item = Frame>) {
    let mut now = Now { at: now, wall: START };
    let mut made = 0;
    let mut agents = Agents::new(Box::new(move || {
        made += 1;
        made
    }));
    agents.happened(now, &room_with_orders());
    let mut worker = None;
    for frame in frames {
        let Some(message) = translate::read(&frame) else { return };
        match (message.message, worker) {
            (Some(Heard::Register(request)), None) => {
                let Ok(registration) = translate::registration(&request, "key".to_owned()) else { return };
                worker = agents.register(now, registration).ok();
            }
            (Some(message), Some(id)) => match translate::said(message) {
                Ok(Some(Said::Answer(job, answer))) => agents.answer(now, id, job, answer),
                Ok(Some(Said::Report(load, available))) => agents.report(now, id, load, available),
                Ok(Some(Said::Update(job, status, error))) => agents.update(now, id, job, status, error),
                Ok(Some(Said::Resume(jobs))) => agents.resume(now, id, &jobs),
                Ok(None) => {}
                Err(_) => return,
            },
            (_, None) => return,
            (None, Some(_)) => {}
        }
        drain(&mut agents);
        now.at += Duration::from_secs(2);
        agents.handle_timeout(now);
        drain(&mut agents);
    }
    assert!(agents.workers() <= 1);
}

fn room_with_orders() -> RoomEvent {
    let order = |agent: &str| Dispatch { agent: agent.to_owned(), ..Dispatch::default() };
    let room = RoomInfo {
        id: RoomId(7),
        name: RoomName::new("room"),
        metadata: String::new(),
        empty_timeout_s: 300,
        departure_timeout_s: 20,
        max_participants: 0,
        created_at: START,
        participants: 0,
        publishers: 0,
        recording: false,
    };
    let what = Happening::RoomStarted { agents: ["", "named"].map(order).to_vec() };
    RoomEvent { id: EventId { source: 7, number: 1 }, at: START, room, what }
}

fn drain(agents: &mut Agents) {
    for _ in 0..MAX_DECISIONS {
        match agents.poll_decision() {
            Some(Decision::Ask { job, .. }) => drop(translate::job(&job)),
            Some(_) => {}
            None => return,
        }
    }
    panic!("no end of decisions");
}
