//! A PKCS#11 token (OASIS PKCS#11 2.40), as the worker process drives it. The authority never loads a module itself.
//!
//! A [`Module`] is the loaded library with its one token; a [`Token`] is one thread's session with what it has found and unwrapped.
//! After an error that means a lost session or a restarted token, the session is opened anew and the call made once more;
//! when that fails too the call is `Unavailable`, upon which the worker ends and is started afresh.

use std::sync::{Arc, Mutex, OnceLock};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use cryptoki::types::AuthPin;

use super::protocol::{Answer, Call, Hello, Sensitive};
use super::{EcCurve, HsmError, HsmErrorKind, HsmInfo, MAX_SECRET_LEN};
use cache::Cache;
use failure::Failure;
use mechanisms::Needed;
use objects::Objects;

mod cache;
mod data_key;
mod failure;
mod initialize;
mod mac;
mod mechanisms;
mod objects;
mod public_key;
mod sealing;
mod wrapped;

pub(crate) use initialize::initialize;

/// A loaded module and the token that it serves.
pub(crate) struct Module {
    pkcs11: Pkcs11,
    label: String,
    pin: AuthPin,
    info: HsmInfo,
    largest_curve: EcCurve,
    /// Held while objects of the token are made, so that two threads do not make one each.
    making: Mutex<()>,
    /// Set when the token refused the PIN: it is not tried again, since tokens lock.
    refused: OnceLock<HsmError>,
}

impl Module {
    /// Loads the module, finds the token by its label and checks that it has every mechanism that is needed.
    pub(crate) fn open(hello: &Hello) -> Result<Self, HsmError> {
        let pkcs11 = load(&hello.module)?;
        let (slot, token) = find_token(&pkcs11, &hello.label)?;
        let largest_curve = mechanisms::check(&pkcs11, slot, &hello.label)?;
        let pin = String::from_utf8(hello.pin.0.clone())
            .map_err(|_| HsmErrorKind::Misconfigured.because("the pin is not UTF-8"))?;
        Ok(Self {
            info: describe(&hello.label, &token),
            pkcs11,
            label: hello.label.clone(),
            pin: AuthPin::from(pin),
            largest_curve,
            making: Mutex::new(()),
            refused: OnceLock::new(),
        })
    }

    /// What the token says about itself.
    pub(crate) fn info(&self) -> HsmInfo {
        self.info.clone()
    }

    /// Refuses where the token lacks any of these, which not every token has.
    fn demand(&self, needed: &[Needed]) -> Result<(), Failure> {
        let (slot, _) = find_token(&self.pkcs11, &self.label)?;
        Ok(mechanisms::demand(&self.pkcs11, slot, &self.label, needed)?)
    }

    fn connect(&self) -> Result<Session, Failure> {
        if let Some(refused) = self.refused.get() {
            return Err(refused.clone().into());
        }
        let (slot, _) = find_token(&self.pkcs11, &self.label)?;
        let session = self.pkcs11.open_rw_session(slot)?;
        match session.login(UserType::User, Some(&self.pin)) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(session),
            Err(error) => {
                let failure = Failure::from(error);
                if let Some(refused) = failure.pin_refused() {
                    let refused = self.refused.get_or_init(|| refused).clone();
                    return Err(refused.into());
                }
                Err(failure)
            }
        }
    }
}

/// One thread's session with the token.
pub(crate) struct Token {
    module: Arc<Module>,
    cached_keys: usize,
    connected: Option<Connected>,
}

/// What dies with a session.
struct Connected {
    session: Session,
    objects: Objects,
    cache: Cache,
}

impl Token {
    /// Opens a session and logs in, so that a wrong PIN shows at once.
    pub(crate) fn connect(module: Arc<Module>, cached_keys: usize) -> Result<Self, HsmError> {
        let mut token = Self {
            module,
            cached_keys,
            connected: None,
        };
        token.connected().map_err(Failure::into_error)?;
        Ok(token)
    }

    /// Makes the call, once more after a lost session.
    pub(crate) fn execute(&mut self, call: &Call) -> Result<Answer, HsmError> {
        match self.attempt(call) {
            Ok(answer) => Ok(answer),
            Err(failure) if failure.is_lost() => {
                tracing::warn!(%failure, "the session was lost; opening another");
                self.connected = None;
                self.attempt(call).map_err(|failure| {
                    if failure.is_lost() {
                        failure.into_unavailable()
                    } else {
                        failure.into_error()
                    }
                })
            }
            Err(failure) => Err(failure.into_error()),
        }
    }

    fn connected(&mut self) -> Result<&mut Connected, Failure> {
        let fresh = match self.connected.take() {
            Some(connected) => connected,
            None => Connected {
                session: self.module.connect()?,
                objects: Objects::default(),
                cache: Cache::new(self.cached_keys),
            },
        };
        Ok(self.connected.insert(fresh))
    }

