//! The subjects of spec/dm.
//!
//! The steps of the key schedule are those of [`undertone::dm::steps`]. Prekeys and conversations go through the same calls
//! as in a client, over stores in memory and with the randomness that the vector gives: what they yield are the very bytes
//! that would travel.

use serde_json::json;
use undertone::crypto::dh::{DhPublic, DhSecret};
use undertone::crypto::kem::{KemCiphertext, KemSecret};
use undertone::crypto::label::{self, hash, transcript};
use undertone::crypto::{Secret32, aead};
use undertone::dm::steps::{self, Header, MessagePayload, SessionKeys, Transcript};
use undertone::dm::{
    self, BundleBody, ChunkLen, DmError, FirstMessage, Handshake, OneTimeItem, PqEpoch, PrekeyFault, Publication, Start,
};
use undertone::identity::{AccountCertificate, AccountId, Device, DeviceCertificate, DeviceId, LocalIdentity};
use undertone::store::{MemoryStore, Overlay, Store, Tx};
use undertone::time::UnixMs;
use zeroize::Zeroizing;

use super::Subject;
use super::inputs::{Derived, FixedRandomness, Inputs, Stop, ensure, fault, hex};
use super::vectors::Fault;

pub(super) const SUBJECTS: &[(&str, Subject)] = &[
    ("prekeys", prekeys),
    ("handshake-message", handshake_message),
    ("handshake", handshake),
    ("root-step", root_step),
    ("chain-step", chain_step),
    ("message-key", message_key),
    ("ratchet-message", ratchet_message),
    ("pq-step", pq_step),
    ("chunks", chunks),
    ("conversation", conversation),
];

impl From<DmError> for Stop {
    fn from(error: DmError) -> Self {
        Self::Refused(match error {
            DmError::Authentication => "does-not-open",
            DmError::BadPrekey { fault: PrekeyFault::Unsigned } => "bad-signature",
            DmError::BadPrekey { fault: PrekeyFault::WrongKind } => "wrong-kind",
            DmError::BadPrekey { fault: PrekeyFault::NotYetValid } => "not-yet-valid",
            DmError::BadPrekey { fault: PrekeyFault::Expired } => "expired",
            DmError::BadPrekey { fault: PrekeyFault::Unknown } => "unknown-prekey",
            DmError::Replay => "replay",
            DmError::JumpTooLarge { .. } => "jump-too-large",
            DmError::CounterOutOfRange => "counter-out-of-range",
            DmError::UnknownPqEpoch { .. } => "unknown-pq-epoch",
            DmError::PqMismatch => "pq-mismatch",
            DmError::StateForked => "state-forked",
            DmError::WeakKey => "weak-key",
            DmError::Malformed => "malformed",
            DmError::UnsupportedVersion { .. } => "version",
            DmError::OwnDevice => "own-device",
            DmError::TooLong => "too-long",
            _ => "unknown",
        })
    }
}

fn dh_of(inputs: &Inputs<'_>, name: &str) -> Result<DhSecret, Fault> {
    Ok(DhSecret::from_secret(&inputs.secret(name)?))
}

fn chunk_len_of(inputs: &Inputs<'_>) -> Result<ChunkLen, Stop> {
    ChunkLen::new(inputs.small("chunk_len")?).ok_or(Stop::Refused("malformed"))
}

fn epoch_of(inputs: &Inputs<'_>, name: &str) -> Result<PqEpoch, Fault> {
    inputs.small(name).map(PqEpoch::from_u32)
}

/// Encapsulates with the randomness that the vector gives; both sides agree.
fn encapsulate(inputs: &Inputs<'_>, secret: &KemSecret) -> Result<(KemCiphertext, Secret32), Stop> {
    let mut rng = inputs.randomness::<32>("kem_randomness")?;
    let (ciphertext, shared) = secret.public().encapsulate(&mut rng).map_err(|_| Stop::Refused("weak-key"))?;
    rng.end()?;
    ensure(secret.decapsulate(&ciphertext) == shared, "the KEM's two sides differ")?;
    Ok((ciphertext, shared))
}

