//! Lies about devices: lists that are old, forked or unsigned, copies of what others are made to have said, introductions
//! by whoever may not introduce (spec/delivery, Many devices).

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod sim;

use rand::RngExt;
use sim::World;
use undertone::content::{MessageId, MessageStatus as StatusOf, Status, StatusList};
use undertone::conversation::{ConversationId, MessageStatus};
use undertone::crypto::Secret32;
use undertone::dm;
use undertone::dm::fanout::SealedPayload;
use undertone::dm::wrap::Wrap;
use undertone::engine::{Event, Reason, Suspicion};
use undertone::envelope::DedupId;
use undertone::envelope::address::InboxAddress;
use undertone::envelope::first_contact::{IntroducedMember, Introduction, LogPlace, LogSecrets};
use undertone::envelope::inbox::{self, InboxEntry, InboxKind, InboxPlace};
use undertone::envelope::{
    Delivered, DevicePlace, DirectBody, DirectForm, DirectWrap, Envelope, EpochEvidence, Evidence, Extensions, Fanout,
    Frame, FrameKind, IfUnknown, ListName, LogKeys, LogOrder, LogRoot, NamedLists, Parcel, ParcelKind, SenderSeq, Side,
    TurnBody, shell,
};
use undertone::identity::{AccountCertificate, DeviceId, DeviceList, DisplayName, LocalIdentity, RelayUrl, peers};
use undertone::store::{Overlay, Store, Table, Tx};
use undertone_wire::frame::{Checkpoint, Class, EntryContent, NewEntry, SlotKind};
use undertone_wire::gate::Gate;
use undertone_wire::id::{EntryId, Generation, LogId, Seq, SlotId};

const ALICE: usize = 0;
const BOB: usize = 1;
const ALICE_2: usize = 2;
const BOB_2: usize = 3;
const ALL: [usize; 4] = [ALICE, BOB, ALICE_2, BOB_2];

/// Two people with two devices each, every pair with a session; and Alice's first list, from before her second device.
struct Scene {
    world: World,
    id: ConversationId,
    log: LogId,
    first_list: Vec<u8>,
}

impl Scene {
    fn new(seed: u64) -> Self {
        let mut world = World::of(seed, &["alice", "bob"]);
        let slot = world.relay.list_slot(&world.nodes[ALICE].store);
        let first_list = world.relay.slots[&(slot, SlotKind::DeviceList)].body.clone();
        assert_eq!((world.enlist(ALICE), world.enlist(BOB)), (ALICE_2, BOB_2));
        world.connect_all();
        world.run();
        let id = world.befriend(ALICE, BOB);
        world.run();
        for node in ALL {
            world.say(node, id, &format!("hello from {node}"));
            world.run();
        }
        let log = world.nodes[ALICE].client.log_of(&id).unwrap().unwrap();
        Self { world, id, log, first_list }
    }

    fn us(&self, node: usize) -> LocalIdentity {
        LocalIdentity::load(&Tx::new(&self.world.nodes[node].store, &Overlay::default())).unwrap().unwrap()
    }

    /// A list that Alice signs in another life of hers: `count` devices more than now.
    fn alices_list_elsewhere(&self, seed: u64, count: usize) -> Vec<u8> {
        let mut world = self.world.fork(seed);
        for _ in 0..count {
            world.enlist(ALICE);
        }
        let store = &world.nodes[ALICE].store;
        LocalIdentity::load(&Tx::new(store, &Overlay::default())).unwrap().unwrap().device_list().encode()
    }

    fn side(&self, node: usize) -> Side {
        let [own, other] = [node, node ^ 1].map(|node| self.world.account(node));
        Side::of(&own, &other)
    }

    fn place(&self, node: usize) -> DevicePlace {
        let index = self.us(if self.world.account(node) == self.world.account(ALICE) { ALICE } else { BOB });
        let device = self.world.nodes[node].client.device();
        let index = index.own_devices().devices().iter().position(|it| it.id() == device).unwrap();
        DevicePlace { side: self.side(node), index: u16::try_from(index).unwrap() }
    }

    /// The lists of both, as their primary devices have them; Alice's may be another.
    fn lists(&self, alices: Option<&[u8]>) -> NamedLists {
        let alices = match alices {
            Some(list) => ListName::of(&DeviceList::decode(list).unwrap()),
            None => ListName::of(self.us(ALICE).device_list()),
        };
        let bobs = ListName::of(self.us(BOB).device_list());
        match self.side(ALICE) {
            Side::Lower => NamedLists { lower: alices, higher: bobs },
            Side::Higher => NamedLists { lower: bobs, higher: alices },
        }
    }

    fn evidence(&self) -> Evidence {
        let log = &self.world.relay.logs[&self.log];
        Evidence { seq: Seq::from_u64(log.entries.len() as u64), head: log.head(), epoch: EpochEvidence::NONE }
    }

    /// A direct body that `node` seals in its own sessions, as if from `sender`.
    fn body(
        &mut self,
        node: usize,
        kind: ParcelKind,
        lists: NamedLists,
        sender: DevicePlace,
        to: &[usize],
        plaintext: &[u8],
    ) -> DirectBody {
        let mut to: Vec<(DevicePlace, DeviceId)> =
            to.iter().map(|node| (self.place(*node), self.world.nodes[*node].client.device())).collect();
        to.sort_by_key(|(place, _)| *place);
        let mut ad = self.log.as_bytes().to_vec();
        ad.push(kind as u8);
        ad.extend_from_slice(&self.evidence().to_bytes());
        for list in [lists.lower, lists.higher] {
            ad.extend_from_slice(&list.version.as_u64().to_be_bytes());
            ad.extend_from_slice(list.hash.as_bytes());
        }
        for place in std::iter::once(sender).chain(to.iter().map(|(place, _)| *place)) {
            ad.push(place.side as u8);
            ad.extend_from_slice(&place.index.to_be_bytes());
        }
        let store = self.world.nodes[node].store.clone();
        let overlay = Overlay::default();
        let mut tx = Tx::new(&store, &overlay);
        let rng = &mut self.world.rng;
        let mut wrap = |(recipient, device): (DevicePlace, DeviceId), ad: &[u8], plaintext: &[u8]| DirectWrap {
            recipient,
            handshake: Vec::new(),
            message: dm::seal(&mut tx, device, ad, plaintext, rng).unwrap(),
        };
        let form = match to.as_slice() {
            [one] => DirectForm::Inline(wrap(*one, &ad, plaintext)),
            many => {
                let (key, sealed) = SealedPayload::seal(plaintext, &mut rand::rng());
                let binding = sealed.bind(&ad);
                let wraps = many.iter().map(|to| wrap(*to, binding.as_bytes(), key.expose())).collect();
                DirectForm::Fanout(Fanout { commitment: sealed.commitment, wraps, ciphertext: sealed.ciphertext })
            }
        };
        store.commit(&tx.into_batch()).unwrap();
        DirectBody { lists, sender, form }
    }

    /// Puts a body into the log, in a shell that `node` can close.
    fn plant(&mut self, node: usize, kind: ParcelKind, body: Vec<u8>, turn: Option<Gate>) -> Seq {
        self.plant_at(node, kind, self.evidence(), body, turn)
    }

    /// The same, sealed where the log was when it showed this evidence.
    fn plant_at(
        &mut self,
        node: usize,
        kind: ParcelKind,
        evidence: Evidence,
        body: Vec<u8>,
        turn: Option<Gate>,
    ) -> Seq {
        let log = self.log;
        let generation = self.world.relay.logs[&log].generation();
        let secrets = self.world.nodes[node].direct_secrets();
        let secret = &secrets.iter().find(|(of, at, _)| (*of, *at) == (log, generation)).unwrap().2;
        let keys = LogKeys::derive(secret, log, generation);
        let id = EntryId::from_bytes(self.world.rng.random());
        let parcel = Parcel { kind, evidence, body };
        let class = Class::Normal;
        let payload = shell::seal(&keys.outer, log, generation, id, class, &parcel, &mut self.world.rng).unwrap();
        let now_ms = self.world.relay.now_ms;
        let entry = NewEntry { id, class, ttl_s: 0, payload: payload.into(), turn };
        let place = self.world.relay.logs.get_mut(&log).unwrap().push(entry, now_ms);
        self.world.relay.flow();
        self.world.run();
        place.seq
    }

