//! The temporary inbox of one linking, on either side, and the letters that go to the other one.
//!
//! Nothing of it is stored: a linking that is cut off by the end of the process begins anew. A connection that is lost in
//! between costs nothing; every letter is sent again, under its entry id, until the relay has it.

use std::collections::VecDeque;
use std::time::Duration;

use undertone_wire::frame::{Deposit, Entry, EntryContent, Lane, LaneToken, OpenInbox, Request};
use undertone_wire::gate::{Right, proof_input};
use undertone_wire::id::{ConnectionNonce, EntryId, Generation, InboxToken, LogId, Seq, ServerId};
use undertone_wire::refusal::{Action, Refusal};

use crate::crypto::sign::SigningKey;
use crate::crypto::{CryptoRng, random_array};
use crate::identity::linking::Mailbox;
use crate::time::UnixMs;

/// An inbox for one linking.
pub(super) struct Postbox {
    owner: SigningKey,
    token: InboxToken,
    read: Seq,
    letters: VecDeque<Letter>,
    /// When to try again what the relay would not take for a moment.
    retry_at: Option<UnixMs>,
}

/// How a relay has refused something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refused {
    /// It is busy.
    ForNow,
    /// It will say so again.
    ForGood,
}

/// How long to wait for a relay that is busy, whatever it says: a linking has ten minutes.
const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// A message that the relay is not known to have.
struct Letter {
    to: Mailbox,
    entry: EntryId,
    message: Vec<u8>,
}

impl Postbox {
    /// Draws an inbox and its token.
    pub(super) fn new(rng: &mut dyn CryptoRng) -> Self {
        let (owner, token) = (SigningKey::random(rng), InboxToken::from_bytes(random_array(rng)));
        Self { owner, token, read: Seq::from_u64(0), letters: VecDeque::new(), retry_at: None }
    }

    /// What the other side has to know.
    pub(super) fn mailbox(&self) -> Mailbox {
        Mailbox { inbox: self.inbox(), token: self.token }
    }

    /// The inbox.
    pub(super) fn inbox(&self) -> LogId {
        LogId::of_inbox_key(&self.owner.verify_key())
    }

    /// Opens the inbox on a connection, and reads on in it.
    pub(super) fn open(&self, nonce: &ConnectionNonce, server: &ServerId) -> Vec<Request> {
        let tokens = vec![LaneToken { lane: Lane::Knock, token: self.token.to_hash() }];
        let (log, generation, right) = (self.inbox(), Generation::FIRST, Right::Read);
        let signature = self.owner.sign_transcript(&proof_input(nonce, server, &log, generation, right));
        let proof = undertone_wire::gate::Proof { log, generation, right, signature };
        vec![
            self.opening(tokens, nonce, server),
            Request::Prove { proofs: vec![proof] },
            Request::Subscribe { log, from: self.read.next() },
        ]
    }

    /// Lets nobody in any more, and leaves nothing in it.
    pub(super) fn close(&self, nonce: &ConnectionNonce, server: &ServerId) -> Vec<Request> {
        let log = self.inbox();
        let mut requests = vec![Request::Unsubscribe { log }, self.opening(Vec::new(), nonce, server)];
        if self.read >= Seq::FIRST {
            requests.push(Request::AckInbox { log, through: self.read });
        }
        requests
    }

    fn opening(&self, tokens: Vec<LaneToken>, nonce: &ConnectionNonce, server: &ServerId) -> Request {
        let signature = self.owner.sign_transcript(&OpenInbox::signature_input(nonce, server, &tokens));
        Request::OpenInbox(OpenInbox { owner: self.owner.verify_key(), tokens, signature })
    }

    /// Queues a message, and yields the name under which it goes.
    pub(super) fn post(&mut self, to: Mailbox, message: Vec<u8>, rng: &mut dyn CryptoRng) {
        let entry = EntryId::from_bytes(random_array(rng));
        self.letters.push_back(Letter { to, entry, message });
    }

    /// Everything that the relay is not known to have, oldest first.
    pub(super) fn letters(&self) -> impl Iterator<Item = (EntryId, Request)> {
        self.letters.iter().map(|letter| (letter.entry, letter.request()))
    }

    /// The letter that was posted last.
    pub(super) fn last_letter(&self) -> Option<(EntryId, Request)> {
        self.letters.back().map(|letter| (letter.entry, letter.request()))
    }

    /// The relay has refused something. If that passes, everything is to be tried again at [`Postbox::retry_at`].
    pub(super) fn refused(&mut self, refusal: &Refusal, now: UnixMs) -> Refused {
        let Action::Retry { after_ms } = refusal.action() else { return Refused::ForGood };
        let wait = Duration::from_millis(after_ms.into()).clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX);
        self.retry_at = Some(now.after(wait));
        Refused::ForNow
    }

    /// When to try again.
    pub(super) fn retry_at(&self) -> Option<UnixMs> {
        self.retry_at
    }

    /// Whether it is time to try again; says so once.
    pub(super) fn take_retry(&mut self, now: UnixMs) -> bool {
        self.retry_at.take_if(|at| *at <= now).is_some()
    }

    /// The relay has a letter.
    pub(super) fn delivered(&mut self, entry: &EntryId) {
        self.letters.retain(|letter| letter.entry != *entry);
    }

    /// The messages in entries that were not read before.
    pub(super) fn read(&mut self, entries: Vec<Entry>) -> Vec<Vec<u8>> {
        let mut messages = Vec::new();
        for entry in entries {
            if entry.seq <= self.read {
                continue;
            }
            self.read = entry.seq;
            if let EntryContent::Payload(payload) = entry.content {
                messages.push(payload.into_vec());
            }
        }
        messages
    }
}

impl Letter {
    fn request(&self) -> Request {
        let Mailbox { inbox: log, token } = self.to;
        Request::Deposit(Deposit { log, token, id: self.entry, payload: self.message.clone().into() })
    }
}
