//! One connection: requests in, replies and entries out.
//!
//! One task per connection. Writes go to the committer at once, many in flight; every other request first waits for the
//! replies before it, so that it sees what they did. Replies leave in the order of the requests. While a peer takes no
//! bytes, nothing more is read from it: memory per connection is bounded by what is in flight and by one frame.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use futures_util::SinkExt;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};
use undertone_wire::VLBytes;
use undertone_wire::frame::{
    ClientFrame, Entry, Hello, ProofResult, ProofVerdict, RelayFrame, Reply, Request, SlotKind,
};
use undertone_wire::gate::{Proof, Right};
use undertone_wire::id::{ConnectionNonce, Generation, LogId, RequestId, Seq, ServerId, VerifyKey};
use undertone_wire::limits::SUBSCRIPTIONS_MAX;
use undertone_wire::refusal::Refusal;

use crate::config::Limits;
use crate::hub::{ConnectionId, Doorbell, Hub, LogHead, Passing, Wake};
use crate::ledger::Write;
use crate::random;
use crate::rows::{GateRow, Key, LogKind, LogRow};
use crate::store::{Rows, Store, StoreError, clock_ms};

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) hub: Arc<Hub>,
    pub(crate) limits: Limits,
    /// Turns true when the relay is about to stop.
    pub(crate) draining: watch::Receiver<bool>,
}

/// What a connection has proven about one log.
#[derive(Clone, Copy, Default)]
struct Rights {
    read: Option<Generation>,
    append: Option<Generation>,
}

/// One subscription: what comes next, and whether it waits for a proof.
#[derive(Clone, Copy)]
struct Subscription {
    next: Seq,
    parked_until: Option<Instant>,
}

/// An answer that is due, in the order of the requests.
struct Answer {
    request: RequestId,
    frame_len: usize,
    state: AnswerState,
}

enum AnswerState {
    Ready(Reply),
    Committing(oneshot::Receiver<Reply>),
}

/// Why a connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// The peer closed, or the socket failed.
    Peer,
    /// The peer sent what is no frame at all.
    NoFrame,
    /// The peer took no bytes, or was silent, for too long.
    TimedOut,
    /// The store failed.
    Store,
    /// The relay stops.
    Drained,
}

/// Serves one WebSocket until either side ends it.
pub(crate) async fn serve(socket: WebSocket, shared: Arc<Shared>, id: ConnectionId) {
    let mut connection = Connection::new(socket, shared, id);
    let end = match connection.run().await {
        Ok(never) => match never {},
        Err(end) => end,
    };
    tracing::debug!(?end, "connection ended");
    connection.close(end).await;
}

struct Connection {
    socket: WebSocket,
    shared: Arc<Shared>,
    id: ConnectionId,
    nonce: ConnectionNonce,
    limiter: DefaultDirectRateLimiter,
    rights: HashMap<LogId, Rights>,
    subscriptions: HashMap<LogId, Subscription>,
    parked: BTreeSet<(Instant, LogId)>,
    doorbell: Arc<Doorbell>,
    answers: VecDeque<Answer>,
    in_flight_len: usize,
    heard_at: Instant,
    ping_at: Instant,
}

enum Never {}

impl Connection {
    fn new(socket: WebSocket, shared: Arc<Shared>, id: ConnectionId) -> Self {
        let at_least_one = |number: u32| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(at_least_one(shared.limits.requests_per_s))
            .allow_burst(at_least_one(shared.limits.requests_burst));
        let now = Instant::now();
        Self {
            socket,
            id,
            nonce: ConnectionNonce::from_bytes(random()),
            limiter: RateLimiter::direct(quota),
            rights: HashMap::new(),
            subscriptions: HashMap::new(),
            parked: BTreeSet::new(),
            doorbell: Arc::default(),
            answers: VecDeque::new(),
            in_flight_len: 0,
            heard_at: now,
            ping_at: now + Duration::from_secs(shared.limits.ping_interval_s),
            shared,
        }
    }