    /// A turn by Alice's second device that brings a list of Alice's; its gate is the one that is right if it is void.
    fn turn(&mut self, names: &[u8], brings: &[u8], sender: Option<DevicePlace>) -> Seq {
        let secret: [u8; 32] = self.world.rng.random();
        let lists = self.lists(Some(names));
        let sender = sender.unwrap_or_else(|| self.place(ALICE_2));
        let direct = self.body(ALICE_2, ParcelKind::DirectTurn, lists, sender, &[ALICE, BOB, BOB_2], &secret);
        let (lower, higher) = match self.side(ALICE) {
            Side::Lower => (brings.to_vec(), Vec::new()),
            Side::Higher => (Vec::new(), brings.to_vec()),
        };
        let generation = self.world.relay.logs[&self.log].generation();
        let secrets = self.world.nodes[ALICE].direct_secrets();
        let present = &secrets.iter().find(|(of, ..)| *of == self.log).unwrap().2;
        let gate = LogKeys::derive(present, self.log, generation.next()).gate();
        self.plant(ALICE_2, ParcelKind::DirectTurn, TurnBody::new(lower, higher, direct).encode(), Some(gate))
    }

    fn unreadable(&self, node: usize) -> Vec<(Seq, Reason)> {
        let told = self.world.nodes[node].told_once();
        let aside = told.into_iter().filter_map(|event| match event {
            Event::Undecryptable { place, reason, .. } => Some((*place, *reason)),
            _ => None,
        });
        aside.collect()
    }

    fn suspicions(&self, node: usize) -> Vec<Suspicion> {
        let told = self.world.nodes[node].told_once();
        let suspected = told.into_iter().filter_map(|event| match event {
            Event::Suspicion { suspicion, .. } => Some(*suspicion),
            _ => None,
        });
        suspected.collect()
    }

    /// Sessions, lists, secrets: what a refused entry must not touch.
    fn keys(&self, node: usize) -> Vec<Vec<undertone::store::Row>> {
        let tables =
            [Table::Sessions, Table::SkippedKeys, Table::Prekeys, Table::Peers, Table::Identity, Table::Rosters];
        tables.iter().map(|table| self.world.nodes[node].store.rows(*table)).collect()
    }

    /// A device hears what is said by those whose sessions no test has used, and is heard.
    fn assert_is_in(&mut self, node: usize) {
        for (from, to) in [(ALICE, node), (ALICE_2, node), (node, ALICE), (node, ALICE_2)] {
            let text = format!("from {from} to {to}");
            self.world.say(from, self.id, &text);
            self.world.run();
            assert_eq!(self.world.texts(to, self.id).last(), Some(&text));
        }
    }

    /// What a lie in the name of another device may change: it may look like trouble with it, and trouble begins one session
    /// more (spec DM-54). What was there is there, byte for byte.
    fn has_still(&self, node: usize, keys: &[Vec<undertone::store::Row>]) -> bool {
        let now = self.keys(node);
        let sessions = (now[0].len() - keys[0].len()) <= 1 && keys[0].iter().all(|row| now[0].contains(row));
        sessions && now[1..] == keys[1..]
    }

    fn assert_goes_on(&mut self) {
        for node in ALL {
            let text = format!("on from {node}, {}", self.world.history(ALICE, self.id).len());
            self.world.say(node, self.id, &text);
            self.world.run();
            for reader in ALL {
                assert_eq!(self.world.texts(reader, self.id).last(), Some(&text), "node {reader}");
            }
        }
    }
}

// A-DM-31, spec DEL-73, DEL-33: the turn is void for all alike, the state as it was, and the conversation goes on.
#[test]
fn a_turn_with_a_list_that_is_old_unsigned_unchained_or_not_the_one_named_is_void() {
    let mut scene = Scene::new(1);
    let (first, next) = (scene.first_list.clone(), scene.alices_list_elsewhere(101, 1));
    let mut unsigned = next.clone();
    *unsigned.last_mut().unwrap() ^= 1;
    let present = scene.us(ALICE).device_list().encode();
    let stranger = DevicePlace { index: 2, ..scene.place(ALICE) };
    let bobs = scene.us(BOB).device_list().encode();
    for (what, names, brings, sender) in [
        ("rolled back", &first, &first, None),
        ("rolled back, by name only", &first, &Vec::new(), None),
        ("unsigned", &unsigned, &unsigned, None),
        ("another than the one named", &next, &present, None),
        ("named and not brought", &next, &Vec::new(), None),
        ("no list", &next, &vec![1, 2, 3], None),
        ("of another account", &bobs, &bobs, None),
        ("by a device that comes with it", &next, &next, Some(stranger)),
    ] {
        let before = [ALICE, BOB, BOB_2].map(|node| scene.keys(node));
        let place = scene.turn(names, brings, sender);
        for (at, node) in [ALICE, BOB, BOB_2].into_iter().enumerate() {
            assert_eq!(scene.unreadable(node).last(), Some(&(place, Reason::Lists)), "{what}, node {node}");
            assert!(scene.keys(node) == before[at], "{what}: node {node} has changed");
            assert_eq!(scene.suspicions(node), [], "{what}");
        }
        scene.assert_goes_on();
    }
    // A list that follows another one than the one before it.
    let unchained = scene.alices_list_elsewhere(102, 2);
    let third = scene.world.enlist(ALICE);
    scene.world.connect(third);
    scene.world.run();
    let place = scene.turn(&unchained, &unchained, None);
    assert_eq!(scene.unreadable(BOB).last(), Some(&(place, Reason::Lists)));
    scene.assert_goes_on();
}

// A-DM-31, A-DM-39, spec DEL-76
#[test]
fn an_account_that_signs_two_lists_of_one_version_is_sent_nothing_more() {
    let mut scene = Scene::new(2);
    let forked = scene.alices_list_elsewhere(103, 1);
    let third = scene.world.enlist(ALICE);
    scene.world.connect(third);
    scene.world.run();
    let sessions = scene.world.nodes[BOB].store.rows(Table::Sessions);
    let place = scene.turn(&forked, &forked, None);
    for node in [ALICE, BOB, BOB_2] {
        assert_eq!(scene.suspicions(node), [Suspicion::DeviceListForked], "node {node}");
        assert_eq!(scene.unreadable(node).last(), Some(&(place, Reason::Lists)), "node {node}");
    }
    assert!(scene.world.nodes[BOB].store.rows(Table::Sessions) == sessions);
    let entries = scene.world.relay.logs[&scene.log].entries.len();
    let id = scene.id;
    for node in [BOB, BOB_2] {
        scene.world.say(node, id, "to whom?");
        scene.world.crash(node);
        scene.world.connect(node);
    }
    scene.world.run();
    assert_eq!(scene.world.relay.logs[&scene.log].entries.len(), entries, "held");
    assert_eq!(scene.world.nodes[BOB].client.conversation(&id).unwrap().unsent_count, 1);
}

// A-DM-39, spec DEL-76: the fork shows in the directory.
#[test]
fn a_fork_in_the_directory_is_noticed_by_whoever_knows_the_other_list() {
    let mut scene = Scene::new(3);
    let forked = scene.alices_list_elsewhere(104, 1);
    let third = scene.world.enlist(ALICE);
    scene.world.connect(third);
    scene.world.run();
    let slot = scene.world.relay.list_slot(&scene.world.nodes[ALICE].store);
    scene.world.relay.slots.get_mut(&(slot, SlotKind::DeviceList)).unwrap().body = forked;
    let alice = scene.world.account(ALICE);
    scene.world.call(BOB, |client, now, rng| client.create_group("with alice?", &[alice], now, rng)).unwrap();
    scene.world.run();
    assert_eq!(scene.suspicions(BOB), [Suspicion::DeviceListForked]);
    // Her own second device sees it too, when it connects.
    scene.world.disconnect(ALICE_2);
    scene.world.connect(ALICE_2);
    scene.world.run();
    assert_eq!(scene.suspicions(ALICE_2), [Suspicion::DeviceListForked]);
}

