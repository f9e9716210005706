//! The driver against a real relay on the loopback, and against a false one.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::{SinkExt, StreamExt};
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message as Frame;
use undertone::content::{Content, MessageId};
use undertone::conversation::{ConversationId, Message, MessageStatus};
use undertone::engine::{Client, Event, EventId, Joining, Signal};
use undertone::identity::Role;
use undertone::identity::linking::{Abort, LinkingCode, LinkingError, Offer};
use undertone::store::{Batch, Direction, MemoryStore, Row, Store, StoreError, StoreView, Table, Value};
use undertone::time::UnixMs;
use undertone_net::{DriverError, Handle, JoiningHandle, Notice, Options, RelayAddress, Stopped, spawn, spawn_joining};
use undertone_relay::{Config, Relay};
use undertone_wire::id::Seq;

const PATIENCE: Duration = Duration::from_secs(20);

/// A relay inside the test's process.
struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Running {
    async fn start(data: &Path, listen: &str) -> Self {
        let mut config = Config::default();
        config.listen = listen.parse().unwrap();
        config.data = data.to_path_buf();
        let relay = Relay::open(config).await.unwrap();
        let address = relay.address();
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(async move {
            relay.serve(async move { drop(stopped.await) }).await.unwrap();
        });
        Self { address, stop, serving }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.serving.await.unwrap();
    }

    fn url(&self) -> RelayAddress {
        format!("ws://{}/v1/ws", self.address).parse().unwrap()
    }
}

/// A person: a driven client, and what it was told.
struct Person<S> {
    handle: Handle<S>,
    notices: mpsc::Receiver<Notice>,
    messages: Vec<Message>,
    signals: Vec<Signal>,
    last: Option<EventId>,
}

fn now() -> UnixMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    UnixMs::from_u64(since.as_millis() as u64)
}

fn create<S: StoreView + Clone>(store: &S, name: &str, relay: &RelayAddress) -> Client<S> {
    Client::create(store.clone(), name, relay.as_str(), now(), &mut UnwrapErr(SysRng)).unwrap()
}

impl<S: Store + Clone + Send + 'static> Person<S> {
    fn begin(client: Client<S>, store: S, relay: RelayAddress) -> Self {
        let (handle, notices) = spawn(client, store, Options::new(relay));
        Self { handle, notices, messages: Vec::new(), signals: Vec::new(), last: None }
    }

    async fn add(&self, other: &Self) -> ConversationId {
        let invitation = other.handle.call(|client, _, _| client.invitation().unwrap()).await.unwrap();
        let add = self.handle.call(move |client, now, rng| client.add_contact(&invitation, now, rng).unwrap());
        add.await.unwrap()
    }

    async fn say(&self, conversation: ConversationId, text: &str) {
        let text = text.to_owned();
        let say = self.handle.call(move |client, now, rng| {
            let content = Content::text(&text, rng).unwrap();
            client.send(&conversation, &content, now, rng).unwrap()
        });
        say.await.unwrap();
    }

    /// Hears until `is_done`.
    async fn until(&mut self, what: &str, mut is_done: impl FnMut(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is_done(self) {
            let notice = timeout(end.saturating_duration_since(Instant::now()), self.notices.recv()).await;
            match notice.unwrap_or_else(|_| panic!("waited too long for {what}")).unwrap() {
                Notice::Event(id, event) => {
                    assert!(self.last < Some(id), "events rise");
                    self.last = Some(id);
                    if let Event::Message(message) = event {
                        self.messages.push(*message);
                    }
                }
                Notice::Signal(signal) => self.signals.push(signal),
            }
        }
    }

    /// What stands where in its history.
    async fn places(&self, conversation: ConversationId) -> Vec<(MessageId, Seq)> {
        let history = self.handle.call(move |client, _, _| client.history(&conversation, None, 1_000).unwrap());
        history.await.unwrap().iter().map(|message| (message.id, message.place.unwrap())).collect()
    }

    fn texts(&self) -> Vec<&str> {
        self.messages.iter().map(|message| message.content.plain_text().unwrap()).collect()
    }
}

