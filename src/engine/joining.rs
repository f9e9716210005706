//! A device that has no account yet: it shows an offer, compares six digits, and becomes a [`Client`].
//!
//! ```text
//! Waiting ──Hello──▶ Offering ──1──▶ Answered ──3──▶ Comparing ──confirm──▶ Confirmed ──5──▶ Done: a Client
//!                        └───────────────┴── a no, an abort, ten minutes ───────┴──────────▶ Ended
//! ```
//!
//! It is driven as a client is: the same inputs, the same outputs. It writes nothing: the first batch is the client's, and
//! holds the identity, so that a process that ends before has left nothing.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use undertone_wire::frame::{ClientFrame, Entry, Hello, RelayFrame, Reply, Request};
use undertone_wire::id::{EntryId, RequestId, ServerId};

use super::client::{Client, Input, Output};
use super::event::Signal;
use super::linking::Connection;
use super::postbox::{Postbox, Refused};
use crate::crypto::CryptoRng;
use crate::error::Error;
use crate::identity::linking::{
    Abort, LinkingCode, LinkingError, Mailbox, NewAnswered, NewComparing, NewConfirmed, NewOffering, Offer, Round,
};
use crate::identity::{LocalIdentity, RelayUrl};
use crate::store::{Overlay, StoreView, Tx};
use crate::time::UnixMs;

/// How long the relay has to take the last word of a linking that has come to nothing.
const LAST_WORD_TIME_MAX: Duration = Duration::from_secs(5);

/// A device on its way into an account. `S` is the store of the client that it becomes; it is empty, and stays so until then.
///
/// Whoever drives it hands in [`Input`]s and drains [`Joining::poll`], as with a [`Client`], until [`Joining::is_settled`];
/// [`Joining::into_client`] then says how it ended. One is for one offer: for another try, make another.
pub struct Joining<S> {
    store: Option<S>,
    relay: RelayUrl,
    post: Postbox,
    state: State<S>,
    /// The relay that the offer names.
    server: Option<ServerId>,
    connection: Option<Connection>,
    expires: Option<UnixMs>,
    /// When not to wait any longer for the relay to take the last word.
    give_up_at: Option<UnixMs>,
    /// What the relay has yet to answer, and which letter it is, if it is one.
    requests: BTreeMap<RequestId, Option<EntryId>>,
    next_request: u64,
    ready: VecDeque<Output>,
}

enum State<S> {
    /// No connection has stood yet, so that there is nothing to show.
    Waiting,
    Offering(Box<NewOffering>),
    Answered(Box<NewAnswered>),
    Comparing(Box<NewComparing>),
    Confirmed(Box<NewConfirmed>),
    Done(Box<Client<S>>),
    Ended(Error),
}

impl<S: StoreView> Joining<S> {
    /// Prepares an empty store for an account that is elsewhere already. `relay_url` is the relay of that account.
    ///
    /// # Errors
    /// `Misuse` if the store has an account, or for an address that is none; `Storage`.
    pub fn new(store: S, relay_url: &str, rng: &mut dyn CryptoRng) -> Result<Self, Error> {
        let overlay = Overlay::default();
        if LocalIdentity::load(&Tx::new(&store, &overlay))?.is_some() {
            return Err(Error::AlreadyCreated);
        }
        Ok(Self {
            store: Some(store),
            relay: RelayUrl::new(relay_url)?,
            post: Postbox::new(rng),
            state: State::Waiting,
            server: None,
            connection: None,
            expires: None,
            give_up_at: None,
            requests: BTreeMap::new(),
            next_request: 0,
            ready: VecDeque::new(),
        })
    }

    /// Takes one input.
    ///
    /// # Errors
    /// `Peer` for a frame that the relay should not have sent: the driver closes the connection.
    pub fn handle(&mut self, input: Input<'_>, now: UnixMs, rng: &mut dyn CryptoRng) -> Result<(), Error> {
        match input {
            Input::Frame(bytes) => self.frame(bytes, now, rng)?,
            Input::Disconnected => {
                if self.connection.take().is_some() && !self.is_over() {
                    self.ready.push_back(Output::Signal(Signal::Offline));
                }
                self.requests.clear();
                self.ready.retain(|output| !matches!(output, Output::Transmit(_)));
            }
            Input::Timer => self.timer(now, rng),
            Input::Connected | Input::Persisted(_) => {}
        }
        Ok(())
    }

    /// The next thing for the driver to do. To be drained after every call.
    pub fn poll(&mut self) -> Option<Output> {
        self.ready.pop_front()
    }

    /// What to show, as long as nobody has taken it.
    pub fn offer(&self) -> Option<&Offer> {
        match &self.state {
            State::Offering(offering) => Some(offering.offer()),
            _ => None,
        }
    }

