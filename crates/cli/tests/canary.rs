//! Two hundred random strings, said as texts, names and reactions, appear nowhere but on screens: not in the relay's files or
//! log, not on the socket, not in the files of the clients; neither as they are nor in hexadecimal or base64. The same
//! search finds every one of them where encryption is left out.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use data_encoding::{BASE64, BASE64URL, HEXLOWER, HEXUPPER};
use ed25519_dalek::{Signer, SigningKey};
use futures_util::{SinkExt, StreamExt};
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use rand::{Rng, RngExt};
use tokio_tungstenite::tungstenite::Message as WebSocketMessage;
use undertone::content::{Content, MessageId};
use undertone::engine::{Client, Input, Output};
use undertone::store::{Batch, Direction, MemoryStore, Row, Store, StoreError, StoreView, Table, Value};
use undertone::time::UnixMs;
use undertone_cli::demo::child::Relay;
use undertone_cli::demo::proxy::{Proxy, Recording};
use undertone_cli::demo::stage::Stage;
use undertone_wire::frame::*;
use undertone_wire::gate::{Gate, Proof, Right, proof_input};
use undertone_wire::id::*;

const PROGRAM: &str = env!("CARGO_BIN_EXE_undertone");

/// Two hundred strings that nobody else says.
struct Canaries {
    texts: Vec<String>,
    people: Vec<String>,
    groups: Vec<String>,
    /// Each is one grapheme, as a reaction must be: a letter under a random heap of accents.
    reactions: Vec<String>,
}

impl Canaries {
    fn new() -> Self {
        let word = |_| {
            let letters = b"abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
            (0..20).map(|_| char::from(letters[rand::rng().random_range(0..letters.len())])).collect()
        };
        let accents = |_| {
            let accent = |_| char::from_u32(rand::rng().random_range(0x300..0x340)).unwrap();
            std::iter::once('a').chain((0..12).map(accent)).collect()
        };
        Self {
            texts: (0..150).map(word).collect(),
            people: (0..3).map(word).collect(),
            groups: (0..17).map(word).collect(),
            reactions: (0..30).map(accents).collect(),
        }
    }

    fn all(&self) -> Vec<&str> {
        let all = [&self.texts, &self.people, &self.groups, &self.reactions];
        all.into_iter().flatten().map(String::as_str).collect()
    }
}

/// A canary in one form.
struct Needle {
    canary: usize,
    form: &'static str,
    bytes: Vec<u8>,
}

/// Looks for all canaries in all forms at once.
struct Search {
    /// By their first eight bytes.
    needles: HashMap<[u8; 8], Vec<Needle>>,
    /// Whether any needle begins with these two bytes: most places are passed by with one look.
    beginnings: Vec<bool>,
    count: usize,
}

