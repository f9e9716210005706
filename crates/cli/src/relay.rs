//! `undertone relay`: the relay in this process, so that the demonstration needs one program only.

use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;

use undertone_relay::Config;

use crate::args::Failure;

/// Runs a relay in this process.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Listens on this address; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4460")]
    listen: SocketAddr,
    /// Keeps the data in this directory.
    #[arg(long, value_name = "DIR", default_value = "undertone-relay-data")]
    data: PathBuf,
    /// Ends when standard input does, so that no relay outlives the program that started it.
    #[arg(long)]
    until_stdin_ends: bool,
    /// How much to log on standard error: off, error, warn, info, debug, trace.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log: tracing::level_filters::LevelFilter,
}

/// Serves until it is told to stop.
pub(crate) fn run(arguments: Arguments) -> Result<(), Failure> {
    let Arguments { listen, data, until_stdin_ends, log } = arguments;
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(log).with_ansi(false).init();
    let mut config = Config::default();
    config.listen = listen;
    config.data = data;
    if until_stdin_ends {
        std::thread::spawn(|| {
            // Nothing is ever said to a relay; what comes is the end.
            let _ = std::io::stdin().lock().read_to_end(&mut Vec::new());
            std::process::exit(0);
        });
    }
    let runtime = tokio::runtime::Runtime::new().map_err(Failure::System)?;
    runtime.block_on(undertone_relay::run(config)).map_err(Failure::Relay)
}
