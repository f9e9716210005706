//! What the members of a log share: keys of a generation, the shell and its padding (spec/envelope), the chain of entries
//! and the proofs of a gate (spec/relay).

use serde_json::json;
use undertone::crypto::aead;
use undertone::crypto::label::{self, transcript};
use undertone::crypto::sign::Signature;
use undertone::envelope::padding::bucket;
use undertone::envelope::shell::{self, ShellError};
use undertone::envelope::{
    ConversationId, DecodeError, EpochEvidence, Evidence, LogKeys, LogOrder, LogRoot, OuterKey, Parcel, ParcelKind,
};
use undertone::identity::AccountId;
use undertone_wire::chain::{EMPTY, Leaf};
use undertone_wire::frame::Class;
use undertone_wire::gate::{Gate, Proof, Right, proof_input};
use undertone_wire::id::{ConnectionNonce, EntryId, Generation, Head, LogId, PayloadHash, Seq, ServerId, VerifyKey};
use undertone_wire::limits::PARCEL_LEN_MAX;

use super::Subject;
use super::inputs::{Derived, Inputs, Stop, ensure, fault, hex};
use super::vectors::Fault;

pub(super) const SUBJECTS: &[(&str, Subject)] = &[
    ("generation-keys", generation_keys),
    ("direct-log", direct_log),
    ("conversation-id", conversation_id),
    ("gate-proof", gate_proof),
    ("entry-chain", entry_chain),
    ("padding-bucket", padding_bucket),
    ("shell", shell),
];

impl From<DecodeError> for Stop {
    fn from(error: DecodeError) -> Self {
        Self::Refused(match error {
            DecodeError::TooLong { .. } => "too-long",
            DecodeError::Version { .. } => "version",
            DecodeError::Kind { .. } => "kind",
            DecodeError::CriticalExtension { .. } => "critical-extension",
            DecodeError::Malformed => "malformed",
            DecodeError::Range { field: "padding" } => "padding",
            DecodeError::Range { .. } => "bound",
            _ => "unknown",
        })
    }
}

impl From<ShellError> for Stop {
    fn from(error: ShellError) -> Self {
        match error {
            ShellError::TooLong { .. } => Self::Refused("too-long"),
            ShellError::DoesNotOpen => Self::Refused("does-not-open"),
            ShellError::Parcel(error) => error.into(),
            _ => Self::Refused("unknown"),
        }
    }
}

fn log_of(inputs: &Inputs<'_>) -> Result<LogId, Fault> {
    inputs.array("log").map(LogId::from_bytes)
}

fn generation_of(inputs: &Inputs<'_>) -> Result<Generation, Fault> {
    inputs.number("generation").map(Generation::from_u64)
}

fn class_of(inputs: &Inputs<'_>) -> Result<Class, Fault> {
    match inputs.number("class")? {
        1 => Ok(Class::Control),
        2 => Ok(Class::Critical),
        3 => Ok(Class::Normal),
        4 => Ok(Class::Bulk),
        _ => Err(fault("class", "is no class")),
    }
}

fn gate_bytes(gate: &Gate) -> String {
    hex([*gate.read.as_bytes(), *gate.append.as_bytes()].concat())
}

fn generation_keys(inputs: &Inputs<'_>) -> Derived {
    let keys = LogKeys::derive(&inputs.secret("generation_secret")?, log_of(inputs)?, generation_of(inputs)?);
    Ok(json!({
        "read_seed": hex(keys.read.to_seed().expose()),
        "append_seed": hex(keys.append.to_seed().expose()),
        "gate": gate_bytes(&keys.gate()),
        "outer_key": hex(keys.outer.as_secret().expose()),
        "ephemeral_key": hex(keys.ephemeral.as_secret().expose()),
    }))
}

fn direct_log(inputs: &Inputs<'_>) -> Derived {
    let root = LogRoot::of_first(&inputs.secret("generation_secret_0")?);
    let conversation = ConversationId::from_bytes(inputs.array("conversation_id")?);
    let round = u32::try_from(inputs.number("round")?).map_err(|_| fault("round", "is no u32"))?;
    let order = LogOrder { lists: inputs.number("lists")?, round };
    let control = root.control_key(&conversation, order);
    Ok(json!({
        "root": hex(root.as_secret().expose()),
        "control_seed": hex(control.to_seed().expose()),
        "control_key": hex(control.verify_key().as_bytes()),
        "log": hex(root.log_id(&conversation, order).as_bytes()),
    }))
}

fn conversation_id(inputs: &Inputs<'_>) -> Derived {
    let mut accounts = Vec::new();
    for account in inputs.list("account_ids")? {
        let bytes = account.try_into().map_err(|_| fault("account_ids", "holds no account id"))?;
        accounts.push(AccountId::from_bytes(bytes));
    }
    let [one, other] = accounts.as_slice() else { return Err(fault("account_ids", "are not two").into()) };
    Ok(json!({"conversation_id": hex(ConversationId::direct(one, other).as_bytes())}))
}

