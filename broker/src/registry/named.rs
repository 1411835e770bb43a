//! Sessions by principal and name: the names are those of the sessions themselves, not a second copy.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::mailbox::SessionCore;

/// Sessions that can be resumed or taken over. Two principals never share one.
#[derive(Debug, Default)]
pub(crate) struct Named {
    table: HashTable<Arc<SessionCore>>,
    build: DefaultHashBuilder,
}

impl Named {
    pub(crate) fn get(&self, principal: &str, name: &str) -> Option<&Arc<SessionCore>> {
        let hash = self.build.hash_one((principal, name));
        self.table.find(hash, |session| is(session, principal, name))
    }

    /// Adds a session, in the place of another one of its name.
    pub(crate) fn insert(&mut self, session: &Arc<SessionCore>) {
        let Some(name) = &session.name else { return };
        let (build, principal) = (&self.build, &*session.origin.principal);
        let hash = build.hash_one((principal, &**name));
        if let Ok(known) = self.table.find_entry(hash, |known| is(known, principal, name)) {
            known.remove();
        }
        self.table.insert_unique(hash, session.clone(), |session| hash_of(build, session));
    }

    /// Removes just this session.
    pub(crate) fn remove(&mut self, session: &Arc<SessionCore>) {
        let hash = hash_of(&self.build, session);
        if let Ok(known) = self.table.find_entry(hash, |known| Arc::ptr_eq(known, session)) {
            known.remove();
        }
        if self.table.len() * 4 < self.table.capacity() {
            let build = &self.build;
            self.table.shrink_to_fit(|session| hash_of(build, session));
        }
    }

    /// All of them, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<SessionCore>> {
        self.table.iter()
    }
}

fn is(session: &SessionCore, principal: &str, name: &str) -> bool {
    &*session.origin.principal == principal && session.name.as_deref() == Some(name)
}

fn hash_of(build: &DefaultHashBuilder, session: &SessionCore) -> u64 {
    let name = session.name.as_deref().unwrap_or_default();
    build.hash_one((&*session.origin.principal, name))
}
