//! The key schedule of a session in single steps (spec/dm): for vectors, and for whoever holds another implementation
//! against this one.
//!
//! Each function is the step that sessions take, over secrets that the caller gives and gets back. None reaches into a
//! session or a store: nothing is shown that the caller did not have.
//!
//! Leaves out state: counters, stored seeds, and what may be refused when.

pub use super::ratchet::Header;

use super::chunk::{self, ChunkIndex, ChunkLen, Collected, Collector};
use super::handshake::{HandshakeKeys, Prekeys, SecretInput, Sides, session_id};
use super::keys::{MessageSeed, PqKey, RecvHeaderKey, RootKey, SendChainKey, SendHeaderKey};
use super::pq::PqEpoch;
use super::ratchet::{
    PAYLOAD_NONCE, PREFIX_LEN, Payload, RANDOM_LEN, RatchetMessage, open_header, payload_aad, seal_header,
    split_payload,
};
use super::{DmError, Party, SessionId};
use crate::crypto::dh::{DhPublic, DhSecret};
use crate::crypto::kem::{KemCiphertext, KemPublic};
use crate::crypto::{Secret32, aead};
use crate::identity::{AccountId, DeviceId};
use crate::limits::DM_MESSAGE_LEN_MAX;

/// What of a handshake enters its transcript (rule DM-14). A prekey is its terms and its keys, 26 bytes and more; of the
/// last resort and the pair, the one that is not used is empty.
#[derive(Debug)]
pub struct Transcript<'t> {
    /// Of both sides' chunks in the post-quantum ratchet.
    pub chunk_len: ChunkLen,
    /// Who begins.
    pub initiator: (AccountId, DeviceId),
    /// Who answers.
    pub responder: (AccountId, DeviceId),
    /// The signed prekey.
    pub signed: &'t [u8],
    /// The KEM prekey of last resort.
    pub last_resort: &'t [u8],
    /// The one-time pair.
    pub pair: &'t [u8],
    /// The initiator's ephemeral key.
    pub ephemeral: &'t DhPublic,
    /// What the KEM key was answered with.
    pub ciphertext: &'t KemCiphertext,
}

/// The keys that a handshake yields (rule DM-13).
#[derive(Debug)]
pub struct SessionKeys {
    /// From which every chain comes.
    pub root: Secret32,
    /// Seals the headers of the initiator's first chain.
    pub header: Secret32,
    /// Seals the headers of the responder's first chain.
    pub next_header: Secret32,
    /// The post-quantum key of epoch 0.
    pub pq: Secret32,
}

/// Names a session, and derives its keys from the secrets of its handshake: three or four agreements and the KEM's, in the
/// order of the specification (rules DM-13, DM-14).
pub fn session_keys(transcript: &Transcript<'_>, secrets: &[Secret32]) -> (SessionId, SessionKeys) {
    let Transcript { chunk_len, initiator, responder, signed, last_resort, pair, ephemeral, ciphertext } = transcript;
    let party = |(account, device): (AccountId, DeviceId)| Party { account, device };
    let sides = Sides { initiator: party(*initiator), responder: party(*responder) };
    let prekeys = Prekeys { last_resort: last_resort.to_vec(), pair: pair.to_vec() };
    let session = session_id(&sides, *chunk_len, signed, &prekeys, (ephemeral, ciphertext));
    let mut input = SecretInput::new();
    secrets.iter().for_each(|secret| input.push(secret));
    let HandshakeKeys { root, header, next_header, pq } = input.derive(&session);
    let [root, pq] = [root.as_secret(), pq.as_secret()].map(Secret32::duplicate);
    (session, SessionKeys { root, header, next_header, pq })
}

/// A step of the root chain: the next root key, a chain key, and the header key of the chain behind that one (rule DM-22).
///
/// # Errors
/// [`DmError::WeakKey`].
pub fn root_step(root: &Secret32, ours: &DhSecret, theirs: &DhPublic) -> Result<[Secret32; 3], DmError> {
    RootKey::from_secret(root.duplicate()).step(ours, theirs)
}

/// A step of a message chain: the next chain key, and the seed of a message (rule DM-23).
pub fn chain_step(chain: &Secret32) -> [Secret32; 2] {
    let (chain, seed) = SendChainKey::from_secret(chain.duplicate()).step();
    [chain.as_secret(), seed.as_secret()].map(Secret32::duplicate)
}

/// The key of one message (rule DM-24).
pub fn message_key(seed: &Secret32, pq_key: &Secret32, epoch: PqEpoch, random: &[u8; RANDOM_LEN]) -> Secret32 {
    let pq_key = PqKey::from_secret(pq_key.duplicate());
    MessageSeed::from_secret(seed.duplicate()).into_message_key(&pq_key, epoch, random)
}

/// The key of a post-quantum epoch from that of the one before, and what confirms it (rule DM-98).
pub fn pq_step(
    pq_key: &Secret32,
    shared: &Secret32,
    session: &[u8; 32],
    epoch: PqEpoch,
    offer: &KemPublic,
    ciphertext: &KemCiphertext,
) -> [Secret32; 2] {
    let fields: [&[u8]; 4] = [session, &epoch.as_u32().to_be_bytes(), offer.as_bytes(), ciphertext.as_bytes()];
    let (key, confirmation) = PqKey::from_secret(pq_key.duplicate()).next(shared, &fields);
    [key.as_secret(), confirmation.as_secret()].map(Secret32::duplicate)
}