// spec DEL-71, DEL-74: who knows a newer list than the turn brings follows the turn all the same, and then turns itself.
#[test]
fn a_turn_that_is_older_than_what_one_reader_knows_is_valid_for_all() {
    let mut scene = Scene::new(4);
    let newer = DeviceList::decode(&scene.alices_list_elsewhere(105, 1)).unwrap();
    let (id, log) = (scene.id, scene.log);
    scene.world.disconnect(BOB);
    let certificate = scene.us(ALICE).account_certificate().clone();
    let store = scene.world.nodes[BOB].store.clone();
    let overlay = Overlay::default();
    let mut tx = Tx::new(&store, &overlay);
    peers::pin(&mut tx, &certificate, &newer, scene.world.now).unwrap();
    store.commit(&tx.into_batch()).unwrap();
    scene.world.crash(BOB);
    scene.world.call(ALICE_2, |client, now, rng| client.turn_direct(&id, now, rng)).unwrap();
    scene.world.run();
    assert_eq!(scene.world.relay.logs[&log].generation().as_u64(), 1);
    scene.world.connect(BOB);
    scene.world.run();
    assert_eq!(scene.unreadable(BOB), []);
    assert_eq!(scene.world.relay.logs[&log].generation().as_u64(), 2, "bob turned to the list that he knows");
    for node in ALL {
        assert_eq!(scene.unreadable(node), [], "node {node}");
    }
    assert_eq!(
        scene.world.nodes[ALICE_2].client.devices(&scene.world.account(ALICE)).unwrap().len(),
        3,
        "who learns of the list from him"
    );
    scene.assert_goes_on();
}

/// An envelope with a text, behind all others of its sender.
fn envelope(text: &str) -> Vec<u8> {
    let content = undertone::content::Content::text(text, &mut rand::rng()).unwrap();
    envelope_of(100, Delivered::NONE, Frame::new(FrameKind::MESSAGE, IfUnknown::Keep, content.encode().unwrap()))
}

/// An envelope that says that its sender has read a message, and has everything up to `through`.
fn receipt(seq: u64, message: MessageId, through: u64) -> Vec<u8> {
    let body = StatusList::new(vec![StatusOf { message, status: Status::READ }]).unwrap().encode();
    let delivered = Delivered::new(Seq::from_u64(through), []);
    envelope_of(seq, delivered, Frame::new(FrameKind::STATUS, IfUnknown::Ignore, body))
}

fn envelope_of(seq: u64, delivered: Delivered, frame: Frame) -> Vec<u8> {
    Envelope {
        dedup: DedupId::random(&mut rand::rng()),
        seq: SenderSeq::from_u64(seq),
        sent_ms: undertone::time::UnixMs::from_u64(1_800_000_000_000),
        delivered,
        frame,
        extensions: Extensions::NONE,
    }
    .encode()
}

// A-DM-32, spec DEL-80, DM-53: what Bob seals in his session does not open as from Alice's other device, whatever it says.
#[test]
fn a_contact_cannot_forge_a_copy_of_what_we_are_to_have_said() {
    let mut scene = Scene::new(5);
    let lists = scene.lists(None);
    let (alices, bobs) = (scene.place(ALICE_2), scene.place(BOB));
    let said = scene.world.texts(ALICE, scene.id);
    let keys = scene.keys(ALICE);
    for to in [&[ALICE][..], &[ALICE, BOB_2]] {
        let body = scene.body(BOB, ParcelKind::DirectMessage, lists, alices, to, &envelope("I owe Bob a million"));
        let place = scene.plant(BOB, ParcelKind::DirectMessage, body.encode(), None);
        assert_eq!(scene.unreadable(ALICE).last(), Some(&(place, Reason::Authentication)));
        assert_eq!(scene.world.texts(ALICE, scene.id), said);
        assert!(scene.has_still(ALICE, &keys));
    }
    // As himself he can say it.
    let to = [ALICE, ALICE_2, BOB_2];
    let body = scene.body(BOB, ParcelKind::DirectMessage, lists, bobs, &to, &envelope("I owe Alice a million"));
    scene.plant(BOB, ParcelKind::DirectMessage, body.encode(), None);
    for node in [ALICE, ALICE_2, BOB_2] {
        let last = scene.world.history(node, scene.id).pop().unwrap();
        assert_eq!((last.account, last.device), (scene.world.account(BOB), scene.world.nodes[BOB].client.device()));
    }
}

impl Scene {
    /// What a node was told of others having or having read something.
    fn receipts(&self, node: usize) -> Vec<Event> {
        let is_receipt = |event: &&Event| matches!(event, Event::Read { .. } | Event::Delivered { .. });
        self.world.nodes[node].told_once().into_iter().filter(is_receipt).cloned().collect()
    }
}

// A-DM-34, spec DEL-41, DEL-42, DEL-80, DEL-81: a receipt counts for whoever sealed it, and no one else.
#[test]
fn a_receipt_in_the_name_of_another_device_counts_for_nobody() {
    let mut scene = Scene::new(8);
    scene.world.say(ALICE, scene.id, "have you read it?");
    scene.world.run();
    let asked = scene.world.history(ALICE, scene.id).pop().unwrap();
    let lists = scene.lists(None);
    // Bob says it as Alice's second device, which would move her mark; his second device says it as Bob.
    for (node, of) in [(BOB, ALICE_2), (BOB_2, BOB), (BOB_2, ALICE_2), (ALICE_2, BOB)] {
        let (keys, told, status) = (scene.keys(ALICE), scene.receipts(ALICE), status_of(&scene, asked.id));
        let through = scene.world.relay.logs[&scene.log].entries.len() as u64;
        let sender = scene.place(of);
        let body = receipt(100, asked.id, through);
        let body = scene.body(node, ParcelKind::DirectMessage, lists, sender, &[ALICE], &body);
        let place = scene.plant(node, ParcelKind::DirectMessage, body.encode(), None);
        assert_eq!(scene.unreadable(ALICE).last(), Some(&(place, Reason::Authentication)), "{node} as {of}");
        assert!(scene.has_still(ALICE, &keys), "{node} as {of}");
        assert_eq!((scene.receipts(ALICE), status_of(&scene, asked.id)), (told, status), "{node} as {of}");
    }
    // In his own name it counts, however much it claims to have.
    let (sender, through) = (scene.place(BOB), scene.world.relay.logs[&scene.log].entries.len() as u64);
    let body = scene.body(BOB, ParcelKind::DirectMessage, lists, sender, &[ALICE], &receipt(100, asked.id, 1_000));
    scene.plant(BOB, ParcelKind::DirectMessage, body.encode(), None);
    let by = scene.world.account(BOB);
    let delivered = Event::Delivered { conversation: scene.id, by, through: Seq::from_u64(through) };
    let read = Event::Read { conversation: scene.id, message: asked.id, by };
    assert_eq!(scene.receipts(ALICE).split_last_chunk().unwrap().1, &[delivered, read]);
    assert_eq!(status_of(&scene, asked.id), MessageStatus::Read);
}

