//! Who was made sure of, and what that is worth when keys change (spec/identity).

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod sim;

use std::time::Duration;

use sim::World;
use undertone::Error;
use undertone::conversation::ConversationId;
use undertone::engine::{Event, HeldBecause};
use undertone::identity::{AccountId, EXPIRED_GRACE, IdentityError, LIST_LIFETIME, LocalIdentity, Scan, Verification};
use undertone::store::{Overlay, Tx};
use undertone_wire::frame::SlotKind;

const ALICE: usize = 0;
const BOB: usize = 1;

/// Alice's list, if she had linked a device in another life.
fn list_elsewhere(world: &World, seed: u64) -> Vec<u8> {
    let mut world = world.fork(seed);
    world.enlist(ALICE);
    let tx_store = &world.nodes[ALICE].store;
    LocalIdentity::load(&Tx::new(tx_store, &Overlay::default())).unwrap().unwrap().device_list().encode()
}

/// Bob sees a list in Alice's slot.
fn shows(world: &mut World, list: Vec<u8>) {
    let slot = world.relay.list_slot(&world.nodes[ALICE].store);
    world.relay.slots.get_mut(&(slot, SlotKind::DeviceList)).unwrap().body = list;
    let alice = world.account(ALICE);
    let name = format!("group {}", world.now.as_u64());
    world.call(BOB, |client, now, rng| client.create_group(&name, &[alice], now, rng)).unwrap();
    world.run();
}

fn held(world: &World, node: usize) -> Vec<(AccountId, HeldBecause)> {
    let held = |event: Event| match event {
        Event::SendingHeld { account, because } => Some((account, because)),
        _ => None,
    };
    world.nodes[node].told_once().into_iter().filter_map(|event| held(event.clone())).collect()
}

fn accept(world: &mut World, account: AccountId) -> Result<(), Error> {
    world.call(BOB, |client, now, rng| client.accept_keys(&account, now, rng))
}

fn unsent(world: &World, id: ConversationId) -> usize {
    world.nodes[BOB].client.conversation(&id).unwrap().unsent_count
}

// spec ID-33, spec ID-34, spec ID-23, A-DM-31
#[test]
fn a_fork_holds_what_is_sent_until_a_person_accepts_it() {
    let mut world = World::of(901, &["alice", "bob"]);
    let id = world.befriend(ALICE, BOB);
    world.say(ALICE, id, "hello");
    world.run();
    let alice = world.account(ALICE);
    assert_eq!(accept(&mut world, alice), Err(Error::NothingHeld));
    let (forked, another) = (list_elsewhere(&world, 1), list_elsewhere(&world, 2));
    world.enlist(ALICE);
    world.connect_all();
    world.run();
    world.say(BOB, id, "before");
    world.run();
    shows(&mut world, forked.clone());
    assert_eq!(held(&world, BOB), [(alice, HeldBecause::Forked)]);
    world.say(BOB, id, "one");
    world.say(BOB, id, "two");
    world.run();
    world.crash(BOB);
    world.connect(BOB);
    world.run();
    assert_eq!((unsent(&world, id), world.texts(ALICE, id).len()), (2, 2));
    assert_eq!(held(&world, BOB).len(), 1, "told once");

    accept(&mut world, alice).unwrap();
    world.run();
    assert_eq!(world.texts(ALICE, id), ["hello", "before", "one", "two"]);
    assert_eq!(unsent(&world, id), 0);
    assert_eq!(accept(&mut world, alice), Err(Error::NothingHeld));
    // What was accepted is no news; another list is.
    shows(&mut world, forked.clone());
    assert_eq!(held(&world, BOB).len(), 1);
    shows(&mut world, another.clone());
    assert_eq!(held(&world, BOB).len(), 2);
    world.say(BOB, id, "three");
    world.run();
    assert_eq!(unsent(&world, id), 1);
    // Each was accepted once and for all, whatever came in between.
    accept(&mut world, alice).unwrap();
    world.disconnect(ALICE);
    world.now = world.now.after(LIST_LIFETIME + EXPIRED_GRACE * 2);
    world.relay.now_ms = world.now.as_u64();
    world.crash(BOB);
    world.connect(BOB);
    world.say(BOB, id, "four");
    world.run();
    assert_eq!(held(&world, BOB)[2..], [(alice, HeldBecause::Expired)]);
    for list in [another, forked] {
        shows(&mut world, list);
        assert_eq!(held(&world, BOB).len(), 3);
    }
}

