//! The command line: what can be said, and which command is meant.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{chat, demo, inspect, relay, verify};

/// End-to-end encrypted messaging: groups on MLS, one-to-one on a post-quantum double ratchet, through a relay that sees
/// neither names nor members nor contents.
#[derive(Parser)]
#[command(name = "undertone", version, after_help = AFTER_HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "Begin with `undertone demo`. To talk yourself, start `undertone-relay`, then \
`undertone chat --home DIR --name NAME` in two terminals.";

#[derive(Subcommand)]
enum Command {
    /// Shows all of it at work in less than a minute, crashes included; needs nothing else to be set up.
    Demo(demo::Arguments),
    /// Talks: a client for the terminal, and for programs with --json.
    Chat(chat::Arguments),
    /// Explains bytes: a frame of the relay protocol, the payload of an entry, or an invitation.
    Inspect(inspect::Arguments),
    /// Checks test vectors: derives every value with the library and compares.
    Verify(verify::Arguments),
    /// Runs a relay in this process. Operators use `undertone-relay`.
    #[command(hide = true)]
    Relay(relay::Arguments),
}

/// Runs the command that the process was started with, and says how it ended: 0 done, 1 failed, 2 misused.
pub fn run() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Chat(arguments) => chat::run(arguments),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Verify(arguments) => verify::run(&arguments),
        Command::Relay(arguments) => relay::run(arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("undertone: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Why a command ended without having done its work.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure {
    /// A file or directory could not be used.
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The home of a client is not usable as it is.
    Home {
        /// What is wrong, and what helps.
        why: String,
    },
    /// The store did not open.
    Store {
        /// The file.
        path: PathBuf,
        /// Why.
        error: undertone_sqlcipher::OpenError,
    },
    /// The client does not start.
    Client(undertone::Error),
    /// The client stopped by itself.
    Driver(undertone_net::DriverError),
    /// The relay failed.
    Relay(undertone_relay::Error),
    /// Threads or processes cannot be started.
    System(std::io::Error),
    /// What was given cannot be understood.
    Input {
        /// What is wrong with it.
        why: String,
    },
    /// A test vector and the library do not agree.
    Vector {
        /// Where, and on what.
        fault: String,
    },
    /// The demonstration did not show what it promises.
    Broken {
        /// What was seen instead.
        why: String,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, error } => write!(f, "{}: {error}", path.display()),
            Self::Home { why } | Self::Input { why } | Self::Broken { why } => f.write_str(why),
            Self::Store { path, error } => write!(f, "{}: {error}", path.display()),
            Self::Client(error) => write!(f, "{error}; {}", error.recovery()),
            Self::Driver(error) => error.fmt(f),
            Self::Relay(error) => error.fmt(f),
            Self::Vector { fault } => f.write_str(fault),
            Self::System(error) => write!(f, "cannot start: {error}"),
        }
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        super::Arguments::command().debug_assert();
    }
}
