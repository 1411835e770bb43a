//! Which addresses a binding follows: MQTT's filters \[MQTT-4.7\].

use core::fmt;

use bytestring::ByteString;

use crate::Address;

/// A pattern over addresses: `+` stands for one level, a last `#` for all that follow.
///
/// A wildcard at the start matches no address that begins with `$` \[MQTT-4.7.2-1\], nor the reserved prefixes
/// `queues/` and `logs/`: those a filter must begin with itself.
///
/// ```
/// use roadbed_core::{Address, Filter};
/// let filter: Filter = "plant/+/alarm".parse()?;
/// assert!(filter.matches(&"plant/7/alarm".parse()?));
/// assert!(!"#".parse::<Filter>()?.matches(&"queues/orders".parse()?));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Filter(ByteString);

/// Why a filter is not legal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FilterError {
    /// It is empty \[MQTT-4.7.3-1\].
    #[error("a filter needs at least one character")]
    Empty,
    /// It has more than 65,535 bytes \[MQTT-4.7.3-3\].
    #[error("a filter has at most 65,535 bytes")]
    TooLong,
    /// It contains U+0000 \[MQTT-4.7.3-2\].
    #[error("a filter cannot contain U+0000")]
    Nul,
    /// `#` is not the last level, or a wildcard shares its level \[MQTT-4.7.1-1\], \[MQTT-4.7.1-2\].
    #[error("a wildcard stands alone in its level, and # in the last one")]
    MisplacedWildcard,
    /// `$share` without a name or a filter, or with a wildcard in the name \[MQTT-4.8.2-1\].
    #[error("a shared filter is $share/NAME/FILTER")]
    MalformedShare,
    /// More levels than the limit.
    #[error("a filter has at most {} levels", Filter::LEVELS_MAX)]
    TooDeep,
}

impl Filter {
    /// The largest number of levels, so that no filter is deeper than any address worth matching.
    pub const LEVELS_MAX: usize = 128;

    /// The filter with this text.
    ///
    /// # Errors
    /// [`FilterError`] if the text is not legal.
    pub fn new(text: impl Into<ByteString>) -> Result<Self, FilterError> {
        let text = text.into();
        check(&text)?;
        Ok(Self(text))
    }

    /// Splits `$share/NAME/FILTER` into group and filter; a filter without the prefix has no group.
    ///
    /// # Errors
    /// [`FilterError`] if either part is not legal.
    pub fn parse_shared(text: &ByteString) -> Result<(Option<ByteString>, Self), FilterError> {
        let Some(rest) = text.strip_prefix("$share/") else {
            if &**text == "$share" {
                return Err(FilterError::MalformedShare);
            }
            return Ok((None, Self::new(text.clone())?));
        };
        let (group, filter) = rest.split_once('/').ok_or(FilterError::MalformedShare)?;
        if group.is_empty() || filter.is_empty() || group.contains(['+', '#', '\0']) {
            return Err(FilterError::MalformedShare);
        }
        Ok((Some(text.slice_ref(group)), Self::new(text.slice_ref(filter))?))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, shared.
    pub const fn text(&self) -> &ByteString {
        &self.0
    }

    /// The levels, in order.
    pub fn levels(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// Whether it has a wildcard.
    pub fn has_wildcard(&self) -> bool {
        self.0.contains(['+', '#'])
    }

    /// The one address it matches, if it has no wildcard.
    pub fn as_address(&self) -> Option<Address> {
        (!self.has_wildcard()).then(|| Address::from_checked(self.0.clone()))
    }

    /// Whether it matches `address`. Takes time linear in the shorter of the two.
    pub fn matches(&self, address: &Address) -> bool {
        if self.0.starts_with(['+', '#']) && is_reserved(address.as_str()) {
            return false;
        }
        let (mut filter, mut levels) = (self.levels(), address.levels());
        loop {
            match (filter.next(), levels.next()) {
                (Some("#"), _) => return true,
                (Some("+"), Some(_)) => {}
                (Some(wanted), Some(level)) if wanted == level => {}
                (None, None) => return true,
                _ => return false,
            }
        }
    }

    /// Whether it matches every address that `other` matches. Reserved addresses count: `#` does not cover `$SYS/#`.
    pub fn covers(&self, other: &Self) -> bool {
        if self.0.starts_with(['+', '#']) && is_reserved(other.as_str()) {
            return false;
        }
        let (mut ours, mut theirs) = (self.levels(), other.levels());
        loop {
            match (ours.next(), theirs.next()) {
                (Some("#"), _) => return true,
                (Some("+"), Some(level)) if level != "#" => {}
                (Some(wanted), Some(level)) if wanted == level => {}
                (None, None) => return true,
                _ => return false,
            }
        }
    }
}

/// Whether an address is hidden from filters that begin with a wildcard.
pub fn is_reserved(address: &str) -> bool {
    address.starts_with('$') || address.starts_with("queues/") || address.starts_with("logs/")
}

impl core::str::FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        Self::new(text)
    }
}

impl From<&Address> for Filter {
    fn from(address: &Address) -> Self {
        Self(address.name().clone())
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check(text: &str) -> Result<(), FilterError> {
    if text.is_empty() {
        return Err(FilterError::Empty);
    }
    if text.len() > Address::LEN_MAX {
        return Err(FilterError::TooLong);
    }
    if text.contains('\0') {
        return Err(FilterError::Nul);
    }
    let mut levels = text.split('/').peekable();
    let mut depth = 0;
    while let Some(level) = levels.next() {
        let alone = matches!(level, "+" | "#") || !level.contains(['+', '#']);
        if !alone || (level == "#" && levels.peek().is_some()) {
            return Err(FilterError::MisplacedWildcard);
        }
        depth += 1;
        if depth > Filter::LEVELS_MAX {
            return Err(FilterError::TooDeep);
        }
    }
    Ok(())
}
