//! The objects that live in the token: two roots and two masters, found by label and checked before use.

use std::collections::HashMap;
use std::sync::PoisonError;

use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::SessionState;

use super::super::{HsmError, HsmErrorKind, Prehashed, RootKey, RootRole};
use super::failure::Failure;
use super::{Connected, Module, public_key};

/// AES-256.
const MASTER_KEY_LEN: u64 = 32;

/// What this session has found. Handles die with the session.
#[derive(Default)]
pub(super) struct Objects {
    roots: HashMap<RootRole, Root>,
    masters: HashMap<Master, ObjectHandle>,
}

/// A root's private object and its public half.
#[derive(Clone)]
pub(super) struct Root {
    pub(super) private: ObjectHandle,
    pub(super) key: RootKey,
}

/// The masters are two, so that no blob of one kind can be opened as the other (wrap-then-decrypt).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Master {
    /// Encrypts and decrypts sealed secrets.
    Sealing,
    /// Wraps and unwraps token-custody keys.
    Wrapping,
}

impl Master {
    const ALL: [Self; 2] = [Self::Sealing, Self::Wrapping];

    fn label(self) -> &'static str {
        match self {
            Self::Sealing => "signet master sealing",
            Self::Wrapping => "signet master wrapping",
        }
    }
}

fn root_label(role: RootRole) -> String {
    format!("signet root {}", role.as_str())
}

impl Connected {
    /// The root, found or made, and the masters with it.
    pub(super) fn ensure_root(&mut self, module: &Module, role: RootRole) -> Result<RootKey, Failure> {
        let _making = module.making.lock().unwrap_or_else(PoisonError::into_inner);
        for master in Master::ALL {
            if matches!(
                self.master(master),
                Err(Failure::Error(HsmError {
                    kind: HsmErrorKind::NotFound,
                    ..
                }))
            ) {
                self.make_master(master)?;
            }
            self.master(master)?;
        }
        match self.root(role) {
            Err(Failure::Error(HsmError {
                kind: HsmErrorKind::NotFound,
                ..
            })) => self.make_root(module, role)?,
            found => return found.map(|root| root.key),
        }
        self.root(role).map(|root| root.key)
    }

    /// The root, after a check of its attributes and of a signature (R24); `NotFound` when there is none.
    pub(super) fn root(&mut self, role: RootRole) -> Result<Root, Failure> {
        if let Some(root) = self.objects.roots.get(&role) {
            return Ok(root.clone());
        }
        let label = root_label(role);
        let private = self.find_one(ObjectClass::PRIVATE_KEY, &label)?;
        self.demand_guarded(private, &label)?;
        let public = self.find_one(ObjectClass::PUBLIC_KEY, &label)?;
        let (curve, spki_der) = public_key::read(&self.session, public)?;
        let root = Root {
            private,
            key: RootKey { curve, spki_der },
        };
        self.self_test(root.private, &root.key)?;
        self.objects.roots.insert(role, root.clone());
        Ok(root)
    }

    /// The master, after a check of its attributes; `NotFound` when there is none.
    pub(super) fn master(&mut self, master: Master) -> Result<ObjectHandle, Failure> {
        if let Some(handle) = self.objects.masters.get(&master) {
            return Ok(*handle);
        }
        let handle = self.find_one(ObjectClass::SECRET_KEY, master.label())?;
        self.demand_guarded(handle, master.label())?;
        self.objects.masters.insert(master, handle);
        Ok(handle)
    }

    /// Signs a fixed challenge and verifies it.
    pub(super) fn self_test(&self, private: ObjectHandle, key: &RootKey) -> Result<(), Failure> {
        let challenge = Prehashed::of(key.curve, b"signet pairwise test");
        let signature = self.sign_digest(private, &challenge)?;
        Ok(challenge.verify(&key.spki_der, &signature)?)
    }

    /// Fails as a lost session does when nobody is logged in: private objects are then invisible, not absent.
    pub(super) fn demand_login(&self) -> Result<(), Failure> {
        match self.session.get_session_info()?.session_state() {
            SessionState::RwUser => Ok(()),
            _ => Err(Failure::LoggedOut),
        }
    }