// A-DM-34, spec DEL-42
#[test]
fn a_receipt_that_comes_again_changes_nothing() {
    let mut scene = Scene::new(9);
    scene.world.say(ALICE, scene.id, "have you read it?");
    scene.world.run();
    let asked = scene.world.history(ALICE, scene.id).pop().unwrap();
    let first = scene.world.relay.logs[&scene.log].entries.len();
    scene.world.call(BOB, |client, now, rng| client.mark_read(&scene.id, &asked.id, now, rng)).unwrap();
    scene.world.run();
    assert_eq!(status_of(&scene, asked.id), MessageStatus::Read);
    let sealed = scene.world.relay.logs[&scene.log].entries[first].clone();
    let EntryContent::Payload(payload) = &sealed.content else { panic!("it is kept") };

    // The relay shows the same bytes under another id.
    let (keys, told) = (scene.keys(ALICE), scene.receipts(ALICE));
    let entry = NewEntry {
        id: EntryId::from_bytes([9; 16]),
        class: sealed.class,
        ttl_s: 0,
        payload: payload.clone(),
        turn: None,
    };
    let now_ms = scene.world.relay.now_ms;
    let place = scene.world.relay.logs.get_mut(&scene.log).unwrap().push(entry, now_ms).seq;
    scene.world.relay.flow();
    scene.world.run();
    assert_eq!(scene.unreadable(ALICE).last(), Some(&(place, Reason::Shell)));
    // Bob's second device puts what Bob sealed into a shell of its own; Bob himself says it again.
    let secrets = scene.world.nodes[BOB_2].direct_secrets();
    let (_, generation, secret) =
        secrets.iter().find(|(of, at, _)| (*of, *at) == (scene.log, sealed.generation)).unwrap();
    let keys_of_log = LogKeys::derive(secret, scene.log, *generation);
    let parcel =
        shell::open(&keys_of_log.outer, scene.log, *generation, sealed.id, sealed.class, payload.as_slice()).unwrap();
    let place = scene.plant_at(BOB_2, parcel.kind, parcel.evidence, parcel.body, None);
    assert_eq!(scene.unreadable(ALICE).last(), Some(&(place, Reason::Replayed)));
    assert!(scene.keys(ALICE) == keys);
    let (lists, sender) = (scene.lists(None), scene.place(BOB));
    let again = scene.body(BOB, ParcelKind::DirectMessage, lists, sender, &[ALICE], &receipt(100, asked.id, 0));
    scene.plant(BOB, ParcelKind::DirectMessage, again.encode(), None);
    assert_eq!(scene.receipts(ALICE), told, "told once");
    assert_eq!(status_of(&scene, asked.id), MessageStatus::Read);
}

fn status_of(scene: &Scene, message: MessageId) -> MessageStatus {
    scene.world.history(ALICE, scene.id).into_iter().find(|it| it.id == message).unwrap().status
}

// A-DM-30, A-DM-42, spec DEL-70, ENV-80: lists, sender and recipients are bound, and no wrap is taken for another.
#[test]
fn a_body_whose_lists_recipients_or_wraps_are_changed_does_not_open() {
    let mut scene = Scene::new(6);
    let (lists, sender) = (scene.lists(None), scene.place(BOB));
    let all = [ALICE, ALICE_2, BOB_2];
    let body = scene.body(BOB, ParcelKind::DirectMessage, lists, sender, &all, &envelope("to you three"));
    let DirectForm::Fanout(fanout) = body.form.clone() else { panic!("for three") };
    let with = |wraps: Vec<DirectWrap>| DirectBody {
        form: DirectForm::Fanout(Fanout { wraps, ..fanout.clone() }),
        ..body.clone()
    };
    let mut swapped = fanout.wraps.clone();
    let ours = scene.place(ALICE);
    let without_ours: Vec<DirectWrap> = fanout.wraps.iter().filter(|wrap| wrap.recipient != ours).cloned().collect();
    let at_ours = fanout.wraps.iter().position(|wrap| wrap.recipient == ours).unwrap();
    let other = (at_ours + 1) % 3;
    let (of_ours, of_other) = (swapped[at_ours].message.clone(), swapped[other].message.clone());
    (swapped[at_ours].message, swapped[other].message) = (of_other, of_ours);
    let mut unlisted = fanout.wraps.clone();
    unlisted.push(DirectWrap { recipient: DevicePlace { side: Side::Higher, index: 9 }, ..unlisted[0].clone() });
    let fewer: Vec<DirectWrap> = (0..3).filter(|at| *at != other).map(|at| fanout.wraps[at].clone()).collect();
    let older = scene.first_list.clone();
    for (what, body, reason) in [
        ("wraps swapped", with(swapped), Reason::Authentication),
        ("own wrap missing", with(without_ours), Reason::NotAddressed),
        ("another wrap missing", with(fewer), Reason::Authentication),
        ("an unlisted device", with(unlisted), Reason::Malformed),
        ("another list", DirectBody { lists: scene.lists(Some(&older)), ..body.clone() }, Reason::Lists),
        ("another sender", DirectBody { sender: scene.place(BOB_2), ..body.clone() }, Reason::Malformed),
    ] {
        let keys = scene.keys(ALICE);
        let said = scene.world.texts(ALICE, scene.id);
        let place = scene.plant(BOB, ParcelKind::DirectMessage, body.encode(), None);
        let (at, told) = *scene.unreadable(ALICE).last().unwrap();
        assert_eq!(at, place, "{what}");
        assert_eq!(told, reason, "{what}");
        assert!(scene.keys(ALICE) == keys, "{what}");
        assert_eq!(scene.world.texts(ALICE, scene.id), said, "{what}");
    }
}

impl Scene {
    /// Puts an introduction by `from` to a new log into Alice's inbox, in the session between them.
    fn introduce(&mut self, from: usize, members: [IntroducedMember; 2]) {
        let versions = members.each_ref().map(|member| DeviceList::decode(&member.device_list).unwrap().list_version());
        let order = LogOrder { lists: versions.iter().map(|version| version.as_u64()).sum(), round: 0 };
        let secrets = LogSecrets::first(Secret32::from_bytes(self.world.rng.random()));
        let place = LogPlace { conversation: conversation_of(&members), order, generation: Generation::FIRST };
        let start = Checkpoint { seq: Seq::from_u64(0), head: undertone_wire::chain::EMPTY };
        self.introduce_to(from, ALICE, place, secrets, start, members);
    }

    /// Puts any introduction by `from` into the inbox of `to`, in the session between them.
    fn introduce_to(
        &mut self,
        from: usize,
        to: usize,
        place: LogPlace,
        secrets: LogSecrets,
        checkpoint: Checkpoint,
        members: [IntroducedMember; 2],
    ) {
        let relay = RelayUrl::new("ws://relay.example").unwrap();
        let plaintext = Introduction::new(place, secrets, checkpoint, members, relay).encode();
        self.note_to(from, to, InboxKind::Introduction, &plaintext);
    }

    /// Puts a note by `from` into Alice's inbox, in the session between them.
    fn note(&mut self, from: usize, kind: InboxKind, plaintext: &[u8]) {
        self.note_to(from, ALICE, kind, plaintext);
    }

    fn note_to(&mut self, from: usize, to: usize, kind: InboxKind, plaintext: &[u8]) {
        let (address, sender) = (self.address_of(to), self.us(from));
        let entry = EntryId::from_bytes(self.world.rng.random());
        let recipient = self.world.nodes[to].client.device();
        let ad = [address.inbox().as_bytes().as_slice(), entry.as_bytes(), &[kind as u8]].concat();
        let store = self.world.nodes[from].store.clone();
        let overlay = Overlay::default();
        let mut tx = Tx::new(&store, &overlay);
        let message = dm::seal(&mut tx, recipient, &ad, plaintext, &mut self.world.rng).unwrap();
        store.commit(&tx.into_batch()).unwrap();
        let wrap = Wrap { handshake: Vec::new(), message };
        let sealed = InboxEntry::note(kind, sender.credential().encode(), wrap.encode());
        let place = InboxPlace { inbox: address.inbox(), entry, recipient };
        let payload = inbox::seal(address.seal_key(), &place, &sealed, &mut self.world.rng).unwrap();
        let now_ms = self.world.relay.now_ms;
        let entry = NewEntry { id: entry, class: Class::Control, ttl_s: 0, payload: payload.into(), turn: None };
        self.world.relay.logs.get_mut(&address.inbox()).unwrap().push(entry, now_ms);
        self.world.relay.flow();
        self.world.run();
    }