    fn attempt(&mut self, call: &Call) -> Result<Answer, Failure> {
        let module = Arc::clone(&self.module);
        let connected = self.connected()?;
        match call {
            Call::EnsureRoot(role) => connected.ensure_root(&module, *role).map(Answer::Root),
            Call::Root(role) => connected.root(*role).map(|root| Answer::Root(root.key.clone())),
            Call::SignRoot { role, message } => connected.sign_root(*role, message).map(Answer::Bytes),
            Call::GenerateWrapped(curve) => connected.generate_wrapped(&module, *curve).map(Answer::Wrapped),
            Call::SignWrapped { key, digest } => connected.sign_wrapped(key, digest).map(Answer::Bytes),
            Call::GenerateAes => connected.generate_aes(&module).map(Answer::Aes),
            Call::GenerateDataKey(key) => connected
                .generate_data_key(key)
                .map(|(secret, wrapped)| Answer::DataKey { secret, wrapped }),
            Call::UnwrapDataKey { key, wrapped } => connected.unwrap_data_key(key, wrapped).map(Answer::Unwrapped),
            Call::GenerateMacKey(algorithm) => connected.generate_mac_key(&module, *algorithm).map(Answer::MacKey),
            Call::Mac { key, message } => connected.mac(key, message).map(Answer::Bytes),
            Call::Seal { plaintext, associated } => connected.seal(&plaintext.0, associated).map(Answer::Bytes),
            Call::Unseal { blob, associated } => connected.unseal(blob, associated).map(Answer::Secret),
            Call::Random(len) => connected.random(*len).map(Answer::Secret),
            Call::Healthy => connected.healthy().map(|()| Answer::Done),
            #[cfg(test)]
            Call::LoseLogin => Ok(connected.session.logout().map(|()| Answer::Done)?),
            #[cfg(test)]
            Call::PrintNoise => {
                let printed = std::io::Write::write_all(&mut std::io::stdout(), b"noise from a careless module\n");
                printed
                    .map(|()| Answer::Done)
                    .map_err(|error| HsmErrorKind::Token.because(error.to_string()).into())
            }
            #[cfg(test)]
            Call::Environment => {
                let names: Vec<_> = std::env::vars_os()
                    .map(|(name, _)| name.to_string_lossy().into_owned())
                    .collect();
                Ok(Answer::Bytes(names.join(" ").into_bytes()))
            }
        }
    }
}

impl Connected {
    fn random(&self, len: u32) -> Result<Sensitive, Failure> {
        let wanted = usize::try_from(len).unwrap_or(usize::MAX);
        if wanted == 0 || wanted > MAX_SECRET_LEN {
            let detail = format!("{len} random bytes asked; 1 to {MAX_SECRET_LEN} can be had");
            return Err(HsmErrorKind::BadRequest.because(detail).into());
        }
        let bytes = Sensitive(self.session.generate_random_vec(len)?);
        if bytes.0.len() != wanted {
            return Err(HsmErrorKind::Token
                .because("its random generator answered too few bytes")
                .into());
        }
        Ok(bytes)
    }

    fn healthy(&self) -> Result<(), Failure> {
        self.demand_login()?;
        self.random(1).map(|_| ())
    }
}

fn load(path: &str) -> Result<Pkcs11, HsmError> {
    let pkcs11 = Pkcs11::new(path)
        .map_err(|error| HsmErrorKind::Misconfigured.because(format!("cannot load the module `{path}`: {error}")))?;
    pkcs11
        .initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
        .map_err(|error| {
            HsmErrorKind::Token.because(format!(
                "the module `{path}` does not initialize: {}",
                failure::name(&error)
            ))
        })?;
    Ok(pkcs11)
}

/// The slot whose token has this label; `Misconfigured` when there is none, or more than one.
fn find_token(pkcs11: &Pkcs11, label: &str) -> Result<(Slot, TokenInfo), HsmError> {
    let tokens = tokens(pkcs11)?;
    let mut found = tokens.iter().filter(|(_, token)| token.label() == label);
    match (found.next(), found.next()) {
        (Some(token), None) => Ok(token.clone()),
        (Some(_), Some(_)) => Err(HsmErrorKind::Misconfigured.because(format!("two tokens are labelled `{label}`"))),
        (None, _) => {
            let labels: Vec<_> = tokens.iter().map(|(_, token)| format!("`{}`", token.label())).collect();
            let there = if labels.is_empty() {
                "none".to_owned()
            } else {
                labels.join(", ")
            };
            Err(HsmErrorKind::Misconfigured.because(format!("no token is labelled `{label}`; there are: {there}")))
        }
    }
}

/// All initialized tokens.
fn tokens(pkcs11: &Pkcs11) -> Result<Vec<(Slot, TokenInfo)>, HsmError> {
    let slots = pkcs11
        .get_slots_with_token()
        .map_err(|error| Failure::from(error).into_error())?;
    Ok(slots
        .into_iter()
        .filter_map(|slot| pkcs11.get_token_info(slot).ok().map(|token| (slot, token)))
        .filter(|(_, token)| token.token_initialized())
        .collect())
}

fn describe(label: &str, token: &TokenInfo) -> HsmInfo {
    let version = token.firmware_version();
    HsmInfo {
        kind: "pkcs11".to_owned(),
        label: label.to_owned(),
        model: format!("{} {} {version}", token.manufacturer_id(), token.model()),
    }
}
