//! Prekeys (spec/dm, rules DM-02 to DM-09): what a device publishes so that others can write to it while it is away.
//!
//! ```text
//! terms      u8 kind | u64 id | u64 not_before ms | u64 not_after ms | u8 last_resort            26 bytes
//! body       u8 version | terms, DhPublic 32, Signature 64 | terms, KemPublic 1184, Signature 64
//! item       u8 version | terms, DhPublic 32, KemPublic 1184, Signature 64
//! ```
//!
//! Invariants: kind, id, dates and the last-resort flag stand inside the signed bytes, with the device; a one-time pair
//! is deleted in the step that accepts its first message; ids are never used again.
//!
//! Leaves out the directory that hands the items out, each once.

use std::fmt;

use tls_codec::{Serialize, TlsDeserializeBytes, TlsSerialize, TlsSize};

use crate::crypto::CryptoRng;
use crate::crypto::dh::{DhPublic, DhSecret};
use crate::crypto::kem::{KemPublic, KemSecret};
use crate::crypto::label::{DIRECT_REPLAY, PREKEY, hash};
use crate::crypto::sign::{Signature, verify};
use crate::identity::{Device, LocalIdentity};
use crate::limits::{
    DM_BUNDLE_LEN_MAX, DM_CLOCK_SKEW, DM_ITEM_LEN_MAX, DM_ONE_TIME_COUNT_MAX, DM_ONE_TIME_LIFETIME, DM_PREKEY_GRACE,
    DM_PREKEY_LIFETIME, DM_PREKEY_ROTATION, DM_REPLAY_MEMORY_MAX,
};
use crate::store::{Direction, Table, Tx};
use crate::time::UnixMs;

use super::keys::{KemSeed, PrekeySecret};
use super::{DmError, VERSION, all_or_nothing, decode, decode_row, encode};

/// Names a prekey of one device: a `u64` that rises, big-endian on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct PrekeyId(u64);

/// What is wrong with a prekey.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum PrekeyFault {
    /// The device has not signed it, or signed something else.
    Unsigned,
    /// It is of another kind than its place demands, or its flag contradicts its kind.
    WrongKind,
    /// Its time has not come.
    NotYetValid,
    /// Its time is over.
    Expired,
    /// We have no such prekey: it was used, or deleted after its time.
    Unknown,
}

impl fmt::Display for PrekeyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unsigned => "it is not signed by its device",
            Self::WrongKind => "it is of another kind",
            Self::NotYetValid => "it is not yet valid",
            Self::Expired => "it has expired",
            Self::Unknown => "it is unknown or used",
        })
    }
}

impl From<PrekeyFault> for DmError {
    fn from(fault: PrekeyFault) -> Self {
        Self::BadPrekey { fault }
    }
}

/// Where a prekey may stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
#[repr(u8)]
enum Kind {
    SignedDh = 1,
    LastResortKem = 2,
    OneTimePair = 3,
}

/// Whether a prekey may serve more than one handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
#[repr(u8)]
enum Use {
    Once = 0,
    LastResort = 1,
}

/// What is signed of a prekey besides its keys: 26 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub(super) struct Terms {
    kind: Kind,
    id: PrekeyId,
    not_before: UnixMs,
    not_after: UnixMs,
    last_resort: Use,
}

impl Terms {
    fn new(kind: Kind, id: PrekeyId, now: UnixMs) -> Self {
        let (lifetime, last_resort) = match kind {
            Kind::SignedDh | Kind::LastResortKem => (DM_PREKEY_LIFETIME, Use::LastResort),
            Kind::OneTimePair => (DM_ONE_TIME_LIFETIME, Use::Once),
        };
        Self { kind, id, not_before: now, not_after: now.after(lifetime), last_resort }
    }

    fn check(&self, kind: Kind, now: UnixMs) -> Result<(), PrekeyFault> {
        let last_resort = if kind == Kind::OneTimePair { Use::Once } else { Use::LastResort };
        if self.kind != kind || self.last_resort != last_resort {
            Err(PrekeyFault::WrongKind)
        } else if self.not_before > now.after(DM_CLOCK_SKEW) {
            Err(PrekeyFault::NotYetValid)
        } else if now > self.not_after {
            Err(PrekeyFault::Expired)
        } else {
            Ok(())
        }
    }