    /// The root of the log, as anybody has it who was ever introduced to it, and its order.
    fn root(&self) -> (LogRoot, LogOrder) {
        // Behind the secret: the root as `opaque<V>`, u64 lists, u32 round.
        let rows = self.world.nodes[BOB].store.rows(Table::Logs);
        let row = &rows.iter().find(|(key, _)| key.as_slice() == self.log.as_bytes()).unwrap().1;
        assert_eq!((row[81], row[114]), (32, 32));
        let root = LogRoot::from_secret(Secret32::from_slice(&row[115..147]).unwrap());
        let lists = u64::from_be_bytes(row[147..155].try_into().unwrap());
        let order = LogOrder { lists, round: u32::from_be_bytes(row[155..159].try_into().unwrap()) };
        assert_eq!(root.log_id(&self.id, order), self.log);
        (root, order)
    }

    /// Where the log was turned last, and the secret that Bob has of it.
    fn turned(&self) -> (Checkpoint, [u8; 32]) {
        let log = &self.world.relay.logs[&self.log];
        assert!(log.entries.last().unwrap().turn.is_some(), "the turn is the last entry");
        let secrets = self.world.nodes[BOB].direct_secrets();
        let secret = &secrets.iter().find(|(of, at, _)| (*of, *at) == (self.log, log.generation())).unwrap().2;
        (Checkpoint { seq: Seq::from_u64(log.entries.len() as u64), head: log.head() }, *secret.expose())
    }

    /// Somebody introduces a device of Bob's to the generation that the log is in.
    fn introduce_to_turned(
        &mut self,
        (from, to): (usize, usize),
        conversation: ConversationId,
        secret: [u8; 32],
        checkpoint: Checkpoint,
        members: [IntroducedMember; 2],
    ) {
        let (root, order) = self.root();
        let generation = self.world.relay.logs[&self.log].generation();
        let place = LogPlace { conversation, order, generation };
        let secrets = LogSecrets { generation_secret: Secret32::from_bytes(secret), root };
        self.introduce_to(from, to, place, secrets, checkpoint, members);
    }

    /// A third device of Bob's, whom all know but a third one of Alice's; and a turn by this one, which has no wrap for it,
    /// and cannot have: the directory has none of its prekeys, until they are put back.
    fn leave_out_a_third(&mut self, is_away: bool) -> (usize, Slots) {
        let (id, third) = (self.id, self.world.enlist(BOB));
        self.world.connect(third);
        self.world.run();
        for node in [ALICE, BOB, ALICE_2, BOB_2, third] {
            self.world.say(node, id, "good morning");
            self.world.run();
        }
        let key = (SlotId::of_owner(&self.us(third).signing_key().verify_key()), SlotKind::PrekeyBundle);
        let bundle = self.world.relay.slots.remove(&key).unwrap();
        let alices = self.world.enlist(ALICE);
        self.world.connect(alices);
        self.world.run();
        if is_away {
            self.world.disconnect(third);
        }
        self.world.call(alices, |client, now, rng| client.turn_direct(&id, now, rng)).unwrap();
        self.world.run();
        assert_eq!(self.world.relay.logs[&self.log].generation().as_u64(), 3);
        (third, vec![(key, bundle)])
    }

    fn logs(&self, node: usize) -> Vec<undertone::store::Row> {
        self.world.nodes[node].store.rows(Table::Logs)
    }

    fn address_of(&self, node: usize) -> InboxAddress {
        let slot = SlotId::of_owner(&self.us(node).signing_key().verify_key());
        InboxAddress::decode(&self.world.relay.slots[&(slot, SlotKind::InboxAddress)].body).unwrap()
    }

    fn member(&self, node: usize, list: Option<&[u8]>) -> IntroducedMember {
        let us = self.us(node);
        let device_list = list.map_or_else(|| us.device_list().encode(), <[u8]>::to_vec);
        let (name, certificate) = (DisplayName::new("somebody").unwrap(), us.account_certificate().encode());
        IntroducedMember { name, certificate, device_list }
    }

    /// In the order of their ids.
    fn members(&self, alice: IntroducedMember, bob: IntroducedMember) -> [IntroducedMember; 2] {
        if self.side(ALICE) == Side::Lower { [alice, bob] } else { [bob, alice] }
    }
}

// spec ID-79, DEL-57: who has no right to it hands over no key, and what is in a note must be of its kind.
#[test]
fn the_account_key_is_taken_from_nobody_but_who_may_give_it() {
    let mut scene = Scene::new(11);
    let keys = scene.keys(ALICE);
    let seed =
        |scene: &Scene, of: usize| [&[1], scene.us(of).account_key().unwrap().to_seed().expose().as_slice()].concat();
    let (alices, bobs) = (seed(&scene, ALICE), seed(&scene, BOB));
    for (from, what) in
        [(BOB, &bobs), (BOB, &alices), (ALICE_2, &alices), (ALICE_2, &bobs), (ALICE_2, &alices[..5].to_vec())]
    {
        scene.note(from, InboxKind::AccountKey, what);
        assert!(scene.keys(ALICE) == keys, "from {from}");
    }
    for kind in [InboxKind::Introduction, InboxKind::Heartbeat] {
        scene.note(ALICE_2, kind, &alices);
        assert!(scene.keys(ALICE) == keys, "{kind:?}");
    }
    scene.assert_goes_on();
}

// spec DEL-58, ENV-32
#[test]
fn a_heartbeat_is_empty_and_from_a_listed_device() {
    let mut scene = Scene::new(10);
    let keys = scene.keys(ALICE);
    scene.note(BOB_2, InboxKind::Heartbeat, b"with something inside");
    assert!(scene.keys(ALICE) == keys);
    scene.note(BOB_2, InboxKind::Heartbeat, b"");
    assert!(scene.keys(ALICE) != keys, "the session has turned");
    let removed = scene.world.nodes[BOB_2].client.device();
    scene.world.call(BOB, |client, now, rng| client.remove_device(&removed, now, rng)).unwrap();
    scene.world.run();
    let keys = scene.keys(ALICE);
    scene.note(BOB_2, InboxKind::Heartbeat, b"");
    assert!(scene.keys(ALICE) == keys);
}

/// What the directory holds.
type Slots = Vec<((SlotId, SlotKind), sim::relay::Slot)>;

/// The conversation of two people, as their certificates name them.
fn conversation_of(members: &[IntroducedMember; 2]) -> ConversationId {
    let account =
        |member: &IntroducedMember| AccountCertificate::decode(&member.certificate).unwrap().verify().unwrap();
    ConversationId::direct(&account(&members[0]), &account(&members[1]))
}

