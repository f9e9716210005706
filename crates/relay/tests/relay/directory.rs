//! The directory: signed slots, versions, one-time items that are one-time.

use std::collections::BTreeSet;

use ed25519_dalek::SigningKey;
use tempfile::tempdir;
use undertone_wire::VLBytes;
use undertone_wire::frame::*;
use undertone_wire::id::*;
use undertone_wire::refusal::Refusal;

use crate::peer::*;

fn owner() -> SigningKey {
    SigningKey::from_bytes(&[0x55; 32])
}

fn slot() -> SlotId {
    SlotId::of_owner(&public(&owner()))
}

fn publish(peer: &Peer, kind: SlotKind, version: u64, body: &str, items: std::ops::Range<u32>) -> Request {
    let items: Vec<VLBytes> = items.map(|item| item.to_be_bytes().to_vec().into()).collect();
    let Hello { nonce, server, .. } = &peer.hello;
    let input = Publish::signature_input(nonce, server, kind, version, body.as_bytes(), &items);
    let (owner, signature) = (public(&owner()), sign(&owner(), &input));
    Request::Publish(Publish { owner, kind, version, body: body.as_bytes().to_vec().into(), items, signature })
}

fn take(kind: SlotKind, take: u64) -> Request {
    Request::Take { slot: slot(), kind, take: TakeId::from_bytes(*entry_id(take).as_bytes()) }
}

fn taken(reply: Reply) -> (u64, Vec<u8>, Option<Vec<u8>>) {
    match reply {
        Reply::Taken(Taken { version, body, item }) => {
            (version, body.as_slice().to_vec(), item.map(|item| item.as_slice().to_vec()))
        }
        other => panic!("what was taken, not {other:?}"),
    }
}

// spec RELAY-40, RELAY-41
#[tokio::test(flavor = "multi_thread")]
async fn only_its_owner_writes_a_slot_and_only_on_its_own_connection() {
    let data = tempdir().unwrap();
    let relay = Running::start(data.path()).await;
    let mut peer = Peer::connect(&relay.url).await;
    let mut other = Peer::connect(&relay.url).await;

    let request = publish(&peer, SlotKind::PrekeyBundle, 1, "bundle", 0..2);
    assert_eq!(other.ask(request.clone()).await, Reply::Refused(Refusal::BadSignature), "a replay");
    let Request::Publish(signed) = request.clone() else { unreachable!() };
    let forgeries = [
        Publish { version: 2, ..signed.clone() },
        Publish { kind: SlotKind::KeyPackages, ..signed.clone() },
        Publish { body: b"other".to_vec().into(), ..signed.clone() },
        Publish { items: vec![], ..signed.clone() },
        Publish { owner: public(&SigningKey::from_bytes(&[1; 32])), ..signed },
    ];
    for forgery in forgeries {
        assert_eq!(peer.ask(Request::Publish(forgery)).await, Reply::Refused(Refusal::BadSignature));
    }
    assert_eq!(other.ask(take(SlotKind::PrekeyBundle, 1)).await, Reply::Refused(Refusal::Unknown));
    assert_eq!(peer.ask(request).await, Reply::Published { version: 1, items_left: 2 });
    relay.stop().await;
}

// spec RELAY-42
#[tokio::test(flavor = "multi_thread")]
async fn a_version_never_goes_back_and_a_new_body_drops_the_old_items() {
    let data = tempdir().unwrap();
    let relay = Running::start(data.path()).await;
    let mut peer = Peer::connect(&relay.url).await;
    let kind = SlotKind::KeyPackages;

    let request = publish(&peer, kind, 5, "five", 0..3);
    assert_eq!(peer.ask(request).await, Reply::Published { version: 5, items_left: 3 });
    let request = publish(&peer, kind, 5, "five", 3..5);
    assert_eq!(peer.ask(request).await, Reply::Published { version: 5, items_left: 5 });
    let conflict = Reply::Refused(Refusal::VersionConflict { version: 5 });
    for request in [publish(&peer, kind, 5, "other", 0..0), publish(&peer, kind, 4, "four", 0..0)] {
        assert_eq!(peer.ask(request).await, conflict);
    }
    let first = taken(peer.ask(take(kind, 1)).await);
    assert_eq!(first, (5, b"five".to_vec(), Some(vec![0, 0, 0, 0])));

    let request = publish(&peer, kind, 6, "six", 8..9);
    assert_eq!(peer.ask(request).await, Reply::Published { version: 6, items_left: 1 });
    assert_eq!(taken(peer.ask(take(kind, 2)).await), (6, b"six".to_vec(), Some(vec![0, 0, 0, 8])));
    assert_eq!(taken(peer.ask(take(kind, 3)).await), (6, b"six".to_vec(), None), "the body is the last resort");
    assert_eq!(taken(peer.ask(take(kind, 1)).await), first, "the same take, the same answer");

    for kind in [SlotKind::DeviceList, SlotKind::InboxAddress] {
        let request = publish(&peer, kind, 1, "no items here", 0..1);
        assert_eq!(peer.ask(request).await, Reply::Refused(Refusal::Malformed));
    }
    relay.stop().await;
}

