//! `stoa webhooks`: dead letters of a running server, read and replayed.

use std::time::Duration;

use auth::{Claims, VideoGrants};
use serde_json::{Value, json};
use webhook::{Client, Sent};

use crate::cli::{Letters, Server};
use crate::{time, token};

/// How long the server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long the token is good with which it is asked.
const LIFE: Duration = Duration::from_secs(60);

/// Carries the command out; the error is a sentence.
pub fn run(command: &Letters) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| error.to_string())?.block_on(async {
        match command {
            Letters::List { server } => list(server).await,
            Letters::Replay { server, url, ids } => {
                let wanted = json!({ "ids": ids, "url": url });
                let answer = ask(server, "replay", Some(wanted)).await?;
                println!("{} replayed", answer["replayed"]);
                Ok(())
            }
        }
    })
}

async fn list(server: &Server) -> Result<(), String> {
    let receivers = ask(server, "dead?limit=0", None).await?;
    for (index, receiver) in receivers.as_array().into_iter().flatten().enumerate() {
        println!("# {}: {} wait, {} dead", text(&receiver["url"]), receiver["pending"], receiver["total"]);
        let mut after = 0;
        loop {
            let page = ask(server, &format!("dead?receiver={index}&after={after}"), None).await?;
            let letters = page[0]["dead"].as_array().map(Vec::as_slice).unwrap_or_default();
            letters.iter().for_each(|letter| println!("{}", line(letter)));
            match letters.last().and_then(|letter| letter["number"].as_u64()) {
                Some(last) => after = last,
                None => break,
            }
        }
    }
    Ok(())
}

fn line(letter: &Value) -> String {
    let fields = [&letter["id"], &letter["event"], &letter["room"], &letter["error"]];
    // Rooms have the names that people give them: they must not write lines of their own.
    fields.map(|field| text(field).escape_debug().to_string()).join("\t")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

async fn ask(server: &Server, path: &str, body: Option<Value>) -> Result<Value, String> {
    let (key, secret) = token::signer(&server.signer)?;
    let video = VideoGrants { room_create: true, room_list: true, ..VideoGrants::default() };
    let claims = Claims { video: Some(video), ..Claims::default() }.valid_for(time::unix_millis(), LIFE);
    let authorization = format!("Bearer {}", auth::mint(&key, &secret, &claims));
    let url = format!("{}/webhooks/{path}", server.server.trim_end_matches('/'));
    webhook::check_url(&url).map_err(|error| format!("--server: {error}"))?;
    let client = Client::new()?;
    let sent = match body {
        None => client.get(&url, &authorization, TIMEOUT).await,
        Some(body) => {
            let body = body.to_string().into_bytes().into();
            client.post(&url, &authorization, "application/json", body, TIMEOUT).await
        }
    };
    match sent {
        Sent::Answered(200, body) => serde_json::from_slice(&body)
            .map_err(|_| format!("{url} answers, but not as a Stoa server: see --server")),
        Sent::Answered(404, _) => {
            Err(format!("{url} is not there: the server has no webhooks configured, or is no Stoa"))
        }
        Sent::Answered(status, body) => {
            Err(format!("the server refuses ({status}): {}", String::from_utf8_lossy(&body).trim()))
        }
        Sent::TimedOut => Err(format!("{url} does not answer")),
        Sent::Unreachable(error) => {
            Err(format!("{url} cannot be reached ({error}): is the server running? See --server"))
        }
    }
}
