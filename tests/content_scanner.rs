//! The strict scanner: each defect has its reason, and what passes has one encoding.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use undertone::content::scanner::{BODY_DEPTH_MAX, CONTENT_DEPTH_MAX, Depth, scan};
use undertone::content::{CONTENT_LEN_MAX, ScanError, Value};

#[test]
fn what_rfc_8949_calls_deterministic_passes() {
    let items = [
        "00",
        "17",
        "1818",
        "18ff",
        "190100",
        "19ffff",
        "1a00010000",
        "1b0000000100000000",
        "1bffffffffffffffff",
        "20",
        "3863",
        "3bffffffffffffffff",
        "40",
        "4401020304",
        "60",
        "6161",
        "62c3bc",
        "64f0908591",
        "80",
        "83010203",
        "a0",
        "a201020304",
        "a26161016162820203",
        "f4",
        "f5",
        "f6",
        "c0613a",
        "d818456449455446",
    ];
    for item in items {
        let bytes = hex(item);
        let value = Value::decode(&bytes, BODY_DEPTH_MAX);
        assert_eq!(value.map(|value| value.encode()), Ok(bytes), "{item}");
    }
}

// spec ENV-50
#[test]
fn short_long_and_glued_items_are_refused() {
    for item in
        ["", "18", "19ff", "1a000000", "1b00000000000000", "41", "5818ffff", "62c3", "81", "8201", "a1", "a101", "c0"]
    {
        refused(item, ScanError::Truncated);
    }
    for item in ["0000", "8000", "f6f6", "a000", "6161ff"] {
        refused(item, ScanError::Trailing);
    }
    // A-FL-05: a declared length of 0xFFFFFFFF, and of 2^64 - 1, costs nothing.
    for item in ["5affffffff", "7affffffff", "9affffffff", "baffffffff", "5bffffffffffffffff", "9bffffffffffffffff"] {
        refused(item, ScanError::Truncated);
    }
    let fits = [&hex("59bffd")[..], &vec![0; CONTENT_LEN_MAX - 3]].concat();
    assert_eq!(scan(&fits, BODY_DEPTH_MAX), Ok(()));
    assert_eq!(scan(&[&fits[..], &[0]].concat(), BODY_DEPTH_MAX), Err(ScanError::TooLong));
}

// spec ENV-51
#[test]
fn numbers_and_lengths_longer_than_needed_are_refused() {
    let items = [
        "1800",
        "1817",
        "190000",
        "1900ff",
        "1a00000000",
        "1a0000ffff",
        "1b0000000000000000",
        "1b00000000ffffffff",
        "3800",
        "5800",
        "7801ff",
        "9800",
        "b800",
        "d800f6",
        "a1180001",
    ];
    for item in items {
        refused(item, ScanError::NotShortest);
    }
}

// spec ENV-52
#[test]
fn open_lengths_and_reserved_heads_are_refused() {
    for item in ["5f4101ff", "7f6161ff", "9fff", "bfff", "1f", "3f", "df"] {
        refused(item, ScanError::Indefinite);
    }
    for item in ["1c", "1d", "1e", "3c", "5d", "7e", "9c", "bd", "de"] {
        refused(item, ScanError::Reserved);
    }
}

// spec ENV-53
#[test]
fn map_keys_out_of_order_or_twice_are_refused() {
    for item in ["a201000100", "a202000100", "a220000000", "a261620061610 0", "a26161000100", "a3010002000200"] {
        refused(&item.replace(' ', ""), ScanError::KeyOrder);
    }
    // Bytes decide, not values: -1 (0x20) stands behind 24 (0x1818), and a text behind both.
    assert_eq!(scan(&hex("a31818002000616100"), BODY_DEPTH_MAX), Ok(()));
}

// spec ENV-54
#[test]
fn floats_and_other_simple_values_are_refused() {
    for item in ["f90000", "fa47c35000", "fb3ff199999999999a", "f97e00", "f7", "e0", "f0", "f818", "f8ff", "ff", "fc"] {
        refused(item, ScanError::Simple);
    }
}

