//! Direct bodies and turn bodies: their bytes, their one encoding, and the bounds of what they address.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use undertone::envelope::direct::WRAPS_MAX;
use undertone::envelope::{
    Commitment, DecodeError, DevicePlace, DirectBody, DirectForm, DirectWrap, Fanout, ListName, NamedLists, Side,
    TurnBody,
};
use undertone::identity::{AccountId, DEVICE_LIST_LEN_MAX, DEVICES_MAX, DeviceListHash, ListVersion};

/// Where the form stands: behind the version, two named lists and the sender.
const FORM_AT: usize = 1 + 2 * 40 + 3;

// spec ENV-36
#[test]
fn both_sides_name_a_side_alike() {
    let (low, high) = (AccountId::from_bytes([1; 32]), AccountId::from_bytes([2; 32]));
    assert_eq!((Side::of(&low, &high), Side::of(&high, &low)), (Side::Lower, Side::Higher));
    assert_eq!(Side::of(&low, &low), Side::Lower);
    assert_eq!((Side::Lower.other(), Side::Higher.other()), (Side::Higher, Side::Lower));
}

// spec ENV-37, spec ENV-80
#[test]
fn a_direct_body_has_the_bytes_of_the_spec_and_refuses_unknown_forms() {
    let lists = [&[0, 0, 0, 0, 0, 0, 0, 3][..], &[0xa; 32], &[0, 0, 0, 0, 0, 0, 0, 4], &[0xb; 32]].concat();
    let sender = [1, 0, 2];
    let inline = [&[1][..], &lists, &sender, &[1, 0, 0, 0, 0, 1, 7]].concat();
    let body = body(place(Side::Higher, 2), DirectForm::Inline(wrap(place(Side::Lower, 0), &[], &[7])));
    assert_eq!(body.encode(), inline);
    assert_eq!(DirectBody::decode(&inline), Ok(body));
    let wraps = [[0, 0, 0, 0, 1, 7], [1, 0, 0, 0, 1, 8]].concat();
    let fanout = [&[1][..], &lists, &sender, &[2], &[0xc; 32], &[12], &wraps, &[2, 9, 9]].concat();
    let two = vec![wrap(place(Side::Lower, 0), &[], &[7]), wrap(place(Side::Higher, 0), &[], &[8])];
    let body = fanned(two, vec![9, 9]);
    assert_eq!(body.encode(), fanout);
    assert_eq!(DirectBody::decode(&fanout), Ok(body));
    for (index, kind) in [(FORM_AT, 0), (FORM_AT, 3), (FORM_AT - 3, 2), (FORM_AT + 1, 9)] {
        let mut changed = inline.clone();
        changed[index] = kind;
        assert_eq!(DirectBody::decode(&changed), Err(DecodeError::Kind { kind: kind.into() }), "at {index}");
    }
    refuses_damage(&inline, |bytes| DirectBody::decode(bytes).map(|body| body.encode()));
    refuses_damage(&fanout, |bytes| DirectBody::decode(bytes).map(|body| body.encode()));
}

// spec ENV-81
#[test]
fn one_recipient_has_one_form() {
    let one = vec![wrap(place(Side::Lower, 0), &[], &[7])];
    assert_eq!(decoded(&fanned(one, vec![9])), Err(DecodeError::Range { field: "wraps" }));
    // A turn may be for nobody: all other devices are new.
    let nobody = fanned(Vec::new(), vec![9]);
    assert_eq!(decoded(&nobody), Ok(nobody));
}

// spec ENV-82
#[test]
fn a_wrap_is_for_one_device_each_in_order_and_not_for_the_sender() {
    let sender = place(Side::Higher, 2);
    let wraps = |places: &[DevicePlace]| fanned(places.iter().map(|at| wrap(*at, &[], &[7])).collect(), vec![9]);
    let (low, high) = (place(Side::Lower, 1), place(Side::Higher, 1));
    assert!(decoded(&wraps(&[low, high])).is_ok());
    assert_eq!(decoded(&wraps(&[high, low])), Err(DecodeError::Range { field: "wraps" }));
    assert_eq!(decoded(&wraps(&[low, low])), Err(DecodeError::Range { field: "wraps" }), "one device twice");
    assert_eq!(decoded(&wraps(&[low, sender])), Err(DecodeError::Range { field: "recipient" }));
    let to_itself = body(sender, DirectForm::Inline(wrap(sender, &[], &[7])));
    assert_eq!(decoded(&to_itself), Err(DecodeError::Range { field: "recipient" }));
}

// spec ENV-83
#[test]
fn places_and_wraps_stay_below_their_bounds() {
    let all: Vec<DevicePlace> = [Side::Lower, Side::Higher]
        .into_iter()
        .flat_map(|side| (0..DEVICES_MAX as u16).map(move |index| place(side, index)))
        .filter(|at| *at != place(Side::Higher, 2))
        .collect();
    assert_eq!(all.len(), WRAPS_MAX);
    let full = fanned(all.iter().map(|at| wrap(*at, &[], &[7])).collect(), vec![9]);
    assert_eq!(decoded(&full), Ok(full.clone()));
    let too_far = place(Side::Lower, DEVICES_MAX as u16);
    for wrong in [
        body(too_far, DirectForm::Inline(wrap(place(Side::Lower, 0), &[], &[7]))),
        body(place(Side::Lower, 0), DirectForm::Inline(wrap(too_far, &[], &[7]))),
    ] {
        assert_eq!(decoded(&wrong), Err(DecodeError::Range { field: "place" }));
    }
}