// spec ID-33, spec ID-34, spec ID-26
#[test]
fn a_list_past_use_holds_what_is_sent_until_there_is_a_newer_one() {
    let mut world = World::of(902, &["alice", "bob"]);
    let id = world.befriend(ALICE, BOB);
    world.say(ALICE, id, "hello");
    world.run();
    let alice = world.account(ALICE);
    world.disconnect(ALICE);
    world.disconnect(BOB);
    let at = |world: &mut World, after: Duration| {
        world.now = world.now.after(after);
        world.relay.now_ms = world.now.as_u64();
        if world.nodes[BOB].is_connected {
            world.disconnect(BOB);
        }
        world.connect(BOB);
        world.run();
    };
    // Expired, and still in use.
    at(&mut world, LIST_LIFETIME + EXPIRED_GRACE / 2);
    world.say(BOB, id, "in the month of grace");
    world.run();
    assert_eq!((unsent(&world, id), held(&world, BOB).len()), (0, 0));
    at(&mut world, EXPIRED_GRACE);
    world.say(BOB, id, "too late");
    world.run();
    assert_eq!((unsent(&world, id), held(&world, BOB)), (1, vec![(alice, HeldBecause::Expired)]));
    let expired = accept(&mut world, alice);
    assert!(matches!(expired, Err(Error::Identity(IdentityError::ListExpired { .. }))), "{expired:?}");
    at(&mut world, Duration::from_secs(60));
    assert_eq!((unsent(&world, id), held(&world, BOB).len()), (1, 1), "told once");
    // Alice comes back, and signs a new one.
    world.connect(ALICE);
    world.run();
    at(&mut world, Duration::from_secs(60));
    assert_eq!(unsent(&world, id), 0);
    assert_eq!(world.texts(ALICE, id), ["hello", "in the month of grace", "too late"]);
    assert_eq!(accept(&mut world, alice), Err(Error::NothingHeld));
}

// spec ID-32
#[test]
fn a_number_that_was_compared_or_scanned_is_remembered() {
    let mut world = World::of(900, &["alice", "bob", "carol"]);
    world.befriend(0, 1);
    world.befriend(0, 2);
    world.run();
    let (alice, bob, carol) = (world.account(0), world.account(1), world.account(2));
    let verification = |world: &World, of: AccountId| world.nodes[0].client.verification(&of).unwrap();
    assert_eq!(verification(&world, bob), Verification::Unverified);
    world.call(0, |client, now, rng| client.verify(&bob, now, rng)).unwrap();
    assert_eq!(verification(&world, bob), Verification::Verified);
    world.crash(0);
    assert_eq!(verification(&world, bob), Verification::Verified);

    // Carol's screen, and what it is not.
    let shown = world.nodes[2].client.safety_number(&alice).unwrap().to_qr();
    let of_bob = world.nodes[1].client.safety_number(&alice).unwrap().to_qr();
    let scan = |world: &mut World, payload: &[u8]| {
        world.call(0, |client, now, rng| client.verify_by_scan(&carol, payload, now, rng)).unwrap()
    };
    assert_eq!(scan(&mut world, &of_bob), Scan::Differs);
    assert_eq!(scan(&mut world, &shown[1..]), Scan::Unreadable);
    assert_eq!(verification(&world, carol), Verification::Unverified);
    assert_eq!(scan(&mut world, &shown), Scan::Matches);
    assert_eq!(verification(&world, carol), Verification::Verified);
    // A code that differs takes nothing back: somebody may have shown another's.
    assert_eq!(scan(&mut world, &of_bob), Scan::Differs);
    assert_eq!(verification(&world, carol), Verification::Verified);
    let nobody = AccountId::from_bytes([9; 32]);
    let refused = world.call(0, |client, now, rng| client.verify(&nobody, now, rng));
    assert_eq!(refused, Err(undertone::Error::UnknownAccount));
}
