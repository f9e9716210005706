//! A-GR-16: no member's clock decides about a commit (TRAPs 11, 15, 21).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use openmls::prelude::Lifetime;

use super::evil::make;
use super::world::group_of;
use crate::group::leaf;

// spec GRP-04
#[test]
fn the_constant_lifetime_is_valid_at_every_clock() {
    let year = Duration::from_secs(365 * 86_400);
    let now = SystemTime::now();
    for clock in [UNIX_EPOCH, now - 10 * year, now, now + year, now + 10 * year, now + 1_000 * year] {
        leaf::lifetime().validate_with_time(clock).unwrap();
    }
    assert!(Lifetime::new(84 * 86_400).validate_with_time(now + year).is_err(), "the default would lock members out");
}

// spec GRP-04
#[test]
fn every_leaf_and_key_package_carries_it() {
    let peers = group_of(&["ann", "ben", "cem"]);
    make(&peers[0], |provider, group, signer| {
        for (_, leaf) in group.treesync().full_leaves() {
            leaf::check(leaf).unwrap();
        }
        group.create_message(provider, signer, b"").unwrap()
    });
}
