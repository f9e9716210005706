//! Linking a device through the relay, removing one, and everything that can go wrong on the way (spec/identity).

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod sim;

use std::time::Duration;

use sim::{Joiner, World};
use undertone::Error;
use undertone::conversation::ConversationId;
use undertone::engine::{Client, Event, Input, Signal};
use undertone::identity::linking::{Abort, LINKING_TIME_MAX, LinkingCode, LinkingError, Offer};
use undertone::identity::{Capability, DeviceId, IdentityError, LIST_LIFETIME, LocalIdentity, Role};
use undertone::store::{MemoryStore, Overlay, Table, Tx};
use undertone::time::UnixMs;
use undertone_wire::frame::{Request, SlotKind};

const DAY: Duration = Duration::from_secs(86_400);

fn rows(store: &MemoryStore) -> usize {
    Table::ALL.iter().map(|table| store.rows(*table).len()).sum()
}

/// What is in every table of a client but that of its events.
fn state(world: &World, node: usize) -> Vec<Vec<(Vec<u8>, Vec<u8>)>> {
    let tables = Table::ALL.iter().filter(|table| **table != Table::Events);
    let plain = |table: &Table| {
        world.nodes[node].store.rows(*table).into_iter().map(|(key, value)| (key, value.to_vec())).collect()
    };
    tables.map(plain).collect()
}

fn devices(world: &World, node: usize) -> Vec<DeviceId> {
    let client = &world.nodes[node].client;
    client.devices(&client.account()).unwrap().iter().map(|device| device.id()).collect()
}

fn device(world: &World, node: usize) -> DeviceId {
    world.nodes[node].client.device()
}

fn begin(world: &mut World, node: usize, offer: &Offer, role: Role) -> Result<(), Error> {
    world.call(node, |client, now, rng| client.link_device(offer, role, now, rng))
}

fn ended(signals: &[Signal]) -> Vec<LinkingError> {
    let error = |signal: &Signal| match signal {
        Signal::LinkEnded(error) => Some(*error),
        _ => None,
    };
    signals.iter().filter_map(error).collect()
}

fn code_shown(signals: &[Signal]) -> Option<LinkingCode> {
    signals.iter().rev().find_map(|signal| match signal {
        Signal::LinkCode(code) => Some(*code),
        _ => None,
    })
}

/// Both show the code.
fn compared(world: &mut World, role: Role) -> Joiner {
    let mut joiner = Joiner::connected(world);
    let offer = joiner.joining.offer().unwrap().clone();
    begin(world, 0, &offer, role).unwrap();
    joiner.run(world);
    assert!(joiner.joining.code().is_some());
    assert_eq!(joiner.joining.code(), world.nodes[0].client.linking_code());
    joiner
}

fn confirm_old(world: &mut World) -> Result<(), Error> {
    world.call(0, |client, now, rng| client.confirm_link(now, rng))
}

fn confirm_new(world: &mut World, joiner: &mut Joiner) -> Result<(), Error> {
    joiner.call(world, |joining, now, rng| joining.confirm(now, rng))
}

