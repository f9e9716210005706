//! The life of a group among honest devices, and what thieves, crashes and clocks can do to it.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod group_world;

use std::time::Duration;

use group_world::{AAD, LOG, NOW, Peer, assert_alike, commit_everywhere, group_of};
use undertone::group::{self, GroupError, KeyPackageError, Policy, Processed, Refusal, Role, Standing};
use undertone::limits::{GROUP_ADDS_MAX, KEY_PACKAGE_GRACE, KEY_PACKAGE_VALIDITY};
use undertone::store::Table;
use undertone_wire::id::Generation;

// spec GRP-02
#[test]
fn members_come_talk_and_go_and_the_roster_is_equal() {
    let mut peers = group_of(&["ann", "ben", "cem", "dot"]);
    let mut eve = Peer::new("eve", 50);

    let prepared = peers[0].add(&[eve.key_package()]).unwrap();
    commit_everywhere(&mut peers, 0, &prepared);
    let joined = eve.join(&prepared.welcomes[0].bytes).unwrap();
    assert_eq!(joined.log, LOG);
    assert_eq!(joined.sender.account, peers[0].account());
    assert_eq!(joined.members.len(), 5);
    peers.push(eve);
    assert_alike(&mut peers);

    for author in 0..peers.len() {
        let text = format!("from {author}").into_bytes();
        let message = peers[author].seal(&text).unwrap();
        let account = peers[author].account();
        for (index, peer) in peers.iter_mut().enumerate().filter(|(index, _)| *index != author) {
            let Processed::Application { sender, plaintext } = peer.process(&message).unwrap() else {
                panic!("{index} sees no message");
            };
            assert_eq!((sender.account, plaintext.to_vec()), (account, text.clone()));
        }
    }

    let ben = peers[1].account();
    let prepared = peers[0].remove(ben).unwrap();
    let mut removed = peers.remove(1);
    commit_everywhere(&mut peers, 0, &prepared);
    let Processed::Commit(change) = removed.process(&prepared.commit).unwrap() else { panic!("no commit") };
    assert_eq!(change.standing, Standing::Removed);
    assert_eq!(change.removed, prepared.change.removed);
    assert_eq!(removed.roster(), Err(GroupError::NotAMember));
    assert_alike(&mut peers);

    let proposal = peers[3].step(|tx, us, _| group::leave(tx, us, LOG, AAD)).unwrap();
    for peer in &mut peers[..3] {
        assert!(matches!(peer.process(&proposal).unwrap(), Processed::Proposal { .. }));
    }
    let prepared = peers[1].step(|tx, us, rng| group::commit_pending(tx, us, LOG, AAD, rng)).unwrap();
    let mut left = peers.pop().unwrap();
    commit_everywhere(&mut peers, 1, &prepared);
    let Processed::Commit(change) = left.process(&prepared.commit).unwrap() else { panic!("no commit") };
    assert_eq!(change.standing, Standing::Removed);
    assert_eq!(peers[0].roster().unwrap().len(), 3);
    assert_alike(&mut peers);
    let message = peers[2].seal(b"still here").unwrap();
    assert_eq!(peers[0].opens(&message).unwrap(), b"still here");
}

#[test]
fn a_removed_member_comes_back_with_a_new_key_package() {
    let mut peers = group_of(&["ann", "ben"]);
    let ben = peers[1].account();
    let prepared = peers[0].remove(ben).unwrap();
    commit_everywhere(&mut peers, 0, &prepared);
    let package = peers[1].key_package();
    let prepared = peers[0].add(&[package]).unwrap();
    peers[0].merge();
    peers[1].join(&prepared.welcomes[0].bytes).unwrap();
    assert_alike(&mut peers);
}

