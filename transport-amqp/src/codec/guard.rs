use crate::DecodeError;

/// Bounds of one encoded value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct GuardLimits {
    /// How deep descriptions, lists, maps and arrays may be nested; at most 32, which is the default.
    pub depth_max: usize,
    /// How many values there may be, inner ones and array elements included. Default 16,384.
    pub values_max: u32,
}

impl Default for GuardLimits {
    fn default() -> Self {
        Self { depth_max: DEPTH, values_max: 1 << 14 }
    }
}

impl GuardLimits {
    /// Sets [`GuardLimits::values_max`].
    #[must_use]
    pub const fn values_max(mut self, values: u32) -> Self {
        self.values_max = values;
        self
    }
}

const DEPTH: usize = 32;
/// What nearly all values keep to: room for so few levels is made much faster.
const SHALLOW: usize = 5;

/// A compound value under way.
#[derive(Clone, Copy, Default)]
struct Level {
    end: usize,
    left: u32,
    /// The constructor of every element, in an array.
    element: Option<u8>,
    /// Whether the last item must reach `end`.
    sized: bool,
}

/// Walks the value that begins at `start` without recursion, and says where it ends.
///
/// After that, no decoder can be led out of the bytes, into deep recursion or into counts that the bytes do not bear out
/// (Part 1, sections 1.2 and 1.6).
///
/// # Errors
/// [`DecodeError`] for what is cut short, nested too deep, too many, or of no known constructor.
pub fn walk(bytes: &[u8], start: usize, limits: &GuardLimits) -> Result<usize, DecodeError> {
    let shallow = GuardLimits { depth_max: limits.depth_max.min(SHALLOW), ..*limits };
    match walk_within::<{ SHALLOW + 1 }>(bytes, start, &shallow) {
        Err(DecodeError::TooDeep(SHALLOW)) if limits.depth_max > SHALLOW => {
            walk_within::<{ DEPTH + 1 }>(bytes, start, limits)
        }
        walked => walked,
    }
}

fn walk_within<const LEVELS: usize>(bytes: &[u8], start: usize, limits: &GuardLimits) -> Result<usize, DecodeError> {
    let mut levels = [Level::default(); LEVELS];
    let depth_max = limits.depth_max.min(LEVELS - 1);
    levels[0] = Level { end: bytes.len(), left: 1, element: None, sized: false };
    let (mut depth, mut at, mut budget) = (0, start, limits.values_max);
    loop {
        while levels[depth].left == 0 {
            if levels[depth].sized && at != levels[depth].end {
                return Err(DecodeError::Size);
            }
            if depth == 0 {
                return Ok(at);
            }
            depth -= 1;
        }
        levels[depth].left -= 1;
        budget = budget.checked_sub(1).ok_or(DecodeError::TooManyValues(limits.values_max))?;
        let end = levels[depth].end;
        let code = match levels[depth].element {
            Some(code) => code,
            None => fixed::<1>(bytes, &mut at, end)?[0],
        };
        let inner = match width(code)? {
            Width::Fixed(width) => {
                at = advance(at, width, end)?;
                continue;
            }
            Width::Variable(wide) => {
                let width = size(bytes, &mut at, end, wide)?;
                at = advance(at, width, end)?;
                continue;
            }
            Width::Described => Level { end, left: 2, element: None, sized: false },
            Width::Compound { wide, map } => {
                let (count, inner) = compound(bytes, &mut at, end, wide)?;
                if map && count % 2 == 1 {
                    return Err(DecodeError::OddMap);
                }
                Level { end: inner, left: count, element: None, sized: true }
            }
            Width::Array { wide } => {
                let (count, inner) = compound(bytes, &mut at, end, wide)?;
                let element = element(bytes, &mut at, inner)?;
                Level { end: inner, left: count, element: Some(element), sized: true }
            }
        };
        if inner.left > budget {
            return Err(DecodeError::TooManyValues(limits.values_max));
        }
        if depth + 1 > depth_max {
            return Err(DecodeError::TooDeep(depth_max));
        }
        depth += 1;
        levels[depth] = inner;
    }
}

/// How much follows a constructor.
pub(super) enum Width {
    Fixed(usize),
    Variable(bool),
    Described,
    Compound { wide: bool, map: bool },
    Array { wide: bool },
}

#[inline]
pub(super) fn width(code: u8) -> Result<Width, DecodeError> {
    Ok(match code {
        0x00 => Width::Described,
        0x40..=0x45 => Width::Fixed(0),
        0x50..=0x56 => Width::Fixed(1),
        0x60 | 0x61 => Width::Fixed(2),
        0x70..=0x74 => Width::Fixed(4),
        0x80..=0x84 => Width::Fixed(8),
        0x94 | 0x98 => Width::Fixed(16),
        0xa0 | 0xa1 | 0xa3 => Width::Variable(false),
        0xb0 | 0xb1 | 0xb3 => Width::Variable(true),
        0xc0 | 0xc1 => Width::Compound { wide: false, map: code == 0xc1 },
        0xd0 | 0xd1 => Width::Compound { wide: true, map: code == 0xd1 },
        0xe0 | 0xf0 => Width::Array { wide: code == 0xf0 },
        _ => return Err(DecodeError::Constructor(code)),
    })
}