// spec ID-70..ID-77
#[test]
fn a_new_device_joins_the_account_through_the_relay() {
    let mut world = World::of(1, &["ann"]);
    let mut joiner = Joiner::connected(&mut world);
    assert!(
        matches!(&joiner.signals[..], [Signal::Online, Signal::LinkOffer(offer)] if Some(&**offer) == joiner.joining.offer())
    );
    let text = joiner.joining.offer().unwrap().to_string();
    begin(&mut world, 0, &text.parse().unwrap(), Role::Linked).unwrap();
    joiner.run(&mut world);
    let code = joiner.joining.code().unwrap();
    assert_eq!(code_shown(&joiner.signals), Some(code));
    assert_eq!(code_shown(&world.nodes[0].signals), Some(code));
    confirm_new(&mut world, &mut joiner).unwrap();
    joiner.run(&mut world);
    assert!(!joiner.joining.is_over() && devices(&world, 0).len() == 1);
    confirm_old(&mut world).unwrap();
    joiner.run(&mut world);
    assert!(joiner.joining.is_over());
    let new = joiner.into_node(&mut world).unwrap();

    assert_eq!(world.account(new), world.account(0));
    assert_eq!(devices(&world, 0), [device(&world, 0), device(&world, new)]);
    assert_eq!(devices(&world, new), devices(&world, 0));
    assert_eq!(world.nodes[new].client.name(), "ann");
    assert_eq!(world.nodes[new].client.relay_url().unwrap(), "ws://relay.example");
    let (account, linked) = (world.account(0), device(&world, new));
    assert!(world.events(0).contains(&Event::DeviceLinked { account, device: linked }));
    assert!(!world.nodes[new].client.devices(&account).unwrap()[1].can(Capability::PRIMARY));

    // spec DEL-59: they have a session before anything is said.
    for (node, peer) in [(0, new), (new, 0)] {
        assert!(world.nodes[node].client.session(&device(&world, peer)).unwrap().is_some());
    }

    // Others find the new list, and everything that the new device offers.
    let slots: Vec<SlotKind> = world.relay.slots.keys().map(|(_, kind)| *kind).collect();
    let count = |kind: SlotKind| slots.iter().filter(|other| **other == kind).count();
    assert_eq!((count(SlotKind::DeviceList), count(SlotKind::InboxAddress)), (1, 2));
    assert_eq!((count(SlotKind::PrekeyBundle), count(SlotKind::KeyPackages)), (2, 2));
    let other = world.add("bob");
    world.connect(other);
    world.befriend(other, 0);
    world.run();
    let seen = world.nodes[other].client.devices(&account).unwrap();
    assert_eq!(seen.iter().map(|device| device.id()).collect::<Vec<_>>(), devices(&world, 0));

    // It is the same after a restart, and its own inbox is the only one left that takes anything.
    world.crash(new);
    world.connect(new);
    world.run();
    assert_eq!(devices(&world, new), devices(&world, 0));
    assert_eq!(world.nodes[0].client.linking_code(), None);
}

// spec ID-75, spec ID-78
#[test]
fn nothing_is_stored_on_either_side_before_both_people_have_said_yes() {
    let mut world = World::of(2, &["ann"]);
    let before = state(&world, 0);
    let mut joiner = compared(&mut world, Role::Linked);
    confirm_old(&mut world).unwrap();
    joiner.run(&mut world);
    assert_eq!(state(&world, 0), before);
    assert_eq!(rows(&joiner.store), 0);
    // A process that ends here has changed nothing, on either side.
    world.crash(0);
    world.connect(0);
    world.run();
    assert_eq!(devices(&world, 0).len(), 1);
    assert_eq!(confirm_old(&mut world), Err(Error::NoLinking));
    confirm_new(&mut world, &mut joiner).unwrap();
    joiner.run(&mut world);
    assert!(!joiner.joining.is_over());
    world.now = world.now.after(LINKING_TIME_MAX).after(Duration::from_millis(1));
    joiner.input(&mut world, Input::Timer).unwrap();
    assert_eq!(ended(&joiner.signals), [LinkingError::Expired]);
    assert_eq!(joiner.joining.into_client().err(), Some(Error::Linking(LinkingError::Expired)));
    assert_eq!(rows(&joiner.store), 0);
}

// spec ID-77
#[test]
fn a_crash_after_the_second_yes_loses_neither_list_nor_grant() {
    let mut world = World::of(3, &["ann"]);
    let mut joiner = compared(&mut world, Role::Linked);
    confirm_new(&mut world, &mut joiner).unwrap();
    // The process dies at the moment at which the batch is durable, and nothing of it is transmitted.
    world.nodes[0].fuse = Some(1);
    world.nodes[0].is_lazy = false;
    joiner.run(&mut world);
    confirm_old(&mut world).unwrap();
    assert!(!world.nodes[0].is_connected, "it died");
    assert_eq!(devices(&world, 0).len(), 2);
    joiner.run(&mut world);
    assert!(!joiner.joining.is_over());
    world.connect(0);
    joiner.run(&mut world);
    let new = joiner.into_node(&mut world).unwrap();
    assert_eq!(devices(&world, new), devices(&world, 0));
}

