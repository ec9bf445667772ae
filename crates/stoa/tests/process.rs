//! The binary as people and supervisors meet it: started, asked, stopped.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Long enough for a process that starts on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn stoa(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stoa"));
    command.args(args).stdin(Stdio::null()).env_remove("RUST_LOG");
    command
}

fn run(args: &[&str]) -> (bool, String, String) {
    let Output { status, stdout, stderr } = stoa(args).output().expect("it starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it writes text");
    (status.success(), text(stdout), text(stderr))
}

/// `stoa dev` on free ports, killed when the test is over.
struct Server {
    child: Child,
    address: SocketAddr,
    greeting: String,
}

impl Server {
    fn start() -> Self {
        Self::start_with(&[])
    }

    fn start_with(more: &[&str]) -> Self {
        let args = ["dev", "--port", "0", "--udp-port", "0", "--workers", "1"];
        let mut child = stoa(&[&args, more].concat()).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut greeting = String::new();
        let mut lines = BufReader::new(child.stdout.take().expect("it was asked for"));
        while !greeting.contains("Ctrl-C") {
            let read = lines.read_line(&mut greeting).expect("it writes text");
            assert!(read > 0, "it ended before it was up: {greeting}");
        }
        let opened = greeting.split("://").nth(1).and_then(|rest| rest.split_whitespace().next());
        let address: SocketAddr = opened.expect("an address").parse().expect("an address and a port");
        Self { child, address, greeting }
    }

    fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers in text");
        answer
    }

    fn get(&self, path: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"))
    }

    /// Sends SIGINT, as Ctrl-C does, and waits for the end.
    fn interrupt(mut self) -> bool {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().expect("kill exists").success());
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return status.success();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn development_mode_needs_nothing_and_serves_everything() {
    let server = Server::start();
    assert!(server.greeting.contains("API key devkey, secret secret"), "{}", server.greeting);
    for (path, wanted) in [
        ("/healthz", "ok"),
        ("/readyz", "serving"),
        ("/metrics", "stoa_worker_peers{worker=\"0\"} 0"),
        ("/", "<html"),
        ("/r/lobby", "<html"),
    ] {
        let answer = server.get(path);
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(wanted), "{path}: {answer}");
    }
    let body = r#"{"room":"lobby","name":"Ann"}"#;
    let answer = server.ask(&format!(
        "POST /api/token HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    ));
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"url\":\"ws://x\""), "{answer}");
}

#[test]
fn ctrl_c_stops_it_in_order_even_with_idle_connections() {
    let server = Server::start();
    let idle = TcpStream::connect(server.address).expect("it listens");
    assert!(server.get("/readyz").contains("200"));
    assert!(server.interrupt(), "exit status 0 in time");
    drop(idle);
}

#[test]
fn a_join_request_of_tens_of_kilobytes_fits_into_the_request_line() {
    let server = Server::start();
    let answer = server.get(&format!("/rtc/v1/validate?join_request={}", "A".repeat(60_000)));
    let status = answer.lines().next().unwrap_or_default();
    assert!(
        status.starts_with("HTTP/1.1 4") && !status.contains("414") && !status.contains("431"),
        "{answer}"
    );
}

#[test]
fn the_state_of_a_room_needs_a_token() {
    let server = Server::start();
    assert!(server.get("/debug/rooms/lobby").starts_with("HTTP/1.1 401"));
    let (_, token, _) = run(&["token", "--room", "lobby", "--grant", "roomAdmin"]);
    let answer = server.ask(&format!(
        "GET /debug/rooms/lobby HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {}\r\n\r\n",
        token.trim()
    ));
    assert!(answer.starts_with("HTTP/1.1 404"), "there is no such room yet: {answer}");
}

#[test]
fn a_port_in_use_is_an_error_that_says_what_to_do() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = taken.local_addr().expect("it is bound").port().to_string();
    let (good, _, error) = run(&["dev", "--port", &port]);
    assert!(!good && error.contains(&port) && error.contains("choose another with --port"), "{error}");

    let taken = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a free port");
    let port = taken.local_addr().expect("it is bound").port().to_string();
    let (good, _, error) = run(&["dev", "--port", "0", "--udp-port", &port]);
    assert!(!good && error.contains(&port) && error.contains("choose another with --udp-port"), "{error}");
}

#[test]
fn production_refuses_the_development_key() {
    let command = |keys: &str| {
        let output = stoa(&["serve"]).env("STOA_KEYS", keys).output().expect("it starts");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (good, error) = command("devkey:a secret of at least thirty-two characters");
    assert!(!good && error.contains("development key"), "{error}");
    let (good, error) = command("myapp:secret");
    assert!(!good && error.contains("development key"), "{error}");
}

#[test]
fn a_configuration_is_checked_without_starting_anything() {
    let directory = std::env::temp_dir().join(format!("stoa-check-config-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let file = directory.join("stoa.toml");
    let check = |text: &str| {
        std::fs::write(&file, text).expect("a file");
        run(&["check-config", file.to_str().expect("text")])
    };
    let keys = "[keys]\nmyapp = \"a secret of at least thirty-two characters\"\n";
    assert!(check(keys).0);
    let (good, _, error) = check(&format!("{keys}[udp]\nport = 0\n"));
    assert!(!good && error.contains("stoa.toml:4: udp.port = 0: expected a port from 1 to 65535"), "{error}");
    std::fs::remove_dir_all(&directory).expect("it is ours");
}

#[test]
fn help_and_version_are_there() {
    let (good, help, _) = run(&["--help"]);
    assert!(
        good && ["dev", "serve", "check-config", "token"].iter().all(|name| help.contains(name)),
        "{help}"
    );
    let (good, version, _) = run(&["--version"]);
    assert!(good && version.starts_with("stoa 0."), "{version}");
}

#[test]
fn dead_letters_of_webhooks_are_listed_and_replayed_by_command() {
    let data = tempfile::tempdir().expect("a directory");
    let data = data.path().to_str().expect("a path of text");
    let server = Server::start_with(&["--webhook", "http://127.0.0.1:9/hook", "--data", data]);
    let address = format!("http://{}", server.address);
    let (good, listed, error) = run(&["webhooks", "list", "--server", &address]);
    assert!(good, "{error}");
    assert_eq!(listed, "# http://127.0.0.1:9/hook: 0 wait, 0 dead\n");
    let (good, replayed, error) = run(&["webhooks", "replay", "--server", &address, "EV_X_1"]);
    assert!(good && replayed == "0 replayed\n", "{replayed}{error}");
    let secret = ["--api-key", "devkey", "--api-secret", "wrong"];
    let (good, _, error) = run(&[&["webhooks", "list", "--server", &address][..], &secret].concat());
    assert!(!good && error.contains("the server refuses (401)"), "{error}");
}

#[test]
fn a_server_without_webhooks_has_no_dead_letters() {
    let server = Server::start();
    let (good, _, error) = run(&["webhooks", "list", "--server", &format!("http://{}", server.address)]);
    assert!(!good && error.contains("no webhooks configured"), "{error}");
}

#[test]
fn two_servers_cannot_share_a_data_directory() {
    let data = tempfile::tempdir().expect("a directory");
    let args = ["--webhook", "http://127.0.0.1:9/hook", "--data", data.path().to_str().expect("text")];
    let _first = Server::start_with(&args);
    let second = ["dev", "--port", "0", "--udp-port", "0", "--workers", "1"];
    let (good, _, error) = run(&[&second[..], &args].concat());
    assert!(!good && error.contains("in use by another process"), "{error}");
}
