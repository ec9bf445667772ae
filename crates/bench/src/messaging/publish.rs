//! Durable messages a second.

use std::fs::File;
use std::io::Write as _;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use wire::messaging::{Body, ChannelCreate, ChannelKind, Command, Connect, Send, SendKind};

use super::process::Server;
use super::rounded;
use super::socket::{Socket, for_each};

const SENDERS: usize = 64;
/// What a message of 200 bytes takes in the log, about.
const RECORD: usize = 320;
const TEXT: usize = 200;
const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_secs(1);

/// Somebody who sends into a channel of their own.
struct Sender {
    socket: Socket,
    channel: String,
    csn: u64,
}

/// Senders and a plain file in turns; the median round counts.
pub async fn run(out: &mut Map<String, Value>) -> Result<(), String> {
    println!("publish: {SENDERS} senders, one message of {TEXT} bytes in flight each");
    let server = Server::start()?;
    let mut senders = for_each(SENDERS, SENDERS, |number| {
        let (address, token) = (server.address, server.token(&format!("user {number}")));
        async move { Sender::start(address, token, number).await }
    })
    .await?;
    let mut file = File::create(server.disk().join("raw")).map_err(|error| error.to_string())?;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let raw = raw(&mut file).map_err(|error| error.to_string())?;
        let sent;
        (senders, sent) = round(senders).await?;
        println!("  file {raw:>8.0}/s   messages {sent:>8.0}/s   ratio {:.3}", sent / raw);
        rounds.push((sent / raw, sent));
    }
    rounds.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (ratio, sent) = rounds[ROUNDS / 2];
    out.insert("publish_ratio".into(), json!(rounded(ratio)));
    out.insert("publishes_per_s".into(), json!(sent.round()));
    Ok(())
}

/// Records a second that a file takes when as many as there are senders are written and synced at once.
fn raw(file: &mut File) -> std::io::Result<f64> {
    let group = vec![7; RECORD * SENDERS];
    let (begun, mut records) = (Instant::now(), 0);
    while begun.elapsed() < ROUND {
        file.write_all(&group)?;
        file.sync_data()?;
        records += SENDERS;
    }
    Ok(records as f64 / begun.elapsed().as_secs_f64())
}

async fn round(senders: Vec<Sender>) -> Result<(Vec<Sender>, f64), String> {
    let begun = Instant::now();
    let tasks: Vec<_> =
        senders.into_iter().map(|sender| tokio::spawn(sender.send_until(begun + ROUND))).collect();
    let (mut senders, mut sent) = (Vec::new(), 0);
    for task in tasks {
        let (sender, own) = task.await.map_err(|error| error.to_string())??;
        senders.push(sender);
        sent += own;
    }
    Ok((senders, sent as f64 / begun.elapsed().as_secs_f64()))
}

impl Sender {
    async fn start(address: std::net::SocketAddr, token: String, number: usize) -> Result<Self, String> {
        let mut socket = Socket::open(address, number).await?;
        let connect = Connect { token, device: "bench".to_owned(), resume: Vec::new() };
        socket.ask(&Command::Connect(connect)).await?;
        let channel = format!("publish {number}");
        let create = ChannelCreate {
            channel: channel.clone(),
            kind: ChannelKind::Group,
            settings: None,
            members: Vec::new(),
            peer: None,
        };
        socket.ask(&Command::ChannelCreate(create)).await?;
        Ok(Self { socket, channel, csn: 0 })
    }

    /// How many were acknowledged.
    async fn send_until(mut self, end: Instant) -> Result<(Self, u64), String> {
        let mut sent = 0;
        while Instant::now() < end {
            self.csn += 1;
            self.socket.ask(&message(&self.channel, self.csn)).await?;
            sent += 1;
        }
        Ok((self, sent))
    }
}

/// A message of 200 bytes.
pub fn message(channel: &str, csn: u64) -> Command {
    let text = format!("{{\"text\":\"{:x<TEXT$}\"}}", csn);
    Command::Send(Send {
        channel: channel.to_owned(),
        csn,
        follows: None,
        body: Body::parse(text.as_bytes()).expect("it is JSON"),
        kind: SendKind::Message,
        name: None,
        reply_to: None,
        thread: None,
        mentions: Vec::new(),
        everyone: false,
        seen: Vec::new(),
        after: Vec::new(),
    })
}