    async fn run(&mut self) -> Result<Never, End> {
        self.feed(RelayFrame::Hello(Hello {
            server: self.shared.store.server,
            nonce: self.nonce,
            incarnation: self.shared.store.incarnation,
            now_ms: clock_ms(),
        }))
        .await?;
        self.flush().await?;
        let mut draining = self.shared.draining.clone();
        loop {
            let may_read = self.answers.len() < IN_FLIGHT_COUNT_MAX && self.in_flight_len < IN_FLIGHT_LEN_MAX;
            let alarm_at = self.parked.first().map_or(self.ping_at, |(at, _)| self.ping_at.min(*at));
            tokio::select! {
                reply = front_reply(&mut self.answers) => {
                    self.answer_front(reply).await?;
                    self.answer_ready().await?;
                    self.flush().await?;
                }
                () = self.doorbell.wait() => self.deliver().await?,
                message = self.socket.recv(), if may_read => self.hear(message).await?,
                () = sleep_until(alarm_at) => self.look_at_clock().await?,
                () = turns_true(&mut draining) => return Err(self.drain().await),
            }
        }
    }

    // Requests.

    async fn hear(&mut self, message: Option<Result<Message, axum::Error>>) -> Result<(), End> {
        self.heard_at = Instant::now();
        match message {
            Some(Ok(Message::Binary(bytes))) => self.handle(&bytes).await,
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
            Some(Ok(Message::Text(_))) => Err(End::NoFrame),
            Some(Ok(Message::Close(_)) | Err(_)) | None => Err(End::Peer),
        }
    }

    async fn handle(&mut self, bytes: &[u8]) -> Result<(), End> {
        // Before anything is decoded: garbage counts as much as a request.
        if let Err(until) = self.limiter.check() {
            let request = ClientFrame::peek_request(bytes).ok_or(End::NoFrame)?;
            let wait = until.wait_time_from(DefaultClock::default().now());
            let retry_after_ms = wait.as_millis().min(60_000) as u32 + 1;
            return self.reply(request, Reply::Refused(Refusal::RateLimited { retry_after_ms })).await;
        }
        let ClientFrame { request, body } = match ClientFrame::decode(bytes) {
            Ok(frame) => frame,
            Err(_) => {
                let request = ClientFrame::peek_request(bytes).ok_or(End::NoFrame)?;
                let known = bytes.get(KIND_AT).is_some_and(|kind| KINDS.contains(kind));
                let refusal = if known { Refusal::Malformed } else { Refusal::Unsupported };
                return self.reply(request, Reply::Refused(refusal)).await;
            }
        };
        match self.admit(body).await? {
            Admitted::Write(write) => {
                let receiver = self.shared.store.submit(write).await;
                self.in_flight_len += bytes.len();
                let state = AnswerState::Committing(receiver);
                self.answers.push_back(Answer { request, frame_len: bytes.len(), state });
                Ok(())
            }
            Admitted::Reply(reply) => self.reply(request, reply).await,
            Admitted::Subscribe { log, from } => {
                let reply = self.subscribe(log, from).await?;
                self.reply(request, reply).await
            }
        }
    }

    /// Checks what the connection may ask, and does all that needs no order among connections.
    async fn admit(&mut self, request: Request) -> Result<Admitted, End> {
        let (nonce, server) = (self.nonce, self.shared.store.server);
        let refused = |refusal| Ok(Admitted::Reply(Reply::Refused(refusal)));
        Ok(Admitted::Write(match request {
            Request::Create(create) => {
                if create.log != LogId::of_control_key(&create.control) {
                    return refused(Refusal::Malformed);
                }
                Write::Create(create)
            }
            Request::Append(append) => {
                if self.rights(&append.log).append < Some(append.generation) {
                    return refused(Refusal::NotProven);
                }
                Write::Append(append)
            }
            Request::Publish(publish) => {
                if !publish.is_signed(&nonce, &server) {
                    return refused(Refusal::BadSignature);
                }
                let hands_out_items = matches!(publish.kind, SlotKind::PrekeyBundle | SlotKind::KeyPackages);
                if !hands_out_items && !publish.items.is_empty() {
                    return refused(Refusal::Malformed);
                }
                Write::Publish(publish)
            }
            Request::Take { slot, kind, take } => Write::Take { slot, kind, take },
            Request::OpenInbox(open) => {
                if !open.is_signed(&nonce, &server) {
                    return refused(Refusal::BadSignature);
                }
                Write::OpenInbox(open)
            }
            Request::Deposit(deposit) => Write::Deposit(deposit),
            Request::AckInbox { log, through } => {
                if self.rights(&log).read.is_none() {
                    return refused(Refusal::NotProven);
                }
                Write::AckInbox { log, through }
            }
            Request::Prove { proofs } => {
                self.settle().await?;
                return self.prove(proofs).await.map(Admitted::Reply);
            }
            Request::Read { log, from, limit } => {
                self.settle().await?;
                return self.read(log, from, limit).await.map(Admitted::Reply);
            }
            Request::Ephemeral { log, generation, payload } => {
                self.settle().await?;
                return self.pass(log, generation, &payload).await.map(Admitted::Reply);
            }
            Request::Subscribe { log, from } => {
                self.settle().await?;
                return Ok(Admitted::Subscribe { log, from });
            }
            Request::Unsubscribe { log } => {
                self.end_subscription(&log);
                return Ok(Admitted::Reply(Reply::Done));
            }
            _ => return refused(Refusal::Unsupported),
        }))
    }

