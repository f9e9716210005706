//! The cases: each sets up two worlds, lets them run in turns, and yields rows.
//!
//! A ratio is ours by theirs in the unit of its row: of rates more is better, of times and sizes less.

use std::hint::black_box;

use vodozemac::olm::OlmMessage;

use crate::clock::{Effort, Nanos, contest, solo, time};
use crate::floor::Floor;
use crate::ours::{self, Person};
use crate::peer;
use crate::table::{Metric, Row};

const TEXT: [u8; 100] = [1; 100];

/// Messages that come in reverse order: the peer keeps no more keys than that.
const REVERSED: usize = 40;

/// Seeds of skipped messages that a session keeps at most, in two chains.
const SKIPPED: usize = 2_000;

/// Round trips of one round of ping-pong; all rounds together run through several epochs of the post-quantum ratchet.
const ROUND_TRIPS: usize = 20;

pub(crate) fn all(effort: Effort) -> Vec<Row> {
    let floor = Floor::measure(effort);
    let mut rows = primitives(&floor);
    rows.extend(in_order(effort, &floor));
    rows.extend(ping_pong(effort, &floor));
    rows.extend(handshake(effort, &floor));
    rows.push(reversed(effort));
    rows.push(with_skipped(effort));
    rows.extend(sizes());
    rows
}

fn row(case: &str, metric: Metric, [ours, peer]: [Nanos; 2], floor: Option<Nanos>) -> Row {
    let peer = Some((peer::NAME, metric.of(peer)));
    Row { case: case.to_owned(), metric, ours: metric.of(ours), peer, floor: floor.map(|floor| metric.of(floor)) }
}

/// The floor itself, and what the library makes of it.
fn primitives(floor: &Floor) -> Vec<Row> {
    let alone = |case: &str, nanos: Nanos| Row {
        case: format!("floor: {case}"),
        metric: Metric::Time,
        ours: Metric::Time.of(nanos),
        peer: None,
        floor: Some(Metric::Time.of(nanos)),
    };
    let against = |case: &str, ours: Nanos, name, peer: Nanos| Row {
        peer: Some((name, Metric::Time.of(peer))),
        ..alone(case, ours)
    };
    let mut rows = vec![
        against("ChaCha20-Poly1305, 100 B", floor.aead_ours, "chacha20poly1305 0.11", floor.aead),
        alone("HKDF-SHA256, 32 B", floor.hkdf),
        alone("X25519 agree", floor.agree),
        alone("X25519 keygen", floor.dh_keygen),
        alone("Ed25519 verify", floor.verify),
    ];
    for (at, name) in ["keygen", "encaps", "decaps"].into_iter().enumerate() {
        let case = format!("ML-KEM-768 {name}");
        rows.push(against(&case, floor.kem[at], "ml-kem 0.3", floor.kem_rustcrypto[at]));
        rows.push(against(&case, floor.kem[at], "libcrux-ml-kem 0.0.10", floor.kem_libcrux[at]));
    }
    rows
}

/// One side speaks, the other listens, in one chain.
fn in_order(effort: Effort, floor: &Floor) -> Vec<Row> {
    let count = effort.messages;
    let (mut ours, mut theirs) = (ours::Pair::new(), peer::Pair::new());
    let (alice, bob) = ours::acquainted();

    // What a message cannot do without: two AEADs, and both steps of one HKDF.
    let least = Some(Nanos(2.0 * floor.aead_ours.0 + floor.hkdf.0));
    let encrypt = contest(
        effort,
        count,
        [
            &mut || {
                ours.turn();
                time(|| repeat(count, || ours.alice.seal(&TEXT)))
            },
            &mut || {
                theirs.turn();
                time(|| repeat(count, || theirs.alice.encrypt(TEXT).unwrap()))
            },
        ],
    );
    let (mut ours, mut theirs) = (ours::Pair::new(), peer::Pair::new());
    let decrypt = contest(
        effort,
        count,
        [
            &mut || {
                ours.turn();
                let messages: Vec<_> = (0..count).map(|_| ours.alice.seal(&TEXT)).collect();
                time(|| messages.iter().for_each(|message| drop(black_box(ours.bob.open(message)))))
            },
            &mut || {
                theirs.turn();
                let messages: Vec<_> = (0..count).map(|_| theirs.alice.encrypt(TEXT).unwrap()).collect();
                time(|| messages.iter().for_each(|message| drop(black_box(theirs.bob.decrypt(message).unwrap()))))
            },
        ],
    );
    let encrypt_with_rows = solo(effort, count, || time(|| repeat(count, || alice.seal_with_rows(&bob, &TEXT))));
    let (alice, bob) = ours::acquainted();
    let decrypt_with_rows = solo(effort, count, || {
        let messages: Vec<_> = (0..count).map(|_| alice.seal_with_rows(&bob, &TEXT)).collect();
        time(|| messages.iter().for_each(|message| drop(black_box(bob.open_with_rows(&alice, message)))))
    });
    vec![
        row("encrypt in order, 100 B", Metric::Rate, encrypt, least),
        row("decrypt in order, 100 B", Metric::Rate, decrypt, least),
        row("encrypt in order, 100 B, with rows", Metric::Rate, [encrypt_with_rows, encrypt[1]], least),
        row("decrypt in order, 100 B, with rows", Metric::Rate, [decrypt_with_rows, decrypt[1]], least),
    ]
}