// spec GRP-33, A-GR-01
#[test]
fn a_removed_member_with_all_it_ever_held_opens_nothing_later() {
    let mut peers = group_of(&["ann", "ben", "cem"]);
    let cem = peers[2].account();
    let thief = peers[2].copy();
    let prepared = peers[0].remove(cem).unwrap();
    let mut removed = peers.pop().unwrap();
    commit_everywhere(&mut peers, 0, &prepared);
    let later: Vec<_> = (0..20).map(|n: u8| peers[usize::from(n % 2)].seal(&[n]).unwrap()).collect();
    let update = peers[1].step(|tx, us, rng| group::update(tx, us, LOG, AAD, rng)).unwrap();

    removed.process(&prepared.commit).unwrap();
    for message in later.iter().chain([&update.commit]) {
        assert!(thief.copy().process(message).is_err());
        assert!(removed.process(message).is_err());
    }
    // It processes its own removal from the old state, and is still outside.
    let mut replay = thief.copy();
    replay.process(&prepared.commit).unwrap();
    assert!(later.iter().all(|message| replay.process(message).is_err()));
    let old = thief.copy().step(|tx, _, _| group::generation_secret(tx, LOG, Generation::FIRST)).unwrap();
    assert_ne!(old, peers[0].step(|tx, _, _| group::generation_secret(tx, LOG, Generation::FIRST)).unwrap());
}

// spec GRP-33
#[test]
fn nothing_of_the_group_stays_with_a_removed_device() {
    let mut peers = group_of(&["ann", "ben"]);
    let ben = peers[1].account();
    let kept = peers[1].store.rows(Table::Mls).len();
    let prepared = peers[0].remove(ben).unwrap();
    peers[1].process(&prepared.commit).unwrap();
    let left = peers[1].store.rows(Table::Mls);
    // Only the key package of last resort is left; its row is of kind 17 (storage.rs).
    assert!(kept > 5);
    assert_eq!(left.iter().map(|(key, _)| key[0]).collect::<Vec<_>>(), [17]);
}

// A-GR-02
#[test]
fn a_new_member_opens_nothing_earlier() {
    let mut peers = group_of(&["ann", "ben"]);
    let earlier: Vec<_> = (0..20).map(|n: u8| peers[0].seal(&[n]).unwrap()).collect();
    let mut cem = Peer::new("cem", 50);
    let prepared = peers[0].add(&[cem.key_package()]).unwrap();
    commit_everywhere(&mut peers, 0, &prepared);
    cem.join(&prepared.welcomes[0].bytes).unwrap();
    for message in earlier.iter().chain([&prepared.commit]) {
        assert!(matches!(cem.process(message), Err(GroupError::WrongEpoch { .. })));
    }
}

// spec GRP-41: equal for those who agree, another for every epoch and every fork
#[test]
fn the_evidence_of_an_epoch_tells_forks_apart() {
    let mut peers = group_of(&["ann", "ben", "cem"]);
    let before = peers[0].evidence();
    let mut fork = [peers[0].copy(), peers[1].copy()];
    let prepared = peers[0].step(|tx, us, rng| group::update(tx, us, LOG, AAD, rng)).unwrap();
    commit_everywhere(&mut peers, 0, &prepared);
    assert_alike(&mut peers);
    let prepared = fork[1].step(|tx, us, rng| group::update(tx, us, LOG, AAD, rng)).unwrap();
    commit_everywhere(&mut fork, 1, &prepared);
    assert_alike(&mut fork);
    let [ours, theirs] = [peers[0].evidence(), fork[0].evidence()];
    assert!(ours != theirs && ours != before && theirs != before);
    let epoch = |peer: &mut Peer| peer.step(|tx, _, _| group::epoch(tx, LOG)).unwrap().as_u64();
    assert_eq!((epoch(&mut peers[0]), epoch(&mut fork[0])), (2, 2));
}

// A-GR-03
#[test]
fn a_copied_state_opens_nothing_once_its_device_has_committed() {
    let mut peers = group_of(&["ann", "ben", "cem"]);
    let thief = peers[1].copy();
    let prepared = peers[1].step(|tx, us, rng| group::update(tx, us, LOG, AAD, rng)).unwrap();
    commit_everywhere(&mut peers, 1, &prepared);
    let message = peers[0].seal(b"healed").unwrap();
    let mut copy = thief.copy();
    assert!(copy.process(&prepared.commit).is_err());
    assert!(copy.process(&message).is_err());
}

