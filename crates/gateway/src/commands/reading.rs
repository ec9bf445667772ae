//! What is read: history, lists, searches, marks.

use std::sync::Arc;

use base::{ChannelId, UserId};
use channels::history::Shown;
use channels::lists::{FoundEnd, ListEnd, MemberListed};
use messaging::clock::Hlc;
use messaging::command::{Answer, Ask};
use messaging::history::Anchor;
use messaging::place::Cursor;
use wire::messaging::{self as protocol, Command, Error, ErrorCode, Marked, Okay};

use super::{
    Asker, ask, bad_cursor, channel, event, malformed, may_read, named, refusal, seen, unimplemented, user,
};
use crate::app::App;
use crate::translate;

/// Items of a page where nothing is said.
const PAGE: u32 = 50;
/// People of a page.
const PEOPLE: usize = 100;
/// Channels of a page, and messages that a search brings.
const LISTED: usize = 50;
/// Longest search, in bytes.
const QUERY: usize = 1_024;

/// Answers a command that changes nothing in a channel but one's marks.
pub(super) async fn answer(app: Arc<App>, asker: Asker, command: Command) -> Result<Okay, Error> {
    match command {
        Command::Read(read) => self::read(&app, &asker, &read).await,
        Command::History(ask) => history(&app, &asker, &ask).await,
        Command::Channels(ask) => channels(&app, &asker, &ask).await,
        Command::Members(ask) => members(&app, &asker, &ask).await,
        Command::Search(ask) => search(&app, &asker, &ask).await,
        Command::ReceiptsDetail(ask) => readers(&app, &asker, &ask).await,
        Command::Reactions(ask) => reactions(&app, &asker, &ask).await,
        other => Err(unimplemented(other.name())),
    }
}

/// The person who asks; a server says for whom.
fn person(asker: &Asker) -> Result<&UserId, Error> {
    asker.user.as_ref().ok_or_else(|| malformed("this is about one person: add as_user"))
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
        let upto = event(upto)?;
        cursor = app.handle.read_upto(&channel, &cursor, upto).await.map_err(|error| refusal(&error))?;
    }
    match ask(app, asker, channel, Ask::Read { read: cursor, delivered }).await? {
        Answer::Marked(mark) => Ok(Okay::Marked(Marked {
            read: translate::positions(&mark.read),
            delivered: translate::positions(&mark.delivered),
        })),
        _ => Ok(Okay::Marked(Marked::default())),
    }
}

async fn history(app: &App, asker: &Asker, asked: &protocol::History) -> Result<Okay, Error> {
    let channel = channel(&asked.channel)?;
    may_read(asker, &channel)?;
    // With one region everything that was answered or delivered is in the index before a page is read.
    seen(app, &channel, &asked.seen)?;
    let anchor = anchor(app, &channel, asked).await?;
    let limit = asked.limit.unwrap_or(PAGE) as usize;
    let own = asker.user.as_ref();
    let page =
        app.handle.history(&channel, own, anchor.as_ref(), limit).await.map_err(|error| refusal(&error))?;
    Ok(Okay::Page(protocol::Page {
        items: page.items.iter().map(translate::displayed).collect(),
        token: app.sealer.token(&channel, &page.token),
        stale: false,
    }))
}

async fn anchor(app: &App, channel: &ChannelId, asked: &protocol::History) -> Result<Option<Anchor>, Error> {
    let open = |text: &str| app.sealer.open_cursor(channel, text).ok_or_else(bad_cursor);
    Ok(match (&asked.before, &asked.after, &asked.around) {
        (None, None, None) => None,
        (Some(text), None, None) => Some(match text.parse() {
            Ok(id) => Anchor::BeforeId(id),
            Err(_) => Anchor::Before(open(text)?),
        }),
        (None, Some(text), None) => Some(match text.parse() {
            Ok(id) => Anchor::AfterId(id),
            Err(_) => Anchor::After(open(text)?),
        }),
        (None, None, Some(text)) => match text.parse() {
            Ok(id) => Some(Anchor::AroundId(id)),
            Err(_) => {
                // Its first event that is not covered in the middle; with none, the end.
                let cursor = open(text)?;
                let next = app.handle.events(channel, &cursor, 1).await.map_err(|error| refusal(&error))?;
                Some(next.first().map_or(Anchor::Before(cursor), |event| Anchor::AroundId(event.id)))
            }
        },
        _ => return Err(malformed("history takes one of before, after and around")),
    })
}

async fn channels(app: &App, asker: &Asker, asked: &protocol::Channels) -> Result<Okay, Error> {
    let own = person(asker)?;
    let after = asked.page.as_deref().map(list_end).transpose()?;
    let found = app.handle.channels_of(own, after.as_ref(), LISTED).await.map_err(|error| refusal(&error))?;
    let last = found.last().filter(|_| found.len() >= LISTED);
    let page = last.map(|last| format!("{}.{}", last.changed, last.channel));
    let readable = found.iter().filter(|one| asker.grants.may_subscribe(one.channel.as_str()));
    let channels = readable.map(translate::listed).collect();
    Ok(Okay::Channels(protocol::ChannelList { channels, page }))
}

/// `CLOCK.CHANNEL`. It opens nothing: what is behind it is looked up for who asks.
fn list_end(page: &str) -> Result<ListEnd, Error> {
    let (clock, name) = page.split_once('.').ok_or_else(bad_page)?;
    let clock = u64::from_str_radix(clock, 16).map_err(|_| bad_page())?;
    Ok((Hlc(clock), channel(name)?))
}

fn bad_page() -> Error {
    malformed("page names no page: give the one of the answer before, or none")
}