#[test]
fn lost_connections_cost_nothing() {
    let mut world = World::of(4, &["ann"]);
    let mut joiner = Joiner::connected(&mut world);
    let offer = joiner.joining.offer().unwrap().clone();
    joiner.disconnect(&mut world);
    begin(&mut world, 0, &offer, Role::Linked).unwrap();
    world.disconnect(0);
    joiner.connect(&mut world);
    world.connect(0);
    joiner.run(&mut world);
    let code = joiner.joining.code().unwrap();
    assert_eq!(world.nodes[0].client.linking_code(), Some(code));
    joiner.disconnect(&mut world);
    confirm_new(&mut world, &mut joiner).unwrap();
    world.disconnect(0);
    confirm_old(&mut world).unwrap();
    world.connect(0);
    joiner.connect(&mut world);
    joiner.run(&mut world);
    let new = joiner.into_node(&mut world).unwrap();
    assert_eq!(devices(&world, new), devices(&world, 0));
}

// spec ID-78
#[test]
fn a_no_on_either_side_ends_it_on_both() {
    for says_no in ["old", "new"] {
        let mut world = World::of(5, &["ann"]);
        let before = state(&world, 0);
        let mut joiner = compared(&mut world, Role::Primary);
        if says_no == "old" {
            world.call(0, |client, now, rng| client.cancel_link(now, rng)).unwrap();
        } else {
            joiner.call(&mut world, |joining, now, rng| joining.cancel(now, rng)).unwrap();
        }
        joiner.run(&mut world);
        let declined = LinkingError::Aborted(Abort::Declined);
        assert_eq!(ended(&joiner.signals), [declined]);
        assert_eq!(ended(&world.nodes[0].signals).is_empty(), says_no == "old");
        assert_eq!(confirm_old(&mut world), Err(Error::NoLinking));
        assert_eq!(confirm_new(&mut world, &mut joiner), Err(Error::NoLinking));
        assert_eq!(joiner.joining.into_client().err(), Some(Error::Linking(declined)));
        assert_eq!((state(&world, 0), rows(&joiner.store)), (before, 0));
        // The next one goes well.
        let new = world.link(0, Role::Primary);
        assert_eq!(devices(&world, new).len(), 2);
    }
}

// spec ID-71
#[test]
fn an_offer_is_for_one_linking_and_ten_minutes() {
    let mut world = World::of(6, &["ann", "mallory"]);
    let mut joiner = Joiner::connected(&mut world);
    let offer = joiner.joining.offer().unwrap().clone();
    // Mallory has photographed it and is faster: the new device answers her, and ann's gets no code.
    begin(&mut world, 1, &offer, Role::Linked).unwrap();
    joiner.run(&mut world);
    begin(&mut world, 0, &offer, Role::Linked).unwrap();
    joiner.run(&mut world);
    assert_eq!(world.nodes[0].client.linking_code(), None);
    assert_eq!(begin(&mut world, 0, &offer, Role::Linked), Err(Error::LinkingUnderWay));
    world.call(1, |client, now, rng| client.confirm_link(now, rng)).unwrap();
    joiner.run(&mut world);
    // Without a yes at the new device, Mallory's account is not taken up.
    assert!(!joiner.joining.is_over() && rows(&joiner.store) == 0);
    assert_eq!(devices(&world, 1).len(), 1);
    world.now = world.now.after(LINKING_TIME_MAX).after(Duration::from_millis(1));
    assert_eq!(begin(&mut world, 0, &offer, Role::Linked), Err(Error::Linking(LinkingError::Expired)));
    assert_eq!(ended(&world.nodes[0].signals), [LinkingError::Expired]);
    world.input(1, Input::Timer);
    assert_eq!(ended(&world.nodes[1].signals), [LinkingError::Expired]);
    // A yes that comes too late is none.
    confirm_new(&mut world, &mut joiner).unwrap();
    assert_eq!(joiner.joining.into_client().err(), Some(Error::Linking(LinkingError::Expired)));
}

