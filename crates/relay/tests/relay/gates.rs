//! Gates: who reads how far, who appends, what a turn does to those who listen.

use std::time::Duration;

use tempfile::tempdir;
use undertone_wire::frame::*;
use undertone_wire::gate::Right;
use undertone_wire::id::*;
use undertone_wire::refusal::Refusal;

use crate::peer::*;

/// A log of 5 entries: the third turned it, the first two are of generation 0.
async fn turned_log(url: &str, room: &Room) -> Peer {
    let mut peer = Peer::connect(url).await;
    peer.ask(room.create()).await;
    peer.enter(room, 0).await;
    places(peer.append(room, 0, vec![entry(0), entry(1), room.turn(2, 1)]).await);
    peer.enter(room, 1).await;
    places(peer.append(room, 1, entries(3..5)).await);
    peer
}

fn read(room: &Room, from: u64) -> Request {
    Request::Read { log: room.log, from: Seq::from_u64(from), limit: 64 }
}

// spec RELAY-10, RELAY-11, RELAY-12
#[tokio::test(flavor = "multi_thread")]
async fn a_proof_counts_for_one_connection_log_generation_and_right() {
    let data = tempdir().unwrap();
    let relay = Running::start(data.path()).await;
    let room = Room::new(1);
    let owner = turned_log(&relay.url, &room).await;
    let mut peer = Peer::connect(&relay.url).await;

    let replayed = owner.proof(room.log, 1, Right::Read, &room.read_key(1));
    let proofs = vec![
        replayed,
        peer.proof(room.log, 1, Right::Read, &room.append_key(1)),
        peer.proof(room.log, 1, Right::Append, &room.read_key(1)),
        peer.proof(room.log, 2, Right::Read, &room.read_key(2)),
        peer.proof(Room::new(2).log, 0, Right::Read, &room.read_key(0)),
        peer.proof(room.log, 0, Right::Append, &room.append_key(0)),
        peer.proof(room.log, 0, Right::Control, &room.append_key(0)),
    ];
    let verdicts: Vec<_> = peer.prove(proofs).await.iter().map(|result| result.verdict).collect();
    use ProofVerdict::*;
    assert_eq!(verdicts, [BadSignature, BadSignature, BadSignature, Unknown, Unknown, Stale, BadSignature]);
    assert_eq!(peer.ask(read(&room, 1)).await, Reply::Refused(Refusal::NotProven));
    assert_eq!(peer.append(&room, 1, entries(9..10)).await, Reply::Refused(Refusal::NotProven));
    assert_eq!(peer.append(&room, 0, entries(9..10)).await, Reply::Refused(Refusal::NotProven));
    let subscribe = Request::Subscribe { log: room.log, from: Seq::FIRST };
    assert_eq!(peer.ask(subscribe).await, Reply::Refused(Refusal::NotProven));

    let control = peer.proof(room.log, 0, Right::Control, &room.control_key());
    let result = peer.prove(vec![control]).await[0];
    assert_eq!((result.verdict, result.generation.as_u64(), result.last.as_u64()), (Granted, 1, 5));
    relay.stop().await;
}

// spec RELAY-13; A-RE-12
#[tokio::test(flavor = "multi_thread")]
async fn a_gate_opens_nothing_behind_the_entry_that_ends_it() {
    let data = tempdir().unwrap();
    let relay = Running::start(data.path()).await;
    let room = Room::new(1);
    turned_log(&relay.url, &room).await;
    let mut removed = Peer::connect(&relay.url).await;
    let proofs = vec![removed.proof(room.log, 0, Right::Read, &room.read_key(0))];
    assert_eq!(removed.prove(proofs).await[0].verdict, ProofVerdict::Granted);

    let Reply::Page { entries } = removed.ask(read(&room, 1)).await else { panic!("a page") };
    assert_eq!(entries.last().unwrap().seq.as_u64(), 3);
    assert_eq!(removed.ask(read(&room, 4)).await, Reply::Refused(Refusal::NotProven));
    removed.subscribe(room.log, 1).await;
    assert_eq!(removed.entries_to(room.log, 3).await.len(), 3);
    let turned = RelayFrame::Turned { log: room.log, generation: Generation::from_u64(1), seq: Seq::from_u64(3) };
    assert_eq!(removed.pushed().await, turned);
    assert!(removed.is_quiet().await);

    relay.stop().await;
}

// spec RELAY-52
#[tokio::test(flavor = "multi_thread")]
async fn a_parked_subscription_goes_on_once_the_new_generation_is_proven() {
    let data = tempdir().unwrap();
    let relay = Running::start(data.path()).await;
    let room = Room::new(1);
    let mut writer = Peer::connect(&relay.url).await;
    writer.ask(room.create()).await;
    writer.enter(&room, 0).await;
    let mut reader = Peer::connect(&relay.url).await;
    reader.enter(&room, 0).await;
    reader.subscribe(room.log, 1).await;

    places(writer.append(&room, 0, vec![entry(0), room.turn(1, 1)]).await);
    writer.enter(&room, 1).await;
    places(writer.append(&room, 1, vec![entry(2), room.turn(3, 2)]).await);
    writer.enter(&room, 2).await;
    places(writer.append(&room, 2, entries(4..6)).await);

    for generation in 1..3 {
        assert_eq!(reader.entries_to(room.log, generation * 2).await.len(), 2);
        let (seq, generation_id) = (Seq::from_u64(generation * 2), Generation::from_u64(generation));
        assert_eq!(reader.pushed().await, RelayFrame::Turned { log: room.log, generation: generation_id, seq });
        reader.enter_read(&room, generation).await;
    }
    assert_eq!(reader.entries_to(room.log, 6).await.len(), 2);
    places(writer.append(&room, 2, entries(6..7)).await);
    assert_eq!(reader.entries_to(room.log, 7).await.len(), 1, "and is live again");

    relay.stop().await;
}