    /// Whether no first message that used the prekey can still be on its way.
    fn is_over(&self, now: UnixMs) -> bool {
        now > self.not_after.after(DM_PREKEY_GRACE)
    }

    /// The terms and keys as they enter the transcript of a handshake.
    fn with_keys(&self, keys: &[&[u8]]) -> Vec<u8> {
        let terms = self.tls_serialize_detached().expect("terms have a fixed size");
        [terms, keys.concat()].concat()
    }

    fn sign(&self, us: &LocalIdentity, keys: &[&[u8]]) -> Signature {
        us.signing_key().sign(PREKEY, &[&[VERSION], us.device().id().as_bytes(), &self.with_keys(keys)])
    }

    fn verify(&self, owner: &Device, keys: &[&[u8]], signature: &Signature) -> Result<(), PrekeyFault> {
        let (id, terms_and_keys) = (owner.id(), self.with_keys(keys));
        let fields: [&[u8]; 3] = [&[VERSION], id.as_bytes(), &terms_and_keys];
        verify(owner.signing(), PREKEY, &fields, signature).map_err(|_| PrekeyFault::Unsigned)
    }
}

/// A signed DH prekey.
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub(super) struct SignedPrekey {
    terms: Terms,
    pub(super) key: DhPublic,
    signature: Signature,
}

impl SignedPrekey {
    pub(super) fn id(&self) -> PrekeyId {
        self.terms.id
    }

    pub(super) fn to_transcript(&self) -> Vec<u8> {
        self.terms.with_keys(&[self.key.as_bytes()])
    }
}

/// A signed KEM prekey of last resort.
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub(super) struct LastResort {
    terms: Terms,
    pub(super) key: KemPublic,
    signature: Signature,
}

impl LastResort {
    pub(super) fn to_transcript(&self) -> Vec<u8> {
        self.terms.with_keys(&[self.key.as_bytes()])
    }
}

/// The part of a device's bundle that everybody gets: its signed prekey and its KEM prekey of last resort.
/// Decoding proves nothing: [`initiate`](super::initiate) verifies.
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct BundleBody {
    signed: SignedPrekey,
    last_resort: LastResort,
}

impl BundleBody {
    /// The bytes, as published.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Decodes a body. Its signatures are not yet verified.
    ///
    /// # Errors
    /// [`DmError::Malformed`], [`DmError::UnsupportedVersion`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DmError> {
        decode(bytes, DM_BUNDLE_LEN_MAX)
    }

    /// The signed prekey, verified.
    pub(super) fn verify_signed(&self, owner: &Device, now: UnixMs) -> Result<&SignedPrekey, DmError> {
        let Self { signed, last_resort } = self;
        signed.terms.verify(owner, &[signed.key.as_bytes()], &signed.signature)?;
        signed.terms.check(Kind::SignedDh, now)?;
        last_resort.terms.check(Kind::LastResortKem, now)?;
        // One id names both, so that a handshake names one.
        if signed.terms.id == last_resort.terms.id { Ok(signed) } else { Err(PrekeyFault::WrongKind.into()) }
    }

    /// The KEM prekey of last resort, verified: only for a handshake that uses it, since its signature costs as much as an
    /// agreement.
    pub(super) fn verify_last_resort(&self, owner: &Device) -> Result<&LastResort, DmError> {
        let Self { last_resort, .. } = self;
        last_resort.terms.verify(owner, &[last_resort.key.as_bytes()], &last_resort.signature)?;
        Ok(last_resort)
    }
}

/// A one-time pair: a DH and a KEM prekey, handed out together and used for one handshake.
#[derive(Clone, PartialEq, Eq, Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct OneTimeItem {
    terms: Terms,
    pub(super) dh: DhPublic,
    pub(super) kem: KemPublic,
    signature: Signature,
}

impl OneTimeItem {
    /// The bytes, as published.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Decodes an item. Its signature is not yet verified.
    ///
    /// # Errors
    /// [`DmError::Malformed`], [`DmError::UnsupportedVersion`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DmError> {
        decode(bytes, DM_ITEM_LEN_MAX)
    }

    pub(super) fn id(&self) -> PrekeyId {
        self.terms.id
    }

    pub(super) fn verify(&self, owner: &Device, now: UnixMs) -> Result<(), DmError> {
        self.terms.verify(owner, &[self.dh.as_bytes(), self.kem.as_bytes()], &self.signature)?;
        Ok(self.terms.check(Kind::OneTimePair, now)?)
    }

    pub(super) fn to_transcript(&self) -> Vec<u8> {
        self.terms.with_keys(&[self.dh.as_bytes(), self.kem.as_bytes()])
    }
}

