/// Masks `bytes`, or takes the mask off: they are as far as `phase` bytes into their frame (section 5.3).
pub fn mask(bytes: &mut [u8], key: [u8; 4], phase: usize) {
    let key: [u8; 4] = core::array::from_fn(|n| key[(n + phase) % 4]);
    let wide = u64::from_ne_bytes([key[0], key[1], key[2], key[3], key[0], key[1], key[2], key[3]]);
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

/// How many keys the system is asked for at once.
const KEYS: usize = 64;

/// The keys that a client masks with: nobody can foresee them (section 10.3).
#[derive(Debug)]
pub struct Keys {
    made: [[u8; 4]; KEYS],
    used: usize,
}

impl Default for Keys {
    fn default() -> Self {
        Self { made: [[0; 4]; KEYS], used: KEYS }
    }
}

impl Keys {
    /// The next key.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub fn key(&mut self) -> std::io::Result<[u8; 4]> {
        if self.used == KEYS {
            getrandom::fill(self.made.as_flattened_mut()).map_err(std::io::Error::other)?;
            self.used = 0;
        }
        self.used += 1;
        Ok(self.made[self.used - 1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_the_standard_says_byte_by_byte_from_every_phase() {
        let (key, plain): (_, Vec<u8>) = ([0x37, 0xfa, 0x21, 0x3d], (0..100).collect());
        let expected: Vec<u8> = plain.iter().enumerate().map(|(n, byte)| byte ^ key[n % 4]).collect();
        for from in 0..20 {
            for to in from..=100 {
                let mut piece = plain[from..to].to_vec();
                mask(&mut piece, key, from);
                assert_eq!(piece, expected[from..to], "{from}..{to}");
            }
        }
        let mut hello = [0x7f, 0x9f, 0x4d, 0x51, 0x58];
        mask(&mut hello, key, 0);
        assert_eq!(&hello, b"Hello");
    }

    #[test]
    fn keys_differ() {
        let mut keys = Keys::default();
        let made: std::collections::HashSet<_> = (0..1000).map(|_| keys.key().expect("randomness")).collect();
        assert!(made.len() > 990);
    }
}