// A-GR-04
#[test]
fn a_dumped_state_opens_no_message_that_was_opened_before() {
    let mut peers = group_of(&["ann", "ben"]);
    let earlier: Vec<_> = (0..20).map(|n: u8| peers[0].seal(&[n]).unwrap()).collect();
    for message in &earlier {
        peers[1].process(message).unwrap();
    }
    let mut thief = peers[1].copy();
    assert!(earlier.iter().all(|message| thief.process(message).unwrap_err() == GroupError::Authentication));
    // The sender cannot open its own either.
    let mut thief = peers[0].copy();
    assert!(earlier.iter().all(|message| thief.process(message).unwrap_err() == GroupError::OwnMessage));
}

// spec GRP-32: TRAP 5, a second delivery
#[test]
fn a_second_delivery_is_refused_and_changes_nothing() {
    let mut peers = group_of(&["ann", "ben"]);
    let message = peers[0].seal(b"once").unwrap();
    peers[1].process(&message).unwrap();
    let before = peers[1].state();
    assert_eq!(peers[1].process(&message).unwrap_err(), GroupError::Authentication);
    assert_eq!(peers[1].state(), before);

    let prepared = peers[0].step(|tx, us, rng| group::update(tx, us, LOG, AAD, rng)).unwrap();
    commit_everywhere(&mut peers, 0, &prepared);
    assert!(matches!(peers[1].process(&prepared.commit), Err(GroupError::WrongEpoch { .. })));
    assert!(matches!(peers[0].process(&prepared.commit), Err(GroupError::WrongEpoch { .. })));
}

// spec GRP-32
#[test]
fn what_does_not_open_leaves_the_state_byte_for_byte_and_burns_no_key() {
    let mut peers = group_of(&["ann", "ben", "cem"]);
    let message = peers[0].seal(b"whole").unwrap();
    let commit = peers[0].step(|tx, us, rng| group::update(tx, us, LOG, AAD, rng)).unwrap().commit;
    let before = peers[1].state();
    for bytes in [&message, &commit] {
        for at in (0..bytes.len()).step_by(7) {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(peers[1].process(&changed).is_err(), "byte {at}");
        }
        assert!(peers[1].process(&bytes[..bytes.len() - 1]).is_err());
        let longer = [bytes.as_slice(), &[0]].concat();
        assert_eq!(peers[1].process(&longer).unwrap_err(), GroupError::Malformed);
    }
    assert_eq!(peers[1].state(), before);
    assert_eq!(peers[1].opens(&message).unwrap(), b"whole");
    assert!(matches!(peers[1].process(&commit).unwrap(), Processed::Commit(_)));
}

// spec GRP-31: TRAP 13, the associated data is compared, for every kind of message
#[test]
fn a_message_under_other_associated_data_is_refused() {
    let mut peers = group_of(&["ann", "ben", "cem"]);
    let message = peers[0].seal(b"here").unwrap();
    let proposal = peers[2].step(|tx, us, _| group::leave(tx, us, LOG, AAD)).unwrap();
    let prepared = peers[0].step(|tx, us, rng| group::update(tx, us, LOG, AAD, rng)).unwrap();
    for bytes in [&message, &proposal, &prepared.commit] {
        let before = peers[1].state();
        let refused = peers[1].step(|tx, _, _| group::process(tx, LOG, b"elsewhere", bytes));
        assert_eq!(refused.unwrap_err(), GroupError::Authentication);
        assert_eq!(peers[1].state(), before);
    }
    // A second message begins with no associated data left over from the first.
    let bare = peers[0].step(|tx, us, rng| group::seal(tx, us, LOG, b"", b"bare", rng)).unwrap();
    assert!(peers[1].step(|tx, _, _| group::process(tx, LOG, b"", &bare)).is_ok());
}

