//! A payload is its bytes, however they are kept.

use bytes::Bytes;
use proptest::prelude::*;
use roadbed_core::Payload;

fn len() -> impl Strategy<Value = usize> {
    prop_oneof![0..4usize, 90..100usize, 0..5000usize]
}

fn segments() -> impl Strategy<Value = Vec<Bytes>> {
    let segment = len().prop_flat_map(|len| prop::collection::vec(any::<u8>(), len)).prop_map(Bytes::from);
    prop::collection::vec(segment, 0..5)
}

fn inside(part: &[u8], whole: &Bytes) -> bool {
    whole.as_ptr_range().contains(&part.as_ptr())
}

proptest! {
    #[test]
    fn is_the_concatenation_of_its_segments(segments in segments()) {
        let flat = segments.concat();
        let rope = Payload::from_segments(segments);
        prop_assert_eq!(rope.len(), flat.len());
        prop_assert_eq!(rope.is_empty(), flat.is_empty());
        prop_assert_eq!(&rope.to_bytes()[..], &flat[..]);
        prop_assert_eq!(&rope.segments().collect::<Vec<_>>().concat(), &flat);
        prop_assert!(rope.segments().all(|segment| !segment.is_empty()));
        prop_assert_eq!(&rope, &Payload::copy_from_slice(&flat));
        prop_assert_eq!(&rope, &Payload::from(flat));
    }

    #[test]
    fn differs_where_its_bytes_do(mut bytes in prop::collection::vec(any::<u8>(), 1..300), at in any::<prop::sample::Index>()) {
        let before = Payload::from(bytes.clone());
        *at.get_mut(&mut bytes) ^= 1;
        prop_assert_ne!(before, Payload::from(bytes));
    }

    #[test]
    fn is_shared_if_large_and_inline_if_small(len in len()) {
        let buffer = Bytes::from(vec![7; len + 2]);
        let payload = Payload::from(buffer.slice(1..=len));
        match payload.shared() {
            None => prop_assert!(len <= Payload::INLINE_MAX),
            Some([one]) => prop_assert!(len > Payload::INLINE_MAX && inside(one, &buffer)),
            Some(many) => prop_assert!(false, "{} segments of one", many.len()),
        }
        drop(payload.clone());
        prop_assert!(payload.segments().all(|segment| len <= Payload::INLINE_MAX || inside(segment, &buffer)));
    }

    #[test]
    fn several_segments_stay_where_they_are(segments in segments()) {
        let kept: Vec<_> = segments.iter().filter(|segment| !segment.is_empty()).cloned().collect();
        let rope = Payload::from_segments(segments);
        if kept.len() > 1 {
            let shared = rope.shared().unwrap();
            prop_assert!(shared.iter().map(|part| part.as_ptr()).eq(kept.iter().map(|part| part.as_ptr())));
        }
    }

    #[test]
    fn detached_it_pins_nothing(segments in segments()) {
        let rope = Payload::from_segments(segments.clone());
        let detached = rope.detach();
        prop_assert_eq!(&detached, &rope);
        for part in detached.segments() {
            prop_assert!(segments.iter().all(|segment| !inside(part, segment)));
        }
    }
}

#[test]
fn is_no_larger_than_it_was_designed() {
    assert!(size_of::<Payload>() <= 104, "{} bytes", size_of::<Payload>());
}