/// One device of one account, with a store.
struct Person {
    store: MemoryStore,
    us: LocalIdentity,
}

impl Person {
    /// Makes the account and its first device of the randomness in `inputs`.
    fn create(inputs: &Inputs<'_>) -> Result<Self, Stop> {
        let drawn = [
            inputs.array::<32>("account_seed")?.to_vec(),
            inputs.array::<16>("account_nonce")?.to_vec(),
            inputs.array::<32>("signing_seed")?.to_vec(),
            inputs.array::<32>("dh_secret")?.to_vec(),
            // Two keys of the inbox, which enter nothing here.
            vec![0; 64],
        ];
        let mut rng = FixedRandomness::new(drawn.concat());
        let created = inputs.instant("created_ms")?;
        let store = MemoryStore::new();
        let us = in_step(&store, |tx| Ok(LocalIdentity::create(tx, "Somebody", created, &mut rng)?))?;
        rng.end()?;
        let not_after = us.credential().device_certificate().not_after();
        if not_after != inputs.instant("not_after_ms")? {
            return Err(fault("not_after_ms", "is not five years behind the making").into());
        }
        inputs.end()?;
        Ok(Self { store, us })
    }

    /// Publishes the prekeys of the randomness in `inputs`: one pair.
    fn publish(&self, inputs: &Inputs<'_>) -> Result<(Publication, UnixMs), Stop> {
        let drawn = [
            inputs.array::<32>("dh_secret")?.to_vec(),
            inputs.array::<32>("kem_d")?.to_vec(),
            inputs.array::<32>("kem_z")?.to_vec(),
            inputs.array::<32>("pair_dh_secret")?.to_vec(),
            inputs.array::<32>("pair_kem_d")?.to_vec(),
            inputs.array::<32>("pair_kem_z")?.to_vec(),
        ];
        // A device counts its prekeys from 1.
        if (inputs.number("signed_id")?, inputs.number("pair_id")?) != (1, 2) {
            return Err(fault("signed_id", "and the pair's are not 1 and 2").into());
        }
        let mut rng = FixedRandomness::new(drawn.concat());
        let made = inputs.instant("made_ms")?;
        let publication = self.step(|tx, us| dm::replenish(tx, us, 1, made, &mut rng))?;
        rng.end()?;
        inputs.end()?;
        Ok((publication, made))
    }

