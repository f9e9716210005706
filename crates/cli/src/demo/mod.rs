//! `undertone demo`: everything at work, as processes, with crashes, and what came of it.
//!
//! ```text
//! script ──▶ play ──▶ stage ──▶ relay, chats (processes, a proxy before each chat)
//!                       │
//!                       └──▶ ledger ──▶ table
//! ```
//!
//! What is claimed at the end is computed from what the processes were told and what they said, by nothing else.

pub mod child;
pub mod ledger;
mod play;
pub mod proxy;
pub mod script;
pub mod stage;
mod table;

use std::path::PathBuf;

use crate::args::Failure;
use play::Play;
use stage::Stage;

/// Shows everything at work: a relay and four clients, each a process of its own with an encrypted store on disk; first
/// contact while the other is away, a direct conversation, a second device of one person, a group with a member added and one
/// removed, receipts and typing, and kill -9 of the relay and of a client in the middle of it. Takes less than a minute.
///
/// Ends with a table of what was sent and seen, and fails if anything was lost, shown twice, out of order, or readable to
/// the member that was removed.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Reads what is said from this file; examples/demo.txt, which is built in, explains how to write one.
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// Prints the table as one JSON object on standard output, and everything else on standard error.
    #[arg(long)]
    json: bool,
    /// Keeps the stores, the relay's data and its log in this directory, which must be empty or missing.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// The script that is built in.
const SCRIPT: &str = include_str!("../../../../examples/demo.txt");

/// Plays the script, and shows what came of it.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let steps = script::parse(&text(arguments)?).map_err(|error| Failure::Input { why: error.to_string() })?;
    let temporary = tempfile::Builder::new().prefix("undertone-demo-").tempdir().map_err(Failure::System)?;
    let dir = match &arguments.keep {
        Some(dir) => {
            make_empty(dir)?;
            dir.as_path()
        }
        None => temporary.path(),
    };
    let program = std::env::current_exe().map_err(Failure::System)?;
    let mut play = Play::new(Stage::new(&program, dir), arguments.json);
    play.open(dir)?;
    for step in steps {
        play.step(step)?;
    }
    let result = play.finish()?;
    if arguments.json {
        println!("{}", table::json(&result));
    } else {
        println!("{}", table::text(&result));
    }
    if result.is_sound() { Ok(()) } else { Err(Failure::Broken { why: "this is not what was promised".into() }) }
}

fn text(arguments: &Arguments) -> Result<String, Failure> {
    match &arguments.script {
        None => Ok(SCRIPT.to_owned()),
        Some(path) => std::fs::read_to_string(path).map_err(|error| Failure::File { path: path.clone(), error }),
    }
}

fn make_empty(dir: &std::path::Path) -> Result<(), Failure> {
    let failed = |error| Failure::File { path: dir.to_owned(), error };
    std::fs::create_dir_all(dir).map_err(failed)?;
    if std::fs::read_dir(dir).map_err(failed)?.next().is_some() {
        return Err(Failure::Input { why: format!("{} is not empty", dir.display()) });
    }
    Ok(())
}
