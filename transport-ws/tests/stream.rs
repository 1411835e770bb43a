//! Streams of bytes over WebSocket: against ourselves, against another implementation, and against peers that break the standard.

use futures::{SinkExt, StreamExt};
use proptest::prelude::*;
use roadbed_ws::codec::{CloseFrame, Header, Opcode, Violation, mask};
use roadbed_ws::{Role, WsStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_websockets::{Config, Limits, Message};

/// A frame as a peer writes it.
fn frame(fin: bool, opcode: Opcode, key: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let mut head = [0; 14];
    let len = Header { fin, opcode, mask: key, len: payload.len() as u64 }.encode(&mut head);
    let mut bytes = [&head[..len], payload].concat();
    if let Some(key) = key {
        mask(&mut bytes[len..], key, 0);
    }
    bytes
}

const KEY: Option<[u8; 4]> = Some([9, 8, 7, 6]);

/// A server's stream, and what its client reads and writes.
fn server() -> (WsStream<DuplexStream>, DuplexStream) {
    let (near, far) = duplex(1 << 20);
    (WsStream::new(near, Role::Server), far)
}

/// All that the client has been sent, as frames.
async fn said(mut far: DuplexStream) -> Vec<(Opcode, Vec<u8>)> {
    let (mut bytes, mut frames) = (vec![], vec![]);
    far.read_to_end(&mut bytes).await.expect("it ends");
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let (header, len) = Header::decode(rest).expect("legal").expect("whole");
        assert_eq!(header.mask, None, "a server does not mask");
        let (payload, behind) = rest[len..].split_at(header.len as usize);
        frames.push((header.opcode, payload.to_vec()));
        rest = behind;
    }
    frames
}

#[tokio::test]
async fn bytes_come_out_however_they_are_framed() {
    let (mut stream, mut far) = server();
    let input = [
        frame(true, Opcode::Binary, KEY, b"one"),
        frame(false, Opcode::Binary, KEY, b"two"),
        frame(true, Opcode::Ping, KEY, b"alive?"),
        frame(false, Opcode::Continuation, KEY, b""),
        frame(true, Opcode::Pong, KEY, b"unasked"),
        frame(true, Opcode::Continuation, KEY, &[b'x'; 70_000]),
        frame(true, Opcode::Binary, KEY, b""),
        frame(true, Opcode::Close, KEY, &[0x03, 0xe9]),
        b"what comes after the close is nothing".to_vec(),
    ];
    far.write_all(&input.concat()).await.expect("room");
    let mut got = vec![];
    stream.read_to_end(&mut got).await.expect("it ends in good order");
    assert_eq!(got.len(), 6 + 70_000);
    assert_eq!(&got[..8], b"onetwoxx");
    drop(stream);
    let expected = [(Opcode::Pong, b"alive?".to_vec()), (Opcode::Close, vec![0x03, 0xe9])];
    assert_eq!(said(far).await, expected);
}

#[tokio::test]
async fn a_peer_that_breaks_the_standard_is_told_so_and_cut() {
    let masked = |opcode, payload: &[u8]| frame(true, opcode, KEY, payload);
    for (input, violation, code) in [
        (frame(true, Opcode::Binary, None, b"plain"), Violation::Mask, 1002),
        (masked(Opcode::Text, b"text"), Violation::Text, 1003),
        (masked(Opcode::Continuation, b"of what?"), Violation::Fragments, 1002),
        ([frame(false, Opcode::Binary, KEY, b"a"), masked(Opcode::Binary, b"b")].concat(), Violation::Fragments, 1002),
        (vec![0xc2, 0x80], Violation::ReservedBit, 1002),
        (vec![0x8b, 0x80], Violation::Opcode(11), 1002),
        (vec![0x09, 0x80], Violation::Control, 1002),
        (vec![0x82, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0], Violation::Length, 1002),
        (masked(Opcode::Close, &[0x03]), Violation::CloseCode, 1002),
        (masked(Opcode::Close, &[0x03, 0xed]), Violation::CloseCode, 1002),
        (masked(Opcode::Close, &[0x03, 0xe8, 0xff]), Violation::Utf8, 1007),
    ] {
        let (mut stream, mut far) = server();
        far.write_all(&[&masked(Opcode::Binary, b"before")[..], &input].concat()).await.expect("room");
        let mut got = vec![];
        let error = stream.read_to_end(&mut got).await.expect_err("it is cut");
        assert_eq!(error.get_ref().and_then(|cause| cause.downcast_ref()), Some(&violation));
        assert!(got.starts_with(b"before"), "what came before it counts");
        assert!(stream.write_all(b"more").await.is_err(), "nothing goes after the close");
        drop(stream);
        let frames = said(far).await;
        let [(Opcode::Close, payload)] = &frames[..] else { panic!("{frames:?}") };
        let close = CloseFrame::decode(payload).expect("legal").expect("a code");
        assert_eq!((close.code.0, &*close.reason), (code, &*violation.to_string()));
    }
}

