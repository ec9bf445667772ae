//! Numbered sends, and what is told and kept nowhere.

use std::sync::Arc;

use base::ChannelId;
use messaging::command::{Answer, Ask, Send};
use messaging::event::{Body, Content};
use messaging::place::Vector;
use wire::messaging::{self as protocol, Command, Error, ErrorCode, Okay, SendKind, Sent};

use super::{Answering, Asker, ask, bad_cursor, channel, event, malformed, may_write, named, seen, user};
use crate::app::App;

/// What of a send does not depend on what is sent.
struct Numbered<'a> {
    csn: u64,
    follows: Option<u64>,
    seen: &'a [String],
    after: &'a [(String, String)],
}

/// What is to be asked of the channel's owner.
pub(super) fn prepare(app: &App, asker: &Asker, command: Command) -> Result<(ChannelId, Ask), Error> {
    match command {
        Command::Send(send) => {
            let numbered =
                Numbered { csn: send.csn, follows: send.follows, seen: &send.seen, after: &send.after };
            numbered.ask(app, asker, &send.channel, message(&send)?)
        }
        Command::Edit(edit) => {
            let numbered =
                Numbered { csn: edit.csn, follows: edit.follows, seen: &edit.seen, after: &edit.after };
            let content = Content::Edit { target: event(&edit.event)?, body: body(&edit.body)? };
            numbered.ask(app, asker, &edit.channel, content)
        }
        Command::Delete(delete) => {
            let numbered = Numbered {
                csn: delete.csn,
                follows: delete.follows,
                seen: &delete.seen,
                after: &delete.after,
            };
            numbered.ask(app, asker, &delete.channel, Content::Delete { target: event(&delete.event)? })
        }
        Command::React(react) => {
            let numbered =
                Numbered { csn: react.csn, follows: react.follows, seen: &react.seen, after: &react.after };
            let emoji = named(&react.emoji, "emoji")?.into();
            let content = Content::Reaction { target: event(&react.event)?, emoji, on: react.on };
            numbered.ask(app, asker, &react.channel, content)
        }
        Command::Tell(tell) => {
            let channel = channel(&tell.channel)?;
            may_write(asker, &channel)?;
            let name = named(&tell.name, "ephemeral event")?.into();
            Ok((channel, Ask::Ephemeral { name, body: body(&tell.body)? }))
        }
        other => Err(malformed(format!("{} is no send", other.name()))),
    }
}

fn message(send: &protocol::Send) -> Result<Content, Error> {
    match (send.kind, &send.name) {
        (SendKind::Custom, Some(name)) => {
            Ok(Content::Custom { name: named(name, "custom event")?.into(), body: body(&send.body)? })
        }
        (SendKind::Custom, None) => Err(malformed("a custom event has a name: add it")),
        (SendKind::Message, _) => Ok(Content::Message {
            body: body(&send.body)?,
            reply_to: send.reply_to.as_deref().map(event).transpose()?,
            thread: send.thread.as_deref().map(event).transpose()?,
            mentions: send.mentions.iter().map(|name| user(name)).collect::<Result<_, _>>()?,
            everyone: send.everyone,
        }),
    }
}

fn body(body: &protocol::Body) -> Result<Body, Error> {
    let limit = messaging::limits::Limits::default().body;
    if body.as_str().len() > limit {
        let reason =
            format!("a body has at most {limit} bytes of JSON: put files elsewhere and send where they are");
        return Err(Error::last(ErrorCode::TooLarge, reason));
    }
    Ok(body.as_str().as_bytes().into())
}

impl Numbered<'_> {
    fn ask(self, app: &App, asker: &Asker, name: &str, content: Content) -> Result<(ChannelId, Ask), Error> {
        let channel = channel(name)?;
        may_write(asker, &channel)?;
        if self.csn == 0 {
            return Err(malformed("csn begins at 1"));
        }
        let send = Send {
            csn: self.csn,
            follows: self.follows,
            content,
            seen: seen(app, &channel, self.seen)?,
            delivered: asker.delivered.clone(),
            after: after(app, self.after)?,
            original: None,
        };
        Ok((channel, Ask::Send(Box::new(send))))
    }
}

/// Positions of other channels.
fn after(app: &App, named: &[(String, String)]) -> Result<Vec<(ChannelId, Vector)>, Error> {
    if named.len() > messaging::limits::Limits::default().after {
        return Err(Error::last(ErrorCode::TooLarge, "after has more than limits.after entries"));
    }
    let open = |(name, text): &(String, String)| {
        let channel = channel(name)?;
        let position = app.sealer.open_position(&channel, text).ok_or_else(bad_cursor)?;
        Ok((channel, position))
    };
    named.iter().map(open).collect()
}

/// Hands it to the owner, now; the answer comes when it lasts.
pub(super) fn send(app: &Arc<App>, asker: &Asker, channel: ChannelId, what: Ask) -> Answering {
    let answer = ask(app, asker, channel.clone(), what);
    let app = Arc::clone(app);
    Box::pin(async move {
        Ok(match answer.await? {
            Answer::Sent { event, token } => {
                Okay::Sent(Sent { event: event.to_string(), token: app.sealer.token(&channel, &token) })
            }
            _ => Okay::done(),
        })
    })
}
