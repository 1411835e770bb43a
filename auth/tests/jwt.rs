//! JSON Web Tokens: what is taken, and above all what is not.

use core::time::Duration;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use roadbed_auth::{JwtSettings, JwtVerifier};
use roadbed_core::{ErrorKind, Time};
use serde_json::{Value, json};

const SECRET: &[u8] = b"thirty-two bytes of a shared key";

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn settings(algorithm: &str) -> JwtSettings {
    JwtSettings {
        algorithm: algorithm.into(),
        issuer: "https://issuer.example".into(),
        audience: "hub".into(),
        claim: "sub".into(),
        identity: "{id}".into(),
        ..JwtSettings::default()
    }
}

fn verifier(algorithm: &str, key: &[u8]) -> JwtVerifier {
    let mut verifier = JwtVerifier::new(Duration::from_secs(2));
    verifier.add(&settings(algorithm), key).unwrap();
    verifier
}

fn claims() -> Value {
    json!({ "sub": "d1", "iss": "https://issuer.example", "aud": "hub", "exp": now() + 60 })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn unsigned(algorithm: &str, claims: &Value) -> String {
    let header = json!({ "alg": algorithm, "typ": "JWT" });
    [header.to_string(), claims.to_string()].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".")
}

fn signed(algorithm: &str, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let text = unsigned(algorithm, claims);
    let signature = URL_SAFE_NO_PAD.encode(sign(text.as_bytes()));
    format!("{text}.{signature}").into_bytes()
}

fn hmac(secret: &[u8]) -> impl Fn(&[u8]) -> Vec<u8> {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
    move |text| ring::hmac::sign(&key, text).as_ref().to_vec()
}

/// A public key in PEM, after the bytes that say what it is.
fn pem(prefix: &[u8], key: &[u8]) -> Vec<u8> {
    let body = STANDARD.encode([prefix, key].concat());
    format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n").into_bytes()
}

/// SubjectPublicKeyInfo of a point on P-256 (RFC 5480).
const P256: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// And of Ed25519 (RFC 8410).
const ED25519: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

#[test]
fn a_token_lets_its_subject_in_until_it_ends() {
    let identity = verifier("HS256", SECRET).verify(&signed("HS256", &claims(), hmac(SECRET))).unwrap();
    assert_eq!(identity.principal, "d1");
    let until = claims()["exp"].as_u64().unwrap() + 2;
    let slack = identity.valid_until.unwrap().as_millis().abs_diff(Time::from_millis(until * 1000).as_millis());
    assert!(slack <= 2000, "{slack} ms");
}

#[test]
fn public_keys_of_both_curves_verify() {
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap();
    let sign = |text: &[u8]| pair.sign(&random, text).unwrap().as_ref().to_vec();
    let public = pem(P256, pair.public_key().as_ref());
    assert_eq!(verifier("ES256", &public).verify(&signed("ES256", &claims(), sign)).unwrap().principal, "d1");

    let document = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
    let sign = |text: &[u8]| pair.sign(text).as_ref().to_vec();
    let public = pem(ED25519, pair.public_key().as_ref());
    assert_eq!(verifier("EdDSA", &public).verify(&signed("EdDSA", &claims(), sign)).unwrap().principal, "d1");
}

#[test]
fn the_algorithm_is_pinned() {
    let random = SystemRandom::new();
    let document = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
    let public = pem(ED25519, pair.public_key().as_ref());
    let verifier = verifier("EdDSA", &public);
    // The public key taken for a secret; no signature at all; none in three spellings.
    assert!(verifier.verify(&signed("HS256", &claims(), hmac(&public))).is_err());
    for none in ["none", "None", "NONE"] {
        assert!(verifier.verify(format!("{}.", unsigned(none, &claims())).as_bytes()).is_err());
        assert!(verifier.verify(unsigned(none, &claims()).as_bytes()).is_err());
    }
    assert!(verifier.verify(format!("{}.", unsigned("EdDSA", &claims())).as_bytes()).is_err());
}

#[test]
fn what_has_ended_or_is_for_or_by_somebody_else_is_refused() {
    let verifier = verifier("HS256", SECRET);
    let refused = [
        with("exp", json!(now() - 3)),
        with("exp", json!("tomorrow")),
        with("exp", Value::Null),
        with("nbf", json!(now() + 30)),
        with("iss", json!("https://evil.example")),
        with("iss", Value::Null),
        with("aud", json!("another")),
        with("aud", Value::Null),
        with("sub", Value::Null),
        with("sub", json!("")),
        with("sub", json!(7)),
    ];
    for claims in refused {
        let error = verifier.verify(&signed("HS256", &claims, hmac(SECRET))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{claims}");
    }
    assert!(verifier.verify(&signed("HS256", &claims(), hmac(b"another secret of thirty-two by!"))).is_err());
    assert!(verifier.verify(&signed("HS256", &with("exp", json!(now() - 1)), hmac(SECRET))).is_ok(), "the skew");
}

#[test]
fn rubbish_is_refused() {
    let verifier = verifier("HS256", SECRET);
    for rubbish in ["", ".", "..", "a.b.c", "e30.e30.", &"a".repeat(20_000)] {
        assert!(verifier.verify(rubbish.as_bytes()).is_err());
    }
}

#[test]
fn keys_that_are_none_are_refused_at_the_start() {
    let mut verifier = JwtVerifier::new(Duration::ZERO);
    let pem = pem(ED25519, &[7; 32]);
    for (algorithm, key, says) in [
        ("none", SECRET, "no algorithm"),
        ("HS256", &b"short"[..], "32 bytes"),
        ("HS256", &pem[..], "no secret"),
        ("ES256", &pem[..], "ES256"),
        ("RS256", SECRET, "RS256"),
    ] {
        let error = verifier.add(&settings(algorithm), key).unwrap_err().to_string();
        assert!(error.contains(says), "{algorithm}: {error}");
    }
    assert!(verifier.add(&JwtSettings { identity: "everybody".into(), ..settings("HS256") }, SECRET).is_err());
    assert!(verifier.is_empty());
}
