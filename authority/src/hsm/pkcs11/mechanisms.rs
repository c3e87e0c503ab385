//! What the token can do: asked of it, never assumed.

use cryptoki::context::Pkcs11;
use cryptoki::mechanism::{MechanismInfo, MechanismType};
use cryptoki::slot::Slot;

use super::super::{EcCurve, HsmError, HsmErrorKind};
use super::failure::Failure;

/// A mechanism without which no key could be rooted here.
struct Needed {
    mechanism: MechanismType,
    name: &'static str,
    purpose: &'static str,
    allows: fn(&MechanismInfo) -> bool,
}

const NEEDED: [Needed; 5] = [
    Needed {
        mechanism: MechanismType::ECC_KEY_PAIR_GEN,
        name: "CKM_EC_KEY_PAIR_GEN",
        purpose: "making roots",
        allows: MechanismInfo::generate_key_pair,
    },
    Needed {
        mechanism: MechanismType::ECDSA,
        name: "CKM_ECDSA",
        purpose: "signing",
        allows: MechanismInfo::sign,
    },
    Needed {
        mechanism: MechanismType::AES_KEY_GEN,
        name: "CKM_AES_KEY_GEN",
        purpose: "making masters",
        allows: MechanismInfo::generate,
    },
    Needed {
        mechanism: MechanismType::AES_GCM,
        name: "CKM_AES_GCM",
        purpose: "sealing",
        allows: |info| info.encrypt() && info.decrypt(),
    },
    Needed {
        mechanism: MechanismType::AES_KEY_WRAP_PAD,
        name: "CKM_AES_KEY_WRAP_PAD",
        purpose: "wrapping keys",
        allows: |info| info.wrap() && info.unwrap(),
    },
];

/// Checks every needed mechanism and answers the largest curve; `Unsupported` names all that is missing.
pub(super) fn check(pkcs11: &Pkcs11, slot: Slot, label: &str) -> Result<EcCurve, HsmError> {
    let offered = pkcs11
        .get_mechanism_list(slot)
        .map_err(|error| Failure::from(error).into_error())?;
    let missing: Vec<_> = NEEDED
        .iter()
        .filter(|needed| !(offered.contains(&needed.mechanism) && allows(pkcs11, slot, needed)))
        .map(|needed| format!("{} (for {})", needed.name, needed.purpose))
        .collect();
    if !missing.is_empty() {
        return Err(HsmErrorKind::Unsupported.because(format!("the token `{label}` lacks {}", missing.join(", "))));
    }
    let bits = pkcs11
        .get_mechanism_info(slot, MechanismType::ECDSA)
        .map_err(|error| Failure::from(error).into_error())?
        .max_key_size();
    match bits {
        384.. => Ok(EcCurve::P384),
        256..384 => Ok(EcCurve::P256),
        _ => Err(HsmErrorKind::Unsupported.because(format!("the token `{label}` signs with no curve of 256 bits"))),
    }
}

/// Without which there are no symmetric keys of custody `token`; everything else works.
const KEY_WRAP: Needed = Needed {
    mechanism: MechanismType::AES_KEY_WRAP,
    name: "CKM_AES_KEY_WRAP",
    purpose: "wrapping data keys",
    allows: |info| info.wrap() && info.unwrap(),
};

/// Whether the token wraps data keys.
pub(super) fn wraps_data_keys(pkcs11: &Pkcs11, slot: Slot) -> Result<bool, HsmError> {
    let offered = pkcs11
        .get_mechanism_list(slot)
        .map_err(|error| Failure::from(error).into_error())?;
    Ok(offered.contains(&KEY_WRAP.mechanism) && allows(pkcs11, slot, &KEY_WRAP))
}

/// What is said where it does not.
pub(super) fn no_key_wrap(label: &str) -> HsmError {
    let (name, purpose) = (KEY_WRAP.name, KEY_WRAP.purpose);
    HsmErrorKind::Unsupported.because(format!("the token `{label}` lacks {name} (for {purpose})"))
}

fn allows(pkcs11: &Pkcs11, slot: Slot, needed: &Needed) -> bool {
    let info = pkcs11.get_mechanism_info(slot, needed.mechanism);
    info.is_ok_and(|info| (needed.allows)(&info))
}
