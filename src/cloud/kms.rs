//! KMS: the keys of authorities, which never leave it.

use aws_config::SdkConfig;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{KeyUsageType, MessageType, SigningAlgorithmSpec};

use super::aws::{CallError, Count, classify};
use crate::certificate::Authority;
use crate::errors::Failed;
use crate::model::BlindKind;

const GET_PUBLIC_KEY: &str = "kms:GetPublicKey";
const SIGN: &str = "kms:Sign";

/// The service in one region.
#[derive(Clone)]
pub struct Kms(aws_sdk_kms::Client);

impl Kms {
    pub fn new(config: &SdkConfig) -> Self {
        let config = aws_sdk_kms::config::Builder::from(config).interceptor(Count("kms")).build();
        Self(aws_sdk_kms::Client::from_conf(config))
    }

    /// The authority that a key makes. `name` is a key's id or ARN, or an alias.
    ///
    /// # Errors
    /// `Absent` where the key cannot be one, and a person has to look.
    pub async fn fetch_authority(&self, name: &str) -> Result<Authority, CallError> {
        let reply = self.0.get_public_key().key_id(name).send().await.map_err(|e| fail(GET_PUBLIC_KEY, name, &e))?;
        let unfit = |why: &str| {
            CallError::new(BlindKind::Absent, Failed::new("use as an authority the key", name, why.to_owned()))
        };
        if reply.key_usage() != Some(&KeyUsageType::SignVerify) {
            return Err(unfit("it does not sign: make it with --key-usage SIGN_VERIFY"));
        }
        let id = reply.key_id().and_then(|arn| arn.rsplit('/').next()).ok_or_else(|| unfit("it has no id"))?;
        let public_key = reply.public_key().map(|blob| blob.as_ref().to_vec()).unwrap_or_default();
        Authority::new(name, id, public_key).map_err(|why| unfit(&why))
    }

    /// Signs with ECDSA and SHA-256; the answer is in DER. RAW: KMS makes the digest (at most 4096 bytes; API reference
    /// of Sign, read 2026-11-26).
    ///
    /// # Errors
    /// As [`Kms::fetch_authority`].
    pub async fn sign(&self, authority: &Authority, message: Vec<u8>) -> Result<Vec<u8>, CallError> {
        // By the key, not by an alias, which may point to another one by now.
        let call = self.0.sign().key_id(&authority.key).message(Blob::new(message)).message_type(MessageType::Raw);
        let call = call.signing_algorithm(SigningAlgorithmSpec::EcdsaSha256);
        let reply = call.send().await.map_err(|e| fail(SIGN, &authority.name, &e))?;
        reply.signature.map(Blob::into_inner).ok_or_else(|| {
            CallError::new(BlindKind::Malformed, Failed::new(format!("{SIGN} for"), &authority.name, "no signature"))
        })
    }
}

/// A key that is gone, switched off or of another kind stays so until a person does something ("Errors" of both actions,
/// KMS API reference, read 2026-11-26).
fn fail<E, R>(action: &str, key: &str, error: &SdkError<E, R>) -> CallError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug + 'static,
{
    let mut failed = classify(action, key, error);
    let unfit = [
        "DisabledException",
        "InvalidArnException",
        "InvalidKeyUsageException",
        "KMSInvalidStateException",
        "NotFoundException",
        "UnsupportedOperationException",
        "ValidationException",
    ];
    if error.code().is_some_and(|code| unfit.contains(&code)) {
        failed.kind = BlindKind::Absent;
    }
    failed
}
