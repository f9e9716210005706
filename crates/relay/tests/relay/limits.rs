//! Floods, bad frames, slow and silent peers, and the routes beside the socket.

use std::time::{Duration, Instant};

use tempfile::tempdir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use undertone_wire::frame::*;
use undertone_wire::gate::Right;
use undertone_wire::id::*;
use undertone_wire::limits::{FRAME_LEN_MAX, SUBSCRIPTIONS_MAX};
use undertone_wire::refusal::Refusal;

use crate::peer::*;

fn host(url: &str) -> &str {
    url.trim_start_matches("ws://").trim_end_matches("/v1/ws")
}

async fn http_get(url: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(host(url)).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: relay\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    response
}

// spec RELAY-60
#[tokio::test(flavor = "multi_thread")]
async fn it_says_whether_it_lives_and_is_ready() {
    let data = tempdir().unwrap();
    let relay = Running::start(data.path()).await;
    assert!(http_get(&relay.url, "/livez").await.starts_with("HTTP/1.1 200"));
    assert!(http_get(&relay.url, "/readyz").await.ends_with("ready\n"));
    assert!(http_get(&relay.url, "/").await.starts_with("HTTP/1.1 404"));
    relay.stop().await;
}

// spec RELAY-04, RELAY-07
#[tokio::test(flavor = "multi_thread")]
async fn a_bad_frame_is_refused_by_its_number_and_changes_nothing() {
    let data = tempdir().unwrap();
    let relay = Running::start(data.path()).await;
    let mut peer = Peer::connect(&relay.url).await;
    let room = Room::new(1);
    let good = ClientFrame { request: RequestId::from_u64(7), body: room.create() }.encode();

    for cut in 9..good.len() {
        peer.send_bytes(good[..cut].to_vec()).await;
        let expected = if cut == 9 { Refusal::Unsupported } else { Refusal::Malformed };
        assert_eq!(peer.reply().await, (RequestId::from_u64(7), Reply::Refused(expected)), "cut at {cut}");
    }
    let mut trailing = good.clone();
    trailing.push(0);
    peer.send_bytes(trailing).await;
    assert_eq!(peer.reply().await.1, Reply::Refused(Refusal::Malformed));
    for kind in [0, 13, 0x7a, 255] {
        let mut unknown = good.clone();
        unknown[9] = kind;
        peer.send_bytes(unknown).await;
        assert_eq!(peer.reply().await.1, Reply::Refused(Refusal::Unsupported), "kind {kind}");
    }
    let proof = peer.proof(room.log, 0, Right::Read, &room.read_key(0));
    assert_eq!(peer.prove(vec![proof]).await[0].verdict, ProofVerdict::Unknown, "nothing was created");
    relay.stop().await;
}

// spec RELAY-08; A-FL-05
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_frame_at_all_ends_the_connection() {
    let data = tempdir().unwrap();
    let relay = Running::start(data.path()).await;
    let no_frames = [
        Message::Text("hello".into()),
        Message::Binary(Vec::new().into()),
        Message::Binary(vec![1, 2, 3].into()),
        Message::Binary(vec![0; 40].into()),
        Message::Binary(vec![2; 40].into()),
        Message::Binary(vec![1; FRAME_LEN_MAX + 1].into()),
    ];
    for message in no_frames {
        let mut peer = Peer::connect(&relay.url).await;
        peer.try_send(message).await;
        assert_eq!(peer.frame().await, None);
    }
    relay.stop().await;
}

// spec RELAY-61; A-FL-04
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_requests_is_refused_for_a_while() {
    let data = tempdir().unwrap();
    let relay = Running::start_with(data.path(), |config| {
        config.limits.requests_per_s = 20;
        config.limits.requests_burst = 5;
    })
    .await;
    let mut peer = Peer::connect(&relay.url).await;
    let unsubscribe = || Request::Unsubscribe { log: Room::new(1).log };
    let mut refused = None;
    for at in 0..10 {
        match peer.ask(unsubscribe()).await {
            Reply::Done => assert!(refused.is_none() || at > 5),
            Reply::Refused(Refusal::RateLimited { retry_after_ms }) => refused = Some(retry_after_ms),
            other => panic!("not {other:?}"),
        }
    }
    let retry_after_ms = refused.expect("ten at once are too many");
    tokio::time::sleep(Duration::from_millis(u64::from(retry_after_ms))).await;
    assert_eq!(peer.ask(unsubscribe()).await, Reply::Done, "and then it recovers");
    let mut other = Peer::connect(&relay.url).await;
    assert_eq!(other.ask(unsubscribe()).await, Reply::Done, "others are not held up");
    relay.stop().await;
}