// spec GRP-40
#[test]
fn the_secret_of_the_next_generation_is_known_before_the_commit_is_merged() {
    let mut peers = group_of(&["ann", "ben"]);
    let next = Generation::FIRST.next();
    let now = peers[0].step(|tx, _, _| group::generation_secret(tx, LOG, next)).unwrap();
    let nothing = peers[0].step(|tx, _, _| group::pending_generation_secret(tx, LOG, next));
    assert_eq!(nothing.unwrap_err(), GroupError::NoPendingCommit);

    let prepared = peers[0].step(|tx, us, rng| group::update(tx, us, LOG, AAD, rng)).unwrap();
    let pending = peers[0].step(|tx, _, _| group::pending_generation_secret(tx, LOG, next)).unwrap();
    commit_everywhere(&mut peers, 0, &prepared);
    assert_ne!(pending, now);
    for peer in &mut peers {
        assert_eq!(peer.step(|tx, _, _| group::generation_secret(tx, LOG, next)).unwrap(), pending);
        assert_ne!(peer.step(|tx, _, _| group::generation_secret(tx, LOG, next.next())).unwrap(), pending);
    }
}

// spec GRP-30: TRAP 3, a pending commit survives a restart and blocks the next one only
#[test]
fn a_pending_commit_survives_a_restart_and_the_loser_follows_the_winner() {
    let mut peers = group_of(&["ann", "ben", "cem"]);
    let lost = peers[1].step(|tx, us, rng| group::update(tx, us, LOG, AAD, rng)).unwrap();
    peers[1] = peers[1].copy();
    assert!(peers[1].step(|tx, _, _| group::has_pending_commit(tx, LOG)).unwrap());
    let second = peers[1].step(|tx, us, rng| group::update(tx, us, LOG, AAD, rng));
    assert_eq!(second.unwrap_err(), GroupError::PendingCommit);
    assert!(peers[1].seal(b"still sending").is_ok());

    let won = peers[0].step(|tx, us, rng| group::update(tx, us, LOG, AAD, rng)).unwrap();
    peers[0].merge();
    peers[1].process(&won.commit).unwrap();
    peers[2].process(&won.commit).unwrap();
    assert!(!peers[1].step(|tx, _, _| group::has_pending_commit(tx, LOG)).unwrap());
    assert_alike(&mut peers);
    assert!(matches!(peers[2].process(&lost.commit), Err(GroupError::WrongEpoch { .. })));

    peers[1].step(|tx, us, rng| group::update(tx, us, LOG, AAD, rng)).unwrap();
    peers[1].step(|tx, _, _| group::discard_pending(tx, LOG)).unwrap();
    assert!(!peers[1].step(|tx, _, _| group::has_pending_commit(tx, LOG)).unwrap());
    assert_alike(&mut peers);
}

// spec GRP-30: TRAP 2, our own bytes that come back are known by their entry id
#[test]
fn our_own_messages_are_not_processed() {
    let mut peers = group_of(&["ann", "ben"]);
    let message = peers[0].seal(b"mine").unwrap();
    assert_eq!(peers[0].process(&message).unwrap_err(), GroupError::OwnMessage);
    let prepared = peers[0].step(|tx, us, rng| group::update(tx, us, LOG, AAD, rng)).unwrap();
    assert_eq!(peers[0].process(&prepared.commit).unwrap_err(), GroupError::OwnMessage);
    assert_eq!(peers[0].merge(), prepared.change);
}