// spec ENV-84
#[test]
fn a_list_that_cannot_be_named_is_refused() {
    for (version, hash) in [(0, [1; 32]), ((1 << 53) + 1, [1; 32]), (1, [0; 32])] {
        let name = ListName { version: ListVersion::from_u64(version), hash: DeviceListHash::from_bytes(hash) };
        for lists in [NamedLists { lower: name, ..lists() }, NamedLists { higher: name, ..lists() }] {
            let form = DirectForm::Inline(wrap(place(Side::Lower, 0), &[], &[7]));
            let wrong = DirectBody { lists, sender: place(Side::Higher, 2), form };
            assert_eq!(decoded(&wrong), Err(DecodeError::Range { field: "list" }));
        }
    }
}

// spec ENV-85
#[test]
fn a_turn_body_carries_lists_in_front_of_a_direct_body() {
    let direct = body(place(Side::Higher, 2), DirectForm::Inline(wrap(place(Side::Lower, 0), &[], &[7])));
    let turn = TurnBody::new(Vec::new(), vec![1, 2], direct.clone());
    let bytes = [&[1, 0, 2, 1, 2][..], &direct.encode()].concat();
    assert_eq!(turn.encode(), bytes);
    assert_eq!((turn.list(Side::Lower), turn.list(Side::Higher)), (&[][..], &[1, 2][..]));
    assert_eq!(TurnBody::decode(&bytes), Ok(turn));
    refuses_damage(&bytes, |bytes| TurnBody::decode(bytes).map(|turn| turn.encode()));
    let mut inner = bytes.clone();
    inner[5] = 2;
    assert_eq!(TurnBody::decode(&inner), Err(DecodeError::Version { version: 2 }));
    let long = TurnBody::new(vec![0; DEVICE_LIST_LEN_MAX + 1], Vec::new(), direct);
    assert_eq!(TurnBody::decode(&long.encode()), Err(DecodeError::Range { field: "list" }));
}

proptest! {
    #[test]
    fn direct_bodies_round_trip(body in arb_body()) {
        prop_assert_eq!(DirectBody::decode(&body.encode()), Ok(body.clone()));
        let turn = TurnBody::new(vec![1; 40], Vec::new(), body);
        prop_assert_eq!(TurnBody::decode(&turn.encode()), Ok(turn));
    }

    // spec ENV-71
    #[test]
    fn arbitrary_bytes_never_panic_and_have_one_encoding(
        body in arb_body(),
        noise in prop::collection::vec(any::<u8>(), 0..200),
        at in 0..300usize,
    ) {
        let start = body.encode();
        let behind_a_start = [&start[..at.min(start.len())], &noise].concat();
        for bytes in [noise, behind_a_start] {
            if let Ok(body) = DirectBody::decode(&bytes) {
                prop_assert_eq!(body.encode(), bytes.clone());
            }
            if let Ok(turn) = TurnBody::decode(&bytes) {
                prop_assert_eq!(turn.encode(), bytes);
            }
        }
    }
}

fn arb_body() -> impl Strategy<Value = DirectBody> {
    let place = || {
        (any::<bool>(), 0..DEVICES_MAX as u16)
            .prop_map(|(is_high, index)| place(if is_high { Side::Higher } else { Side::Lower }, index))
    };
    let bytes = || prop::collection::vec(any::<u8>(), 0..100);
    (place(), prop::collection::btree_map(place(), (bytes(), bytes()), 0..WRAPS_MAX), bytes()).prop_map(
        |(sender, mut recipients, ciphertext)| {
            recipients.remove(&sender);
            let mut wraps: Vec<DirectWrap> =
                recipients.into_iter().map(|(at, (handshake, message))| wrap(at, &handshake, &message)).collect();
            match wraps.len() {
                1 => body(sender, DirectForm::Inline(wraps.remove(0))),
                _ => DirectBody { sender, ..fanned(wraps, ciphertext) },
            }
        },
    )
}

fn refuses_damage(bytes: &[u8], decode: impl Fn(&[u8]) -> Result<Vec<u8>, DecodeError>) {
    assert_eq!(decode(bytes).as_deref(), Ok(bytes));
    for cut in 0..bytes.len() {
        assert!(decode(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    assert_eq!(decode(&[bytes, &[0]].concat()), Err(DecodeError::Malformed), "trailing byte");
    assert_eq!(decode(&[bytes, bytes].concat()), Err(DecodeError::Malformed), "two glued");
    for version in [0, 2, 255] {
        assert_eq!(decode(&[&[version], &bytes[1..]].concat()), Err(DecodeError::Version { version }));
    }
    assert!(matches!(decode(&vec![1; 70_000]), Err(DecodeError::TooLong { .. })));
}

fn decoded(body: &DirectBody) -> Result<DirectBody, DecodeError> {
    DirectBody::decode(&body.encode())
}

fn place(side: Side, index: u16) -> DevicePlace {
    DevicePlace { side, index }
}

fn wrap(recipient: DevicePlace, handshake: &[u8], message: &[u8]) -> DirectWrap {
    DirectWrap { recipient, handshake: handshake.to_vec(), message: message.to_vec() }
}

fn lists() -> NamedLists {
    let name = |version, hash| ListName {
        version: ListVersion::from_u64(version),
        hash: DeviceListHash::from_bytes([hash; 32]),
    };
    NamedLists { lower: name(3, 0xa), higher: name(4, 0xb) }
}

fn body(sender: DevicePlace, form: DirectForm) -> DirectBody {
    DirectBody { lists: lists(), sender, form }
}

fn fanned(wraps: Vec<DirectWrap>, ciphertext: Vec<u8>) -> DirectBody {
    let fanout = Fanout { commitment: Commitment::from_bytes([0xc; 32]), wraps, ciphertext };
    body(place(Side::Higher, 2), DirectForm::Fanout(fanout))
}
