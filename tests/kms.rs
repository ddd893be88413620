//! The fake KMS through the real SDK: every name of a key, signatures that verify, and each refusal as the SDK shows it.
//! `moto` holds the same answers against moto's.

use std::time::Duration;

use aws_sdk_kms::Client;
use aws_sdk_kms::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_kms::error::ProvideErrorMetadata;
use aws_sdk_kms::operation::RequestId;
use aws_sdk_kms::operation::get_public_key::{GetPublicKeyError, GetPublicKeyOutput};
use aws_sdk_kms::operation::sign::SignError;
use aws_sdk_kms::operation::sign::builders::SignFluentBuilder;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{KeySpec, KeyUsageType, MessageType, SigningAlgorithmSpec};
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};

use crate::fakes::sdk;
use crate::support::aws::{Action, Fault, Often, Only, access_key_of};
use crate::support::cloud::World;
use crate::support::keys::Key;
use crate::support::node::Programs;
use crate::support::rig::Rig;

pub use crate::support::cloud::REGION as OUR_REGION;

const ALIAS: &str = "alias/etcd-members";
const MESSAGE: &[u8] = b"what a certificate says";
const NOBODY: &str = "i-00000000000000001";
/// `SubjectPublicKeyInfo` of P-256 up to the point (RFC 5480, section 2).
const P256: &[u8] =
    b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";

/// The SDK with these credentials, for the KMS at this URL.
pub fn client(url: &str, region: &'static str, credentials: Credentials) -> Client {
    let http = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let config = aws_sdk_kms::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region))
        .http_client(http)
        .credentials_provider(credentials)
        .endpoint_url(url)
        .retry_config(aws_sdk_kms::config::retry::RetryConfig::disabled());
    Client::from_conf(config.build())
}

/// A rig, the SDK of an instance in it, and a key under this alias.
pub fn fake_with_key(alias: &str) -> (Rig, Client, Key) {
    let rig = Rig::start(Programs { agent: "/bin/false".into(), etcd: "/bin/false".into() });
    let rig = rig.expect("a rig needs nothing special");
    let key = rig.cloud.change(|world| {
        let id = world.create_key(alias);
        world.keys[&id].clone()
    });
    let client = client_of(&rig, NOBODY);
    (rig, client, key)
}

fn client_of(rig: &Rig, instance: &str) -> Client {
    let credentials = Credentials::new(access_key_of(instance), "secret", Some("token".to_owned()), None, "test");
    client(&rig.aws.url(), OUR_REGION, credentials)
}

/// What KMS tells of a key for P-256. It signs, and the signature is of its public key.
pub async fn told_and_signs(client: &Client, name: &str) -> impl PartialEq + std::fmt::Debug {
    let told = client.get_public_key().key_id(name).send().await.unwrap();
    let signed = call(client, name).send().await.unwrap();
    let algorithm = signed.signing_algorithm.clone();
    // moto tells the bare id of one, where AWS tells the ARN of both.
    let [of_told, of_signed] = [told.key_id(), signed.key_id()].map(|id| id.unwrap().rsplit('/').next());
    assert_eq!(of_told, of_signed);
    let signature = signed.signature.unwrap().into_inner();
    public_key(&told).verify(MESSAGE, &signature).unwrap();
    public_key(&told).verify(b"something else", &signature).unwrap_err();
    #[expect(deprecated, reason = "moto does not tell the other one, which has the same value")]
    let spec = told.customer_master_key_spec;
    let lists = (told.signing_algorithms, told.encryption_algorithms, told.key_agreement_algorithms);
    (spec, told.key_usage, lists, algorithm)
}

/// The code and the message of both refusals of a name.
pub async fn refused(client: &Client, name: &str) -> [String; 4] {
    let told = client.get_public_key().key_id(name).send().await.unwrap_err();
    let signed = call(client, name).send().await.unwrap_err();
    [told.code(), told.message(), signed.code(), signed.message()].map(|text| text.unwrap_or_default().to_owned())
}

/// The call as the agent makes it.
fn call(client: &Client, name: &str) -> SignFluentBuilder {
    let call = client.sign().key_id(name).message(Blob::new(MESSAGE));
    call.message_type(MessageType::Raw).signing_algorithm(SigningAlgorithmSpec::EcdsaSha256)
}

fn public_key(told: &GetPublicKeyOutput) -> UnparsedPublicKey<&[u8]> {
    let spki = told.public_key().unwrap().as_ref();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, spki.strip_prefix(P256).unwrap())
}

async fn get_refused(client: &Client, name: &str) -> GetPublicKeyError {
    client.get_public_key().key_id(name).send().await.unwrap_err().into_service_error()
}

async fn sign_refused(client: &Client, name: &str) -> SignError {
    call(client, name).send().await.unwrap_err().into_service_error()
}

