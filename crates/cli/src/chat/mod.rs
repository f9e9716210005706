//! `undertone chat`: a client over standard input and output, for a person and, with `--json`, for a program.
//!
//! ```text
//! stdin ──▶ command ──▶ session ──▶ Handle::call ──▶ client
//! stdout ◀── print | json ◀── saying ◀── session ◀── Notice
//! ```
//!
//! An event is taken when its line is written: only then the client may forget it. So a crash never swallows one, and
//! may repeat the last ones, with the same numbers.

mod book;
mod command;
mod joining;
mod json;
mod print;
mod saying;
mod session;

use std::io::{BufRead, Read, Write};
use std::path::PathBuf;

use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use tokio::sync::mpsc;
use undertone::engine::Client;
use undertone::time::UnixMs;
use undertone_net::{Options, RelayAddress, spawn};
use undertone_sqlcipher::SqlCipherStore;

use crate::args::Failure;
use crate::home;
use saying::Saying;
use session::Session;

/// Talks to others through a relay. Type text to send it, and /help for everything else.
///
/// The first start makes an identity; it needs --name. The identity, all keys and the whole history live in --home, in an
/// encrypted store whose key is beside it. To talk to somebody, exchange invitations (/invite, /add), and compare the
/// safety number (/safety).
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// Keeps the identity, the keys and the history in this directory.
    #[arg(long, value_name = "DIR")]
    home: PathBuf,
    /// What others shall see as your name; for the first start.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The relay. What is given at the first start stands in your invitations, and is used whenever none is given.
    #[arg(long, value_name = "URL")]
    relay: Option<RelayAddress>,
    /// Makes this a new device of an account that is elsewhere: prints a code for /link on the device that has it. For the
    /// first start, in place of --name; --relay must be the relay of that account.
    #[arg(long, conflicts_with = "name")]
    link: bool,
    /// Speaks JSON: one object on each line of standard output. Commands are the same.
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
With --json every object has a `type` and `at_us`, microseconds since 1970. Each command is answered in order by one \
`reply` or `error` object with its `command`. Everything else is told as it happens: `message`, `sent`, `delivered`, `read`, \
`contact`, `ready`, `group_changed`, `removed`, `undecryptable`, `gap`, `suspicion`, `device_linked`, `device_removed`, `sending_held`, \
`history_sent`, `history_complete`, `history_failed` and \
`failed` have a rising `event` number; \
after a crash the last ones may come again with the same number, to be ignored. `online`, `caught_up`, `offline`, \
`relay_changed`, `typing`, `history_progress`, `link_offer`, `link_code` and `link_ended` have none. With --link, `hello` comes when the device \
has an account; until then /confirm-link, /cancel-link and /quit are obeyed. Nothing is marked as read but by /read.";

/// The relay of those who name none.
const RELAY: &str = "ws://127.0.0.1:4460/v1/ws";

/// Runs until the input ends, or `/quit`.
pub(crate) fn run(arguments: Arguments) -> Result<(), Failure> {
    let store = home::open(&arguments.home)?;
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build().map_err(Failure::System)?;
    let result = runtime.block_on(talk(arguments, store));
    // The thread that reads the input may wait for a line that never comes.
    runtime.shutdown_background();
    result
}

async fn talk(arguments: Arguments, store: SqlCipherStore) -> Result<(), Failure> {
    let Arguments { home: _, name, relay, link, json } = arguments;
    let mut voice = Voice { json, is_cut: false };
    let mut lines = lines();
    let (client, relay, is_new) = if link {
        let relay = relay.map_or_else(|| address(RELAY), Ok)?;
        match joining::join(&store, &relay, &mut voice, &mut lines).await? {
            Some(client) => (client, relay, true),
            None => return Ok(()),
        }
    } else {
        begin(&store, name.as_deref(), relay)?
    };
    let hello = Saying::Hello {
        name: client.name().to_owned(),
        account: client.account(),
        device: client.device(),
        relay: relay.as_str().to_owned(),
        is_new,
    };
    voice.say(&hello);
    voice.flush();
    let own = client.account();
    let idle = store.clone();
    let options = Options::new(relay).on_idle(Box::new(move || idle.checkpoint()));
    let (handle, notices) = spawn(client, store, options);
    let mut session = Session::new(handle, voice, own).await;
    session.run(lines, notices).await;
    session.end().await.map_err(Failure::Driver)
}

/// The client of the store; a new one if there is none.
fn begin(
    store: &SqlCipherStore,
    name: Option<&str>,
    relay: Option<RelayAddress>,
) -> Result<(Client<SqlCipherStore>, RelayAddress, bool), Failure> {
    let rng = &mut UnwrapErr(SysRng);
    let now = UnixMs::from_u64(json::now_us() / 1_000);
    if let Some(client) = Client::open(store.clone(), now, rng).map_err(Failure::Client)? {
        let relay = match relay {
            Some(relay) => relay,
            None => address(&client.relay_url().map_err(Failure::Client)?)?,
        };
        return Ok((client, relay, false));
    }
    let Some(name) = name else {
        let why = "nobody lives here yet: say who you are with --name NAME, or join an account with --link";
        return Err(Failure::Input { why: why.into() });
    };
    let relay = relay.map_or_else(|| address(RELAY), Ok)?;
    let client = Client::create(store.clone(), name, relay.as_str(), now, rng).map_err(Failure::Client)?;
    Ok((client, relay, true))
}

fn address(text: &str) -> Result<RelayAddress, Failure> {
    text.parse().map_err(|error: undertone_net::BadAddress| Failure::Input { why: error.to_string() })
}

/// The lines of standard input, read by a thread of their own; the channel ends with the input.
fn lines() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        loop {
            let mut line = Vec::new();
            match (&mut input).take(LINE_LEN_MAX).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                // What goes on belongs to no message and is no command.
                Ok(_) if line.len() as u64 == LINE_LEN_MAX && !line.ends_with(b"\n") => {
                    if input.skip_until(b'\n').is_err() {
                        return;
                    }
                }
                Ok(_) => {}
            }
            if sender.blocking_send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Bytes of a line; what goes on behind them is passed over. No message may be as long.
const LINE_LEN_MAX: u64 = 1 << 17;

/// Standard output, in one of two languages.
pub(crate) struct Voice {
    json: bool,
    /// Nobody listens any more.
    is_cut: bool,
}

impl Voice {
    /// Whether a program listens.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether nobody listens any more.
    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Says one thing.
    pub(crate) fn say(&mut self, saying: &Saying) {
        let text = if self.json { Some(json::line(saying)) } else { print::text(saying) };
        if let Some(text) = text {
            self.is_cut |= writeln!(std::io::stdout().lock(), "{text}").is_err();
        }
    }

    /// Lets go of what was said.
    pub(crate) fn flush(&mut self) {
        self.is_cut |= std::io::stdout().lock().flush().is_err();
    }
}