// spec GRP-32: TRAPs 1 and 8, a crash between any two calls
#[test]
fn a_crash_before_the_batch_is_durable_costs_nothing() {
    let mut peers = group_of(&["ann", "ben", "cem"]);
    let mut cem = peers.pop().unwrap();
    let mut dot = Peer::new("dot", 60);
    let package = dot.key_package();
    let message = peers[0].seal(b"before").unwrap();
    let prepared = peers[0].add(&[package]).unwrap();

    for bytes in [&message, &prepared.commit] {
        // The step ran and its batch was lost, as often as it likes; then it runs once more.
        for _ in 0..3 {
            cem.copy().process(bytes).unwrap();
        }
        cem.process(bytes).unwrap();
        cem = cem.copy();
    }
    for _ in 0..3 {
        let mut crashed = peers[0].copy();
        crashed.merge();
        dot.copy().join(&prepared.welcomes[0].bytes).unwrap();
    }
    peers[0].merge();
    peers[1].process(&message).unwrap();
    peers[1].process(&prepared.commit).unwrap();
    dot.join(&prepared.welcomes[0].bytes).unwrap();
    peers.extend([cem, dot]);
    assert_alike(&mut peers);
}

// spec GRP-06, TRAP 6: windows far wider than the defaults
#[test]
fn messages_out_of_order_and_after_a_gap_are_opened() {
    let mut peers = group_of(&["ann", "ben"]);
    let messages: Vec<_> = (0..200u8).map(|n| peers[0].seal(&[n]).unwrap()).collect();
    assert_eq!(peers[1].opens(&messages[199]).unwrap(), [199]);
    for n in (136..199u8).rev() {
        assert_eq!(peers[1].opens(&messages[usize::from(n)]).unwrap(), [n]);
    }
    assert!(peers[1].opens(&messages[0]).is_none(), "the window has an end");
}

// spec GRP-07, A-GR-13
#[test]
fn a_one_time_key_package_is_used_once_and_the_last_resort_again() {
    let mut peers = group_of(&["ann", "ben"]);
    let mut cem = Peer::new("cem", 50);
    let published = cem.step(|tx, us, rng| group::key_packages(tx, us, 1, NOW, rng)).unwrap();
    let once = group::verify_key_package(&published.items[0], NOW).unwrap();
    let last = group::verify_key_package(&published.body, NOW).unwrap();
    assert!(!once.is_last_resort() && last.is_last_resort());

    for (package, is_joined) in [(&once, true), (&once, false), (&last, true), (&last, true)] {
        let prepared = peers[0].add(std::slice::from_ref(package)).unwrap();
        commit_everywhere(&mut peers, 0, &prepared);
        let joined = cem.join(&prepared.welcomes[0].bytes);
        assert_eq!(joined.is_ok(), is_joined);
        if !is_joined {
            assert_eq!(joined.unwrap_err(), GroupError::NoKeyPackage);
        }
        let prepared = peers[0].remove(cem.account()).unwrap();
        commit_everywhere(&mut peers, 0, &prepared);
        let _ = cem.process(&prepared.commit);
    }
}

// spec GRP-05, A-GR-13
#[test]
fn a_key_package_is_used_within_its_validity_only() {
    let mut ben = Peer::new("ben", 2);
    let published = ben.step(|tx, us, rng| group::key_packages(tx, us, 2, NOW, rng)).unwrap();
    assert_eq!((published.version, published.items.len()), (1, 2));
    let at = |now| group::verify_key_package(&published.items[0], now).map(|package| package.owner().account);
    assert_eq!(at(NOW), Ok(ben.account()));
    assert_eq!(at(NOW.after(KEY_PACKAGE_VALIDITY)), Ok(ben.account()));
    let late = NOW.after(KEY_PACKAGE_VALIDITY + Duration::from_millis(1));
    assert_eq!(at(late), Err(KeyPackageError::Expired.into()));
    let early = NOW.before(Duration::from_secs(2 * 86_400));
    assert_eq!(at(early), Err(KeyPackageError::NotYetValid.into()));

    for end in 0..published.items[0].len() {
        let cut = group::verify_key_package(&published.items[0][..end], NOW);
        assert_eq!(cut.unwrap_err(), KeyPackageError::Malformed.into());
    }
    for at in 0..published.items[0].len() {
        let mut changed = published.items[0].clone();
        changed[at] ^= 1;
        assert!(group::verify_key_package(&changed, NOW).is_err(), "byte {at}");
    }
}

