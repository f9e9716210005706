//! `undertone-relay`: the reference relay as a program.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use undertone_relay::Config;

/// The reference relay of undertone. Without arguments it serves loopback clients, and keeps its data in
/// ./undertone-relay-data.
#[derive(Parser)]
#[command(name = "undertone-relay", version)]
struct Arguments {
    /// Reads the configuration from a TOML file; what is not in it has its default.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Listens on this address, for example 127.0.0.1:4460; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<std::net::SocketAddr>,
    /// Keeps the data in this directory.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Prints the configuration in effect as TOML, and ends.
    #[arg(long)]
    print_config: bool,
    /// How much to log on standard error: off, error, warn, info, debug.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log: tracing::level_filters::LevelFilter,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(arguments.log).with_ansi(false).init();
    match start(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("undertone-relay: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: Arguments) -> Result<(), Failure> {
    let config = configuration(&arguments)?;
    if arguments.print_config {
        print!("{}", toml::to_string(&config).map_err(Failure::Print)?);
        return Ok(());
    }
    let runtime = tokio::runtime::Runtime::new().map_err(Failure::Runtime)?;
    runtime.block_on(undertone_relay::run(config)).map_err(Failure::Relay)
}

fn configuration(arguments: &Arguments) -> Result<Config, Failure> {
    let mut config = match &arguments.config {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| Failure::Read { path: path.clone(), error })?;
            toml::from_str(&text).map_err(|error| Failure::Parse { path: path.clone(), error })?
        }
        None => Config::default(),
    };
    if let Some(listen) = arguments.listen {
        config.listen = listen;
    }
    if let Some(data) = &arguments.data {
        config.data.clone_from(data);
    }
    Ok(config)
}

/// Why the program ends with a failure.
enum Failure {
    Read { path: PathBuf, error: std::io::Error },
    Parse { path: PathBuf, error: toml::de::Error },
    Print(toml::ser::Error),
    Runtime(std::io::Error),
    Relay(undertone_relay::Error),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Read { path, error } => write!(f, "cannot read {}: {error}", path.display()),
            Self::Parse { path, error } => write!(f, "{} is no configuration: {error}", path.display()),
            Self::Print(error) => write!(f, "cannot print the configuration: {error}"),
            Self::Runtime(error) => write!(f, "cannot start: {error}"),
            Self::Relay(error) => error.fmt(f),
        }
    }
}
