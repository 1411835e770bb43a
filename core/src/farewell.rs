//! How a driver parts with its peer.

use core::future::poll_fn;
use core::task::Poll;
use core::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::{Output, Socket};

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    /// Writes what is left and closes the writing side, as long as the peer takes it within `timeout`. Errors do not matter any more.
    pub async fn last_words(&mut self, out: Output, timeout: Duration) {
        let mut out = Some(out);
        let closing = poll_fn(|cx| {
            if let Some(out) = out.take()
                && self.poll_flush(cx, out).is_err()
            {
                return Poll::Ready(());
            }
            self.poll_shutdown(cx).map(|_| ())
        });
        let _ = tokio::time::timeout(timeout, closing).await;
    }

    /// As [`last_words`](Self::last_words), and waits within the same time until the peer has closed its side: then it has read them.
    pub async fn farewell(&mut self, out: Output, timeout: Duration) {
        let farewell = async {
            self.last_words(out, timeout).await;
            while let Ok(Some(_)) = poll_fn(|cx| self.poll_chunk(cx)).await {}
        };
        let _ = tokio::time::timeout(timeout, farewell).await;
    }
}
