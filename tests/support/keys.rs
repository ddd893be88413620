//! The keys of KMS: what they are made of, the state that they are in, and the aliases that lead to them. They are part of
//! the [`World`] and speak no protocol (see `aws`).

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{KeyPair, PublicKeyData, SigningKey};

use super::cloud::{ACCOUNT, REGION, World, uuid};

/// A UUID.
pub type KeyId = String;

/// One key as KMS knows it.
#[derive(Clone, Debug)]
pub struct Key {
    pub id: KeyId,
    pub kind: Kind,
    pub state: KeyState,
}

/// What a key is made of, and for.
#[derive(Clone, Debug)]
pub enum Kind {
    /// It signs for real. The copies of the world share it.
    Signing(Arc<KeyPair>),
    /// Of the same curve, but not to sign with.
    Agreement(Arc<KeyPair>),
    /// It has a public key, and signs nothing here.
    Rsa,
    /// What `aws kms create-key` makes unless it is told otherwise.
    Symmetric,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    Enabled,
    Disabled,
    PendingDeletion,
}

impl Key {
    pub fn arn(&self) -> String {
        arn(&format!("key/{}", self.id))
    }

    /// As `SubjectPublicKeyInfo` in DER. None: it has none.
    pub fn public_key(&self) -> Option<Vec<u8>> {
        match &self.kind {
            Kind::Signing(pair) | Kind::Agreement(pair) => Some(pair.subject_public_key_info()),
            Kind::Rsa => Some(STANDARD.decode(RSA_PUBLIC_KEY).expect("openssl wrote it")),
            Kind::Symmetric => None,
        }
    }

    /// The signature of `ECDSA_SHA_256` in DER. None: not with this key.
    pub fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        match &self.kind {
            Kind::Signing(pair) => Some(pair.sign(message).expect("a P-256 key signs anything")),
            Kind::Agreement(_) | Kind::Rsa | Kind::Symmetric => None,
        }
    }
}

impl Kind {
    /// AWS's `KeySpec`.
    pub fn spec(&self) -> &'static str {
        match self {
            Self::Signing(_) | Self::Agreement(_) => "ECC_NIST_P256",
            Self::Rsa => "RSA_2048",
            Self::Symmetric => "SYMMETRIC_DEFAULT",
        }
    }

    /// AWS's `KeyUsage`.
    pub fn usage(&self) -> &'static str {
        match self {
            Self::Signing(_) | Self::Rsa => "SIGN_VERIFY",
            Self::Agreement(_) => "KEY_AGREEMENT",
            Self::Symmetric => "ENCRYPT_DECRYPT",
        }
    }

    /// AWS's `SigningAlgorithms`, in its order.
    pub fn signing_algorithms(&self) -> &'static [&'static str] {
        match self {
            Self::Signing(_) => &["ECDSA_SHA_256"],
            Self::Rsa => &[
                "RSASSA_PKCS1_V1_5_SHA_256",
                "RSASSA_PKCS1_V1_5_SHA_384",
                "RSASSA_PKCS1_V1_5_SHA_512",
                "RSASSA_PSS_SHA_256",
                "RSASSA_PSS_SHA_384",
                "RSASSA_PSS_SHA_512",
            ],
            Self::Agreement(_) | Self::Symmetric => &[],
        }
    }
}

impl World {
    /// Creates a key of `ECC_NIST_P256` for `SIGN_VERIFY` under an alias, which begins with `alias/`.
    pub fn create_key(&mut self, alias: &str) -> KeyId {
        self.create_key_of(Kind::Signing(new_pair()), alias)
    }

    /// Creates a key of `ECC_NIST_P256` for `KEY_AGREEMENT`.
    pub fn create_agreement_key(&mut self, alias: &str) -> KeyId {
        self.create_key_of(Kind::Agreement(new_pair()), alias)
    }

    /// Creates a key of `RSA_2048` for `SIGN_VERIFY`.
    pub fn create_rsa_key(&mut self, alias: &str) -> KeyId {
        self.create_key_of(Kind::Rsa, alias)
    }

    /// Creates a key of `SYMMETRIC_DEFAULT`.
    pub fn create_symmetric_key(&mut self, alias: &str) -> KeyId {
        self.create_key_of(Kind::Symmetric, alias)
    }

