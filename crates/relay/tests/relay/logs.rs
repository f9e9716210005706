//! Logs: order, deduplication, the chain, subscriptions.

use std::collections::BTreeSet;

use tempfile::tempdir;
use undertone_wire::chain;
use undertone_wire::frame::*;
use undertone_wire::gate::Right;
use undertone_wire::id::*;
use undertone_wire::refusal::Refusal;

use crate::peer::*;

async fn room_and_peer(url: &str, name: u8) -> (Room, Peer) {
    let room = Room::new(name);
    let mut peer = Peer::connect(url).await;
    assert_eq!(peer.ask(room.create()).await, Reply::Done);
    peer.enter(&room, 0).await;
    (room, peer)
}

// spec RELAY-02, RELAY-03
#[tokio::test(flavor = "multi_thread")]
async fn create_is_idempotent_and_bound_to_the_control_key() {
    let data = tempdir().unwrap();
    let relay = Running::start(data.path()).await;
    let (room, mut peer) = room_and_peer(&relay.url, 1).await;

    assert_eq!(peer.ask(room.create()).await, Reply::Done);
    let other_gate = Create { log: room.log, control: public(&room.control_key()), gate: room.gate(1) };
    assert_eq!(peer.ask(Request::Create(other_gate)).await, Reply::Refused(Refusal::Exists));
    let foreign = Create { log: Room::new(9).log, control: public(&room.control_key()), gate: room.gate(0) };
    assert_eq!(peer.ask(Request::Create(foreign)).await, Reply::Refused(Refusal::Malformed));

    relay.stop().await;
}

// spec RELAY-20, RELAY-21, RELAY-22, RELAY-23
#[tokio::test(flavor = "multi_thread")]
async fn entries_get_contiguous_places_and_carry_the_chain() {
    let data = tempdir().unwrap();
    let relay = Running::start(data.path()).await;
    let (room, mut peer) = room_and_peer(&relay.url, 2).await;

    let first = places(peer.append(&room, 0, entries(0..3)).await);
    let second = places(peer.append(&room, 0, entries(3..5)).await);
    let seqs: Vec<u64> = first.iter().chain(&second).map(|place| place.seq.as_u64()).collect();
    assert_eq!(seqs, [1, 2, 3, 4, 5]);
    assert!(first.iter().all(|place| place.duplicate == Presence::New));
    assert_eq!(first[0].payload, PayloadHash::of(b"payload 0"));

    let Reply::Page { entries } = peer.ask(read(&room, 2, 3)).await else { panic!("a page") };
    assert_eq!(entries.iter().map(|entry| entry.seq.as_u64()).collect::<Vec<_>>(), [2, 3, 4]);
    let Reply::Page { entries } = peer.ask(read(&room, 6, 10)).await else { panic!("a page") };
    assert!(entries.is_empty());

    peer.subscribe(room.log, 1).await;
    let all = peer.entries_to(room.log, 5).await;
    let head = all.iter().fold(chain::EMPTY, |head, entry| entry.leaf().extend(&head));
    assert_ne!(head, chain::EMPTY);
    assert!(all.iter().zip(0..).all(|(entry, id)| entry.id == entry_id(id)));

    relay.stop().await;
}

fn read(room: &Room, from: u64, limit: u16) -> Request {
    Request::Read { log: room.log, from: Seq::from_u64(from), limit }
}

// spec RELAY-24, RELAY-25; A-RE-05
#[tokio::test(flavor = "multi_thread")]
async fn an_entry_id_is_stored_once_whatever_its_payload() {
    let data = tempdir().unwrap();
    let relay = Running::start(data.path()).await;
    let (room, mut peer) = room_and_peer(&relay.url, 3).await;
    places(peer.append(&room, 0, entries(0..2)).await);

    let changed = NewEntry { payload: b"something else".to_vec().into(), ..entry(1) };
    let again = places(peer.append(&room, 0, vec![entry(0), changed, entry(2)]).await);
    let told: Vec<_> = again.iter().map(|place| (place.seq.as_u64(), place.duplicate)).collect();
    assert_eq!(told, [(1, Presence::Duplicate), (2, Presence::Duplicate), (3, Presence::New)]);
    assert_eq!(again[1].payload, PayloadHash::of(b"payload 1"), "what was stored, not what was sent");

    let twice = vec![entry(7), entry(7)];
    assert_eq!(peer.append(&room, 0, twice).await, Reply::Refused(Refusal::Malformed));

    // Behind a turn, known ids are still answered before the generation is looked at.
    places(peer.append(&room, 0, vec![room.turn(10, 1)]).await);
    let known = places(peer.append(&room, 0, entries(0..2)).await);
    assert!(known.iter().all(|place| place.duplicate == Presence::Duplicate));
    let stale = Refusal::Stale { generation: Generation::from_u64(1), turned_at: Seq::from_u64(4) };
    assert_eq!(peer.append(&room, 0, vec![entry(0), entry(50)]).await, Reply::Refused(stale));
    let Reply::Page { entries } = peer.ask(read(&room, 1, 64)).await else { panic!("a page") };
    assert_eq!(entries.len(), 4, "a refused append stores nothing");

    relay.stop().await;
}

