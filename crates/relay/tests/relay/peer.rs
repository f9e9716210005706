//! A client that says exactly what it is told, and a relay to say it to.

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use ed25519_dalek::{Signer, SigningKey};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use undertone_relay::{Config, Error, Relay};
use undertone_wire::frame::*;
use undertone_wire::gate::{Gate, Proof, Right, proof_input};
use undertone_wire::id::*;

/// A relay inside the test's process.
pub(crate) struct Running {
    pub(crate) url: String,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), Error>>,
}

impl Running {
    pub(crate) async fn start(data: &Path) -> Self {
        Self::start_with(data, |_| {}).await
    }

    pub(crate) async fn start_with(data: &Path, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.listen = "127.0.0.1:0".parse().unwrap();
        config.data = data.to_path_buf();
        config.retention.sweep_interval_s = 1;
        change(&mut config);
        let relay = Relay::open(config).await.unwrap();
        let url = relay.url();
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(relay.serve(async move {
            let _ = stopped.await;
        }));
        Self { url, stop, serving }
    }

    pub(crate) async fn stop(self) {
        let Self { stop, serving, .. } = self;
        stop.send(()).unwrap();
        serving.await.unwrap().unwrap();
    }
}

/// One connection to a relay.
pub(crate) struct Peer {
    pub(crate) hello: Hello,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    sent_count: u64,
    pushed: VecDeque<RelayFrame>,
}

impl Peer {
    pub(crate) async fn connect(url: &str) -> Self {
        let (socket, _) = connect_async(url).await.unwrap();
        let hello = Hello {
            server: ServerId::from_bytes([0; 32]),
            nonce: ConnectionNonce::from_bytes([0; 32]),
            incarnation: Incarnation::from_bytes([0; 16]),
            now_ms: 0,
        };
        let mut peer = Self { hello, socket, sent_count: 0, pushed: VecDeque::new() };
        let RelayFrame::Hello(hello) = peer.pushed().await else { panic!("the first frame is Hello") };
        peer.hello = hello;
        peer
    }

    /// Sends a request without waiting.
    pub(crate) async fn send(&mut self, body: Request) -> RequestId {
        let request = RequestId::from_u64(self.sent_count);
        self.sent_count += 1;
        self.send_bytes(ClientFrame { request, body }.encode()).await;
        request
    }

    pub(crate) async fn send_bytes(&mut self, bytes: Vec<u8>) {
        self.socket.send(Message::Binary(bytes.into())).await.unwrap();
    }

    /// Sends anything; whether the relay is still there to take it does not matter.
    pub(crate) async fn try_send(&mut self, message: Message) -> bool {
        self.socket.send(message).await.is_ok()
    }

    /// Sends a request if the relay is still there.
    pub(crate) async fn try_send_request(&mut self, body: Request) -> bool {
        let request = RequestId::from_u64(self.sent_count);
        self.sent_count += 1;
        self.try_send(Message::Binary(ClientFrame { request, body }.encode().into())).await
    }

    /// Waits for the next reply, whatever else arrives.
    pub(crate) async fn reply(&mut self) -> (RequestId, Reply) {
        loop {
            match self.frame().await.expect("a reply") {
                RelayFrame::Reply { request, reply } => return (request, reply),
                other => self.pushed.push_back(other),
            }
        }
    }

    /// Sends a request, and waits for its reply.
    pub(crate) async fn ask(&mut self, body: Request) -> Reply {
        let sent = self.send(body).await;
        let (request, reply) = self.reply().await;
        assert_eq!(request, sent, "replies come in the order of the requests");
        reply
    }

    /// The next frame that the relay sent on its own.
    pub(crate) async fn pushed(&mut self) -> RelayFrame {
        match self.pushed.pop_front() {
            Some(frame) => frame,
            None => self.frame().await.expect("a frame"),
        }
    }

    /// Whether nothing is pushed for a while.
    pub(crate) async fn is_quiet(&mut self) -> bool {
        self.is_quiet_for(Duration::from_millis(300)).await
    }

    /// Whether no frame is pushed for so long. Pings are answered meanwhile.
    pub(crate) async fn is_quiet_for(&mut self, time: Duration) -> bool {
        self.pushed.is_empty() && timeout(time, self.any_frame()).await.is_err()
    }

    /// Entries up to `last`, of one log, out of as many frames as it takes.
    pub(crate) async fn entries_to(&mut self, log: LogId, last: u64) -> Vec<Entry> {
        let mut all: Vec<Entry> = Vec::new();
        while all.last().is_none_or(|entry| entry.seq.as_u64() < last) {
            match self.pushed().await {
                RelayFrame::Entries { log: from, entries } => {
                    assert_eq!(from, log);
                    all.extend(entries);
                }
                other => panic!("entries, not {other:?}"),
            }
        }
        all
    }

