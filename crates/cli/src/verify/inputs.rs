//! Reading the inputs of a vector by name and type, and what a subject answers.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::convert::Infallible;

use data_encoding::HEXLOWER;
use rand::{TryCryptoRng, TryRng};
use serde_json::{Map, Value};
use undertone::crypto::Secret32;
use undertone::crypto::sign::SigningKey;
use undertone::time::UnixMs;
use undertone_wire::limits::COUNTER_MAX;

use super::vectors::Fault;

/// What a subject derives: an object, or why not.
pub(super) type Derived = Result<Value, Stop>;

/// Why nothing was derived.
#[derive(Debug)]
pub(super) enum Stop {
    /// The protocol refuses the inputs, with a code of the table in the README of the vectors.
    Refused(&'static str),
    /// The vector is not what its subject takes, or the library contradicts itself.
    Fault(Fault),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// Requires what the library promises of its own values.
pub(super) fn ensure(holds: bool, what: &str) -> Result<(), Stop> {
    if holds { Ok(()) } else { Err(Fault::new(format!("the library contradicts itself: {what}")).into()) }
}

/// The inputs of a vector; remembers which were read.
pub(super) struct Inputs<'v> {
    values: &'v Map<String, Value>,
    read: RefCell<BTreeSet<&'v str>>,
}

impl<'v> Inputs<'v> {
    pub(super) fn new(value: &'v Value) -> Result<Self, Fault> {
        let values = value.as_object().ok_or_else(|| Fault::new("is no object").in_field("inputs"))?;
        Ok(Self { values, read: RefCell::default() })
    }

    /// Whether there is an input of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// Fails if an input was not read: the subject does not know it.
    pub(super) fn end(&self) -> Result<(), Fault> {
        match self.values.keys().find(|name| !self.read.borrow().contains(name.as_str())) {
            Some(name) => Err(Fault::new("is no input of this subject").in_field(&format!("inputs.{name}"))),
            None => Ok(()),
        }
    }

    fn raw(&self, name: &str) -> Result<&'v Value, Fault> {
        let (name, value) = self.values.get_key_value(name).ok_or_else(|| fault(name, "is missing"))?;
        self.read.borrow_mut().insert(name);
        Ok(value)
    }

    pub(super) fn text(&self, name: &str) -> Result<&'v str, Fault> {
        self.raw(name)?.as_str().ok_or_else(|| fault(name, "is no text"))
    }

    pub(super) fn bytes(&self, name: &str) -> Result<Vec<u8>, Fault> {
        bytes(self.raw(name)?).ok_or_else(|| fault(name, "is no lower-case hexadecimal"))
    }

    pub(super) fn array<const N: usize>(&self, name: &str) -> Result<[u8; N], Fault> {
        self.bytes(name)?.try_into().map_err(|bytes| wrong_length(name, bytes, N))
    }

    /// A list of byte strings.
    pub(super) fn list(&self, name: &str) -> Result<Vec<Vec<u8>>, Fault> {
        let values = self.elements(name)?.iter();
        values.map(|value| bytes(value).ok_or_else(|| fault(name, "holds no lower-case hexadecimal"))).collect()
    }

    /// An object, with inputs of its own; who reads it calls [`Inputs::end`].
    pub(super) fn object(&self, name: &str) -> Result<Inputs<'v>, Fault> {
        Inputs::new(self.raw(name)?)
    }

    /// Whether something is so.
    pub(super) fn is(&self, name: &str) -> Result<bool, Fault> {
        self.raw(name)?.as_bool().ok_or_else(|| fault(name, "is neither true nor false"))
    }

    /// A list of objects, each with inputs of its own.
    pub(super) fn objects(&self, name: &str) -> Result<Vec<Inputs<'v>>, Fault> {
        self.elements(name)?.iter().map(Inputs::new).collect()
    }

    fn elements(&self, name: &str) -> Result<&'v [Value], Fault> {
        self.raw(name)?.as_array().map(Vec::as_slice).ok_or_else(|| fault(name, "is no list"))
    }

    /// A number up to 2^53.
    pub(super) fn number(&self, name: &str) -> Result<u64, Fault> {
        let value = self.raw(name)?.as_u64().filter(|number| *number <= COUNTER_MAX);
        value.ok_or_else(|| fault(name, "is no number up to 2^53"))
    }

    /// A number that fits a type.
    pub(super) fn small<T: TryFrom<u64>>(&self, name: &str) -> Result<T, Fault> {
        T::try_from(self.number(name)?).map_err(|_| fault(name, "is too large"))
    }

    pub(super) fn numbers(&self, name: &str) -> Result<Vec<u64>, Fault> {
        let values = self.elements(name)?.iter();
        values.map(|value| value.as_u64().ok_or_else(|| fault(name, "holds no number"))).collect()
    }

    pub(super) fn instant(&self, name: &str) -> Result<UnixMs, Fault> {
        self.number(name).map(UnixMs::from_u64)
    }

    pub(super) fn secret(&self, name: &str) -> Result<Secret32, Fault> {
        self.array(name).map(Secret32::from_bytes)
    }

    pub(super) fn signing_key(&self, name: &str) -> Result<SigningKey, Fault> {
        self.secret(name).map(|seed| SigningKey::from_seed(&seed))
    }

    /// Randomness that the vector fixes.
    pub(super) fn randomness<const N: usize>(&self, name: &str) -> Result<FixedRandomness, Fault> {
        self.array::<N>(name).map(|bytes| FixedRandomness::new(bytes.to_vec()))
    }
}

/// A fault of one input.
pub(super) fn fault(name: &str, why: &str) -> Fault {
    Fault::new(why).in_field(&format!("inputs.{name}"))
}

fn wrong_length(name: &str, bytes: Vec<u8>, len: usize) -> Fault {
    fault(name, &format!("has {} bytes in place of {len}", bytes.len()))
}

fn bytes(value: &Value) -> Option<Vec<u8>> {
    HEXLOWER.decode(value.as_str()?.as_bytes()).ok()
}

/// A derived byte string, as the files write it.
pub(super) fn hex(bytes: impl AsRef<[u8]>) -> String {
    HEXLOWER.encode(bytes.as_ref())
}

/// Yields the bytes of a vector where the library draws randomness.
pub(super) struct FixedRandomness {
    rest: Vec<u8>,
    is_short: bool,
}

impl FixedRandomness {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self { rest: bytes, is_short: false }
    }

    /// Fails unless the library drew exactly the bytes that were given.
    pub(super) fn end(self) -> Result<(), Stop> {
        ensure(self.rest.is_empty() && !self.is_short, "it draws more or less randomness than the vector gives")
    }
}

impl TryRng for FixedRandomness {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        let given_len = bytes.len().min(self.rest.len());
        self.is_short |= given_len < bytes.len();
        for (to, from) in bytes.iter_mut().zip(self.rest.drain(..given_len)) {
            *to = from;
        }
        Ok(())
    }
}

/// What it yields is as secret as the vector, which is public.
impl TryCryptoRng for FixedRandomness {}