    fn rights(&self, log: &LogId) -> Rights {
        self.rights.get(log).copied().unwrap_or_default()
    }

    async fn prove(&mut self, proofs: Vec<Proof>) -> Result<Reply, End> {
        let (nonce, server) = (self.nonce, self.shared.store.server);
        let checked = self
            .blocking(move |rows| {
                let check = |proof: Proof| Ok((check_proof(rows, &proof, &nonce, &server)?, proof));
                proofs.into_iter().map(check).collect::<Result<Vec<_>, StoreError>>()
            })
            .await?;
        let new_logs = checked.iter().map(|(_, proof)| proof.log).filter(|log| !self.rights.contains_key(log));
        if self.rights.len() + new_logs.collect::<BTreeSet<_>>().len() > PROVEN_LOGS_MAX {
            return Ok(Reply::Refused(Refusal::Quota { retry_after_ms: QUOTA_RETRY_MS }));
        }
        let granted = checked.iter().filter(|(result, _)| result.verdict == ProofVerdict::Granted);
        for (_, Proof { log, generation, right, .. }) in granted {
            let rights = self.rights.entry(*log).or_default();
            match right {
                Right::Read => {
                    rights.read = rights.read.max(Some(*generation));
                    self.unpark(log);
                }
                Right::Append => rights.append = rights.append.max(Some(*generation)),
                // No request needs it yet.
                Right::Control => {}
            }
        }
        Ok(Reply::Proven { results: checked.into_iter().map(|(result, _)| result).collect() })
    }

    async fn read(&mut self, log: LogId, from: Seq, limit: u16) -> Result<Reply, End> {
        let Some(generation) = self.rights(&log).read else { return Ok(Reply::Refused(Refusal::NotProven)) };
        let result = self
            .blocking(move |rows| {
                let Some(row) = rows.get::<LogRow>(&Key::log(&log))? else { return Ok(Err(Refusal::Unknown)) };
                if from < row.first {
                    return Ok(Err(Refusal::Trimmed { first_seq: row.first, head: row.first_head }));
                }
                let Some(to) = rows.readable_to(&log, generation)? else { return Ok(Err(Refusal::Unknown)) };
                if from > to && generation < row.generation {
                    return Ok(Err(Refusal::NotProven));
                }
                Ok(Ok(rows.page(&log, from, to, usize::from(limit))?))
            })
            .await?;
        Ok(match result {
            Ok(entries) => Reply::Page { entries },
            Err(refusal) => Reply::Refused(refusal),
        })
    }

    async fn pass(&mut self, log: LogId, generation: Generation, payload: &VLBytes) -> Result<Reply, End> {
        if self.rights(&log).append < Some(generation) {
            return Ok(Reply::Refused(Refusal::NotProven));
        }
        let head = match self.shared.hub.head(&log) {
            Some(head) => head,
            // Nobody listens, but whether the generation is the present one is answered all the same.
            None => match self.blocking(move |rows| rows.get::<LogRow>(&Key::log(&log))).await? {
                Some(row) => head_of(&row),
                None => return Ok(Reply::Refused(Refusal::Unknown)),
            },
        };
        if head.generation != generation {
            let LogHead { generation, turned_at, .. } = head;
            return Ok(Reply::Refused(Refusal::Stale { generation, turned_at }));
        }
        self.shared.hub.pass(&Passing { log, generation, payload: payload.as_slice().into() }, self.id);
        Ok(Reply::Done)
    }

