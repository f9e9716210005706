//! The shape of a file of vectors, its checksums, and comparing what was derived with what it says.
//!
//! A file is trusted for nothing: what is missing, too much or of another type is a fault, as is a wrong byte.

use std::collections::BTreeSet;
use std::fmt;

use data_encoding::HEXLOWER;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::Subject;
use super::inputs::{Inputs, Stop};

/// A value that is not what it should be: where, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Fault {
    file: Option<String>,
    vector: Option<String>,
    field: Option<String>,
    why: String,
}

impl Fault {
    pub(super) fn new(why: impl Into<String>) -> Self {
        Self { file: None, vector: None, field: None, why: why.into() }
    }

    pub(super) fn in_field(self, field: &str) -> Self {
        Self { field: Some(field.to_owned()), ..self }
    }

    pub(super) fn in_vector(self, vector: &str) -> Self {
        Self { vector: Some(vector.to_owned()), ..self }
    }

    pub(super) fn in_file(self, file: &str) -> Self {
        Self { file: Some(file.to_owned()), ..self }
    }

    pub(super) fn to_json(&self) -> Value {
        json!({"file": self.file, "vector": self.vector, "field": self.field, "why": self.why})
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, vector, field, why } = self;
        let place: Vec<&str> = [file, vector, field].into_iter().flatten().map(String::as_str).collect();
        write!(f, "{}: {why}", place.join(" "))
    }
}

/// A file of vectors.
pub(super) struct Document {
    subject: String,
    head: Value,
    vectors: Vec<Vector>,
    check: String,
}

/// One vector: what the file says, whole and by part.
#[derive(Clone)]
pub(super) struct Vector {
    whole: Map<String, Value>,
}

impl Document {
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        if !text.is_ascii() {
            return Err(Fault::new("is not ASCII"));
        }
        let document: Value = serde_json::from_str(text).map_err(|error| Fault::new(error.to_string()))?;
        let mut head = object(document, &["subject", "rules", "comment", "vectors", "check"])?;
        let (Some(Value::Array(vectors)), Some(Value::String(check))) = (head.remove("vectors"), head.remove("check"))
        else {
            return Err(Fault::new("vectors are no list, or the check no text"));
        };
        let subject = text_of(&head, "subject")?.to_owned();
        let vectors = vectors.into_iter().map(Vector::parse).collect::<Result<Vec<_>, _>>()?;
        let mut ids = BTreeSet::new();
        match vectors.iter().find(|vector| !ids.insert(vector.id())) {
            Some(vector) => Err(Fault::new("stands twice").in_vector(vector.id())),
            None => Ok(Self { subject, head: Value::Object(head), vectors, check }),
        }
    }

    pub(super) fn subject(&self) -> &str {
        &self.subject
    }

    pub(super) fn vectors(&self) -> &[Vector] {
        &self.vectors
    }

    /// Checks every vector, then that none was taken out or put in.
    pub(super) fn check(&self, subject: Subject) -> Result<(), Fault> {
        for vector in &self.vectors {
            vector.check(&self.subject, subject).map_err(|fault| fault.in_vector(vector.id()))?;
        }
        let checks: Vec<&Value> = self.vectors.iter().map(|vector| &vector.whole["check"]).collect();
        if self.check == hash(json!({"head": self.head, "vectors": checks})) {
            Ok(())
        } else {
            Err(Fault::new("is not the hash of the file").in_field("check"))
        }
    }
}

impl Vector {
    fn parse(value: Value) -> Result<Self, Fault> {
        let whole = object(value, &["id", "comment", "flags", "inputs", "result", "check"])?;
        for name in ["id", "comment", "check"] {
            text_of(&whole, name)?;
        }
        let vector = Self { whole };
        let is_sound = vector.whole["flags"].is_array()
            && vector.whole["inputs"].is_object()
            && vector.whole["result"].as_object().is_some_and(|result| !result.is_empty());
        if is_sound { Ok(vector) } else { Err(Fault::new("has no flags, inputs or result").in_vector(vector.id())) }
    }

    pub(super) fn id(&self) -> &str {
        self.whole["id"].as_str().unwrap_or_default()
    }

    pub(super) fn whole(&self) -> &Map<String, Value> {
        &self.whole
    }

    pub(super) fn is_refused(&self) -> bool {
        self.whole["result"].get("refused").is_some()
    }

    pub(super) fn result(&self) -> &Value {
        &self.whole["result"]
    }

    /// What the library derives from the inputs, or the code with which it refuses them.
    pub(super) fn derive(&self, subject: Subject) -> Result<Value, Fault> {
        let inputs = Inputs::new(&self.whole["inputs"])?;
        match subject(&inputs) {
            Ok(result) => inputs.end().map(|()| result),
            // Perhaps before all inputs were read.
            Err(Stop::Refused(code)) => Ok(json!({"refused": code})),
            Err(Stop::Fault(fault)) => Err(fault),
        }
    }

