//! Handshakes between both ends, on a pipe in memory.

use std::io;
use std::path::Path;

use roadbed_core::client::{Carrier, Connector};
use roadbed_core::{Clock, Peer, SystemClock};
use roadbed_tls::make::{Make, make, self_signed};
use roadbed_tls::{Acceptor, ClientAuth, ClientSettings, Secured, ServerSettings, TlsConnector, TlsError};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

fn certificates() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    make(folder.path(), &Make::default()).expect("they can be made");
    folder
}

fn serving(folder: &Path) -> ServerSettings {
    ServerSettings {
        cert: folder.join("server.pem"),
        key: folder.join("server.key"),
        client_ca: Some(folder.join("ca.pem")),
        ..ServerSettings::default()
    }
}

fn trusting(folder: &Path) -> ClientSettings {
    ClientSettings { ca: Some(folder.join("ca.pem")), ..ClientSettings::default() }
}

fn known(folder: &Path) -> ClientSettings {
    let (cert, key) = (Some(folder.join("client.pem")), Some(folder.join("client.key")));
    ClientSettings { cert, key, ..trusting(folder) }
}

type Shaken = (io::Result<Secured<DuplexStream>>, io::Result<Box<dyn Carrier>>);

async fn shake(acceptor: &Acceptor, client: &ClientSettings, name: &str, offered: &[&str], spoken: &[&str]) -> Shaken {
    let (near, far) = tokio::io::duplex(64 << 10);
    let near = std::sync::Mutex::new(Some(near));
    let under = move || {
        let near = near.lock().expect("nobody panics").take();
        async move { near.ok_or_else(|| io::ErrorKind::NotConnected.into()) }
    };
    let connector = TlsConnector::new(client, name, offered, under).expect("the files are good");
    let serving = async {
        let secured = acceptor.accept(far, spoken, Peer::default()).await;
        // The client of TLS 1.3 thinks that it is in before the server has looked at its certificate.
        match secured {
            Ok(mut secured) => {
                secured.stream.write_all(b"!").await?;
                secured.stream.flush().await?;
                Ok(secured)
            }
            Err(error) => Err(error),
        }
    };
    let asking = async {
        let mut stream = connector.connect().await?;
        stream.read_u8().await?;
        Ok(stream)
    };
    tokio::join!(serving, asking)
}

#[tokio::test]
async fn both_ends_agree_and_know_each_other() {
    let folder = certificates();
    let settings = ServerSettings { client_auth: ClientAuth::Required, ..serving(folder.path()) };
    let acceptor = Acceptor::new(settings).expect("the files are good");
    let (secured, stream) = shake(&acceptor, &known(folder.path()), "localhost", &["mqtt"], &["mqtt"]).await;
    let (mut secured, mut stream) = (secured.expect("let in"), stream.expect("let in"));
    assert_eq!(secured.protocol, Some("mqtt"));
    let peer = &secured.peer;
    assert!(peer.secure);
    assert_eq!((peer.name.as_deref(), peer.server_name.as_deref()), (Some("client"), Some("localhost")));
    assert!(peer.certificate_until.is_some_and(|until| until > SystemClock::default().now()), "{peer:?}");
    let pem = std::fs::read_to_string(folder.path().join("client.pem")).expect("it is there");
    let (_, der) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).expect("it is PEM");
    assert_eq!(peer.certificate().map(|der| &der[..]), Some(&der.contents[..]));
    stream.write_all(b"hello").await.expect("taken");
    stream.flush().await.expect("taken");
    let mut heard = [0; 5];
    secured.stream.read_exact(&mut heard).await.expect("there");
    assert_eq!(&heard, b"hello");
}

#[tokio::test]
async fn who_shows_no_certificate_comes_in_only_where_none_is_required() {
    let folder = certificates();
    let anonymous = trusting(folder.path());
    for (client_auth, may) in [(ClientAuth::Off, true), (ClientAuth::Requested, true), (ClientAuth::Required, false)] {
        let acceptor = Acceptor::new(ServerSettings { client_auth, ..serving(folder.path()) }).expect("good");
        let (secured, stream) = shake(&acceptor, &anonymous, "127.0.0.1", &[], &["mqtt"]).await;
        assert_eq!((secured.is_ok(), stream.is_ok()), (may, may), "{client_auth:?}");
        match (secured, stream) {
            (Ok(secured), _) => assert_eq!((secured.peer.name, secured.peer.certificates.len()), (None, 0)),
            (_, Err(error)) => assert!(error.to_string().contains("CertificateRequired"), "{error}"),
            _ => unreachable!("one of them"),
        }
    }
}

#[tokio::test]
async fn a_certificate_of_ones_own_is_known_by_its_thumbprint_alone() {
    let folder = certificates();
    let (cert, key) = self_signed("sensor-7").expect("made");
    let client = ClientSettings {
        cert: Some(folder.path().join("own.pem")),
        key: Some(folder.path().join("own.key")),
        ..trusting(folder.path())
    };
    std::fs::write(folder.path().join("own.pem"), &cert).expect("written");
    std::fs::write(folder.path().join("own.key"), key).expect("written");
    let (_, pem) = x509_parser::pem::parse_x509_pem(cert.as_bytes()).expect("it is PEM");
    let thumbprint: String = Sha256::digest(&pem.contents).iter().map(|byte| format!("{byte:02X}")).collect();
    for (thumbprint, may) in [(thumbprint, true), ("00".repeat(32), false)] {
        let settings = ServerSettings {
            client_auth: ClientAuth::Requested,
            client_thumbprints: vec![thumbprint],
            ..serving(folder.path())
        };
        let acceptor = Acceptor::new(settings).expect("good");
        let (secured, stream) = shake(&acceptor, &client, "localhost", &[], &["mqtt"]).await;
        assert_eq!((secured.is_ok(), stream.is_ok()), (may, may));
        if let Ok(secured) = secured {
            assert_eq!(secured.peer.name.as_deref(), Some("sensor-7"));
        }
    }
}

