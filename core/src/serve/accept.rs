use core::future::Future;
use core::pin::pin;
use core::time::Duration;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// How long accepting rests after the system has refused a connection, for want of descriptors for instance.
const REST: Duration = Duration::from_millis(100);

/// Accepts until `shutdown` resolves, and runs what `serve` makes of each connection in a task of its own, at most `connections_max` at a
/// time; more wait to be accepted. Returns the tasks that have not ended: dropping the set, or this future, cuts them.
pub async fn accept<F>(
    listener: TcpListener,
    connections_max: usize,
    shutdown: impl Future<Output = ()>,
    mut serve: impl FnMut(TcpStream, SocketAddr) -> F,
) -> JoinSet<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let (mut shutdown, mut connections) = (pin!(shutdown), JoinSet::new());
    loop {
        let has_room = connections.len() < connections_max;
        tokio::select! {
            () = &mut shutdown => return connections,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept(), if has_room => match accepted {
                Ok((stream, peer)) => {
                    // Small frames are awaited; without this the connection is slower, not wrong.
                    let _ = stream.set_nodelay(true);
                    connections.spawn(serve(stream, peer));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(REST).await;
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use core::future::pending;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::vec::Vec;

    use tokio::io::AsyncReadExt;
    use tokio::sync::oneshot;
    use tokio::time::timeout;

    use super::*;

    /// How many are served at once, of three that connect.
    #[tokio::test]
    async fn more_than_the_limit_wait_until_one_has_ended() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&served);
        let (stop, stopped) = oneshot::channel::<()>();
        let accepting = tokio::spawn(accept(listener, 2, async { drop(stopped.await) }, move |mut stream, _| {
            let count = Arc::clone(&count);
            async move {
                count.fetch_add(1, Ordering::SeqCst);
                let _ = stream.read_u8().await;
            }
        }));
        let mut peers = Vec::new();
        for _ in 0..3 {
            peers.push(TcpStream::connect(address).await.unwrap());
        }
        until(|| served.load(Ordering::SeqCst) == 2).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(served.load(Ordering::SeqCst), 2, "the third waits");
        peers.remove(0);
        until(|| served.load(Ordering::SeqCst) == 3).await;
        stop.send(()).unwrap();
        let mut left = timeout(Duration::from_secs(5), accepting).await.unwrap().unwrap();
        assert_eq!(left.len(), 2);
        drop(peers);
        while timeout(Duration::from_secs(5), left.join_next()).await.unwrap().is_some() {}
    }

    #[tokio::test]
    async fn dropping_it_cuts_the_connections() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let accepting = accept(listener, 2, pending(), |stream, _| async move {
            pending::<()>().await;
            drop(stream);
        });
        assert!(timeout(Duration::from_millis(100), accepting).await.is_err());
        assert!(timeout(Duration::from_secs(5), peer.read_u8()).await.unwrap().is_err(), "closed");
    }

    async fn until(done: impl Fn() -> bool) {
        timeout(Duration::from_secs(5), async {
            while !done() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await
        .expect("in time");
    }
}