// spec DEL-84: whoever waits to be introduced takes only what the turn has said, and only in its conversation.
#[test]
fn a_device_that_was_left_out_takes_no_secret_but_that_of_the_turn() {
    let mut scene = Scene::new(8);
    let carol = scene.world.add("carol");
    scene.world.connect(carol);
    let (third, slots) = scene.leave_out_a_third(false);
    let (checkpoint, secret) = scene.turned();
    assert_eq!(scene.unreadable(third), [(checkpoint.seq, Reason::NotAddressed)]);
    // A stranger who has come by the root of the log.
    scene.world.befriend(third, carol);
    scene.world.run();
    let mut strangers = [scene.member(carol, None), scene.member(BOB, None)];
    if scene.world.account(carol) > scene.world.account(BOB) {
        strangers.reverse();
    }
    let members = scene.members(scene.member(ALICE, None), scene.member(BOB, None));
    let older = scene.members(scene.member(ALICE, Some(&scene.first_list.clone())), scene.member(BOB, None));
    let elsewhere = Checkpoint { head: undertone_wire::chain::EMPTY, ..checkpoint };
    let (id, with_carol) = (scene.id, conversation_of(&strangers));
    let row = |scene: &Scene, table: Table| {
        let mut rows = scene.world.nodes[third].store.rows(table).into_iter();
        rows.find(|(key, _)| key.as_slice() == scene.log.as_bytes()).unwrap().1
    };
    let rows = |scene: &Scene| (row(scene, Table::Logs), row(scene, Table::Rosters));
    let before = rows(&scene);
    for (what, from, conversation, secret, checkpoint, members) in [
        ("by a stranger", carol, with_carol, secret, checkpoint, &strangers),
        ("by a stranger, of this conversation", carol, id, secret, checkpoint, &strangers),
        ("by a stranger, with the lists of others", carol, id, secret, checkpoint, &members),
        ("another secret", BOB, id, [7; 32], checkpoint, &members),
        ("another place", BOB, id, secret, elsewhere, &members),
        ("another list", BOB, id, secret, checkpoint, &older),
    ] {
        scene.introduce_to_turned((from, third), conversation, secret, checkpoint, members.clone());
        assert!(rows(&scene) == before, "{what}");
    }
    scene.introduce_to_turned((BOB, third), id, secret, checkpoint, members);
    assert!(rows(&scene) != before, "and this is it");
    scene.world.relay.slots.extend(slots);
    scene.assert_goes_on();
    scene.assert_is_in(third);
}

// spec DEL-84: what an introduction has said too early is checked when its turn comes, and none stands in the way of another.
#[test]
fn an_introduction_that_comes_before_its_turn_serves_only_if_it_is_right() {
    let base = {
        let mut scene = Scene::new(9);
        let left_out = scene.leave_out_a_third(true);
        (scene, left_out)
    };
    let ((scene, (third, slots)), right, wrong) = (base, BOB, BOB_2);
    let (checkpoint, secret) = scene.turned();
    let members = scene.members(scene.member(ALICE, None), scene.member(BOB, None));
    for said in [&[wrong][..], &[wrong, right], &[right, wrong]] {
        let mut scene = Scene { world: scene.world.fork(said.len() as u64), first_list: Vec::new(), ..scene };
        for from in said {
            let secret = if *from == right { secret } else { [9; 32] };
            scene.introduce_to_turned((*from, third), scene.id, secret, checkpoint, members.clone());
        }
        scene.world.connect(third);
        scene.world.run();
        let reasons: Vec<_> = scene.unreadable(third).into_iter().map(|(_, reason)| reason).collect();
        if !said.contains(&right) {
            assert_eq!(reasons, [Reason::NotAddressed]);
            continue;
        }
        assert_eq!(reasons, [], "{said:?}");
        scene.world.relay.slots.extend(slots.clone());
        scene.world.connect_all();
        scene.world.run();
        scene.assert_goes_on();
        scene.assert_is_in(third);
    }
}

// spec DEL-84: who is left out and missed the turns behind comes in where it is introduced.
#[test]
fn an_introduction_to_a_later_generation_serves_whoever_cannot_read_up_to_it() {
    let mut scene = Scene::new(10);
    let (third, slots) = scene.leave_out_a_third(false);
    let (id, log) = (scene.id, scene.log);
    for _ in 0..2 {
        scene.world.say(ALICE, id, "not for the third");
        scene.world.run();
        scene.world.call(BOB, |client, now, rng| client.turn_direct(&id, now, rng)).unwrap();
        scene.world.run();
    }
    assert_eq!(scene.world.relay.logs[&log].generation().as_u64(), 5);
    // One that is not what the relay has, then one that is.
    let (checkpoint, secret) = scene.turned();
    let members = scene.members(scene.member(ALICE, None), scene.member(BOB, None));
    let before = scene.logs(third);
    scene.introduce_to_turned((BOB_2, third), id, [9; 32], checkpoint, members.clone());
    assert!(scene.logs(third) == before);
    scene.introduce_to_turned((BOB, third), id, secret, checkpoint, members);
    scene.world.relay.slots.extend(slots);
    scene.world.say(ALICE, id, "for all");
    scene.world.run();
    assert_eq!(scene.world.texts(third, id).last().unwrap(), "for all");
    scene.world.say(third, id, "here");
    scene.world.run();
    assert_eq!(scene.world.texts(ALICE, id).last().unwrap(), "here");
    // What it never read it does not claim to have.
    assert!(!scene.world.texts(third, id).contains(&"not for the third".to_owned()));
    scene.assert_goes_on();
}

// spec DEL-78, A-DM-31
#[test]
fn only_a_listed_device_introduces_and_only_whoever_is_listed() {
    let mut scene = Scene::new(7);
    let carol = scene.world.add("carol");
    let known = |scene: &Scene| scene.world.nodes[ALICE].store.rows(Table::Logs).len();
    let before = known(&scene);
    // Bob's second device is not on Bob's first list, and Alice is on no list of Carol's.
    let bobs_first = {
        let mut other = World::of(7, &["alice", "bob"]);
        let slot = other.relay.list_slot(&other.nodes[BOB].store);
        other.relay.slots.get_mut(&(slot, SlotKind::DeviceList)).unwrap().body.clone()
    };
    assert!(DeviceList::decode(&bobs_first).unwrap().verify(scene.us(BOB).account_certificate()).is_ok());
    let by_unlisted = scene.members(scene.member(ALICE, None), scene.member(BOB, Some(&bobs_first)));
    scene.introduce(BOB_2, by_unlisted);
    assert_eq!(known(&scene), before, "by a device that its list does not have");
    let mut strangers = [scene.member(carol, None), scene.member(BOB, None)];
    if scene.world.account(carol) > scene.world.account(BOB) {
        strangers.reverse();
    }
    scene.introduce(BOB, strangers);
    assert_eq!(known(&scene), before, "to a conversation of others");
    let mut unsigned = scene.us(BOB).device_list().encode();
    *unsigned.last_mut().unwrap() ^= 1;
    let by_unsigned = scene.members(scene.member(ALICE, None), scene.member(BOB, Some(&unsigned)));
    scene.introduce(BOB, by_unsigned);
    assert_eq!(known(&scene), before, "with a list that does not verify");
    // A device of ours that was removed, and says it was not.
    let lists = scene.members(scene.member(ALICE, None), scene.member(BOB, None));
    scene.world.disconnect(ALICE_2);
    scene.world.expel(ALICE, ALICE_2);
    scene.world.run();
    scene.introduce(ALICE_2, lists);
    assert_eq!(known(&scene), before, "by a removed device");
    // Bob may.
    let sound = scene.members(scene.member(ALICE, None), scene.member(BOB, None));
    scene.introduce(BOB, sound);
    assert_eq!(known(&scene), before + 1);
}

// A log that nobody can use any more, and the one that comes in its place.

/// Something that turns the log to a gate of which nobody has the keys.
fn random_gate(scene: &mut Scene) -> Gate {
    LogKeys::derive(&Secret32::from_bytes(scene.world.rng.random()), scene.log, Generation::FIRST).gate()
}

impl Scene {
    fn log_of(&self, node: usize) -> LogId {
        self.world.nodes[node].client.log_of(&self.id).unwrap().unwrap()
    }

    /// All four write to one log, have one transcript, and it goes on there.
    fn assert_agreed(&mut self) {
        for node in ALL {
            assert_eq!(self.log_of(node), self.log_of(ALICE), "node {node}");
        }
        self.assert_goes_on();
        for node in ALL {
            self.world.assert_same_history(ALICE, node, self.id);
            assert_eq!(self.world.nodes[node].client.conversation(&self.id).unwrap().unsent_count, 0, "node {node}");
        }
        self.world.assert_nothing_twice();
    }

    fn wait(&mut self, seconds: u64) {
        self.world.now = self.world.now.after(std::time::Duration::from_secs(seconds));
        self.world.relay.now_ms = self.world.now.as_u64();
        self.world.run();
    }

