//! Inboxes: tokens, lanes, quotas, and what acknowledging does.

use ed25519_dalek::SigningKey;
use tempfile::tempdir;
use undertone_relay::LaneQuota;
use undertone_wire::VLBytes;
use undertone_wire::chain;
use undertone_wire::frame::*;
use undertone_wire::gate::Right;
use undertone_wire::id::*;
use undertone_wire::refusal::Refusal;

use crate::peer::*;

const KNOCK: InboxToken = InboxToken::from_bytes([1; 32]);
const CONTACT: InboxToken = InboxToken::from_bytes([2; 32]);

fn owner() -> SigningKey {
    SigningKey::from_bytes(&[0x77; 32])
}

fn inbox() -> LogId {
    LogId::of_inbox_key(&public(&owner()))
}

fn open(peer: &Peer, tokens: &[(Lane, InboxToken)]) -> Request {
    let tokens: Vec<LaneToken> =
        tokens.iter().map(|(lane, token)| LaneToken { lane: *lane, token: token.to_hash() }).collect();
    let input = OpenInbox::signature_input(&peer.hello.nonce, &peer.hello.server, &tokens);
    Request::OpenInbox(OpenInbox { owner: public(&owner()), tokens, signature: sign(&owner(), &input) })
}

fn deposit(token: InboxToken, id: u64) -> Request {
    deposit_of(token, id, format!("sealed {id}").into_bytes().into())
}

fn deposit_of(token: InboxToken, id: u64, payload: VLBytes) -> Request {
    Request::Deposit(Deposit { log: inbox(), token, id: entry_id(id), payload })
}

/// The owner, with the inbox open for both lanes and the right to read it.
async fn owning_peer(url: &str) -> Peer {
    let mut peer = Peer::connect(url).await;
    let request = open(&peer, &[(Lane::Knock, KNOCK), (Lane::Contacts, CONTACT)]);
    assert_eq!(peer.ask(request).await, Reply::Done);
    let proofs = vec![peer.proof(inbox(), 0, Right::Read, &owner())];
    assert_eq!(peer.prove(proofs).await[0].verdict, ProofVerdict::Granted);
    peer
}

// spec RELAY-30, RELAY-31, RELAY-32, RELAY-33
#[tokio::test(flavor = "multi_thread")]
async fn a_token_admits_deposits_and_only_the_owner_reads_them() {
    let data = tempdir().unwrap();
    let relay = Running::start(data.path()).await;
    let mut stranger = Peer::connect(&relay.url).await;
    assert_eq!(stranger.ask(deposit(KNOCK, 0)).await, Reply::Refused(Refusal::Unknown));
    let mut peer = owning_peer(&relay.url).await;
    peer.subscribe(inbox(), 1).await;

    let place = places(stranger.ask(deposit(KNOCK, 0)).await)[0];
    assert_eq!((place.seq.as_u64(), place.duplicate), (1, Presence::New));
    let again = places(stranger.ask(deposit(KNOCK, 0)).await)[0];
    assert_eq!((again.seq.as_u64(), again.duplicate), (1, Presence::Duplicate));
    let wrong = InboxToken::from_bytes([3; 32]);
    assert_eq!(stranger.ask(deposit(wrong, 1)).await, Reply::Refused(Refusal::NotProven));
    // Knowing the hash is not knowing the token.
    let hashed = InboxToken::from_bytes(*KNOCK.to_hash().as_bytes());
    assert_eq!(stranger.ask(deposit(hashed, 1)).await, Reply::Refused(Refusal::NotProven));

    let seen = peer.entries_to(inbox(), 1).await;
    assert_eq!(seen[0].content, EntryContent::Payload(b"sealed 0".to_vec().into()));
    assert_eq!((seen[0].class, seen[0].generation), (Class::Control, Generation::FIRST));
    let ack = Request::AckInbox { log: inbox(), through: Seq::FIRST };
    let read = Request::Read { log: inbox(), from: Seq::FIRST, limit: 1 };
    for request in [ack, read] {
        assert_eq!(stranger.ask(request).await, Reply::Refused(Refusal::NotProven));
    }
    let append = peer.proof(inbox(), 0, Right::Append, &owner());
    assert_eq!(peer.prove(vec![append]).await[0].verdict, ProofVerdict::Unknown, "an inbox has no gate");
    relay.stop().await;
}

