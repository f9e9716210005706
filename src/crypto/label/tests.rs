//! The label table: in the code, in the specification, and free of prefixes.

use std::collections::BTreeSet;

use super::{ALL, Label, transcript};

const CONVENTIONS: &str = include_str!("../../../spec/00-conventions.md");

fn every_label() -> Vec<&'static str> {
    ALL.iter().chain(undertone_wire::label::ALL).map(Label::as_str).collect()
}

// spec ENC-08
#[test]
fn no_label_is_a_prefix_of_another() {
    let labels = every_label();
    for (index, label) in labels.iter().enumerate() {
        assert!(label.starts_with("undertone/v1/") && label.is_ascii(), "{label}");
        let twins = labels.iter().enumerate().filter(|(other, text)| *other != index && text.starts_with(label));
        assert_eq!(twins.collect::<Vec<_>>(), vec![], "{label} begins another label");
    }
}

// spec ENC-08
#[test]
fn the_table_of_the_specification_is_the_one_of_the_code() {
    let rows = CONVENTIONS.lines().filter_map(|line| line.strip_prefix("| `undertone/v1/")?.split_once('`'));
    let specified: Vec<String> = rows.map(|(purpose, _)| format!("undertone/v1/{purpose}")).collect();
    let unique: BTreeSet<&str> = specified.iter().map(String::as_str).collect();
    assert_eq!(unique.len(), specified.len(), "a label stands twice in the table");
    assert_eq!(unique, every_label().into_iter().collect());
}

// spec ENC-03: lengths in one, two and four bytes, as RFC 9420 §2.1.2 writes them.
#[test]
fn a_transcript_is_label_and_fields_behind_their_lengths() {
    let label = Label::new("undertone/v1/x");
    let mut expected = vec![14];
    expected.extend_from_slice(b"undertone/v1/x");
    for (field_len, len_bytes) in [(0, vec![0]), (63, vec![63]), (64, vec![0x40, 64]), (16_383, vec![0x7f, 0xff])] {
        let field = vec![b'f'; field_len];
        assert_eq!(transcript(label, &[&field]), [&expected, &len_bytes, &field].map(Vec::as_slice).concat());
    }
    let field = vec![b'f'; 16_384];
    assert_eq!(transcript(label, &[&field])[15..19], [0x80, 0, 0x40, 0]);
    assert_eq!(transcript(label, &[b"a", b"bc"])[15..], [1, b'a', 2, b'b', b'c']);
}