    /// Bob's new log of a later round, and an introduction of Alice to it.
    fn lure(&mut self, round: u32, generation: Generation) -> LogId {
        let (order, secret) = (LogOrder { round, ..self.root().1 }, Secret32::from_bytes(self.world.rng.random()));
        let secrets = LogSecrets::first(secret);
        let log = secrets.root.log_id(&self.id, order);
        let place = LogPlace { conversation: self.id, order, generation };
        let checkpoint = match generation {
            Generation::FIRST => Checkpoint { seq: Seq::from_u64(0), head: undertone_wire::chain::EMPTY },
            _ => Checkpoint { seq: Seq::from_u64(1_000), head: undertone_wire::id::Head::from_bytes([1; 32]) },
        };
        let members = self.members(self.member(ALICE, None), self.member(BOB, None));
        self.introduce_to(BOB, ALICE, place, secrets, checkpoint, members);
        log
    }
}

// spec DEL-85, DEL-86, DEL-50: whatever turned the log to garbage, a successor takes its place, and nothing is lost or doubled.
#[test]
fn a_void_turn_to_a_gate_of_nobody_ends_in_a_successor() {
    let mut base = Scene::new(12);
    let present = base.us(ALICE).device_list().encode();
    for (case, what) in ["garbage", "a turn with a list that is none", "a message"].into_iter().enumerate() {
        let mut scene = Scene { world: base.world.fork(case as u64), first_list: Vec::new(), ..base };
        let (id, log) = (scene.id, scene.log);
        scene.world.connect_all();
        scene.world.run();
        // What Bob seals is lost on its way; what his other device has to say is not sealed.
        scene.world.relay.disconnect(BOB);
        scene.world.say(BOB, id, "sealed before");
        scene.world.disconnect(BOB_2);
        scene.world.say(BOB_2, id, "not sealed yet");
        let gate = random_gate(&mut scene);
        let lists = scene.lists(Some(&present));
        let sender = scene.place(ALICE_2);
        match case {
            0 => scene.plant(ALICE_2, ParcelKind::DirectTurn, vec![1, 2, 3], Some(gate)),
            1 => {
                let direct = scene.body(ALICE_2, ParcelKind::DirectTurn, lists, sender, &[ALICE, BOB, BOB_2], &[7; 32]);
                let body = TurnBody::new(vec![1], Vec::new(), direct).encode();
                scene.plant(ALICE_2, ParcelKind::DirectTurn, body, Some(gate))
            }
            _ => {
                let all = [ALICE, BOB, BOB_2];
                let body = scene.body(ALICE_2, ParcelKind::DirectMessage, lists, sender, &all, &envelope("and turned"));
                scene.plant(ALICE_2, ParcelKind::DirectMessage, body.encode(), Some(gate))
            }
        };
        scene.world.disconnect(BOB);
        scene.world.connect(BOB);
        scene.world.connect(BOB_2);
        scene.world.run();
        assert_ne!(scene.log_of(ALICE), log, "{what}");
        let made = ALL.map(|node| scene.world.requests(node)).concat();
        let made = made.iter().filter(|it| matches!(it, undertone_wire::frame::Request::Create(_))).count();
        assert!(made <= 4, "{what}: one log, which each of them may create: {made}");
        for node in ALL {
            let texts = scene.world.texts(node, id);
            for text in ["sealed before", "not sealed yet"] {
                assert_eq!(texts.iter().filter(|it| *it == text).count(), 1, "{what}, node {node}: {texts:?}");
            }
        }
        scene.assert_agreed();
    }
    // Again and again: each log lives longer than the one before, and each time all come through.
    let gate = random_gate(&mut base);
    base.plant(ALICE_2, ParcelKind::DirectTurn, vec![1], Some(gate));
    for round in 1..6 {
        base.log = base.log_of(ALICE);
        assert_eq!(base.root().1.round, round);
        base.assert_agreed();
        let gate = random_gate(&mut base);
        base.plant(ALICE_2, ParcelKind::DirectTurn, vec![1], Some(gate));
    }
}

// spec DEL-85: a turn sealed for nobody, or to everybody as garbage, keeps all waiting for an introduction, and not for ever.
#[test]
fn a_turn_that_leaves_everybody_out_ends_in_a_successor_an_hour_later() {
    for is_sealed in [false, true] {
        let mut scene = Scene::new(13);
        let (id, log) = (scene.id, scene.log);
        let gate = random_gate(&mut scene);
        let (lists, sender) = (scene.lists(None), scene.place(ALICE_2));
        let wraps = [ALICE, BOB, BOB_2].map(|node| DirectWrap {
            recipient: scene.place(node),
            handshake: Vec::new(),
            message: vec![7; 150],
        });
        let mut wraps = if is_sealed { wraps.to_vec() } else { Vec::new() };
        wraps.sort_by_key(|wrap| wrap.recipient);
        let commitment = undertone::envelope::Commitment::from_bytes([1; 32]);
        let form = DirectForm::Fanout(Fanout { commitment, wraps, ciphertext: vec![1; 48] });
        let body = TurnBody::new(Vec::new(), Vec::new(), DirectBody { lists, sender, form }).encode();
        // Who turned it is not heard of any more.
        scene.world.disconnect(ALICE_2);
        let place = scene.plant(ALICE_2, ParcelKind::DirectTurn, body, Some(gate));
        let reason = if is_sealed { Reason::Authentication } else { Reason::NotAddressed };
        for node in [ALICE, BOB, BOB_2] {
            assert_eq!(scene.unreadable(node).last(), Some(&(place, reason)));
        }
        scene.world.say(BOB, id, "anybody?");
        scene.wait(3_000);
        for node in [ALICE, BOB, BOB_2] {
            scene.world.crash(node);
            scene.world.connect(node);
        }
        scene.wait(300);
        assert_eq!(scene.log_of(BOB), log, "somebody may still introduce them");
        scene.wait(300);
        assert_ne!(scene.log_of(BOB), log);
        scene.world.connect(ALICE_2);
        scene.world.run();
        assert_eq!(scene.world.texts(ALICE_2, id).last().unwrap(), "anybody?");
        scene.assert_agreed();
    }
}

// spec DEL-85: the turn of long ago has expired at the relay before this device came back.
#[test]
fn a_device_that_finds_its_turn_expired_comes_in_again() {
    let mut scene = Scene::new(14);
    let (id, log) = (scene.id, scene.log);
    scene.world.disconnect(BOB_2);
    scene.world.call(ALICE_2, |client, now, rng| client.turn_direct(&id, now, rng)).unwrap();
    scene.world.run();
    scene.world.say(ALICE, id, "since then");
    scene.world.run();
    for entry in &mut scene.world.relay.logs.get_mut(&log).unwrap().entries {
        entry.content = EntryContent::Stub(entry.leaf().payload);
    }
    scene.world.connect(BOB_2);
    scene.world.run();
    let turn = scene.world.relay.logs[&log].entries.iter().find(|entry| entry.turn.is_some()).unwrap().seq;
    assert_eq!(scene.unreadable(BOB_2).last(), Some(&(turn, Reason::Expired)));
    scene.world.say(BOB_2, id, "I am back");
    scene.wait(3_700);
    assert_eq!(scene.world.texts(ALICE, id).last().unwrap(), "I am back");
    scene.assert_goes_on();
}

