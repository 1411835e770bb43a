//! What a layer does not do itself.

/// Writes methods of [`Session`](crate::Session), [`Producer`](crate::Producer) or [`Consumer`](crate::Consumer) that do nothing but call the same method of
/// `self.inner`: a layer writes the others.
///
/// ```
/// use roadbed_core::{Attached, Consumer, ConsumerTerms, Fut, Producer, ProducerTerms, Qos, Session, forward};
///
/// /// A session on which nothing is sent or received more than at least once.
/// struct AtLeastOnce {
///     inner: Box<dyn Session>,
/// }
///
/// impl Session for AtLeastOnce {
///     forward!(Session: opened, transaction, discharged, settle, manage, credential, poll_event, close);
///
///     fn producer(&self, mut terms: ProducerTerms) -> Fut<(Box<dyn Producer>, Attached)> {
///         terms.qos_max = terms.qos_max.min(Qos::AtLeastOnce);
///         self.inner.producer(terms)
///     }
///
///     fn consumer(&self, mut terms: ConsumerTerms) -> Fut<(Box<dyn Consumer>, Attached)> {
///         terms.qos_max = terms.qos_max.min(Qos::AtLeastOnce);
///         self.inner.consumer(terms)
///     }
/// }
/// ```
#[macro_export]
macro_rules! forward {
    (Session: $($method:ident),+) => { $($crate::forward!(@session $method);)+ };
    (Producer: $($method:ident),+) => { $($crate::forward!(@producer $method);)+ };
    (Consumer: $($method:ident),+) => { $($crate::forward!(@consumer $method);)+ };

    (@session opened) => {
        fn opened(&self) -> &$crate::Opened {
            self.inner.opened()
        }
    };
    (@session producer) => {
        fn producer(
            &self,
            terms: $crate::ProducerTerms,
        ) -> $crate::Fut<($crate::forwarded::Box<dyn $crate::Producer>, $crate::Attached)> {
            self.inner.producer(terms)
        }
    };
    (@session consumer) => {
        fn consumer(
            &self,
            terms: $crate::ConsumerTerms,
        ) -> $crate::Fut<($crate::forwarded::Box<dyn $crate::Consumer>, $crate::Attached)> {
            self.inner.consumer(terms)
        }
    };
    (@session transaction) => {
        fn transaction(&self) -> $crate::Fut<$crate::forwarded::Box<dyn $crate::Transaction>> {
            self.inner.transaction()
        }
    };
    (@session discharged) => {
        fn discharged(&self, txn: $crate::TxnId) -> $crate::Fut<bool> {
            self.inner.discharged(txn)
        }
    };
    (@session settle) => {
        fn settle(
            &self,
            batch: $crate::forwarded::Vec<$crate::Disposition>,
        ) -> $crate::Fut<$crate::forwarded::Vec<$crate::Done>> {
            self.inner.settle(batch)
        }
    };
    (@session manage) => {
        fn manage(&self, request: $crate::Manage) -> $crate::Fut<$crate::Managed> {
            self.inner.manage(request)
        }
    };
    (@session credential) => {
        fn credential(
            &self,
            credential: $crate::Credential,
        ) -> $crate::Fut<::core::option::Option<$crate::Time>> {
            self.inner.credential(credential)
        }
    };
    (@session poll_event) => {
        fn poll_event(&self, cx: &mut ::core::task::Context<'_>) -> ::core::task::Poll<$crate::SessionEvent> {
            self.inner.poll_event(cx)
        }
    };
    (@session close) => {
        fn close(&self, close: $crate::Close) -> $crate::Fut<()> {
            self.inner.close(close)
        }
    };

    (@producer poll_reserve) => {
        fn poll_reserve(
            &mut self,
            cx: &mut ::core::task::Context<'_>,
            messages: u32,
            bytes: usize,
        ) -> ::core::task::Poll<$crate::Result<u32>> {
            self.inner.poll_reserve(cx, messages, bytes)
        }
    };
    (@producer send) => {
        fn send(&mut self, batch: &mut $crate::forwarded::Vec<$crate::Outgoing>) {
            self.inner.send(batch);
        }
    };
    (@producer forget) => {
        fn forget(&mut self, keys: &mut $crate::forwarded::Vec<$crate::Key>) {
            self.inner.forget(keys);
        }
    };
    (@producer poll_forgotten) => {
        fn poll_forgotten(
            &mut self,
            cx: &mut ::core::task::Context<'_>,
            calls: u64,
        ) -> ::core::task::Poll<$crate::Result<()>> {
            self.inner.poll_forgotten(cx, calls)
        }
    };
    (@producer poll_confirms) => {
        fn poll_confirms(
            &mut self,
            cx: &mut ::core::task::Context<'_>,
            into: &mut $crate::forwarded::Vec<$crate::Confirm>,
        ) -> ::core::task::Poll<$crate::Result<usize>> {
            self.inner.poll_confirms(cx, into)
        }
    };
    (@producer detach) => { $crate::forward!(@detach); };

    (@consumer grant) => {
        fn grant(&mut self, grant: $crate::Grant) {
            self.inner.grant(grant);
        }
    };
    (@consumer poll_receive) => {
        fn poll_receive(
            &mut self,
            cx: &mut ::core::task::Context<'_>,
            into: &mut $crate::forwarded::Vec<$crate::Delivery>,
            max: usize,
        ) -> ::core::task::Poll<$crate::Result<usize>> {
            self.inner.poll_receive(cx, into, max)
        }
    };
    (@consumer settle) => {
        fn settle(&mut self, batch: &mut $crate::forwarded::Vec<$crate::Disposition>) {
            self.inner.settle(batch);
        }
    };
    (@consumer poll_settled) => {
        fn poll_settled(
            &mut self,
            cx: &mut ::core::task::Context<'_>,
            into: &mut $crate::forwarded::Vec<$crate::Done>,
        ) -> ::core::task::Poll<$crate::Result<usize>> {
            self.inner.poll_settled(cx, into)
        }
    };
    (@consumer bind) => {
        fn bind(
            &mut self,
            bindings: $crate::forwarded::Vec<$crate::Binding>,
        ) -> $crate::Fut<$crate::forwarded::Vec<$crate::Result<$crate::Granted>>> {
            self.inner.bind(bindings)
        }
    };
    (@consumer unbind) => {
        fn unbind(
            &mut self,
            bindings: $crate::forwarded::Vec<$crate::Unbind>,
        ) -> $crate::Fut<$crate::forwarded::Vec<$crate::Result<bool>>> {
            self.inner.unbind(bindings)
        }
    };
    (@consumer backlog) => {
        fn backlog(&self) -> u32 {
            self.inner.backlog()
        }
    };
    (@consumer detach) => { $crate::forward!(@detach); };

    (@detach) => {
        fn detach(self: $crate::forwarded::Box<Self>, how: $crate::Detach) -> $crate::Fut<()> {
            self.inner.detach(how)
        }
    };
}

/// What [`forward!`] names, where there may be no standard library.
#[doc(hidden)]
pub mod forwarded {
    pub use alloc::boxed::Box;
    pub use alloc::vec::Vec;
}