// spec RELAY-62; A-FL-01
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_has_a_bounded_number_of_subscriptions() {
    let data = tempdir().unwrap();
    let relay = Running::start(data.path()).await;
    let mut peer = Peer::connect(&relay.url).await;
    let subscribe = |log| Request::Subscribe { log, from: Seq::FIRST };
    // Inboxes are cheap to open: one key each.
    let mut logs = Vec::new();
    for at in 0..=SUBSCRIPTIONS_MAX as u64 {
        let mut seed = [9; 32];
        seed[..8].copy_from_slice(&at.to_be_bytes());
        let key = ed25519_dalek::SigningKey::from_bytes(&seed);
        let log = LogId::of_inbox_key(&public(&key));
        let input = OpenInbox::signature_input(&peer.hello.nonce, &peer.hello.server, &[]);
        let open = OpenInbox { owner: public(&key), tokens: vec![], signature: sign(&key, &input) };
        peer.send(Request::OpenInbox(open)).await;
        let proof = peer.proof(log, 0, Right::Read, &key);
        peer.send(Request::Prove { proofs: vec![proof] }).await;
        peer.reply().await;
        peer.reply().await;
        logs.push(log);
    }
    let one_too_many = logs.pop().unwrap();
    for log in &logs {
        assert_eq!(peer.ask(subscribe(*log)).await, Reply::Done);
    }
    assert!(matches!(peer.ask(subscribe(one_too_many)).await, Reply::Refused(Refusal::Quota { .. })));
    assert_eq!(peer.ask(subscribe(logs[0])).await, Reply::Done, "replacing one is not adding one");
    peer.ask(Request::Unsubscribe { log: logs[0] }).await;
    assert_eq!(peer.ask(subscribe(one_too_many)).await, Reply::Done);
    relay.stop().await;
}

// spec RELAY-63; A-FL-03
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reader_that_takes_nothing_holds_up_nobody_and_is_closed() {
    let data = tempdir().unwrap();
    let relay = Running::start_with(data.path(), |config| config.limits.write_timeout_s = 2).await;
    let room = Room::new(1);
    let mut writer = Peer::connect(&relay.url).await;
    writer.ask(room.create()).await;
    writer.enter(&room, 0).await;
    let (mut slow, mut quick) = (Peer::connect(&relay.url).await, Peer::connect(&relay.url).await);
    for peer in [&mut slow, &mut quick] {
        peer.enter(&room, 0).await;
        peer.subscribe(room.log, 1).await;
    }

    let started = Instant::now();
    for at in 0..40 {
        let large = |id| NewEntry { payload: vec![1; 60_000].into(), ..entry(id) };
        places(writer.append(&room, 0, (at * 16..at * 16 + 16).map(large).collect()).await);
    }
    assert_eq!(quick.entries_to(room.log, 640).await.len(), 640);
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    // 38 MB are more than socket buffers hold, so the relay gives up on the slow one.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let closed = async { while slow.frame().await.is_some() {} };
    timeout(Duration::from_secs(20), closed).await.expect("it is closed");
    relay.stop().await;
}

// spec RELAY-64; A-FL-02
#[tokio::test(flavor = "multi_thread")]
async fn silent_half_open_and_surplus_connections_are_closed() {
    let data = tempdir().unwrap();
    let relay = Running::start_with(data.path(), |config| {
        config.limits.connections = 3;
        config.limits.handshake_timeout_s = 1;
        config.limits.ping_interval_s = 1;
    })
    .await;
    // One that answers pings stays; one that sends half a request line, and one that answers nothing, do not.
    let mut lively = Peer::connect(&relay.url).await;
    let mut half_open = TcpStream::connect(host(&relay.url)).await.unwrap();
    half_open.write_all(b"GET /v1").await.unwrap();
    let mut silent = TcpStream::connect(host(&relay.url)).await.unwrap();
    let upgrade = "GET /v1/ws HTTP/1.1\r\nhost: relay\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                   sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    silent.write_all(upgrade.as_bytes()).await.unwrap();
    let mut surplus = TcpStream::connect(host(&relay.url)).await.unwrap();

    let mut rest = Vec::new();
    let closed = timeout(Duration::from_secs(1), surplus.read_to_end(&mut rest)).await;
    assert!(closed.is_ok(), "the fourth of three is closed at once");
    let closed = timeout(Duration::from_secs(3), half_open.read_to_end(&mut rest)).await;
    assert!(closed.is_ok(), "half a request is not waited for");
    let staying = async {
        assert!(lively.is_quiet_for(Duration::from_secs(7)).await);
    };
    let (closed, ()) = tokio::join!(timeout(Duration::from_secs(7), silent.read_to_end(&mut rest)), staying);
    assert!(closed.is_ok(), "who does not answer three pings is gone");
    assert_eq!(lively.ask(Request::Unsubscribe { log: Room::new(1).log }).await, Reply::Done);
    Peer::connect(&relay.url).await;
    relay.stop().await;
}

// spec RELAY-65
#[tokio::test(flavor = "multi_thread")]
async fn stopping_answers_what_is_in_flight_and_says_when_to_come_back() {
    let data = tempdir().unwrap();
    let relay = Running::start(data.path()).await;
    let url = relay.url.clone();
    let room = Room::new(1);
    let mut peer = Peer::connect(&url).await;
    peer.ask(room.create()).await;
    peer.enter(&room, 0).await;
    let idle = Peer::connect(&url).await;
    let started = Instant::now();
    for id in 0..40 {
        peer.send(room.append(0, vec![entry(id)])).await;
    }
    relay.stop().await;
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());

    let (mut acked, mut told) = (0, false);
    while let Some(frame) = peer.frame().await {
        match frame {
            RelayFrame::Reply { reply, .. } => acked += places(reply).len(),
            RelayFrame::Draining { retry_after_ms } => told = retry_after_ms > 0,
            other => panic!("not {other:?}"),
        }
    }
    assert!(told);
    drop(idle);

    let relay = Running::start(data.path()).await;
    let mut peer = Peer::connect(&relay.url).await;
    let proof = peer.proof(room.log, 0, Right::Read, &room.read_key(0));
    let stored = peer.prove(vec![proof]).await[0].last.as_u64();
    assert!(stored >= acked as u64, "{acked} acknowledged, {stored} stored");
    relay.stop().await;
}
