//! `undertone chat --link`: a device without an account, until it has one.

use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use tokio::sync::mpsc;
use undertone::Error;
use undertone::crypto::CryptoRng;
use undertone::engine::{Client, Joining, Signal};
use undertone::time::UnixMs;
use undertone_net::{JoiningHandle, Notice, Options, RelayAddress, spawn_joining};
use undertone_sqlcipher::SqlCipherStore;

use super::Voice;
use super::command::Command;
use super::saying::{Fault, Passing, Reply, Saying};
use crate::args::Failure;

/// Shows the offer, obeys `/confirm-link` and `/cancel-link`, and yields the client; none if the input ended or the person
/// changed their mind.
pub(crate) async fn join(
    store: &SqlCipherStore,
    relay: &RelayAddress,
    voice: &mut Voice,
    lines: &mut mpsc::Receiver<String>,
) -> Result<Option<Client<SqlCipherStore>>, Failure> {
    let joining = Joining::new(store.clone(), relay.as_str(), &mut UnwrapErr(SysRng)).map_err(Failure::Client)?;
    let (handle, mut notices) = spawn_joining(joining, store.clone(), Options::new(relay.clone()));
    let mut is_given_up = false;
    loop {
        tokio::select! {
            line = lines.recv(), if !is_given_up => match line {
                Some(line) => is_given_up = obey(&line, &handle, voice).await,
                None => is_given_up = give_up(&handle).await,
            },
            notice = notices.recv() => match notice {
                Some(Notice::Signal(signal)) => pass_on(signal, voice),
                // Nothing happens, durably, to a device without an account.
                Some(Notice::Event(..)) => {}
                None => break,
            },
        }
        voice.flush();
        if voice.is_cut() {
            return Ok(None);
        }
    }
    match handle.finish().await {
        Ok(client) => Ok(Some(client)),
        Err(_) if is_given_up => Ok(None),
        Err(error) => Err(Failure::Driver(error)),
    }
}

/// Carries out one line. Whether it was the last.
async fn obey(line: &str, handle: &JoiningHandle<SqlCipherStore>, voice: &mut Voice) -> bool {
    let command = match Command::parse(line) {
        Ok(Some(command)) => command,
        Ok(None) => return false,
        Err(error) => {
            voice.say(&Saying::Trouble { command: None, fault: Fault::usage(error.to_string()) });
            return false;
        }
    };
    let name = command.name();
    let is_last = matches!(command, Command::Quit | Command::CancelLink);
    let result = match command {
        Command::ConfirmLink => call(handle, |joining, now, rng| joining.confirm(now, rng)).await,
        Command::CancelLink => call(handle, |joining, now, rng| joining.cancel(now, rng)).await,
        Command::Quit => {
            give_up(handle).await;
            Ok(())
        }
        _ => Err(Fault::no_account()),
    };
    match result {
        Ok(()) => voice.say(&Saying::Reply { command: name, reply: Reply::Done }),
        Err(fault) => voice.say(&Saying::Trouble { command: Some(name), fault }),
    }
    is_last
}

/// Ends it, whether or not anything was begun.
async fn give_up(handle: &JoiningHandle<SqlCipherStore>) -> bool {
    let _ = call(handle, |joining, now, rng| joining.cancel(now, rng)).await;
    true
}

async fn call<F>(handle: &JoiningHandle<SqlCipherStore>, run: F) -> Result<(), Fault>
where
    F: FnOnce(&mut Joining<SqlCipherStore>, UnixMs, &mut dyn CryptoRng) -> Result<(), Error> + Send + 'static,
{
    Ok(handle.call(run).await.map_err(|_| Fault::stopped())??)
}

fn pass_on(signal: Signal, voice: &mut Voice) {
    let passing = match signal {
        Signal::Online => Passing::Online,
        Signal::Offline => Passing::Offline,
        Signal::RelayChanged => Passing::RelayChanged,
        signal => match Passing::of_linking(signal) {
            Some(passing) => passing,
            None => return,
        },
    };
    voice.say(&Saying::Passing(passing));
}
