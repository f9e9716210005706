//! The driver: one task that owns the client, and the handle to it.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use undertone::crypto::CryptoRng;
use undertone::engine::{Client, Event, EventId, Joining, Signal};
use undertone::store::{Store, StoreError};
use undertone::time::UnixMs;

use crate::link::{ConnectionNumber, Heard, Link, Order, RelayAddress};
use crate::turn::{Call, DriverError, Engine, Machine, Outcome, Work, now};

/// What the driver tells the app.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    /// Something that happened, durably. Say `Client::events_done` once it is taken; it comes again after a restart if
    /// not.
    Event(EventId, Event),
    /// Something passing. Dropped while the app does not keep up.
    Signal(Signal),
}

/// What is done with the store when nothing else is: a checkpoint.
pub type Hook = Box<dyn Fn() -> Result<(), StoreError> + Send>;

/// What a driver needs besides a client and its store.
pub struct Options {
    relay: RelayAddress,
    on_idle: Option<Hook>,
}

impl Options {
    /// Connects to `relay`.
    pub fn new(relay: RelayAddress) -> Self {
        Self { relay, on_idle: None }
    }

    /// Calls `hook` every 30 seconds if something was written since, and when the driver stops. It may block.
    pub fn on_idle(self, hook: Hook) -> Self {
        Self { on_idle: Some(hook), ..self }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { relay, on_idle: _ } = self;
        f.debug_struct("Options").field("relay", relay).finish_non_exhaustive()
    }
}

/// The driver has stopped; [`Handle::stop`] says why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stopped;

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the client has stopped")
    }
}

impl std::error::Error for Stopped {}

/// The way to a running client. Dropping it stops the driver without waiting.
#[derive(Debug)]
pub struct Handle<S> {
    calls: mpsc::Sender<Call<Client<S>>>,
    task: JoinHandle<Result<Client<S>, DriverError>>,
}

impl<S: Store + Clone + Send + 'static> Handle<S> {
    /// Runs `run` on the client, between two inputs, and answers when what it changed is durable. It runs on a thread
    /// that may block.
    ///
    /// # Errors
    /// [`Stopped`]; whether `run` ran is then unknown.
    pub async fn call<R, F>(&self, run: F) -> Result<R, Stopped>
    where
        R: Send + 'static,
        F: FnOnce(&mut Client<S>, UnixMs, &mut dyn CryptoRng) -> R + Send + 'static,
    {
        call(&self.calls, run).await
    }

    /// Stops: what was called is done and durable, the connection is closed, the store is checkpointed.
    ///
    /// # Errors
    /// [`DriverError`], if the driver had stopped by itself before, or the last checkpoint failed.
    pub async fn stop(self) -> Result<(), DriverError> {
        let Self { calls, task } = self;
        drop(calls);
        task.await.unwrap_or(Err(DriverError::Panicked)).map(|_| ())
    }
}

/// The way to a device that is joining an account. Dropping it stops the driver without waiting.
#[derive(Debug)]
pub struct JoiningHandle<S> {
    calls: mpsc::Sender<Call<Joining<S>>>,
    task: JoinHandle<Result<Joining<S>, DriverError>>,
}

impl<S: Store + Clone + Send + 'static> JoiningHandle<S> {
    /// Runs `run` on the joining device, between two inputs.
    ///
    /// # Errors
    /// [`Stopped`], also when it is over; whether `run` ran is then unknown.
    pub async fn call<R, F>(&self, run: F) -> Result<R, Stopped>
    where
        R: Send + 'static,
        F: FnOnce(&mut Joining<S>, UnixMs, &mut dyn CryptoRng) -> R + Send + 'static,
    {
        call(&self.calls, run).await
    }

    /// Waits until it is over, and yields the client, to be given to [`spawn`]; it is not durable before.
    ///
    /// # Errors
    /// [`DriverError::Client`]: why it is none; or the driver failed.
    pub async fn finish(self) -> Result<Client<S>, DriverError> {
        let Self { calls, task } = self;
        let joining = task.await.unwrap_or(Err(DriverError::Panicked));
        drop(calls);
        joining?.into_client().map_err(DriverError::Client)
    }
}

