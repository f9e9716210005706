//! The connection: what is proven, subscribed and in flight. All of it is in memory and forgotten when the connection
//! ends; what is to be done stands in rows, and is found there again.
//!
//! ```text
//! Offline ──Connected──▶ Waiting ──Hello──▶ Online: open inbox, prove, subscribe; then intents and outbox
//!    ▲                                         │
//!    └──────────────Disconnected───────────────┘
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use undertone_wire::frame::{
    Create, Hello, Lane, LaneToken, OpenInbox, Place, ProofResult, ProofVerdict, RelayFrame, Reply, Request, SlotKind,
};
use undertone_wire::gate::{Proof, Right, proof_input};
use undertone_wire::id::{ConnectionNonce, EntryId, Generation, LogId, RequestId, Seq, ServerId};
use undertone_wire::limits::PROOFS_MAX;
use undertone_wire::refusal::{Action, Refusal};

use super::event::{Signal, Suspicion};
use super::linking::{Connection, OldLinking};
use super::order::Hold;
use super::rows::{
    self, ClientRow, Creation, EarlyRow, Intent, Kind, LeftOut, LogRow, OutboxRow, Phase, Purpose, Standing,
};
use super::step::Step;
use crate::content::TypingState;
use crate::conversation::ConversationId;
use crate::crypto::Secret32;
use crate::crypto::sign::SigningKey;
use crate::envelope::LogKeys;
use crate::envelope::ephemeral::EphemeralTrack;
use crate::error::Error;
use crate::group;
use crate::identity::{AccountId, DeviceId};
use crate::limits::{BACKOFF_FIRST_MS, BACKOFF_MAX_MS, COMMIT_JITTER_MS, RECEIPT_DELAY, TURN_AGE};
use crate::store::{Direction, Table};
use crate::time::UnixMs;

/// What the client knows of its connection.
#[derive(Default)]
pub(super) struct Link {
    is_connected: bool,
    session: Option<Session>,
    next_request: u64,
    requests: BTreeMap<RequestId, Pending>,
    /// What is known of each log on this connection.
    pub(super) logs: BTreeMap<LogId, LogLink>,
    /// The intents that are stored.
    pub(super) intents: Arc<BTreeSet<u64>>,
    busy: BTreeSet<u64>,
    /// Whether the directory has said on this connection which list of our account is the newest.
    pub(super) has_own_list: bool,
    /// Whether it has refused one of ours since, for another one that it has.
    pub(super) is_list_refused: bool,
    /// The transfer logs that were created and proven on this connection.
    pub(super) transfers: BTreeSet<LogId>,
    retries: Arc<BTreeMap<u64, Retry>>,
    /// Conversations whose outbox may have something to send.
    pub(super) dirty: BTreeSet<ConversationId>,
    /// What others have sent that passes: the newest counter of each device.
    pub(super) passing: BTreeMap<LogId, EphemeralTrack>,
    /// When we last said that we are typing, and how often.
    pub(super) typing: BTreeMap<ConversationId, (UnixMs, TypingState)>,
    pub(super) session_start: Option<UnixMs>,
    pub(super) passing_count: u64,
    /// A device of ours that is being linked. Not of the connection: it outlives a lost one.
    pub(super) linking: Option<OldLinking>,
    /// When what is due by age alone is to be looked at again.
    pub(super) upkeep_at: Option<UnixMs>,
}

/// A connection that has said Hello.
#[derive(Clone, Copy)]
struct Session {
    server: ServerId,
    nonce: ConnectionNonce,
    is_caught_up: bool,
}

/// What is known of a log on this connection.
#[derive(Default)]
pub(super) struct LogLink {
    /// The generation for which we may append.
    pub(super) append: Option<Generation>,
    /// The entry up to which the log is to be read before anything is appended.
    pub(super) target: Option<Seq>,
    /// Whether the log has to be proven and subscribed to anew.
    is_lost: bool,
    /// Why it is not read now, if it is not.
    pub(super) hold: Option<Hold>,
    /// Whether its next entry is read whatever it passes over.
    pub(super) is_forced: bool,
    /// Whether an append is under way.
    pub(super) is_busy: bool,
    /// How often in a row the relay has refused us, and until when we wait for that.
    failures: u32,
    retry_at: Option<UnixMs>,
    /// When a delivery receipt is due.
    pub(super) receipt_at: Option<UnixMs>,
    /// When a proposal of somebody else is to be committed, unless somebody is faster.
    pub(super) commit_at: Option<UnixMs>,
    /// When another log is begun in place of a direct one to which we have no key, unless somebody introduces us.
    pub(super) successor_at: Option<UnixMs>,
}

