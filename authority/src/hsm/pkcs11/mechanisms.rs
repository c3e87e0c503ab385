//! What the token can do: asked of it, never assumed.

use cryptoki::context::Pkcs11;
use cryptoki::mechanism::{MechanismInfo, MechanismType};
use cryptoki::slot::Slot;

use super::super::{EcCurve, HsmError, HsmErrorKind};
use super::failure::Failure;

/// A mechanism that something here cannot do without.
pub(super) struct Needed {
    mechanism: MechanismType,
    name: &'static str,
    purpose: &'static str,
    allows: fn(&MechanismInfo) -> bool,
}

/// Without which no key could be rooted here.
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

/// Without which there are no symmetric keys of custody `token`; everything else works.
pub(super) const KEY_WRAP: [Needed; 1] = [Needed {
    mechanism: MechanismType::AES_KEY_WRAP,
    name: "CKM_AES_KEY_WRAP",
    purpose: "wrapping data keys",
    allows: |info| info.wrap() && info.unwrap(),
}];

/// Without which there are no HMAC keys of custody `token` for the mechanism.
pub(super) fn macs(mechanism: MechanismType, name: &'static str) -> [Needed; 2] {
    [
        Needed {
            mechanism: MechanismType::GENERIC_SECRET_KEY_GEN,
            name: "CKM_GENERIC_SECRET_KEY_GEN",
            purpose: "making MAC keys",
            allows: MechanismInfo::generate,
        },
        Needed {
            mechanism,
            name,
            purpose: "making MACs",
            allows: MechanismInfo::sign,
        },
    ]
}

/// Checks what roots need and answers the largest curve; `Unsupported` names all that is missing.
pub(super) fn check(pkcs11: &Pkcs11, slot: Slot, label: &str) -> Result<EcCurve, HsmError> {
    demand(pkcs11, slot, label, &NEEDED)?;
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

/// `Unsupported`, naming all of these that the token lacks.
pub(super) fn demand(pkcs11: &Pkcs11, slot: Slot, label: &str, needed: &[Needed]) -> Result<(), HsmError> {
    let offered = pkcs11
        .get_mechanism_list(slot)
        .map_err(|error| Failure::from(error).into_error())?;
    let has = |needed: &Needed| {
        let info = || pkcs11.get_mechanism_info(slot, needed.mechanism);
        offered.contains(&needed.mechanism) && info().is_ok_and(|info| (needed.allows)(&info))
    };
    let missing: Vec<_> = needed
        .iter()
        .filter(|needed| !has(needed))
        .map(|needed| format!("{} (for {})", needed.name, needed.purpose))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(HsmErrorKind::Unsupported.because(format!("the token `{label}` lacks {}", missing.join(", "))))
}
