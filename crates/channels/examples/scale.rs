//! How long a large store takes from its start to the first answer and to the last, how much memory, and how fast it answers then:
//! `cargo run --release -p channels --example scale -- DIRECTORY [CHANNELS] [MESSAGES A CHANNEL]`. A directory that is not there yet is filled
//! first, by a process of its own; each channel has ten members of three times as many users as there are channels.

use std::path::Path;
use std::time::{Duration, Instant};

use backplane::{EmbeddedLog, EmbeddedOwnership, EmbeddedQueue, Limits};
use base::{ChannelId, DeviceId, UserId};
use channels::{Handle, Node, Settings, open_index};
use messaging::command::{Answer, Ask, Code, Command, Origin, Refusal, Send};
use messaging::event::{Content, Kind};
use messaging::place::Vector;
use messaging::roles::Role;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Members of a channel.
const MEMBERS: u64 = 10;
/// Commands on their way while the store is filled.
const AHEAD: usize = 2_000;
/// Questions of each kind whose time is taken.
const ASKED: u64 = 2_000;

#[tokio::main]
async fn main() -> Outcome<()> {
    let argument = |at| std::env::args().nth(at);
    let path = argument(1).ok_or("name a directory")?;
    let number = |at, default| argument(at).map_or(Ok(default), |text| text.parse::<u64>());
    let (channels, messages) = (number(2, 30_000)?, number(3, 15)?);
    if !Path::new(&path).exists() {
        let (node, log) = start(Path::new(&path)).await?;
        let begun = Instant::now();
        fill(&node.handle(), channels, messages).await?;
        println!("filled in {:.1} s", begun.elapsed().as_secs_f64());
        let begun = Instant::now();
        node.close().await;
        backplane::Log::close(&log).await;
        println!("closed in {:.1} s; run it again", begun.elapsed().as_secs_f64());
        return Ok(());
    }
    let begun = Instant::now();
    let (node, _log) = start(Path::new(&path)).await?;
    let handle = node.handle();
    tell("opened", begun);
    handle.look(&channel(0), None, None).await.map_err(|refusal| refusal.reason)?;
    tell("first answer", begun);
    for at in 0..channels.min(2_000) {
        handle.look(&channel(at), None, None).await.map_err(|refusal| refusal.reason)?;
    }
    tell("all partitions answer", begun);
    measure(&handle, channels, messages).await?;
    node.close().await;
    Ok(())
}

async fn start(path: &Path) -> Outcome<(Node, EmbeddedLog)> {
    let log = EmbeddedLog::open(&path.join("log"), backplane::Settings::default())?;
    let queue = EmbeddedQueue::open(&path.join("owners"), Limits::default())?;
    let index = open_index(&log, &path.join("index")).await?;
    let ownership = EmbeddedOwnership::open(queue).await?;
    Ok((Node::start(log.clone(), ownership, index, Settings::new("eu".parse()?)), log))
}

async fn fill(handle: &Handle, channels: u64, messages: u64) -> Outcome<()> {
    let mut pending = std::collections::VecDeque::new();
    for round in 0..=messages {
        for at in 0..channels {
            let ask = match round {
                0 => Ask::Create {
                    kind: Kind::Group,
                    settings: Default::default(),
                    members: members(at, channels),
                },
                csn => say(csn),
            };
            pending.push_back(handle.ask(command(user(at * 3), channel(at), ask)));
            if pending.len() >= AHEAD
                && let Some(oldest) = pending.pop_front()
                && let Answer::Refused(refusal) = oldest.await
            {
                return Err(refusal.reason.into());
            }
        }
    }
    for answer in pending {
        answer.await;
    }
    Ok(())
}

async fn measure(handle: &Handle, channels: u64, messages: u64) -> Outcome<()> {
    let place = |at: u64| at.wrapping_mul(7_919) % channels;
    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    for at in (0..ASKED).map(place) {
        let (who, name) = (user(at * 3), channel(at));
        let begun = Instant::now();
        let mut csn = messages + 1;
        while let Answer::Refused(Refusal { code: Code::CsnGap(_) | Code::CsnConflict, .. }) =
            handle.ask(command(who.clone(), name.clone(), say(csn))).await
        {
            csn += 1;
        }
        times[0].push(begun.elapsed());
        let begun = Instant::now();
        handle.history(&name, Some(&who), None, 50).await.map_err(|refusal| refusal.reason)?;
        times[1].push(begun.elapsed());
        let begun = Instant::now();
        handle.channels_of(&who, None, 50).await.map_err(|refusal| refusal.reason)?;
        times[2].push(begun.elapsed());
    }
    for (what, times) in ["send", "history of 50", "list of channels"].into_iter().zip(times) {
        let (half, most) = (share(times.clone(), 0.5), share(times, 0.99));
        println!("{what:<24} median {half:>9.3?}   p99 {most:>9.3?}");
    }
    Ok(())
}

fn share(mut times: Vec<Duration>, share: f64) -> Duration {
    times.sort_unstable();
    times.get((times.len() as f64 * share) as usize).copied().unwrap_or_default()
}

fn tell(what: &str, begun: Instant) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let memory = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or("VmRSS: not known here");
    println!("{what:<24} {:>9.3} s   {memory}", begun.elapsed().as_secs_f64());
}

fn members(at: u64, channels: u64) -> Vec<(UserId, Role)> {
    let other = |member: u64| user((at * 3 + member * 1_001) % (channels * 3));
    (1..MEMBERS).map(|member| (other(member), Role::Member)).collect()
}

fn say(csn: u64) -> Ask {
    let body =
        format!("{{\"text\":\"message {csn} of a usual length, such as people write to each other\"}}")
            .into_bytes();
    let content = Content::Message {
        body: body.into(),
        reply_to: None,
        thread: None,
        mentions: Vec::new(),
        everyone: false,
    };
    let (seen, after, delivered) = (Vec::new(), Vec::new(), Vector::default());
    Ask::Send(Box::new(Send { csn, follows: None, content, seen, delivered, after, original: None }))
}

fn command(user: UserId, channel: ChannelId, ask: Ask) -> Command {
    let origin = Origin { connection: 1, request: 0, user: Some(user), device: DeviceId::new("phone") };
    Command { origin, channel, ask }
}

fn user(at: u64) -> UserId {
    UserId::new(format!("user-{at}"))
}

fn channel(at: u64) -> ChannelId {
    ChannelId::new(format!("channel-{at}"))
}