    /// The digits to compare, while it waits for that.
    pub fn code(&self) -> Option<LinkingCode> {
        match &self.state {
            State::Comparing(comparing) => Some(comparing.code()),
            _ => None,
        }
    }

    /// A person has said that the other device shows the same digits.
    ///
    /// # Errors
    /// `Misuse` if no digits are shown.
    pub fn confirm(&mut self, now: UnixMs, rng: &mut dyn CryptoRng) -> Result<(), Error> {
        match std::mem::replace(&mut self.state, State::Waiting) {
            State::Comparing(comparing) => {
                let old = *comparing.old_mailbox();
                match comparing.confirm(now) {
                    Ok((confirmed, message)) => {
                        self.state = State::Confirmed(Box::new(confirmed));
                        self.send(old, message, rng);
                    }
                    Err(error) => self.end(error.into(), now),
                }
                Ok(())
            }
            other => {
                self.state = other;
                Err(Error::NoLinking)
            }
        }
    }

    /// Ends it: the digits differ, or the person has changed their mind. The other device is told.
    ///
    /// # Errors
    /// `Misuse` if it is over.
    pub fn cancel(&mut self, now: UnixMs, rng: &mut dyn CryptoRng) -> Result<(), Error> {
        if self.is_over() {
            return Err(Error::NoLinking);
        }
        self.abort(Abort::Declined, LinkingError::Aborted(Abort::Declined), now, rng);
        Ok(())
    }

    /// Ends it, and tells the other device if there is a key for it.
    fn abort(&mut self, reason: Abort, error: LinkingError, now: UnixMs, rng: &mut dyn CryptoRng) {
        let message = match std::mem::replace(&mut self.state, State::Waiting) {
            State::Answered(answered) => Some((*answered.old_mailbox(), answered.abort(reason))),
            State::Comparing(comparing) => Some((*comparing.old_mailbox(), comparing.abort(reason))),
            State::Confirmed(confirmed) => Some((*confirmed.old_mailbox(), confirmed.abort(reason))),
            State::Waiting | State::Offering(_) | State::Done(_) | State::Ended(_) => None,
        };
        if let Some((old, message)) = message {
            self.send(old, message, rng);
        }
        self.end(error.into(), now);
    }

    fn timer(&mut self, now: UnixMs, rng: &mut dyn CryptoRng) {
        if self.is_over() {
            if self.give_up_at.is_some_and(|at| at <= now) {
                self.requests.clear();
            }
        } else if self.expires.is_some_and(|expires| now > expires) {
            self.abort(Abort::Failed, LinkingError::Expired, now, rng);
        } else if self.post.take_retry(now) {
            self.resume();
            self.set_timer();
        }
    }

    fn set_timer(&mut self) {
        let over = self.expires.map(|expires| expires.after(Duration::from_millis(1)));
        if let Some(at) = self.post.retry_at().into_iter().chain(over).min() {
            self.ready.push_back(Output::Timer(at));
        }
    }

