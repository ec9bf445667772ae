//! Streams of channels: how they begin, go on after a gap, and end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base::ChannelId;
use channels::Look;
use messaging::command::{Code, Refusal};
use messaging::place::{Cursor, Mark, Region, Vector};
use messaging::session::View;
use wire::messaging::{self as protocol, Error, ErrorCode, From, Okay, Subscribed};

use crate::app::App;
use crate::connection::work::Outcome;
use crate::connection::{BACKLOG, Connection, Who};
use crate::encode::Cache;
use crate::{commands, translate};

/// Events that are fetched at a time for a stream that is behind.
const PAGE: usize = 100;

/// How long a stream that is behind waits for its socket before it looks again.
const DRAIN: Duration = Duration::from_millis(20);

/// Rounds without the socket taking anything after which it is given up: half a minute.
const ROUNDS: u32 = 1_500;

/// Messages before the head at which a stream begins where nothing is said.
pub(crate) const LAST: u32 = 30;

/// `subscribe`.
pub(crate) async fn subscribe(connection: Arc<Connection>, id: u64, ask: protocol::Subscribe) -> Outcome {
    let from = ask.from.unwrap_or(From::Last(LAST));
    match begin(&connection, &ask.channel, &from, ask.open.unwrap_or(true), Some(id)).await {
        Ok(_) => Outcome::Answered,
        Err(error) => Outcome::Answer(Box::new(Err(error))),
    }
}

/// Begins a stream. With `answer` the request of that number is answered before anything of the stream is told.
pub(crate) async fn begin(
    connection: &Arc<Connection>,
    name: &str,
    from: &From,
    open: bool,
    answer: Option<u64>,
) -> Result<Subscribed, Error> {
    let who = connection.who().ok_or_else(commands::gone)?;
    let app = Arc::clone(&connection.app);
    let channel = commands::channel(name)?;
    commands::may_subscribe(&who, &channel)?;
    let cursor = match from {
        From::Cursor(text) => Some(app.sealer.open_cursor(&channel, text).ok_or_else(commands::bad_cursor)?),
        From::Head | From::Last(_) => None,
    };
    // First it is heard of, then looked at: what happens in between is fetched, and known by its id where it comes twice.
    connection.shard.join(&channel, connection);
    let _joined = Joined { connection, channel: &channel };
    start(connection, &who, &channel, from, cursor, open, answer).await
}

/// A connection that hears of a channel, and no more when no stream came of it: also where its task ends meanwhile.
struct Joined<'a> {
    connection: &'a Arc<Connection>,
    channel: &'a ChannelId,
}

impl Drop for Joined<'_> {
    fn drop(&mut self) {
        if !self.connection.has_stream(self.channel) {
            self.connection.shard.part(self.channel, self.connection.id);
        }
    }
}

async fn start(
    connection: &Arc<Connection>,
    who: &Who,
    channel: &ChannelId,
    from: &From,
    cursor: Option<Cursor>,
    open: bool,
    answer: Option<u64>,
) -> Result<Subscribed, Error> {
    let app = &connection.app;
    let look = look(app, who, channel).await?;
    let at = match (cursor, from) {
        (Some(cursor), _) => checked(&look, cursor)?,
        (None, From::Last(count)) if open => last(app, channel, &look, *count).await?,
        _ => look.head.clone(),
    };
    connection.shard.looked(channel, &look);
    let subscribed = {
        let mut state = connection.lock();
        let Some(session) = state.live() else { return Err(commands::gone()) };
        let view =
            View { lineage: &look.lineage, floor: &look.floor, head: &look.head, members: look.members };
        let cursor = session.subscribe(channel, &at, open, view).ok_or_else(too_many)?;
        let cursor = app.sealer.cursor(channel, &cursor);
        let subscribed = Subscribed { cursor, csn: look.csn, state: translate::state(&look) };
        if let Some(id) = answer {
            connection.answer_in(&mut state, id, &Ok(Okay::Subscribed(Box::new(subscribed.clone()))));
        }
        connection.pump(&mut state, look.members, &mut Cache::default());
        subscribed
    };
    if open {
        connection.shard.catch_up(connection, channel);
    }
    Ok(subscribed)
}

