//! Calls, and who types.

use std::sync::Arc;

use base::{CallId, DeviceId, UserId};
use channels::calls::{CallAsk, CallStep, CallTold, CallView};
use messaging::ring::Callee;
use wire::messaging::{self as protocol, Command, Error, Okay, RingStage};

use super::channel::escaped;
use super::{Asker, channel, malformed, may_write, named, refusal, unimplemented, user};
use crate::app::App;

/// Answers a command about a call.
pub(super) async fn answer(app: Arc<App>, asker: Asker, command: Command) -> Result<Okay, Error> {
    let (of, call, step) = match command {
        Command::CallInvite(ask) => {
            let users = ask.users.map(|users| users.iter().map(|name| user(name)).collect()).transpose()?;
            let media = ask.media.as_deref().map(|media| named(media, "media").map(Arc::from)).transpose()?;
            (ask.channel, ask.call, CallStep::Invite { users, media })
        }
        Command::CallAccept(ask) => (ask.channel, ask.call, CallStep::Accept),
        Command::CallDecline(ask) => (ask.channel, ask.call, CallStep::Decline),
        Command::CallCancel(ask) => (ask.channel, ask.call, CallStep::Cancel),
        Command::CallEnd(ask) => (ask.channel, ask.call, CallStep::End),
        other => return Err(unimplemented(other.name())),
    };
    let (channel, call) = (channel(&of)?, CallId::new(named(&call, "call")?));
    may_write(&asker, &channel)?;
    let who = asker.user.ok_or_else(|| malformed("a server calls nobody: say as_user".to_owned()))?;
    let asked = CallAsk { channel, call, user: who.clone(), device: asker.device, step };
    let view = app.handle.call(asked).await.map_err(|error| refusal(&error))?;
    let mut call = stands(&view);
    let_in(&app, &mut call, &who, may_enter(&view, &who));
    Ok(Okay::Call(Box::new(protocol::CallState { call })))
}

/// One is typing, or is not.
pub(super) fn typing(app: &App, asker: &Asker, ask: &protocol::Typing) -> Result<Okay, Error> {
    let channel = channel(&ask.channel)?;
    may_write(asker, &channel)?;
    let who = asker.user.as_ref().ok_or_else(|| malformed("a server does not type: say as_user"))?;
    app.handle.typing(&channel, who, ask.on.unwrap_or(true));
    Ok(Okay::done())
}

/// Calls that ring for somebody, or run with them.
pub(crate) fn own(app: &App, user: &UserId) -> Vec<protocol::CallPush> {
    let stands = |view: &Arc<CallView>| {
        let mut call = stands(view);
        let_in(app, &mut call, user, may_enter(view, user));
        call
    };
    app.handle.calls_of(user).iter().map(stands).collect()
}

/// The room of a call. No other room has such a name: whoever mints the id of a call opens no door with it.
fn room(channel: &str, call: &str) -> String {
    format!("call:{}:{}", escaped(channel), escaped(call))
}

/// Who calls may wait in the room for the others. Who is rung, and has not answered, knocks at no door.
fn may_enter(view: &CallView, user: &UserId) -> bool {
    let answered =
        |(who, callee): &(UserId, Callee)| who == user && matches!(callee, Callee::Answered { .. });
    view.caller == *user || view.people.iter().any(answered)
}

/// Names the room of a call that goes on, with what lets this person in who may enter.
pub(crate) fn let_in(app: &App, call: &mut protocol::CallPush, user: &UserId, may_enter: bool) {
    let goes_on = matches!(call.stage, RingStage::Ringing | RingStage::Accepted);
    if let Some(rooms) = app.rooms.as_ref().filter(|_| goes_on) {
        let room = room(&call.channel, &call.call);
        call.token = may_enter.then(|| rooms.token(user.as_str(), &room));
        call.room = Some(room);
    }
}

/// How a call stands, for who asked or connects.
pub(crate) fn stands(view: &CallView) -> protocol::CallPush {
    let stage = match (view.is_over, view.is_running) {
        (true, _) => RingStage::Ended,
        (false, true) => RingStage::Accepted,
        (false, false) => RingStage::Ringing,
    };
    let media = view.media.as_deref().map(str::to_owned);
    let (channel, call) = (view.channel.as_str().to_owned(), view.call.as_str().to_owned());
    protocol::CallPush { media, ..push(channel, call, view.caller.as_str().to_owned(), stage) }
}

/// What somebody's devices hear of a call.
pub(crate) fn told(channel: &str, call: &str, from: &str, what: &CallTold) -> protocol::CallPush {
    let name = |device: &DeviceId| device.as_str().to_owned();
    let of = |stage| push(channel.to_owned(), call.to_owned(), from.to_owned(), stage);
    match what {
        CallTold::Ringing { media } => {
            protocol::CallPush { media: media.as_deref().map(str::to_owned), ..of(RingStage::Ringing) }
        }
        CallTold::Stopped { but } => {
            protocol::CallPush { device: but.as_ref().map(name), ..of(RingStage::Stopped) }
        }
        CallTold::Stands { user, callee } => {
            let (stage, device) = match callee {
                Callee::Ringing => (RingStage::Ringing, None),
                Callee::Answered { device } => (RingStage::Accepted, Some(name(device))),
                Callee::Declined => (RingStage::Declined, None),
                Callee::Busy => (RingStage::Busy, None),
                Callee::Missed => (RingStage::Missed, None),
            };
            protocol::CallPush { user: Some(user.as_str().to_owned()), device, ..of(stage) }
        }
        CallTold::Ended => of(RingStage::Ended),
    }
}

fn push(channel: String, call: String, from: String, stage: RingStage) -> protocol::CallPush {
    let (user, device, room, token, media) = (None, None, None, None, None);
    protocol::CallPush { channel, call, from, stage, user, device, room, token, media }
}
