//! The public face of the engine, and the queue that holds outputs until their step is durable.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use undertone_wire::id::LogId;

use super::event::{Event, EventId, EventRow, Signal};
use super::link::Link;
use super::query::{self, Query};
use super::rows::{self, ClientRow};
use super::step::Step;
use crate::content::{Content, MessageId, TypingState};
use crate::conversation::{Conversation, ConversationId, LocalId, Message};
use crate::crypto::CryptoRng;
use crate::error::Error;
use crate::identity::{AccountId, DeviceId, Grant, Invitation, LocalIdentity, NewDevice, RelayUrl, SafetyNumber};
use crate::store::{Batch, Direction, Overlay, StoreError, StoreView, Table, Tx};
use crate::time::UnixMs;

/// Names one step of the client: rising.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StepId(u64);

/// What the driver tells the client.
#[derive(Debug)]
#[non_exhaustive]
pub enum Input<'a> {
    /// A connection to the relay stands.
    Connected,
    /// The connection is gone; what was to be transmitted on it is forgotten.
    Disconnected,
    /// A frame of the relay, whole.
    Frame(&'a [u8]),
    /// The batches of this step and of all before it are durable.
    Persisted(StepId),
    /// The time of the last [`Output::Timer`] has come; earlier or more often does no harm.
    Timer,
}

/// What the driver is to do. Drain [`Client::poll`] after every call.
#[derive(Debug)]
#[must_use]
#[non_exhaustive]
pub enum Output {
    /// Commit this batch to the store, then say [`Input::Persisted`]. Batches are committed in order; several may be
    /// joined into one commit.
    Persist(StepId, Arc<Batch>),
    /// Send these bytes to the relay as one frame.
    Transmit(Vec<u8>),
    /// Tell the app; [`Client::events_done`] when it has taken it.
    Event(EventId, Event),
    /// Tell the app, at once or never.
    Signal(Signal),
    /// Say [`Input::Timer`] at this time. Replaces the one before.
    Timer(UnixMs),
}

/// One device of one account: the protocol as a state machine.
///
/// `S` is what is durable. Whoever drives the client calls a method, drains [`Client::poll`], commits what
/// [`Output::Persist`] hands out, and says so with [`Input::Persisted`]; `undertone-net` is such a driver.
///
/// After an error of kind `Storage` the client is poisoned: drop it and open it again from the store.
pub struct Client<S> {
    store: S,
    us: LocalIdentity,
    overlay: Overlay,
    link: Link,
    steps: VecDeque<Waiting>,
    ready: VecDeque<Output>,
    next_step: u64,
    timer: Option<UnixMs>,
    is_poisoned: AtomicBool,
}

/// A step whose batch is not known to be durable.
struct Waiting {
    id: StepId,
    /// The batch, until it is handed out.
    batch: Option<Arc<Batch>>,
    held: Vec<Output>,
}

impl<S: StoreView> Client<S> {
    /// Creates an account and its first device in an empty store. `name` is what others see, at most 64 bytes;
    /// `relay_url` is where the account can be reached.
    ///
    /// # Errors
    /// `Misuse` if the store has an account already, or for a name that is refused; `Storage`.
    pub fn create(store: S, name: &str, relay_url: &str, now: UnixMs, rng: &mut dyn CryptoRng) -> Result<Self, Error> {
        let overlay = Overlay::default();
        let mut tx = Tx::new(&store, &overlay);
        if tx.get(Table::Meta, ClientRow::KEY)?.is_some() {
            return Err(Error::AlreadyCreated);
        }
        let us = LocalIdentity::create(&mut tx, name, now, rng)?;
        ClientRow::new(relay_url, rng)?.save(&mut tx);
        let batch = tx.into_batch();
        let mut client = Self::with_identity(store, us, overlay);
        client.step(now, rng, |step| step.stock_shelves(), Some(batch))?;
        Ok(client)
    }