    async fn subscribe(&mut self, log: LogId, from: Seq) -> Result<Reply, End> {
        if self.rights(&log).read.is_none() {
            return Ok(Reply::Refused(Refusal::NotProven));
        }
        if self.subscriptions.len() >= SUBSCRIPTIONS_MAX && !self.subscriptions.contains_key(&log) {
            return Ok(Reply::Refused(Refusal::Quota { retry_after_ms: QUOTA_RETRY_MS }));
        }
        self.end_subscription(&log);
        self.shared.hub.subscribe(log, self.id, Arc::clone(&self.doorbell));
        self.subscriptions.insert(log, Subscription { next: from, parked_until: None });
        let refusal = match self.blocking(move |rows| rows.get::<LogRow>(&Key::log(&log))).await? {
            None => Refusal::Unknown,
            Some(row) if from < row.first => Refusal::Trimmed { first_seq: row.first, head: row.first_head },
            Some(row) => {
                self.shared.hub.bring(&log, head_of(&row));
                self.doorbell.ring(log);
                return Ok(Reply::Done);
            }
        };
        self.end_subscription(&log);
        Ok(Reply::Refused(refusal))
    }

    fn end_subscription(&mut self, log: &LogId) {
        self.unpark(log);
        if self.subscriptions.remove(log).is_some() {
            self.shared.hub.unsubscribe(log, self.id);
        }
    }

    /// Lets a parked subscription go on.
    fn unpark(&mut self, log: &LogId) {
        let Some(subscription) = self.subscriptions.get_mut(log) else { return };
        if let Some(until) = subscription.parked_until.take() {
            self.parked.remove(&(until, *log));
            self.doorbell.ring(*log);
        }
    }

    // Replies.

    /// Answers behind everything that is still in flight.
    async fn reply(&mut self, request: RequestId, reply: Reply) -> Result<(), End> {
        self.answers.push_back(Answer { request, frame_len: 0, state: AnswerState::Ready(reply) });
        self.answer_ready().await?;
        self.flush().await
    }

    /// Waits until every request so far is answered.
    async fn settle(&mut self) -> Result<(), End> {
        while !self.answers.is_empty() {
            let reply = front_reply(&mut self.answers).await;
            self.answer_front(reply).await?;
        }
        Ok(())
    }

    /// Sends the replies that are there, up to the first that is not.
    async fn answer_ready(&mut self) -> Result<(), End> {
        while let Some(front) = self.answers.front_mut() {
            let reply = match &mut front.state {
                AnswerState::Ready(reply) => Some(std::mem::replace(reply, Reply::Done)),
                AnswerState::Committing(receiver) => match receiver.try_recv() {
                    Ok(reply) => Some(reply),
                    Err(oneshot::error::TryRecvError::Empty) => return Ok(()),
                    Err(oneshot::error::TryRecvError::Closed) => None,
                },
            };
            self.answer_front(reply).await?;
        }
        Ok(())
    }

    async fn answer_front(&mut self, reply: Option<Reply>) -> Result<(), End> {
        let Some(Answer { request, frame_len, .. }) = self.answers.pop_front() else { return Ok(()) };
        self.in_flight_len -= frame_len;
        let reply = reply.ok_or(End::Store)?;
        self.feed(RelayFrame::Reply { request, reply }).await
    }

    // Entries.

    async fn deliver(&mut self) -> Result<(), End> {
        let Wake { logs, passing } = self.doorbell.answer();
        for Passing { log, generation, payload } in passing {
            if self.subscriptions.contains_key(&log) && self.rights(&log).read == Some(generation) {
                self.feed(RelayFrame::Ephemeral { log, generation, payload: payload.to_vec().into() }).await?;
            }
        }
        for log in logs {
            if self.advance(log).await? {
                self.doorbell.ring(log);
            }
        }
        self.flush().await
    }