// spec ID-71: what passes costs time, and nothing else.
#[test]
fn a_busy_relay_delays_a_linking_and_does_not_end_it() {
    let mut world = World::of(16, &["ann"]);
    let mut joiner = Joiner::connected(&mut world);
    let offer = joiner.joining.offer().unwrap().clone();
    let wait = |world: &mut World, joiner: &mut Joiner| {
        for _ in 0..3 {
            world.now = world.now.after(Duration::from_secs(2));
            joiner.input(world, Input::Timer).unwrap();
            joiner.run(world);
        }
    };
    // The opening and the answer to it are refused once, and so are the confirmation and the grant.
    world.relay.busy_for = 2;
    begin(&mut world, 0, &offer, Role::Linked).unwrap();
    wait(&mut world, &mut joiner);
    assert_eq!((world.relay.busy_for, joiner.joining.offer()), (0, None));
    assert!(joiner.signals.contains(&Signal::LinkOfferTaken));
    assert_eq!(joiner.joining.code(), world.nodes[0].client.linking_code());
    assert!(joiner.joining.code().is_some());
    world.relay.busy_for = 2;
    confirm_new(&mut world, &mut joiner).unwrap();
    confirm_old(&mut world).unwrap();
    wait(&mut world, &mut joiner);
    assert_eq!(world.relay.busy_for, 0);
    assert_eq!((joiner.joining.is_over(), devices(&world, 0).len()), (true, 2));
    assert_eq!(ended(&joiner.signals), []);
}

// spec ID-78
#[test]
fn who_runs_out_of_time_tells_the_other() {
    let mut world = World::of(17, &["ann"]);
    let mut joiner = compared(&mut world, Role::Linked);
    // The new device's clock is ahead.
    let now = std::mem::replace(&mut world.now, joiner.timer.unwrap());
    joiner.input(&mut world, Input::Timer).unwrap();
    world.now = now;
    assert!(!joiner.joining.is_settled(), "the last word is on its way");
    joiner.run(&mut world);
    assert!(joiner.joining.is_settled());
    assert_eq!(ended(&joiner.signals), [LinkingError::Expired]);
    assert_eq!(ended(&world.nodes[0].signals), [LinkingError::Aborted(Abort::Failed)]);
    assert_eq!(world.nodes[0].client.linking_code(), None);

    // And the other way round.
    let mut joiner = compared(&mut world, Role::Linked);
    world.now = world.now.after(LINKING_TIME_MAX).after(Duration::from_millis(1));
    world.input(0, Input::Timer);
    world.now = now;
    joiner.run(&mut world);
    assert_eq!(ended(&joiner.signals), [LinkingError::Aborted(Abort::Failed)]);
}

// spec ID-78: nobody waits for ever for the relay to take the last word.
#[test]
fn a_relay_that_falls_silent_holds_nobody_up() {
    let mut world = World::of(18, &["ann"]);
    let mut joiner = compared(&mut world, Role::Linked);
    joiner.call(&mut world, |joining, now, rng| joining.cancel(now, rng)).unwrap();
    assert!(joiner.joining.is_over() && !joiner.joining.is_settled());
    world.now = joiner.timer.unwrap();
    joiner.input(&mut world, Input::Timer).unwrap();
    assert!(joiner.joining.is_settled());

    // Whoever has become a client waits for nothing: its first batch is to be written.
    let mut joiner = compared(&mut world, Role::Linked);
    confirm_new(&mut world, &mut joiner).unwrap();
    confirm_old(&mut world).unwrap();
    while !joiner.joining.is_over() {
        world.run();
        let frame = world.relay.pop(1_000 + world.nodes.len()).unwrap();
        joiner.input(&mut world, Input::Frame(&frame)).unwrap();
    }
    assert!(joiner.joining.is_settled());
}