fn too_many() -> Error {
    Error::last(
        ErrorCode::TooMany,
        "a connection has no more channels than limits.channels: unsubscribe from others",
    )
}

/// The channel as this person sees it; an owner that is not ready yet is waited for a little.
async fn look(app: &App, who: &Who, channel: &ChannelId) -> Result<Look, Error> {
    let mut tries = 0;
    loop {
        match app.handle.look(channel, Some(&who.user), Some(&who.device)).await {
            Err(Refusal { code: Code::Busy, .. }) if tries < 20 => {
                tries += 1;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            looked => return looked.map_err(|refusal| translate::error(&refusal)),
        }
    }
}

/// A cursor that is sealed was true once. One beyond the end of the log is of a log that was lost without a new epoch: it is never resumed.
fn checked(look: &Look, cursor: Cursor) -> Result<Cursor, Error> {
    let beyond =
        |(region, mark): (Region, Mark)| look.head.at.place(region).is_none_or(|head| mark.place > head);
    if cursor.at.iter().any(beyond) {
        let reason = "the cursor is ahead of the channel's log: subscribe anew";
        return Err(Error::last(ErrorCode::BeyondHead, reason));
    }
    Ok(cursor)
}

/// Where so many messages are left before the head.
async fn last(app: &App, channel: &ChannelId, look: &Look, count: u32) -> Result<Cursor, Error> {
    if count == 0 {
        return Ok(look.head.clone());
    }
    app.handle.last(channel, &look.floor, count as usize).await.map_err(|refusal| translate::error(&refusal))
}

/// Reads what a stream has not had, until it stands at the end of the log. What a slow socket does not take is waited for.
pub(crate) async fn catch_up(connection: Arc<Connection>, channel: ChannelId) {
    let mut cache = Cache::default();
    let (mut rounds, mut before) = (0, None);
    loop {
        if connection.backlog() > BACKLOG / 4 {
            rounds += 1;
            if rounds > ROUNDS {
                return connection.close(crate::connection::Close::Slow);
            }
            tokio::time::sleep(DRAIN).await;
            continue;
        }
        rounds = 0;
        let Some(at) = connection.stands_at(&channel) else { return };
        if before.as_ref() == Some(&at) {
            // What comes next waits for another channel.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        before = Some(at.clone());
        let cursor = Cursor { at, ..Cursor::default() };
        let Ok(events) = connection.app.handle.events(&channel, &cursor, PAGE).await else {
            tokio::time::sleep(Duration::from_millis(200)).await;
            continue;
        };
        let whole = events.len() < PAGE;
        let (lineage, members) = (connection.shard.lineage(&channel), connection.shard.members(&channel));
        for event in events {
            // A page may be more than the socket takes: what does not fit is read again.
            if connection.backlog() > BACKLOG / 2 {
                break;
            }
            connection.offer(Instant::now(), &lineage, &event, members, &mut cache);
        }
        if whole && connection.backlog() <= BACKLOG / 2 {
            return;
        }
    }
}

/// `unsubscribe`.
pub(crate) fn unsubscribe(connection: &Arc<Connection>, name: &str) -> Result<Okay, Error> {
    let channel = commands::channel(name)?;
    let lineage = connection.shard.lineage(&channel);
    if let Some(session) = connection.lock().live() {
        session.unsubscribe(Instant::now(), &lineage, &channel);
    }
    connection.shard.part(&channel, connection.id);
    Ok(Okay::done())
}

impl Connection {
    /// Bytes that wait, of the socket and of the session.
    fn backlog(&self) -> usize {
        let mut state = self.lock();
        state.live().map_or(0, |session| session.backlog())
    }

    /// What a stream was delivered; `None`: there is none.
    pub(crate) fn stands_at(&self, channel: &ChannelId) -> Option<Vector> {
        self.lock().live()?.delivered(channel).cloned()
    }

    pub(crate) fn has_stream(&self, channel: &ChannelId) -> bool {
        self.stands_at(channel).is_some()
    }
}