    /// Sends one frame of a subscription, or parks it. Returns whether more waits.
    async fn advance(&mut self, log: LogId) -> Result<bool, End> {
        let Some(Subscription { next, parked_until: None }) = self.subscriptions.get(&log).copied() else {
            return Ok(false);
        };
        let (Some(generation), Some(head)) = (self.rights(&log).read, self.shared.hub.head(&log)) else {
            return Ok(false);
        };
        let to = if generation == head.generation {
            head.last
        } else {
            self.blocking(move |rows| rows.readable_to(&log, generation)).await?.unwrap_or(head.last)
        };
        if next <= to {
            let entries = self.page(log, next, to).await?;
            let next = entries.last().map_or(to, |entry| entry.seq).next();
            if !entries.is_empty() {
                self.feed(RelayFrame::Entries { log, entries }).await?;
            }
            if let Some(subscription) = self.subscriptions.get_mut(&log) {
                subscription.next = next;
            }
            return Ok(next <= to || generation < head.generation);
        }
        if generation < head.generation {
            self.park(log);
            self.feed(RelayFrame::Turned { log, generation: generation.next(), seq: to }).await?;
        }
        Ok(false)
    }

    async fn page(&mut self, log: LogId, from: Seq, to: Seq) -> Result<Vec<Entry>, End> {
        match self.shared.hub.tail(&log, from, to) {
            Some(entries) => Ok(entries.iter().map(|entry| Entry::clone(entry)).collect()),
            None => self.blocking(move |rows| rows.page(&log, from, to, usize::MAX)).await,
        }
    }

    fn park(&mut self, log: LogId) {
        let until = Instant::now() + Duration::from_secs(self.shared.limits.park_s.min(PARK_S_MAX));
        if let Some(subscription) = self.subscriptions.get_mut(&log) {
            subscription.parked_until = Some(until);
            self.parked.insert((until, log));
        }
    }

    // Time, and the end.

    async fn look_at_clock(&mut self) -> Result<(), End> {
        let now = Instant::now();
        while let Some((_, log)) = self.parked.first().copied().filter(|(at, _)| *at <= now) {
            self.end_subscription(&log);
            self.feed(RelayFrame::Ended { log, reason: Refusal::NotProven }).await?;
        }
        let interval = Duration::from_secs(self.shared.limits.ping_interval_s.max(1));
        if now >= self.ping_at {
            // What has arrived in the meantime counts: the peer is silent only if nothing waits to be read.
            if now.duration_since(self.heard_at) > interval * 3 && self.answers.is_empty() {
                return Err(End::TimedOut);
            }
            self.ping_at = now + interval;
            self.send(Message::Ping(Vec::new().into())).await?;
        }
        self.flush().await
    }

    /// Says that the relay stops, and answers what is in flight.
    async fn drain(&mut self) -> End {
        let retry_after_ms = 500 + u32::from(u16::from_be_bytes(random())) % 2_000;
        if let Err(end) = self.feed(RelayFrame::Draining { retry_after_ms }).await {
            return end;
        }
        match self.settle().await {
            Ok(()) => End::Drained,
            Err(end) => end,
        }
    }

    async fn close(mut self, end: End) {
        for log in self.subscriptions.keys() {
            self.shared.hub.unsubscribe(log, self.id);
        }
        let code = match end {
            End::Peer => return,
            End::NoFrame => close_code::PROTOCOL,
            End::TimedOut => close_code::POLICY,
            End::Store => close_code::ERROR,
            End::Drained => close_code::RESTART,
        };
        let closing = self.socket.send(Message::Close(Some(CloseFrame { code, reason: "".into() })));
        // Whoever does not take even this is gone.
        let _ = timeout(CLOSE_TIMEOUT, closing).await;
    }

