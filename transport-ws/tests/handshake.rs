//! The handshake, and messages behind it.

use std::io::ErrorKind;

use roadbed_ws::codec::{CloseCode, CloseFrame, Violation};
use roadbed_ws::{Accepted, Ask, Message, Messages, Role, accept, connect};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

fn ask(protocols: &[&str]) -> Ask {
    let protocols = protocols.iter().map(|name| (*name).to_owned()).collect();
    Ask { host: "example.com".into(), path: "/mqtt?x=1".into(), protocols }
}

/// What a server makes of a request in raw bytes, and what it answers.
async fn raw(request: &str) -> (std::io::Result<Accepted>, String) {
    let (mut near, far) = duplex(1 << 16);
    near.write_all(request.as_bytes()).await.expect("room");
    let accepted = accept(far, &["mqtt", "amqp"]).await;
    let mut answer = vec![0; 4096];
    let len = near.read(&mut answer).await.expect("an answer");
    (accepted, String::from_utf8_lossy(&answer[..len]).into_owned())
}

const GOOD: &str = "GET /mqtt HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: xmpp, amqp\r\nOrigin: http://a.example\r\n\r\n";

#[tokio::test]
async fn a_request_is_answered_as_the_standard_says() {
    let (accepted, answer) = raw(GOOD).await;
    let accepted = accepted.expect("accepted");
    assert_eq!((&*accepted.protocol, accepted.request.uri.path()), ("amqp", "/mqtt"));
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    let answer = answer.to_ascii_lowercase();
    for line in
        ["sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=", "sec-websocket-protocol: amqp", "upgrade: websocket"]
    {
        assert!(answer.contains(line), "{line} in {answer}");
    }
}

#[tokio::test]
async fn other_requests_are_refused_with_what_is_wrong() {
    for (from, to, status) in [
        ("GET /mqtt HTTP/1.1", "POST /mqtt HTTP/1.1", "405"),
        ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 8", "426"),
        ("Sec-WebSocket-Version: 13\r\n", "", "426"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=", "400"),
        ("dGhlIHNhbXBsZSBub25jZQ==", "not base 64", "400"),
        ("xmpp, amqp", "xmpp", "400"),
        ("Sec-WebSocket-Protocol: xmpp, amqp\r\n", "", "400"),
        ("Upgrade: WebSocket\r\n", "", "405"),
    ] {
        let (accepted, answer) = raw(&GOOD.replace(from, to)).await;
        assert_eq!(accepted.err().map(|error| error.kind()), Some(ErrorKind::InvalidData), "{to}");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{to}: {answer}");
        assert!(status != "426" || answer.to_ascii_lowercase().contains("sec-websocket-version: 13"), "{answer}");
    }
}

#[tokio::test]
async fn client_and_server_agree() {
    let (near, far) = duplex(1 << 10);
    let server = tokio::spawn(async move { accept(far, &["amqp", "mqtt"]).await.expect("accepted") });
    let (mut client, protocol) = connect(near, &ask(&["mqttv3.1", "mqtt"])).await.expect("accepted");
    let accepted = server.await.expect("it runs");
    assert_eq!((&*protocol, &*accepted.protocol, accepted.request.uri.query()), ("mqtt", "mqtt", Some("x=1")));
    let mut server = accepted.into_stream();
    server.write_all(b"the server may speak first").await.expect("taken");
    let mut got = [0; 26];
    client.read_exact(&mut got).await.expect("it comes");
    client.shutdown().await.expect("taken");
    assert_eq!(server.read(&mut got).await.expect("the end"), 0);
}

#[tokio::test]
async fn a_client_refuses_what_is_no_answer() {
    let answers = [
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", "404"),
        (
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: c2hvcnQ=\r\n\r\n",
            "understood",
        ),
        ("nothing of HTTP\r\n\r\n", ""),
        ("", ""),
    ];
    for (answer, word) in answers {
        let (near, mut far) = duplex(1 << 10);
        tokio::spawn(async move {
            let mut request = [0; 1024];
            let _ = far.read(&mut request).await;
            let _ = far.write_all(answer.as_bytes()).await;
        });
        let error = connect(near, &ask(&["mqtt"])).await.expect_err("refused");
        assert!(error.to_string().contains(word), "{error}");
    }
}

/// Two ends of a connection of messages, of 1,000 bytes at most.
fn messages() -> (Messages<DuplexStream>, Messages<DuplexStream>) {
    let (near, far) = duplex(1 << 10);
    (Messages::new(near, Role::Client, 1000), Messages::new(far, Role::Server, 1000))
}

#[tokio::test]
async fn messages_keep_their_borders() {
    let (mut client, mut server) = messages();
    let sent = [Message::Text("grüße".into()), Message::Binary(vec![7; 1000].into()), Message::Text("".into())];
    let reading = tokio::spawn(async move {
        let mut got = vec![];
        while let Some(message) = server.receive().await.expect("legal") {
            server.send(&message).expect("open");
            server.flush().await.expect("taken");
            got.push(message);
        }
        (got, server.closed_with().cloned())
    });
    for message in &sent {
        client.send(message).expect("open");
    }
    for message in &sent {
        assert_eq!(client.receive().await.expect("legal").as_ref(), Some(message));
    }
    let bye = CloseFrame { code: CloseCode::NORMAL, reason: "done".into() };
    client.close(&bye).await.expect("answered");
    assert!(client.send(&sent[0]).is_err(), "nothing goes after the close");
    assert_eq!(reading.await.expect("it ends"), (sent.to_vec(), Some(bye)));
}

#[tokio::test]
async fn what_is_too_long_is_refused() {
    let (mut client, mut server) = messages();
    client.send(&Message::Binary(vec![7; 1001].into())).expect("open");
    let _ = tokio::join!(client.flush(), async {
        let error = server.receive().await.expect_err("refused");
        assert_eq!(error.get_ref().and_then(|cause| cause.downcast_ref()), Some(&Violation::TooLong(1000)));
        drop(server);
    });
    assert_eq!(client.receive().await.expect("closed"), None);
    assert_eq!(client.closed_with().map(|close| close.code), Some(CloseCode::TOO_BIG));
}