// spec ID-71: whoever scans late has less time, so that no device is certified that has given up.
#[test]
fn a_linking_ends_with_its_offer() {
    let mut world = World::of(15, &["ann"]);
    let mut joiner = Joiner::connected(&mut world);
    let offer = joiner.joining.offer().unwrap().clone();
    world.now = offer.expires().before(Duration::from_secs(300));
    begin(&mut world, 0, &offer, Role::Linked).unwrap();
    joiner.run(&mut world);
    confirm_new(&mut world, &mut joiner).unwrap();
    joiner.run(&mut world);
    world.now = offer.expires().after(Duration::from_millis(1));
    assert_eq!(confirm_old(&mut world), Err(Error::NoLinking));
    assert_eq!(ended(&world.nodes[0].signals), [LinkingError::Expired]);
    assert_eq!(devices(&world, 0).len(), 1);
}

// spec ID-72
#[test]
fn the_relay_can_replay_garble_and_withhold_and_gets_nothing() {
    for fault in ["garbled", "replayed"] {
        let mut world = World::of(7, &["ann"]);
        let mut joiner = Joiner::connected(&mut world);
        let offer = joiner.joining.offer().unwrap().clone();
        begin(&mut world, 0, &offer, Role::Linked).unwrap();
        let mailbox = offer.mailbox().inbox;
        let log = world.relay.logs.get_mut(&mailbox).unwrap();
        let mut first = log.entries[0].clone();
        first.seq = undertone_wire::id::Seq::from_u64(2);
        if fault == "garbled" {
            let undertone_wire::frame::EntryContent::Payload(payload) = &mut first.content else { panic!() };
            let mut bytes = payload.as_slice().to_vec();
            bytes[99] ^= 1;
            *payload = bytes.into();
        }
        log.entries.push(first);
        joiner.disconnect(&mut world);
        joiner.connect(&mut world);
        joiner.run(&mut world);
        assert_eq!(joiner.joining.code(), world.nodes[0].client.linking_code());
        assert!(joiner.joining.code().is_some(), "{fault}");
    }
}

#[test]
fn what_cannot_be_linked_says_why() {
    let mut world = World::of(8, &["ann"]);
    let joiner = Joiner::connected(&mut world);
    let offer = joiner.joining.offer().unwrap().clone();
    assert_eq!(world.call(0, |client, now, rng| client.confirm_link(now, rng)), Err(Error::NoLinking));
    assert_eq!(world.call(0, |client, now, rng| client.cancel_link(now, rng)), Err(Error::NoLinking));
    world.disconnect(0);
    assert_eq!(begin(&mut world, 0, &offer, Role::Linked), Err(Error::Offline));
    world.connect(0);
    world.run();
    let second = world.link(0, Role::Linked);
    let refused = begin(&mut world, second, &offer, Role::Linked);
    assert_eq!(refused, Err(Error::Identity(IdentityError::NoAccountKey)));
    let again = undertone::engine::Joining::new(world.nodes[0].store.clone(), "ws://relay.example", &mut world.rng);
    assert_eq!(again.err(), Some(Error::AlreadyCreated));
    for _ in 0..14 {
        world.link(0, Role::Linked);
    }
    assert_eq!(devices(&world, 0).len(), 16);
    let refused = begin(&mut world, 0, &offer, Role::Linked);
    assert_eq!(refused, Err(Error::Identity(IdentityError::TooManyDevices)));
}