/// The count of a compound value, and where it ends; its size counts the count, too.
fn compound(bytes: &[u8], at: &mut usize, end: usize, wide: bool) -> Result<(u32, usize), DecodeError> {
    let size = size(bytes, at, end, wide)?;
    let inner = advance(*at, size, end)?;
    let count = self::size(bytes, at, inner, wide)?;
    Ok((u32::try_from(count).unwrap_or(u32::MAX), inner))
}

/// The constructor of an array's elements. A descriptor is a plain symbol or ulong, and no element is described twice.
fn element(bytes: &[u8], at: &mut usize, end: usize) -> Result<u8, DecodeError> {
    let code = fixed::<1>(bytes, at, end)?[0];
    if code != 0 {
        return Ok(code);
    }
    let descriptor = fixed::<1>(bytes, at, end)?[0];
    let skip = match descriptor {
        0x44 => 0,
        0x53 => 1,
        0x80 => 8,
        0xa3 | 0xb3 => size(bytes, at, end, descriptor == 0xb3)?,
        _ => return Err(DecodeError::Constructor(descriptor)),
    };
    *at = advance(*at, skip, end)?;
    match fixed::<1>(bytes, at, end)?[0] {
        0 => Err(DecodeError::Constructor(0)),
        code => Ok(code),
    }
}

fn size(bytes: &[u8], at: &mut usize, end: usize, wide: bool) -> Result<usize, DecodeError> {
    Ok(match wide {
        false => usize::from(fixed::<1>(bytes, at, end)?[0]),
        true => u32::from_be_bytes(fixed::<4>(bytes, at, end)?) as usize,
    })
}

fn fixed<const N: usize>(bytes: &[u8], at: &mut usize, end: usize) -> Result<[u8; N], DecodeError> {
    let next = advance(*at, N, end)?;
    let mut out = [0; N];
    out.copy_from_slice(bytes.get(*at..next).ok_or(DecodeError::Truncated)?);
    *at = next;
    Ok(out)
}

fn advance(at: usize, by: usize, end: usize) -> Result<usize, DecodeError> {
    at.checked_add(by).filter(|&next| next <= end).ok_or(DecodeError::Truncated)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walked(bytes: &[u8]) -> Result<usize, DecodeError> {
        walk(bytes, 0, &GuardLimits::default())
    }

    #[test]
    fn a_value_ends_where_it_says() {
        assert_eq!(walked(&[0x40, 9]), Ok(1));
        assert_eq!(walked(&[0xa1, 2, b'a', b'b']), Ok(4));
        assert_eq!(walked(&[0xc0, 3, 2, 0x43, 0x40]), Ok(5));
        assert_eq!(walked(&[0x00, 0x53, 0x14, 0x45]), Ok(4));
        assert_eq!(walked(&[0xe0, 4, 2, 0x50, 1, 2]), Ok(6));
        assert_eq!(walked(&[0xe0, 9, 2, 0x00, 0xa3, 1, b'x', 0xa1, 0, 1, b'y']), Ok(11));
    }

    #[test]
    fn thousands_of_nested_values_are_refused_in_constant_stack() {
        let descriptions = [0x00].repeat(100_000);
        assert_eq!(walked(&descriptions), Err(DecodeError::TooDeep(32)));
        let mut lists = vec![0x40];
        for _ in 0..33 {
            let size = lists.len() as u32 + 4;
            let mut outer = vec![0xd0];
            outer.extend(size.to_be_bytes());
            outer.extend(1u32.to_be_bytes());
            outer.append(&mut lists);
            lists = outer;
        }
        assert_eq!(walked(&lists), Err(DecodeError::TooDeep(32)));
        assert_eq!(walked(&lists[9..]), Ok(lists.len() - 9), "32 levels are fine");
    }

    #[test]
    fn counts_and_sizes_must_be_borne_out() {
        assert_eq!(walked(&[0xe0, 2, 255, 0x40]), Ok(4), "elements without width");
        let nulls = [0xf0, 0, 0, 0, 5, 0x80, 0, 0, 0, 0x40];
        assert_eq!(walked(&nulls), Err(DecodeError::TooManyValues(1 << 14)));
        assert_eq!(walked(&[0xc0, 0, 1]), Err(DecodeError::Truncated), "a size without room for its count");
        assert_eq!(walked(&[0xc0, 2, 2, 0x40]), Err(DecodeError::Truncated));
        assert_eq!(walked(&[0xc0, 3, 1, 0x40, 0x40]), Err(DecodeError::Size));
        assert_eq!(walked(&[0xc1, 2, 1, 0x40]), Err(DecodeError::OddMap));
        assert_eq!(walked(&[0xb0, 255, 255, 255, 255]), Err(DecodeError::Truncated));
        assert_eq!(walked(&[0x3f]), Err(DecodeError::Constructor(0x3f)));
        assert_eq!(walked(&[]), Err(DecodeError::Truncated));
        assert_eq!(walked(&[0xe0, 4, 1, 0x00, 0x00, 0x40]), Err(DecodeError::Constructor(0)));
    }
}