type Found = BTreeSet<(usize, &'static str)>;

impl Search {
    fn new(canaries: &Canaries) -> Self {
        let mut needles: HashMap<[u8; 8], Vec<Needle>> = HashMap::new();
        let mut beginnings = vec![false; 1 << 16];
        for (number, canary) in canaries.all().into_iter().enumerate() {
            for (form, bytes) in forms(canary.as_bytes()) {
                beginnings[beginning(&bytes)] = true;
                let needles = needles.entry(*bytes.first_chunk().unwrap()).or_default();
                needles.push(Needle { canary: number, form, bytes });
            }
        }
        Self { needles, beginnings, count: canaries.all().len() }
    }

    fn find(&self, bytes: &[u8]) -> Found {
        let mut found = Found::new();
        for (at, window) in bytes.windows(8).enumerate() {
            if !self.beginnings[beginning(window)] {
                continue;
            }
            let Some(needles) = self.needles.get(window) else { continue };
            for needle in needles {
                if bytes[at..].starts_with(&needle.bytes) {
                    found.insert((needle.canary, needle.form));
                }
            }
        }
        found
    }

    /// What is in the files under a directory, by file.
    fn find_in_files(&self, dir: &Path) -> Found {
        files(dir).iter().flat_map(|file| self.find(&fs::read(file).unwrap_or_default())).collect()
    }

    fn find_in_recording(&self, recording: &Recording) -> Found {
        let messages = recording.to_client.iter().chain(&recording.to_relay);
        let mut found: Found = messages.flat_map(|message| self.find(message)).collect();
        found.extend(self.find(&recording.raw));
        found
    }

    /// Every canary, in one form.
    fn every(&self, form: &'static str) -> Found {
        (0..self.count).map(|number| (number, form)).collect()
    }
}

fn beginning(bytes: &[u8]) -> usize {
    usize::from(bytes[0]) << 8 | usize::from(bytes[1])
}

/// A canary as it is, as a CBOR array of its bytes (as openmls writes what it keeps), in hexadecimal, and in base64 at each of the three places where it may stand in a longer text.
fn forms(canary: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut forms = vec![
        ("raw", canary.to_vec()),
        ("array", canary.iter().flat_map(|byte| [0x18, *byte]).collect()),
        ("hex", HEXLOWER.encode(canary).into_bytes()),
        ("hex", HEXUPPER.encode(canary).into_bytes()),
    ];
    for encoding in [BASE64, BASE64URL] {
        for skipped in 0..3 {
            // Only whole groups of three bytes do not depend on what stands around them.
            let inner = &canary[skipped..];
            let inner = &inner[..inner.len() / 3 * 3];
            forms.push(("base64", encoding.encode(inner).into_bytes()));
        }
    }
    forms
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

#[test]
fn two_hundred_canaries_are_nowhere_outside_the_screens() {
    let canaries = Canaries::new();
    let search = Search::new(&canaries);
    assert_eq!(search.count, 200);
    let dir = tempfile::tempdir().unwrap();
    let mut stage = Stage::new(Path::new(PROGRAM), dir.path());
    stage.start_relay().unwrap();
    say_everything(&mut stage, &canaries);

    let check = |stage: &mut Stage, when: &str| {
        for who in &canaries.people {
            assert_eq!(search.find_in_files(&stage.home(who)), Found::new(), "in the files of a client, {when}");
            let recording = stage.proxy(who).unwrap().recording();
            let (bytes, messages) = (recording.raw.len(), recording.to_relay.len());
            assert!(bytes > 50_000 && messages > 20, "{bytes} bytes and {messages} messages are no recording");
            assert_eq!(search.find_in_recording(&recording), Found::new(), "on the socket, {when}");
        }
        assert_eq!(search.find_in_files(&stage.relay_data()), Found::new(), "on the relay's disk, {when}");
        assert_eq!(search.find(&fs::read(stage.relay_log()).unwrap()), Found::new(), "in the relay's log, {when}");
    };
    check(&mut stage, "while all of them run");
    stage.close();
    check(&mut stage, "after all have ended");
    assert!(!files(&stage.relay_data()).is_empty() && fs::metadata(stage.relay_log()).unwrap().len() > 0);
}

/// Says every canary: names by having them, texts and reactions to a person and in a group, whose name changes.
fn say_everything(stage: &mut Stage, canaries: &Canaries) {
    let [ann, bob, cyd] = canaries.people.as_slice() else { panic!("three people") };
    for who in &canaries.people {
        stage.proxy(who).unwrap().record();
        stage.start(who).unwrap();
    }
    for peer in [bob, cyd] {
        let invitation = stage.command(peer, "/invite").unwrap()["invitation"].as_str().unwrap().to_owned();
        let mark = stage.mark();
        stage.command(ann, &format!("/add {invitation}")).unwrap();
        stage.wait_line(ann, mark, "ready", |line| line["type"] == "ready").unwrap();
    }
    let mark = stage.mark();
    stage.command(ann, &format!("/group {} {bob} {cyd}", canaries.groups[0])).unwrap();
    for who in [bob, cyd] {
        stage.wait_line(who, mark, "the group", |line| line["type"] == "ready" && line["group"] == true).unwrap();
    }
    for name in &canaries.groups[1..] {
        let mark = stage.mark();
        stage.command(ann, &format!("/rename {name}")).unwrap();
        stage.wait_line(cyd, mark, "the name", |line| line["new_name"] == **name).unwrap();
        stage.wait_line(bob, mark, "the name", |line| line["new_name"] == **name).unwrap();
    }
    let group = canaries.groups.last().unwrap();
    for (number, text) in canaries.texts.iter().enumerate() {
        let (by, conversation, others) = match number % 4 {
            0 => (ann, bob, vec![bob.clone()]),
            1 => (ann, group, canaries.people.clone()),
            2 => (bob, group, canaries.people.clone()),
            _ => (cyd, group, canaries.people.clone()),
        };
        stage.say(by, conversation, text, &others).unwrap();
    }
    stage.settle().unwrap();
    assert!(stage.ledger.table().is_sound() && stage.ledger.table().sent == 150);
    let history = stage.history(cyd, group).unwrap();
    let messages = history["messages"].as_array().unwrap();
    let places: Vec<u64> = messages.iter().filter_map(|message| message["place"].as_u64()).collect();
    for (number, reaction) in canaries.reactions.iter().enumerate() {
        let mark = stage.mark();
        stage.command(cyd, &format!("/react {} {reaction}", places[number])).unwrap();
        stage.wait_line(ann, mark, "the reaction", |line| line["reaction"] == **reaction).unwrap();
    }
}

/// A store on disk without encryption, in three forms.
#[derive(Clone)]
struct PlainStore {
    rows: MemoryStore,
    files: Arc<Mutex<[File; 3]>>,
}

impl PlainStore {
    fn new(dir: &Path) -> Self {
        let files = ["raw", "hex", "base64"].map(|form| File::create(dir.join(form)).unwrap());
        Self { rows: MemoryStore::new(), files: Arc::new(Mutex::new(files)) }
    }
}

impl StoreView for PlainStore {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Value>, StoreError> {
        self.rows.get(table, key)
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        self.rows.scan(table, from, to, direction, limit)
    }
}

impl Store for PlainStore {
    fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        let [raw, hex, base64] = &mut *self.files.lock().unwrap();
        for (_, _, value) in batch.writes() {
            let value = value.unwrap_or_default();
            raw.write_all(value).unwrap();
            writeln!(hex, "{}", HEXLOWER.encode(value)).unwrap();
            writeln!(base64, "{}", BASE64.encode(value)).unwrap();
        }
        self.rows.commit(batch)
    }
}

/// Commits whatever a client hands out.
fn settle(client: &mut Client<PlainStore>, store: &PlainStore) {
    while let Some(output) = client.poll() {
        if let Output::Persist(step, batch) = output {
            store.commit(&batch).unwrap();
            client.handle(Input::Persisted(step), now(), &mut UnwrapErr(SysRng)).unwrap();
        }
    }
}

fn now() -> UnixMs {
    UnixMs::from_u64(1_800_000_000_000)
}

#[test]
fn a_store_without_encryption_gives_every_canary_away() {
    let canaries = Canaries::new();
    let search = Search::new(&canaries);
    let dir = tempfile::tempdir().unwrap();
    let rng = &mut UnwrapErr(SysRng);
    let relay = "ws://127.0.0.1:9/v1/ws";
    let mut clients = Vec::new();
    for (number, name) in canaries.people.iter().enumerate() {
        let home = dir.path().join(number.to_string());
        fs::create_dir(&home).unwrap();
        let store = PlainStore::new(&home);
        let mut client = Client::create(store.clone(), name, relay, now(), rng).unwrap();
        settle(&mut client, &store);
        clients.push((client, store));
    }
    let invitation = clients[1].0.invitation().unwrap();
    let (client, store) = &mut clients[0];
    let conversation = client.add_contact(&invitation, now(), rng).unwrap();
    for name in &canaries.groups {
        client.create_group(name, &[], now(), rng).unwrap();
    }
    for text in &canaries.texts {
        client.send(&conversation, &Content::text(text, rng).unwrap(), now(), rng).unwrap();
    }
    for reaction in &canaries.reactions {
        let content = Content::reaction(MessageId::from_bytes([7; 32]), reaction, rng).unwrap();
        client.send(&conversation, &content, now(), rng).unwrap();
    }
    settle(client, store);
    let found = search.find_in_files(dir.path());
    let names = canaries.texts.len() + canaries.people.len();
    let is_group = |number: usize| (names..names + canaries.groups.len()).contains(&number);
    for form in ["raw", "hex", "base64"] {
        let missed = search
            .every(form)
            .into_iter()
            .filter(|(number, _)| !is_group(*number) && !found.contains(&(*number, form)));
        assert_eq!(missed.collect::<Vec<_>>(), [], "the search does not find what is there");
    }
    let group_names = search.every("array").into_iter().filter(|(number, _)| is_group(*number));
    assert_eq!(group_names.filter(|name| !found.contains(name)).collect::<Vec<_>>(), []);
}

#[test]
fn payloads_without_encryption_give_every_canary_away_on_the_socket_and_the_relays_disk() {
    let canaries = Canaries::new();
    let search = Search::new(&canaries);
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("relay.log");
    let relay = Relay::start(Path::new(PROGRAM), &dir.path().join("relay"), &log).unwrap();
    let proxy = Proxy::start().unwrap();
    proxy.lead_to(relay.address());
    proxy.record();
    let payloads: Vec<Vec<u8>> = canaries.all().iter().map(|canary| in_clear(canary)).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(append(&proxy.url(), &payloads));
    let every = search.every("raw");
    assert_eq!(search.find_in_recording(&proxy.recording()), every);
    assert_eq!(search.find_in_files(&dir.path().join("relay")), every);
    relay.stop();
    assert_eq!(search.find_in_files(&dir.path().join("relay")), every);
    // What a careless relay would log.
    let mut file = File::options().append(true).open(&log).unwrap();
    canaries.all().iter().for_each(|canary| writeln!(file, "append payload={canary:?}").unwrap());
    let found = search.find(&fs::read(&log).unwrap());
    assert!(found.len() >= canaries.texts.len());
}

/// What an envelope would hold, without a seal around it.
fn in_clear(canary: &str) -> Vec<u8> {
    match Content::text(canary, &mut UnwrapErr(SysRng)) {
        Ok(content) => content.encode().unwrap(),
        Err(error) => panic!("{error}"),
    }
}

/// Appends payloads to a log of its own, as they are, and waits until the relay has them.
async fn append(url: &str, payloads: &[Vec<u8>]) {
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let RelayFrame::Hello(hello) = hear(&mut socket).await else { panic!("the first frame is Hello") };
    let key = SigningKey::from_bytes(&[9; 32]);
    let public = VerifyKey::from_bytes(key.verifying_key().to_bytes());
    let log = LogId::of_control_key(&public);
    let gate = Gate { read: public, append: public };
    let input = proof_input(&hello.nonce, &hello.server, &log, Generation::FIRST, Right::Append);
    let signature = Signature::from_bytes(key.sign(&input).to_bytes());
    let proof = Proof { log, generation: Generation::FIRST, right: Right::Append, signature };
    let mut requests =
        vec![Request::Create(Create { log, control: public, gate }), Request::Prove { proofs: vec![proof] }];
    for payload in payloads {
        let mut id = [0; 16];
        UnwrapErr(SysRng).fill_bytes(&mut id);
        let entry = NewEntry {
            id: EntryId::from_bytes(id),
            class: Class::Normal,
            ttl_s: 0,
            payload: payload.clone().into(),
            turn: None,
        };
        requests.push(Request::Append(Append { log, generation: Generation::FIRST, entries: vec![entry] }));
    }
    for (number, body) in requests.into_iter().enumerate() {
        let frame = ClientFrame { request: RequestId::from_u64(number as u64), body };
        socket.send(WebSocketMessage::Binary(frame.encode().into())).await.unwrap();
        let RelayFrame::Reply { reply, .. } = hear(&mut socket).await else { panic!("a request gets a reply") };
        assert!(!matches!(reply, Reply::Refused(_)), "{reply:?}");
    }
    socket.close(None).await.unwrap();
}

type Socket = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

async fn hear(socket: &mut Socket) -> RelayFrame {
    loop {
        if let WebSocketMessage::Binary(bytes) = socket.next().await.unwrap().unwrap() {
            return RelayFrame::decode(&bytes).unwrap();
        }
    }
}
