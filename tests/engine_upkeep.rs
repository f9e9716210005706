//! What happens by age alone: prekeys and key packages are replaced, and lists signed anew, without anybody asking.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod sim;

use std::time::Duration;

use sim::World;
use undertone_wire::frame::SlotKind;

fn pass_days(world: &mut World, count: u64) {
    world.now = world.now.after(Duration::from_secs(count * 86_400));
    world.relay.now_ms = world.now.as_u64();
    world.run();
}

/// What the directory has of a kind: the body, and how many one-time items.
fn shelf(world: &World, kind: SlotKind) -> (Vec<u8>, usize) {
    let slot = world.relay.slots.iter().find(|((_, of), _)| *of == kind).unwrap().1;
    (slot.body.clone(), slot.items.len())
}

// spec DM-07, spec ID-61: on one connection that lasts.
#[test]
fn keys_and_lists_are_replaced_in_time_while_a_connection_lasts() {
    let mut world = World::of(1, &["alice"]);
    world.run();
    let kinds = [SlotKind::PrekeyBundle, SlotKind::KeyPackages, SlotKind::DeviceList];
    let mut before = kinds.map(|kind| shelf(&world, kind));
    let mut replaced_on = [Vec::new(), Vec::new(), Vec::new()];
    for day in 1..=64 {
        pass_days(&mut world, 1);
        for (at, kind) in kinds.into_iter().enumerate() {
            let now = shelf(&world, kind);
            if now.0 != before[at].0 {
                replaced_on[at].push(day);
                assert_eq!(now.1, before[at].1, "a whole stock");
            }
            before[at] = now;
        }
    }
    assert_eq!(replaced_on[0], [7, 14, 21, 28, 35, 42, 49, 56, 63], "prekeys");
    assert_eq!(replaced_on[1], [30, 60], "key packages");
    assert_eq!(replaced_on[2], [45], "the device list");
}

// spec DM-07: and for who comes back seldom, or often.
#[test]
fn a_client_that_was_away_catches_up_and_one_that_reconnects_does_nothing_twice() {
    let mut world = World::of(2, &["alice"]);
    world.run();
    let first = shelf(&world, SlotKind::PrekeyBundle);
    for _ in 0..5 {
        world.disconnect(0);
        world.connect(0);
        world.run();
    }
    assert_eq!(shelf(&world, SlotKind::PrekeyBundle), first);
    world.disconnect(0);
    pass_days(&mut world, 20);
    assert_eq!(shelf(&world, SlotKind::PrekeyBundle), first);
    world.connect(0);
    world.run();
    let second = shelf(&world, SlotKind::PrekeyBundle);
    assert_ne!(second.0, first.0);
    world.crash(0);
    world.connect(0);
    world.run();
    assert_eq!(shelf(&world, SlotKind::PrekeyBundle), second, "not again after a restart");
}

// A-FA-12: a clock that was years ahead and is set back must not put things off for as long.
#[test]
fn a_clock_that_was_set_back_puts_nothing_off() {
    let mut world = World::of(3, &["alice"]);
    world.run();
    let right = world.now;
    pass_days(&mut world, 3_650);
    let ahead = shelf(&world, SlotKind::PrekeyBundle);
    world.disconnect(0);
    world.now = right.after(Duration::from_secs(60));
    world.connect(0);
    world.run();
    assert_ne!(shelf(&world, SlotKind::PrekeyBundle).0, ahead.0, "prekeys from the future are replaced");
}