// spec RELAY-43; A-DM-09, A-FL-04
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_item_is_handed_out_once_whoever_asks_and_how_often() {
    const TAKERS: u64 = 12;
    const TAKES: u64 = 12;
    let data = tempdir().unwrap();
    let relay = Running::start(data.path()).await;
    let mut owner = Peer::connect(&relay.url).await;
    let kind = SlotKind::PrekeyBundle;
    let request = publish(&owner, kind, 1, "bundle", 0..100);
    owner.ask(request).await;

    let mut taking = Vec::new();
    for taker in 0..TAKERS {
        let mut peer = Peer::connect(&relay.url).await;
        taking.push(tokio::spawn(async move {
            let mut items = Vec::new();
            for at in 0..TAKES {
                // Each is asked for twice at once, as a client does that lost the first reply.
                peer.send(take(kind, taker * TAKES + at)).await;
                peer.send(take(kind, taker * TAKES + at)).await;
                let (first, second) = (peer.reply().await.1, peer.reply().await.1);
                assert_eq!(first, second);
                items.push((taker * TAKES + at, taken(first).2));
            }
            items
        }));
    }
    let mut answers = Vec::new();
    for task in taking {
        answers.extend(task.await.unwrap());
    }
    let items: Vec<_> = answers.iter().filter_map(|(_, item)| item.clone()).collect();
    assert_eq!(items.len(), 100, "all of them");
    assert_eq!(items.iter().collect::<BTreeSet<_>>().len(), 100, "none twice");
    relay.stop().await;

    let relay = Running::start(data.path()).await;
    let mut peer = Peer::connect(&relay.url).await;
    for (id, item) in answers {
        assert_eq!(taken(peer.ask(take(kind, id)).await).2, item, "also after a restart");
    }
    relay.stop().await;
}

// spec RELAY-45
#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_publication_adds_nothing_even_if_items_were_taken_meanwhile() {
    let data = tempdir().unwrap();
    let relay = Running::start(data.path()).await;
    let mut peer = Peer::connect(&relay.url).await;
    let kind = SlotKind::PrekeyBundle;
    let request = publish(&peer, kind, 1, "bundle", 0..3);
    peer.ask(request).await;
    let first = taken(peer.ask(take(kind, 1)).await).2;

    let mut again = Peer::connect(&relay.url).await;
    let request = publish(&again, kind, 1, "bundle", 0..4);
    assert_eq!(again.ask(request).await, Reply::Published { version: 1, items_left: 3 });
    for id in 2..5 {
        let item = taken(again.ask(take(kind, id)).await).2;
        assert!(item.is_some() && item != first);
    }
    assert_eq!(taken(again.ask(take(kind, 5)).await).2, None);
    relay.stop().await;
}

// spec RELAY-44
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_holds_a_bounded_number_of_items() {
    let data = tempdir().unwrap();
    let relay = Running::start(data.path()).await;
    let mut peer = Peer::connect(&relay.url).await;
    let kind = SlotKind::KeyPackages;
    for from in [0, 128] {
        let request = publish(&peer, kind, 1, "body", from..from + 128);
        assert!(matches!(peer.ask(request).await, Reply::Published { .. }));
    }
    let request = publish(&peer, kind, 1, "body", 300..301);
    assert!(matches!(peer.ask(request).await, Reply::Refused(Refusal::Quota { .. })));
    taken(peer.ask(take(kind, 1)).await);
    let request = publish(&peer, kind, 1, "body", 300..301);
    assert_eq!(peer.ask(request).await, Reply::Published { version: 1, items_left: 256 });
    relay.stop().await;
}