    /// Whether it has come to an end.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Done(_) | State::Ended(_))
    }

    /// Whether nothing is left to do here. What has become a client goes on at once, because nothing of it is durable yet.
    /// What has come to nothing may have a last word to say, for which it waits until the relay has taken it, is gone, or
    /// has been silent for five seconds.
    pub fn is_settled(&self) -> bool {
        match self.state {
            State::Done(_) => true,
            State::Ended(_) => self.requests.is_empty(),
            _ => false,
        }
    }

    /// How it ended: the client of the new device, which is to be driven from now on. Its first batch holds the identity.
    ///
    /// # Errors
    /// Why it ended otherwise; `Misuse` if it is not over.
    pub fn into_client(self) -> Result<Client<S>, Error> {
        match self.state {
            State::Done(client) => Ok(*client),
            State::Ended(error) => Err(error),
            _ => Err(Error::NoLinking),
        }
    }

    fn frame(&mut self, bytes: &[u8], now: UnixMs, rng: &mut dyn CryptoRng) -> Result<(), Error> {
        let frame = RelayFrame::decode(bytes).map_err(|reason| Error::BadFrame { reason })?;
        match frame {
            RelayFrame::Hello(hello) if !self.is_over() => self.hello(&hello, now, rng),
            RelayFrame::Entries { log, entries } if log == self.post.inbox() => self.entries(entries, now, rng),
            RelayFrame::Reply { request, reply } => match (self.requests.remove(&request), reply) {
                (Some(_), Reply::Refused(refusal)) if !self.is_over() => match self.post.refused(&refusal, now) {
                    Refused::ForNow => self.set_timer(),
                    Refused::ForGood => self.abort(Abort::Failed, LinkingError::Refused, now, rng),
                },
                (Some(Some(entry)), _) => self.post.delivered(&entry),
                _ => {}
            },
            _ => {}
        }
        Ok(())
    }

    fn hello(&mut self, hello: &Hello, now: UnixMs, rng: &mut dyn CryptoRng) {
        if self.server.is_some_and(|server| server != hello.server) {
            self.ready.push_back(Output::Signal(Signal::RelayChanged));
            return;
        }
        self.server = Some(hello.server);
        self.connection = Some((hello.nonce, hello.server));
        self.ready.push_back(Output::Signal(Signal::Online));
        self.resume();
        if matches!(self.state, State::Waiting) {
            let offering = NewOffering::new(self.post.mailbox(), hello.server, self.relay.clone(), now, rng);
            let expires = offering.offer().expires();
            self.expires = Some(expires);
            self.set_timer();
            self.ready.push_back(Output::Signal(Signal::LinkOffer(Box::new(offering.offer().clone()))));
            self.state = State::Offering(Box::new(offering));
        }
    }

    /// Opens the inbox on this connection, and sends what the relay may not have.
    fn resume(&mut self) {
        let Some((nonce, server)) = self.connection else { return };
        let letters: Vec<(EntryId, Request)> = self.post.letters().collect();
        self.post.open(&nonce, &server).into_iter().for_each(|request| self.request(None, request));
        letters.into_iter().for_each(|(entry, request)| self.request(Some(entry), request));
    }

    fn entries(&mut self, entries: Vec<Entry>, now: UnixMs, rng: &mut dyn CryptoRng) {
        for message in self.post.read(entries) {
            if self.is_over() {
                return;
            }
            if let Err(error) = self.hear(&message, now, rng) {
                self.end(error, now);
            }
        }
    }

    fn hear(&mut self, message: &[u8], now: UnixMs, rng: &mut dyn CryptoRng) -> Result<(), Error> {
        self.state = match std::mem::replace(&mut self.state, State::Waiting) {
            State::Offering(offering) => match offering.hear(message, now, rng)? {
                Round::Ignored(same) => State::Offering(Box::new(same)),
                Round::Next((answered, answer)) => {
                    self.send(*answered.old_mailbox(), answer, rng);
                    self.ready.push_back(Output::Signal(Signal::LinkOfferTaken));
                    State::Answered(Box::new(answered))
                }
            },
            State::Answered(answered) => match answered.hear(message, now)? {
                Round::Ignored(same) => State::Answered(Box::new(same)),
                Round::Next(comparing) => {
                    self.ready.push_back(Output::Signal(Signal::LinkCode(comparing.code())));
                    State::Comparing(Box::new(comparing))
                }
            },
            State::Comparing(comparing) => State::Comparing(Box::new(comparing.hear(message, now)?)),
            State::Confirmed(confirmed) => match confirmed.hear(message, now)? {
                Round::Ignored(same) => State::Confirmed(Box::new(same)),
                Round::Next((keys, grant)) => {
                    let store = self.store.take().ok_or(Error::NoLinking)?;
                    let client = Client::join(store, keys, grant, now, rng).map_err(|error| match error {
                        Error::Identity(error) if !Error::Identity(error).poisons() => {
                            LinkingError::Identity(error).into()
                        }
                        other => other,
                    })?;
                    self.close();
                    State::Done(Box::new(client))
                }
            },
            other => other,
        };
        Ok(())
    }

    /// Everything that was drawn for this linking goes.
    fn end(&mut self, error: Error, now: UnixMs) {
        self.close();
        let give_up_at = now.after(LAST_WORD_TIME_MAX);
        self.give_up_at = Some(give_up_at);
        self.ready.push_back(Output::Timer(give_up_at));
        if let Error::Linking(error) = error {
            self.ready.push_back(Output::Signal(Signal::LinkEnded(error)));
        }
        self.state = State::Ended(error);
    }

    fn close(&mut self) {
        let Some((nonce, server)) = self.connection else { return };
        self.post.close(&nonce, &server).into_iter().for_each(|request| self.request(None, request));
    }

    fn send(&mut self, to: Mailbox, message: Vec<u8>, rng: &mut dyn CryptoRng) {
        self.post.post(to, message, rng);
        if self.connection.is_some()
            && let Some((entry, request)) = self.post.last_letter()
        {
            self.request(Some(entry), request);
        }
    }

    fn request(&mut self, letter: Option<EntryId>, body: Request) {
        self.next_request += 1;
        let request = RequestId::from_u64(self.next_request);
        self.requests.insert(request, letter);
        self.ready.push_back(Output::Transmit(ClientFrame { request, body }.encode()));
    }
}

impl<S> fmt::Debug for Joining<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Waiting => "waiting",
            State::Offering(_) => "offering",
            State::Answered(_) => "answered",
            State::Comparing(_) => "comparing",
            State::Confirmed(_) => "confirmed",
            State::Done(_) => "done",
            State::Ended(_) => "ended",
        };
        write!(f, "Joining({state})")
    }
}