/// When to try again.
#[derive(Clone, Copy, Debug)]
struct Retry {
    attempts: u32,
    at: UnixMs,
}

/// A request that awaits its reply.
#[derive(Debug)]
pub(super) enum Pending {
    /// Nothing depends on the reply.
    Unwatched,
    Prove(Vec<(LogId, Generation, Right)>),
    /// Whether a device has introduced us to a generation of a log as it is.
    Probe {
        log: LogId,
        sender: DeviceId,
        generation: Generation,
    },
    Subscribe(LogId),
    Append {
        log: LogId,
        rows: Vec<Vec<u8>>,
    },
    Intent(u64),
    Stock(SlotKind),
    /// The inbox of a linking, or a message of it.
    Post {
        inbox: LogId,
        letter: Option<EntryId>,
    },
    /// Our own device list, out of the directory.
    OwnList,
    /// The list of somebody else whose last one has expired.
    List(AccountId),
}

/// What a step had of its intents in memory, beside the rows that its transaction takes back.
#[derive(Clone)]
pub(super) struct IntentsMark {
    intents: Arc<BTreeSet<u64>>,
    retries: Arc<BTreeMap<u64, Retry>>,
}

impl LogLink {
    /// Whether its entries can be had now.
    pub(super) fn is_coming(&self) -> bool {
        !self.is_lost && self.retry_at.is_none()
    }
}

impl Link {
    /// The point to which [`Link::undo_intents_to`] can go back.
    pub(super) fn mark_intents(&self) -> IntentsMark {
        IntentsMark { intents: Arc::clone(&self.intents), retries: Arc::clone(&self.retries) }
    }

    /// Takes back what was begun, ended and delayed since.
    pub(super) fn undo_intents_to(&mut self, mark: IntentsMark) {
        let IntentsMark { intents, retries } = mark;
        self.intents = intents;
        self.retries = retries;
    }

    /// The intents that are to be pursued now.
    fn due_intents(&self, now: UnixMs) -> Vec<u64> {
        let is_due = |ordinal: &&u64| {
            !self.busy.contains(ordinal) && self.retries.get(ordinal).is_none_or(|retry| retry.at <= now)
        };
        self.intents.iter().filter(is_due).copied().collect()
    }

    /// The intents that wait to be tried again.
    pub(super) fn delayed_intents(&self) -> Vec<u64> {
        self.retries.keys().filter(|ordinal| !self.busy.contains(ordinal)).copied().collect()
    }

    /// Keeps an intent that is done on this connection, and to be pursued again on the next.
    pub(super) fn keep_busy(&mut self, ordinal: u64) {
        self.busy.insert(ordinal);
    }

    /// An intent that was kept is no longer done on this connection.
    pub(super) fn resume(&mut self, ordinal: u64) {
        self.busy.remove(&ordinal);
    }

    /// Forgets that an intent was tried in vain: it is pursued now.
    pub(super) fn hurry(&mut self, ordinal: u64) {
        Arc::make_mut(&mut self.retries).remove(&ordinal);
    }

    /// Leaves an intent alone up to this instant.
    pub(super) fn wait_until(&mut self, ordinal: u64, at: UnixMs) {
        let attempts = self.attempts(ordinal);
        Arc::make_mut(&mut self.retries).insert(ordinal, Retry { attempts, at });
    }

    /// How often an intent was tried in vain since the connection began.
    pub(super) fn attempts(&self, ordinal: u64) -> u32 {
        self.retries.get(&ordinal).map_or(0, |retry| retry.attempts)
    }

    /// Registers a request.
    pub(super) fn begin(&mut self, pending: Pending) -> RequestId {
        self.next_request += 1;
        let request = RequestId::from_u64(self.next_request);
        self.requests.insert(request, pending);
        request
    }

    /// Whether requests can be made.
    pub(super) fn is_online(&self) -> bool {
        self.session.is_some()
    }

    /// The next moment at which something is due by itself.
    pub(super) fn next_timer(&self) -> Option<UnixMs> {
        let intents = self.retries.iter().filter(|(ordinal, _)| !self.busy.contains(ordinal)).map(|(_, r)| r.at);
        let logs =
            self.logs.values().flat_map(|link| [link.retry_at, link.receipt_at, link.commit_at, link.successor_at]);
        let logs = logs.flatten();
        let linking = self.linking.as_ref().map(OldLinking::timer);
        if self.is_online() { intents.chain(logs).chain(linking).chain(self.upkeep_at).min() } else { linking }
    }

    /// Whether the inbox is read up to what the relay had when the connection began.
    pub(super) fn has_read(&self, inbox: &LogId, through: Seq) -> bool {
        self.logs.get(inbox).and_then(|link| link.target).is_some_and(|target| through >= target)
    }

