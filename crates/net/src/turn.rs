//! One turn: inputs in, one durable commit, outputs out. Runs where blocking is allowed.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use undertone::crypto::CryptoRng;
use undertone::engine::{Client, Event, EventId, Input, Joining, Output, Signal};

use undertone::store::{Batch, Store, StoreError, StoreView};
use undertone::time::UnixMs;
use undertone::{Error, ErrorKind};

/// Why a driver stopped by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum DriverError {
    /// The store failed: close everything, and open the client again from the store.
    Store(StoreError),
    /// The client refuses to go on.
    Client(Error),
    /// The client or a call panicked.
    Panicked,
}

impl fmt::Display for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Client(error) => error.fmt(f),
            Self::Panicked => f.write_str("the client panicked"),
        }
    }
}

impl std::error::Error for DriverError {}

impl From<StoreError> for DriverError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// What can be driven: a state machine with the inputs and outputs of a client.
pub(crate) trait Machine: Send + 'static {
    fn handle(&mut self, input: Input<'_>, now: UnixMs, rng: &mut dyn CryptoRng) -> Result<(), Error>;

    fn poll(&mut self) -> Option<Output>;

    /// Whether there is nothing more to drive.
    fn is_over(&self) -> bool;
}

impl<S: StoreView + Send + 'static> Machine for Client<S> {
    fn handle(&mut self, input: Input<'_>, now: UnixMs, rng: &mut dyn CryptoRng) -> Result<(), Error> {
        Self::handle(self, input, now, rng)
    }

    fn poll(&mut self) -> Option<Output> {
        Self::poll(self)
    }

    fn is_over(&self) -> bool {
        false
    }
}

impl<S: StoreView + Send + 'static> Machine for Joining<S> {
    fn handle(&mut self, input: Input<'_>, now: UnixMs, rng: &mut dyn CryptoRng) -> Result<(), Error> {
        Self::handle(self, input, now, rng)
    }

    fn poll(&mut self) -> Option<Output> {
        Self::poll(self)
    }

    fn is_over(&self) -> bool {
        self.is_settled()
    }
}

/// A call of the app: runs on the machine, and yields what answers the app once the turn is durable.
pub(crate) type Call<M> = Box<dyn FnOnce(&mut M, UnixMs, &mut dyn CryptoRng) -> Answer + Send>;

/// Answers the app.
pub(crate) type Answer = Box<dyn FnOnce() + Send>;

/// What a turn begins with.
pub(crate) enum Work<M> {
    Call(Call<M>),
    Connected,
    Disconnected,
    Frame(Vec<u8>),
    Timer,
}

/// What a turn ends with, in order of its kind.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) frames: Vec<Vec<u8>>,
    pub(crate) events: Vec<(EventId, Event)>,
    pub(crate) signals: Vec<Signal>,
    /// The last timer that was set.
    pub(crate) timer: Option<UnixMs>,
    /// The relay misbehaved: the connection is to be closed.
    pub(crate) is_link_bad: bool,
    /// Whether anything was written.
    pub(crate) has_written: bool,
    /// Whether this was the last turn.
    pub(crate) is_over: bool,
}

/// The machine and its store.
pub(crate) struct Engine<M, S> {
    pub(crate) machine: M,
    pub(crate) store: S,
}

impl<M: Machine, S: Store> Engine<M, S> {
    /// Handles all of `work`, commits what it changed at once, and says what is to be done.
    pub(crate) fn turn(&mut self, work: Vec<Work<M>>) -> Result<Outcome, DriverError> {
        let rng: &mut dyn CryptoRng = &mut UnwrapErr(SysRng);
        let mut outcome = Outcome::default();
        let mut answers = Vec::new();
        for work in work {
            let now = now();
            let input = match &work {
                Work::Call(_) => None,
                Work::Connected => Some(Input::Connected),
                Work::Disconnected => Some(Input::Disconnected),
                Work::Frame(bytes) => Some(Input::Frame(bytes)),
                Work::Timer => Some(Input::Timer),
            };
            if let Some(input) = input {
                outcome.is_link_bad |= is_link_bad(self.machine.handle(input, now, rng))?;
            } else if let Work::Call(call) = work {
                answers.push(call(&mut self.machine, now, rng));
            }
        }
        while self.settle(&mut outcome, rng)? {}
        outcome.is_over = self.machine.is_over();
        for answer in answers {
            answer();
        }
        Ok(outcome)
    }

    /// Drains the machine; commits what it handed out, all in one, and says so. Whether there was anything to commit.
    fn settle(&mut self, outcome: &mut Outcome, rng: &mut dyn CryptoRng) -> Result<bool, DriverError> {
        let mut batches: Vec<Arc<Batch>> = Vec::new();
        let mut persisted = None;
        while let Some(output) = self.machine.poll() {
            match output {
                Output::Persist(step, batch) => {
                    batches.push(batch);
                    persisted = Some(step);
                }
                Output::Transmit(bytes) => outcome.frames.push(bytes),
                Output::Event(id, event) => outcome.events.push((id, event)),
                Output::Signal(signal) => outcome.signals.push(signal),
                Output::Timer(at) => outcome.timer = Some(at),
                _ => {}
            }
        }
        let Some(step) = persisted else { return Ok(false) };
        match batches.as_slice() {
            [one] => self.store.commit(one)?,
            many => {
                let mut joined = Batch::default();
                many.iter().for_each(|batch| joined.merge(batch));
                self.store.commit(&joined)?;
            }
        }
        outcome.has_written = true;
        self.machine.handle(Input::Persisted(step), now(), rng).map_err(DriverError::Client)?;
        Ok(true)
    }
}

/// Sorts errors of an input: whatever the relay caused ends the connection, which begins anew with a delay; a store that
/// failed ends the driver.
fn is_link_bad(result: Result<(), Error>) -> Result<bool, DriverError> {
    match result {
        Ok(()) => Ok(false),
        Err(Error::Store(error)) => Err(DriverError::Store(error)),
        Err(error) if error.kind() == ErrorKind::Storage => Err(DriverError::Client(error)),
        Err(_) => Ok(true),
    }
}

/// The clock of the system.
pub fn now() -> UnixMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMs::from_u64(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
