//! What is read: history, members, marks.

use std::sync::Arc;

use base::ChannelId;
use messaging::command::{Answer, Ask};
use messaging::place::{Cursor, EventId, Mark, Place};
use wire::messaging::{self as protocol, Command, Error, ErrorCode, Marked, Okay};

use super::{Asker, ask, bad_cursor, channel, event, may_read, refusal, unimplemented};
use crate::app::App;
use crate::translate;

/// Answers a command that changes nothing in a channel but one's marks.
pub(super) async fn answer(app: Arc<App>, asker: Asker, command: Command) -> Result<Okay, Error> {
    match command {
        Command::Read(read) => self::read(&app, &asker, &read).await,
        other => Err(unimplemented(other.name())),
    }
}

async fn read(app: &Arc<App>, asker: &Asker, read: &protocol::Read) -> Result<Okay, Error> {
    let channel = channel(&read.channel)?;
    may_read(asker, &channel)?;
    let open = |text: &String| app.sealer.open_cursor(&channel, text).ok_or_else(bad_cursor);
    let delivered = read.delivered.as_ref().map(open).transpose()?.unwrap_or_default();
    let mut cursor = match (&read.cursor, &read.upto) {
        (Some(text), _) => open(text)?,
        // What the connection was sent, up to there.
        (None, Some(_)) => Cursor { at: asker.delivered.clone(), ..Cursor::default() },
        (None, None) => Cursor::default(),
    };
    if let Some(upto) = &read.upto {
        cut(app, &channel, &mut cursor, event(upto)?).await?;
    }
    match ask(app, asker, channel, Ask::Read { read: cursor, delivered }).await? {
        Answer::Marked(mark) => Ok(Okay::Marked(Marked {
            read: translate::positions(&mark.read),
            delivered: translate::positions(&mark.delivered),
        })),
        _ => Ok(Okay::Marked(Marked::default())),
    }
}

/// Of what a cursor covers, what is at or before an event of the same log. In one region the order of the log is the displayed one.
async fn cut(app: &App, channel: &ChannelId, cursor: &mut Cursor, upto: EventId) -> Result<(), Error> {
    let Some(covered) = cursor.at.get(upto.region).filter(|mark| mark.place > upto.place) else {
        return Ok(());
    };
    let before = Place { n: upto.place.n.saturating_sub(1), ..upto.place };
    let mut from = Cursor::default();
    from.at.set(upto.region, Mark { place: before, count: 0 });
    let found = app.handle.events(channel, &from, 1).await.map_err(|error| refusal(&error))?;
    let found = found.first().filter(|event| event.id == upto);
    let event =
        found.ok_or_else(|| Error::last(ErrorCode::NoTarget, "upto names no event of this channel"))?;
    cursor.at.set(upto.region, Mark { place: upto.place, count: event.count.min(covered.count) });
    Ok(())
}