// spec ENV-55
#[test]
fn text_that_is_not_utf_8_is_refused() {
    for item in ["61ff", "62c328", "63eda080", "62c080", "64f4908080", "61c3"] {
        refused(item, ScanError::Utf8);
    }
    // Split text is not repaired by what follows.
    refused("8261c36143", ScanError::Utf8);
}

// A-FL-05, spec ENV-56
#[test]
fn nesting_past_the_bound_is_refused() {
    for (depth_max, levels) in [(BODY_DEPTH_MAX, 4), (CONTENT_DEPTH_MAX, 9)] {
        for open in ["81", "a100", "c1"] {
            let nested = |levels: usize| hex(&(open.repeat(levels) + "00"));
            assert_eq!(scan(&nested(levels), depth_max), Ok(()), "{open}");
            assert_eq!(scan(&nested(levels + 1), depth_max), Err(ScanError::Depth), "{open}");
            assert_eq!(scan(&nested(10_000), depth_max), Err(ScanError::Depth), "{open}");
        }
    }
    // Keys nest too.
    assert_eq!(scan(&hex("a1818181810000"), BODY_DEPTH_MAX), Err(ScanError::Depth));
    assert_eq!(scan(&hex("8000"), Depth::from_levels(0)), Err(ScanError::Depth));
}

#[test]
fn a_bignum_tag_stays_a_tag() {
    let bytes = hex("c24101");
    let value = Value::decode(&bytes, BODY_DEPTH_MAX).unwrap();
    assert_eq!(value, Value::Tag(2, Box::new(Value::Bytes(vec![1]))));
    assert_eq!(value.encode(), bytes);
}

#[test]
fn encoding_orders_keys() {
    let pair = |key: Value| (key, Value::Null);
    let map = Value::Map(vec![pair(Value::Text("a".into())), pair(Value::integer(-1)), pair(Value::integer(24))]);
    let bytes = map.encode();
    assert_eq!(bytes, hex("a31818f620f66161f6"));
    let decoded = Value::decode(&bytes, BODY_DEPTH_MAX).unwrap();
    assert_eq!(
        (decoded.field(-1), decoded.field(24), decoded.field(1)),
        (Some(&Value::Null), Some(&Value::Null), None)
    );
}

proptest! {
    #[test]
    fn what_encodes_decodes_to_the_same(value in arb_value()) {
        let bytes = value.encode();
        match Value::decode(&bytes, CONTENT_DEPTH_MAX) {
            Ok(decoded) => prop_assert_eq!(decoded.encode(), bytes),
            // Only a key that stands twice can be wrong about a tree within the bounds.
            Err(error) => prop_assert_eq!(error, ScanError::KeyOrder),
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_have_one_encoding(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        if let Ok(value) = Value::decode(&bytes, BODY_DEPTH_MAX) {
            prop_assert_eq!(value.encode(), bytes);
        }
    }

    #[test]
    fn damaged_items_never_panic(value in arb_value(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = value.encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(value) = Value::decode(&bytes, CONTENT_DEPTH_MAX) {
            prop_assert_eq!(value.encode(), bytes);
        }
    }
}

fn arb_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<u64>().prop_map(Value::Unsigned),
        (0..300u64).prop_map(Value::Negative),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Value::Bytes),
        ".{0,20}".prop_map(Value::Text),
        any::<bool>().prop_map(Value::Bool),
        Just(Value::Null),
    ];
    leaf.prop_recursive(8, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            prop::collection::vec((inner.clone(), inner.clone()), 0..5).prop_map(Value::Map),
            (any::<u64>(), inner).prop_map(|(tag, item)| Value::Tag(tag, Box::new(item))),
        ]
    })
}

fn refused(item: &str, reason: ScanError) {
    assert_eq!(scan(&hex(item), BODY_DEPTH_MAX), Err(reason), "{item}");
    assert_eq!(Value::decode(&hex(item), BODY_DEPTH_MAX), Err(reason), "{item}");
}

fn hex(text: &str) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap()
}
