//! Starting other programs, always from the root of the repository, and saying so.

use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The root of the repository.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("xtask lies in the root of the repository").to_path_buf()
}

/// A program that is about to be started.
pub struct Program {
    command: Command,
    name: String,
}

/// `program`, to be run in the root of the repository.
pub fn program(program: &str) -> Program {
    let mut command = Command::new(program);
    command.current_dir(root());
    Program { command, name: program.to_owned() }
}

/// The cargo that runs this xtask.
pub fn cargo() -> Program {
    let path = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut cargo = program(&path);
    cargo.name = "cargo".to_owned();
    cargo
}

impl Program {
    /// Adds arguments.
    pub fn args<S: AsRef<str>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        for arg in args {
            self.command.arg(arg.as_ref());
        }
        self
    }

    /// Sets a variable of its environment.
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.command.env(key, value);
        self
    }

    /// Runs in this directory, relative to the root.
    pub fn directory(mut self, directory: impl AsRef<Path>) -> Self {
        self.command.current_dir(root().join(directory));
        self
    }

    /// Prints the command line.
    pub fn echo(self) -> Self {
        let args: Vec<_> = self.command.get_args().map(|a| a.to_string_lossy().into_owned()).collect();
        println!("$ {} {}", self.name, args.join(" "));
        self
    }

    /// Runs to its end with its output on ours.
    pub fn status(mut self) -> Result<(), String> {
        let status = self.command.stdin(Stdio::null()).status().map_err(|e| self.cannot_start(&e))?;
        if status.success() { Ok(()) } else { Err(format!("`{}` ended with {status}", self.name)) }
    }

    /// Becomes the program: what the terminal sends (Ctrl-C) reaches it alone, and its end is ours. Returns only when it
    /// cannot be started.
    pub fn replace(mut self) -> Result<(), String> {
        let error = self.command.exec();
        Err(self.cannot_start(&error))
    }

    /// Runs to its end and gives what it wrote to standard output, whether it succeeded or not.
    pub fn capture(mut self) -> Result<(bool, String), String> {
        let output = self
            .command
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .map_err(|e| self.cannot_start(&e))?;
        Ok((output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()))
    }

    /// Like [`Self::capture`], with its errors out of sight; `None` when it cannot be started or fails.
    pub fn quiet(mut self) -> Option<String> {
        let output = self.command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs to its end and hands every line of its standard output to `line`, as it comes.
    pub fn lines(mut self, mut line: impl FnMut(&str)) -> Result<bool, String> {
        let mut child = self
            .command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| self.cannot_start(&e))?;
        let mut output = child.stdout.take().expect("it was asked for");
        let mut pending = Vec::new();
        let mut chunk = [0; 4096];
        while let Ok(n @ 1..) = output.read(&mut chunk) {
            pending.extend_from_slice(&chunk[..n]);
            while let Some(end) = pending.iter().position(|b| *b == b'\n') {
                let bytes: Vec<u8> = pending.drain(..=end).collect();
                line(String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']));
            }
        }
        if !pending.is_empty() {
            line(&String::from_utf8_lossy(&pending));
        }
        let status = child.wait().map_err(|e| e.to_string())?;
        Ok(status.success())
    }

    /// Runs for at most `limit`, all output out of sight. False: it failed, or was stopped.
    pub fn within(mut self, limit: Duration) -> bool {
        let silent = self.command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(mut child) = silent.spawn() else { return false };
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            match child.try_wait() {
                Ok(Some(status)) => return status.success(),
                Ok(None) => std::thread::sleep(Duration::from_millis(50)),
                Err(_) => break,
            }
        }
        // Its own children, if any, end with their pipes.
        let _ = child.kill();
        let _ = child.wait();
        false
    }

    fn cannot_start(&self, error: &std::io::Error) -> String {
        format!("`{}` cannot be started: {error}", self.name)
    }
}