/// What to publish in the directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Publication {
    /// Rises exactly when the body changes; the relay then forgets the items that it still holds.
    pub version: u64,
    /// An encoded [`BundleBody`].
    pub body: Vec<u8>,
    /// Encoded [`OneTimeItem`]s, all new.
    pub items: Vec<Vec<u8>>,
}

/// Makes `count` new one-time pairs, replaces the signed prekey when it is older than 7 days, deletes what is past its
/// time, and yields what is to be published (rules DM-06 to DM-09).
///
/// # Errors
/// [`DmError::TooMany`], [`DmError::Store`].
pub fn replenish(
    tx: &mut Tx<'_>,
    us: &LocalIdentity,
    count: usize,
    now: UnixMs,
    rng: &mut dyn CryptoRng,
) -> Result<Publication, DmError> {
    if count > DM_ONE_TIME_COUNT_MAX {
        return Err(DmError::TooMany);
    }
    all_or_nothing(tx, |tx| {
        let mut counters = Counters::load(tx)?;
        let row = SignedRow::current(tx, &mut counters, now, rng)?;
        delete_old_signed(tx, now)?;
        delete_old_pairs(tx, now)?;
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(PairRow::create(tx, counters.take_id(), now, rng).to_item(us).encode());
        }
        let body = row.to_body(us).encode();
        counters.note_published(row.dh_terms.id);
        tx.put(Table::Prekeys, COUNTERS, encode(&counters));
        Ok(Publication { version: counters.version, body, items })
    })
}

/// The rows of [`Table::Prekeys`] by their first byte.
const COUNTERS: &[u8] = &[0];
const SIGNED: u8 = 1;
const PAIR: u8 = 2;
const SEEN: u8 = 3;
const SEEN_COUNT: u8 = 4;

/// How many rows are read at once when old ones are looked for.
const PAGE: usize = 64;

fn row_key(kind: u8, id: PrekeyId) -> Vec<u8> {
    [&[kind][..], &id.0.to_be_bytes()].concat()
}

#[derive(TlsSerialize, TlsDeserializeBytes, TlsSize)]
struct Counters {
    next_id: u64,
    version: u64,
    /// The signed prekey of the body that was published: another one is another body.
    published: Option<PrekeyId>,
}

impl Counters {
    fn load(tx: &Tx<'_>) -> Result<Self, DmError> {
        match tx.get(Table::Prekeys, COUNTERS)? {
            Some(row) => decode_row(&row),
            None => Ok(Self { next_id: 1, version: 0, published: None }),
        }
    }

    fn take_id(&mut self) -> PrekeyId {
        let id = PrekeyId(self.next_id);
        self.next_id += 1;
        id
    }

    fn note_published(&mut self, published: PrekeyId) {
        if self.published != Some(published) {
            self.published = Some(published);
            self.version += 1;
        }
    }
}

/// The secrets of a signed prekey and of the KEM prekey of last resort beside it.
#[derive(TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub(super) struct SignedRow {
    dh_terms: Terms,
    dh: PrekeySecret,
    kem_terms: Terms,
    kem: KemSeed,
}

/// Whether the signed prekey is to be replaced, and so the bundle to be published anew (rule DM-07).
///
/// # Errors
/// [`DmError::Store`].
pub fn is_rotation_due(tx: &Tx<'_>, now: UnixMs) -> Result<bool, DmError> {
    Ok(SignedRow::newest(tx)?.is_none_or(|row| row.is_rotation_due(now)))
}

impl SignedRow {
    fn newest(tx: &Tx<'_>) -> Result<Option<Self>, DmError> {
        let newest = tx.scan_prefix(Table::Prekeys, &[SIGNED], Direction::Descending, 1)?;
        newest.first().map(|(_, row)| decode_row(row)).transpose()
    }

    fn is_rotation_due(&self, now: UnixMs) -> bool {
        let made = self.dh_terms.not_before;
        now.since(made) >= DM_PREKEY_ROTATION || made > now.after(DM_CLOCK_SKEW)
    }

