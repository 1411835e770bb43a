//! The output is the concatenation of what was put, whatever was shared and however it is drained.

use std::io::IoSlice;

use bytes::{Buf, BufMut, Bytes};
use proptest::prelude::*;
use roadbed_core::{Output, Payload};

#[derive(Clone, Debug)]
enum Op {
    Flat(usize),
    Slice(usize),
    Put(usize),
    Payload(Vec<usize>),
    Advance(usize),
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![
        4 => 0..40usize,
        1 => 90..100usize,
        2 => Output::SHARE_MIN - 2..Output::SHARE_MIN + 3,
        1 => 0..10_000usize,
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        size().prop_map(Op::Flat),
        size().prop_map(Op::Slice),
        size().prop_map(Op::Put),
        prop::collection::vec(size(), 0..4).prop_map(Op::Payload),
        size().prop_map(Op::Advance),
    ]
}

/// Bytes that differ from place to place, so that a wrong order shows.
fn bytes(seed: &mut u8, len: usize) -> Vec<u8> {
    *seed = seed.wrapping_add(37);
    (0..len).map(|n| (n as u8).wrapping_mul(13).wrapping_add(*seed)).collect()
}

fn check(output: &Output, naive: &[u8]) -> Result<(), TestCaseError> {
    prop_assert_eq!(output.len(), naive.len());
    prop_assert_eq!(output.remaining(), naive.len());
    prop_assert_eq!(output.is_empty(), naive.is_empty());
    prop_assert!(naive.starts_with(output.chunk()));
    prop_assert_eq!(output.chunk().is_empty(), naive.is_empty());
    let mut slices = [IoSlice::new(&[]); 3];
    let filled = output.chunks_vectored(&mut slices);
    let seen: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.iter().copied()).collect();
    prop_assert!(naive.starts_with(&seen));
    prop_assert_eq!(seen.is_empty(), naive.is_empty());
    Ok(())
}

proptest! {
    #[test]
    fn is_the_concatenation(ops in prop::collection::vec(op(), 0..40)) {
        let (mut output, mut naive, mut seed) = (Output::new(), Vec::new(), 0);
        for op in ops {
            match op {
                Op::Flat(len) => {
                    let piece = bytes(&mut seed, len);
                    output.flat(|out| out.put_slice(&piece));
                    naive.extend(piece);
                }
                Op::Slice(len) => {
                    let piece = bytes(&mut seed, len);
                    output.put_slice(&piece);
                    naive.extend(piece);
                }
                Op::Put(len) => {
                    let piece = Bytes::from(bytes(&mut seed, len));
                    output.put(&piece);
                    let shared = output.shared().any(|shared| !shared.is_empty() && shared.as_ptr() == piece.as_ptr());
                    prop_assert_eq!(shared, len >= Output::SHARE_MIN);
                    naive.extend(piece);
                }
                Op::Payload(lens) => {
                    let segments: Vec<Bytes> = lens.iter().map(|&len| bytes(&mut seed, len).into()).collect();
                    naive.extend(segments.concat());
                    output.put_payload(&Payload::from_segments(segments));
                }
                Op::Advance(count) => {
                    let count = count.min(naive.len());
                    output.advance(count);
                    naive.drain(..count);
                }
            }
            check(&output, &naive)?;
        }
        let len = output.remaining();
        prop_assert_eq!(&output.copy_to_bytes(len)[..], &naive[..]);
        check(&output, &[])?;
    }
}

#[test]
#[should_panic(expected = "cannot advance past the end")]
fn advancing_past_the_end_is_the_callers_error() {
    Output::new().advance(1);
}
