//! What clients ask for, and who may.

pub(crate) mod calling;
mod channel;
mod reading;
mod sending;

use std::sync::Arc;

use auth::MessagingGrants;
use base::{ChannelId, DeviceId, UserId};
use messaging::command::{Answer, Ask, Command as OwnerCommand, Origin, Refusal};
use messaging::place::{EventId, Vector};
use wire::messaging::{self as protocol, Command, Error, ErrorCode, Okay};

use crate::app::App;
use crate::connection::work::{Doing, Outcome};
use crate::connection::{Close, Connection, State, Who};
use crate::metrics::count;
use crate::{streams, translate};

/// Longest name, in bytes.
const NAME: usize = 128;

/// For whom a command is carried out.
pub(crate) struct Asker {
    /// `None`: the application's server.
    pub user: Option<UserId>,
    pub device: DeviceId,
    pub grants: MessagingGrants,
    /// 0: none, it came by HTTP.
    pub connection: u64,
    pub request: u64,
    /// What was delivered on the connection, of the command's channel.
    pub delivered: Vector,
}

impl Asker {
    fn origin(&self) -> Origin {
        Origin {
            connection: self.connection,
            request: self.request,
            user: self.user.clone(),
            device: self.device.clone(),
        }
    }
}

/// The channel that a command is about, and whether the channel's owner keeps the order of commands like this one.
pub(crate) fn order(command: &Command) -> (Option<String>, bool) {
    use Command as C;
    let channel = match command {
        C::Connect(_) | C::Channels(_) | C::Presence(_) => None,
        C::Search(ask) => ask.channel.clone(),
        C::Subscribe(ask) => Some(ask.channel.clone()),
        C::Unsubscribe(ask) | C::ChannelJoin(ask) | C::ChannelLeave(ask) => Some(ask.channel.clone()),
        C::Send(ask) => Some(ask.channel.clone()),
        C::Edit(ask) => Some(ask.channel.clone()),
        C::Delete(ask) => Some(ask.channel.clone()),
        C::React(ask) => Some(ask.channel.clone()),
        C::Tell(ask) => Some(ask.channel.clone()),
        C::Read(ask) => Some(ask.channel.clone()),
        C::History(ask) => Some(ask.channel.clone()),
        C::Members(ask) => Some(ask.channel.clone()),
        C::ReceiptsDetail(ask) => Some(ask.channel.clone()),
        C::Reactions(ask) => Some(ask.channel.clone()),
        C::Typing(ask) => Some(ask.channel.clone()),
        C::ChannelCreate(ask) => Some(ask.channel.clone()),
        C::ChannelUpdate(ask) => Some(ask.channel.clone()),
        C::ChannelInvite(ask) | C::ChannelAdd(ask) | C::ChannelRemove(ask) => Some(ask.channel.clone()),
        C::ChannelModerate(ask) => Some(ask.channel.clone()),
        C::CallInvite(ask) => Some(ask.channel.clone()),
        C::CallAccept(ask) | C::CallDecline(ask) | C::CallCancel(ask) | C::CallEnd(ask) => {
            Some(ask.channel.clone())
        }
    };
    let pipelined = matches!(command, C::Send(_) | C::Edit(_) | C::Delete(_) | C::React(_) | C::Tell(_));
    (channel, pipelined)
}

/// Begins a command of a connection. What goes to the channel's owner is on its way when this returns.
pub(crate) fn begin(connection: &Arc<Connection>, id: u64, command: Command) -> Doing {
    let connection = Arc::clone(connection);
    match command {
        Command::Connect(ask) => Box::pin(connect(connection, id, ask)),
        Command::Subscribe(ask) => Box::pin(streams::subscribe(connection, id, ask)),
        Command::Unsubscribe(ask) => done(streams::unsubscribe(&connection, &ask.channel)),
        Command::Presence(_) if connection.who().is_none() => done(Err(gone())),
        Command::Presence(ask) => done(watch(&connection, &ask)),
        other => {
            let Some(who) = connection.who() else { return done(Err(gone())) };
            let delivered = order(&other).0.and_then(|name| connection.stands_at(&ChannelId::new(name)));
            let asker = Asker {
                user: Some(who.user.clone()),
                device: who.device.clone(),
                grants: who.grants.clone().unwrap_or_default(),
                connection: connection.id,
                request: id,
                delivered: delivered.unwrap_or_default(),
            };
            let doing = carry_out(&connection.app, asker, other);
            Box::pin(async move { Outcome::Answer(Box::new(doing.await)) })
        }
    }
}

fn done(answer: Result<Okay, Error>) -> Doing {
    Box::pin(std::future::ready(Outcome::Answer(Box::new(answer))))
}