/// A message there and one back: every message turns the ratchet.
fn ping_pong(effort: Effort, floor: &Floor) -> Vec<Row> {
    let (mut ours, mut theirs) = (ours::Pair::new(), peer::Pair::new());
    let mut curve_alone = Floor::round_trip();
    let epoch_before = ours.alice.pq_epoch();
    let [both @ .., curve] = contest(
        effort,
        ROUND_TRIPS,
        [
            &mut || time(|| repeat(ROUND_TRIPS, || ours.turn())),
            &mut || time(|| repeat(ROUND_TRIPS, || theirs.turn())),
            &mut || time(|| repeat(ROUND_TRIPS, &mut curve_alone)),
        ],
    );
    // An epoch of the post-quantum ratchet takes a key, an encapsulation and a decapsulation.
    let epochs = f64::from(ours.alice.pq_epoch() - epoch_before) / (effort.rounds * ROUND_TRIPS) as f64;
    let least = Nanos(curve.0 + floor.sum(0.0, 0.0, 0.0, [epochs; 3]).0);
    let by_floor = Row {
        case: "ping-pong, two messages, against its floor".to_owned(),
        metric: Metric::Time,
        ours: Metric::Time.of(both[0]),
        peer: Some(("4 agreements, 2 DH keys, share of the KEM", Metric::Time.of(least))),
        floor: Some(Metric::Time.of(least)),
    };
    vec![row("ping-pong, two messages", Metric::Time, both, Some(least)), by_floor]
}

/// From a bundle to the first message, and from the first message to its text; ours with rows in a store.
fn handshake(effort: Effort, floor: &Floor) -> Vec<Row> {
    let count = effort.handshakes;
    let mut strangers = peer::Strangers::new();
    let start = contest(
        effort,
        count,
        [
            &mut || {
                let (alice, bob) = (Person::new("Alice"), Person::new("Bob"));
                let (body, items) = bob.publish(count);
                let fresh: Vec<_> = items.iter().map(|item| (alice.snapshot(), item)).collect();
                time(|| fresh.iter().for_each(|(alice, item)| drop(black_box(alice.initiate(&bob, &body, item)))))
            },
            &mut || (0..count).map(|_| time_of(strangers.prepare())).fold(Nanos(0.0), plus),
        ],
    );
    let mut strangers = peer::Strangers::new();
    let first = contest(
        effort,
        count,
        [
            &mut || {
                let (alice, bob) = (Person::new("Alice"), Person::new("Bob"));
                let (body, items) = bob.publish(count);
                let firsts: Vec<_> =
                    items.iter().map(|item| (bob.snapshot(), alice.snapshot().initiate(&bob, &body, item))).collect();
                time(|| firsts.iter().for_each(|(bob, first)| drop(black_box(bob.accept(&alice, first)))))
            },
            &mut || {
                let round = (0..count).map(|_| {
                    let (_, first) = strangers.prepare()();
                    time(|| drop(black_box(strangers.accept(&first))))
                });
                round.fold(Nanos(0.0), plus)
            },
        ],
    );
    // Start: four agreements and the first step, an ephemeral and a ratchet key, two signatures, a KEM answer and a KEM key.
    // First decrypt: the same agreements; the KEM key comes from its seed.
    let least = [floor.sum(5.0, 2.0, 2.0, [1.0, 1.0, 0.0]), floor.sum(5.0, 0.0, 0.0, [1.0, 0.0, 1.0])];
    let (alice, bob) = (Person::new("Alice"), Person::new("Bob"));
    let (body, items) = bob.publish(1);
    let (_, theirs) = peer::Strangers::new().prepare()();
    vec![
        row("session start from a bundle, with rows", Metric::Time, start, Some(least[0])),
        row("first decrypt, with rows", Metric::Time, first, Some(least[1])),
        size("first message, 100 B", alice.initiate(&bob, &body, &items[0]).encode().len(), theirs.to_bytes().len()),
    ]
}