#[tokio::test]
async fn a_server_that_masks_is_refused_by_the_client() {
    let (near, mut far) = duplex(1 << 10);
    let mut stream = WsStream::new(near, Role::Client);
    far.write_all(&frame(true, Opcode::Binary, KEY, b"masked")).await.expect("room");
    let error = stream.read_u8().await.expect_err("it is cut");
    assert_eq!(error.get_ref().and_then(|cause| cause.downcast_ref()), Some(&Violation::Mask));
}

#[tokio::test]
async fn who_pings_and_never_reads_costs_a_bound() {
    let (near, mut far) = duplex(64);
    let mut stream = WsStream::new(near, Role::Server);
    let pinging = tokio::spawn(async move {
        for _ in 0..10_000 {
            far.write_all(&frame(true, Opcode::Ping, KEY, &[7; 125])).await.expect("it is read");
        }
        far.write_all(&frame(true, Opcode::Binary, KEY, b"!")).await.expect("it is read");
        far
    });
    assert_eq!(stream.read_u8().await.expect("it goes on"), b'!');
    assert!(format!("{stream:?}").len() < 64 << 10, "a few KiB of answers wait, whatever comes");
    pinging.await.expect("all was taken");
}

#[tokio::test]
async fn nothing_is_allocated_by_what_is_announced() {
    let (near, mut far) = duplex(1 << 10);
    let mut stream = WsStream::new(near, Role::Server);
    let mut head = [0; 14];
    let len = Header { fin: true, opcode: Opcode::Binary, mask: KEY, len: i64::MAX as u64 }.encode(&mut head);
    far.write_all(&head[..len]).await.expect("room");
    far.write_all(&[1]).await.expect("room");
    assert_eq!(stream.read_u8().await.expect("what is there comes"), 1 ^ 9);
}

