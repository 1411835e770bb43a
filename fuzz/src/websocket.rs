//! WebSocket frames, in pieces: what comes out does not depend on how they were cut, and nothing panics.

use roadbed_ws::codec::{Header, Violation};
use roadbed_ws::{Item, Reader, Role};

/// The first byte says who sends, the second how the rest is cut.
pub fn websocket(data: &[u8]) {
    let [role, cut, frames @ ..] = data else { return };
    let peer = if role % 2 == 0 { Role::Client } else { Role::Server };
    let whole = read(peer, frames, frames.len().max(1));
    for piece in [1, 1 + usize::from(*cut)] {
        assert_eq!(read(peer, frames, piece), whole, "in pieces of {piece}");
    }
    if let Ok(Some((header, len))) = Header::decode(frames) {
        let mut again = [0; 14];
        assert_eq!((header.encode(&mut again), &again[..len]), (len, &frames[..len]), "one form for each header");
    }
}

/// What a reader says of all that comes before its first error, and that error. Parts of messages are joined.
fn read(peer: Role, frames: &[u8], piece: usize) -> (Vec<u8>, Vec<Item>, Option<Violation>) {
    let (mut reader, mut payload, mut items) = (Reader::new(peer), vec![], vec![]);
    for chunk in frames.chunks(piece) {
        let (mut chunk, mut from) = (chunk.to_vec(), 0);
        while from < chunk.len() {
            match reader.step(&mut chunk[from..]) {
                Err(violation) => return (payload, items, Some(violation)),
                Ok((taken, item)) => {
                    assert!(taken > 0, "it goes on");
                    let end = matches!(item, Item::Close(_));
                    match item {
                        Item::Data { at, text, last } => {
                            payload.extend_from_slice(&chunk[from + at.start..from + at.end]);
                            if last {
                                items.push(Item::Data { at: 0..payload.len(), text, last });
                            }
                        }
                        Item::Nothing => {}
                        control => items.push(control),
                    }
                    if end {
                        return (payload, items, None);
                    }
                    from += taken;
                }
            }
        }
    }
    (payload, items, None)
}
