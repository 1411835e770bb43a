//! First bytes: what is said of them does not change when more come, and is said soon.

use roadbed_hub::sniff::{SNIFFED_MAX, Sniffed, sniff as of};

/// The bytes are what a client sends first.
pub fn sniff(data: &[u8]) {
    let mut said = Sniffed::More;
    for end in 0..=data.len().min(SNIFFED_MAX + 8) {
        let now = of(&data[..end]);
        assert!(said == Sniffed::More || now == said, "{said:?}, and then {now:?} after {end} bytes");
        said = now;
    }
    assert!(said != Sniffed::More || data.len() < SNIFFED_MAX, "nothing is said of {data:?}");
    assert!(said == of(data) || said == Sniffed::More || data.len() > SNIFFED_MAX, "the rest does not matter");
}
