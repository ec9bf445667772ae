//! Remote procedure calls of the server API that wait for a participant's answer.

use std::collections::BTreeMap;

use base::ParticipantId;
use contract::session::{Reply, RpcFailure};

use crate::door::answer;

/// Calls that wait in one room. Each has a caller with an open request of its own; more are refused.
const MAX_WAITING: usize = 1_000;

#[derive(Default)]
pub(crate) struct Rpcs {
    waiting: BTreeMap<(ParticipantId, String), Reply<Result<String, RpcFailure>>>,
}

impl Rpcs {
    /// A call begins. `false`: too many wait already.
    pub fn begin(
        &mut self,
        callee: ParticipantId,
        id: String,
        reply: Reply<Result<String, RpcFailure>>,
    ) -> bool {
        if self.waiting.len() >= MAX_WAITING {
            // Callers that have given up.
            self.waiting.retain(|_, reply| !reply.is_closed());
        }
        let has_room = self.waiting.len() < MAX_WAITING;
        if has_room {
            self.waiting.insert((callee, id), reply);
        }
        has_room
    }

    /// A participant answers one that it was asked; anything else is nothing to anybody.
    pub fn answered(&mut self, callee: ParticipantId, id: String, outcome: Result<String, RpcFailure>) {
        if let Some(reply) = self.waiting.remove(&(callee, id)) {
            answer(&reply, outcome);
        }
    }

    /// A participant is gone, and answers nothing any more.
    pub fn left(&mut self, callee: ParticipantId) {
        self.waiting.retain(|(of, _), reply| {
            if *of == callee {
                answer(reply, Err(RpcFailure::Left));
            }
            *of != callee
        });
    }
}
