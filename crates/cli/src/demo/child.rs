//! The processes on stage: a relay, and chats that speak JSON. Each is ended by its own handle, and when it is dropped.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::args::Failure;

/// How long a process may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// A relay as a process.
#[derive(Debug)]
pub struct Relay {
    child: Child,
    /// The relay ends when this does.
    stdin: Option<ChildStdin>,
    address: SocketAddr,
}

impl Relay {
    /// Starts `program relay` on a free port with its data in `data`, its log appended to `log`, and waits until it
    /// listens.
    ///
    /// # Errors
    /// [`Failure`] if it does not start.
    pub fn start(program: &Path, data: &Path, log: &Path) -> Result<Self, Failure> {
        let failed = |error| Failure::File { path: log.to_owned(), error };
        let stderr = File::options().create(true).append(true).open(log).map_err(failed)?;
        let mut child = Command::new(program)
            .args(["relay", "--listen", "127.0.0.1:0", "--until-stdin-ends", "--log", "debug", "--data"])
            .arg(data)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .map_err(Failure::System)?;
        let stdin = child.stdin.take();
        let (sender, receiver) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    // Who waits no longer needs no answer.
                    let _ = sender.send(line);
                }
            });
        }
        let line = receiver.recv_timeout(PATIENCE).unwrap_or_default();
        let address = line.strip_prefix("listening on ws://").and_then(|rest| rest.split('/').next()?.parse().ok());
        match address {
            Some(address) => Ok(Self { child, stdin, address }),
            None => {
                end(&mut child);
                Err(Failure::Broken { why: format!("the relay did not start; see {}", log.display()) })
            }
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it (SIGKILL), whatever it is doing.
    pub fn kill(mut self) {
        end(&mut self.child);
    }

    /// Lets it end cleanly.
    pub fn stop(mut self) {
        drop(self.stdin.take());
        wait(&mut self.child);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// One line of a chat.
#[derive(Clone, Debug)]
pub struct Line {
    /// Who said it.
    pub who: String,
    /// The object; none at the end of the process's output.
    pub value: Option<Value>,
}

/// Whose account a chat has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Identity {
    /// One of its own, made if there is none.
    Own,
    /// One that it is to be linked to.
    Linked,
    /// The one that is in its home.
    There,
}

/// `undertone chat --json` as a process.
#[derive(Debug)]
pub struct Chat {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Chat {
    /// Starts `program chat --json` for `name` in `home`. What it says goes to `heard`; what it has to complain about
    /// goes to our standard error.
    ///
    /// # Errors
    /// [`Failure`] if the process does not start.
    pub fn start(
        program: &Path,
        name: &str,
        identity: Identity,
        home: &Path,
        relay: &str,
        heard: mpsc::Sender<Line>,
    ) -> Result<Self, Failure> {
        let identity: &[&str] = match identity {
            Identity::Own => &["--name", name],
            Identity::Linked => &["--link"],
            Identity::There => &[],
        };
        let mut child = Command::new(program)
            .args(["chat", "--json"])
            .args(identity)
            .args(["--relay", relay, "--home"])
            .arg(home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(Failure::System)?;
        let stdin = child.stdin.take();
        if let Some(stdout) = child.stdout.take() {
            let who = name.to_owned();
            std::thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    // A process that was killed may leave half a line.
                    let Ok(value) = serde_json::from_str(&line) else { continue };
                    if heard.send(Line { who: who.clone(), value: Some(value) }).is_err() {
                        return;
                    }
                }
                let _ = heard.send(Line { who, value: None });
            });
        }
        Ok(Self { child, stdin })
    }

    /// Its process.
    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Says one line to it. Whether it could be said.
    pub fn say(&mut self, line: &str) -> bool {
        let Some(stdin) = &mut self.stdin else { return false };
        writeln!(stdin, "{line}").and_then(|()| stdin.flush()).is_ok()
    }

    /// Kills it (SIGKILL), whatever it is doing.
    pub fn kill(mut self) {
        end(&mut self.child);
    }

    /// Ends its input, and waits for it.
    pub fn stop(mut self) {
        drop(self.stdin.take());
        wait(&mut self.child);
    }
}

impl Drop for Chat {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Waits for the end of a process that was asked to end.
fn wait(child: &mut Child) {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    end(child);
}

fn end(child: &mut Child) {
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
}