    /// What requests are signed for, if the relay has said Hello.
    pub(super) fn connection(&self) -> Option<Connection> {
        self.session.map(|session| (session.nonce, session.server))
    }

    /// Whether a proof for a generation of a log is under way.
    fn is_proving(&self, log: &LogId, generation: Generation) -> bool {
        let is_meant = |claim: &(LogId, Generation, Right)| (claim.0, claim.1) == (*log, generation);
        self.requests.values().any(|pending| matches!(pending, Pending::Prove(claims) if claims.iter().any(is_meant)))
    }

    /// Whether something passing may be sent to the log now.
    pub(super) fn may_append_passing(&self, log: &LogId, row: &LogRow) -> bool {
        self.session.is_some() && self.logs.get(log).is_some_and(|link| link.append == Some(row.generation))
    }

    /// Whether an append to the log may begin now.
    pub(super) fn may_append(&self, log: &LogId, row: &LogRow, now: UnixMs) -> bool {
        self.logs.get(log).is_some_and(|link| {
            !link.is_busy
                && link.append == Some(row.generation)
                && link.target.is_some_and(|target| row.seq >= target)
                && link.retry_at.is_none_or(|at| at <= now)
        })
    }
}

/// Delays rise from a quarter second to half a minute, each drawn evenly from zero up (full jitter).
fn backoff(attempts: u32, at_least_ms: u32, now: UnixMs, rng: &mut dyn crate::crypto::CryptoRng) -> UnixMs {
    let ceiling_ms = BACKOFF_FIRST_MS.saturating_mul(1 << attempts.min(16)).min(BACKOFF_MAX_MS);
    now.after(Duration::from_millis(u64::from(at_least_ms) + rng.next_u64() % (ceiling_ms + 1)))
}