    fn find_one(&self, class: ObjectClass, label: &str) -> Result<ObjectHandle, Failure> {
        let template = [
            Attribute::Class(class),
            Attribute::Token(true),
            Attribute::Label(label.as_bytes().to_vec()),
        ];
        let found = self.session.find_objects(&template)?;
        match found.as_slice() {
            [one] => Ok(*one),
            [] => {
                self.demand_login()?;
                let detail = format!("the token has no {class} `{label}`; `signet authority init` makes it");
                Err(HsmErrorKind::NotFound.because(detail).into())
            }
            several => {
                let detail = format!(
                    "the token has {} objects of class {class} named `{label}`; keep one",
                    several.len()
                );
                Err(HsmErrorKind::Misconfigured.because(detail).into())
            }
        }
    }

    /// A root or master that could leave the token in the clear is not used.
    fn demand_guarded(&self, object: ObjectHandle, label: &str) -> Result<(), Failure> {
        let attributes = self
            .session
            .get_attributes(object, &[AttributeType::Sensitive, AttributeType::Extractable])?;
        let sensitive = attributes.contains(&Attribute::Sensitive(true));
        let kept = attributes.contains(&Attribute::Extractable(false));
        if sensitive && kept {
            return Ok(());
        }
        let detail =
            format!("`{label}` is not sensitive or is extractable; it cannot be trusted to be in one place only");
        Err(HsmErrorKind::Misconfigured.because(detail).into())
    }

    fn make_master(&self, master: Master) -> Result<(), Failure> {
        let (crypts, wraps) = match master {
            Master::Sealing => (true, false),
            Master::Wrapping => (false, true),
        };
        self.session.generate_key(
            &Mechanism::AesKeyGen,
            &[
                Attribute::Token(true),
                Attribute::Private(true),
                Attribute::Sensitive(true),
                Attribute::Extractable(false),
                Attribute::ValueLen(MASTER_KEY_LEN.into()),
                Attribute::Label(master.label().as_bytes().to_vec()),
                Attribute::Encrypt(crypts),
                Attribute::Decrypt(crypts),
                Attribute::Wrap(wraps),
                Attribute::Unwrap(wraps),
                Attribute::Sign(false),
                Attribute::Verify(false),
            ],
        )?;
        tracing::info!(label = master.label(), "made a master in the token");
        Ok(())
    }

    /// Makes the pair. A crash may leave its public half alone: such orphans are removed first.
    fn make_root(&self, module: &Module, role: RootRole) -> Result<(), Failure> {
        let label = root_label(role).into_bytes();
        let curve = module.largest_curve;
        for orphan in self.session.find_objects(&[
            Attribute::Class(ObjectClass::PUBLIC_KEY),
            Attribute::Token(true),
            Attribute::Label(label.clone()),
        ])? {
            self.session.destroy_object(orphan)?;
        }
        let id = role.as_str().as_bytes().to_vec();
        let (public, private) = self.session.generate_key_pair(
            &Mechanism::EccKeyPairGen,
            &[
                Attribute::Token(true),
                Attribute::Private(false),
                Attribute::EcParams(public_key::curve_parameters(curve)),
                Attribute::Verify(true),
                Attribute::Encrypt(false),
                Attribute::Wrap(false),
                Attribute::Label(label.clone()),
                Attribute::Id(id.clone()),
            ],
            &[
                Attribute::Token(true),
                Attribute::Private(true),
                Attribute::Sensitive(true),
                Attribute::Extractable(false),
                Attribute::Sign(true),
                Attribute::Decrypt(false),
                Attribute::Unwrap(false),
                Attribute::Derive(false),
                Attribute::Label(label),
                Attribute::Id(id),
            ],
        )?;
        let (_, spki_der) = public_key::read(&self.session, public)?;
        if let Err(failure) = self.self_test(private, &RootKey { curve, spki_der }) {
            self.session.destroy_object(private)?;
            self.session.destroy_object(public)?;
            return Err(failure);
        }
        tracing::info!(root = role.as_str(), "made a root in the token");
        Ok(())
    }
}

/// The template of a private EC key that this process may use and nobody may read.
pub(super) fn session_private_key() -> Vec<Attribute> {
    vec![
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::KeyType(KeyType::EC),
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
    ]
}