// spec DEL-85: a log that was made with another gate than its secret gives, or never made.
#[test]
fn a_log_that_is_not_what_the_introduction_says_ends_in_a_successor() {
    for case in 0..3 {
        let mut scene = Scene::new(15);
        let (id, before) = (scene.id, scene.log);
        let generation = Generation::from_u64(if case == 2 { 7 } else { 0 });
        if case == 0 {
            // As soon as anybody asks for it, it is there.
            scene.world.relay.first_gate = Some(random_gate(&mut scene));
        }
        let lured = if case == 1 {
            let members = scene.members(scene.member(ALICE, None), scene.member(BOB, None));
            let order = LogOrder { round: 3, ..scene.root().1 };
            let secrets = LogSecrets::first(Secret32::from_bytes([3; 32]));
            let log = secrets.root.log_id(&id, order);
            let place = LogPlace { conversation: id, order, generation: Generation::FIRST.next() };
            // The root is that of a log that is there, and the secret is none of it.
            let gate = random_gate(&mut scene);
            scene
                .world
                .relay
                .logs
                .insert(log, sim::relay::Log::new(gate, Some(secrets.root.control_key(&id, order).verify_key())));
            let checkpoint = Checkpoint { seq: Seq::from_u64(4), head: undertone_wire::id::Head::from_bytes([1; 32]) };
            scene.introduce_to(BOB, ALICE, place, secrets, checkpoint, members);
            log
        } else {
            scene.lure(3, generation)
        };
        assert_eq!(scene.log_of(ALICE), lured, "case {case}");
        assert_eq!(scene.log_of(ALICE_2), before);
        scene.world.say(ALICE, id, "does anybody hear me?");
        scene.wait(3_700);
        scene.wait(400);
        assert_ne!(scene.log_of(ALICE), lured, "case {case}");
        assert!(scene.world.texts(BOB_2, id).contains(&"does anybody hear me?".to_owned()), "case {case}");
        scene.assert_agreed();
    }
}

// spec DEL-87: whoever led one device astray has led all of them there.
#[test]
fn a_log_to_which_one_device_was_introduced_is_known_to_all_in_the_end() {
    for from in [BOB, ALICE_2] {
        let mut scene = Scene::new(16);
        let order = LogOrder { round: 1, ..scene.root().1 };
        let secrets = LogSecrets::first(Secret32::from_bytes([5; 32]));
        let log = secrets.root.log_id(&scene.id, order);
        let place = LogPlace { conversation: scene.id, order, generation: Generation::FIRST };
        let start = Checkpoint { seq: Seq::from_u64(0), head: undertone_wire::chain::EMPTY };
        let members = scene.members(scene.member(ALICE, None), scene.member(BOB, None));
        scene.introduce_to(from, ALICE, place, secrets, start, members);
        assert_eq!(scene.log_of(ALICE), log);
        assert!([BOB, ALICE_2, BOB_2].iter().all(|node| scene.log_of(*node) == scene.log), "nobody else knows");
        let id = scene.id;
        scene.world.say(ALICE, id, "into the new one");
        scene.world.say(BOB_2, id, "into the old one");
        scene.world.disconnect(BOB_2);
        scene.wait(200);
        scene.world.crash(ALICE);
        scene.world.connect(ALICE);
        scene.wait(200);
        scene.world.connect(BOB_2);
        scene.world.run();
        scene.assert_agreed();
        assert_eq!(scene.log_of(BOB_2), log);
        for node in ALL {
            let texts = scene.world.texts(node, id);
            assert!(texts.contains(&"into the new one".to_owned()), "node {node}: {texts:?}");
            assert!(texts.contains(&"into the old one".to_owned()), "node {node}: {texts:?}");
        }
        // Once all have spoken there, nobody needs to be introduced again.
        let deposits = |scene: &Scene| {
            let requests = ALL.map(|node| scene.world.requests(node)).concat();
            requests.iter().filter(|it| matches!(it, undertone_wire::frame::Request::Deposit(_))).count()
        };
        let before = deposits(&scene);
        scene.wait(400);
        assert_eq!(deposits(&scene), before);
    }
}

// spec DEL-50: in whichever order they come, the same one lives, and the same ones are read.
#[test]
fn of_too_many_logs_all_devices_keep_the_same_ones() {
    let base = Scene::new(17);
    let mut outcomes = Vec::new();
    for is_reversed in [false, true] {
        let mut scene = Scene { world: base.world.fork(7), first_list: Vec::new(), ..base };
        scene.world.connect_all();
        scene.world.run();
        let mut lures: Vec<u8> = (1..=14).collect();
        if is_reversed {
            lures.reverse();
        }
        let order = scene.root().1;
        for seed in lures {
            let secrets = LogSecrets::first(Secret32::from_bytes([seed; 32]));
            let order = LogOrder { round: u32::from(seed % 3), ..order };
            let place = LogPlace { conversation: scene.id, order, generation: Generation::FIRST };
            let start = Checkpoint { seq: Seq::from_u64(0), head: undertone_wire::chain::EMPTY };
            let members = scene.members(scene.member(ALICE, None), scene.member(BOB, None));
            scene.introduce_to(BOB, ALICE, place, secrets, start, members);
        }
        // What was said in a log that is not read any more is shown.
        assert_eq!(scene.world.texts(ALICE, scene.id).len(), 4);
        scene.wait(400);
        scene.assert_agreed();
        scene.world.crash(ALICE);
        let requests = scene.world.nodes[ALICE].frames_sent.len();
        scene.world.connect(ALICE);
        scene.world.run();
        let read = scene.world.requests(ALICE).split_off(requests);
        let mut read: Vec<LogId> = read
            .into_iter()
            .filter_map(|it| match it {
                undertone_wire::frame::Request::Subscribe { log, .. } => Some(log),
                _ => None,
            })
            .collect();
        read.sort_unstable();
        assert_eq!(read.len(), 1 + 1 + 8, "the inbox, the log that lives, and eight before it");
        outcomes.push((scene.log_of(ALICE), read));
    }
    assert!(outcomes[0] == outcomes[1]);
}

// spec DEL-50, DEL-85: a round that cannot be outdone is outdone by the next list that an account signs.
#[test]
fn an_order_that_is_used_up_is_renewed_by_a_list() {
    let mut scene = Scene::new(18);
    let lured = scene.lure(u32::MAX, Generation::FIRST);
    scene.wait(400);
    scene.assert_agreed();
    assert_eq!(scene.log_of(BOB_2), lured);
    scene.log = lured;
    let gate = random_gate(&mut scene);
    scene.plant(ALICE_2, ParcelKind::DirectTurn, vec![1], Some(gate));
    scene.world.disconnect(ALICE_2);
    scene.wait(3_700);
    let id = scene.id;
    assert_eq!(scene.log_of(ALICE), lured, "there is no higher round");
    scene.world.say(BOB, id, "remove your tablet");
    scene.world.expel(ALICE, ALICE_2);
    scene.wait(3_700);
    for node in [ALICE, BOB, BOB_2] {
        assert_ne!(scene.log_of(node), lured, "node {node}");
        assert_eq!(scene.log_of(node), scene.log_of(ALICE), "node {node}");
        assert_eq!(scene.world.texts(node, id).last().unwrap(), "remove your tablet", "node {node}");
    }
}

// spec DEL-86: a message that stands in two logs, because its sender did not know that it stood in the first, is shown once.
#[test]
fn a_message_that_stands_in_two_logs_is_shown_once() {
    let mut scene = Scene::new(19);
    let plaintext = envelope("once");
    let mut told = 0;
    for _ in 0..2 {
        let (lists, sender) = (scene.lists(None), scene.place(BOB));
        let body = scene.body(BOB, ParcelKind::DirectMessage, lists, sender, &[ALICE, ALICE_2, BOB_2], &plaintext);
        scene.plant(BOB, ParcelKind::DirectMessage, body.encode(), None);
        for node in [ALICE, ALICE_2, BOB_2] {
            let texts = scene.world.texts(node, scene.id);
            assert_eq!(texts.iter().filter(|text| *text == "once").count(), 1, "node {node}");
            assert_eq!(scene.unreadable(node), []);
        }
        let entries = &scene.world.relay.logs[&scene.log].entries;
        assert!(entries.len() > told, "acknowledged, in either log");
        scene.lure(1, Generation::FIRST);
        scene.wait(400);
        scene.log = scene.log_of(ALICE);
        told = scene.world.relay.logs[&scene.log].entries.len() + 1;
    }
    scene.world.assert_nothing_twice();
}
