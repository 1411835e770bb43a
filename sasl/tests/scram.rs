//! SCRAM at both ends: the vectors of RFC 7677, and what a hostile end can try.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use proptest::prelude::*;
use roadbed_core::{AuthExchange, AuthStep, Error, ErrorKind, Identity, Result};
use roadbed_sasl::{ITERATIONS_MIN, ScramClient, ScramHash, ScramServer, ScramStore, Verifier, VerifierError};
use sha2::{Digest, Sha256};

const SECRET: [u8; 32] = [7; 32];

/// `alice` with the password `secret`, and how often she was looked for.
#[derive(Default)]
struct Users {
    asked: AtomicU32,
    unavailable: bool,
}

#[async_trait]
impl ScramStore for Users {
    async fn verifier(&self, user: &str, hash: ScramHash) -> Result<Option<Verifier>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.unavailable {
            return Err(Error::new(ErrorKind::Unavailable, "look up"));
        }
        let known = matches!(user, "alice" | "a,b=c");
        Ok(known.then(|| Verifier::derive(hash, b"secret", b"sixteen bytes it", ITERATIONS_MIN)))
    }

    fn iterations(&self) -> u32 {
        ITERATIONS_MIN
    }
}

fn server() -> ScramServer {
    ScramServer::new(Arc::new(Users::default()), SECRET)
}

fn exchange() -> Box<dyn AuthExchange> {
    server().exchange("SCRAM-SHA-256").unwrap()
}

async fn challenge(exchange: &mut dyn AuthExchange, said: impl Into<Bytes>) -> Bytes {
    match exchange.step(Some(said.into())).await.unwrap() {
        AuthStep::Continue(challenge) => challenge,
        other => panic!("{other:?}"),
    }
}

async fn refusal(exchange: &mut dyn AuthExchange, said: impl Into<Bytes>) -> ErrorKind {
    exchange.step(Some(said.into())).await.unwrap_err().kind()
}

/// Both ends, until one of them gives up.
async fn meet(hash: ScramHash, user: &str, password: &[u8]) -> Result<Identity> {
    let mut client = ScramClient::new(hash, user, password, 100_000)?;
    let mut exchange = server().exchange(hash.mechanism()).unwrap();
    let mut said = client.step(b"")?;
    loop {
        match exchange.step(Some(said)).await? {
            AuthStep::Continue(challenge) => said = client.step(&challenge)?,
            AuthStep::Success(identity, last) => {
                assert!(!client.is_done(), "nobody is believed before the last word");
                client.step(&last.expect("the server proves itself, too"))?;
                assert!(client.is_done());
                return Ok(identity);
            }
        }
    }
}

#[tokio::test]
async fn the_right_password_lets_in_and_the_server_proves_itself() {
    for hash in ScramHash::ALL {
        assert_eq!(meet(hash, "alice", b"secret").await.unwrap().principal, "alice");
    }
    // Commas and equals signs are escaped on the way.
    assert_eq!(meet(ScramHash::Sha256, "a,b=c", b"secret").await.unwrap().principal, "a,b=c");
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_user_are_refused_alike() {
    let wrong = meet(ScramHash::Sha256, "alice", b"Secret").await.unwrap_err();
    let unknown = meet(ScramHash::Sha256, "bob", b"secret").await.unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::Unauthenticated);
    assert_eq!((wrong.kind(), wrong.to_string()), (unknown.kind(), unknown.to_string()));
}

#[tokio::test]
async fn who_exists_cannot_be_told_from_the_challenge() {
    let ask = |user: &'static str| async move {
        let said = challenge(&mut *exchange(), format!("n,,n={user},r=abcdefgh")).await;
        let said = String::from_utf8(said.to_vec()).unwrap();
        let (nonce, rest) = said.split_once(",s=").unwrap();
        (nonce.len(), rest.to_owned())
    };
    let (alice, bob) = (ask("alice").await, ask("bob").await);
    assert_eq!((alice.0, alice.1.len()), (bob.0, bob.1.len()), "the same form");
    assert!(alice.1.ends_with(",i=4096") && bob.1.ends_with(",i=4096"));
    assert_eq!(bob, ask("bob").await, "the same salt each time");
    assert_ne!(bob.1, ask("carol").await.1, "and another for another name");
}

#[tokio::test]
async fn a_client_that_says_nothing_is_asked_to_begin_once() {
    let mut exchange = exchange();
    assert!(matches!(exchange.step(None).await.unwrap(), AuthStep::Continue(data) if data.is_empty()));
    assert_eq!(refusal(&mut *exchange, "").await, ErrorKind::Unauthenticated);
}