/// An answer to come.
pub(crate) type Answering = std::pin::Pin<Box<dyn Future<Output = Result<Okay, Error>> + Send>>;

fn refused(error: Error) -> Answering {
    Box::pin(std::future::ready(Err(error)))
}

/// Carries out a command that needs no connection. What goes to the channel's owner is on its way when this returns.
pub(crate) fn carry_out(app: &Arc<App>, asker: Asker, command: Command) -> Answering {
    use Command as C;
    let app = Arc::clone(app);
    match command {
        C::Send(_) | C::Edit(_) | C::Delete(_) | C::React(_) | C::Tell(_) => {
            match sending::prepare(&app, &asker, command) {
                Ok((channel, ask)) => sending::send(&app, &asker, channel, ask),
                Err(error) => refused(error),
            }
        }
        C::ChannelCreate(_)
        | C::ChannelUpdate(_)
        | C::ChannelJoin(_)
        | C::ChannelLeave(_)
        | C::ChannelInvite(_)
        | C::ChannelAdd(_)
        | C::ChannelRemove(_)
        | C::ChannelModerate(_) => match channel::prepare(&asker, command) {
            Ok((channel, ask)) => Box::pin(channel::change(app, asker, channel, ask)),
            Err(error) => refused(error),
        },
        C::Connect(_) | C::Subscribe(_) | C::Unsubscribe(_) | C::Presence(_) => {
            refused(Error::last(ErrorCode::Malformed, "this needs a connection: use the WebSocket"))
        }
        C::Typing(ask) => {
            let answer = calling::typing(&app, &asker, &ask);
            Box::pin(std::future::ready(answer))
        }
        C::CallInvite(_) | C::CallAccept(_) | C::CallDecline(_) | C::CallCancel(_) | C::CallEnd(_) => {
            Box::pin(calling::answer(app, asker, command))
        }
        other => Box::pin(reading::answer(app, asker, other)),
    }
}

/// Hands a command to the owner of its channel.
fn ask(
    app: &App,
    asker: &Asker,
    channel: ChannelId,
    ask: Ask,
) -> impl Future<Output = Result<Answer, Error>> + Send + 'static {
    let answer = app.handle.ask(OwnerCommand { origin: asker.origin(), channel, ask });
    async move {
        match answer.await {
            Answer::Refused(refusal) => Err(translate::error(&refusal)),
            answer => Ok(answer),
        }
    }
}

async fn connect(connection: Arc<Connection>, id: u64, ask: protocol::Connect) -> Outcome {
    let app = Arc::clone(&connection.app);
    let who = match admit(&app, &ask) {
        Ok(who) => Arc::new(who),
        Err(error) => {
            count(&app.metrics.unauthorized);
            connection.answer(id, &Err(error));
            connection.close(Close::Unauthorized);
            return Outcome::Answered;
        }
    };
    {
        let mut state = connection.lock();
        if state.closing.is_some() {
            return Outcome::Answered;
        }
        state.let_in(Arc::clone(&who), app.config.channels);
    }
    count(&app.metrics.connected);
    connection.shard.attend(&who, &connection);
    app.came(&who, &connection);
    let mut channels = Vec::with_capacity(ask.resume.len().min(app.config.channels));
    for resume in ask.resume {
        let from = protocol::From::Cursor(resume.cursor);
        let begun =
            streams::begin(&connection, &resume.channel, &from, resume.open.unwrap_or(true), None).await;
        let (ok, error) = (begun.as_ref().ok().cloned(), begun.err());
        channels.push(protocol::Resumed { channel: resume.channel, ok, error });
    }
    let connected = protocol::Connected {
        user: who.user.as_str().to_owned(),
        ping: app.config.ping.as_millis() as u64,
        time: (app.now)().0,
        limits: app.config.limits(),
        channels,
        calls: calling::own(&app, &who.user),
    };
    let mut state = connection.lock();
    connection.answer_in(&mut state, id, &Ok(Okay::Connected(Box::new(connected))));
    state.held = false;
    drop(state);
    connection.go_on();
    Outcome::Answered
}

impl State {
    /// Somebody is let in; nothing is told before the answer has said so.
    pub(crate) fn let_in(&mut self, who: Arc<Who>, channels: usize) {
        let limits = messaging::session::Limits { channels, ..messaging::session::Limits::default() };
        self.session = Some(Box::new(messaging::session::Session::new(who.user.clone(), limits)));
        self.who = Some(who);
        self.held = true;
    }
}

fn admit(app: &App, ask: &protocol::Connect) -> Result<Who, Error> {
    let device = named(&ask.device, "device")?;
    let (grants, user, expires) = verified(app, &ask.token)?;
    let user = user.ok_or_else(no_user)?;
    Ok(Who { user, device: DeviceId::new(device), grants: Some(grants), expires })
}

