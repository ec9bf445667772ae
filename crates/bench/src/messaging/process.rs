//! The server as a process, and what the kernel says of a process.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::join::server::binary;

/// Commands a second of one connection: one sender has to reach what the disk can take.
const RATE: u32 = 100_000;
const KEY: &str = "bench";
const SECRET: &str = "a secret of the bench that nobody has to keep";

/// `stoa serve` with messaging on a directory of its own; killed when dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    directory: TempDir,
}

impl Server {
    /// Starts the binary that `STOA_BIN` names, or the one beside this program, and waits until it is up.
    pub fn start() -> Result<Self, String> {
        let binary = binary()?;
        let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mut child = Command::new(&binary)
            .arg("serve")
            .env("STOA_KEYS", format!("{KEY}:{SECRET}"))
            .env("STOA_HTTP_LISTEN", "127.0.0.1:0")
            .env("STOA_UDP_PORT", free_udp_port()?.to_string())
            .env("STOA_UDP_WORKERS", "1")
            .env("STOA_MESSAGING_ENABLED", "yes")
            .env("STOA_MESSAGING_RATE", RATE.to_string())
            .env("STOA_DATA_DIRECTORY", directory.path())
            .env("RUST_LOG", "info")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{} cannot be started: {error}", binary.display()))?;
        let log = child.stderr.take().ok_or("its log cannot be read")?;
        let mut lines = BufReader::new(log).lines();
        let address = lines.by_ref().find_map(|line| address_in(&line.ok()?));
        // What it says later is nobody's concern, but it must be able to say it.
        std::thread::spawn(move || lines.for_each(drop));
        let server = |address| Self { child, address, directory };
        address.map(server).ok_or_else(|| "the server ended before it was up".to_owned())
    }

    /// What it is, for the kernel.
    pub fn process(&self) -> Process {
        Process(self.child.id())
    }

    /// A directory on the same disk.
    pub fn disk(&self) -> &Path {
        self.directory.path()
    }

    /// Lets this person into all channels.
    pub fn token(&self, user: &str) -> String {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let claims = auth::Claims {
            sub: user.to_owned(),
            messaging: Some(auth::MessagingGrants::default()),
            ..auth::Claims::default()
        };
        let claims = claims.valid_for(base::UnixMillis(now.as_millis() as u64), Duration::from_secs(3_600));
        auth::mint(KEY, SECRET, &claims)
    }
}

/// A port that nobody has now.
fn free_udp_port() -> Result<u16, String> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| error.to_string())?;
    Ok(socket.local_addr().map_err(|error| error.to_string())?.port())
}

/// The address in a line of the log that says where HTTP is served.
fn address_in(line: &str) -> Option<SocketAddr> {
    let (_, after) = line.split_once("127.0.0.1:")?;
    let port: String = after.chars().take_while(char::is_ascii_digit).collect();
    Some(SocketAddr::from(([127, 0, 0, 1], port.parse().ok().filter(|port| *port > 0)?)))
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process of this machine.
#[derive(Clone, Copy)]
pub struct Process(pub u32);

impl Process {
    /// CPU time, user plus kernel, of all its threads, in steps of 10 ms.
    pub fn cpu(self) -> Result<Duration, String> {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.0)).map_err(|error| error.to_string())?;
        // The name, in parentheses, may hold anything.
        let fields: Vec<&str> =
            text.rsplit_once(") ").map(|(_, after)| after.split(' ').collect()).unwrap_or_default();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
        let (Some(user), Some(kernel)) = (ticks(11), ticks(12)) else {
            return Err("the kernel does not tell the process's CPU time".to_owned());
        };
        Ok(Duration::from_millis((user + kernel) * 10))
    }

    /// Resident memory in KB now.
    pub fn memory_kb(self) -> Result<u64, String> {
        self.status("VmRSS:")
    }

    /// The most since [`Self::forget_peak`], in KB.
    pub fn peak_kb(self) -> Result<u64, String> {
        self.status("VmHWM:")
    }

    /// Begins to look for a peak anew (proc(5), `clear_refs`).
    pub fn forget_peak(self) -> Result<(), String> {
        fs::write(format!("/proc/{}/clear_refs", self.0), "5").map_err(|error| error.to_string())
    }

    fn status(self, key: &str) -> Result<u64, String> {
        let text =
            fs::read_to_string(format!("/proc/{}/status", self.0)).map_err(|error| error.to_string())?;
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        let value = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        value.ok_or_else(|| format!("the kernel does not tell {key}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_of_this_process() {
        let own = Process(std::process::id());
        assert!(own.memory_kb().expect("it tells") > 100);
        assert!(own.peak_kb().expect("it tells") >= 100);
        assert!(own.cpu().is_ok());
    }

    #[test]
    fn an_address_is_found_in_a_line() {
        let line = "INFO serving http=127.0.0.1:40123 media=[]";
        assert_eq!(address_in(line), Some(SocketAddr::from(([127, 0, 0, 1], 40_123))));
        assert_eq!(address_in("nothing"), None);
    }
}
