//! The one check, by itself: every role against everything that can be asked; and the one encoding of a policy.

use proptest::prelude::*;

use crate::group::{Asked, CommitView, LeafOwner, Policy, PolicyError, Proposed, Refusal, Role, authorise};
use crate::identity::{AccountId, DeviceId};
use crate::limits::{GROUP_DEVICES_MAX, GROUP_NAME_LEN_MAX, GROUP_ROLES_MAX};

const ROLES: [Role; 5] = [Role::Owner, Role::Admin, Role::Moderator, Role::Member, Role::Observer];
const OWNER: LeafOwner = device(1, 1);
const ACTOR: LeafOwner = device(2, 2);
const OTHER: LeafOwner = device(3, 3);
const NEW: LeafOwner = device(4, 4);

const fn device(account: u8, device: u8) -> LeafOwner {
    LeafOwner { account: AccountId::from_bytes([account; 32]), device: DeviceId::from_bytes([device; 32]) }
}

fn policy(roles: &[(LeafOwner, Role)]) -> Policy {
    let all = Policy::new("Walkers", OWNER.account).unwrap();
    roles.iter().fold(all, |policy, (leaf, role)| policy.with_role(leaf.account, *role).unwrap())
}

fn commit(policy: &Policy, proposals: &[Proposed]) -> CommitView {
    CommitView {
        before: vec![OWNER, ACTOR, OTHER],
        proposals: proposals.to_vec(),
        path: Ok(()),
        policy_after: Ok(policy.clone()),
    }
}

// spec GRP-20, spec GRP-21, spec GRP-22, spec GRP-23
#[test]
fn the_matrix_of_roles() {
    let permitted = |is_permitted: bool| if is_permitted { Ok(()) } else { Err(Refusal::NotPermitted) };
    for role in ROLES {
        let before = policy(&[(ACTOR, role)]);
        let asks = |proposals: &[Proposed]| authorise(&before, Asked::Commit(&commit(&before, proposals)), Some(ACTOR));
        let manages = matches!(role, Role::Owner | Role::Admin);
        assert_eq!(
            authorise(&before, Asked::Message, Some(ACTOR)),
            permitted(role != Role::Observer),
            "{role:?} sends"
        );
        assert_eq!(asks(&[]), Ok(()), "{role:?} renews its keys");
        assert_eq!(asks(&[Proposed::Add(Ok(NEW))]), permitted(manages), "{role:?} adds");
        assert_eq!(asks(&[Proposed::Remove(OTHER)]), permitted(manages), "{role:?} removes");
        assert_eq!(asks(&[Proposed::Add(Ok(device(2, 9)))]), Ok(()), "{role:?} adds a device of its own");
        assert_eq!(asks(&[Proposed::Leave(OTHER)]), Ok(()), "{role:?} commits another's wish to leave");
        assert_eq!(asks(&[Proposed::Leave(ACTOR)]), Err(Refusal::NotPermitted), "{role:?} commits its own");
        assert_eq!(asks(&[Proposed::Other]), Err(Refusal::ProposalType));

        let own = CommitView { before: vec![OWNER, ACTOR, device(2, 9)], ..commit(&before, &[]) };
        let own = CommitView { proposals: vec![Proposed::Remove(device(2, 9))], ..own };
        assert_eq!(
            authorise(&before, Asked::Commit(&own), Some(ACTOR)),
            Ok(()),
            "{role:?} removes a device of its own"
        );

        let members = [OWNER, ACTOR, OTHER];
        let wish = Asked::Leave { members: &members, waiting: &[] };
        assert_eq!(authorise(&before, wish, Some(ACTOR)), Ok(()), "{role:?} leaves");

        for target in ROLES {
            let before = policy(&[(ACTOR, role), (OTHER, target)]);
            let removed = authorise(&before, Asked::Commit(&commit(&before, &[Proposed::Remove(OTHER)])), Some(ACTOR));
            let is_permitted = role == Role::Owner || manages && !target.manages();
            assert_eq!(removed, permitted(is_permitted), "{role:?} removes {target:?}");
            for new in ROLES.into_iter().filter(|new| *new != target) {
                let after = before.clone().with_role(OTHER.account, new).unwrap();
                let changed = authorise(&before, Asked::Commit(&commit(&after, &[Proposed::Context])), Some(ACTOR));
                let is_permitted = role == Role::Owner || manages && !target.manages() && !new.manages();
                assert_eq!(changed, permitted(is_permitted), "{role:?} makes {target:?} {new:?}");
            }
        }
    }
}