// spec RELAY-34
#[tokio::test(flavor = "multi_thread")]
async fn opening_again_replaces_the_tokens_and_needs_the_owner_here_and_now() {
    let data = tempdir().unwrap();
    let relay = Running::start(data.path()).await;
    let mut peer = owning_peer(&relay.url).await;
    let mut other = Peer::connect(&relay.url).await;

    let replayed = open(&peer, &[(Lane::Knock, KNOCK)]);
    assert_eq!(other.ask(replayed).await, Reply::Refused(Refusal::BadSignature));
    places(other.ask(deposit(CONTACT, 1)).await);
    let request = open(&peer, &[(Lane::Knock, KNOCK)]);
    assert_eq!(peer.ask(request).await, Reply::Done);
    assert_eq!(other.ask(deposit(CONTACT, 2)).await, Reply::Refused(Refusal::NotProven), "revoked");
    places(other.ask(deposit(KNOCK, 3)).await);
    let Reply::Page { entries } = peer.ask(Request::Read { log: inbox(), from: Seq::FIRST, limit: 9 }).await else {
        panic!("a page")
    };
    assert_eq!(entries.len(), 2, "what was deposited before stays");
    relay.stop().await;
}

// spec RELAY-35; A-FL-04
#[tokio::test(flavor = "multi_thread")]
async fn strangers_fill_their_lane_and_no_other() {
    let data = tempdir().unwrap();
    let relay = Running::start(data.path()).await;
    let _owner = owning_peer(&relay.url).await;
    let mut stranger = Peer::connect(&relay.url).await;
    for id in 0..64 {
        places(stranger.ask(deposit(KNOCK, id)).await);
    }
    let Reply::Refused(Refusal::Quota { retry_after_ms }) = stranger.ask(deposit(KNOCK, 64)).await else {
        panic!("the lane is full")
    };
    assert!((1..=86_400_000).contains(&retry_after_ms));
    assert_eq!(places(stranger.ask(deposit(KNOCK, 3)).await)[0].duplicate, Presence::Duplicate, "costs nothing");
    places(stranger.ask(deposit(CONTACT, 65)).await);
    relay.stop().await;

    let data = tempdir().unwrap();
    let small = LaneQuota { entries_per_d: 10, bytes_per_d: 1_000 };
    let relay = Running::start_with(data.path(), |config| config.retention.knock = small).await;
    let _owner = owning_peer(&relay.url).await;
    let mut stranger = Peer::connect(&relay.url).await;
    places(stranger.ask(deposit_of(KNOCK, 1, vec![0; 900].into())).await);
    let reply = stranger.ask(deposit_of(KNOCK, 2, vec![0; 101].into())).await;
    assert!(matches!(reply, Reply::Refused(Refusal::Quota { .. })), "bytes count too");
    places(stranger.ask(deposit_of(KNOCK, 3, vec![0; 100].into())).await);
    relay.stop().await;
}

// spec RELAY-36
#[tokio::test(flavor = "multi_thread")]
async fn acknowledging_deletes_for_good_and_leaves_the_head() {
    let data = tempdir().unwrap();
    let relay = Running::start(data.path()).await;
    let mut peer = owning_peer(&relay.url).await;
    for id in 0..5 {
        places(peer.ask(deposit(CONTACT, id)).await);
    }
    let read = |from| Request::Read { log: inbox(), from: Seq::from_u64(from), limit: 64 };
    let Reply::Page { entries } = peer.ask(read(1)).await else { panic!("a page") };
    let head = entries[..3].iter().fold(chain::EMPTY, |head, entry| entry.leaf().extend(&head));

    let ack = |through| Request::AckInbox { log: inbox(), through: Seq::from_u64(through) };
    assert_eq!(peer.ask(ack(3)).await, Reply::Done);
    assert_eq!(peer.ask(ack(2)).await, Reply::Done, "again is no error");
    relay.stop().await;

    let relay = Running::start(data.path()).await;
    let mut peer = owning_peer(&relay.url).await;
    let trimmed = Refusal::Trimmed { first_seq: Seq::from_u64(4), head };
    assert_eq!(peer.ask(read(1)).await, Reply::Refused(trimmed.clone()));
    let subscribe = Request::Subscribe { log: inbox(), from: Seq::from_u64(3) };
    assert_eq!(peer.ask(subscribe).await, Reply::Refused(trimmed));
    let Reply::Page { entries: left } = peer.ask(read(4)).await else { panic!("a page") };
    assert_eq!(left, entries[3..]);
    assert_eq!(places(peer.ask(deposit(CONTACT, 0)).await)[0].duplicate, Presence::Duplicate);
    assert_eq!(peer.ask(ack(1 << 40)).await, Reply::Done, "all there is");
    assert_eq!(places(peer.ask(deposit(CONTACT, 9)).await)[0].seq.as_u64(), 6);
    relay.stop().await;
}