impl Step<'_> {
    pub(super) fn connected(&mut self) -> Result<(), Error> {
        self.link.is_connected = true;
        Ok(())
    }

    pub(super) fn disconnected(&mut self) -> Result<(), Error> {
        let was_online = self.link.is_online();
        self.link.is_connected = false;
        self.link.session = None;
        self.link.requests.clear();
        self.link.busy.clear();
        self.link.transfers.clear();
        self.link.has_own_list = false;
        self.link.is_list_refused = false;
        Arc::make_mut(&mut self.link.retries).clear();
        for link in self.link.logs.values_mut() {
            let LogLink { receipt_at, commit_at, successor_at, .. } = *link;
            *link = LogLink { receipt_at, commit_at, successor_at, ..LogLink::default() };
        }
        if was_online {
            self.signal(Signal::Offline);
        }
        Ok(())
    }

    /// Finds what is to be done, in the rows.
    pub(super) fn find_work(&mut self) -> Result<(), Error> {
        for (key, _) in self.tx.scan_prefix(Table::Intents, &[], Direction::Ascending, usize::MAX)? {
            let ordinal = u64::from_be_bytes(key.as_slice().try_into().map_err(|_| crate::store::StoreError::Corrupt)?);
            Arc::make_mut(&mut self.link.intents).insert(ordinal);
        }
        for (key, _) in self.tx.scan_prefix(Table::Conversations, &[], Direction::Ascending, usize::MAX)? {
            let id = key.as_slice().try_into().map_err(|_| crate::store::StoreError::Corrupt)?;
            self.link.dirty.insert(ConversationId::from_bytes(id));
        }
        for (log, row) in self.logs()? {
            if row.receipt_due >= Seq::FIRST {
                self.owe_receipt(log);
            }
            if let Standing::LeftOut(said) = row.standing {
                self.link.logs.entry(log).or_default().successor_at = Some(said.until);
            }
            let conversation = self.conversation(&row.conversation)?;
            let is_member = conversation.kind == Kind::Group && conversation.phase == Phase::Active;
            if is_member && group::has_pending_proposals(&mut self.tx, log)? {
                self.owe_commit(log);
            }
        }
        Ok(())
    }

    /// Every log that we know.
    pub(super) fn logs(&self) -> Result<Vec<(LogId, LogRow)>, Error> {
        let rows = self.tx.scan_prefix(Table::Logs, &[], Direction::Ascending, usize::MAX)?;
        rows.into_iter()
            .map(|(key, value)| {
                let log = key.as_slice().try_into().map_err(|_| crate::store::StoreError::Corrupt)?;
                Ok((LogId::from_bytes(log), rows::decode(&value)?))
            })
            .collect()
    }

    /// Takes one frame of the relay.
    pub(super) fn frame(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let frame = RelayFrame::decode(bytes).map_err(|reason| Error::BadFrame { reason })?;
        match frame {
            RelayFrame::Hello(hello) => self.hello(&hello),
            _ if !self.link.is_online() => Ok(()),
            RelayFrame::Reply { request, reply } => match self.link.requests.remove(&request) {
                Some(pending) => self.reply(pending, reply),
                None => Err(Error::UnaskedReply),
            },
            RelayFrame::Entries { log, entries } if log == self.us.inbox() => self.inbox_entries(entries),
            RelayFrame::Entries { log, entries }
                if self.link.linking.as_ref().is_some_and(|linking| linking.reads(&log)) =>
            {
                self.linking_entries(entries)
            }
            RelayFrame::Entries { log, entries } => self.log_entries(log, entries),
            RelayFrame::Ephemeral { log, generation, payload } => self.passing(log, generation, payload.as_slice()),
            // The proof of the new generation is on its way: it is made when the entry that turned is handled.
            RelayFrame::Turned { .. } => Ok(()),
            RelayFrame::Ended { log, reason } => self.subscription_ended(log, &reason),
            RelayFrame::Draining { .. } => Ok(()),
            _ => Ok(()),
        }
    }

    fn hello(&mut self, hello: &Hello) -> Result<(), Error> {
        if !self.link.is_connected || self.link.session.is_some() {
            return Err(Error::UnaskedReply);
        }
        let client = ClientRow::load(&self.tx)?;
        if client.server.is_some_and(|server| server != hello.server) {
            self.signal(Signal::RelayChanged);
            return Ok(());
        }
        let may_have_lost = client.incarnation.is_some_and(|incarnation| incarnation != hello.incarnation);
        if client.server.is_none() || client.incarnation != Some(hello.incarnation) {
            self.client(|client| {
                client.server = Some(hello.server);
                client.incarnation = Some(hello.incarnation);
            })?;
        }
        if may_have_lost {
            self.forget_acceptance()?;
        }
        self.link.session = Some(Session { server: hello.server, nonce: hello.nonce, is_caught_up: false });
        if may_have_lost {
            self.give_history_again()?;
        }
        self.signal(Signal::Online);
        self.open_inbox(&client)?;
        let logs = self.logs()?;
        let mut ready: Vec<(LogId, LogRow)> = Vec::new();
        for (log, row) in logs {
            if row.creation != Creation::Done || !self.is_still_in(&row.conversation)? {
                continue;
            }
            if !row.standing.is_inside() {
                self.probe_all(log)?;
            }
            if row.standing.is_provable() {
                ready.push((log, row));
            }
        }
        self.prove(&ready)?;
        for (log, row) in &ready {
            self.subscribe(*log, row.seq.next());
        }
        self.resume_linking();
        self.ask_own_list();
        self.ask_expired_lists()?;
        self.ask_stock()?;
        self.upkeep()
    }

    fn open_inbox(&mut self, client: &ClientRow) -> Result<(), Error> {
        let Some(Session { server, nonce, .. }) = self.link.session else { return Ok(()) };
        let key = self.us.inbox_key();
        let tokens = vec![LaneToken { lane: Lane::Knock, token: client.knock.to_hash() }];
        let signature = key.sign_transcript(&OpenInbox::signature_input(&nonce, &server, &tokens));
        let owner = key.verify_key();
        self.request(Pending::Unwatched, Request::OpenInbox(OpenInbox { owner, tokens, signature }));
        let inbox = self.us.inbox();
        let proof = sign_proof(self.us.inbox_key(), &nonce, &server, inbox, Generation::FIRST, Right::Read);
        let claim = vec![(inbox, Generation::FIRST, Right::Read)];
        self.request(Pending::Prove(claim), Request::Prove { proofs: vec![proof] });
        self.subscribe(inbox, client.inbox_seq.next());
        Ok(())
    }

    /// Proves both rights of each log at its present generation; of those that concern us no more, none.
    pub(super) fn prove(&mut self, logs: &[(LogId, LogRow)]) -> Result<(), Error> {
        let Some(Session { server, nonce, .. }) = self.link.session else { return Ok(()) };
        for logs in logs.chunks(PROOFS_MAX / 2) {
            let mut proofs = Vec::with_capacity(logs.len() * 2);
            for (log, row) in logs {
                if !row.standing.is_provable() || !self.is_still_in(&row.conversation)? {
                    continue;
                }
                let keys = self.keys(log, row)?;
                proofs.push(sign_proof(&keys.read, &nonce, &server, *log, row.generation, Right::Read));
                proofs.push(sign_proof(&keys.append, &nonce, &server, *log, row.generation, Right::Append));
            }
            if proofs.is_empty() {
                continue;
            }
            let claims = proofs.iter().map(|proof| (proof.log, proof.generation, proof.right)).collect();
            self.request(Pending::Prove(claims), Request::Prove { proofs });
        }
        Ok(())
    }

    /// Asks the relay whether an introduction to a generation of a log is one.
    pub(super) fn probe(
        &mut self,
        log: LogId,
        sender: DeviceId,
        generation: Generation,
        early: &EarlyRow,
    ) -> Result<(), Error> {
        let Some(Session { server, nonce, .. }) = self.link.session else { return Ok(()) };
        let secret = Secret32::from_slice(early.secret.as_slice()).ok_or(crate::store::StoreError::Corrupt)?;
        let read = LogKeys::derive(&secret, log, generation).read;
        let proofs = vec![sign_proof(&read, &nonce, &server, log, generation, Right::Read)];
        self.request(Pending::Probe { log, sender, generation }, Request::Prove { proofs });
        Ok(())
    }

    /// Asks so of every one to a log that we cannot read any more.
    pub(super) fn probe_all(&mut self, log: LogId) -> Result<(), Error> {
        for (sender, generation, early) in self.early(&log)? {
            self.probe(log, sender, generation, &early)?;
        }
        Ok(())
    }

    fn subscribe(&mut self, log: LogId, from: Seq) {
        self.link.logs.entry(log).or_default();
        self.request(Pending::Subscribe(log), Request::Subscribe { log, from });
    }

    /// Begins with a log that the relay has.
    pub(super) fn enter(&mut self, log: LogId, row: &LogRow) -> Result<(), Error> {
        if self.link.is_online() && row.standing.is_provable() && self.is_still_in(&row.conversation)? {
            self.prove(&[(log, row.clone())])?;
            self.subscribe(log, row.seq.next());
        }
        Ok(())
    }

    fn subscription_ended(&mut self, log: LogId, reason: &Refusal) -> Result<(), Error> {
        if log == self.us.inbox() {
            self.lose_log(log, reason);
            return Ok(());
        }
        let Some(row) = LogRow::load(&self.tx, &log)? else { return self.history_ended(log, reason) };
        match reason {
            // No log of a conversation is trimmed yet: a relay that says so withholds entries.
            Refusal::Trimmed { .. } => {
                self.suspicion(&row, row.seq.next(), Suspicion::Skipped)?;
                self.lose_log(log, reason);
            }
            // Our proof was late or refused: prove again, then ask again, but not at once.
            _ => self.lose_log(log, reason),
        }
        Ok(())
    }

    /// Begins with a log again, but not at once.
    pub(super) fn lose_log(&mut self, log: LogId, refusal: &Refusal) {
        self.link.logs.entry(log).or_default().is_lost = true;
        self.delay_log(log, refusal);
    }

    /// Waits with a log after a refusal.
    fn delay_log(&mut self, log: LogId, refusal: &Refusal) {
        let at_least_ms = match refusal.action() {
            Action::Retry { after_ms } => after_ms,
            _ => 0,
        };
        let now = self.now;
        let link = self.link.logs.entry(log).or_default();
        link.retry_at = Some(backoff(link.failures, at_least_ms, now, self.rng));
        link.failures += 1;
    }

    fn reply(&mut self, pending: Pending, reply: Reply) -> Result<(), Error> {
        match (pending, reply) {
            (Pending::Prove(claims), Reply::Proven { results }) => self.proven(&claims, &results),
            (Pending::Append { log, rows }, Reply::Appended { places }) => self.appended(log, &rows, &places),
            (Pending::Append { log, rows }, Reply::Refused(refusal)) => self.append_refused(log, &rows, &refusal),
            (Pending::Probe { log, sender, generation }, Reply::Proven { results }) => {
                let is_granted = results.iter().all(|result| result.verdict == ProofVerdict::Granted);
                self.probed(log, sender, generation, is_granted)
            }
            (Pending::Subscribe(log), Reply::Refused(refusal)) => self.subscription_ended(log, &refusal),
            (Pending::Subscribe(log), Reply::Done) => {
                let link = self.link.logs.entry(log).or_default();
                link.hold = link.hold.filter(|hold| *hold != Hold::Waking);
                Ok(())
            }
            (Pending::Intent(ordinal), reply) => {
                self.link.busy.remove(&ordinal);
                self.intent_reply(ordinal, reply)
            }
            (Pending::Stock(kind), Reply::Published { items_left, .. }) => self.stock(kind, items_left),
            (Pending::OwnList, Reply::Taken(taken)) => self.own_list_taken(Some(taken.body.as_slice())),
            (Pending::OwnList, Reply::Refused(Refusal::Unknown)) => self.own_list_taken(None),
            (Pending::List(account), Reply::Taken(taken)) => self.list_taken(&account, taken.body.as_slice()),
            (Pending::Post { inbox, letter }, reply) => {
                let refusal = if let Reply::Refused(refusal) = &reply { Some(refusal) } else { None };
                self.post_reply(&inbox, letter.as_ref(), refusal);
                Ok(())
            }
            (
                Pending::Subscribe(_)
                | Pending::Unwatched
                | Pending::Stock(_)
                | Pending::OwnList
                | Pending::List(_)
                | Pending::Probe { .. },
                _,
            ) => Ok(()),
            (Pending::Prove(claims), Reply::Refused(refusal)) => {
                let logs: BTreeSet<LogId> = claims.into_iter().map(|(log, ..)| log).collect();
                logs.into_iter().for_each(|log| self.lose_log(log, &refusal));
                Ok(())
            }
            (Pending::Prove(_) | Pending::Append { .. }, _) => Err(Error::UnaskedReply),
        }
    }

    fn proven(&mut self, claims: &[(LogId, Generation, Right)], results: &[ProofResult]) -> Result<(), Error> {
        if claims.len() != results.len() {
            return Err(Error::UnaskedReply);
        }
        for ((log, generation, right), result) in claims.iter().zip(results) {
            let link = self.link.logs.entry(*log).or_default();
            link.target = link.target.max(Some(result.last));
            if result.verdict == ProofVerdict::Granted && *right == Right::Append {
                link.append = Some(*generation);
            }
            if let Some(row) = LogRow::load(&self.tx, log)? {
                self.link.dirty.insert(row.conversation);
                if *right == Right::Append && *generation == row.generation {
                    self.told_of_gate(*log, row, result.verdict)?;
                }
            }
        }
        Ok(())
    }

    /// The relay has compared our key with the gate of the present generation.
    fn told_of_gate(&mut self, log: LogId, mut row: LogRow, verdict: ProofVerdict) -> Result<(), Error> {
        match (verdict, row.standing) {
            (ProofVerdict::BadSignature | ProofVerdict::Unknown, Standing::Inside) => {
                if verdict == ProofVerdict::BadSignature {
                    self.suspicion(&row, row.seq, Suspicion::EpochFork)?;
                }
                if !row.secret.as_slice().is_empty() {
                    self.lose_gate(log, row)?;
                }
            }
            (ProofVerdict::Granted, Standing::LeftOut(LeftOut { gate: None, .. })) => {
                row.standing = Standing::Inside;
                row.save(&mut self.tx, &log);
            }
            _ => {}
        }
        Ok(())
    }

    /// The relay says that our keys are not those of a direct log, or that there is no such log or generation.
    pub(super) fn lose_gate(&mut self, log: LogId, mut row: LogRow) -> Result<(), Error> {
        let until = self.successor_at(&log, row.order, false)?;
        row.standing = Standing::LeftOut(LeftOut { gate: None, lists: None, until });
        row.save(&mut self.tx, &log);
        self.link.logs.entry(log).or_default().successor_at = Some(until);
        Ok(())
    }

    fn appended(&mut self, log: LogId, keys: &[Vec<u8>], places: &[Place]) -> Result<(), Error> {
        if keys.len() != places.len() {
            return Err(Error::UnaskedReply);
        }
        let link = self.link.logs.entry(log).or_default();
        link.is_busy = false;
        link.failures = 0;
        // What we appended is read before anything else is appended: a commit may be among it.
        link.target = link.target.max(places.iter().map(|place| place.seq).max());
        for (key, place) in keys.iter().zip(places) {
            self.accepted(key, place.seq)?;
        }
        let row = self.log_row(&log)?;
        self.link.dirty.insert(row.conversation);
        Ok(())
    }

    fn append_refused(&mut self, log: LogId, keys: &[Vec<u8>], refusal: &Refusal) -> Result<(), Error> {
        let row = self.log_row(&log)?;
        self.link.dirty.insert(row.conversation);
        let link = self.link.logs.entry(log).or_default();
        link.is_busy = false;
        match (refusal, refusal.action()) {
            // What was sealed stays as it is until the entries up to the turn are read.
            (Refusal::Stale { turned_at, .. }, _) => {
                link.target = link.target.max(Some(*turned_at));
                link.append = None;
                // Once that is read, the proof of the new generation is on its way; without it something is wrong.
                if row.seq >= *turned_at && !self.link.is_proving(&log, row.generation) {
                    self.lose_log(log, refusal);
                }
            }
            (Refusal::NotProven, _) => {
                link.append = None;
                self.lose_log(log, refusal);
            }
            (_, Action::Retry { .. } | Action::Refresh) => self.delay_log(log, refusal),
            (_, Action::Fatal) => {
                for key in keys {
                    self.give_up(key, super::event::Failure::Refused)?;
                }
            }
        }
        Ok(())
    }

    /// Tries an intent again later.
    pub(super) fn delay_intent(&mut self, ordinal: u64, refusal: &Refusal) -> u32 {
        let at_least_ms = match refusal.action() {
            Action::Retry { after_ms } => after_ms,
            _ => 0,
        };
        let attempts = self.link.retries.get(&ordinal).map_or(0, |retry| retry.attempts);
        let at = backoff(attempts, at_least_ms, self.now, self.rng);
        Arc::make_mut(&mut self.link.retries).insert(ordinal, Retry { attempts: attempts + 1, at });
        attempts + 1
    }

    /// Forgets an intent that is done, or has failed for good.
    pub(super) fn end_intent(&mut self, ordinal: u64) {
        self.tx.delete(Table::Intents, &ordinal.to_be_bytes());
        Arc::make_mut(&mut self.link.intents).remove(&ordinal);
        Arc::make_mut(&mut self.link.retries).remove(&ordinal);
    }

    /// Replaces an intent by its next stage.
    pub(super) fn advance_intent(&mut self, ordinal: u64, intent: &Intent) {
        rows::save(&mut self.tx, Table::Intents, &ordinal.to_be_bytes(), intent);
        Arc::make_mut(&mut self.link.retries).remove(&ordinal);
    }

    /// At the end of every step: does whatever can be done now.
    pub(super) fn settle(&mut self) -> Result<(), Error> {
        self.mind_heard()?;
        if !self.link.is_online() {
            return Ok(());
        }
        let now = self.now;
        let late: Vec<LogId> = self
            .link
            .logs
            .iter()
            .filter(|(_, link)| link.retry_at.is_some_and(|at| at <= now))
            .map(|(log, _)| *log)
            .collect();
        for log in late {
            self.retry_log(log)?;
        }
        // What is sent may need to be looked up first, and what was looked up may be sent.
        loop {
            let due = self.link.due_intents(now);
            for ordinal in &due {
                self.pursue(*ordinal)?;
            }
            while let Some(conversation) = self.link.dirty.pop_first() {
                self.pump(&conversation)?;
            }
            if self.link.due_intents(now).iter().all(|ordinal| due.contains(ordinal)) {
                break;
            }
        }
        self.wake_held()?;
        self.notice_caught_up()
    }

    fn retry_log(&mut self, log: LogId) -> Result<(), Error> {
        let link = self.link.logs.entry(log).or_default();
        link.retry_at = None;
        let is_lost = std::mem::take(&mut link.is_lost);
        if log == self.us.inbox() {
            let client = ClientRow::load(&self.tx)?;
            return if is_lost { self.open_inbox(&client) } else { Ok(()) };
        }
        let Some(row) = LogRow::load(&self.tx, &log)? else { return Ok(()) };
        self.link.dirty.insert(row.conversation);
        if is_lost { self.enter(log, &row) } else { Ok(()) }
    }

    /// Sends the request of an intent.
    fn pursue(&mut self, ordinal: u64) -> Result<(), Error> {
        let Some(intent) = rows::load::<Intent>(&self.tx, Table::Intents, &ordinal.to_be_bytes())? else {
            Arc::make_mut(&mut self.link.intents).remove(&ordinal);
            return Ok(());
        };
        let now = self.now;
        let body = match intent {
            Intent::Publish { kind, version, body, items } => self.publication(kind, version, body, items)?,
            Intent::Create { log } => {
                let row = self.log_row(&log)?;
                let Some(key) = row.control_key(self.conversation(&row.conversation)?.kind) else {
                    self.end_intent(ordinal);
                    return Ok(());
                };
                let (gate, control) = (self.keys(&log, &row)?.gate(), key.verify_key());
                Some(Request::Create(Create { log, control, gate }))
            }
            Intent::Lookup { purpose: Purpose::Mend, stage, .. } if !self.goes_on_mending(ordinal, &stage)? => {
                return Ok(());
            }
            Intent::RemoveDevice { device } => return self.pursue_removal(ordinal, &device),
            Intent::Vouch { log, at } => {
                if at > now {
                    Arc::make_mut(&mut self.link.retries).insert(ordinal, Retry { attempts: 0, at });
                    return Ok(());
                }
                self.end_intent(ordinal);
                return self.vouch(log);
            }
            Intent::Lookup { account, purpose, stage, take } => {
                Some(self.lookup_request(&account, &purpose, &stage, take)?)
            }
            // The new device has given up long ago.
            Intent::Grant { expires, .. } if expires < self.now => {
                self.end_intent(ordinal);
                return Ok(());
            }
            Intent::GiveHistory { to, log, first, payloads } => {
                self.history_append(ordinal, &to, log, first, payloads)?
            }
            Intent::TakeHistory { from, log } => self.history_subscribe(ordinal, &from, log)?,
            Intent::Deposit { inbox, token, entry, payload } | Intent::Grant { inbox, token, entry, payload, .. } => {
                Some(Request::Deposit(undertone_wire::frame::Deposit { log: inbox, token, id: entry, payload }))
            }
        };
        if let Some(body) = body {
            self.link.busy.insert(ordinal);
            self.request(Pending::Intent(ordinal), body);
        }
        Ok(())
    }

    /// What one signs that is bound to this connection.
    pub(super) fn sign_for_connection(
        &self,
        key: &SigningKey,
        input: impl FnOnce(&ConnectionNonce, &ServerId) -> Vec<u8>,
    ) -> Option<undertone_wire::id::Signature> {
        let session = self.link.session?;
        Some(key.sign_transcript(&input(&session.nonce, &session.server)))
    }

    fn notice_caught_up(&mut self) -> Result<(), Error> {
        let Some(Session { is_caught_up: false, .. }) = self.link.session else { return Ok(()) };
        if self.link.requests.values().any(|pending| matches!(pending, Pending::Prove(_))) {
            return Ok(());
        }
        let inbox_seq = ClientRow::load(&self.tx)?.inbox_seq;
        for (log, link) in &self.link.logs {
            let seq = match LogRow::load(&self.tx, log)? {
                // There is nothing to be read until somebody introduces us.
                Some(row) if !row.standing.is_inside() => continue,
                Some(row) => row.seq,
                None => inbox_seq,
            };
            if link.target.is_some_and(|target| seq < target) {
                return Ok(());
            }
        }
        if let Some(session) = &mut self.link.session {
            session.is_caught_up = true;
        }
        self.signal(Signal::CaughtUp);
        Ok(())
    }

    /// What is due by the clock.
    pub(super) fn timer(&mut self) -> Result<(), Error> {
        self.expire_linking();
        self.retry_linking();
        let now = self.now;
        let due = |at: Option<UnixMs>| at.is_some_and(|at| at <= now);
        if due(self.link.upkeep_at) && self.link.is_online() {
            self.link.is_list_refused = false;
            self.ask_own_list();
            self.upkeep()?;
        }
        let logs: Vec<LogId> = self.link.logs.keys().copied().collect();
        for log in logs {
            let Some(link) = self.link.logs.get_mut(&log) else { continue };
            let (receipt, commit) = (due(link.receipt_at), due(link.commit_at));
            if due(link.successor_at) {
                link.successor_at = None;
                if let Some(row) = LogRow::load(&self.tx, &log)? {
                    self.link.dirty.insert(row.conversation);
                }
            }
            let Some(link) = self.link.logs.get_mut(&log) else { continue };
            if receipt {
                link.receipt_at = None;
            }
            if commit {
                link.commit_at = None;
            }
            if receipt {
                self.enqueue_receipt(log)?;
            }
            if commit {
                self.enqueue_proposals(log)?;
            }
        }
        Ok(())
    }

    /// A delivery receipt is owed for this log.
    pub(super) fn owe_receipt(&mut self, log: LogId) {
        let at = self.now.after(RECEIPT_DELAY);
        self.link.logs.entry(log).or_default().receipt_at.get_or_insert(at);
    }

    /// A proposal of somebody else waits to be committed.
    pub(super) fn owe_commit(&mut self, log: LogId) {
        let at = self.now.after(Duration::from_millis(self.rng.next_u64() % COMMIT_JITTER_MS));
        self.link.logs.entry(log).or_default().commit_at.get_or_insert(at);
    }

    /// Whether a direct log is old enough to be turned.
    pub(super) fn is_turn_due(&self, kind: Kind, row: &LogRow) -> bool {
        matches!(kind, Kind::Direct { .. }) && self.now.since(row.turned_ms) >= TURN_AGE
    }

    /// The relay may have lost what it accepted: everything that the log has not shown is sent again.
    fn forget_acceptance(&mut self) -> Result<(), Error> {
        for (key, value) in self.tx.scan_prefix(Table::Outbox, &[], Direction::Ascending, usize::MAX)? {
            let mut row: OutboxRow = rows::decode(&value)?;
            if row.accepted.take().is_some() {
                rows::save(&mut self.tx, Table::Outbox, &key, &row);
            }
        }
        Ok(())
    }
}

pub(super) fn sign_proof(
    key: &SigningKey,
    nonce: &ConnectionNonce,
    server: &ServerId,
    log: LogId,
    generation: Generation,
    right: Right,
) -> Proof {
    let signature = key.sign_transcript(&proof_input(nonce, server, &log, generation, right));
    Proof { log, generation, right, signature }
}