    async fn feed(&mut self, frame: RelayFrame) -> Result<(), End> {
        self.send(Message::Binary(frame.encode().into())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), End> {
        let limit = Duration::from_secs(self.shared.limits.write_timeout_s);
        timeout(limit, self.socket.feed(message)).await.map_err(|_| End::TimedOut)?.map_err(|_| End::Peer)
    }

    async fn flush(&mut self) -> Result<(), End> {
        let limit = Duration::from_secs(self.shared.limits.write_timeout_s);
        timeout(limit, self.socket.flush()).await.map_err(|_| End::TimedOut)?.map_err(|_| End::Peer)
    }

    /// Reads the store, or verifies signatures, where waiting holds up nobody else.
    async fn blocking<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&Rows) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, End> {
        let rows = self.shared.store.rows.clone();
        let result = tokio::task::spawn_blocking(move || work(&rows)).await.map_err(|_| End::Store)?;
        result.map_err(|error| {
            tracing::error!(%error, "reading the store failed");
            End::Store
        })
    }
}

/// What became of a request at the door.
enum Admitted {
    Write(Write),
    Reply(Reply),
    Subscribe { log: LogId, from: Seq },
}

/// The reply to the oldest request, none if the store failed; waits for ever if nothing is in flight. Dropping it
/// before it is ready loses nothing.
async fn front_reply(answers: &mut VecDeque<Answer>) -> Option<Reply> {
    match answers.front_mut().map(|answer| &mut answer.state) {
        Some(AnswerState::Ready(reply)) => Some(std::mem::replace(reply, Reply::Done)),
        Some(AnswerState::Committing(receiver)) => receiver.await.ok(),
        None => std::future::pending().await,
    }
}

/// Waits until the relay is about to stop; a dropped sender says the same.
async fn turns_true(draining: &mut watch::Receiver<bool>) {
    let _ = draining.wait_for(|draining| *draining).await;
}

fn head_of(row: &LogRow) -> LogHead {
    LogHead { generation: row.generation, turned_at: row.turned_at, last: row.last }
}

/// Checks one proof. Who has signed with none of the log's keys learns nothing about the log.
fn check_proof(
    rows: &Rows,
    proof: &Proof,
    nonce: &ConnectionNonce,
    server: &ServerId,
) -> Result<ProofResult, StoreError> {
    let nothing = |verdict| ProofResult { verdict, generation: Generation::FIRST, last: Seq::from_u64(0) };
    let Some(row) = rows.get::<LogRow>(&Key::log(&proof.log))? else { return Ok(nothing(ProofVerdict::Unknown)) };
    let Some(key) = proof_key(rows, proof, &row)? else { return Ok(nothing(ProofVerdict::Unknown)) };
    if !proof.is_signed_by(&key, nonce, server) {
        return Ok(nothing(ProofVerdict::BadSignature));
    }
    let is_stale = proof.right == Right::Append && proof.generation != row.generation;
    let verdict = if is_stale { ProofVerdict::Stale } else { ProofVerdict::Granted };
    Ok(ProofResult { verdict, generation: row.generation, last: row.last })
}

/// The key that a proof has to be signed with.
fn proof_key(rows: &Rows, proof: &Proof, row: &LogRow) -> Result<Option<VerifyKey>, StoreError> {
    let is_first = proof.generation == Generation::FIRST;
    match (row.kind, proof.right) {
        (LogKind::Conversation, Right::Control) | (LogKind::Inbox, Right::Read) => {
            Ok(if is_first { Some(row.key) } else { None })
        }
        (LogKind::Inbox, Right::Append | Right::Control) => Ok(None),
        (LogKind::Conversation, right) => {
            let gate: Option<GateRow> = rows.get(&Key::gate(&proof.log, proof.generation))?;
            Ok(gate.map(|row| if right == Right::Read { row.gate.read } else { row.gate.append }))
        }
    }
}

/// Where the kind of a request stands in its frame.
const KIND_AT: usize = 9;
/// The kinds that this relay knows.
const KINDS: std::ops::RangeInclusive<u8> = 1..=12;
/// Requests of one connection that are being worked on.
const IN_FLIGHT_COUNT_MAX: usize = 64;
/// Bytes of the frames of these requests; the last may go past it.
const IN_FLIGHT_LEN_MAX: usize = 1 << 20;
/// Logs about which one connection has proven something.
const PROVEN_LOGS_MAX: usize = 4 * SUBSCRIPTIONS_MAX;
/// Milliseconds after which a connection may have given up something.
const QUOTA_RETRY_MS: u32 = 1_000;
/// Seconds for which a subscription waits for a proof, at the most.
const PARK_S_MAX: u64 = 60;
/// How long a closing frame may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
