//! The pleasant layer over a link of this test's own: whatever the tasks do, each gets its own answer.
#![cfg(feature = "std")]

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use roadbed_core::{
    Address, Binding, Confirm, Consumer, CopyId, Delivery, DeliveryRef, Detach, Disposition, Done, ErrorKind, Fence,
    Fut, Grant, Granted, Handle, Key, Message, Outcome, Outgoing, Producer, Qos, Receiver, Result, Sender, Settled,
    Unbind,
};

/// What both ends of the test's link see.
#[derive(Default)]
struct Desk {
    sent: Vec<Outgoing>,
    forgotten: Vec<Key>,
    confirms: VecDeque<Confirm>,
    granted: u32,
    deliveries: VecDeque<Delivery>,
    disposed: Vec<Disposition>,
    done: VecDeque<Done>,
    dead: bool,
    wakers: [Option<Waker>; 2],
}

#[derive(Clone, Default)]
struct Link(Arc<Mutex<Desk>>);

impl Link {
    fn with<T>(&self, act: impl FnOnce(&mut Desk) -> T) -> T {
        act(&mut self.0.lock().unwrap())
    }

    /// Changes something, then wakes who watches it: confirms and settlements (0), or deliveries (1).
    fn wake(&self, which: usize, act: impl FnOnce(&mut Desk)) {
        let waker = self.with(|desk| {
            act(desk);
            desk.wakers[which].take()
        });
        waker.into_iter().for_each(Waker::wake);
    }

    fn confirm(&self, cookie: u64, outcome: Outcome) {
        self.wake(0, |desk| desk.confirms.push_back(Confirm { cookie, outcome, why: None, provisional: None }));
    }

    fn deliver(&self, slot: u16) {
        let delivery = Delivery {
            message: message(&slot.to_string()),
            handle: Handle::new(slot, 1),
            qos: Qos::AtLeastOnce,
            retained: false,
            attempt: 1,
            info: None,
        };
        self.wake(1, |desk| desk.deliveries.push_back(delivery));
    }

    fn answer(&self, cookie: u64) {
        self.wake(0, |desk| desk.done.push_back(Done { cookie, result: Ok(Settled::Applied) }));
    }

    fn cookies(&self) -> Vec<u64> {
        self.with(|desk| desk.disposed.iter().filter_map(|disposition| disposition.cookie).collect())
    }
}

impl Producer for Link {
    fn poll_reserve(&mut self, _cx: &mut Context<'_>, messages: u32, _bytes: usize) -> Poll<Result<u32>> {
        Poll::Ready(Ok(messages))
    }

    fn send(&mut self, batch: &mut Vec<Outgoing>) {
        self.with(|desk| desk.sent.append(batch));
    }

    fn forget(&mut self, keys: &mut Vec<Key>) {
        self.with(|desk| desk.forgotten.append(keys));
    }

    fn poll_confirms(&mut self, cx: &mut Context<'_>, into: &mut Vec<Confirm>) -> Poll<Result<usize>> {
        self.with(|desk| poll(cx, &mut desk.confirms, &mut desk.wakers[0], desk.dead, into))
    }

    fn detach(self: Box<Self>, _how: Detach) -> Fut<()> {
        Box::pin(async { Ok(()) })
    }
}

impl Consumer for Link {
    fn grant(&mut self, grant: Grant) {
        self.with(|desk| desk.granted = grant.credit);
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>, into: &mut Vec<Delivery>, max: usize) -> Poll<Result<usize>> {
        assert!(max > 0);
        self.with(|desk| poll(cx, &mut desk.deliveries, &mut desk.wakers[1], desk.dead, into))
    }

    fn settle(&mut self, batch: &mut Vec<Disposition>) {
        self.with(|desk| desk.disposed.append(batch));
    }

    fn poll_settled(&mut self, cx: &mut Context<'_>, into: &mut Vec<Done>) -> Poll<Result<usize>> {
        self.with(|desk| poll(cx, &mut desk.done, &mut desk.wakers[0], desk.dead, into))
    }

