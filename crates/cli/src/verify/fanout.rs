//! The subjects of spec/dm, "Many devices", and of the bodies that carry it (spec/envelope).

use serde_json::{Value, json};
use undertone::crypto::{kdf, label};
use undertone::dm::fanout::{PayloadKey, SealedPayload};
use undertone::envelope::DirectBody;
use undertone::envelope::direct::{Commitment, DevicePlace, DirectForm, DirectWrap};

use super::Subject;
use super::inputs::{Derived, Inputs, ensure, hex};

pub(super) const SUBJECTS: &[(&str, Subject)] = &[("fan-out", fan_out), ("direct-body", direct_body)];

fn fan_out(inputs: &Inputs<'_>) -> Derived {
    if inputs.has("payload") {
        let (payload, mut rng) = (inputs.bytes("payload")?, inputs.randomness::<32>("key")?);
        let (key, sealed) = SealedPayload::seal(&payload, &mut rng);
        rng.end()?;
        ensure(*sealed.open(&key)? == payload, "another payload opens")?;
        let [payload_key, commitment] = kdf::derive_many(&[0; 32], key.expose(), label::DIRECT_PAYLOAD, &[]);
        ensure(commitment.expose() == sealed.commitment.as_bytes(), "the commitment is derived otherwise")?;
        return Ok(json!({
            "payload_key": hex(payload_key.expose()),
            "commitment": hex(sealed.commitment.as_bytes()),
            "ciphertext": hex(&sealed.ciphertext),
            "wrap_ad": hex(sealed.bind(&inputs.bytes("ad")?).as_bytes()),
        }));
    }
    let key = PayloadKey::from_wrap(&inputs.bytes("wrap_plaintext")?)?;
    let commitment = Commitment::from_bytes(inputs.array("commitment")?);
    let sealed = SealedPayload { commitment, ciphertext: inputs.bytes("ciphertext")? };
    Ok(json!({"payload": hex(&*sealed.open(&key)?)}))
}

fn direct_body(inputs: &Inputs<'_>) -> Derived {
    let encoded = inputs.bytes("body")?;
    let body = DirectBody::decode(&encoded)?;
    ensure(body.encode() == encoded, "what it decoded has another encoding")?;
    let lists = [body.lists.lower, body.lists.higher];
    let mut result = json!({
        "list_versions": lists.map(|list| list.version.as_u64()),
        "list_hashes": lists.map(|list| hex(list.hash.as_bytes())),
        "sender": place(body.sender),
        "wraps": body.form.wraps().iter().map(wrap).collect::<Vec<_>>(),
    });
    if let DirectForm::Fanout(fanout) = &body.form {
        result["commitment"] = hex(fanout.commitment.as_bytes()).into();
        result["ciphertext"] = hex(&fanout.ciphertext).into();
    }
    Ok(result)
}

fn place(place: DevicePlace) -> Value {
    json!([place.side as u8, place.index])
}

fn wrap(wrap: &DirectWrap) -> Value {
    json!({"recipient": place(wrap.recipient), "handshake": hex(&wrap.handshake), "message": hex(&wrap.message)})
}
