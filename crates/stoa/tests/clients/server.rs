//! `stoa dev` on free ports, and what can be seen of it from outside.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use auth::{Claims, DEVELOPMENT_KEY, DEVELOPMENT_SECRET};
use base::UnixMillis;

use crate::PATIENCE;

/// Memory that a server may have grown by, in kB, when everything that strangers did is over: allocators keep some.
const GROWTH_KB: u64 = 64 * 1024;

/// A running server, killed when the test is over.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    /// UDP ports of all workers.
    pub udp: Vec<u16>,
    errors: Arc<Mutex<String>>,
}

/// What must be the same afterwards.
pub struct Before {
    peers: f64,
    memory_kb: u64,
}

impl Server {
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// With further options.
    pub fn with(options: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_stoa"))
            .args(["dev", "--port", "0", "--udp-port", "0", "--workers", "2"])
            .args(options)
            .env("RUST_LOG", "info")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let errors = collect(child.stderr.take().expect("it was asked for"));
        let mut greeting = String::new();
        let mut lines = BufReader::new(child.stdout.take().expect("it was asked for"));
        while !greeting.contains("Ctrl-C") {
            let read = lines.read_line(&mut greeting).expect("it writes text");
            assert!(read > 0, "it ended before it was up: {greeting}");
        }
        let opened = greeting.split("://").nth(1).and_then(|rest| rest.split_whitespace().next());
        let address = opened.expect("an address").parse().expect("an address and a port");
        let udp = udp_ports(child.id());
        assert_eq!(udp.len(), 2, "one for each worker");
        Self { child, address, udp, errors }
    }

    pub fn socket_url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// A token of the development key, good for an hour.
    pub fn token(&self, room: &str, identity: &str) -> String {
        self.token_with(room, identity, |_| {})
    }

    /// The same with changed claims.
    pub fn token_with(&self, room: &str, identity: &str, change: impl FnOnce(&mut Claims)) -> String {
        let mut claims = Claims::join(identity, room).valid_for(now(), Duration::from_secs(3_600));
        change(&mut claims);
        auth::mint(DEVELOPMENT_KEY, DEVELOPMENT_SECRET, &claims)
    }

    /// Sends bytes to the HTTP port and returns what comes back until the server closes.
    pub fn raw(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
        // The server may refuse and close before all of it is written.
        let _ = stream.write_all(request);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Status and whole answer of a request with these further header lines.
    pub fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
        let length = body.len();
        let answer = self.raw(
            format!(
                "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\
                 {headers}\r\n{body}"
            )
            .as_bytes(),
        );
        (status(&answer), answer)
    }

    /// Sum of a metric over all its samples whose labels contain `label`.
    pub fn metric(&self, name: &str, label: &str) -> f64 {
        let (status, text) = self.ask("GET", "/metrics", "", "");
        assert_eq!(status, 200, "{text}");
        let samples = text.lines().filter_map(|line| line.rsplit_once(' '));
        let wanted = |sample: &str| {
            let (family, labels) = sample.split_once('{').unwrap_or((sample, ""));
            family == name && labels.contains(label)
        };
        samples.filter(|(sample, _)| wanted(sample)).filter_map(|(_, value)| value.parse::<f64>().ok()).sum()
    }

    /// Waits until a metric is at least this.
    pub fn counts(&self, name: &str, label: &str, at_least: f64) {
        let seen = until(|| self.metric(name, label), |value| *value >= at_least);
        assert!(seen >= at_least, "{name}{{{label}}} is {seen}, not {at_least}");
    }

    /// Waits until as many connections are there.
    pub fn has_peers(&self, wanted: f64) {
        let seen = until(|| self.metric("stoa_worker_peers", ""), |value| *value == wanted);
        assert_eq!(seen, wanted, "connections");
    }

    pub fn before(&self) -> Before {
        Before { peers: self.metric("stoa_worker_peers", ""), memory_kb: self.memory_kb() }
    }

    /// The process lives, nothing in it panicked, and it holds no more than before.
    pub fn is_unharmed(&mut self, before: &Before) {
        assert_eq!(self.child.try_wait().expect("it is our child"), None, "it ended: {}", self.errors());
        self.has_peers(before.peers);
        assert_eq!(self.metric("stoa_worker_recovered_panics_total", ""), 0.0, "{}", self.errors());
        assert!(!self.errors().contains("panicked"), "{}", self.errors());
        let grown = self.memory_kb().saturating_sub(before.memory_kb);
        assert!(grown < GROWTH_KB, "it has grown by {grown} kB, from {} kB", before.memory_kb);
    }

    /// Stops the process for this long, as a hanging machine would.
    pub fn freeze(&self, time: Duration) {
        let signal = |name: &str| {
            let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status();
            assert!(sent.expect("kill exists").success());
        };
        signal("-STOP");
        std::thread::sleep(time);
        signal("-CONT");
    }

    fn errors(&self) -> String {
        self.errors.lock().expect("the reader does not panic").clone()
    }

    /// Resident memory.
    pub fn memory_kb(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Keeps all that the process writes.
fn collect(mut stream: impl std::io::Read + Send + 'static) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let kept = text.clone();
    std::thread::spawn(move || {
        let mut buffer = [0; 4_096];
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            let new = String::from_utf8_lossy(&buffer[..read]);
            kept.lock().expect("nobody panics with it").push_str(&new);
        }
    });
    text
}

/// Ports of the UDP sockets that a process holds (proc(5): /proc/net/udp).
fn udp_ports(process: u32) -> Vec<u16> {
    let links = fs::read_dir(format!("/proc/{process}/fd")).expect("it is our child");
    let links = links.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    let sockets: BTreeSet<String> = links
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let mut ports = Vec::new();
    for table in ["udp", "udp6"] {
        let text = fs::read_to_string(format!("/proc/{process}/net/{table}")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let port = words[1].rsplit(':').next().and_then(|port| u16::from_str_radix(port, 16).ok());
            if sockets.contains(words[9]) {
                ports.extend(port);
            }
        }
    }
    ports.sort_unstable();
    ports
}

pub fn status(answer: &str) -> u16 {
    let code = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    code.and_then(|code| code.parse().ok()).unwrap_or_default()
}

pub fn now() -> UnixMillis {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    UnixMillis(since.expect("after 1970").as_millis() as u64)
}

/// Looks again and again until it is as wanted, or too late; returns what it saw last.
pub fn until<T>(mut look: impl FnMut() -> T, wanted: impl Fn(&T) -> bool) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = look();
        if wanted(&seen) || Instant::now() > deadline {
            return seen;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
