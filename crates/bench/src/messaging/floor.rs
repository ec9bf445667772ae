//! The floor of a fan-out: a process that writes the same bytes to as many sockets, one call each, and does nothing else.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::fanout::Arrivals;
use super::process::Process;
use super::socket::{connect, for_each};

/// Fewer than the queue of connections that nobody has accepted yet: one that finds it full is never heard of.
const AT_ONCE: usize = 50;

/// The process: `bench messaging-floor BYTES SOCKETS`. It prints its port, takes so many connections, and writes to all of them for each
/// line that it reads.
pub fn run(mut args: impl Iterator<Item = String>) -> Result<(), String> {
    let mut number = || args.next().and_then(|arg| arg.parse::<usize>().ok());
    let (Some(bytes), Some(count)) = (number(), number()) else {
        return Err("`messaging-floor` wants bytes and sockets".to_owned());
    };
    write_all(bytes, count).map_err(|error| error.to_string())
}

fn write_all(bytes: usize, count: usize) -> std::io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("{}", listener.local_addr()?.port());
    let mut sockets: Vec<TcpStream> = Vec::with_capacity(count);
    for _ in 0..count {
        let (socket, _) = listener.accept()?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        sockets.push(socket);
    }
    let message = vec![b'x'; bytes];
    let mut line = String::new();
    while std::io::stdin().read_line(&mut line)? > 0 {
        for socket in &mut sockets {
            socket.write_all(&message)?;
        }
    }
    Ok(())
}

/// The process, as its parent has it; killed when dropped.
pub struct Floor(Child);

impl Floor {
    /// The CPU time of one write.
    pub async fn measure(
        bytes: usize,
        people: usize,
        messages: u64,
        warm_up: u64,
    ) -> Result<Duration, String> {
        let (mut floor, port) = Self::start(bytes, people)?;
        let address = (Ipv4Addr::LOCALHOST, port).into();
        let sockets = for_each(people, AT_ONCE, |number| connect(address, number)).await?;
        let arrivals = Arrivals::new();
        let all = (warm_up + messages) as usize * bytes;
        let tasks: Vec<_> = sockets
            .into_iter()
            .map(|socket| tokio::spawn(read(socket, bytes, all, arrivals.clone())))
            .collect();
        let process = Process(floor.0.id());
        let mut input = floor.0.stdin.take().ok_or("it cannot be told")?;
        let mut cpu = Duration::ZERO;
        for message in 0..warm_up + messages {
            if message == warm_up {
                cpu = process.cpu()?;
            }
            arrivals.leaves();
            input.write_all(b"go\n").and_then(|()| input.flush()).map_err(|error| error.to_string())?;
            arrivals.all(people).await?;
        }
        let cpu = process.cpu()?.saturating_sub(cpu);
        for task in tasks {
            task.await.map_err(|error| error.to_string())??;
        }
        Ok(cpu / (messages as u32 * people as u32))
    }

    fn start(bytes: usize, people: usize) -> Result<(Self, u16), String> {
        let own = std::env::current_exe().map_err(|error| error.to_string())?;
        let child = Command::new(own)
            .args(["messaging-floor", &bytes.to_string(), &people.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let mut floor = Self(child);
        let mut line = String::new();
        let output = floor.0.stdout.as_mut().ok_or("it cannot be heard")?;
        BufReader::new(output.by_ref()).read_line(&mut line).map_err(|error| error.to_string())?;
        let port = line.trim().parse().map_err(|_| "it names no port".to_owned())?;
        Ok((floor, port))
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn read(
    socket: tokio::net::TcpStream,
    bytes: usize,
    all: usize,
    arrivals: Arrivals,
) -> Result<(), String> {
    let mut taken = 0;
    while taken < all {
        socket.readable().await.map_err(|error| error.to_string())?;
        let before = taken / bytes;
        taken += read_some(&socket)?;
        for _ in before..taken / bytes {
            arrivals.arrived();
        }
    }
    Ok(())
}

fn read_some(socket: &tokio::net::TcpStream) -> Result<usize, String> {
    let mut buffer = [0; 16 * 1024];
    match socket.try_read(&mut buffer) {
        Ok(0) => Err("the floor ended".to_owned()),
        Ok(count) => Ok(count),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(0),
        Err(error) => Err(error.to_string()),
    }
}