async fn members(app: &App, asker: &Asker, asked: &protocol::Members) -> Result<Okay, Error> {
    let channel = channel(&asked.channel)?;
    may_read(asker, &channel)?;
    let after = asked.page.as_deref().map(user).transpose()?;
    let found = app.handle.members(&channel, asker.user.as_ref(), after.as_ref(), PEOPLE).await;
    let found = found.map_err(|error| refusal(&error))?;
    let page = found.last().filter(|_| found.len() >= PEOPLE).map(|last| last.user.as_str().to_owned());
    let member = |member: &MemberListed| protocol::Member {
        user: member.user.as_str().to_owned(),
        role: translate::role(member.role),
        muted_until: (member.muted_until.0 > 0).then_some(member.muted_until.0),
    };
    Ok(Okay::Members(protocol::MemberList { members: found.iter().map(member).collect(), page }))
}

async fn search(app: &App, asker: &Asker, asked: &protocol::Search) -> Result<Okay, Error> {
    let own = person(asker)?;
    if asked.query.len() > QUERY {
        return Err(Error::last(ErrorCode::TooLarge, "a search has at most 1,024 bytes"));
    }
    let channel = asked.channel.as_deref().map(channel).transpose()?;
    if let Some(channel) = &channel {
        may_read(asker, channel)?;
    }
    let after = asked.page.as_deref().map(found_end).transpose()?;
    let found = app.handle.search(own, channel.as_ref(), &asked.query, after.as_ref(), LISTED).await;
    let found = found.map_err(|error| refusal(&error))?;
    let readable = found.items.iter().filter(|(channel, _)| asker.grants.may_subscribe(channel.as_str()));
    let hit = |(channel, item): &(ChannelId, Shown)| protocol::Hit {
        channel: channel.as_str().to_owned(),
        item: translate::displayed(item),
    };
    let page = found.next.as_ref().map(|(channel, n)| format!("{n}.{channel}"));
    Ok(Okay::Found(protocol::Found { items: readable.map(hit).collect(), page }))
}

/// `NUMBER.CHANNEL`.
fn found_end(page: &str) -> Result<FoundEnd, Error> {
    let (n, name) = page.split_once('.').ok_or_else(bad_page)?;
    Ok((channel(name)?, n.parse().map_err(|_| bad_page())?))
}

async fn readers(app: &App, asker: &Asker, asked: &protocol::ReceiptsDetail) -> Result<Okay, Error> {
    let channel = channel(&asked.channel)?;
    may_read(asker, &channel)?;
    let watched = asked.event.as_deref().map(event).transpose()?;
    // Counts are pushed to whoever is connected; who asks by HTTP has the page alone.
    if let Some(own) = asker.user.as_ref().filter(|_| asker.connection != 0) {
        app.handle.watch_readers(&channel, own, watched).await;
    }
    let Some(watched) = watched else { return Ok(Okay::Readers(protocol::Readers::default())) };
    let after = asked.page.as_deref().map(user).transpose()?;
    let found = app.handle.readers(&channel, asker.user.as_ref(), watched, after.as_ref(), PEOPLE).await;
    let found = found.map_err(|error| refusal(&error))?;
    Ok(Okay::Readers(protocol::Readers {
        read: translate::names(&found.read),
        delivered: translate::names(&found.delivered),
        page: found.next.map(|user| user.as_str().to_owned()),
    }))
}

async fn reactions(app: &App, asker: &Asker, asked: &protocol::Reactions) -> Result<Okay, Error> {
    let channel = channel(&asked.channel)?;
    may_read(asker, &channel)?;
    // Who may look at the channel is asked of it: the lists of the index are nobody's.
    let own = asker.user.as_ref();
    app.handle.look(&channel, own, None).await.map_err(|error| refusal(&error))?;
    let after = asked.page.as_deref().map(reaction).transpose()?;
    let behind = after.as_ref().map(|(emoji, user)| (emoji.as_str(), user));
    let found = app.handle.reactions(&channel, event(&asked.event)?, behind, PEOPLE).await;
    let found = found.map_err(|error| refusal(&error))?;
    let last = found.last().filter(|_| found.len() >= PEOPLE);
    let page = last.map(|(emoji, user)| format!("{}.{emoji}{user}", emoji.len()));
    let reacted = |(emoji, user): &(Arc<str>, UserId)| protocol::Reacted {
        emoji: emoji.to_string(),
        user: user.as_str().to_owned(),
    };
    Ok(Okay::Reactions(protocol::ReactionList { reactions: found.iter().map(reacted).collect(), page }))
}

/// `LENGTH.EMOJI` and the user behind it.
fn reaction(page: &str) -> Result<(String, UserId), Error> {
    let (length, both) = page.split_once('.').ok_or_else(bad_page)?;
    let length = length.parse().map_err(|_| bad_page())?;
    let (emoji, who) = both.split_at_checked(length).ok_or_else(bad_page)?;
    Ok((named(emoji, "emoji")?.to_owned(), user(who)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_read_as_they_are_written_and_others_are_malformed() {
        assert_eq!(list_end("00000000000000ff.a.b"), Ok((Hlc(255), ChannelId::new("a.b"))));
        assert_eq!(found_end("17.a.b"), Ok((ChannelId::new("a.b"), 17)));
        assert_eq!(reaction("4.👍ann"), Ok(("👍".to_owned(), UserId::new("ann"))));
        for page in ["", ".", "x", "x.y", "1.", "-1.a", "18446744073709551616.a"] {
            assert!(found_end(page).is_err(), "{page}");
        }
        for page in ["", ".", "x", "x.y", "1.", "1.a", "3.👍ann", "4.👍", "99.a"] {
            assert!(reaction(page).is_err(), "{page}");
        }
        assert!(list_end("xyz.a").is_err() && list_end("1.").is_err());
    }
}
