//! A stream of pushes as server-sent events, for where WebSockets do not pass. It reads alone: commands go by HTTP.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use base::DeviceId;
use futures_util::stream::unfold;
use serde::Deserialize;
use wire::messaging::{Encoding, Error, From};

use crate::app::App;
use crate::commands;
use crate::connection::{Connection, Socket, Who};
use crate::encode::Framing;
use crate::http::{bearer, refused};
use crate::streams;

/// What is asked for.
#[derive(Deserialize)]
pub(crate) struct Asked {
    channel: String,
    cursor: Option<String>,
    /// Browsers' `EventSource` sends no headers of one's own.
    access_token: Option<String>,
}

/// Ends the connection with the answer's body.
struct Ending(Arc<Connection>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// `GET /m/v1/events?channel=…&cursor=…`.
pub(crate) async fn stream(
    State(app): State<Arc<App>>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Response {
    match begin(&app, asked, &headers).await {
        Ok(ending) => {
            let body = Body::from_stream(unfold(ending, |ending| async move {
                let bytes = next(&ending.0).await?;
                Some((Ok::<_, std::convert::Infallible>(bytes), ending))
            }));
            let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
            (headers, body).into_response()
        }
        Err(error) => refused(&error),
    }
}

async fn begin(app: &Arc<App>, asked: Asked, headers: &HeaderMap) -> Result<Ending, Error> {
    let token = match &asked.access_token {
        Some(token) => token,
        None => bearer(headers)?,
    };
    let (grants, user, expires) = commands::verified(app, token)?;
    let user = user.ok_or_else(commands::no_user)?;
    let (id, shard) = app.place();
    let how = (Framing::Events, Encoding::Json);
    let connection = Connection::new(Arc::clone(app), shard, id, how, Socket::Queued);
    connection.shard.admit(&connection);
    let ending = Ending(Arc::clone(&connection));
    // It attends for nobody: who only reads is not there.
    let device = DeviceId::new(format!("events {id}"));
    let who = Arc::new(Who { user, device, grants: Some(grants), expires });
    connection.lock().let_in(who, 1);
    connection.lock().held = false;
    let from = asked.cursor.map_or(From::Last(streams::LAST), From::Cursor);
    streams::begin(&connection, &asked.channel, &from, true, None).await?;
    Ok(ending)
}

/// What is to be written next; `None`: it is over.
async fn next(connection: &Arc<Connection>) -> Option<Bytes> {
    loop {
        connection.go_on();
        let (out, over) = {
            let mut state = connection.lock();
            (connection.take_out(&mut state), state.closing.is_some() || state.broken)
        };
        if !out.is_empty() {
            return Some(out.into());
        }
        if over {
            return None;
        }
        connection.bell.notified().await;
    }
}