/// Hands a call to a driver, and waits for the answer.
async fn call<M, R, F>(calls: &mpsc::Sender<Call<M>>, run: F) -> Result<R, Stopped>
where
    R: Send + 'static,
    F: FnOnce(&mut M, UnixMs, &mut dyn CryptoRng) -> R + Send + 'static,
{
    let (answer, answered) = oneshot::channel();
    let call: Call<M> = Box::new(move |machine, now, rng| {
        let result = run(machine, now, rng);
        // Nobody waits any more, if this fails.
        Box::new(move || drop(answer.send(result)))
    });
    calls.send(call).await.map_err(|_| Stopped)?;
    answered.await.map_err(|_| Stopped)
}

/// Drives `client`, whose store is `store`, until the handle is dropped or the store fails; the receiver ends then.
/// To be called inside a tokio runtime with time and I/O.
pub fn spawn<S>(client: Client<S>, store: S, options: Options) -> (Handle<S>, mpsc::Receiver<Notice>)
where
    S: Store + Clone + Send + 'static,
{
    let (calls, task, noticed) = start(client, store, options);
    (Handle { calls, task }, noticed)
}

/// Drives `joining`, whose store is `store`, until it is over or the handle is dropped; the receiver ends then.
/// To be called inside a tokio runtime with time and I/O.
pub fn spawn_joining<S>(joining: Joining<S>, store: S, options: Options) -> (JoiningHandle<S>, mpsc::Receiver<Notice>)
where
    S: Store + Clone + Send + 'static,
{
    let (calls, task, noticed) = start(joining, store, options);
    (JoiningHandle { calls, task }, noticed)
}

/// What there is of a driver outside of it.
type Started<M> = (mpsc::Sender<Call<M>>, JoinHandle<Result<M, DriverError>>, mpsc::Receiver<Notice>);

fn start<M: Machine, S: Store + Send + 'static>(machine: M, store: S, options: Options) -> Started<M> {
    let (calls, called) = mpsc::channel(CALLS_COUNT_MAX);
    let (notices, noticed) = mpsc::channel(NOTICES_COUNT_MAX);
    let Options { relay, on_idle } = options;
    let (link, hearing, orders) = Link::new(relay);
    let driver = Driver {
        engine: Some(Engine { machine, store }),
        called,
        hearing,
        orders,
        connection: ConnectionNumber::default(),
        notices,
        events: VecDeque::new(),
        timer: None,
        on_idle,
        has_written: false,
        is_over: false,
    };
    let linking = tokio::spawn(link.run());
    let task = tokio::spawn(async move {
        let result = driver.run().await;
        // The link ends by itself when the driver is gone; waiting lets it say goodbye.
        let _ = linking.await;
        result
    });
    (calls, task, noticed)
}

struct Driver<M, S> {
    /// In the hands of a turn, if none.
    engine: Option<Engine<M, S>>,
    called: mpsc::Receiver<Call<M>>,
    hearing: mpsc::Receiver<Heard>,
    orders: mpsc::UnboundedSender<Order>,
    connection: ConnectionNumber,
    notices: mpsc::Sender<Notice>,
    /// Events for which the channel has no room.
    events: VecDeque<(EventId, Event)>,
    timer: Option<UnixMs>,
    on_idle: Option<Hook>,
    has_written: bool,
    is_over: bool,
}