// spec GRP-07
#[test]
fn key_packages_that_expired_long_ago_are_forgotten() {
    let mut ben = Peer::new("ben", 2);
    ben.step(|tx, us, rng| group::key_packages(tx, us, 3, NOW, rng)).unwrap();
    assert_eq!(ben.store.rows(Table::Mls).len(), 4);
    let later = NOW.after(KEY_PACKAGE_VALIDITY);
    ben.step(|tx, us, rng| group::key_packages(tx, us, 3, later, rng)).unwrap();
    assert_eq!(ben.store.rows(Table::Mls).len(), 8);
    let later = later.after(KEY_PACKAGE_GRACE + Duration::from_secs(1));
    let published = ben.step(|tx, us, rng| group::key_packages(tx, us, 3, later, rng)).unwrap();
    assert_eq!(ben.store.rows(Table::Mls).len(), 8);
    assert_eq!(published.version, 3);
}

// spec GRP-24, A-GR-08
#[test]
fn the_last_owner_neither_leaves_nor_steps_down_before_another_owns() {
    let mut peers = group_of(&["ann", "ben", "cem"]);
    let (ann, ben) = (peers[0].account(), peers[1].account());
    let leave = |peer: &mut Peer| peer.step(|tx, us, _| group::leave(tx, us, LOG, AAD));
    let no_owner = GroupError::Forbidden { refusal: Refusal::NoOwnerLeft };
    assert_eq!(leave(&mut peers[0]).unwrap_err(), no_owner);
    let demoted = peers[0].policy().with_role(ann, Role::Member).unwrap();
    assert_eq!(peers[0].set_policy(&demoted).unwrap_err(), no_owner);

    let shared = peers[0].policy().with_role(ben, Role::Owner).unwrap();
    let prepared = peers[0].set_policy(&shared).unwrap();
    commit_everywhere(&mut peers, 0, &prepared);
    // Both owners ask at once: the first may, the second may not, and all members say so.
    let first = leave(&mut peers[0]).unwrap();
    let second = leave(&mut peers[1]).unwrap();
    peers[1].step(|tx, us, _| group::leave(tx, us, LOG, AAD)).unwrap_err();
    peers[2].process(&first).unwrap();
    assert_eq!(peers[2].process(&second).unwrap_err(), no_owner);
}

// A-GR-15, TRAP 4
#[test]
fn wishes_to_leave_do_not_silence_the_others() {
    let mut peers = group_of(&["ann", "ben", "cem", "dot"]);
    let copies: Vec<_> = (0..5)
        .map(|n: u8| peers[3].copy().step(|tx, us, _| group::leave(tx, us, LOG, &[n])).map(|bytes| (n, bytes)).unwrap())
        .collect();
    let mut stored = 0;
    for (n, bytes) in &copies {
        stored += usize::from(peers[0].step(|tx, _, _| group::process(tx, LOG, &[*n], bytes)).is_ok());
    }
    assert_eq!(stored, 1, "one wish per member");
    assert!(peers[0].step(|tx, _, _| group::has_pending_proposals(tx, LOG)).unwrap());
    assert_eq!(peers[0].seal(b"first").unwrap_err(), GroupError::PendingProposals);
    let prepared = peers[0].step(|tx, us, rng| group::commit_pending(tx, us, LOG, AAD, rng)).unwrap();
    assert_eq!(prepared.change.removed.len(), 1);
    peers[0].merge();
    assert!(!peers[0].step(|tx, _, _| group::has_pending_proposals(tx, LOG)).unwrap());
    assert!(peers[0].seal(b"second").is_ok());
}