    /// Derives everything, then compares the checksum.
    fn check(&self, subject_name: &str, subject: Subject) -> Result<(), Fault> {
        let flag = if self.is_refused() { "refused" } else { "accepted" };
        if self.whole["flags"].as_array().into_iter().flatten().filter(|is| **is == flag).count() != 1 {
            return Err(Fault::new("contradict the result").in_field("flags"));
        }
        let found = self.derive(subject)?;
        if let (false, Some(code)) = (self.is_refused(), found.get("refused")) {
            return Err(Fault::new(format!("is to be accepted, and is refused with {code}")).in_field("result"));
        }
        compare(self.result(), &found, "result")?;
        if self.has_right_checksum(subject_name) {
            Ok(())
        } else {
            Err(Fault::new("is not the hash of the vector").in_field("check"))
        }
    }

    pub(super) fn has_right_checksum(&self, subject_name: &str) -> bool {
        let mut rest = self.whole.clone();
        let check = rest.remove("check");
        check == Some(hash(json!({"subject": subject_name, "vector": rest})).into())
    }

    /// The vector with another value at a path.
    pub(super) fn with(&self, path: &[Step], new: Value) -> Self {
        let mut whole = Value::Object(self.whole.clone());
        let place = path.iter().try_fold(&mut whole, |value, step| match step {
            Step::Member(name) => value.get_mut(name),
            Step::Element(index) => value.get_mut(index),
        });
        if let Some(place) = place {
            *place = new;
        }
        let Value::Object(whole) = whole else { return self.clone() };
        Self { whole }
    }
}

/// One step into a value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// Into a member of an object.
    Member(String),
    /// Into an element of a list.
    Element(usize),
}

/// The members of an object, which are exactly those of `names`.
fn object(value: Value, names: &[&str]) -> Result<Map<String, Value>, Fault> {
    let Value::Object(members) = value else { return Err(Fault::new("is no object")) };
    let is_exact = members.len() == names.len() && names.iter().all(|name| members.contains_key(*name));
    if is_exact { Ok(members) } else { Err(Fault::new(format!("has other members than {}", names.join(", ")))) }
}

fn text_of<'v>(members: &'v Map<String, Value>, name: &str) -> Result<&'v str, Fault> {
    members.get(name).and_then(Value::as_str).ok_or_else(|| Fault::new("is no text").in_field(name))
}

/// SHA-256 over the canonical JSON (RFC 8785) of a value, which holds only ASCII and integers up to 2^53.
fn hash(mut value: Value) -> String {
    value.sort_all_objects();
    HEXLOWER.encode(&Sha256::digest(value.to_string()))
}

/// Fails at the first difference of what the file says and what was derived.
pub(super) fn compare(expected: &Value, found: &Value, field: &str) -> Result<(), Fault> {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            for (name, value) in expected {
                let field = format!("{field}.{name}");
                let found = found.get(name).ok_or_else(|| Fault::new("is not derived").in_field(&field))?;
                compare(value, found, &field)?;
            }
            match found.iter().find(|(name, _)| !expected.contains_key(*name)) {
                Some((name, value)) => {
                    Err(Fault::new(format!("is missing; derived is {value}")).in_field(&format!("{field}.{name}")))
                }
                None => Ok(()),
            }
        }
        (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
            let pairs = expected.iter().zip(found).enumerate();
            pairs.into_iter().try_for_each(|(at, (one, other))| compare(one, other, &format!("{field}[{at}]")))
        }
        _ if expected == found => Ok(()),
        _ => Err(Fault::new(difference(expected, found)).in_field(field)),
    }
}

fn difference(expected: &Value, found: &Value) -> String {
    let (Some(expected), Some(found)) = (expected.as_str(), found.as_str()) else {
        return format!("the file says {expected}, derived is {found}");
    };
    let same = expected.bytes().zip(found.bytes()).take_while(|(one, other)| one == other).count();
    let place = match is_hex(expected) && is_hex(found) {
        true => format!("byte {}", same / 2),
        false => format!("character {same}"),
    };
    let at = same - same % 2;
    format!("{place}: the file says {:?}, derived is {:?}", excerpt(expected, at), excerpt(found, at))
}

/// Characters of a value that are shown where it differs.
const EXCERPT_LEN: usize = 32;

fn excerpt(text: &str, at: usize) -> String {
    let rest: String = text.chars().skip(at).collect();
    match rest.char_indices().nth(EXCERPT_LEN) {
        Some((end, _)) => format!("{}…", &rest[..end]),
        None => rest,
    }
}

/// Whether a text is whole bytes in lower-case hexadecimal.
pub(super) fn is_hex(text: &str) -> bool {
    text.len().is_multiple_of(2) && text.bytes().all(|digit| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit))
}