/// The newest first.
fn reversed(effort: Effort) -> Row {
    let (mut ours, mut theirs) = (ours::Pair::new(), peer::Pair::new());
    let both = contest(
        effort,
        REVERSED,
        [
            &mut || {
                ours.turn();
                let messages: Vec<_> = (0..REVERSED).map(|_| ours.alice.seal(&TEXT)).collect();
                time(|| messages.iter().rev().for_each(|message| drop(black_box(ours.bob.open(message)))))
            },
            &mut || {
                theirs.turn();
                let messages: Vec<_> = (0..REVERSED).map(|_| theirs.alice.encrypt(TEXT).unwrap()).collect();
                time(|| messages.iter().rev().for_each(|message| drop(black_box(theirs.bob.decrypt(message).unwrap()))))
            },
        ],
    );
    row("decrypt 40 reversed, each", Metric::Time, both, None)
}

/// Decrypts in order while as many seeds are stored as a session keeps, against the same without.
fn with_skipped(effort: Effort) -> Row {
    let count = effort.messages;
    let mut full = ours::Pair::new();
    for _ in 0..2 {
        let lost = (0..SKIPPED / 2).map(|_| full.alice.seal(&TEXT)).count();
        assert_eq!(lost, SKIPPED / 2);
        full.turn();
    }
    assert_eq!(full.bob.skipped_count(), SKIPPED);
    let mut plain = ours::Pair::new();
    let round = |pair: &mut ours::Pair| {
        let messages: Vec<_> = (0..count).map(|_| pair.alice.seal(&TEXT)).collect();
        time(|| messages.iter().for_each(|message| drop(black_box(pair.bob.open(message)))))
    };
    let [ours, other] = contest(effort, count, [&mut || round(&mut full), &mut || round(&mut plain)]);
    assert_eq!(full.bob.skipped_count(), SKIPPED);
    Row {
        case: "decrypt with 2 000 skipped keys stored".to_owned(),
        metric: Metric::Time,
        ours: Metric::Time.of(ours),
        peer: Some(("undertone, none stored", Metric::Time.of(other))),
        floor: None,
    }
}

/// What travels for a payload of each length. The peer seals it again for each device.
fn sizes() -> Vec<Row> {
    let (mut ours, mut theirs) = (ours::Pair::new(), peer::Pair::new());
    let mut rows = Vec::new();
    for text_len in [10, 100, 1_000, 10_000] {
        let text = vec![1; text_len];
        let message = ours.alice.seal(&text);
        let olm: OlmMessage = theirs.alice.encrypt(&text).unwrap();
        rows.push(size(&format!("{text_len} B, 1 device, ratchet message"), message.len(), peer::len(&olm)));
        for devices in [1, 2, 5] {
            let parcel_len = ours::parcel_len(&mut ours.alice, &text, devices);
            let case =
                format!("{text_len} B, {devices} {}, whole parcel", if devices == 1 { "device" } else { "devices" });
            rows.push(size(&case, parcel_len, peer::len(&olm) * usize::from(devices)));
        }
    }
    rows
}

fn size(case: &str, ours: usize, theirs: usize) -> Row {
    let peer = Some((peer::NAME, theirs as f64));
    Row { case: case.to_owned(), metric: Metric::Size, ours: ours as f64, peer, floor: None }
}

fn repeat<T>(count: usize, mut work: impl FnMut() -> T) {
    (0..count).for_each(|_| drop(black_box(work())));
}

fn time_of<T>(work: impl Fn() -> T) -> Nanos {
    time(|| drop(black_box(work())))
}

fn plus(Nanos(one): Nanos, Nanos(other): Nanos) -> Nanos {
    Nanos(one + other)
}