    fn bind(&mut self, _bindings: Vec<Binding>) -> Fut<Vec<Result<Granted>>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn unbind(&mut self, _bindings: Vec<Unbind>) -> Fut<Vec<Result<bool>>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn backlog(&self) -> u32 {
        0
    }

    fn detach(self: Box<Self>, _how: Detach) -> Fut<()> {
        Box::pin(async { Ok(()) })
    }
}

fn poll<T>(
    cx: &Context<'_>,
    from: &mut VecDeque<T>,
    waker: &mut Option<Waker>,
    dead: bool,
    into: &mut Vec<T>,
) -> Poll<Result<usize>> {
    if dead {
        return Poll::Ready(Err(roadbed_core::Error::new(ErrorKind::Disconnected, "test")));
    }
    if from.is_empty() {
        *waker = Some(cx.waker().clone());
        return Poll::Pending;
    }
    let count = from.len();
    into.extend(from.drain(..));
    Poll::Ready(Ok(count))
}

fn message(payload: &str) -> Message {
    Message::new("a".parse::<Address>().unwrap(), payload.to_owned())
}

async fn settle_down() {
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn many_tasks_each_get_their_own_confirm() {
    let link = Link::default();
    let sender = Sender::new(Box::new(link.clone()));
    let tasks: Vec<_> = (0..20)
        .map(|n| {
            let sender = sender.clone();
            tokio::spawn(async move { sender.send(message(&n.to_string()), Qos::AtLeastOnce).await.unwrap().outcome })
        })
        .collect();
    settle_down().await;
    let mut sent = link.with(|desk| desk.sent.clone());
    assert_eq!(sent.len(), 20);
    sent.reverse();
    for outgoing in &sent {
        let odd = outgoing.message.payload().to_bytes()[..].last().is_some_and(|digit| digit % 2 == 1);
        link.confirm(outgoing.cookie, if odd { Outcome::Released } else { Outcome::Accepted });
        settle_down().await;
    }
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.await.unwrap(), if n % 2 == 1 { Outcome::Released } else { Outcome::Accepted });
    }
}

#[tokio::test]
async fn a_task_that_gives_up_does_not_take_the_others_with_it() {
    let link = Link::default();
    let sender = Sender::new(Box::new(link.clone()));
    let spawn = |payload: &'static str| {
        let sender = sender.clone();
        tokio::spawn(async move { sender.send(message(payload), Qos::AtLeastOnce).await.unwrap().outcome })
    };
    let (first, second) = (spawn("1"), spawn("2"));
    settle_down().await;
    first.abort();
    settle_down().await;
    let cookies: Vec<_> = link.with(|desk| desk.sent.iter().map(|outgoing| outgoing.cookie).collect());
    cookies.iter().for_each(|cookie| link.confirm(*cookie, Outcome::Accepted));
    assert_eq!(second.await.unwrap(), Outcome::Accepted);
}

#[tokio::test]
async fn a_sink_that_is_dropped_does_not_keep_the_answers_from_the_others() {
    use futures_sink::Sink;
    let link = Link::default();
    let sender = Sender::new(Box::new(link.clone()));
    let mut sink = Box::pin(sender.sink(Qos::AtLeastOnce));
    sink.as_mut().start_send(message("1")).unwrap();
    let (tell, told) = tokio::sync::oneshot::channel::<()>();
    let idler = tokio::spawn(async move {
        assert!(poll_fn(|cx| Poll::Ready(sink.as_mut().poll_flush(cx).is_pending())).await);
        drop(sink);
        let _never = told.await;
    });
    settle_down().await;
    let task = tokio::spawn(async move { sender.send(message("2"), Qos::AtLeastOnce).await.unwrap().outcome });
    settle_down().await;
    link.confirm(link.with(|desk| desk.sent[1].cookie), Outcome::Accepted);
    settle_down().await;
    assert!(task.is_finished(), "the answer reaches who waits for it");
    drop(tell);
    idler.await.unwrap();
}

