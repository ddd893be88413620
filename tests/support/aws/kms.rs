//! KMS, which speaks AWS JSON 1.1: `X-Amz-Target` names the action, and bytes are text in base64.
//!
//! It is stricter than AWS where the roles of the README are: they allow `kms:Sign` for one algorithm and one type of
//! message only, so a call has to name both.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::faults::Asked;
use super::wire::{Form, Refusal, Service};
use crate::support::cloud::{ACCOUNT, World};
use crate::support::http::{Answer, Request};
use crate::support::keys::{Key, KeyState};

const CONTENT_TYPE: &str = "application/x-amz-json-1.1";
/// "Messages can be 0-4096 bytes" (aws-sdk-kms 1.129.0, `operation/sign/_sign_input.rs`).
const LONGEST_MESSAGE: usize = 4096;

/// The parameters of a call, with its action.
pub fn read_fields(request: &Request) -> Result<BTreeMap<String, String>, Refusal> {
    let wrong = |what: String| Service::Kms.mistake("SerializationException", what);
    if request.header("content-type") != Some(CONTENT_TYPE) {
        return Err(wrong(format!("content type {:?}", request.header("content-type"))));
    }
    let target = request.header("x-amz-target").unwrap_or_default();
    let action = target.strip_prefix("TrentService.").ok_or_else(|| wrong(format!("target '{target}'")))?;
    let object: Map<String, Value> = serde_json::from_slice(&request.body).map_err(|e| wrong(e.to_string()))?;
    let fields = object.into_iter().map(|(name, value)| match value {
        Value::String(text) => (name, text),
        other => (name, other.to_string()),
    });
    Ok(fields.chain([("Action".to_owned(), action.to_owned())]).collect())
}

/// The parameters as they are recorded. Of a message that is its length: its bytes would fill the page of a failed test.
pub fn recorded(mut fields: BTreeMap<String, String>) -> BTreeMap<String, String> {
    if let Some(message) = fields.remove("Message") {
        let length = STANDARD.decode(message).map_or_else(|error| error.to_string(), |bytes| bytes.len().to_string());
        fields.insert("MessageLength".to_owned(), length);
    }
    fields
}

pub fn get_public_key(world: &World, form: &mut Form) -> Result<String, Refusal> {
    let key = usable(world, &required(form, "KeyId")?)?;
    // Without a word: https://github.com/ecadlabs/signatory/issues/388
    let none = || form.service.refusal(400, "UnsupportedOperationException", "");
    let public_key = key.public_key().ok_or_else(none)?;
    let mut reply = json!({
        "KeyId": key.arn(),
        "PublicKey": STANDARD.encode(public_key),
        "CustomerMasterKeySpec": key.kind.spec(),
        "KeySpec": key.kind.spec(),
        "KeyUsage": key.kind.usage(),
    });
    match key.kind.signing_algorithms() {
        [] => reply["KeyAgreementAlgorithms"] = json!(["ECDH"]),
        algorithms => reply["SigningAlgorithms"] = json!(algorithms),
    }
    Ok(reply.to_string())
}

pub fn sign(world: &World, form: &mut Form) -> Result<String, Refusal> {
    let name = required(form, "KeyId")?;
    let message = STANDARD.decode(required(form, "Message")?);
    let message = message.map_err(|error| form.service.mistake("SerializationException", error.to_string()))?;
    let (algorithm, message_type) = (required(form, "SigningAlgorithm")?, required(form, "MessageType")?);
    if message.len() > LONGEST_MESSAGE {
        return Err(form.service.mistake("ValidationException", format!("a message of {} bytes", message.len())));
    }
    if (algorithm.as_str(), message_type.as_str()) != ("ECDSA_SHA_256", "RAW") {
        return Err(form
            .service
            .mistake("ValidationException", format!("{algorithm} of a message that is {message_type}")));
    }
    let key = usable(world, &name)?;
    let signature = key.sign(&message).ok_or_else(|| {
        // Both as seen: https://github.com/zalando/spring-cloud-config-aws-kms/issues/82 and
        // https://github.com/jonathankeebler/jwt-kms/issues/4
        let why = match key.kind.usage() {
            "SIGN_VERIFY" => format!("Algorithm {algorithm} is incompatible with key spec {}.", key.kind.spec()),
            usage => format!("{} key usage is {usage} which is not valid for Sign.", key.arn()),
        };
        form.service.refusal(400, "InvalidKeyUsageException", why)
    })?;
    let reply = json!({
        "KeyId": key.arn(),
        "Signature": STANDARD.encode(signature),
        "SigningAlgorithm": algorithm,
    });
    Ok(reply.to_string())
}

/// The key of that name, if it may be used: <https://docs.aws.amazon.com/kms/latest/developerguide/key-state.html>.
fn usable<'a>(world: &'a World, name: &str) -> Result<&'a Key, Refusal> {
    let refuse = |code, message| Err(Service::Kms.refusal(400, code, message));
    match world.find_key(name) {
        Err(message) => refuse("NotFoundException", message),
        Ok(key) => match key.state {
            KeyState::Enabled => Ok(key),
            KeyState::Disabled => refuse("DisabledException", format!("{} is disabled.", key.arn())),
            KeyState::PendingDeletion => {
                refuse("KMSInvalidStateException", format!("{} is pending deletion.", key.arn()))
            }
        },
    }
}

fn required(form: &mut Form, name: &str) -> Result<String, Refusal> {
    form.take(name).ok_or_else(|| form.service.mistake("ValidationException", format!("no {name}")))
}

/// <https://github.com/ecadlabs/signatory/issues/366>; the role is named by the fake.
pub fn denied(asked: &Asked) -> Refusal {
    let (caller, action) = (&asked.caller, asked.action.name());
    let resource = asked.key.as_ref().map_or_else(|| "*".to_owned(), Key::arn);
    let message = format!(
        "User: arn:aws:sts::{ACCOUNT}:assumed-role/etcd/{caller} is not authorized to perform: kms:{action} \
         on resource: {resource} because no identity-based policy allows the kms:{action} action"
    );
    Service::Kms.refusal(400, "AccessDeniedException", message)
}

/// What <https://docs.aws.amazon.com/kms/latest/developerguide/throttling.html> says.
pub fn throttled() -> Refusal {
    let message = "You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls.";
    Service::Kms.refusal(400, "ThrottlingException", message)
}

pub fn render_error(code: &str, message: &str) -> Value {
    // As seen in https://github.com/aws/aws-nitro-enclaves-sdk-c/issues/127 and, of the others, in moto/core/exceptions.py.
    match (code, message) {
        (_, "") => json!({ "__type": code }),
        ("AccessDeniedException", _) => json!({ "__type": code, "Message": message }),
        _ => json!({ "__type": code, "message": message }),
    }
}

pub fn reply(status: u16, body: String) -> Answer {
    let headers = vec![("x-amzn-requestid", super::wire::REQUEST_ID.to_owned())];
    Answer::Reply { status, content_type: CONTENT_TYPE, headers, body: body.into() }
}
