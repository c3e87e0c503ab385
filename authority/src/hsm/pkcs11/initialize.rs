//! A new token in a free slot, with its PINs: what `signet dev` and `signet authority init` do with SoftHSM2.

use cryptoki::context::Pkcs11;
use cryptoki::session::UserType;
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;

use super::super::protocol::{Hello, Sensitive};
use super::super::{HsmError, HsmErrorKind, HsmInfo};
use super::failure::Failure;
use super::{describe, find_token, load, tokens};

/// Makes the token unless one of its label exists, and its user PIN unless it has one. A crash between the two is mended by the next run.
pub(crate) fn initialize(hello: &Hello, so_pin: &Sensitive) -> Result<HsmInfo, HsmError> {
    let pkcs11 = load(&hello.module)?;
    let so_pin = auth_pin(so_pin)?;
    if hello.label.is_empty() || hello.label.len() > 32 || !hello.label.is_ascii() {
        return Err(HsmErrorKind::Misconfigured.because("a token's label has 1 to 32 ascii characters"));
    }
    if !tokens(&pkcs11)?.iter().any(|(_, token)| token.label() == hello.label) {
        let slot = free_slot(&pkcs11)?;
        pkcs11.init_token(slot, &so_pin, &hello.label).map_err(fail)?;
    }
    // SoftHSM2 gives the token another slot number once it is initialized.
    let (slot, token) = find_token(&pkcs11, &hello.label)?;
    if !token.user_pin_initialized() {
        let session = pkcs11.open_rw_session(slot).map_err(fail)?;
        session.login(UserType::So, Some(&so_pin)).map_err(fail)?;
        session.init_pin(&auth_pin(&hello.pin)?).map_err(fail)?;
    }
    Ok(describe(&hello.label, &token))
}

fn free_slot(pkcs11: &Pkcs11) -> Result<Slot, HsmError> {
    pkcs11
        .get_slots_with_token()
        .map_err(fail)?
        .into_iter()
        .find(|slot| {
            pkcs11
                .get_token_info(*slot)
                .is_ok_and(|token| !token.token_initialized())
        })
        .ok_or_else(|| HsmErrorKind::Misconfigured.because("the module has no slot with an uninitialized token"))
}

fn auth_pin(pin: &Sensitive) -> Result<AuthPin, HsmError> {
    let pin =
        String::from_utf8(pin.0.clone()).map_err(|_| HsmErrorKind::Misconfigured.because("the pin is not UTF-8"))?;
    Ok(AuthPin::from(pin))
}

fn fail(error: cryptoki::error::Error) -> HsmError {
    let failure = Failure::from(error);
    failure.pin_refused().unwrap_or_else(|| failure.into_error())
}