#[tokio::test]
async fn exactly_once_has_a_key_that_is_forgotten_after_the_confirm() {
    let link = Link::default();
    let sender = Sender::new(Box::new(link.clone()));
    let task = tokio::spawn(async move { sender.send(message("x"), Qos::ExactlyOnce).await });
    settle_down().await;
    let (cookie, key) = link.with(|desk| (desk.sent[0].cookie, desk.sent[0].key.clone()));
    assert_eq!(link.with(|desk| desk.forgotten.len()), 0);
    link.confirm(cookie, Outcome::Accepted);
    task.await.unwrap().unwrap();
    assert_eq!(link.with(|desk| desk.forgotten.clone()), [key.expect("a key")]);
}

#[tokio::test]
async fn a_dead_link_tells_everybody() {
    let link = Link::default();
    let sender = Sender::new(Box::new(link.clone()));
    let tasks: Vec<_> = (0..5)
        .map(|_| {
            let sender = sender.clone();
            tokio::spawn(async move { sender.send(message("x"), Qos::AtLeastOnce).await.unwrap_err().kind() })
        })
        .collect();
    settle_down().await;
    link.wake(0, |desk| desk.dead = true);
    for task in tasks {
        assert_eq!(task.await.unwrap(), ErrorKind::Disconnected);
    }
}

#[tokio::test]
async fn deliveries_settle_themselves_while_others_come() {
    let link = Link::default();
    let receiver = Receiver::new(Box::new(link.clone()), 10);
    let settling = tokio::spawn(async move {
        let mut tasks = Vec::new();
        for _ in 0..3 {
            let received = receiver.receive().await.unwrap().expect("a delivery");
            tasks.push(tokio::spawn(async move { received.accept().await.unwrap() }));
        }
        let idle = tokio::spawn(async move { receiver.receive().await.map(|_| ()) });
        for task in tasks {
            assert_eq!(task.await.unwrap(), Settled::Applied);
        }
        idle.abort();
    });
    for slot in 1..=3 {
        link.deliver(slot);
        settle_down().await;
    }
    assert!(link.with(|desk| desk.granted) > 0);
    for cookie in link.cookies().into_iter().rev() {
        link.answer(cookie);
        settle_down().await;
    }
    settling.await.unwrap();
    let refs = link.with(|desk| desk.disposed.iter().map(|disposition| disposition.delivery).collect::<Vec<_>>());
    assert_eq!(refs, [1, 2, 3].map(|slot| DeliveryRef::Handle(Handle::new(slot, 1).unwrap())));
}

/// A task that stops receiving does not keep the answers from those who settle.
#[tokio::test]
async fn who_stops_receiving_does_not_stop_the_settling() {
    let link = Link::default();
    let receiver = Receiver::new(Box::new(link.clone()), 10);
    link.deliver(1);
    let received = receiver.receive().await.unwrap().expect("a delivery");
    let settling = tokio::spawn(async move { received.accept().await.unwrap() });
    settle_down().await;
    // Another task polls once and never again, but lives on.
    let idler = tokio::spawn(async move {
        {
            let mut receiving = pin!(receiver.receive());
            assert!(poll_fn(|cx| Poll::Ready(receiving.as_mut().poll(cx).is_pending())).await);
        }
        std::future::pending::<()>().await;
    });
    settle_down().await;
    link.answer(link.cookies()[0]);
    settle_down().await;
    assert!(settling.is_finished(), "the answer reaches who waits for it");
    assert_eq!(settling.await.unwrap(), Settled::Applied);
    idler.abort();
}

#[test]
fn the_durable_name_survives_the_wire() {
    let copy = CopyId { queue: roadbed_core::QueueId(7), seq: u64::MAX - 3 };
    let id = roadbed_core::DeliveryId { copy, fence: Fence { epoch: 2, attempt: u32::MAX } };
    assert_eq!(roadbed_core::DeliveryId::from_bytes(&id.to_bytes()), Some(id));
    assert_eq!(roadbed_core::DeliveryId::from_bytes(&id.to_bytes()[1..]), None);
}