    /// The newest, or a new one if that is due (rule DM-07).
    fn current(
        tx: &mut Tx<'_>,
        counters: &mut Counters,
        now: UnixMs,
        rng: &mut dyn CryptoRng,
    ) -> Result<Self, DmError> {
        if let Some(row) = Self::newest(tx)?.filter(|row| !row.is_rotation_due(now)) {
            return Ok(row);
        }
        let id = counters.take_id();
        let row = Self {
            dh_terms: Terms::new(Kind::SignedDh, id, now),
            dh: PrekeySecret::new(DhSecret::random(rng)),
            kem_terms: Terms::new(Kind::LastResortKem, id, now),
            kem: KemSeed::of(&KemSecret::random(rng)),
        };
        tx.put(Table::Prekeys, &row_key(SIGNED, id), encode(&row));
        Ok(row)
    }

    /// The prekey that a first message names.
    pub(super) fn load(tx: &Tx<'_>, id: PrekeyId, now: UnixMs) -> Result<Self, DmError> {
        let row = tx.get(Table::Prekeys, &row_key(SIGNED, id))?.ok_or(PrekeyFault::Unknown)?;
        let row: Self = decode_row(&row)?;
        if row.dh_terms.is_over(now) { Err(PrekeyFault::Expired.into()) } else { Ok(row) }
    }

    /// The DH key, and what of it enters the transcript.
    pub(super) fn to_dh(&self) -> (DhSecret, Vec<u8>) {
        let key = self.dh.to_dh();
        let transcript = self.dh_terms.with_keys(&[key.public().as_bytes()]);
        (key, transcript)
    }

    /// The KEM key of last resort, and what of it enters the transcript.
    pub(super) fn to_kem(&self) -> (KemSecret, Vec<u8>) {
        let key = self.kem.to_kem();
        let transcript = self.kem_terms.with_keys(&[key.public().as_bytes()]);
        (key, transcript)
    }

    fn to_body(&self, us: &LocalIdentity) -> BundleBody {
        let Self { dh_terms, dh, kem_terms, kem } = self;
        let (dh, kem) = (dh.as_dh().public(), kem.to_kem().public());
        let signature = dh_terms.sign(us, &[dh.as_bytes()]);
        let signed = SignedPrekey { terms: *dh_terms, key: dh, signature };
        let signature = kem_terms.sign(us, &[kem.as_bytes()]);
        let last_resort = LastResort { terms: *kem_terms, key: kem, signature };
        BundleBody { signed, last_resort }
    }
}

/// The secrets of a one-time pair.
#[derive(TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub(super) struct PairRow {
    terms: Terms,
    dh: PrekeySecret,
    kem: KemSeed,
}

impl PairRow {
    fn create(tx: &mut Tx<'_>, id: PrekeyId, now: UnixMs, rng: &mut dyn CryptoRng) -> Self {
        let row = Self {
            terms: Terms::new(Kind::OneTimePair, id, now),
            dh: PrekeySecret::new(DhSecret::random(rng)),
            kem: KemSeed::of(&KemSecret::random(rng)),
        };
        tx.put(Table::Prekeys, &row_key(PAIR, id), encode(&row));
        row
    }

    /// The pair that a first message names; deleted in the same step, if that message opens.
    pub(super) fn take(tx: &mut Tx<'_>, id: PrekeyId, now: UnixMs) -> Result<Self, DmError> {
        let key = row_key(PAIR, id);
        let row = tx.get(Table::Prekeys, &key)?.ok_or(PrekeyFault::Unknown)?;
        let row: Self = decode_row(&row)?;
        if row.terms.is_over(now) {
            return Err(PrekeyFault::Expired.into());
        }
        tx.delete(Table::Prekeys, &key);
        Ok(row)
    }

    /// Both keys, and what of them enters the transcript.
    pub(super) fn to_keys(&self) -> (DhSecret, KemSecret, Vec<u8>) {
        let (dh, kem) = (self.dh.to_dh(), self.kem.to_kem());
        let transcript = self.terms.with_keys(&[dh.public().as_bytes(), kem.public().as_bytes()]);
        (dh, kem, transcript)
    }