// spec GRP-22: power is not smuggled back in with an old role
#[test]
fn an_account_that_comes_back_with_power_is_added_by_an_owner_only() {
    for (role, expected) in [(Role::Owner, Ok(())), (Role::Admin, Err(Refusal::NotPermitted))] {
        let before = policy(&[(ACTOR, role), (NEW, Role::Admin)]);
        let added = commit(&before, &[Proposed::Add(Ok(NEW))]);
        assert_eq!(authorise(&before, Asked::Commit(&added), Some(ACTOR)), expected);
        let joined = Asked::Join { members: &[OWNER, ACTOR, NEW], us: NEW };
        assert_eq!(authorise(&before, joined, Some(ACTOR)), expected);
    }
}

// spec GRP-24
#[test]
fn an_owner_always_remains() {
    let before = policy(&[(ACTOR, Role::Owner)]);
    let both = commit(&before, &[Proposed::Leave(OWNER)]);
    assert_eq!(authorise(&before, Asked::Commit(&both), Some(ACTOR)), Ok(()));
    let before = policy(&[]);
    for proposals in [vec![Proposed::Leave(OWNER)], vec![Proposed::Leave(OTHER), Proposed::Leave(OWNER)]] {
        let gone = commit(&before, &proposals);
        assert_eq!(authorise(&before, Asked::Commit(&gone), Some(ACTOR)), Err(Refusal::NoOwnerLeft));
    }
    let demoted = policy(&[(OWNER, Role::Member)]);
    let commit = commit(&demoted, &[Proposed::Context]);
    assert_eq!(authorise(&before, Asked::Commit(&commit), Some(OWNER)), Err(Refusal::NoOwnerLeft));
}

// spec GRP-24, spec GRP-27
#[test]
fn wishes_to_leave_are_one_per_device_and_leave_an_owner() {
    let policy = policy(&[(ACTOR, Role::Owner)]);
    let members = [OWNER, ACTOR, OTHER];
    let asks = |waiting: &[LeafOwner], sender| authorise(&policy, Asked::Leave { members: &members, waiting }, sender);
    assert_eq!(asks(&[], Some(OWNER)), Ok(()));
    assert_eq!(asks(&[OWNER], Some(OWNER)), Err(Refusal::TooManyProposals));
    assert_eq!(asks(&[OWNER], Some(ACTOR)), Err(Refusal::NoOwnerLeft));
    assert_eq!(asks(&[OWNER], Some(OTHER)), Ok(()));
    assert_eq!(asks(&[], None), Err(Refusal::NotAMember));
}

// spec GRP-28
#[test]
fn a_device_has_one_leaf_and_a_group_has_its_bound() {
    let policy = policy(&[]);
    let twice = commit(&policy, &[Proposed::Add(Ok(OTHER))]);
    assert_eq!(authorise(&policy, Asked::Commit(&twice), Some(OWNER)), Err(Refusal::DuplicateDevice));
    let replaced = commit(&policy, &[Proposed::Remove(OTHER), Proposed::Add(Ok(OTHER))]);
    assert_eq!(authorise(&policy, Asked::Commit(&replaced), Some(OWNER)), Ok(()));

    let id = |n: usize| DeviceId::from_bytes(std::array::from_fn(|i| if i < 2 { n.to_be_bytes()[6 + i] } else { 77 }));
    let mut before: Vec<_> = (0..GROUP_DEVICES_MAX - 1).map(|n| LeafOwner { device: id(n), ..OTHER }).collect();
    before.push(OWNER);
    let full = CommitView { before, ..commit(&policy, &[]) };
    assert_eq!(authorise(&policy, Asked::Commit(&full), Some(OWNER)), Ok(()));
    let over = CommitView { proposals: vec![Proposed::Add(Ok(NEW))], ..full };
    assert_eq!(authorise(&policy, Asked::Commit(&over), Some(OWNER)), Err(Refusal::TooManyDevices));
}

// spec GRP-21: whoever is not in the group decides nothing, and what is wrong with a leaf is the verdict
#[test]
fn strangers_and_bad_leaves_are_refused() {
    let policy = policy(&[]);
    let view = commit(&policy, &[]);
    for stranger in [None, Some(NEW)] {
        assert_eq!(authorise(&policy, Asked::Commit(&view), stranger), Err(Refusal::NotAMember));
    }
    assert_eq!(authorise(&policy, Asked::Message, None), Err(Refusal::NotAMember));
    let stranger = Asked::Join { members: &[OWNER, NEW], us: NEW };
    assert_eq!(authorise(&policy, stranger, Some(OTHER)), Err(Refusal::NotAMember));
    let bad = commit(&policy, &[Proposed::Add(Err(Refusal::BadLeaf))]);
    assert_eq!(authorise(&policy, Asked::Commit(&bad), Some(OWNER)), Err(Refusal::BadLeaf));
    let unseen = CommitView { policy_after: Ok(policy.clone().with_name("x").unwrap()), ..view.clone() };
    assert_eq!(authorise(&policy, Asked::Commit(&unseen), Some(OWNER)), Err(Refusal::BadContext));
    let pathless = CommitView { path: Err(Refusal::NoPath), ..view };
    assert_eq!(authorise(&policy, Asked::Commit(&pathless), Some(OWNER)), Err(Refusal::NoPath));
}