fn gate_proof(inputs: &Inputs<'_>) -> Derived {
    let nonce = ConnectionNonce::from_bytes(inputs.array("nonce")?);
    let server = ServerId::from_bytes(inputs.array("server")?);
    let (log, generation) = (log_of(inputs)?, generation_of(inputs)?);
    let right = match inputs.number("right")? {
        1 => Right::Read,
        2 => Right::Append,
        3 => Right::Control,
        _ => return Err(fault("right", "is no right").into()),
    };
    let signed = proof_input(&nonce, &server, &log, generation, right);
    if inputs.has("seed") {
        let key = inputs.signing_key("seed")?;
        let signature = key.sign_transcript(&signed);
        let proof = Proof { log, generation, right, signature };
        ensure(proof.is_signed_by(&key.verify_key(), &nonce, &server), "its own proof does not verify")?;
        return Ok(json!({
            "key": hex(key.verify_key().as_bytes()), "signed": hex(signed), "signature": hex(signature.as_bytes()),
        }));
    }
    let proof = Proof { log, generation, right, signature: Signature::from_bytes(inputs.array("signature")?) };
    match proof.is_signed_by(&VerifyKey::from_bytes(inputs.array("key")?), &nonce, &server) {
        true => Ok(json!({"verifies": true})),
        false => Err(Stop::Refused("bad-signature")),
    }
}

fn entry_chain(inputs: &Inputs<'_>) -> Derived {
    let (mut head, mut hashes, mut leaves, mut heads) = (EMPTY, Vec::new(), Vec::new(), Vec::new());
    for entry in inputs.objects("entries")? {
        let payload = match entry.has("payload_hash") {
            true => PayloadHash::from_bytes(entry.array("payload_hash")?),
            false => PayloadHash::of(&entry.bytes("payload")?),
        };
        let leaf = Leaf {
            seq: Seq::from_u64(entry.number("seq")?),
            generation: generation_of(&entry)?,
            class: class_of(&entry)?,
            id: EntryId::from_bytes(entry.array("id")?),
            turn: turn_of(&entry)?,
            payload,
        };
        entry.end()?;
        head = leaf.extend(&head);
        hashes.push(hex(payload.as_bytes()));
        leaves.push(hex(leaf.hash()));
        heads.push(hex(head.as_bytes()));
    }
    Ok(json!({"payload_hashes": hashes, "leaves": leaves, "heads": heads}))
}

fn turn_of(entry: &Inputs<'_>) -> Result<Option<Gate>, Fault> {
    let bytes = entry.bytes("turn")?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let keys: Vec<VerifyKey> = bytes.as_chunks::<32>().0.iter().map(|key| VerifyKey::from_bytes(*key)).collect();
    match keys.as_slice() {
        [read, append] if bytes.len() == 64 => Ok(Some(Gate { read: *read, append: *append })),
        _ => Err(fault("turn", "is neither empty nor a gate")),
    }
}

fn padding_bucket(inputs: &Inputs<'_>) -> Derived {
    let parcel_len: usize = inputs.small("parcel_len")?;
    let padded_len = bucket(4 + parcel_len);
    if padded_len > PARCEL_LEN_MAX {
        return Err(Stop::Refused("too-long"));
    }
    Ok(json!({"padded_len": padded_len, "zeros": padded_len - 4 - parcel_len}))
}

fn shell(inputs: &Inputs<'_>) -> Derived {
    let key = OuterKey::from_secret(inputs.secret("outer_key")?);
    let (log, generation, class) = (log_of(inputs)?, generation_of(inputs)?, class_of(inputs)?);
    let entry = EntryId::from_bytes(inputs.array("entry_id")?);
    if inputs.has("payload") {
        let parcel = shell::open(&key, log, generation, entry, class, &inputs.bytes("payload")?)?;
        return Ok(json!({
            "kind": parcel.kind as u8,
            "seq": parcel.evidence.seq.as_u64(),
            "head": hex(parcel.evidence.head.as_bytes()),
            "epoch": hex(parcel.evidence.epoch.as_bytes()),
            "body": hex(parcel.body),
        }));
    }
    let kind = match inputs.number("kind")? {
        1 => ParcelKind::DirectMessage,
        2 => ParcelKind::DirectTurn,
        3 => ParcelKind::GroupMessage,
        4 => ParcelKind::GroupCommit,
        5 => ParcelKind::GroupProposal,
        _ => return Err(fault("kind", "is no kind").into()),
    };
    let evidence = Evidence {
        seq: Seq::from_u64(inputs.number("seq")?),
        head: Head::from_bytes(inputs.array("head")?),
        epoch: EpochEvidence::from_bytes(inputs.array("epoch")?),
    };
    let parcel = Parcel { kind, evidence, body: inputs.bytes("body")? };
    let mut rng = inputs.randomness::<24>("nonce")?;
    let payload = shell::seal(&key, log, generation, entry, class, &parcel, &mut rng)?;
    rng.end()?;
    ensure(shell::open(&key, log, generation, entry, class, &payload)? == parcel, "another parcel opens")?;
    let fields: [&[u8]; 4] = [log.as_bytes(), &generation.to_be_bytes(), entry.as_bytes(), &[class as u8]];
    let aad = transcript(label::SHELL, &fields);
    let padded = aead::open_random(key.as_secret(), &aad, &payload)?;
    Ok(json!({
        "evidence": hex(evidence.to_bytes()),
        "parcel": hex(parcel.encode()),
        "padded": hex(&*padded),
        "aad": hex(aad),
        "payload": hex(payload),
    }))
}
