use core::future::poll_fn;
use core::task::Poll;
use core::time::Duration;

use roadbed_core::{Output, Socket};
use tokio::io::{AsyncRead, AsyncWrite};

/// Writes what is left and closes the writing side, as long as the peer takes it within `timeout`. Errors do not matter any more.
async fn last_words<S>(socket: &mut Socket<S>, out: Output, timeout: Duration)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut out = Some(out);
    let closing = poll_fn(|cx| {
        if let Some(out) = out.take()
            && socket.poll_flush(cx, out).is_err()
        {
            return Poll::Ready(());
        }
        socket.poll_shutdown(cx).map(|_| ())
    });
    let _ = tokio::time::timeout(timeout, closing).await;
}

/// As [`last_words`], and waits within the same time until the peer has closed its side: then it has read them.
pub(crate) async fn farewell<S>(socket: &mut Socket<S>, out: Output, timeout: Duration)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let farewell = async {
        last_words(socket, out, timeout).await;
        while let Ok(Some(_)) = poll_fn(|cx| socket.poll_chunk(cx)).await {}
    };
    let _ = tokio::time::timeout(timeout, farewell).await;
}
