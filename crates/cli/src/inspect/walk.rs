//! Walking over bytes, field by field.

use data_encoding::HEXLOWER;

/// One field: where it is, and what it says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Field {
    /// Its offset, bytes from 0.
    pub at: usize,
    /// Its length, bytes; 0 for a heading above the fields that follow it, one level deeper.
    pub len: usize,
    /// How deep it stands inside others.
    pub depth: u8,
    /// Its name in the specification.
    pub name: String,
    /// Its value, or what is shown of it.
    pub value: String,
    /// What it means; empty if the name says so.
    pub note: &'static str,
}

/// A walk over bytes. Every step yields `None` where the bytes end too early.
pub(super) struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: u8,
    fields: Vec<Field>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, depth: 0, fields: Vec::new() }
    }

    /// The fields, if they are all bytes.
    pub(super) fn end(self) -> Option<Vec<Field>> {
        (self.at == self.bytes.len()).then_some(self.fields)
    }

    /// A field of `len` bytes whose value `show` says.
    pub(super) fn take(
        &mut self,
        name: &str,
        len: usize,
        note: &'static str,
        show: impl FnOnce(&[u8]) -> String,
    ) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(len)?)?;
        let field = Field { at: self.at, len, depth: self.depth, name: name.to_owned(), value: show(taken), note };
        self.fields.push(field);
        self.at += len;
        Some(taken)
    }

    /// A number, big-endian, of `len` bytes.
    pub(super) fn number(&mut self, name: &str, len: usize, note: &'static str) -> Option<u64> {
        self.take(name, len, note, |bytes| number(bytes).to_string()).map(number)
    }

    /// Bytes that mean something as they are: ids, keys, signatures.
    pub(super) fn hex(&mut self, name: &str, len: usize, note: &'static str) -> Option<()> {
        self.take(name, len, note, |bytes| HEXLOWER.encode(bytes)).map(drop)
    }

    /// Bytes that are not shown.
    pub(super) fn hidden(&mut self, name: &str, len: usize, note: &'static str) -> Option<()> {
        self.take(name, len, note, |_| "…".to_owned()).map(drop)
    }

    /// A number that stands for a word.
    pub(super) fn word(&mut self, name: &str, len: usize, word: impl FnOnce(u64) -> &'static str) -> Option<u64> {
        self.take(name, len, "", |bytes| format!("{} = {}", number(bytes), word(number(bytes)))).map(number)
    }

    /// The length in front of a vector (RFC 9420 §2.1.2).
    pub(super) fn length(&mut self, name: &str) -> Option<usize> {
        let first = *self.bytes.get(self.at)?;
        let len = 1usize << (first >> 6);
        let value = self.bytes.get(self.at..self.at + len)?;
        let value = value.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
        let value = usize::try_from(value & ((1 << (8 * len - 2)) - 1)).ok()?;
        self.take(name, len, "", |_| format!("{value} bytes follow"))?;
        Some(value)
    }

    /// A vector of opaque bytes; none of them is shown.
    pub(super) fn opaque(&mut self, name: &str, note: &'static str) -> Option<()> {
        let len = self.length(&format!("length of {name}"))?;
        self.hidden(name, len, note)
    }

    /// A vector of items.
    pub(super) fn list(
        &mut self,
        name: &str,
        item: &str,
        mut each: impl FnMut(&mut Self) -> Option<()>,
    ) -> Option<usize> {
        let len = self.length(&format!("length of {name}"))?;
        let end = self.at + len;
        let mut count = 0;
        while self.at < end {
            count += 1;
            self.inside(&format!("{item} {count}"), &mut each)?;
        }
        (self.at == end).then_some(count)
    }

    /// Something that may be missing.
    pub(super) fn option(&mut self, name: &str, some: impl FnOnce(&mut Self) -> Option<()>) -> Option<bool> {
        let is_there = self.take(name, 1, "", |bytes| if bytes == [0] { "none" } else { "there" }.to_owned())? != [0];
        if is_there {
            self.deeper(some)?;
        }
        Some(is_there)
    }

    /// A heading, and what stands under it.
    pub(super) fn inside(&mut self, name: &str, fields: impl FnOnce(&mut Self) -> Option<()>) -> Option<()> {
        let heading =
            Field { at: self.at, len: 0, depth: self.depth, name: name.to_owned(), value: String::new(), note: "" };
        self.fields.push(heading);
        self.deeper(fields)
    }

    fn deeper(&mut self, fields: impl FnOnce(&mut Self) -> Option<()>) -> Option<()> {
        self.depth += 1;
        let done = fields(self);
        self.depth -= 1;
        done
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