/// Chunk `index` of a value; nothing for 255, which stands for no chunk (rule DM-90).
pub fn cut(value: &[u8], chunk_len: ChunkLen, index: u8) -> Option<Vec<u8>> {
    let mut chunk = Vec::with_capacity(chunk_len.as_usize());
    chunk::push_chunk(value, chunk_len, ChunkIndex::from_u8(index)?, &mut chunk);
    Some(chunk)
}

/// The value that chunks bring back, each with its index; nothing if they are too few (rule DM-92). All have the length.
///
/// # Errors
/// [`DmError::PqMismatch`] if two of one index differ; [`DmError::Malformed`] for the index 255 or another length.
pub fn join(chunks: &[(u8, Vec<u8>)], value_len: usize, chunk_len: ChunkLen) -> Result<Option<Vec<u8>>, DmError> {
    let mut collector = Collector::new();
    for (index, chunk) in chunks {
        let index = ChunkIndex::from_u8(*index).filter(|_| chunk.len() == chunk_len.as_usize());
        let index = index.ok_or(DmError::Malformed)?;
        match collector.examine(index, chunk, value_len, chunk_len) {
            Collected::Known => {}
            Collected::More => collector.keep(index, chunk),
            Collected::Whole(value) => return Ok(Some(value)),
            Collected::Contradiction => return Err(DmError::PqMismatch),
        }
    }
    Ok(None)
}

/// A payload: what is said, and the chunk behind it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MessagePayload {
    /// What is said.
    pub plaintext: Vec<u8>,
    /// Which chunk, or 255 for none.
    pub chunk_index: u8,
    /// The chunk, of the session's chunk length.
    pub chunk: Vec<u8>,
}

/// Seals one message under given keys (rules DM-20 to DM-27).
///
/// # Errors
/// [`DmError::TooLong`].
pub fn seal_message(
    header_key: &Secret32,
    message_key: &Secret32,
    random: &[u8; RANDOM_LEN],
    header: &Header,
    payload: &MessagePayload,
    ad: &[u8],
) -> Result<Vec<u8>, DmError> {
    let MessagePayload { plaintext, chunk_index, chunk } = payload;
    let mut message = Vec::with_capacity(PREFIX_LEN + plaintext.len() + 1 + chunk.len() + aead::TAG_LEN);
    if message.capacity() > DM_MESSAGE_LEN_MAX {
        return Err(DmError::TooLong);
    }
    seal_header(&SendHeaderKey::from_secret(header_key.duplicate()), random, header, &mut message);
    let aad = payload_aad(&message, ad);
    message.extend_from_slice(plaintext);
    message.push(*chunk_index);
    message.extend_from_slice(chunk);
    aead::seal_in_place(message_key, &PAYLOAD_NONCE, &aad, &mut message, PREFIX_LEN);
    Ok(message)
}

/// Opens one message under given keys (rules DM-20 to DM-25, DM-93).
///
/// # Errors
/// [`DmError::Malformed`], [`DmError::Authentication`].
pub fn open_message(
    header_key: &Secret32,
    message_key: &Secret32,
    chunk_len: ChunkLen,
    message: &[u8],
    ad: &[u8],
) -> Result<(Header, MessagePayload), DmError> {
    let message = RatchetMessage::decode(message)?;
    let header = open_header(&RecvHeaderKey::from_secret(header_key.duplicate()), &message);
    let header = header.ok_or(DmError::Authentication)?;
    let aad = payload_aad(message.prefix, ad);
    let opened = aead::open(message_key, &PAYLOAD_NONCE, &aad, message.payload).map_err(|_| DmError::Authentication)?;
    let Payload { text, chunk_index, chunk } = split_payload(&opened, chunk_len)?;
    Ok((header, MessagePayload { plaintext: text.to_vec(), chunk_index, chunk: chunk.to_vec() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dm::message_overhead_len;

    /// What `seal_message` lays out is what a session lays out: the same overhead, and it opens again.
    #[test]
    fn a_message_opens_under_its_keys_alone() {
        let [header_key, message_key] = [1, 2].map(|byte| Secret32::from_bytes([byte; 32]));
        let header = Header { key: DhPublic::from_bytes([9; 32]), n: 3, pn: 7, pq_epoch: PqEpoch::from_u32(1) };
        let payload = MessagePayload { plaintext: b"text".to_vec(), chunk_index: 12, chunk: vec![5; 37] };
        let message = seal_message(&header_key, &message_key, &[4; 16], &header, &payload, b"ad").expect("it is short");
        assert_eq!(message.len(), 4 + message_overhead_len(ChunkLen::DEFAULT));
        let opened = open_message(&header_key, &message_key, ChunkLen::DEFAULT, &message, b"ad");
        assert_eq!(opened, Ok((header, payload)));
        let other = open_message(&header_key, &message_key, ChunkLen::DEFAULT, &message, b"other ad");
        assert_eq!(other, Err(DmError::Authentication));
    }
}