#[tokio::test]
async fn a_key_is_found_by_its_id_its_alias_and_their_arns() {
    let (rig, client, key) = fake_with_key(ALIAS);
    let alias_arn = key.arn().replace(&format!("key/{}", key.id), ALIAS);
    for name in [&key.id, &key.arn(), ALIAS, &alias_arn] {
        let told = client.get_public_key().key_id(name).send().await.unwrap();
        assert_eq!(told.key_id(), Some(&*key.arn()), "{name}");
        assert_eq!(told.public_key().map(Blob::as_ref), key.public_key().as_deref(), "{name}");
        assert_eq!(told.key_spec(), Some(&KeySpec::EccNistP256));
        assert_eq!(told.key_usage(), Some(&KeyUsageType::SignVerify));
        assert_eq!(told.signing_algorithms(), [SigningAlgorithmSpec::EcdsaSha256]);
        assert!(told.request_id().is_some());
        let signed = call(&client, name).send().await.unwrap();
        assert_eq!(signed.key_id(), Some(&*key.arn()), "{name}");
        told_and_signs(&client, name).await;
    }
    assert_eq!(rig.aws.count(Action::GetPublicKey), 8);
    assert_eq!(rig.aws.count(Action::Sign), 8);
}

#[tokio::test]
async fn a_call_is_recorded_without_its_message() {
    let (rig, _, _) = fake_with_key(ALIAS);
    let node = rig.launch(None).unwrap();
    let client = Client::new(&sdk(&rig, &node).await);
    call(&client, ALIAS).send().await.unwrap();
    let [recorded] = &rig.aws.calls()[..] else { panic!("{:?}", rig.aws.calls()) };
    assert_eq!((recorded.action.as_str(), &recorded.caller), ("Sign", &node.instance));
    let parameters: Vec<_> = recorded.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let length = MESSAGE.len().to_string();
    let expected =
        [("KeyId", ALIAS), ("MessageLength", &length), ("MessageType", "RAW"), ("SigningAlgorithm", "ECDSA_SHA_256")];
    assert_eq!(parameters, expected);
}

#[tokio::test]
async fn a_key_that_may_not_be_used_is_refused_for_what_it_is() {
    let (rig, client, key) = fake_with_key(ALIAS);
    let change = |change: fn(&mut World, &str)| rig.cloud.change(|world| change(world, &key.id));

    change(|world, key| world.disable_key(key));
    assert!(get_refused(&client, ALIAS).await.is_disabled_exception());
    assert!(sign_refused(&client, ALIAS).await.is_disabled_exception());
    change(|world, key| world.enable_key(key));
    told_and_signs(&client, ALIAS).await;

    change(|world, key| world.schedule_deletion(key));
    assert!(get_refused(&client, ALIAS).await.is_kms_invalid_state_exception());
    let error = sign_refused(&client, ALIAS).await;
    assert!(error.is_kms_invalid_state_exception());
    assert_eq!(error.message(), Some(&*format!("{} is pending deletion.", key.arn())));

    change(|world, key| world.delete_key(key));
    assert!(get_refused(&client, ALIAS).await.is_not_found_exception());
    assert!(sign_refused(&client, &key.id).await.is_not_found_exception());
}

#[tokio::test]
async fn an_alias_leads_where_it_was_pointed_to_last() {
    let (rig, client, old) = fake_with_key(ALIAS);
    let leads_to = async || client.get_public_key().key_id(ALIAS).send().await.map(|told| told.key_id.unwrap());
    let new = rig.cloud.change(|world| {
        let new = world.create_key("alias/new");
        world.point_alias(ALIAS, &new);
        world.keys[&new].clone()
    });
    assert_eq!(leads_to().await.unwrap(), new.arn());
    told_and_signs(&client, &old.id).await;
    rig.cloud.change(|world| world.delete_alias(ALIAS));
    let error = leads_to().await.unwrap_err().into_service_error();
    assert!(error.is_not_found_exception(), "{error:?}");
    told_and_signs(&client, &new.id).await;
    // KMS is eventually consistent:
    // https://docs.aws.amazon.com/kms/latest/developerguide/accessing-kms.html#programming-eventual-consistency
    rig.aws.inject(Action::GetPublicKey, Fault::Frozen(before(&rig, &old)), Often::Times(1));
    assert_eq!(leads_to().await.unwrap(), old.arn());
}

/// The world in which the alias leads to this key.
fn before(rig: &Rig, key: &Key) -> World {
    let mut world = rig.cloud.now();
    world.point_alias(ALIAS, &key.id);
    world
}

#[tokio::test]
async fn an_arn_of_another_region_is_not_found_though_the_key_is_there() {
    let (_rig, client, key) = fake_with_key(ALIAS);
    let elsewhere = key.arn().replace(OUR_REGION, "eu-west-1");
    let not_found = ["NotFoundException", "Invalid arn eu-west-1"];
    assert_eq!(refused(&client, &elsewhere).await, [not_found, not_found].concat()[..]);
}