// spec ID-79, spec ID-66, spec DEL-57
#[test]
fn a_primary_device_gets_the_account_key_when_it_has_shown_that_it_is_there() {
    let mut world = World::of(14, &["ann"]);
    let mut joiner = compared(&mut world, Role::Primary);
    confirm_new(&mut world, &mut joiner).unwrap();
    confirm_old(&mut world).unwrap();
    joiner.run(&mut world);
    let ghost = devices(&world, 0)[1];
    assert!(world.nodes[0].client.devices(&world.account(0)).unwrap()[1].can(Capability::PRIMARY));
    // It is gone before it has written anything. It holds nothing of the account, and so it can be removed.
    drop(joiner);
    world.call(0, |client, now, rng| client.remove_device(&ghost, now, rng)).unwrap();
    world.run();
    assert_eq!(devices(&world, 0).len(), 1);

    // The next one stays: it has the key, signs, and is there for good.
    let tablet = world.link(0, Role::Primary);
    world.run();
    let linked = world.link(tablet, Role::Linked);
    world.run();
    let id = device(&world, tablet);
    let refused = world.call(0, |client, now, rng| client.remove_device(&id, now, rng));
    assert_eq!(refused, Err(Error::Identity(IdentityError::PrimaryDevice)));
    world.crash(tablet);
    world.connect(tablet);
    world.run();
    world
        .call(tablet, |client, now, rng| {
            let gone = client.devices(&client.account()).unwrap()[2].id();
            client.remove_device(&gone, now, rng)
        })
        .unwrap();
    world.run();
    assert!(!devices(&world, tablet).contains(&device(&world, linked)));
}

// spec ID-79, spec ID-80: while a removal waits for the directory, the device that it is about gets no key.
#[test]
fn who_is_to_be_removed_gets_no_account_key_meanwhile() {
    let mut world = World::of(19, &["ann"]);
    let mut joiner = compared(&mut world, Role::Primary);
    confirm_new(&mut world, &mut joiner).unwrap();
    confirm_old(&mut world).unwrap();
    joiner.run(&mut world);
    let unwanted = devices(&world, 0)[1];
    world.disconnect(0);
    world.call(0, |client, now, rng| client.remove_device(&unwanted, now, rng)).unwrap();
    let new = joiner.into_node(&mut world).unwrap();
    // Its heartbeat lies in the inbox of the old device, which reads it before the directory has said anything.
    world.connect(0);
    world.run();
    assert_eq!(devices(&world, 0).len(), 1);
    let us = LocalIdentity::load(&Tx::new(&world.nodes[new].store, &Overlay::default())).unwrap().unwrap();
    assert!(us.account_key().is_none());
}

// spec ID-66, spec ID-68, A-DM-31
#[test]
fn a_removed_device_learns_it_and_so_do_the_others() {
    let mut world = World::of(9, &["ann"]);
    let laptop = world.link(0, Role::Linked);
    let tablet = world.link(0, Role::Primary);
    let (account, removed) = (world.account(0), device(&world, laptop));
    let own = device(&world, 0);
    let remove = |world: &mut World, node: usize, device: DeviceId| {
        world.call(node, |client, now, rng| client.remove_device(&device, now, rng))
    };
    assert_eq!(remove(&mut world, laptop, own), Err(Error::Identity(IdentityError::NoAccountKey)));
    assert_eq!(remove(&mut world, 0, own), Err(Error::Identity(IdentityError::OwnDevice)));
    let primary = device(&world, tablet);
    assert_eq!(remove(&mut world, 0, primary), Err(Error::Identity(IdentityError::PrimaryDevice)));
    remove(&mut world, 0, removed).unwrap();
    assert!(!world.events(0).contains(&Event::DeviceRemoved { account, device: removed }), "the directory decides");
    remove(&mut world, 0, removed).unwrap();
    world.run();
    assert_eq!(remove(&mut world, 0, removed), Err(Error::Identity(IdentityError::UnknownDevice)));
    assert_eq!(devices(&world, 0), [own, primary]);
    assert!(world.events(0).contains(&Event::DeviceRemoved { account, device: removed }));
    for node in [laptop, tablet] {
        world.disconnect(node);
        world.connect(node);
        world.run();
        assert_eq!(devices(&world, node), [own, primary]);
        assert!(world.events(node).contains(&Event::DeviceRemoved { account, device: removed }));
    }
}