impl<M: Machine, S: Store + Send + 'static> Driver<M, S> {
    async fn run(mut self) -> Result<M, DriverError> {
        let mut idle = interval_at(Instant::now() + IDLE_AFTER, IDLE_AFTER);
        idle.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // What opening or creating the client left to do.
        self.turn(Vec::new()).await?;
        while !self.is_over {
            // An app that does not take its events stops the flow from the relay, not its own calls.
            let may_hear = self.events.len() < EVENTS_COUNT_MAX;
            let next = tokio::select! {
                call = self.called.recv() => call.map_or(Next::Stop, |call| Next::Work(Work::Call(call))),
                Some(heard) = self.hearing.recv(), if may_hear => Next::Heard(heard),
                () = due(self.timer) => Next::Work(Work::Timer),
                permit = self.notices.reserve(), if !self.events.is_empty() => {
                    match (permit, self.events.pop_front()) {
                        (Ok(permit), Some((id, event))) => permit.send(Notice::Event(id, event)),
                        // An app without ears gets its events after a restart.
                        _ => self.events.clear(),
                    }
                    continue;
                }
                _ = idle.tick() => Next::Idle,
            };
            let work = match next {
                Next::Work(work) => work,
                Next::Heard(heard) => self.heard(heard),
                Next::Idle => {
                    self.checkpoint().await?;
                    continue;
                }
                Next::Stop => break,
            };
            if matches!(work, Work::Timer) {
                self.timer = None;
            }
            let work = self.gather(work, may_hear);
            self.turn(work).await?;
        }
        self.turn(vec![Work::Disconnected]).await?;
        self.checkpoint().await?;
        self.engine.map(|engine| engine.machine).ok_or(DriverError::Panicked)
    }

    /// Joins to `first` whatever else is there already: one commit serves them all.
    fn gather(&mut self, first: Work<M>, may_hear: bool) -> Vec<Work<M>> {
        let mut work = vec![first];
        while work.len() < WORK_COUNT_MAX {
            if let Ok(call) = self.called.try_recv() {
                work.push(Work::Call(call));
            } else if may_hear && let Ok(heard) = self.hearing.try_recv() {
                let heard = self.heard(heard);
                work.push(heard);
            } else {
                break;
            }
        }
        work
    }

    fn heard(&mut self, heard: Heard) -> Work<M> {
        match heard {
            Heard::Connected(number) => {
                self.connection = number;
                Work::Connected
            }
            Heard::Frame(bytes) => Work::Frame(bytes),
            Heard::Disconnected => Work::Disconnected,
        }
    }

    /// Runs one turn where it may block, and carries out what it says.
    async fn turn(&mut self, work: Vec<Work<M>>) -> Result<(), DriverError> {
        let Some(mut engine) = self.engine.take() else { return Err(DriverError::Panicked) };
        let running = spawn_blocking(move || {
            let outcome = engine.turn(work);
            (engine, outcome)
        });
        let (engine, outcome) = running.await.map_err(|_| DriverError::Panicked)?;
        self.engine = Some(engine);
        self.carry_out(outcome?);
        Ok(())
    }

    fn carry_out(&mut self, outcome: Outcome) {
        let Outcome { frames, events, signals, timer, is_link_bad, has_written, is_over } = outcome;
        // The link lives as long as the driver does; if it is gone, so are we, soon.
        for frame in frames {
            let _ = self.orders.send(Order::Transmit(self.connection, frame));
        }
        if is_link_bad {
            let _ = self.orders.send(Order::Close(self.connection));
        }
        self.events.extend(events);
        while let Some((id, event)) = self.events.pop_front() {
            match self.notices.try_reserve() {
                Ok(permit) => permit.send(Notice::Event(id, event)),
                Err(_) => {
                    self.events.push_front((id, event));
                    break;
                }
            }
        }
        for signal in signals {
            let _ = self.notices.try_send(Notice::Signal(signal));
        }
        if let Some(at) = timer {
            self.timer = Some(at);
        }
        self.has_written |= has_written;
        self.is_over |= is_over;
    }

    async fn checkpoint(&mut self) -> Result<(), DriverError> {
        if !std::mem::take(&mut self.has_written) {
            return Ok(());
        }
        let Some(hook) = self.on_idle.take() else { return Ok(()) };
        let running = spawn_blocking(move || {
            let result = hook();
            (hook, result)
        });
        let (hook, result) = running.await.map_err(|_| DriverError::Panicked)?;
        self.on_idle = Some(hook);
        Ok(result?)
    }
}

/// What the driver turns to next.
enum Next<M> {
    Work(Work<M>),
    Heard(Heard),
    Idle,
    Stop,
}

/// Waits until the clock has reached `timer`, or for ever if none is set. The clock decides, not the length of the
/// sleep: the client must not be told too early.
async fn due(timer: Option<UnixMs>) {
    let Some(at) = timer else { return std::future::pending().await };
    loop {
        let wait = at.since(now());
        if wait.is_zero() {
            return;
        }
        sleep(wait).await;
    }
}

/// Calls that wait for the client.
const CALLS_COUNT_MAX: usize = 64;
/// Notices that wait for the app.
const NOTICES_COUNT_MAX: usize = 256;
/// Events that wait for room among the notices before the relay has to wait.
const EVENTS_COUNT_MAX: usize = 1_024;
/// Inputs of one turn, and so of one commit.
const WORK_COUNT_MAX: usize = 64;
/// How often the store is checkpointed while something is written.
const IDLE_AFTER: Duration = Duration::from_secs(30);
