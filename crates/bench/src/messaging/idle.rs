//! Connections that wait, and all of them coming back at once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use wire::messaging::{
    ChannelCreate, ChannelKind, Command, Connect, Connected, From, NewMember, Resume, Subscribe, Subscribed,
};

use super::process::Server;
use super::rounded;
use super::socket::{Socket, for_each};

const PEOPLE: usize = 18_000;
const CHANNELS: usize = 20;
/// People of a channel.
const GROUP: usize = 30;
const AT_ONCE: usize = 200;
/// After which memory is looked at: what was needed to connect has been given back.
const REST: Duration = Duration::from_secs(3);

/// Somebody, and where their streams stand.
struct Person {
    number: usize,
    socket: Option<Socket>,
    cursors: Vec<Resume>,
}

/// The channels that somebody is in: of each kind the groups lie otherwise, so that no two people share all of them.
fn channels(number: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..CHANNELS).map(move |kind| (kind, (number + kind * 7) % PEOPLE / GROUP))
}

fn name(kind: usize, group: usize) -> String {
    format!("group {kind} {group}")
}

fn user(number: usize) -> String {
    format!("user {number}")
}

/// Memory, then the storm.
pub async fn run(out: &mut Map<String, Value>) -> Result<(), String> {
    println!("idle: {PEOPLE} connections with {CHANNELS} channels each");
    let server = Arc::new(Server::start()?);
    create(&server).await?;
    tokio::time::sleep(REST).await;
    let before = server.process().memory_kb()?;
    println!(
        "  {} channels of {GROUP} are there; the server has {} MB",
        CHANNELS * PEOPLE / GROUP,
        before / 1_024
    );
    let people = for_each(PEOPLE, AT_ONCE, |number| enter(Arc::clone(&server), number)).await?;
    tokio::time::sleep(REST).await;
    let idle = server.process().memory_kb()?.saturating_sub(before) as f64 / PEOPLE as f64;
    println!("  {idle:.2} KB of the server's memory for each connection (budget 6)");
    out.insert("idle_kb".into(), json!(rounded(idle)));
    storm(&server, people, out).await
}

/// All connections are cut, and all come back at once.
async fn storm(
    server: &Arc<Server>,
    mut people: Vec<Person>,
    out: &mut Map<String, Value>,
) -> Result<(), String> {
    people.iter_mut().for_each(|person| drop(person.socket.take()));
    tokio::time::sleep(REST).await;
    server.process().forget_peak()?;
    let began = Instant::now();
    let tasks: Vec<_> =
        people.into_iter().map(|person| tokio::spawn(resume(Arc::clone(server), person))).collect();
    let mut back = Vec::with_capacity(PEOPLE);
    for task in tasks {
        back.push(task.await.map_err(|error| error.to_string())??);
    }
    let (took, peak) = (began.elapsed(), server.process().peak_kb()? / 1_024);
    println!(
        "  all {} resumed within {:.1} s; the server's peak was {peak} MB",
        back.len(),
        took.as_secs_f64()
    );
    out.insert("resume_all_s".into(), json!(rounded(took.as_secs_f64())));
    out.insert("resume_peak_mb".into(), json!(peak));
    Ok(())
}

async fn connect(server: &Server, number: usize, resume: Vec<Resume>) -> Result<(Socket, Connected), String> {
    let address: SocketAddr = server.address;
    let mut socket = Socket::open(address, number).await?;
    let connect = Connect { token: server.token(&user(number)), device: "bench".to_owned(), resume };
    let connected = socket.ask(&Command::Connect(connect)).await?;
    Ok((socket, connected.read().map_err(|error| format!("{error:?}"))?))
}

/// Whoever is the first of a group makes its channel.
async fn create(server: &Arc<Server>) -> Result<(), String> {
    for_each(PEOPLE / GROUP, AT_ONCE, |group| {
        let server = Arc::clone(server);
        async move {
            let (mut socket, _) = connect(&server, group, Vec::new()).await?;
            for kind in 0..CHANNELS {
                let first = (group * GROUP + PEOPLE - kind * 7 % PEOPLE) % PEOPLE;
                let member = |at: usize| NewMember { user: user((first + at) % PEOPLE), role: None };
                let create = ChannelCreate {
                    channel: name(kind, group),
                    kind: ChannelKind::Group,
                    settings: None,
                    members: (0..GROUP).map(member).collect(),
                    peer: None,
                };
                socket.ask(&Command::ChannelCreate(create)).await?;
            }
            Ok(())
        }
    })
    .await
    .map(drop)
}

async fn enter(server: Arc<Server>, number: usize) -> Result<Person, String> {
    let (mut socket, _) = connect(&server, number, Vec::new()).await?;
    let mut cursors = Vec::with_capacity(CHANNELS);
    for (kind, group) in channels(number) {
        let channel = name(kind, group);
        let subscribe = Subscribe { channel: channel.clone(), from: Some(From::Head), open: Some(true) };
        let answer = socket.ask(&Command::Subscribe(subscribe)).await?;
        let subscribed: Subscribed = answer.read().map_err(|error| format!("{error:?}"))?;
        cursors.push(Resume { channel, cursor: subscribed.cursor, open: Some(true) });
    }
    Ok(Person { number, socket: Some(socket), cursors })
}

async fn resume(server: Arc<Server>, person: Person) -> Result<Person, String> {
    let Person { number, cursors, .. } = person;
    let (socket, connected) = connect(&server, number, cursors).await?;
    match connected.channels.iter().find_map(|channel| channel.error.as_ref()) {
        Some(error) => Err(format!("a channel was not resumed: {}", error.reason)),
        None if connected.channels.len() != CHANNELS => Err("channels are missing".to_owned()),
        None => Ok(Person { number, socket: Some(socket), cursors: Vec::new() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_in_the_channels_that_they_open() {
        for (kind, group) in channels(17_995) {
            let first = (group * GROUP + PEOPLE - kind * 7 % PEOPLE) % PEOPLE;
            let members: Vec<usize> = (0..GROUP).map(|at| (first + at) % PEOPLE).collect();
            assert!(members.contains(&17_995), "{kind} {group}");
        }
    }
}