    /// Begins on a new device of an account, in an empty store, with what a device that holds the account key has granted to
    /// `keys`.
    ///
    /// # Errors
    /// `Misuse` if the store has an account already, or for a grant that does not fit; `Storage`.
    pub fn join(store: S, keys: NewDevice, grant: Grant, now: UnixMs, rng: &mut dyn CryptoRng) -> Result<Self, Error> {
        let overlay = Overlay::default();
        let mut tx = Tx::new(&store, &overlay);
        let relay = grant.relay().clone();
        let us = LocalIdentity::take_up(&mut tx, keys, grant, now)?;
        ClientRow::new(relay.as_str(), rng)?.save(&mut tx);
        let batch = tx.into_batch();
        let mut client = Self::with_identity(store, us, overlay);
        let begin = |step: &mut Step<'_>| {
            step.stock_shelves()?;
            step.greet_siblings()
        };
        client.step(now, rng, begin, Some(batch))?;
        Ok(client)
    }

    /// Opens the account of a store; none if the store is empty. Events that the app has not taken are told again.
    ///
    /// # Errors
    /// `Storage`, also for a store of a newer version.
    pub fn open(store: S, now: UnixMs, rng: &mut dyn CryptoRng) -> Result<Option<Self>, Error> {
        let overlay = Overlay::default();
        let us = LocalIdentity::load(&Tx::new(&store, &overlay))?;
        let Some(us) = us else { return Ok(None) };
        let mut client = Self::with_identity(store, us, overlay);
        client.step(now, rng, |step| step.reopen(), None)?;
        Ok(Some(client))
    }

    pub(super) fn with_identity(store: S, us: LocalIdentity, overlay: Overlay) -> Self {
        Self {
            store,
            us,
            overlay,
            link: Link::default(),
            steps: VecDeque::new(),
            ready: VecDeque::new(),
            next_step: 0,
            timer: None,
            is_poisoned: AtomicBool::new(false),
        }
    }

    /// Takes one input.
    ///
    /// # Errors
    /// `Peer` for a frame that the relay should not have sent: the driver closes the connection. `Storage` poisons.
    pub fn handle(&mut self, input: Input<'_>, now: UnixMs, rng: &mut dyn CryptoRng) -> Result<(), Error> {
        match input {
            Input::Persisted(step) => {
                self.refuse_if_poisoned()?;
                self.persisted(step);
                Ok(())
            }
            Input::Connected => self.step(now, rng, |step| step.connected(), None),
            Input::Disconnected => {
                for held in self.steps.iter_mut().map(|waiting| &mut waiting.held) {
                    held.retain(|output| !matches!(output, Output::Transmit(_)));
                }
                self.ready.retain(|output| !matches!(output, Output::Transmit(_)));
                self.step(now, rng, |step| step.disconnected(), None)
            }
            Input::Frame(bytes) => self.step(now, rng, |step| step.frame(bytes), None),
            Input::Timer => self.step(now, rng, |step| step.timer(), None),
        }
    }

    /// The next thing for the driver to do; nothing any more after a failure of the store. To be drained after every call.
    pub fn poll(&mut self) -> Option<Output> {
        self.refuse_if_poisoned().ok()?;
        if let Some(waiting) = self.steps.iter_mut().find(|waiting| waiting.batch.is_some()) {
            let batch = waiting.batch.take()?;
            return Some(Output::Persist(waiting.id, batch));
        }
        if let Some(output) = self.ready.pop_front() {
            return Some(output);
        }
        let due = self.link.next_timer();
        if due != self.timer {
            self.timer = due;
            return due.map(Output::Timer);
        }
        None
    }

    /// The app has taken every event up to and including `through`: they are not told again.
    ///
    /// # Errors
    /// `Storage`.
    pub fn events_done(&mut self, through: EventId, now: UnixMs, rng: &mut dyn CryptoRng) -> Result<(), Error> {
        self.step(now, rng, |step| step.events_done(through), None)
    }

    /// Our account.
    pub fn account(&self) -> AccountId {
        self.us.device().account()
    }

    /// This device.
    pub fn device(&self) -> DeviceId {
        self.us.device().id()
    }

    /// What others see as our name.
    pub fn name(&self) -> &str {
        self.us.name().as_str()
    }

    /// The relay at which the account can be reached.
    ///
    /// # Errors
    /// `Storage`.
    pub fn relay_url(&self) -> Result<String, Error> {
        self.refuse_if_poisoned()?;
        let client = ClientRow::load(&Tx::new(&self.store, &self.overlay)).map_err(Error::from);
        Ok(client.inspect_err(|error| self.poison_by(error))?.relay_url())
    }

    /// What to hand to somebody who wants to talk to us: one line of text, good for ever, and for many.
    ///
    /// # Errors
    /// `Storage`.
    pub fn invitation(&self) -> Result<Invitation, Error> {
        let relay = RelayUrl::new(&self.relay_url()?)?;
        Ok(Invitation::new(self.us.account_certificate().clone(), relay, self.us.name().clone())?)
    }

    /// Opens the direct conversation with the account that made an invitation. Asking twice yields the same one.
    ///
    /// # Errors
    /// `Misuse` for our own invitation; `Storage`.
    pub fn add_contact(
        &mut self,
        invitation: &Invitation,
        now: UnixMs,
        rng: &mut dyn CryptoRng,
    ) -> Result<ConversationId, Error> {
        self.step(now, rng, |step| step.add_contact(invitation), None)
    }

    /// The number that both people of a direct conversation can compare: 60 digits.
    ///
    /// # Errors
    /// `Misuse` for an account that we do not know; `Storage`.
    pub fn safety_number(&self, account: &AccountId) -> Result<SafetyNumber, Error> {
        self.read(|query| query.safety_number(&self.us, account))
    }

    /// All conversations, the latest first.
    ///
    /// # Errors
    /// `Storage`.
    pub fn conversations(&self) -> Result<Vec<Conversation>, Error> {
        self.read(|query| query.conversations(&self.us))
    }

    /// One conversation.
    ///
    /// # Errors
    /// `Misuse` if there is none; `Storage`.
    pub fn conversation(&self, id: &ConversationId) -> Result<Conversation, Error> {
        self.read(|query| query.conversation(&self.us, id))
    }

    /// The last `limit` messages of a conversation that stand before `before` (all, if none), oldest first. What is on
    /// its way stands last.
    ///
    /// # Errors
    /// `Misuse` for an unknown conversation; `Storage`.
    pub fn history(
        &self,
        conversation: &ConversationId,
        before: Option<&Message>,
        limit: usize,
    ) -> Result<Vec<Message>, Error> {
        self.read(|query| query.history(&self.us, conversation, before, limit))
    }

    /// Sends a message. It is in the outbox when this returns, and sent as soon as the relay can be reached.
    ///
    /// # Errors
    /// `Misuse` for an unknown conversation, one that has ended, or a content that is too large; `Storage`.
    pub fn send(
        &mut self,
        conversation: &ConversationId,
        content: &Content,
        now: UnixMs,
        rng: &mut dyn CryptoRng,
    ) -> Result<LocalId, Error> {
        self.step(now, rng, |step| step.send(conversation, content), None)
    }

    /// Tells who is there now that we are typing, or have stopped. Goes out at once or never; repeated calls within
    /// three seconds are free.
    ///
    /// # Errors
    /// `Misuse` for an unknown conversation; `Storage`.
    pub fn typing(
        &mut self,
        conversation: &ConversationId,
        state: TypingState,
        now: UnixMs,
        rng: &mut dyn CryptoRng,
    ) -> Result<(), Error> {
        self.step(now, rng, |step| step.typing(conversation, state), None)
    }

    /// Tells the senders that we have read everything up to and including `through`.
    ///
    /// # Errors
    /// `Misuse` for an unknown conversation or message; `Storage`.
    pub fn mark_read(
        &mut self,
        conversation: &ConversationId,
        through: &MessageId,
        now: UnixMs,
        rng: &mut dyn CryptoRng,
    ) -> Result<(), Error> {
        self.step(now, rng, |step| step.mark_read(conversation, through), None)
    }

    /// Creates a group and invites accounts into it.
    ///
    /// # Errors
    /// `Misuse` for a name that is refused or an account that we do not know; `Storage`.
    pub fn create_group(
        &mut self,
        name: &str,
        accounts: &[AccountId],
        now: UnixMs,
        rng: &mut dyn CryptoRng,
    ) -> Result<ConversationId, Error> {
        self.step(now, rng, |step| step.create_group(name, accounts), None)
    }

    /// Invites accounts into a group.
    ///
    /// # Errors
    /// `Misuse` for an unknown group or account, or if the policy does not allow us; `Storage`.
    pub fn add_members(
        &mut self,
        conversation: &ConversationId,
        accounts: &[AccountId],
        now: UnixMs,
        rng: &mut dyn CryptoRng,
    ) -> Result<(), Error> {
        self.step(now, rng, |step| step.add_members(conversation, accounts), None)
    }

    /// Removes accounts from a group, with all their devices.
    ///
    /// # Errors
    /// `Misuse` for an unknown group or account, or if the policy does not allow us; `Storage`.
    pub fn remove_members(
        &mut self,
        conversation: &ConversationId,
        accounts: &[AccountId],
        now: UnixMs,
        rng: &mut dyn CryptoRng,
    ) -> Result<(), Error> {
        self.step(now, rng, |step| step.remove_members(conversation, accounts), None)
    }

    /// Gives a group another name.
    ///
    /// # Errors
    /// `Misuse` for an unknown group, a name that is refused, or if the policy does not allow us; `Storage`.
    pub fn rename_group(
        &mut self,
        conversation: &ConversationId,
        name: &str,
        now: UnixMs,
        rng: &mut dyn CryptoRng,
    ) -> Result<(), Error> {
        self.step(now, rng, |step| step.rename_group(conversation, name), None)
    }

    /// Leaves a group.
    ///
    /// # Errors
    /// `Misuse` for an unknown group, or for its only owner; `Storage`.
    pub fn leave_group(
        &mut self,
        conversation: &ConversationId,
        now: UnixMs,
        rng: &mut dyn CryptoRng,
    ) -> Result<(), Error> {
        self.step(now, rng, |step| step.leave_group(conversation), None)
    }

    /// Turns the log of a direct conversation: new gate, new outer key. Happens by itself every 30 days.
    ///
    /// # Errors
    /// `Misuse` for an unknown conversation or a group; `Storage`.
    pub fn turn_direct(
        &mut self,
        conversation: &ConversationId,
        now: UnixMs,
        rng: &mut dyn CryptoRng,
    ) -> Result<(), Error> {
        self.step(now, rng, |step| step.turn_direct(conversation), None)
    }

    /// The log of a conversation, its present generation included: for tests and for `inspect`.
    ///
    /// # Errors
    /// `Misuse` for an unknown conversation; `Storage`.
    pub fn log_of(&self, conversation: &ConversationId) -> Result<Option<LogId>, Error> {
        self.read(|query| query.log_of(conversation))
    }

    /// The connection.
    pub(super) fn link(&self) -> &Link {
        &self.link
    }

    /// Who we are.
    pub(super) fn us(&self) -> &LocalIdentity {
        &self.us
    }

    pub(super) fn read<R>(&self, read: impl FnOnce(&mut Query<'_, '_>) -> Result<R, Error>) -> Result<R, Error> {
        self.refuse_if_poisoned()?;
        query::reading(&self.store, &self.overlay, read).inspect_err(|error| self.poison_by(error))
    }

    fn refuse_if_poisoned(&self) -> Result<(), Error> {
        if self.is_poisoned.load(Ordering::Relaxed) { Err(Error::Poisoned) } else { Ok(()) }
    }

    fn poison_by(&self, error: &Error) {
        self.is_poisoned.fetch_or(error.poisons(), Ordering::Relaxed);
    }

    /// Runs one step: its writes become a batch, its outputs are held until the batch is durable.
    pub(super) fn step<R>(
        &mut self,
        now: UnixMs,
        rng: &mut dyn CryptoRng,
        run: impl FnOnce(&mut Step<'_>) -> Result<R, Error>,
        before: Option<Batch>,
    ) -> Result<R, Error> {
        self.refuse_if_poisoned()?;
        // What `create` wrote is to be read by the first step already, and is durable together with it.
        let before = before.map(Arc::new);
        if let Some(batch) = &before {
            self.overlay.push(Arc::clone(batch));
        }
        let (us, intents) = (self.us.mark(), self.link.mark_intents());
        let mut step = Step::new(Tx::new(&self.store, &self.overlay), &mut self.us, &mut self.link, now, rng);
        let result = run(&mut step).and_then(|value| step.settle().map(|()| value));
        let (tx, held, at_once) = step.into_parts();
        let value = match result {
            Ok(value) => value,
            Err(error) => {
                self.us.undo_to(&us);
                self.link.undo_intents_to(intents);
                // What touches no row holds whether or not the rest does: a linking that has expired stays ended.
                self.ready.extend(at_once);
                self.poison_by(&error);
                return Err(error);
            }
        };
        let mut batch = tx.into_batch();
        self.ready.extend(at_once);
        if let Some(before) = before {
            self.overlay.pop();
            let mut joined = Batch::default();
            joined.merge(&before);
            joined.merge(&batch);
            batch = joined;
        }
        let batch = (!batch.is_empty()).then(|| Arc::new(batch));
        if let Some(batch) = &batch {
            self.overlay.push(Arc::clone(batch));
        }
        self.enqueue(batch, held);
        Ok(value)
    }

    fn enqueue(&mut self, batch: Option<Arc<Batch>>, held: Vec<Output>) {
        match (batch, self.steps.back_mut()) {
            (None, None) => self.ready.extend(held),
            (None, Some(last)) => last.held.extend(held),
            (Some(batch), _) => {
                self.next_step += 1;
                self.steps.push_back(Waiting { id: StepId(self.next_step), batch: Some(batch), held });
            }
        }
    }

    fn persisted(&mut self, step: StepId) {
        while self.steps.front().is_some_and(|waiting| waiting.id <= step) {
            if let Some(waiting) = self.steps.pop_front() {
                self.overlay.pop();
                self.ready.extend(waiting.held);
            }
        }
    }
}

impl<S> fmt::Debug for Client<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({}, {} steps waiting)", self.us.name(), self.steps.len())
    }
}

impl Step<'_> {
    /// Tells again what the app has not taken, and finds out what is to be done.
    fn reopen(&mut self) -> Result<(), Error> {
        let mut from = Vec::new();
        loop {
            let page = self.tx.scan(Table::Events, &from, &[0xff; 9], Direction::Ascending, 256)?;
            let Some((last, _)) = page.last() else { break };
            from = [last.as_slice(), &[0]].concat();
            for (key, value) in page {
                let id = u64::from_be_bytes(key.as_slice().try_into().map_err(|_| StoreError::Corrupt)?);
                let row: EventRow = rows::decode(&value)?;
                self.tell(EventId::from_u64(id), &row)?;
            }
        }
        self.find_work()
    }

    fn events_done(&mut self, through: EventId) -> Result<(), Error> {
        let end = (through.as_u64() + 1).to_be_bytes();
        loop {
            let page = self.tx.scan(Table::Events, &[], &end, Direction::Ascending, 256)?;
            if page.is_empty() {
                return Ok(());
            }
            for (key, _) in page {
                self.tx.delete(Table::Events, &key);
            }
        }
    }
}