    /// The next frame; none if the relay closed.
    pub(crate) async fn frame(&mut self) -> Option<RelayFrame> {
        timeout(Duration::from_secs(20), self.any_frame()).await.expect("no frame in time")
    }

    async fn any_frame(&mut self) -> Option<RelayFrame> {
        loop {
            match self.socket.next().await? {
                Ok(Message::Binary(bytes)) => return Some(RelayFrame::decode(&bytes).unwrap()),
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    pub(crate) fn proof(&self, log: LogId, generation: u64, right: Right, key: &SigningKey) -> Proof {
        let generation = Generation::from_u64(generation);
        let input = proof_input(&self.hello.nonce, &self.hello.server, &log, generation, right);
        Proof { log, generation, right, signature: sign(key, &input) }
    }

    pub(crate) async fn prove(&mut self, proofs: Vec<Proof>) -> Vec<ProofResult> {
        match self.ask(Request::Prove { proofs }).await {
            Reply::Proven { results } => results,
            other => panic!("results, not {other:?}"),
        }
    }

    /// Proves both rights of a generation, or fails.
    pub(crate) async fn enter(&mut self, room: &Room, generation: u64) {
        let proofs = vec![
            self.proof(room.log, generation, Right::Read, &room.read_key(generation)),
            self.proof(room.log, generation, Right::Append, &room.append_key(generation)),
        ];
        let results = self.prove(proofs).await;
        assert!(results.iter().all(|result| result.verdict == ProofVerdict::Granted), "{results:?}");
    }

    pub(crate) async fn subscribe(&mut self, log: LogId, from: u64) {
        let reply = self.ask(Request::Subscribe { log, from: Seq::from_u64(from) }).await;
        assert_eq!(reply, Reply::Done);
    }

    pub(crate) async fn append(&mut self, room: &Room, generation: u64, entries: Vec<NewEntry>) -> Reply {
        self.ask(room.append(generation, entries)).await
    }
}

pub(crate) fn sign(key: &SigningKey, input: &[u8]) -> Signature {
    Signature::from_bytes(key.sign(input).to_bytes())
}

pub(crate) fn public(key: &SigningKey) -> VerifyKey {
    VerifyKey::from_bytes(key.verifying_key().to_bytes())
}

/// A log, and the keys of all its generations.
#[derive(Clone, Copy)]
pub(crate) struct Room {
    pub(crate) log: LogId,
    name: u8,
}

impl Room {
    pub(crate) fn new(name: u8) -> Self {
        let control = SigningKey::from_bytes(&[name; 32]);
        Self { log: LogId::of_control_key(&public(&control)), name }
    }

    pub(crate) fn control_key(&self) -> SigningKey {
        SigningKey::from_bytes(&[self.name; 32])
    }

    pub(crate) fn read_key(&self, generation: u64) -> SigningKey {
        self.key(1, generation)
    }

    pub(crate) fn append_key(&self, generation: u64) -> SigningKey {
        self.key(2, generation)
    }

    fn key(&self, right: u8, generation: u64) -> SigningKey {
        let mut seed = [self.name; 32];
        seed[0] = right;
        seed[24..].copy_from_slice(&generation.to_be_bytes());
        SigningKey::from_bytes(&seed)
    }

    pub(crate) fn gate(&self, generation: u64) -> Gate {
        Gate { read: public(&self.read_key(generation)), append: public(&self.append_key(generation)) }
    }

    pub(crate) fn create(&self) -> Request {
        Request::Create(Create { log: self.log, control: public(&self.control_key()), gate: self.gate(0) })
    }

    pub(crate) fn append(&self, generation: u64, entries: Vec<NewEntry>) -> Request {
        Request::Append(Append { log: self.log, generation: Generation::from_u64(generation), entries })
    }

    pub(crate) fn turn(&self, id: u64, to: u64) -> NewEntry {
        NewEntry { class: Class::Control, turn: Some(self.gate(to)), ..entry(id) }
    }
}

pub(crate) fn entry_id(id: u64) -> EntryId {
    let mut bytes = [0xe1; 16];
    bytes[8..].copy_from_slice(&id.to_be_bytes());
    EntryId::from_bytes(bytes)
}

pub(crate) fn entry(id: u64) -> NewEntry {
    let payload = format!("payload {id}").into_bytes();
    NewEntry { id: entry_id(id), class: Class::Normal, ttl_s: 0, payload: payload.into(), turn: None }
}

pub(crate) fn entries(ids: std::ops::Range<u64>) -> Vec<NewEntry> {
    ids.map(entry).collect()
}

pub(crate) fn places(reply: Reply) -> Vec<Place> {
    match reply {
        Reply::Appended { places } => places,
        other => panic!("places, not {other:?}"),
    }
}
