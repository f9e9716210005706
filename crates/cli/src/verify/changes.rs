//! Changes each value of each vector, one at a time, to see that no change passes.
//!
//! Twice: with the checksum left as it was, where nothing may pass; and as if the checksum were made anew, so that only the
//! derivation can notice. The latter cannot be asked of everything: inputs that are refused may be refused in many ways,
//! and some inputs enter no result.

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::index;
use serde_json::Value;

use super::Subject;
use super::vectors::{Document, Fault, Step, Vector, compare, is_hex};

/// Which bytes of long values are changed.
#[derive(Clone, Copy)]
pub(super) struct Sample {
    per_field: usize,
    seed: u64,
}

impl Sample {
    /// At most `per_field` bytes of a value, 0 for all.
    pub(super) fn new(per_field: usize, seed: u64) -> Self {
        Self { per_field, seed }
    }
}

/// Inputs that enter no result: a clock is only compared with, and the second half of an ML-KEM seed matters only for a
/// ciphertext that is wrong.
const WITHOUT_EFFECT: [&str; 5] = ["now_ms", "pinned_ms", "kem_z", "pair_kem_z", "offer_z"];

/// Counts the changes, all of which were noticed.
pub(super) fn self_test(document: &Document, subject: Subject, sample: Sample) -> Result<usize, Fault> {
    let mut changes_count = 0;
    let mut rng = StdRng::seed_from_u64(sample.seed);
    for vector in document.vectors() {
        let truth = vector.derive(subject)?;
        for (path, value) in leaves(vector) {
            for new in changes(&value, sample.per_field, &mut rng) {
                let changed = vector.with(&path, new);
                let passed = if changed.has_right_checksum(document.subject()) {
                    Some("checksum")
                } else if !is_noticed(&changed, &path, &truth, subject) {
                    Some("derivation")
                } else {
                    None
                };
                if let Some(by) = passed {
                    let why = format!("a change is not noticed by the {by}, seed {}", sample.seed);
                    return Err(Fault::new(why).in_vector(vector.id()).in_field(&text(&path)));
                }
                changes_count += 1;
            }
        }
    }
    Ok(changes_count)
}

/// Whether the derivation notices a change, where it is to.
fn is_noticed(changed: &Vector, path: &[Step], truth: &Value, subject: Subject) -> bool {
    let has_no_effect = matches!(path.last(), Some(Step::Member(name)) if WITHOUT_EFFECT.contains(&name.as_str()));
    match path.first() {
        Some(Step::Member(part)) if part == "inputs" && !changed.is_refused() && !has_no_effect => {
            match changed.derive(subject) {
                Ok(found) => compare(changed.result(), &found, "result").is_err(),
                Err(_) => true,
            }
        }
        Some(Step::Member(part)) if part == "result" => compare(changed.result(), truth, "result").is_err(),
        _ => true,
    }
}

/// Every value of a vector that is no list or object, the checksum aside, with its path.
fn leaves(vector: &Vector) -> Vec<(Vec<Step>, Value)> {
    let mut found = Vec::new();
    for (name, value) in vector.whole().iter().filter(|(name, _)| *name != "check") {
        collect(value, vec![Step::Member(name.clone())], &mut found);
    }
    found
}

fn collect(value: &Value, path: Vec<Step>, found: &mut Vec<(Vec<Step>, Value)>) {
    let deeper = |step| [path.as_slice(), &[step]].concat();
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, value)| collect(value, deeper(Step::Member(name.clone())), found));
        }
        Value::Array(elements) => {
            elements.iter().enumerate().for_each(|(at, value)| collect(value, deeper(Step::Element(at)), found));
        }
        _ => found.push((path, value.clone())),
    }
}

/// Changed values: one for each byte, or for as many as the sample wants.
fn changes(value: &Value, per_field: usize, rng: &mut StdRng) -> Vec<Value> {
    match value {
        Value::Null => vec![true.into()],
        Value::Bool(is) => vec![(!is).into()],
        Value::Number(number) => {
            let number = number.as_u64().unwrap_or_default();
            vec![number.checked_sub(1).unwrap_or(1).into()]
        }
        Value::String(text) => {
            let width = if is_hex(text) { 2 } else { 1 };
            let places_count = text.len() / width;
            let places = match per_field {
                1.. if places_count > per_field => index::sample(rng, places_count, per_field).into_vec(),
                _ => (0..places_count).collect(),
            };
            places.into_iter().map(|place| changed(text, place * width, width).into()).collect()
        }
        Value::Array(_) | Value::Object(_) => Vec::new(),
    }
}

/// A text with another byte or character at one place. The mask spares the bits that X25519 ignores in a secret.
fn changed(text: &str, at: usize, width: usize) -> String {
    const MASK: u8 = 0x10;
    let (front, rest) = text.split_at(at);
    let (part, back) = rest.split_at(width);
    let new = match u8::from_str_radix(part, 16) {
        Ok(byte) if width == 2 => format!("{:02x}", byte ^ MASK),
        _ if part.eq_ignore_ascii_case("a") => "b".to_owned(),
        _ => "a".to_owned(),
    };
    format!("{front}{new}{back}")
}

fn text(path: &[Step]) -> String {
    let step = |step: &Step| match step {
        Step::Member(name) => format!(".{name}"),
        Step::Element(index) => format!("[{index}]"),
    };
    path.iter().map(step).collect::<String>().trim_start_matches('.').to_owned()
}
