//! The server as a process of its own.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// `stoa dev` on free ports; killed when dropped.
pub struct Server {
    child: Child,
    address: String,
}

impl Server {
    /// Starts the binary that `STOA_BIN` names, or the one beside this program, and waits until it is up.
    pub fn start() -> Result<Self, String> {
        let binary = binary()?;
        let mut child = Command::new(&binary)
            .args(["dev", "--port", "0", "--udp-port", "0"])
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{} cannot be started: {error}", binary.display()))?;
        let output = child.stdout.take().ok_or("its output cannot be read")?;
        let mut server = Self { child, address: String::new() };
        for line in BufReader::new(output).lines() {
            let line = line.map_err(|error| error.to_string())?;
            if let Some((_, address)) = line.split_once("://").filter(|_| server.address.is_empty()) {
                server.address = address.trim().to_owned();
            }
            if line.contains("Ctrl-C") {
                return Ok(server);
            }
        }
        Err("the server ended before it was up".to_owned())
    }

    /// Where clients connect to.
    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The binary that `STOA_BIN` names, or the one beside this program.
pub fn binary() -> Result<PathBuf, String> {
    if let Some(path) = std::env::var_os("STOA_BIN") {
        return Ok(path.into());
    }
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let beside = own.with_file_name("stoa");
    match beside.exists() {
        true => Ok(beside),
        false => Err(format!(
            "there is no server at {}: build it with `cargo build --release --package stoa`, or set STOA_BIN",
            beside.display()
        )),
    }
}
