//! AgentDispatchService: agents that are ordered into one room.

use axum::response::Response;
use base::RoomName;
use contract::session::{AdminRequest, RoomOptions};
use livekit_protocol as proto;

use super::{Call, Error};
use crate::{ids, jobs};

impl Call<'_> {
    pub(super) async fn dispatch_of_agents(&self, method: &str) -> Result<Response, Error> {
        match method {
            "CreateDispatch" => self.reply(&self.create_dispatch(self.read()?).await?),
            "DeleteDispatch" => self.reply(&self.delete_dispatch(self.read()?).await?),
            "ListDispatch" => self.reply(&self.list_dispatch(self.read()?).await?),
            other => Err(Error::new("bad_route", 404, format!("AgentDispatchService has no method {other}"))),
        }
    }

    /// The room is made if it is not there: the agent may be the first in it.
    async fn create_dispatch(
        &self,
        request: proto::CreateAgentDispatchRequest,
    ) -> Result<proto::AgentDispatch, Error> {
        let room = self.ordered_room(&request.room)?;
        let order = jobs::order(proto::RoomAgentDispatch {
            agent_name: request.agent_name,
            metadata: request.metadata,
            restart_policy: request.restart_policy,
            deployment: request.deployment,
            attributes: request.attributes,
        })
        .map_err(|bad| Error::invalid(bad.to_string()))?;
        let agents = self.agents()?;
        self.find_or_make(&room).await?;
        let made = agents.dispatch(room, order).await.map_err(|_| stopped())?;
        let full =
            |_| Error::new("resource_exhausted", 429, "the room has as many dispatches as it may have");
        Ok(jobs::ordered(&made.map_err(full)?))
    }

    async fn delete_dispatch(
        &self,
        request: proto::DeleteAgentDispatchRequest,
    ) -> Result<proto::AgentDispatch, Error> {
        let room = self.ordered_room(&request.room)?;
        let gone = match ids::parse_dispatch(&request.dispatch_id) {
            Some(id) => self.agents()?.withdraw(room, id).await.map_err(|_| stopped())?,
            None => None,
        };
        gone.as_ref().map(jobs::ordered).ok_or_else(|| Error::not_found("the dispatch"))
    }

    /// An id that is none of a dispatch names nothing.
    async fn list_dispatch(
        &self,
        request: proto::ListAgentDispatchRequest,
    ) -> Result<proto::ListAgentDispatchResponse, Error> {
        let room = self.ordered_room(&request.room)?;
        let only = ids::parse_dispatch(&request.dispatch_id);
        let all = match (request.dispatch_id.is_empty(), only) {
            (false, None) => Vec::new(),
            (_, only) => self.agents()?.list(room, only).await.map_err(|_| stopped())?,
        };
        Ok(proto::ListAgentDispatchResponse { agent_dispatches: all.iter().map(jobs::ordered).collect() })
    }

    /// The room, if the token is for it.
    fn ordered_room(&self, room: &str) -> Result<RoomName, Error> {
        let name = self.administered(room)?;
        if room.is_empty() { Err(Error::invalid("no room name")) } else { Ok(name) }
    }

    fn agents(&self) -> Result<&jobs::Handle, Error> {
        self.state.jobs.as_ref().ok_or_else(|| Error::unimplemented("this server serves no agents"))
    }

    async fn find_or_make(&self, room: &RoomName) -> Result<(), Error> {
        if self.creates() {
            let (room, options) = (room.clone(), RoomOptions::default());
            self.demand(|reply| AdminRequest::CreateRoom { room, options, reply }).await?;
            return Ok(());
        }
        let names = vec![room.clone()];
        let found = self.ask(|reply| AdminRequest::ListRooms { names, reply }).await?;
        if found.is_empty() { Err(Error::not_found("the requested room")) } else { Ok(()) }
    }
}

fn stopped() -> Error {
    Error::new("unavailable", 503, "the server is stopping")
}