#[tokio::test]
async fn a_client_at_the_wrong_place_is_told_so_and_one_that_asks_for_something_unknown_is_not() {
    let folder = certificates();
    let acceptor = Acceptor::new(serving(folder.path())).expect("good");
    for (offered, spoken, agreed) in [
        (&["h2", "http/1.1"][..], &["h2", "http/1.1"][..], Ok(Some("h2"))),
        (&["http/1.1"], &["h2", "http/1.1"], Ok(Some("http/1.1"))),
        (&["x-amzn-mqtt-ca"], &["mqtt"], Ok(None)),
        (&[], &["mqtt"], Ok(None)),
        (&["h2"], &["mqtt"], Err(())),
    ] {
        let (secured, stream) = shake(&acceptor, &trusting(folder.path()), "localhost", offered, spoken).await;
        assert_eq!(secured.map(|secured| secured.protocol).map_err(drop), agreed, "{offered:?} of {spoken:?}");
        if let Err(error) = stream {
            assert!(agreed.is_err() && error.to_string().contains("another protocol"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_server_that_is_not_trusted_is_not_talked_to() {
    let (folder, other) = (certificates(), certificates());
    let acceptor = Acceptor::new(serving(folder.path())).expect("good");
    for (trusting, name, why) in [
        (trusting(other.path()), "localhost", "nobody who is trusted"),
        (trusting(folder.path()), "hub.example", "another name"),
    ] {
        let (secured, stream) = shake(&acceptor, &trusting, name, &[], &["mqtt"]).await;
        assert!(secured.is_err());
        let error = stream.err().expect("refused").to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[tokio::test]
async fn files_are_read_again_all_or_nothing() {
    let (folder, next) = (certificates(), certificates());
    let acceptor = Acceptor::new(serving(folder.path())).expect("good");
    assert!(!acceptor.reload().expect("as before"), "nothing has changed");
    let copy = |name: &str| std::fs::copy(next.path().join(name), folder.path().join(name)).map(drop).expect("copied");
    let trusting_next = trusting(next.path());
    copy("server.pem");
    let failed = acceptor.reload().expect_err("the key is still the old one");
    assert!(matches!(failed, TlsError::Mismatch { .. }), "{failed}");
    assert!(shake(&acceptor, &trusting(folder.path()), "localhost", &[], &["mqtt"]).await.0.is_ok(), "as before");
    copy("server.key");
    assert!(acceptor.reload().expect("they match"));
    assert!(shake(&acceptor, &trusting_next, "localhost", &[], &["mqtt"]).await.0.is_ok(), "the new one");
    assert!(acceptor.ends_at().is_some());
}

#[test]
fn errors_name_the_file_and_what_to_do() {
    let folder = certificates();
    let at = |name: &str| folder.path().join(name);
    let tried = |settings: ServerSettings| {
        let error = Acceptor::new(settings).expect_err("wrong");
        (error.to_string(), error.help().unwrap_or_default())
    };
    let good = || serving(folder.path());
    let (what, help) = tried(ServerSettings { cert: at("none.pem"), ..good() });
    assert!(what.contains("none.pem") && help.contains("roadbed tls make"), "{what}: {help}");
    let (what, help) = tried(ServerSettings { key: at("client.key"), ..good() });
    assert!(what.contains("does not match") && help.contains("comes first"), "{what}: {help}");
    let (what, help) = tried(ServerSettings { key: at("server.pem"), ..good() });
    assert!(what.contains("has no private key") && help.contains("-----BEGIN PRIVATE KEY"), "{what}: {help}");
    let (what, help) = tried(ServerSettings { client_auth: ClientAuth::Required, client_ca: None, ..good() });
    assert!(what.contains("which are good") && help.contains("client_ca"), "{what}: {help}");
    let twice = make(folder.path(), &Make::default()).expect_err("the server's are there");
    assert!(matches!(&twice, TlsError::Exists(path) if path.ends_with("server.pem")), "{twice}");
    let another = Make { server_names: vec!["hub.example".into()], force: true, ..Make::default() };
    assert_eq!(make(folder.path(), &another).expect("written over").len(), 6);
}

#[test]
fn a_certificate_that_has_ended_is_refused_with_its_date() {
    let folder = certificates();
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(vec!["localhost".into()]).expect("a name");
    params.not_after = rcgen::date_time_ymd(2020, 2, 1);
    let cert = params.self_signed(&key).expect("made");
    std::fs::write(folder.path().join("server.pem"), cert.pem()).expect("written");
    std::fs::write(folder.path().join("server.key"), key.serialize_pem()).expect("written");
    let error = Acceptor::new(serving(folder.path())).expect_err("it has ended");
    assert!(matches!(&error, TlsError::Expired { .. }) && error.to_string().contains("2020"), "{error}");
    assert!(error.help().is_some());
}
