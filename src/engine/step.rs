//! One step of the client: its transaction, its clock and randomness, and what it wants done.

use std::sync::Arc;

use undertone_wire::frame::{ClientFrame, Request};
use undertone_wire::id::{LogId, RequestId};

use super::client::Output;
use super::event::{EventId, EventRow, Signal};
use super::link::{IntentsMark, Link, Pending};
use super::mend::Heard;
use super::query::Query;
use super::rows::{self, ClientRow, ContactRow, Intent, Kind, LogRow};
use crate::conversation::ConversationId;
use crate::crypto::{CryptoRng, Secret32};
use crate::envelope::LogKeys;
use crate::error::Error;
use crate::group;
use crate::identity::{AccountId, IdentityMark, LocalIdentity};
use crate::store::{Mark, StoreError, Table, Tx};
use crate::time::UnixMs;

/// One step. Everything the engine does is a method of it; the file says which noun it serves.
pub(super) struct Step<'a> {
    pub(super) tx: Tx<'a>,
    pub(super) us: &'a mut LocalIdentity,
    pub(super) link: &'a mut Link,
    pub(super) now: UnixMs,
    pub(super) rng: &'a mut dyn CryptoRng,
    /// Of whom something came: what is taken back stays here.
    pub(super) heard: Heard,
    held: Vec<Output>,
    at_once: Vec<Output>,
}

/// A point of a step.
#[derive(Clone)]
pub(super) struct StepMark {
    tx: Mark,
    us: IdentityMark,
    intents: IntentsMark,
    held_count: usize,
}

impl<'a> Step<'a> {
    pub(super) fn new(
        tx: Tx<'a>,
        us: &'a mut LocalIdentity,
        link: &'a mut Link,
        now: UnixMs,
        rng: &'a mut dyn CryptoRng,
    ) -> Self {
        Self { tx, us, link, now, rng, heard: Heard::default(), held: Vec::new(), at_once: Vec::new() }
    }

    /// The writes, what is held until they are durable, and what is not.
    pub(super) fn into_parts(self) -> (Tx<'a>, Vec<Output>, Vec<Output>) {
        (self.tx, self.held, self.at_once)
    }

    /// The point to which [`Step::undo_to`] can go back.
    pub(super) fn mark(&self) -> StepMark {
        StepMark {
            tx: self.tx.mark(),
            us: self.us.mark(),
            intents: self.link.mark_intents(),
            held_count: self.held.len(),
        }
    }

    /// Takes back every write since `mark`, what it means in memory, and what was to be told or transmitted.
    pub(super) fn undo_to(&mut self, mark: StepMark) {
        self.tx.undo_to(mark.tx);
        self.us.undo_to(&mark.us);
        self.link.undo_intents_to(mark.intents);
        self.held.truncate(mark.held_count);
    }

    /// Asks the relay something, once the step is durable.
    pub(super) fn request(&mut self, pending: Pending, body: Request) {
        let request = self.link.begin(pending);
        self.held.push(Output::Transmit(ClientFrame { request, body }.encode()));
    }

    /// Asks the relay something that touches no ratchet and no row: at once.
    pub(super) fn request_at_once(&mut self, pending: Pending, body: Request) {
        let request: RequestId = self.link.begin(pending);
        self.at_once.push(Output::Transmit(ClientFrame { request, body }.encode()));
    }

    /// Tells the app something passing.
    pub(super) fn signal(&mut self, signal: Signal) {
        self.at_once.push(Output::Signal(signal));
    }

    /// Stores an event, and tells it once it is durable.
    pub(super) fn event(&mut self, row: EventRow) -> Result<(), Error> {
        let id = self.client(|client| {
            let id = client.next_event;
            client.next_event += 1;
            id
        })?;
        rows::save(&mut self.tx, Table::Events, &id.to_be_bytes(), &row);
        self.tell(EventId::from_u64(id), &row)
    }

    /// Tells an event that is stored.
    pub(super) fn tell(&mut self, id: EventId, row: &EventRow) -> Result<(), Error> {
        if let Some(event) = Query::over(&mut self.tx).event(self.us, row)? {
            self.held.push(Output::Event(id, event));
        }
        Ok(())
    }

    /// Changes what the client knows of itself.
    pub(super) fn client<R>(&mut self, change: impl FnOnce(&mut ClientRow) -> R) -> Result<R, Error> {
        let mut row = ClientRow::load(&self.tx)?;
        let result = change(&mut row);
        row.save(&mut self.tx);
        Ok(result)
    }

    /// The ordinal of the next outbox row or intent.
    pub(super) fn next_ordinal(&mut self) -> Result<u64, Error> {
        self.client(|client| {
            let ordinal = client.next_ordinal;
            client.next_ordinal += 1;
            ordinal
        })
    }

    /// Stores an intent; it is pursued at the end of the step.
    pub(super) fn intend(&mut self, intent: &Intent) -> Result<u64, Error> {
        let ordinal = self.next_ordinal()?;
        rows::save(&mut self.tx, Table::Intents, &ordinal.to_be_bytes(), intent);
        Arc::make_mut(&mut self.link.intents).insert(ordinal);
        Ok(ordinal)
    }

    /// The keys of a log's present generation.
    pub(super) fn keys(&mut self, log: &LogId, row: &LogRow) -> Result<LogKeys, Error> {
        let secret = match Secret32::from_slice(row.secret.as_slice()) {
            Some(secret) => secret,
            None => group::generation_secret(&mut self.tx, *log, row.generation)?,
        };
        Ok(LogKeys::derive(&secret, *log, row.generation))
    }

    /// A conversation that the app named.
    pub(super) fn conversation(&self, id: &ConversationId) -> Result<rows::ConversationRow, Error> {
        rows::load(&self.tx, Table::Conversations, id.as_bytes())?.ok_or(Error::UnknownConversation)
    }

    /// Writes a conversation.
    pub(super) fn save_conversation(&mut self, id: &ConversationId, row: &rows::ConversationRow) {
        rows::save(&mut self.tx, Table::Conversations, id.as_bytes(), row);
    }

    /// A group that the app named, and its log.
    pub(super) fn group(&self, id: &ConversationId) -> Result<(rows::ConversationRow, LogId), Error> {
        let row = self.conversation(id)?;
        match (row.kind, row.log) {
            (Kind::Group, Some(log)) => Ok((row, log)),
            _ => Err(Error::NotAGroup),
        }
    }

    /// An account that we know.
    pub(super) fn contact(&self, account: &AccountId) -> Result<ContactRow, Error> {
        rows::load(&self.tx, Table::Contacts, account.as_bytes())?.ok_or(Error::UnknownAccount)
    }

    /// A row that another row says is there.
    pub(super) fn log_row(&self, log: &LogId) -> Result<LogRow, Error> {
        Ok(LogRow::load(&self.tx, log)?.ok_or(StoreError::Corrupt)?)
    }
}