#[tokio::test]
async fn replayed_proofs_and_nonces_are_refused() {
    let mut client = ScramClient::new(ScramHash::Sha256, "alice", b"secret", 100_000).unwrap();
    let first = client.step(b"").unwrap();
    let mut once = exchange();
    let proof = client.step(&challenge(&mut *once, first.clone()).await).unwrap();
    let mut again = exchange();
    challenge(&mut *again, first).await;
    assert_eq!(refusal(&mut *again, proof.clone()).await, ErrorKind::Unauthenticated, "the server's nonce is new");
    assert!(matches!(once.step(Some(proof.clone())).await, Ok(AuthStep::Success(..))));
    assert_eq!(refusal(&mut *once, proof).await, ErrorKind::Unauthenticated, "an exchange has one end");
}

#[tokio::test]
async fn what_asks_for_channel_binding_or_acts_as_somebody_else_is_refused() {
    for first in [
        "p=tls-exporter,,n=alice,r=abcdefgh",
        "p=tls-unique,,n=alice,r=abcdefgh",
        "n,a=bob,n=alice,r=abcdefgh",
        "n,a=,n=alice,r=abcdefgh",
    ] {
        assert_eq!(refusal(&mut *exchange(), first).await, ErrorKind::Unauthenticated, "{first}");
    }
    // `y`: the client could, and has seen that the server does not offer it.
    challenge(&mut *exchange(), "y,a=alice,n=alice,r=abcdefgh").await;
    // A binding in the proof that the first message did not have.
    let mut exchange = exchange();
    let said = challenge(&mut *exchange, "n,,n=alice,r=abcdefgh").await;
    let nonce = std::str::from_utf8(&said).unwrap().split(',').next().unwrap();
    let proof = format!("c={},{nonce},p={}", STANDARD.encode("p=tls-unique,,xyz"), STANDARD.encode([0; 32]));
    assert_eq!(refusal(&mut *exchange, proof).await, ErrorKind::Unauthenticated);
}

#[tokio::test]
async fn broken_messages_are_refused_and_nobody_is_looked_for() {
    let users = Arc::new(Users::default());
    let server = ScramServer::new(users.clone(), SECRET);
    for first in [
        "n",
        "n,",
        "n,,",
        "n,a,n=alice,r=x",
        "n,,x",
        "n,,n",
        "n,,n=alice",
        "n,,n=alice,r",
        "n,,n=alice,r=",
        "n,,n=,r=x",
        "n,,m=x,n=alice,r=x",
        "n,,r=x,n=alice",
        "x,,n=alice,r=x",
        ",,,,",
        "n,,n=al=ice,r=x",
        "n,,n=a\0,r=x",
        "p=,,n=a,r=x",
    ] {
        let mut exchange = server.exchange("SCRAM-SHA-256").unwrap();
        assert_eq!(refusal(&mut *exchange, first).await, ErrorKind::Unauthenticated, "{first:?}");
    }
    let long = format!("n,,n={},r=x", "a".repeat(9000));
    assert_eq!(refusal(&mut *server.exchange("SCRAM-SHA-512").unwrap(), long).await, ErrorKind::Unauthenticated);
    assert_eq!(users.asked.load(Ordering::Relaxed), 0);
    for proof in ["", "c", "c=", "c=biws", "c=biws,r", "c=biws,r=x", "c=biws,r=x,p", "c=biws,r=x,p=,", "c=,r=,p="] {
        let mut exchange = server.exchange("SCRAM-SHA-256").unwrap();
        challenge(&mut *exchange, "n,,n=alice,r=abcdefgh").await;
        assert_eq!(refusal(&mut *exchange, proof).await, ErrorKind::Unauthenticated, "{proof:?}");
    }
}

#[tokio::test]
async fn a_store_that_cannot_answer_is_no_wrong_password() {
    let users = Users { unavailable: true, ..Users::default() };
    let mut exchange = ScramServer::new(Arc::new(users), SECRET).exchange("SCRAM-SHA-256").unwrap();
    assert_eq!(refusal(&mut *exchange, "n,,n=alice,r=abcdefgh").await, ErrorKind::Unavailable);
}