    fn create_key_of(&mut self, kind: Kind, alias: &str) -> KeyId {
        let id = uuid();
        self.keys.insert(id.clone(), Key { id: id.clone(), kind, state: KeyState::Enabled });
        self.point_alias(alias, &id);
        id
    }

    /// Makes an alias lead to this key and to no other.
    ///
    /// # Panics
    /// When the alias is none, or the key was never created.
    pub fn point_alias(&mut self, alias: &str, key: &str) {
        assert!(alias.starts_with("alias/"), "an alias begins with 'alias/': '{alias}'");
        assert!(self.keys.contains_key(key), "the key was created");
        self.aliases.insert(alias.to_owned(), key.to_owned());
    }

    /// The alias leads nowhere.
    pub fn delete_alias(&mut self, alias: &str) {
        self.aliases.remove(alias);
    }

    /// The key does nothing until it is enabled again.
    pub fn disable_key(&mut self, key: &str) {
        self.key_mut(key).state = KeyState::Disabled;
    }

    /// The key does what it is for.
    pub fn enable_key(&mut self, key: &str) {
        self.key_mut(key).state = KeyState::Enabled;
    }

    /// The key does nothing any more, and is still there.
    pub fn schedule_deletion(&mut self, key: &str) {
        self.key_mut(key).state = KeyState::PendingDeletion;
    }

    /// The key is gone with its aliases, as at the end of the days for which its deletion was pending.
    pub fn delete_key(&mut self, key: &str) {
        self.keys.remove(key);
        self.aliases.retain(|_, target| target != key);
    }

    /// The key, to change any of its fields.
    ///
    /// # Panics
    /// When it was never created: a mistake in the test.
    pub fn key_mut(&mut self, key: &str) -> &mut Key {
        self.keys.get_mut(key).expect("the key was created")
    }

    /// The key by its id, an alias, or the ARN of one of them.
    ///
    /// # Errors
    /// With KMS's words where there is none.
    pub fn find_key(&self, name: &str) -> Result<&Key, String> {
        let resource = match name.strip_prefix("arn:aws:kms:") {
            Some(rest) => {
                // Of another region it says this: https://github.com/nakedible/openssl-engine-kms/issues/1
                let elsewhere = || format!("Invalid arn {}", rest.split(':').next().unwrap_or_default());
                rest.strip_prefix(&format!("{REGION}:{ACCOUNT}:")).ok_or_else(elsewhere)?.to_owned()
            }
            None if name.starts_with("alias/") => name.to_owned(),
            None => format!("key/{name}"),
        };
        // The words are those that moto has from AWS, moto/kms/responses.py; of the second also
        // https://github.com/hashicorp/boundary-reference-architecture/issues/15.
        match resource.strip_prefix("key/") {
            None => {
                let key = self.aliases.get(&resource).and_then(|id| self.keys.get(id));
                key.ok_or_else(|| format!("Alias {} is not found.", arn(&resource)))
            }
            Some(id) => self.keys.get(id).ok_or_else(|| format!("Key '{}' does not exist", arn(&resource))),
        }
    }
}

fn arn(resource: &str) -> String {
    format!("arn:aws:kms:{REGION}:{ACCOUNT}:{resource}")
}

fn new_pair() -> Arc<KeyPair> {
    Arc::new(KeyPair::generate().expect("rcgen makes a P-256 key unless it is told otherwise"))
}

/// `openssl genrsa 2048 | openssl rsa -pubout`. ring makes no RSA keys.
const RSA_PUBLIC_KEY: &str = "\
    MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAolzPWyrb528x+f7nBI5TikGedeux+RVPyY2ZzI4UrYcGZ3O7kYR5\
    DR4JLCeoxFmkv17P3LIpvTSbRSa0V8i4BgKQcXc+Khp7miQS3hxNeej4HV1DdCV6kNbHsViaD+h8k++oO+BRGHhjH58+fNHb\
    YTIJ0afD9YJ8dGxAIhfwYAU47l2WparY5oXBRtpVt3QT9y4KG6c/WqczCRIbqXK3uTy66wnaFr6e4d85LzyDgMkHaP1g8XMr\
    cKqHQjdFQVJ3VX+OflPxC/aDShvwHv9R+Ye7I+gjoBAZ7+bEJw8CYuMpVmF3eNHAM4rMRgbrE2Nse2X0ZohcA/DPhZUO/7pX\
    uwIDAQAB";
