//! Topic aliases (section 3.3.2.3.4), one table for each direction.

use alloc::vec::Vec;
use core::num::NonZeroU16;

use roadbed_core::Address;

use crate::error::DecodeError;

/// The aliases that the peer has set.
#[derive(Debug, Default)]
pub(crate) struct AliasesIn(Vec<Option<Address>>);

impl AliasesIn {
    /// Sets an alias [MQTT-3.3.2-12].
    pub(crate) fn set(&mut self, alias: NonZeroU16, address: &Address, max: u16) -> Result<(), DecodeError> {
        let slot = slot(alias, max)?;
        if self.0.len() <= slot {
            self.0.resize(slot + 1, None);
        }
        self.0[slot] = Some(address.clone());
        Ok(())
    }

    /// What an alias stands for; none is known until it was set [MQTT-3.3.2-9].
    pub(crate) fn find(&self, alias: NonZeroU16, max: u16) -> Result<&Address, DecodeError> {
        let slot = slot(alias, max)?;
        self.0.get(slot).and_then(Option::as_ref).ok_or(DecodeError::TopicAlias(alias.get()))
    }
}

fn slot(alias: NonZeroU16, max: u16) -> Result<usize, DecodeError> {
    if alias.get() > max {
        return Err(DecodeError::TopicAlias(alias.get()));
    }
    Ok(usize::from(alias.get()) - 1)
}

/// The aliases that we have set: the first topics get one, later ones are written out.
#[derive(Debug, Default)]
pub(crate) struct AliasesOut {
    known: Vec<Address>,
    max: u16,
}

/// How a topic is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alias {
    /// In full.
    None,
    /// In full, and the alias is set to it once the packet is written.
    New(NonZeroU16),
    /// By the alias alone.
    Known(NonZeroU16),
}

impl AliasesOut {
    pub(crate) const fn new(max: u16) -> Self {
        Self { known: Vec::new(), max }
    }

    pub(crate) fn find(&self, address: &Address) -> Alias {
        if self.max == 0 {
            return Alias::None;
        }
        let at = self.known.iter().position(|known| known == address);
        let number = u16::try_from(at.unwrap_or(self.known.len()) + 1).ok().and_then(NonZeroU16::new);
        match (number, at) {
            (Some(alias), Some(_)) => Alias::Known(alias),
            (Some(alias), None) if alias.get() <= self.max => Alias::New(alias),
            _ => Alias::None,
        }
    }

    /// The peer will read the alias that [`AliasesOut::find`] called new.
    pub(crate) fn set(&mut self, alias: NonZeroU16, address: &Address) {
        debug_assert_eq!(self.known.len() + 1, usize::from(alias.get()), "aliases are set in order");
        self.known.push(address.detach());
    }
}
