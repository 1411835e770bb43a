use std::io::IoSlice;

use arbitrary::{Result, Unstructured};
use bytes::{Buf, BufMut, Bytes};
use roadbed_core::{Output, Payload};

/// The output is the concatenation of what was put, whatever was shared and however it is drained.
pub fn output(data: &[u8]) {
    // At the end of the data there is nothing more to do.
    let _ = run(&mut Unstructured::new(data));
}

fn run(u: &mut Unstructured<'_>) -> Result<()> {
    let (mut output, mut naive, mut seed) = (Output::new(), Vec::new(), 0);
    while !u.is_empty() && naive.len() < 1 << 20 {
        step(u, &mut output, &mut naive, &mut seed)?;
        check(&output, &naive);
    }
    let len = output.remaining();
    assert_eq!(output.copy_to_bytes(len)[..], naive[..]);
    check(&output, &[]);
    Ok(())
}

fn step(u: &mut Unstructured<'_>, output: &mut Output, naive: &mut Vec<u8>, seed: &mut u8) -> Result<()> {
    let op: u8 = u.arbitrary()?;
    let piece = piece(u, seed)?;
    match op % 5 {
        0 => output.flat(|out| out.put_slice(&piece)),
        1 => output.put_slice(&piece),
        2 => {
            output.put(&piece);
            let shared = output.shared().any(|shared| !shared.is_empty() && shared.as_ptr() == piece.as_ptr());
            assert_eq!(shared, piece.len() >= Output::SHARE_MIN);
        }
        3 => {
            let cut = usize::from(op) % (piece.len() + 1);
            output.put_payload(&Payload::from_segments(vec![piece.slice(..cut), piece.slice(cut..)]));
        }
        _ => {
            let count = piece.len().min(naive.len());
            output.advance(count);
            naive.drain(..count);
            return Ok(());
        }
    }
    naive.extend_from_slice(&piece);
    Ok(())
}

/// Bytes that differ from place to place, so that a wrong order shows; as long as two bytes say.
fn piece(u: &mut Unstructured<'_>, seed: &mut u8) -> Result<Bytes> {
    let len = u.arbitrary::<u16>()? % 5000;
    *seed = seed.wrapping_add(37);
    Ok((0..len).map(|n| (n as u8).wrapping_mul(13).wrapping_add(*seed)).collect())
}

fn check(output: &Output, naive: &[u8]) {
    assert_eq!(output.len(), naive.len());
    assert_eq!(output.remaining(), naive.len());
    assert_eq!(output.is_empty(), naive.is_empty());
    assert!(naive.starts_with(output.chunk()));
    assert_eq!(output.chunk().is_empty(), naive.is_empty());
    let mut slices = [IoSlice::new(&[]); 4];
    let filled = output.chunks_vectored(&mut slices);
    let mut rest = naive;
    for slice in &slices[..filled] {
        rest = rest.strip_prefix(&slice[..]).expect("the slices are the bytes, in order");
    }
    assert!(filled == slices.len() || rest.is_empty(), "fewer slices than asked for hold everything");
}
