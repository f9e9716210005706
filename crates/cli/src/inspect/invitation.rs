//! Explaining an invitation.

use data_encoding::BASE32_NOPAD;
use undertone::identity::{ACCOUNT_CERTIFICATE_LEN, Invitation};

use super::walk::Walk;
use super::{Explanation, Kind, Unexplained};

/// What every invitation begins with.
pub(super) const BEGINNING: &str = "undertone1";

/// Explains an invitation; what it says was verified.
pub(super) fn explain(text: &str) -> Result<Explanation, Unexplained> {
    let invitation: Invitation = text.parse().map_err(|reason| Unexplained::NoInvitation { reason })?;
    let digits = text.trim().get(BEGINNING.len()..).unwrap_or_default().to_ascii_uppercase();
    let bytes = BASE32_NOPAD.decode(digits.as_bytes()).map_err(|_| Unexplained::Nothing)?;
    let summary = format!(
        "to talk to {:?}, account {}, at {}; its signature is right, its name proves nothing: compare safety numbers",
        invitation.name().as_str(),
        invitation.account(),
        invitation.relay(),
    );
    let fields = walk(&bytes).ok_or(Unexplained::Nothing)?;
    Ok(Explanation { kind: Kind::Invitation, len: bytes.len(), summary, fields })
}

fn walk(bytes: &[u8]) -> Option<Vec<super::Field>> {
    let mut walk = Walk::new(bytes);
    walk.number("version", 1, "")?;
    walk.hex("account certificate", ACCOUNT_CERTIFICATE_LEN, "public: the account's key, signed by itself")?;
    for name in ["relay", "name"] {
        let len = walk.length(&format!("length of {name}"))?;
        walk.take(name, len, "", |bytes| format!("{:?}", String::from_utf8_lossy(bytes)))?;
    }
    walk.hex("checksum", 4, "against typing errors; it proves nothing")?;
    walk.end()
}