    fn to_item(&self, us: &LocalIdentity) -> OneTimeItem {
        let (dh, kem) = (self.dh.as_dh().public(), self.kem.to_kem().public());
        let signature = self.terms.sign(us, &[dh.as_bytes(), kem.as_bytes()]);
        OneTimeItem { terms: self.terms, dh, kem, signature }
    }
}

/// Remembers that the ephemeral key came with the signed prekey; refuses it the second time (rule DM-17).
pub(super) fn note_ephemeral(tx: &mut Tx<'_>, signed: PrekeyId, ephemeral: &DhPublic) -> Result<(), DmError> {
    let key = [&row_key(SEEN, signed)[..], &hash(DIRECT_REPLAY, &[ephemeral.as_bytes()])].concat();
    if tx.get(Table::Prekeys, &key)?.is_some() {
        return Err(DmError::Replay);
    }
    let count_key = row_key(SEEN_COUNT, signed);
    let count: u32 = tx.get(Table::Prekeys, &count_key)?.map_or(Ok(0), |row| decode_row(&row))?;
    if count as usize >= DM_REPLAY_MEMORY_MAX {
        return Err(DmError::ReplayMemoryFull);
    }
    tx.put(Table::Prekeys, &count_key, encode(&(count + 1)));
    tx.put(Table::Prekeys, &key, [VERSION]);
    Ok(())
}

/// Deletes signed prekeys that were replaced and of which no first message can be on its way, and what was remembered of their
/// use (rule DM-08).
fn delete_old_signed(tx: &mut Tx<'_>, now: UnixMs) -> Result<(), DmError> {
    let rows = tx.scan_prefix(Table::Prekeys, &[SIGNED], Direction::Ascending, PAGE)?;
    let terms: Result<Vec<Terms>, DmError> =
        rows.iter().map(|(_, row)| decode_row::<SignedRow>(row).map(|row| row.dh_terms)).collect();
    for pair in terms?.windows(2) {
        let [old, _] = pair else { continue };
        if old.is_over(now) {
            tx.delete(Table::Prekeys, &row_key(SEEN_COUNT, old.id));
            tx.delete(Table::Prekeys, &row_key(SIGNED, old.id));
            delete_prefix(tx, &row_key(SEEN, old.id))?;
        }
    }
    Ok(())
}

/// Deletes pairs whose time is over; ids rise with time, so that the first fresh one ends the search.
fn delete_old_pairs(tx: &mut Tx<'_>, now: UnixMs) -> Result<(), DmError> {
    loop {
        let rows = tx.scan_prefix(Table::Prekeys, &[PAIR], Direction::Ascending, PAGE)?;
        for (key, row) in &rows {
            if !decode_row::<PairRow>(row)?.terms.is_over(now) {
                return Ok(());
            }
            tx.delete(Table::Prekeys, key);
        }
        if rows.is_empty() {
            return Ok(());
        }
    }
}

fn delete_prefix(tx: &mut Tx<'_>, prefix: &[u8]) -> Result<(), DmError> {
    loop {
        let rows = tx.scan_prefix(Table::Prekeys, prefix, Direction::Ascending, PAGE)?;
        if rows.is_empty() {
            return Ok(());
        }
        for (key, _) in &rows {
            tx.delete(Table::Prekeys, key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{MemoryStore, Overlay};

    // spec DM-17
    #[test]
    fn a_signed_prekey_takes_as_many_first_messages_as_are_remembered_and_its_successor_goes_on() {
        let (store, overlay) = (MemoryStore::new(), Overlay::default());
        let mut tx = Tx::new(&store, &overlay);
        let ephemeral = |n: usize| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&n.to_be_bytes());
            DhPublic::from_bytes(bytes)
        };
        let [signed, successor] = [PrekeyId(1), PrekeyId(2)];
        for n in 0..DM_REPLAY_MEMORY_MAX {
            assert_eq!(note_ephemeral(&mut tx, signed, &ephemeral(n)), Ok(()));
        }
        assert_eq!(note_ephemeral(&mut tx, signed, &ephemeral(7)), Err(DmError::Replay));
        let one_more = ephemeral(DM_REPLAY_MEMORY_MAX);
        assert_eq!(note_ephemeral(&mut tx, signed, &one_more), Err(DmError::ReplayMemoryFull));
        assert_eq!(note_ephemeral(&mut tx, successor, &one_more), Ok(()));
    }
}
