//! `stoa load` against a real server.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// `stoa dev` on free ports; killed when the test is over.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_stoa"))
            .args(["dev", "--port", "0", "--udp-port", "0", "--workers", "1"])
            .env("RUST_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("it was asked for")).lines();
        let address = lines.find_map(|line| Some(line.ok()?.split_once("://")?.1.trim().to_owned()));
        let url = format!("ws://{}", address.expect("it says where it listens"));
        // The rest is read, so that the server never waits for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn load(options: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_stoa")).arg("load").args(options).output().expect("it starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn everybody_gets_in_and_sees_without_loss_and_the_summary_says_so() {
    let server = Server::start();
    let people = ["--publishers", "2", "--subscribers", "3", "--rooms", "2", "--ramp", "20"];
    let output = load(&[&["--url", &server.url, "--duration", "3s", "--json"], &people[..]].concat());
    let (line, table) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{line}\n{table}");
    let summary: Value = serde_json::from_str(line.trim()).expect("one line of JSON");
    assert_eq!((&summary["publishers"], &summary["subscribers"]), (&4.into(), &6.into()));
    assert_eq!(
        (&summary["failed"], &summary["ended"], &summary["without_media"]),
        (&0.into(), &0.into(), &0.into())
    );
    for times in ["join_ms", "first_media_ms"] {
        let time = |of: &str| summary[times][of].as_f64().expect("a number");
        assert!(0.0 < time("p50") && time("p50") <= time("p95") && time("p95") <= time("max"), "{summary}");
    }
    // Six watch two people each; the layout has 1.5 Mbit/s and 0.15 of it.
    assert!(summary["up_mbps"].as_f64().expect("a number") > 1.0, "{summary}");
    assert!(summary["down_mbps"].as_f64().expect("a number") > 1.0, "{summary}");
    assert!(summary["loss_percent"].as_f64().expect("a number") < 1.0, "{summary}");
    assert!(table.contains("Mbit/s") && table.lines().count() > 3, "{table}");
}

#[test]
fn what_is_wrong_is_said_once_with_what_to_do() {
    let server = Server::start();
    let wrong =
        ["--url", &server.url, "--api-key", "devkey", "--api-secret", "not the secret of this server"];
    for (options, words) in [
        (&wrong[..], "--api-secret"),
        (&["--url", "ws://127.0.0.1:9"], "is the server running"),
        (&["--url", "http://127.0.0.1:9"], "ws://"),
        (&["--publishers", "0", "--subscribers", "0"], "nobody would join"),
    ] {
        let output = load(options);
        let said = text(&output.stderr);
        assert!(!output.status.success() && said.contains(words), "{options:?}: {said}");
        assert!(said.lines().count() <= 3, "{said}");
    }
}