// spec GRP-20
#[test]
fn observers_read_and_send_nothing_and_may_still_renew_their_keys_and_leave() {
    let mut peers = group_of(&["ann", "ben"]);
    let quiet = peers[0].policy().with_role(peers[1].account(), Role::Observer).unwrap();
    let prepared = peers[0].set_policy(&quiet).unwrap();
    assert!(prepared.change.policy.is_some());
    commit_everywhere(&mut peers, 0, &prepared);
    let refusal = GroupError::Forbidden { refusal: Refusal::NotPermitted };
    assert_eq!(peers[1].seal(b"psst").unwrap_err(), refusal);
    let message = peers[0].seal(b"hear").unwrap();
    assert_eq!(peers[1].opens(&message).unwrap(), b"hear");
    let prepared = peers[1].step(|tx, us, rng| group::update(tx, us, LOG, AAD, rng)).unwrap();
    commit_everywhere(&mut peers, 1, &prepared);
    assert!(peers[1].step(|tx, us, _| group::leave(tx, us, LOG, AAD)).is_ok());
}

// spec GRP-22
#[test]
fn a_member_prepares_nothing_that_its_role_forbids() {
    let mut peers = group_of(&["ann", "ben", "cem"]);
    let refusal = GroupError::Forbidden { refusal: Refusal::NotPermitted };
    let mut dot = Peer::new("dot", 50);
    let package = dot.key_package();
    assert_eq!(peers[1].add(&[package]).unwrap_err(), refusal);
    let cem = peers[2].account();
    assert_eq!(peers[1].remove(cem).unwrap_err(), refusal);
    let renamed = peers[1].policy().with_name("Ben's").unwrap();
    assert_eq!(peers[1].set_policy(&renamed).unwrap_err(), refusal);
    assert!(!peers[1].step(|tx, _, _| group::has_pending_commit(tx, LOG)).unwrap());
    let own = peers[1].account();
    assert_eq!(peers[1].remove(own).unwrap_err(), GroupError::NoTarget);
    assert_eq!(peers[0].remove(dot.account()).unwrap_err(), GroupError::NoTarget);
}

// spec GRP-34
#[test]
fn every_new_device_gets_a_welcome_with_its_own_secrets_only() {
    let mut ann = Peer::new("ann", 1);
    ann.create();
    let mut others: Vec<_> = (10..13).map(|seed| Peer::new("other", seed)).collect();
    let packages: Vec<_> = others.iter_mut().map(Peer::key_package).collect();
    let prepared = ann.add(&packages).unwrap();
    ann.merge();
    for (index, peer) in others.iter_mut().enumerate() {
        for (other, welcome) in prepared.welcomes.iter().enumerate().filter(|(other, _)| *other != index) {
            assert_eq!(peer.join(&welcome.bytes).unwrap_err(), GroupError::NoKeyPackage, "{other}");
        }
        assert_eq!(prepared.welcomes[index].to.account, peer.account());
        peer.join(&prepared.welcomes[index].bytes).unwrap();
        assert_eq!(peer.join(&prepared.welcomes[index].bytes).unwrap_err(), GroupError::NoKeyPackage);
    }
}

// spec GRP-28
#[test]
fn one_commit_adds_no_more_than_its_bound() {
    let mut ann = Peer::new("ann", 1);
    ann.create();
    let package = Peer::new("ben", 2).key_package();
    let packages = vec![package; GROUP_ADDS_MAX + 1];
    assert_eq!(ann.add(&packages).unwrap_err(), GroupError::Forbidden { refusal: Refusal::TooManyAdds });
    assert_eq!(ann.add(&[]).unwrap_err(), GroupError::NoTarget);
}

#[test]
fn a_group_is_created_once_and_by_an_owner() {
    let mut ann = Peer::new("ann", 1);
    let ben = Peer::new("ben", 2);
    let foreign = Policy::new("Walkers", ben.account()).unwrap();
    let created = ann.step(|tx, us, rng| group::create(tx, us, LOG, &foreign, rng));
    assert_eq!(created.unwrap_err(), GroupError::Forbidden { refusal: Refusal::NoOwnerLeft });
    ann.create();
    let policy = Policy::new("Walkers", ann.account()).unwrap();
    let created = ann.step(|tx, us, rng| group::create(tx, us, LOG, &policy, rng));
    assert_eq!(created.unwrap_err(), GroupError::AlreadyAMember);
}
