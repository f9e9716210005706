//! spec/history: the log through which a history goes, its chunks, and the digest over what was given.

use serde_json::json;
use undertone::crypto::aead;
use undertone::crypto::label::{self, transcript};
use undertone::envelope::LogKeys;
use undertone::envelope::history::{HistoryChunk, HistoryDigest, HistoryError, HistoryRest, TransferKeys};
use undertone_wire::id::{Generation, LogId, Seq};
use undertone_wire::limits::COUNTER_MAX;

use super::Subject;
use super::inputs::{Derived, Inputs, Stop, ensure, fault, hex};

pub(super) const SUBJECTS: &[(&str, Subject)] =
    &[("transfer-log", transfer_log), ("history-digest", history_digest), ("history-chunk", history_chunk)];

impl From<HistoryError> for Stop {
    fn from(error: HistoryError) -> Self {
        match error {
            HistoryError::TooLong => Self::Refused("too-long"),
            HistoryError::DoesNotOpen => Self::Refused("does-not-open"),
            HistoryError::Chunk(error) => error.into(),
            _ => Self::Refused("unknown"),
        }
    }
}

fn transfer_log(inputs: &Inputs<'_>) -> Derived {
    let (secret, keys) = (inputs.secret("transfer_secret")?, TransferKeys::derive(inputs.secret("transfer_secret")?));
    let outer = LogKeys::derive(&secret, keys.log(), Generation::FIRST).outer;
    Ok(json!({
        "control_seed": hex(keys.control().to_seed().expose()),
        "control_key": hex(keys.control().verify_key().as_bytes()),
        "log": hex(keys.log().as_bytes()),
        "gate": hex([*keys.gate().read.as_bytes(), *keys.gate().append.as_bytes()].concat()),
        "outer_key": hex(outer.as_secret().expose()),
        "entry_id": hex(keys.entry(inputs.number("number")?).as_bytes()),
    }))
}

fn history_digest(inputs: &Inputs<'_>) -> Derived {
    let log = LogId::from_bytes(inputs.array("log")?);
    let (seqs, ids) = (inputs.numbers("seqs")?, inputs.list("message_ids")?);
    let is_counter = |seq: &u64| *seq <= COUNTER_MAX;
    if seqs.len() != ids.len() || !seqs.iter().all(is_counter) {
        return Err(fault("seqs", "are not as many counters as there are messages").into());
    }
    let mut digest = HistoryDigest::EMPTY;
    let mut digests = Vec::new();
    for (seq, id) in seqs.into_iter().zip(ids) {
        let id = id.try_into().map_err(|_| fault("message_ids", "holds what has not 32 bytes"))?;
        digest = digest.with(&log, Seq::from_u64(seq), &id);
        digests.push(hex(digest.as_bytes()));
    }
    Ok(json!({ "digests": digests }))
}

fn history_chunk(inputs: &Inputs<'_>) -> Derived {
    let (secret, keys) = (inputs.secret("transfer_secret")?, TransferKeys::derive(inputs.secret("transfer_secret")?));
    let number = inputs.number("number")?;
    if inputs.has("payload") {
        let chunk = keys.open(number, &inputs.bytes("payload")?)?;
        let place = |log: u16, sender: u16, seq: Seq| -> Result<String, Stop> {
            let small = |index: u16| u8::try_from(index).map_err(|_| fault("payload", "counts past 255"));
            Ok(hex([&[small(log)?, small(sender)?], seq.as_u64().to_be_bytes().as_slice()].concat()))
        };
        let places = chunk.messages.iter().map(|message| place(message.log, message.sender, message.seq));
        return Ok(json!({
            "walked": chunk.walked,
            "certificates": chunk.contacts.iter().map(|contact| hex(&contact.certificate)).collect::<Vec<_>>(),
            "names": chunk.contacts.iter().map(|contact| hex(&contact.name)).collect::<Vec<_>>(),
            "logs": chunk.logs().map(|(_, log)| hex(log.log.as_bytes())).collect::<Vec<_>>(),
            "read_through": chunk.logs().map(|(_, log)| log.read_through.as_u64()).collect::<Vec<_>>(),
            "accounts": chunk.senders.iter().map(|sender| hex(sender.account.as_bytes())).collect::<Vec<_>>(),
            "devices": chunk.senders.iter().map(|sender| hex(sender.device.as_bytes())).collect::<Vec<_>>(),
            "places": places.collect::<Result<Vec<_>, _>>()?,
            "reached": chunk.messages.iter().map(|message| message.reached as u8).collect::<Vec<_>>(),
            "contents": chunk.messages.iter().map(|message| hex(&message.content)).collect::<Vec<_>>(),
            "rest": match chunk.rest {
                HistoryRest::Follows => 1,
                HistoryRest::Done { .. } => 2,
                HistoryRest::Cancelled => 3,
            },
        }));
    }
    let chunk = HistoryChunk::decode(&inputs.bytes("chunk")?)?;
    let mut rng = inputs.randomness::<24>("nonce")?;
    let payload = keys.seal(number, &chunk, &mut rng)?;
    rng.end()?;
    ensure(keys.open(number, &payload)? == chunk, "another chunk opens")?;
    let aad = transcript(label::HISTORY_CHUNK, &[keys.log().as_bytes(), &number.to_be_bytes()]);
    let outer = LogKeys::derive(&secret, keys.log(), Generation::FIRST).outer;
    let padded = aead::open_random(outer.as_secret(), &aad, &payload)?;
    Ok(json!({ "aad": hex(aad), "padded": hex(&*padded), "payload": hex(payload) }))
}