// spec RELAY-26; A-GR-10
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_24_writers_that_race_to_turn_a_log_exactly_one_wins() {
    const WRITERS: u64 = 24;
    const ROUNDS: u64 = 8;
    let data = tempdir().unwrap();
    let relay = Running::start(data.path()).await;
    let (room, _creator) = room_and_peer(&relay.url, 4).await;
    let mut peers = Vec::new();
    for _ in 0..WRITERS {
        peers.push(Peer::connect(&relay.url).await);
    }

    for round in 0..ROUNDS {
        for peer in &mut peers {
            peer.enter(&room, round).await;
        }
        let mut racing = Vec::new();
        for (writer, mut peer) in (0..).zip(peers) {
            racing.push(tokio::spawn(async move {
                let turn = room.turn(round * WRITERS + writer, round + 1);
                (peer.append(&room, round, vec![turn]).await, peer)
            }));
        }
        peers = Vec::new();
        let mut winners = BTreeSet::new();
        for task in racing {
            let (reply, peer) = task.await.unwrap();
            match reply {
                Reply::Appended { places } => assert!(winners.insert(places[0].seq)),
                Reply::Refused(Refusal::Stale { generation, turned_at }) => {
                    assert_eq!(generation.as_u64(), round + 1);
                    assert_eq!(turned_at.as_u64(), round + 1, "the loser learns which entry won");
                }
                other => panic!("a place or Stale, not {other:?}"),
            }
            peers.push(peer);
        }
        assert_eq!(winners.len(), 1, "round {round}");
    }

    relay.stop().await;
}

// spec RELAY-27, RELAY-50; A-RE-03
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_subscribers_see_the_same_order_while_many_write() {
    let data = tempdir().unwrap();
    let relay = Running::start(data.path()).await;
    let (room, mut early) = room_and_peer(&relay.url, 5).await;
    early.subscribe(room.log, 1).await;

    let mut writing = Vec::new();
    for writer in 0..6 {
        let mut peer = Peer::connect(&relay.url).await;
        peer.enter(&room, 0).await;
        writing.push(tokio::spawn(async move {
            for at in 0..25 {
                peer.send(room.append(0, entries(writer * 100 + at * 2..writer * 100 + at * 2 + 2))).await;
            }
            for _ in 0..25 {
                places(peer.reply().await.1);
            }
        }));
    }
    let mut late = Peer::connect(&relay.url).await;
    late.enter(&room, 0).await;
    late.subscribe(room.log, 1).await;
    let (seen_early, seen_late) = (early.entries_to(room.log, 300).await, late.entries_to(room.log, 300).await);
    for task in writing {
        task.await.unwrap();
    }

    assert_eq!(seen_early, seen_late);
    assert!(seen_early.iter().zip(1..).all(|(entry, seq)| entry.seq.as_u64() == seq), "contiguous from 1");
    assert!(early.is_quiet().await);
    relay.stop().await;
}

// spec RELAY-51
#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_resumes_at_its_cursor_and_ends_when_told() {
    let data = tempdir().unwrap();
    let relay = Running::start(data.path()).await;
    let (room, mut writer) = room_and_peer(&relay.url, 6).await;
    for from in 0..10 {
        places(writer.append(&room, 0, entries(from * 20..from * 20 + 20)).await);
    }

    let mut reader = Peer::connect(&relay.url).await;
    reader.enter(&room, 0).await;
    reader.subscribe(room.log, 151).await;
    let seen = reader.entries_to(room.log, 200).await;
    assert_eq!(seen.len(), 50);
    assert_eq!(seen[0].seq.as_u64(), 151);

    // Subscribing anew replaces the cursor.
    reader.subscribe(room.log, 200).await;
    assert_eq!(reader.entries_to(room.log, 200).await.len(), 1);
    assert_eq!(reader.ask(Request::Unsubscribe { log: room.log }).await, Reply::Done);
    places(writer.append(&room, 0, entries(1_000..1_001)).await);
    assert!(reader.is_quiet().await);

    relay.stop().await;
}