// spec ID-68
#[test]
fn a_device_learns_of_another_one_at_its_next_connection_and_once() {
    let mut world = World::of(10, &["ann"]);
    let laptop = world.link(0, Role::Linked);
    world.disconnect(laptop);
    let tablet = world.link(0, Role::Linked);
    assert_eq!(devices(&world, laptop).len(), 2);
    let linked = Event::DeviceLinked { account: world.account(0), device: device(&world, tablet) };
    for _ in 0..2 {
        world.connect(laptop);
        world.run();
        assert_eq!(devices(&world, laptop), devices(&world, 0));
        assert_eq!(world.events(laptop).iter().filter(|event| **event == linked).count(), 1);
        world.disconnect(laptop);
    }
}

// spec ID-61, spec ID-69
#[test]
fn the_list_is_renewed_and_published_while_the_account_is_used() {
    let mut world = World::of(11, &["ann"]);
    let laptop = world.link(0, Role::Linked);
    let version = |world: &World| {
        let slot = world.relay.slots.iter().find(|((_, kind), _)| *kind == SlotKind::DeviceList).unwrap();
        undertone::identity::DeviceList::decode(&slot.1.body).unwrap()
    };
    let reconnect = |world: &mut World, node: usize, now: UnixMs| {
        world.now = now;
        world.relay.now_ms = now.as_u64();
        world.disconnect(node);
        world.connect(node);
        world.run();
    };
    let before = version(&world);
    assert_eq!(before.list_version().as_u64(), 2);
    let due = before.expires().before(LIST_LIFETIME / 2);
    reconnect(&mut world, 0, due.before(DAY));
    assert_eq!(version(&world), before);
    reconnect(&mut world, 0, due.after(DAY));
    let after = version(&world);
    assert_eq!((after.list_version().as_u64(), after.previous()), (3, before.hash()));
    assert!(after.expires() > before.expires());
    reconnect(&mut world, laptop, due.after(2 * DAY));
    assert_eq!(version(&world), after);
    // A relay that has lost the list gets it again.
    world.relay.slots.retain(|(_, kind), _| *kind != SlotKind::DeviceList);
    reconnect(&mut world, 0, due.after(3 * DAY));
    assert_eq!(version(&world), after);
}

// A-RE-11
#[test]
fn the_relay_sees_messages_of_one_size_and_no_name() {
    let mut world = World::of(12, &["a name that is easily found"]);
    let new = world.link(0, Role::Primary);
    let mut lengths = Vec::new();
    for node in [0, new] {
        for request in world.requests(node) {
            let Request::Deposit(deposit) = request else { continue };
            lengths.push(deposit.payload.as_slice().len());
        }
        for frame in &world.nodes[node].frames_sent {
            assert!(!frame.windows(10).any(|window| window == b"a name tha"));
        }
    }
    assert_eq!(lengths, [6_194, 6_162, 6_162, 2_160, 2_736], "opening, reveal, grant, account key; and a heartbeat");
    let client: &Client<MemoryStore> = &world.nodes[new].client;
    assert_eq!(client.name(), "a name that is easily found");
}

// row DM-02
#[test]
fn a_linked_device_talks_in_the_conversations_that_were_there_before() {
    let mut world = World::of(13, &["ann", "bob"]);
    let id = world.befriend(0, 1);
    world.say(0, id, "from the phone");
    world.run();
    let laptop = world.link(0, Role::Linked);
    world.say(1, id, "to both");
    world.run();
    world.say(laptop, id, "from the laptop");
    world.run();
    let late = ["to both", "from the laptop"];
    assert_eq!(world.texts(laptop, id)[world.texts(laptop, id).len() - 2..], late);
    for node in [0, 1] {
        assert_eq!(world.texts(node, id), ["from the phone", "to both", "from the laptop"]);
    }
    // Removed, it hears no more.
    let removed = device(&world, laptop);
    world.call(0, |client, now, rng| client.remove_device(&removed, now, rng)).unwrap();
    world.run();
    world.say(1, id, "without the laptop");
    world.run();
    assert_eq!(world.texts(0, id).len(), 4);
    assert!(!world.texts(laptop, id).contains(&"without the laptop".to_owned()));
}