/// The token is nobody's.
pub(crate) fn no_user() -> Error {
    Error::last(ErrorCode::Unauthorized, "the token names no user (claim sub is empty)")
}

/// What a token says of messaging: grants, user, and when it ends.
pub(crate) fn verified(app: &App, token: &str) -> Result<(MessagingGrants, Option<UserId>, u64), Error> {
    let verified = auth::verify(&app.keys, token, (app.now)()).map_err(|error| {
        let code = match error {
            auth::TokenError::Expired => ErrorCode::Expired,
            _ => ErrorCode::Unauthorized,
        };
        Error::last(code, error.to_string())
    })?;
    let claims = verified.claims;
    let user = match claims.identity() {
        "" => None,
        user => Some(UserId::new(named(user, "user (claim sub)")?)),
    };
    let expires = claims.exp.unwrap_or(0);
    let grants = claims.messaging.ok_or_else(|| {
        Error::last(
            ErrorCode::Unauthorized,
            "the token does not allow messaging (grant messaging is missing)",
        )
    })?;
    Ok((grants, user, expires))
}

fn watch(connection: &Arc<Connection>, ask: &protocol::Presence) -> Result<Okay, Error> {
    let names: Result<_, Error> = ask.watch.iter().map(|name| user(name)).collect();
    let there = connection.app.handle.watch(connection.id, names?).ok_or_else(|| {
        Error::last(
            ErrorCode::TooMany,
            "more people are watched than limits.watch: name those on the screen alone",
        )
    })?;
    let there =
        there.into_iter().filter(|(_, there)| *there).map(|(user, _)| user.as_str().to_owned()).collect();
    Ok(Okay::There(protocol::ThereNow { there }))
}

/// A name of 1 to 128 bytes.
pub(crate) fn named<'a>(name: &'a str, what: &str) -> Result<&'a str, Error> {
    if name.is_empty() || name.len() > NAME {
        return Err(malformed(format!("the name of a {what} has 1 to {NAME} bytes, not {}", name.len())));
    }
    Ok(name)
}

/// A channel by its name.
pub(crate) fn channel(name: &str) -> Result<ChannelId, Error> {
    named(name, "channel").map(ChannelId::new)
}

fn user(name: &str) -> Result<UserId, Error> {
    named(name, "user").map(UserId::new)
}

fn event(text: &str) -> Result<EventId, Error> {
    text.parse().map_err(|error: messaging::place::NoPlace| malformed(format!("{text:.64}: {error}")))
}

pub(crate) fn malformed(reason: impl Into<String>) -> Error {
    Error::last(ErrorCode::Malformed, reason)
}

pub(crate) fn bad_cursor() -> Error {
    Error::last(
        ErrorCode::BadCursor,
        "not a cursor of this deployment for this channel: present what this server gave for it",
    )
}

/// The connection is over.
pub(crate) fn gone() -> Error {
    Error::later(ErrorCode::Busy, "the connection ends: connect again", 1_000)
}

fn not_granted(what: &str) -> Error {
    Error::last(
        ErrorCode::Unauthorized,
        format!("the token does not allow {what} this channel (grant messaging)"),
    )
}

/// May the person of a connection read this channel, as far as the token goes?
pub(crate) fn may_subscribe(who: &Who, channel: &ChannelId) -> Result<(), Error> {
    let granted = who.grants.as_ref().is_some_and(|grants| grants.may_subscribe(channel.as_str()));
    if granted { Ok(()) } else { Err(not_granted("reading")) }
}

fn may_read(asker: &Asker, channel: &ChannelId) -> Result<(), Error> {
    if asker.grants.may_subscribe(channel.as_str()) { Ok(()) } else { Err(not_granted("reading")) }
}

fn may_write(asker: &Asker, channel: &ChannelId) -> Result<(), Error> {
    if asker.grants.may_publish(channel.as_str()) { Ok(()) } else { Err(not_granted("sending into")) }
}

fn refusal(refusal: &Refusal) -> Error {
    translate::error(refusal)
}

fn unimplemented(what: &str) -> Error {
    Error::last(ErrorCode::Unimplemented, format!("{what} is not there yet"))
}

/// Positions that were presented for a channel: cursors or tokens.
fn seen(app: &App, channel: &ChannelId, texts: &[String]) -> Result<Vec<messaging::place::Token>, Error> {
    if texts.len() > messaging::limits::Limits::default().seen {
        return Err(Error::last(ErrorCode::TooLarge, "seen has more than limits.seen entries"));
    }
    let open = |text: &String| {
        app.sealer
            .open_position(channel, text)
            .map(|seen| messaging::place::Token { seen })
            .ok_or_else(bad_cursor)
    };
    texts.iter().map(open).collect()
}
