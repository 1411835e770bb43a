//! Declaring, describing, purging and deleting queues.

use std::sync::Arc;

use roadbed_core::{Address, Error, ErrorKind, Manage, Managed, QueueSettings, Result};

use crate::broker::Shared;
use crate::lock;
use crate::queue::Queue;

impl Shared {
    pub(crate) fn manage(&self, request: Manage) -> Result<Managed> {
        match request {
            Manage::Declare(address, settings) => self.declare(&address, settings),
            Manage::Delete(address) => Ok(Managed::Done(self.delete_queue(&self.existing(&address)?))),
            Manage::Purge(address) => Ok(Managed::Done(self.existing(&address)?.purge(self))),
            Manage::Describe(address) => Ok(Managed::Description(Box::new(self.existing(&address)?.describe()))),
            Manage::Bind(address, binding) => {
                let queue = self.queue_or_new(&checked(&address)?, None)?;
                self.bind_queue(&queue, &binding).map(|_| Managed::Done(0))
            }
            Manage::Unbind(address, unbind) => {
                let found = self.unbind_queue(&self.existing(&address)?, &unbind);
                Ok(Managed::Done(found.into()))
            }
            _ => Err(Error::new(ErrorKind::NotSupported, "manage")),
        }
    }

    fn declare(&self, address: &Address, settings: QueueSettings) -> Result<Managed> {
        if settings.messages_max == 0 || settings.bytes_max == 0 {
            return Err(Error::new(ErrorKind::Invalid, "declare").detail("a queue needs room for a message"));
        }
        let queue = self.queue_or_new(&checked(address)?, Some(settings.clone()))?;
        let mut inner = lock(&queue.inner);
        if inner.settings.durable && !settings.durable && queue.holds_stored(&inner) {
            let words = "the queue holds stored messages; purge it first";
            return Err(Error::new(ErrorKind::Conflict, "declare").detail(words));
        }
        let changed = inner.settings != settings;
        inner.settings = settings;
        drop(inner);
        if changed {
            self.keep_queue(&queue);
        }
        Ok(Managed::Done(0))
    }

    fn existing(&self, address: &Address) -> Result<Arc<Queue>> {
        let missing = || Error::new(ErrorKind::NotFound, "manage").detail(format!("there is no queue {address}"));
        self.find_queue(address).ok_or_else(missing)
    }
}

/// Only queues can be declared; dead letters are made by their queue.
fn checked(address: &Address) -> Result<Address> {
    if address.queue().is_some() {
        return Ok(address.clone());
    }
    let words = format!("{address} is not a queue: queues are at queues/NAME");
    Err(Error::new(ErrorKind::Invalid, "manage").detail(words))
}