/// A suspicion of forked lists, or sending that is held, anywhere.
fn doubts(world: &World) -> usize {
    let told = world.nodes.iter().flat_map(sim::Node::told_once);
    told.filter(|event| matches!(event, Event::Suspicion { .. } | Event::SendingHeld { .. })).count()
}

/// How many devices a device knows of its account, and which version its list has.
fn own_list(world: &World, node: usize) -> (usize, u64) {
    let us = LocalIdentity::load(&Tx::new(&world.nodes[node].store, &Overlay::default())).unwrap().unwrap();
    (us.own_devices().devices().len(), us.device_list().list_version().as_u64())
}

/// One person with two primary devices and three more, and another person who talks with them.
fn two_primaries(seed: u64) -> (World, ConversationId, usize, [usize; 3]) {
    let mut world = World::of(seed, &["ann", "bob"]);
    let id = world.befriend(0, 1);
    world.run();
    let second = world.link(0, Role::Primary);
    world.run();
    let others = [(); 3].map(|()| {
        let node = world.enlist(0);
        world.connect(node);
        world.run();
        node
    });
    world.say(second, id, "all here");
    world.run();
    assert_eq!(own_list(&world, second).0, 5);
    (world, id, second, others)
}

// spec ID-80: what one signs on an old list, and what both sign at once, ends in one list.
#[test]
fn two_primary_devices_that_remove_at_once_sign_no_two_lists_of_one_version() {
    let (base, id, second, [third, fourth, fifth]) = two_primaries(60);
    for is_offline in [false, true] {
        let mut world = base.fork(u64::from(is_offline));
        world.connect_all();
        world.run();
        if is_offline {
            world.disconnect(0);
        }
        world.expel(second, third);
        world.expel(0, fourth);
        world.expel(0, fifth);
        if is_offline {
            world.run();
            assert_eq!(
                own_list(&world, 0).0,
                5,
                "nothing is signed, and nothing is told, before the directory is asked"
            );
            assert!(!world.events(0).iter().any(|event| matches!(event, Event::DeviceRemoved { .. })));
            world.crash(0);
            world.connect(0);
        }
        world.run();
        let version = own_list(&base, 0).1;
        for node in [0, second] {
            assert_eq!(own_list(&world, node), (2, version + 3), "offline: {is_offline}, node {node}");
            let told = world.nodes[node].told_once();
            let removed = told.iter().filter(|event| matches!(event, Event::DeviceRemoved { .. })).count();
            assert_eq!(removed, 3, "each is told once");
        }
        assert_eq!(world.nodes[1].client.devices(&world.account(0)).unwrap().len(), 2);
        assert_eq!(doubts(&world), 0);
        let left: Vec<_> = [0, second].iter().map(|node| world.nodes[*node].store.rows(Table::Intents)).collect();
        assert!(left.iter().flatten().all(|(_, row)| row[1] != 9), "no removal is left to be done");
        world.say(0, id, "we two");
        world.run();
        for node in [0, 1, second] {
            assert_eq!(world.texts(node, id).last().unwrap(), "we two");
        }
    }
}

// spec ID-80, ID-61: of two renewals of one list one is taken, and the other device takes it over.
#[test]
fn two_primary_devices_that_renew_at_once_sign_no_two_lists_of_one_version() {
    let (base, id, second, _) = two_primaries(61);
    let version = own_list(&base, 0).1;
    for seed in 0..4 {
        let mut world = base.fork(seed);
        world.now = world.now.after(std::time::Duration::from_secs(60 * 86_400));
        world.relay.now_ms = world.now.as_u64();
        world.connect_all();
        world.run();
        for node in [0, second] {
            assert_eq!(own_list(&world, node), (5, version + 1), "node {node}");
        }
        assert_eq!(doubts(&world), 0);
        world.say(second, id, "still one");
        world.run();
        assert_eq!(world.texts(1, id).last().unwrap(), "still one");
    }
}
