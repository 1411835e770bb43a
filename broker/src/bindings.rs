//! What a queue or a log follows: one binding for each filter.

use roadbed_core::{Binding, Error, ErrorKind, Filter, Result};

use crate::broker::Shared;

impl Shared {
    /// Adds a binding to those of a node, a `what`. Whether it replaced one.
    pub(crate) fn follow(&self, bindings: &mut Vec<Binding>, binding: &Binding, what: &str) -> Result<bool> {
        if bindings.len() >= self.settings.queue_bindings_max {
            self.meters.bindings_refused.one();
            return Err(Error::new(ErrorKind::Exhausted, "bind").detail(format!("the {what} has too many bindings")));
        }
        let replaced = unfollow(bindings, &binding.filter);
        bindings.push(binding.clone());
        Ok(replaced)
    }
}

/// Removes the binding of a filter. Whether there was one.
pub(crate) fn unfollow(bindings: &mut Vec<Binding>, filter: &Filter) -> bool {
    let before = bindings.len();
    bindings.retain(|known| known.filter != *filter);
    bindings.len() < before
}
