//! Who was made sure of, and what that is worth when keys change (spec/identity).

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod sim;

use sim::World;
use undertone::identity::{AccountId, Scan, Verification};

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