// spec RELAY-53
#[tokio::test(flavor = "multi_thread")]
async fn a_parked_subscription_ends_when_no_proof_comes() {
    let data = tempdir().unwrap();
    let relay = Running::start_with(data.path(), |config| config.limits.park_s = 1).await;
    let room = Room::new(1);
    turned_log(&relay.url, &room).await;
    let mut reader = Peer::connect(&relay.url).await;
    reader.enter_read(&room, 0).await;
    reader.subscribe(room.log, 4).await;

    assert!(matches!(reader.pushed().await, RelayFrame::Turned { .. }));
    let ended = RelayFrame::Ended { log: room.log, reason: Refusal::NotProven };
    assert_eq!(reader.pushed().await, ended);
    reader.enter(&room, 1).await;
    assert!(reader.is_quiet().await, "it is gone, not parked");
    reader.subscribe(room.log, 4).await;
    assert_eq!(reader.entries_to(room.log, 5).await.len(), 2);

    relay.stop().await;
}

impl Peer {
    async fn enter_read(&mut self, room: &Room, generation: u64) {
        let proofs = vec![self.proof(room.log, generation, Right::Read, &room.read_key(generation))];
        assert_eq!(self.prove(proofs).await[0].verdict, ProofVerdict::Granted);
    }
}

// spec RELAY-54
#[tokio::test(flavor = "multi_thread")]
async fn ephemeral_payloads_reach_present_readers_of_the_generation_only() {
    let data = tempdir().unwrap();
    let relay = Running::start(data.path()).await;
    let room = Room::new(1);
    let mut sender = turned_log(&relay.url, &room).await;
    sender.subscribe(room.log, 6).await;
    let mut member = Peer::connect(&relay.url).await;
    member.enter(&room, 1).await;
    member.subscribe(room.log, 6).await;
    let mut removed = Peer::connect(&relay.url).await;
    removed.enter_read(&room, 0).await;
    removed.subscribe(room.log, 3).await;
    removed.entries_to(room.log, 3).await;
    assert!(matches!(removed.pushed().await, RelayFrame::Turned { .. }));

    let generation = Generation::from_u64(1);
    let typing = |generation| Request::Ephemeral { log: room.log, generation, payload: b"typing".to_vec().into() };
    assert_eq!(sender.ask(typing(generation)).await, Reply::Done);
    let expected = RelayFrame::Ephemeral { log: room.log, generation, payload: b"typing".to_vec().into() };
    assert_eq!(member.pushed().await, expected);
    assert!(sender.is_quiet().await, "not to its sender");
    assert!(removed.is_quiet().await, "not to who cannot read the generation");
    assert_eq!(removed.ask(typing(generation)).await, Reply::Refused(Refusal::NotProven));

    let stale = Refusal::Stale { generation, turned_at: Seq::from_u64(3) };
    assert_eq!(sender.ask(typing(Generation::FIRST)).await, Reply::Refused(stale));
    let Reply::Page { entries } = sender.ask(read(&room, 6)).await else { panic!("a page") };
    assert!(entries.is_empty(), "nothing is stored");
    tokio::time::sleep(Duration::from_millis(50)).await;
    relay.stop().await;
}

// spec RELAY-14, RELAY-25
#[tokio::test(flavor = "multi_thread")]
async fn who_has_walked_on_learns_whether_an_old_append_arrived() {
    let data = tempdir().unwrap();
    let relay = Running::start(data.path()).await;
    let room = Room::new(1);
    turned_log(&relay.url, &room).await;
    let mut peer = Peer::connect(&relay.url).await;
    assert_eq!(peer.append(&room, 0, entries(0..2)).await, Reply::Refused(Refusal::NotProven));
    peer.enter(&room, 1).await;

    let known = places(peer.append(&room, 0, entries(0..2)).await);
    assert_eq!(known.iter().map(|place| place.seq.as_u64()).collect::<Vec<_>>(), [1, 2]);
    let stale = Refusal::Stale { generation: Generation::from_u64(1), turned_at: Seq::from_u64(3) };
    assert_eq!(peer.append(&room, 0, entries(1..3)).await, places_of(&[1, 2], &[1, 2]));
    assert_eq!(peer.append(&room, 0, entries(8..9)).await, Reply::Refused(stale));
    assert_eq!(peer.append(&room, 2, entries(8..9)).await, Reply::Refused(Refusal::NotProven));
    relay.stop().await;
}

/// The reply to an Append whose entries, by number of their payload, are there already.
fn places_of(payloads: &[u64], at: &[u64]) -> Reply {
    let place = |(payload, at): (&u64, &u64)| Place {
        seq: Seq::from_u64(at + 1),
        generation: Generation::FIRST,
        payload: PayloadHash::of(format!("payload {payload}").as_bytes()),
        duplicate: Presence::Duplicate,
    };
    Reply::Appended { places: payloads.iter().zip(at).map(place).collect() }
}