// spec GRP-10
#[test]
fn a_policy_has_one_encoding() {
    let policy = policy(&[(ACTOR, Role::Observer), (OTHER, Role::Member)]);
    let bytes = policy.encode();
    let expected = [&[1, 7][..], b"Walkers", &[0x40, 66], &[1; 32], &[1], &[2; 32], &[5]].concat();
    assert_eq!(bytes, expected);
    assert_eq!(Policy::decode(&bytes), Ok(policy));

    let with = |from: usize, to: usize, new: &[u8]| [&bytes[..from], new, &bytes[to..]].concat();
    let name = [&[1, 0x40, 129][..], &[b'a'; 129], &[0]].concat();
    let default_role = with(bytes.len() - 1, bytes.len(), &[4]);
    let twice = with(44, 76, &[1; 32]);
    let unsorted = with(11, 43, &[9; 32]);
    let cases = [
        (Vec::new(), PolicyError::Malformed),
        (with(0, 1, &[0]), PolicyError::Malformed),
        (with(0, 1, &[2]), PolicyError::UnknownVersion),
        (with(2, 3, &[0xff]), PolicyError::Malformed),
        (with(bytes.len() - 1, bytes.len(), &[6]), PolicyError::Malformed),
        (default_role, PolicyError::Malformed),
        (twice, PolicyError::Malformed),
        (unsorted, PolicyError::Malformed),
        (with(bytes.len(), bytes.len(), &[0]), PolicyError::Malformed),
        (with(bytes.len() - 1, bytes.len(), &[]), PolicyError::Malformed),
        (name, PolicyError::NameTooLong),
    ];
    for (index, (bytes, expected)) in cases.iter().enumerate() {
        assert_eq!(Policy::decode(bytes), Err(*expected), "case {index}");
    }
}

#[test]
fn names_and_roles_have_bounds() {
    assert!(Policy::new(&"n".repeat(GROUP_NAME_LEN_MAX), OWNER.account).is_ok());
    let long = Policy::new(&"n".repeat(GROUP_NAME_LEN_MAX + 1), OWNER.account);
    assert_eq!(long, Err(PolicyError::NameTooLong));
    let account = |n: usize| AccountId::from_bytes(std::array::from_fn(|i| if i < 8 { n.to_be_bytes()[i] } else { 3 }));
    let full = (1..GROUP_ROLES_MAX)
        .try_fold(Policy::new("", account(0)).unwrap(), |policy, n| policy.with_role(account(n), Role::Admin));
    let full = full.unwrap();
    assert_eq!(Policy::decode(&full.encode()).as_ref(), Ok(&full));
    assert_eq!(full.with_role(account(GROUP_ROLES_MAX), Role::Admin), Err(PolicyError::TooManyRoles));
}

proptest! {
    // spec GRP-10
    #[test]
    fn what_decodes_encodes_to_the_same_bytes(
        name in "\\PC{0,30}",
        roles in proptest::collection::btree_map(any::<[u8; 32]>(), 1u8..=5, 0..20),
    ) {
        let mut policy = Policy::new(&name, OWNER.account).unwrap();
        for (account, role) in roles {
            policy = policy.with_role(AccountId::from_bytes(account), ROLES[usize::from(role) - 1]).unwrap();
        }
        prop_assert_eq!(Policy::decode(&policy.encode()), Ok(policy));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(policy) = Policy::decode(&bytes) {
            prop_assert_eq!(policy.encode(), bytes.clone());
        }
        let _ = crate::group::decode_message(&bytes);
        let _ = crate::group::decode_welcome(&bytes);
        let _ = crate::group::verify_key_package(&bytes, crate::time::UnixMs::from_u64(0));
        let framed = |wire_format: u16| [&[0, 1][..], &wire_format.to_be_bytes(), &bytes].concat();
        for wire_format in 0..6 {
            let _ = crate::group::decode_message(&framed(wire_format));
            let _ = crate::group::decode_welcome(&framed(wire_format));
            let _ = crate::group::verify_key_package(&framed(wire_format), crate::time::UnixMs::from_u64(0));
        }
    }
}