fn numbered(who: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{who} {number}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_stops_and_comes_back_loses_and_repeats_nothing() {
    let data = tempfile::tempdir().unwrap();
    let relay = Running::start(data.path(), "127.0.0.1:0").await;
    let (address, url) = (relay.address.to_string(), relay.url());
    let stores = [MemoryStore::new(), MemoryStore::new()];
    let mut ann = Person::begin(create(&stores[0], "Ann", &url), stores[0].clone(), url.clone());
    let mut bob = Person::begin(create(&stores[1], "Bob", &url), stores[1].clone(), url.clone());
    ann.until("the relay", |ann| ann.signals.contains(&Signal::CaughtUp)).await;
    bob.until("the relay", |bob| bob.signals.contains(&Signal::CaughtUp)).await;
    let conversation = ann.add(&bob).await;
    let (of_ann, of_bob) = (numbered("Ann", 30), numbered("Bob", 30));
    ann.say(conversation, &of_ann[0]).await;
    bob.until("the first message", |bob| !bob.messages.is_empty()).await;
    let mut relay = Some(relay);
    for number in 0..30 {
        if number == 10 {
            relay.take().unwrap().stop().await;
        }
        if number == 20 {
            relay = Some(Running::start(data.path(), &address).await);
        }
        if number > 0 {
            ann.say(conversation, &of_ann[number]).await;
        }
        bob.say(conversation, &of_bob[number]).await;
    }
    ann.until("everything of Bob", |ann| ann.messages.len() >= 30).await;
    bob.until("everything of Ann", |bob| bob.messages.len() >= 30).await;
    assert_eq!(ann.texts(), of_bob);
    assert_eq!(bob.texts(), of_ann);
    assert!(ann.signals.contains(&Signal::Offline), "the outage was noticed");
    assert_eq!(ann.places(conversation).await, bob.places(conversation).await, "one order for both");
    ann.handle.stop().await.unwrap();
    bob.handle.stop().await.unwrap();
    relay.unwrap().stop().await;
}

/// A device without an account that shows its offer, and the offer.
async fn joining(
    store: &MemoryStore,
    relay: &RelayAddress,
) -> (JoiningHandle<MemoryStore>, mpsc::Receiver<Notice>, Offer) {
    let joining = Joining::new(store.clone(), relay.as_str(), &mut UnwrapErr(SysRng)).unwrap();
    let (handle, mut notices) = spawn_joining(joining, store.clone(), Options::new(relay.clone()));
    let offer = loop {
        match hear(&mut notices).await {
            Signal::LinkOffer(offer) => break *offer,
            other => assert_eq!(other, Signal::Online),
        }
    };
    (handle, notices, offer)
}

/// Ann, and a device without an account whose offer she has taken, on a real relay.
struct Linking {
    data: tempfile::TempDir,
    relay: Running,
    url: RelayAddress,
    stores: [MemoryStore; 2],
    ann: Person<MemoryStore>,
    new: JoiningHandle<MemoryStore>,
    notices: mpsc::Receiver<Notice>,
}

async fn linking() -> Linking {
    let data = tempfile::tempdir().unwrap();
    let relay = Running::start(data.path(), "127.0.0.1:0").await;
    let url = relay.url();
    let stores = [MemoryStore::new(), MemoryStore::new()];
    let mut ann = Person::begin(create(&stores[0], "Ann", &url), stores[0].clone(), url.clone());
    ann.until("the relay", |ann| ann.signals.contains(&Signal::CaughtUp)).await;
    let (new, notices, offer) = joining(&stores[1], &url).await;
    let link = move |client: &mut Client<_>, now, rng: &mut dyn undertone::crypto::CryptoRng| {
        client.link_device(&offer, Role::Linked, now, rng)
    };
    ann.handle.call(link).await.unwrap().unwrap();
    Linking { data, relay, url, stores, ann, new, notices }
}

async fn hear(notices: &mut mpsc::Receiver<Notice>) -> Signal {
    match timeout(PATIENCE, notices.recv()).await.expect("a notice").expect("the driver lives") {
        Notice::Signal(signal) => signal,
        Notice::Event(_, event) => panic!("a device without an account has no events: {event:?}"),
    }
}

fn shown(signals: &[Signal]) -> Option<LinkingCode> {
    signals.iter().find_map(|signal| if let Signal::LinkCode(code) = signal { Some(*code) } else { None })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_is_linked_over_a_real_relay_and_drives_on_as_a_client() {
    let Linking { data: _data, relay, url, stores, mut ann, new, mut notices } = linking().await;
    assert_eq!(hear(&mut notices).await, Signal::LinkOfferTaken);
    let code = hear(&mut notices).await;
    ann.until("the digits", |ann| shown(&ann.signals).is_some()).await;
    assert_eq!(Some(code), shown(&ann.signals).map(Signal::LinkCode));
    ann.handle.call(|client, now, rng| client.confirm_link(now, rng)).await.unwrap().unwrap();
    new.call(|joining, now, rng| joining.confirm(now, rng)).await.unwrap().unwrap();
    let laptop = timeout(PATIENCE, new.finish()).await.unwrap().unwrap();
    assert!(Client::open(stores[1].clone(), now(), &mut UnwrapErr(SysRng)).unwrap().is_none(), "not durable yet");

    let mut laptop = Person::begin(laptop, stores[1].clone(), url);
    laptop.until("the relay", |laptop| laptop.signals.contains(&Signal::CaughtUp)).await;
    let devices = |client: &mut Client<MemoryStore>| client.devices(&client.account()).unwrap();
    let of_laptop = laptop.handle.call(move |client, _, _| devices(client)).await.unwrap();
    let of_ann = ann.handle.call(move |client, _, _| devices(client)).await.unwrap();
    assert_eq!((of_laptop.len(), &of_laptop), (2, &of_ann));
    laptop.handle.stop().await.unwrap();
    ann.handle.stop().await.unwrap();
    assert!(Client::open(stores[1].clone(), now(), &mut UnwrapErr(SysRng)).unwrap().is_some());
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_no_on_the_new_device_reaches_the_old_one_before_the_new_one_is_gone() {
    let Linking { data: _data, relay, stores, mut ann, new, mut notices, .. } = linking().await;
    assert_eq!(hear(&mut notices).await, Signal::LinkOfferTaken);
    assert!(matches!(hear(&mut notices).await, Signal::LinkCode(_)));
    new.call(|joining, now, rng| joining.cancel(now, rng)).await.unwrap().unwrap();
    let declined = LinkingError::Aborted(Abort::Declined);
    let finished = timeout(PATIENCE, new.finish()).await.unwrap();
    assert_eq!(finished.err(), Some(DriverError::Client(undertone::Error::Linking(declined))));
    ann.until("the end", |ann| ann.signals.contains(&Signal::LinkEnded(declined))).await;
    assert!(Table::ALL.iter().all(|table| stores[1].rows(*table).is_empty()));
    ann.handle.stop().await.unwrap();
    relay.stop().await;
}

#[tokio::test]
async fn a_call_answers_when_it_is_durable() {
    let nowhere: RelayAddress = "ws://127.0.0.1:9/v1/ws".parse().unwrap();
    let stores = [MemoryStore::new(), MemoryStore::new()];
    let ann = Person::begin(create(&stores[0], "Ann", &nowhere), stores[0].clone(), nowhere.clone());
    let bob = Person::begin(create(&stores[1], "Bob", &nowhere), stores[1].clone(), nowhere);
    let conversation = ann.add(&bob).await;
    ann.say(conversation, "kept").await;
    let stolen = stores[0].snapshot();
    let client = Client::open(stolen, now(), &mut UnwrapErr(SysRng)).unwrap().unwrap();
    let history = client.history(&conversation, None, 10).unwrap();
    assert_eq!(history.len(), 1);
    assert_eq!((history[0].content.plain_text(), history[0].status), (Some("kept"), MessageStatus::Pending));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_was_not_taken_is_told_again_and_a_taken_one_is_not() {
    let data = tempfile::tempdir().unwrap();
    let relay = Running::start(data.path(), "127.0.0.1:0").await;
    let stores = [MemoryStore::new(), MemoryStore::new()];
    let ann = Person::begin(create(&stores[0], "Ann", &relay.url()), stores[0].clone(), relay.url());
    let mut bob = Person::begin(create(&stores[1], "Bob", &relay.url()), stores[1].clone(), relay.url());
    bob.until("the relay", |bob| bob.signals.contains(&Signal::CaughtUp)).await;
    let conversation = ann.add(&bob).await;
    ann.say(conversation, "once").await;
    bob.until("the message", |bob| !bob.messages.is_empty()).await;
    for is_taken in [false, true] {
        let through = bob.last.unwrap();
        if is_taken {
            let done = bob.handle.call(move |client, now, rng| client.events_done(through, now, rng).unwrap());
            done.await.unwrap();
        }
        bob.handle.stop().await.unwrap();
        let client = Client::open(stores[1].clone(), now(), &mut UnwrapErr(SysRng)).unwrap().unwrap();
        bob = Person::begin(client, stores[1].clone(), relay.url());
        bob.until("the relay", |bob| bob.signals.contains(&Signal::CaughtUp)).await;
        let told: &[&str] = if is_taken { &[] } else { &["once"] };
        assert_eq!(bob.texts(), told);
        assert_eq!(bob.last, (!is_taken).then_some(through));
        bob.last = Some(through);
    }
    relay.stop().await;
}

/// A store that can be made to fail.
#[derive(Clone, Default)]
struct Fragile {
    store: MemoryStore,
    is_broken: Arc<AtomicBool>,
}

impl StoreView for Fragile {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Value>, StoreError> {
        self.store.get(table, key)
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        self.store.scan(table, from, to, direction, limit)
    }
}

impl Store for Fragile {
    fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        if self.is_broken.load(Ordering::Relaxed) { Err(StoreError::Medium) } else { self.store.commit(batch) }
    }
}

#[tokio::test]
async fn a_store_that_fails_stops_the_driver_and_no_call_is_answered_after_it() {
    let nowhere: RelayAddress = "ws://127.0.0.1:9/v1/ws".parse().unwrap();
    let store = Fragile::default();
    let other = MemoryStore::new();
    let bob = Person::begin(create(&other, "Bob", &nowhere), other.clone(), nowhere.clone());
    let ann = Person::begin(create(&store, "Ann", &nowhere), store.clone(), nowhere);
    let invitation = bob.handle.call(|client, _, _| client.invitation().unwrap()).await.unwrap();
    store.is_broken.store(true, Ordering::Relaxed);
    let added = ann.handle.call(move |client, now, rng| client.add_contact(&invitation, now, rng)).await;
    assert_eq!(added.map(|_| ()), Err(Stopped), "what is not durable is not acknowledged");
    let mut notices = ann.notices;
    while let Some(notice) = timeout(PATIENCE, notices.recv()).await.unwrap() {
        assert!(matches!(notice, Notice::Signal(_)), "{notice:?} is told, and is not durable");
    }
    assert_eq!(ann.handle.call(|client, _, _| client.account()).await, Err(Stopped));
    assert_eq!(ann.handle.stop().await, Err(DriverError::Store(StoreError::Medium)));
}

#[tokio::test]
async fn stopping_calls_the_hook_if_something_was_written() {
    let nowhere: RelayAddress = "ws://127.0.0.1:9/v1/ws".parse().unwrap();
    let store = MemoryStore::new();
    let count = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&count);
    let options = Options::new(nowhere.clone()).on_idle(Box::new(move || {
        counting.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }));
    let (handle, _notices) = spawn(create(&store, "Ann", &nowhere), store, options);
    handle.call(|client, _, _| client.account()).await.unwrap();
    handle.stop().await.unwrap();
    assert_eq!(count.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_relay_that_talks_nonsense_is_left_and_tried_again_with_growing_delays() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: RelayAddress = format!("ws://{}/v1/ws", listener.local_addr().unwrap()).parse().unwrap();
    let (seen, mut came) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
            seen.send(Instant::now()).unwrap();
            socket.send(Frame::Binary(vec![1, 99, 0, 0].into())).await.unwrap();
            // The client goes by itself; nobody closes here.
            while let Some(Ok(_)) = socket.next().await {}
        }
    });
    let store = MemoryStore::new();
    let ann = Person::begin(create(&store, "Ann", &url), store, url);
    let mut at = Vec::new();
    for _ in 0..5 {
        at.push(timeout(PATIENCE, came.recv()).await.unwrap().unwrap());
    }
    // Ceilings of 0.25, 0.5, 1 and 2 s, each times a random share: 1.9 s on average, below 0.1 s once in many thousands.
    let waited = *at.last().unwrap() - at[0];
    assert!(waited > Duration::from_millis(100), "five connections within {waited:?}");
    sleep(Duration::from_millis(10)).await;
    ann.handle.call(|client, _, _| client.account()).await.unwrap();
    ann.handle.stop().await.unwrap();
}