#[tokio::test]
async fn a_key_of_another_kind_tells_what_it_is_and_does_not_sign() {
    let (rig, client, _) = fake_with_key(ALIAS);
    let [rsa, agreement, symmetric] = rig.cloud.change(|world| {
        [
            world.create_rsa_key("alias/rsa"),
            world.create_agreement_key("alias/agreement"),
            world.create_symmetric_key("alias/symmetric"),
        ]
    });
    let told = client.get_public_key().key_id(&rsa).send().await.unwrap();
    assert_eq!((told.key_spec(), told.signing_algorithms().len()), (Some(&KeySpec::Rsa2048), 6));
    assert_eq!(told.public_key().map(|key| key.as_ref().len()), Some(294));
    let told = client.get_public_key().key_id(&agreement).send().await.unwrap();
    let is = (told.key_spec(), told.key_usage(), told.signing_algorithms());
    assert_eq!(is, (Some(&KeySpec::EccNistP256), Some(&KeyUsageType::KeyAgreement), &[][..]));
    assert!(get_refused(&client, &symmetric).await.is_unsupported_operation_exception());
    for key in [rsa, agreement, symmetric] {
        let error = sign_refused(&client, &key).await;
        assert!(error.is_invalid_key_usage_exception(), "{error:?}");
    }
}

#[tokio::test]
async fn what_the_agent_should_never_ask_is_refused_and_remembered() {
    let (rig, client, _) = fake_with_key(ALIAS);
    let good = || call(&client, ALIAS);
    for bad in [
        good().message_type(MessageType::Digest),
        good().set_message_type(None),
        good().signing_algorithm(SigningAlgorithmSpec::EcdsaSha384),
        good().message(Blob::new([0; 4097])),
        good().dry_run(true),
        good().grant_tokens("token"),
    ] {
        bad.clone().send().await.expect_err(&format!("{bad:?}"));
    }
    good().message(Blob::new([0; 4096])).send().await.unwrap();
    client.list_keys().send().await.unwrap_err();
    assert_eq!(rig.aws.complaints().len(), 7, "{:#?}", rig.aws.complaints());
    rig.aws.forgive();
}

#[tokio::test]
async fn each_fault_is_what_the_sdk_takes_it_for() {
    let (rig, client, _) = fake_with_key(ALIAS);
    for (fault, code) in [
        (Fault::Throttle, Some("ThrottlingException")),
        (Fault::Deny, Some("AccessDeniedException")),
        (Fault::Fail, Some("KMSInternalException")),
        (Fault::Empty, Some("NotFoundException")),
        (Fault::Malform, None),
        (Fault::Cut, None),
        (Fault::Drop, None),
    ] {
        rig.aws.inject_everywhere(&fault, Often::Times(1));
        let told = client.get_public_key().key_id(ALIAS).send().await.unwrap_err();
        let signed = call(&client, ALIAS).send().await.unwrap_err();
        assert_eq!((told.code(), signed.code()), (code, code), "{fault:?}");
        told_and_signs(&client, ALIAS).await;
        rig.aws.heal();
    }
    rig.aws.inject(Action::Sign, Fault::Hang, Often::Times(1));
    tokio::time::timeout(Duration::from_millis(200), call(&client, ALIAS).send()).await.expect_err("no answer");
}

#[tokio::test]
async fn a_role_may_lack_one_action_on_one_key() {
    let (rig, member, members_key) = fake_with_key(ALIAS);
    let clients_key = rig.cloud.change(|world| world.create_key("alias/etcd-clients"));
    let consumer_id = "i-00000000000000002";
    let consumer = client_of(&rig, consumer_id);
    let only = Only { caller: Some(consumer_id.to_owned()), ..Only::with(&members_key.id) };
    rig.aws.inject_only(Action::Sign, only, Fault::Deny, Often::Always);

    consumer.get_public_key().key_id(ALIAS).send().await.unwrap();
    told_and_signs(&consumer, &clients_key).await;
    told_and_signs(&member, ALIAS).await;
    let error = sign_refused(&consumer, ALIAS).await;
    let message = error.message().unwrap();
    for part in [consumer_id, "is not authorized to perform: kms:Sign on resource: ", &members_key.arn()] {
        assert!(message.contains(part), "{part}: {message}");
    }
    rig.aws.inject_only(Action::GetPublicKey, Only::by(NOBODY), Fault::Throttle, Often::Times(1));
    consumer.get_public_key().key_id(ALIAS).send().await.unwrap();
    let error = get_refused(&member, ALIAS).await;
    assert_eq!(error.code(), Some("ThrottlingException"));
}