    /// One call, made durable.
    fn step<T>(&self, call: impl FnOnce(&mut Tx<'_>, &LocalIdentity) -> Result<T, DmError>) -> Result<T, Stop> {
        in_step(&self.store, |tx| Ok(call(tx, &self.us)?))
    }
}

fn in_step<T>(store: &MemoryStore, call: impl FnOnce(&mut Tx<'_>) -> Result<T, Stop>) -> Result<T, Stop> {
    let overlay = Overlay::default();
    let mut tx = Tx::new(store, &overlay);
    let done = call(&mut tx)?;
    store.commit(&tx.into_batch()).map_err(|error| Fault::new(error.to_string()))?;
    Ok(done)
}

fn only_item(publication: &Publication) -> Result<&[u8], Stop> {
    match publication.items.as_slice() {
        [item] => Ok(item),
        _ => Err(Fault::new("the library makes another number of pairs").into()),
    }
}

fn prekeys(inputs: &Inputs<'_>) -> Derived {
    if inputs.has("person") {
        let person = Person::create(&inputs.object("person")?)?;
        let (publication, _) = person.publish(&inputs.object("prekeys")?)?;
        let (body, item) = (&publication.body, only_item(&publication)?);
        // Terms, keys and signature of each, behind the version.
        let signed = [&body[1..59], &body[123..1_333], &item[1..1_243]];
        let device = person.us.device().id();
        let signed = signed.map(|prekey| hex(transcript(label::PREKEY, &[&[dm::VERSION], device.as_bytes(), prekey])));
        return Ok(json!({
            "account_id": hex(person.us.account().as_bytes()),
            "device_id": hex(device.as_bytes()),
            "signed": signed,
            "body": hex(body),
            "item": hex(item),
        }));
    }
    let account = AccountCertificate::decode(&inputs.bytes("account_certificate")?)?;
    let device = DeviceCertificate::decode(&inputs.bytes("device_certificate")?)?;
    let now = inputs.instant("now_ms")?;
    let peer = Device::verify(&account, &device, now)?;
    let body = BundleBody::decode(&inputs.bytes("body")?)?;
    let item = if inputs.has("item") { Some(OneTimeItem::decode(&inputs.bytes("item")?)?) } else { None };
    let store = MemoryStore::new();
    let rng = &mut rand::rng();
    let us = in_step(&store, |tx| Ok(LocalIdentity::create(tx, "Somebody", now, rng)?))?;
    let first = in_step(&store, |tx| Ok(dm::initiate(tx, &us, &peer, &body, item.as_ref(), &[], &[], now, rng)?))?;
    // What is not used of the body is not verified: that it was read as it is shows in its encoding.
    Ok(json!({"weak_start": first.start()? == Start::Weak, "encoded": hex(body.encode())}))
}

fn handshake_message(inputs: &Inputs<'_>) -> Derived {
    let bytes = inputs.bytes("handshake")?;
    let handshake = Handshake::decode(&bytes)?;
    let first = FirstMessage { handshake: bytes, message: Vec::new() };
    Ok(json!({"weak_start": first.start()? == Start::Weak, "encoded": hex(handshake.encode())}))
}

fn handshake(inputs: &Inputs<'_>) -> Derived {
    let chunk_len = chunk_len_of(inputs)?;
    let account = |name| inputs.array(name).map(AccountId::from_bytes);
    let device = |name| inputs.array(name).map(DeviceId::from_bytes);
    let initiator = (account("initiator_account_id")?, device("initiator_device_id")?);
    let responder = (account("responder_account_id")?, device("responder_device_id")?);
    let (ours, ephemeral) = (dh_of(inputs, "initiator_dh_secret")?, dh_of(inputs, "ephemeral_secret")?);
    let (theirs, signed) = (dh_of(inputs, "responder_dh_secret")?, dh_of(inputs, "signed_secret")?);
    let mut seed = Zeroizing::new([0; 64]);
    seed[..32].copy_from_slice(&inputs.array::<32>("kem_d")?);
    seed[32..].copy_from_slice(&inputs.array::<32>("kem_z")?);
    let kem = KemSecret::from_seed(seed);
    let pair = if inputs.has("pair_secret") { Some(dh_of(inputs, "pair_secret")?) } else { None };
    let mut secrets = vec![agree(&ours, &signed)?, agree(&ephemeral, &theirs)?, agree(&ephemeral, &signed)?];
    let (signed_terms, kem_terms) = (inputs.array::<26>("signed_terms")?, inputs.array::<26>("kem_terms")?);
    let signed_field = [signed_terms.as_slice(), signed.public().as_bytes()].concat();
    let (last_resort, pair_field) = match &pair {
        Some(pair) => {
            secrets.push(agree(&ephemeral, pair)?);
            let keys = [pair.public().as_bytes().as_slice(), kem.public().as_bytes()].concat();
            (Vec::new(), [kem_terms.as_slice(), &keys].concat())
        }
        None => ([kem_terms.as_slice(), kem.public().as_bytes()].concat(), Vec::new()),
    };
    let (ciphertext, shared) = encapsulate(inputs, &kem)?;
    let (agreements, shared_text) =
        (secrets.iter().map(|dh| hex(dh.expose())).collect::<Vec<_>>(), hex(shared.expose()));
    secrets.push(shared);
    let public = ephemeral.public();
    let of = Transcript {
        chunk_len,
        initiator,
        responder,
        signed: &signed_field,
        last_resort: &last_resort,
        pair: &pair_field,
        ephemeral: &public,
        ciphertext: &ciphertext,
    };
    let (session, SessionKeys { root, header, next_header, pq }) = steps::session_keys(&of, &secrets);
    Ok(json!({
        "dh": agreements,
        "ephemeral": hex(public.as_bytes()),
        "ciphertext": hex(ciphertext.as_bytes()),
        "shared": shared_text,
        "transcript": transcript_of(&of, inputs.small("chunk_len")?, &session)?,
        "session_id": hex(session.as_bytes()),
        "root_key": hex(root.expose()),
        "header_key": hex(header.expose()),
        "next_header_key": hex(next_header.expose()),
        "pq_key": hex(pq.expose()),
        "replay": hex(hash(label::DIRECT_REPLAY, &[public.as_bytes()])),
    }))
}

/// What a secret and the public half of another agree on, from both sides.
fn agree(one: &DhSecret, other: &DhSecret) -> Result<Secret32, Stop> {
    let agreed = one.agree(&other.public()).map_err(|_| Stop::Refused("weak-key"))?;
    ensure(other.agree(&one.public()).as_ref() == Ok(&agreed), "two sides agree on two secrets")?;
    Ok(agreed)
}

/// The input of the session id, whose hash the library gives.
fn transcript_of(of: &Transcript<'_>, chunk_len: u16, session: &dm::SessionId) -> Result<String, Stop> {
    let Transcript { initiator, responder, signed, last_resort, pair, ephemeral, ciphertext, .. } = of;
    let fields: [&[u8]; 11] = [
        &[dm::VERSION],
        &chunk_len.to_be_bytes(),
        initiator.0.as_bytes(),
        initiator.1.as_bytes(),
        responder.0.as_bytes(),
        responder.1.as_bytes(),
        signed,
        last_resort,
        pair,
        ephemeral.as_bytes(),
        ciphertext.as_bytes(),
    ];
    ensure(
        hash(label::DIRECT_TRANSCRIPT, &fields) == *session.as_bytes(),
        "a session id is no hash of its transcript",
    )?;
    Ok(hex(transcript(label::DIRECT_TRANSCRIPT, &fields)))
}

fn root_step(inputs: &Inputs<'_>) -> Derived {
    let theirs = DhPublic::from_bytes(inputs.array("theirs")?);
    let [root, chain, header] = steps::root_step(&inputs.secret("root_key")?, &dh_of(inputs, "ours_secret")?, &theirs)?;
    Ok(json!({
        "root_key": hex(root.expose()), "chain_key": hex(chain.expose()), "header_key": hex(header.expose()),
    }))
}

fn chain_step(inputs: &Inputs<'_>) -> Derived {
    let [chain, seed] = steps::chain_step(&inputs.secret("chain_key")?);
    Ok(json!({"chain_key": hex(chain.expose()), "seed": hex(seed.expose())}))
}

fn message_key(inputs: &Inputs<'_>) -> Derived {
    let (seed, pq_key) = (inputs.secret("seed")?, inputs.secret("pq_key")?);
    let key = steps::message_key(&seed, &pq_key, epoch_of(inputs, "pq_epoch")?, &inputs.array("random")?);
    Ok(json!({"message_key": hex(key.expose())}))
}

fn ratchet_message(inputs: &Inputs<'_>) -> Derived {
    let (header_key, message_key) = (inputs.secret("header_key")?, inputs.secret("message_key")?);
    let ad = inputs.bytes("ad")?;
    if inputs.has("message") {
        let (chunk_len, message) = (chunk_len_of(inputs)?, inputs.bytes("message")?);
        let (header, payload) = steps::open_message(&header_key, &message_key, chunk_len, &message, &ad)?;
        return Ok(json!({
            "ratchet_key": hex(header.key.as_bytes()),
            "n": header.n,
            "pn": header.pn,
            "pq_epoch": header.pq_epoch.as_u32(),
            "plaintext": hex(payload.plaintext),
            "chunk_index": payload.chunk_index,
            "chunk": hex(payload.chunk),
        }));
    }
    let header = Header {
        key: DhPublic::from_bytes(inputs.array("ratchet_key")?),
        n: inputs.small("n")?,
        pn: inputs.small("pn")?,
        pq_epoch: epoch_of(inputs, "pq_epoch")?,
    };
    let payload = MessagePayload {
        plaintext: inputs.bytes("plaintext")?,
        chunk_index: inputs.small("chunk_index")?,
        chunk: inputs.bytes("chunk")?,
    };
    let random: [u8; 16] = inputs.array("random")?;
    let message = steps::seal_message(&header_key, &message_key, &random, &header, &payload, &ad)?;
    // What stands inside, opened with the primitive alone.
    let (prefix, sealed) = message.split_at(76);
    let mut nonce = [0; 12];
    nonce.copy_from_slice(&random[..12]);
    let header = aead::open(&header_key, &nonce, &random, &prefix[16..])?;
    let aad = transcript(label::DIRECT_AAD, &[&[dm::VERSION], prefix, &ad]);
    aead::open(&message_key, &[0; 12], &aad, sealed)?;
    Ok(json!({"header": hex(&*header), "aad": hex(aad), "message": hex(message)}))
}

fn pq_step(inputs: &Inputs<'_>) -> Derived {
    let kem = KemSecret::from_seed(Zeroizing::new(inputs.array("kem_seed")?));
    let (ciphertext, shared) = encapsulate(inputs, &kem)?;
    let (pq_key, session) = (inputs.secret("pq_key")?, inputs.array("session_id")?);
    let epoch = epoch_of(inputs, "epoch")?;
    let [key, confirmation] = steps::pq_step(&pq_key, &shared, &session, epoch, &kem.public(), &ciphertext);
    let mut wrong = *ciphertext.as_bytes();
    wrong[0] ^= 1;
    Ok(json!({
        "encapsulation_key": hex(kem.public().as_bytes()),
        "shared": hex(shared.expose()),
        "shared_of_another_ciphertext": hex(kem.decapsulate(&KemCiphertext::from_bytes(wrong)).expose()),
        "pq_key": hex(key.expose()),
        "answer": hex([ciphertext.as_bytes().as_slice(), confirmation.expose()].concat()),
    }))
}

fn chunks(inputs: &Inputs<'_>) -> Derived {
    let chunk_len = chunk_len_of(inputs)?;
    if inputs.has("value") {
        let value = inputs.bytes("value")?;
        let cut = |index: u8| steps::cut(&value, chunk_len, index).ok_or_else(|| fault("index", "is no index"));
        let needed =
            u8::try_from(value.len().div_ceil(chunk_len.as_usize())).map_err(|_| fault("value", "is too long"))?;
        let pieces = (0..needed).map(|index| cut(index).map(hex)).collect::<Result<Vec<_>, _>>()?;
        return Ok(json!({"pieces": pieces, "chunk": hex(cut(inputs.small("index")?)?)}));
    }
    let mut chunks = Vec::new();
    for chunk in inputs.objects("chunks")? {
        chunks.push((chunk.small("index")?, chunk.bytes("chunk")?));
        chunk.end()?;
    }
    let value = steps::join(&chunks, inputs.small("value_len")?, chunk_len)?;
    Ok(json!({"value": hex(value.ok_or_else(|| fault("chunks", "are too few"))?)}))
}

/// What sealing may draw, in the order in which the library draws it.
const DRAWN: [&str; 7] =
    ["ephemeral_secret", "kem_randomness", "ratchet_secret", "random", "offer_d", "offer_z", "answer_randomness"];

/// Two devices, as they talk.
struct Conversation {
    initiator: Person,
    responder: Person,
    publication: Publication,
    chunk_len: ChunkLen,
    with_pair: bool,
    now: UnixMs,
    messages: Vec<Vec<u8>>,
}

fn conversation(inputs: &Inputs<'_>) -> Derived {
    let initiator = Person::create(&inputs.object("initiator")?)?;
    let responder = Person::create(&inputs.object("responder")?)?;
    let (publication, _) = responder.publish(&inputs.object("prekeys")?)?;
    let mut conversation = Conversation {
        chunk_len: chunk_len_of(inputs)?,
        with_pair: inputs.is("with_pair")?,
        now: inputs.instant("now_ms")?,
        messages: Vec::new(),
        initiator,
        responder,
        publication,
    };
    let (events, mut results) = (inputs.objects("events")?, Vec::new());
    for (at, event) in events.iter().enumerate() {
        let is_last = at + 1 == events.len();
        results.push(conversation.play(event).map_err(|stop| match stop {
            Stop::Refused(code) if !is_last => {
                Fault::new(format!("an event before the last is refused: {code}")).in_field("inputs.events").into()
            }
            stop => stop,
        })?);
        event.end()?;
    }
    let Conversation { initiator, responder, .. } = &conversation;
    let info = conversation.info(initiator, responder)?;
    let device_ids = [initiator, responder].map(|person| hex(person.us.device().id().as_bytes()));
    Ok(json!({
        "device_ids": device_ids,
        "body": hex(&conversation.publication.body),
        "item": hex(only_item(&conversation.publication)?),
        "session_id": hex(info.id.as_bytes()),
        "events": results,
    }))
}

impl Conversation {
    /// One event: something is sealed, or something comes.
    fn play(&mut self, event: &Inputs<'_>) -> Derived {
        let is_initiator = match event.text("by")? {
            "initiator" => true,
            "responder" => false,
            _ => return Err(fault("by", "is neither side").into()),
        };
        let ad = event.bytes("ad")?;
        let sealed = if event.has("plaintext") { Some(self.seal(event, is_initiator, &ad)?) } else { None };
        let (us, them) = self.sides(is_initiator);
        let mut result = match &sealed {
            Some(message) => json!({"message": hex(message)}),
            None => json!({"plaintext": hex(self.receive(event, us, them, &ad)?)}),
        };
        self.messages.extend(sealed);
        let (us, them) = self.sides(is_initiator);
        let info = self.info(us, them)?;
        result["pq_epoch"] = info.pq_epoch.as_u32().into();
        result["messages_since_pq_heal"] = info.messages_since_pq_heal.into();
        Ok(result)
    }

    fn sides(&self, is_initiator: bool) -> (&Person, &Person) {
        if is_initiator { (&self.initiator, &self.responder) } else { (&self.responder, &self.initiator) }
    }

    fn seal(&self, event: &Inputs<'_>, is_initiator: bool, ad: &[u8]) -> Result<Vec<u8>, Stop> {
        let (us, them) = self.sides(is_initiator);
        let (plaintext, peer) = (event.bytes("plaintext")?, them.us.device());
        let mut drawn = Vec::new();
        for name in DRAWN.iter().filter(|name| event.has(name)) {
            drawn.extend(event.bytes(name)?);
        }
        let mut rng = FixedRandomness::new(drawn);
        let message = if self.messages.is_empty() {
            let body = BundleBody::decode(&self.publication.body)?;
            let item = OneTimeItem::decode(only_item(&self.publication)?)?;
            let item = self.with_pair.then_some(&item);
            let (chunk_len, now) = (self.chunk_len, self.now);
            let first = us.step(|tx, us| {
                dm::initiate_with(tx, us, peer, &body, item, chunk_len, ad, &plaintext, now, &mut rng)
            })?;
            first.encode()
        } else {
            us.step(|tx, _| dm::seal(tx, peer.id(), ad, &plaintext, &mut rng))?
        };
        rng.end()?;
        Ok(message)
    }

    fn receive(&self, event: &Inputs<'_>, us: &Person, them: &Person, ad: &[u8]) -> Result<Vec<u8>, Stop> {
        let message = if event.has("opens") {
            let number: usize = event.small("opens")?;
            self.messages.get(number).cloned().ok_or_else(|| fault("opens", "is no message"))?
        } else {
            event.bytes("bytes")?
        };
        let (peer, now) = (them.us.device(), self.now);
        let plaintext = if event.is("is_first")? {
            let first = FirstMessage::decode(&message)?;
            us.step(|tx, us| dm::accept(tx, us, peer, &first, ad, now))?
        } else {
            us.step(|tx, _| dm::open(tx, peer.id(), ad, &message, now))?
        };
        Ok(plaintext.to_vec())
    }

    fn info(&self, us: &Person, them: &Person) -> Result<dm::SessionInfo, Stop> {
        let info = us.step(|tx, _| dm::session_info(tx, them.us.device().id()))?;
        info.ok_or_else(|| Fault::new("the library keeps no session").into())
    }
}