#[test]
fn a_client_does_not_work_for_a_server_without_bounds_nor_believe_it_without_proof() {
    let client = || {
        let mut client = ScramClient::new(ScramHash::Sha256, "alice", b"secret", 10_000).unwrap();
        let first = client.step(b"").unwrap();
        let nonce = std::str::from_utf8(&first).unwrap().split_once(",r=").unwrap().1.to_owned();
        (client, nonce)
    };
    for iterations in ["0", "1", "4095", "10001", "4294967295", "99999999999", "-1", "x", ""] {
        let (mut client, nonce) = client();
        assert!(client.step(format!("r={nonce}abc,s=c2FsdA==,i={iterations}").as_bytes()).is_err(), "{iterations}");
        assert!(!client.is_done());
    }
    for said in ["", "r", "r=", "r=,s,i", "e=unknown-user", "s=c2FsdA==,i=4096", "r=another,s=c2FsdA==,i=4096"] {
        assert!(client().0.step(said.as_bytes()).is_err(), "{said}");
    }
    for last in ["", "v", "v=", "v=AAAA", "e=invalid-proof", "x=y"] {
        let (mut client, nonce) = client();
        client.step(format!("r={nonce}abc,s=c2FsdA==,i=4096").as_bytes()).unwrap();
        assert!(client.step(last.as_bytes()).is_err() && !client.is_done(), "{last}");
        assert!(client.step(last.as_bytes()).is_err(), "nor a second time");
    }
    assert_eq!(ScramClient::new(ScramHash::Sha256, "", b"", 1).unwrap_err().kind(), ErrorKind::Invalid);
}

/// The exchange of RFC 7677, section 3: what is kept of `pencil` accepts the client's proof, and makes the server's signature.
#[test]
fn the_vectors_of_rfc_7677_hold() {
    let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    let text = Verifier::derive(ScramHash::Sha256, b"pencil", &salt, 4096).to_string();
    let (_, keys) = text.rsplit_once('$').unwrap();
    let (stored, server) = keys.split_once(':').unwrap();
    let (stored, server) = (STANDARD.decode(stored).unwrap(), STANDARD.decode(server).unwrap());
    let message = "n=user,r=rOprNGfwEbeRWgbNEkqO,\
        r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
        c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    let hmac = |key: &[u8]| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(message.as_bytes());
        mac.finalize().into_bytes()
    };
    let proof = STANDARD.decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=").unwrap();
    let key: Vec<u8> = proof.iter().zip(hmac(&stored)).map(|(proof, signature)| proof ^ signature).collect();
    assert_eq!(Sha256::digest(key).to_vec(), stored, "the client's proof");
    assert_eq!(
        STANDARD.encode(hmac(&server)),
        "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        "the server's signature"
    );
}

#[test]
fn verifiers_are_text_and_check_passwords_in_the_clear() {
    for hash in ScramHash::ALL {
        let verifier = Verifier::derive(hash, "pässword".as_bytes(), b"salt", 5000);
        let text = verifier.to_string();
        assert_eq!(text.parse(), Ok(verifier.clone()), "{text}");
        assert!(verifier.matches("pässword".as_bytes()) && !verifier.matches(b"password") && !verifier.matches(b""));
        // SASLprep: the same letters however they are put together (RFC 4013).
        assert!(verifier.matches("pa\u{308}ssword".as_bytes()));
        assert!(!format!("{verifier:?}").contains("c2Fs"), "no salt or key in the log");
        let broken = [
            (text.replacen("SCRAM", "SCRUM", 1), VerifierError::Hash),
            (text.replacen("5000", "4095", 1), VerifierError::Iterations),
            (text.replacen("5000", "many", 1), VerifierError::Form),
            (text.replacen(':', ";", 1), VerifierError::Form),
            (text[..text.len() - 4].into(), VerifierError::Form),
            (String::new(), VerifierError::Hash),
        ];
        for (text, error) in broken {
            assert_eq!(text.parse::<Verifier>(), Err(error), "{text}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_message_panics(messages in proptest::collection::vec(message(), 1..4)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut exchange = exchange();
            for said in &messages {
                if exchange.step(Some(said.clone().into())).await.is_err() {
                    break;
                }
            }
        });
        let mut client = ScramClient::new(ScramHash::Sha256, "alice", b"secret", 5000).unwrap();
        client.step(b"").unwrap();
        for said in &messages {
            let _ = client.step(said);
        }
    }
}

/// Something between noise and a message of SCRAM.
fn message() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..64),
        "[npy],(a=[a-z]{0,3})?,([nrmcpsvie]=?[ -~]{0,12},){0,3}[nrps]?=?[ -~]{0,8}".prop_map(String::into_bytes),
        "(c=biws|c=[A-Za-z0-9=]{0,8}),r=[!-+a-z]{0,20}(,[a-z]=?[a-z]{0,4}){0,2},p=[A-Za-z0-9+/=]{0,90}"
            .prop_map(String::into_bytes),
    ]
}