// spec RELAY-01
#[tokio::test(flavor = "multi_thread")]
async fn everything_acknowledged_is_there_after_a_restart() {
    let data = tempdir().unwrap();
    let relay = Running::start(data.path()).await;
    let (room, mut peer) = room_and_peer(&relay.url, 7).await;
    places(peer.append(&room, 0, entries(0..40)).await);
    places(peer.append(&room, 0, vec![room.turn(100, 1)]).await);
    let before = peer.hello.clone();
    relay.stop().await;

    let relay = Running::start(data.path()).await;
    let mut peer = Peer::connect(&relay.url).await;
    assert_eq!(peer.hello.server, before.server);
    assert_eq!(peer.hello.incarnation, before.incarnation, "nothing was lost, so it is the same life");
    assert_ne!(peer.hello.nonce, before.nonce);
    peer.enter(&room, 1).await;
    peer.subscribe(room.log, 1).await;
    assert_eq!(peer.entries_to(room.log, 41).await.len(), 41);
    let again = places(peer.append(&room, 1, vec![entry(5)]).await);
    assert_eq!((again[0].seq.as_u64(), again[0].duplicate), (6, Presence::Duplicate));

    relay.stop().await;
}

// spec RELAY-28; A-RE-15
#[tokio::test(flavor = "multi_thread")]
async fn an_expired_payload_leaves_a_stub_that_keeps_the_chain() {
    let data = tempdir().unwrap();
    let relay = Running::start(data.path()).await;
    let (room, mut peer) = room_and_peer(&relay.url, 8).await;
    let short = NewEntry { ttl_s: 1, ..entry(1) };
    places(peer.append(&room, 0, vec![entry(0), short, entry(2)]).await);
    let Reply::Page { entries: before } = peer.ask(read(&room, 1, 64)).await else { panic!("a page") };

    let after = loop {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        let Reply::Page { entries } = peer.ask(read(&room, 1, 64)).await else { panic!("a page") };
        if entries != before {
            break entries;
        }
    };
    assert_eq!(after[1].content, EntryContent::Stub(PayloadHash::of(b"payload 1")));
    assert_eq!((&after[0], &after[2]), (&before[0], &before[2]));
    let head = |entries: &[Entry]| entries.iter().fold(chain::EMPTY, |head, entry| entry.leaf().extend(&head));
    assert_eq!(head(&before), head(&after));
    let again = places(peer.append(&room, 0, vec![entry(1)]).await);
    assert_eq!(again[0].duplicate, Presence::Duplicate, "the id outlives the payload");

    relay.stop().await;
}

// spec RELAY-05
#[tokio::test(flavor = "multi_thread")]
async fn replies_come_in_the_order_of_the_requests() {
    let data = tempdir().unwrap();
    let relay = Running::start(data.path()).await;
    let room = Room::new(11);
    let mut peer = Peer::connect(&relay.url).await;
    // Nothing waits for anything: each request sees what those before it did.
    let right = vec![
        peer.proof(room.log, 0, Right::Read, &room.read_key(0)),
        peer.proof(room.log, 0, Right::Append, &room.append_key(0)),
    ];
    let sent = [
        peer.send(room.create()).await,
        peer.send(Request::Prove { proofs: right }).await,
        peer.send(room.append(0, entries(0..2))).await,
        peer.send(read(&room, 1, 64)).await,
        peer.send(room.append(0, entries(2..3))).await,
        peer.send(Request::Subscribe { log: room.log, from: Seq::FIRST }).await,
    ];
    let mut replies = Vec::new();
    for request in sent {
        let (answered, reply) = peer.reply().await;
        assert_eq!(answered, request);
        replies.push(reply);
    }
    assert!(matches!(&replies[1], Reply::Proven { results } if results[1].verdict == ProofVerdict::Granted));
    assert!(matches!(&replies[3], Reply::Page { entries } if entries.len() == 2));
    assert_eq!(peer.entries_to(room.log, 3).await.len(), 3);

    relay.stop().await;
}