/// Writes in pieces, and reads all that comes back from a server that sends back.
async fn echoed(mut stream: WsStream<DuplexStream>, pieces: &[Vec<u8>]) -> Vec<u8> {
    let total: usize = pieces.iter().map(Vec::len).sum();
    let (mut read, mut write) = tokio::io::split(&mut stream);
    let writing = async {
        for piece in pieces {
            write.write_all(piece).await.expect("taken");
            write.flush().await.expect("taken");
        }
    };
    let mut back = vec![0; total];
    let (_, got) = tokio::join!(writing, read.read_exact(&mut back));
    got.expect("all comes back");
    drop((read, write));
    stream.shutdown().await.expect("taken");
    let mut rest = vec![];
    stream.read_to_end(&mut rest).await.expect("it ends in good order");
    assert_eq!(rest, b"");
    back
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn pieces() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let piece =
        prop_oneof![prop::collection::vec(any::<u8>(), 1..200), prop::collection::vec(any::<u8>(), 60_000..80_000),];
    prop::collection::vec(piece, 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_goes_in_comes_out_between_ours(pieces in pieces(), pipe in 1usize..5000) {
        let back = runtime().block_on(async {
            let (near, far) = duplex(pipe);
            let echo = tokio::spawn(async move {
                let mut stream = WsStream::new(far, Role::Server);
                let mut chunk = vec![0; 3000];
                loop {
                    let len = stream.read(&mut chunk).await.expect("legal");
                    if len == 0 {
                        return;
                    }
                    stream.write_all(&chunk[..len]).await.expect("taken");
                    stream.flush().await.expect("taken");
                }
            });
            let back = echoed(WsStream::new(near, Role::Client), &pieces).await;
            echo.await.expect("it ends");
            back
        });
        prop_assert_eq!(back, pieces.concat());
    }

    #[test]
    fn what_our_client_writes_another_server_reads_and_the_other_way_round(pieces in pieces(), pipe in 1usize..5000, size in 1usize..9000) {
        let back = runtime().block_on(async {
            let (near, far) = duplex(pipe);
            let echo = tokio::spawn(async move {
                let config = Config::default().frame_size(size);
                let mut other = tokio_websockets::ServerBuilder::new().config(config).limits(Limits::unlimited()).serve(far);
                while let Some(Ok(message)) = other.next().await {
                    if message.is_binary() {
                        other.send(Message::ping("alive?")).await.expect("taken");
                        other.send(Message::binary(message.into_payload())).await.expect("taken");
                    }
                }
            });
            let back = echoed(WsStream::new(near, Role::Client), &pieces).await;
            echo.await.expect("it ends");
            back
        });
        prop_assert_eq!(back, pieces.concat());
    }

    #[test]
    fn what_another_client_writes_our_server_reads_and_the_other_way_round(pieces in pieces(), pipe in 1usize..5000, size in 1usize..9000) {
        let back = runtime().block_on(async {
            let (near, far) = duplex(pipe);
            let total: usize = pieces.iter().map(Vec::len).sum();
            let echo = tokio::spawn(async move {
                let mut stream = WsStream::new(far, Role::Server);
                let mut chunk = vec![0; 3000];
                while let Ok(len @ 1..) = stream.read(&mut chunk).await {
                    stream.write_all(&chunk[..len]).await.expect("taken");
                    stream.flush().await.expect("taken");
                }
            });
            let config = Config::default().frame_size(size);
            let client = tokio_websockets::ClientBuilder::new().config(config).limits(Limits::unlimited()).take_over(near);
            let (mut sink, mut source) = client.split();
            let all = pieces.clone();
            let writing = async move {
                for piece in all {
                    sink.send(Message::binary(piece)).await.expect("taken");
                }
                sink
            };
            let reading = async move {
                let mut back = vec![];
                while back.len() < total {
                    let message = source.next().await.expect("more").expect("legal");
                    if message.is_binary() {
                        back.extend_from_slice(message.as_payload());
                    }
                }
                back
            };
            let (sink, back) = tokio::join!(writing, reading);
            drop(sink);
            echo.await.expect("it ends");
            back
        });
        prop_assert_eq!(back, pieces.concat());
    }
}

#[tokio::test]
async fn every_byte_in_a_frame_of_its_own_is_read_into_any_buffer() {
    let (near, mut far) = duplex(1 << 20);
    let frames: Vec<u8> = (0..=255u8).flat_map(|byte| frame(true, Opcode::Binary, KEY, &[byte])).collect();
    let mut socket = roadbed_core::Socket::new(WsStream::new(near, Role::Server));
    let mut got = vec![];
    for piece in frames.chunks(10) {
        far.write_all(piece).await.expect("room");
        let chunk = std::future::poll_fn(|cx| {
            std::task::Poll::Ready(match socket.poll_chunk(cx) {
                std::task::Poll::Ready(chunk) => chunk.expect("legal"),
                std::task::Poll::Pending => None,
            })
        })
        .await;
        got.extend_from_slice(&chunk.unwrap_or_default());
    }
    assert_eq!(got, (0..=255).collect::<Vec<u8>>());
}
