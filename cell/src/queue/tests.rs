use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::Queue;

fn take(queue: &Queue<u32>) -> Option<u32> {
    let mut next = pin!(queue.next());
    match next.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(key) => Some(key),
        Poll::Pending => None,
    }
}

#[test]
fn a_key_waits_once_however_often_it_is_added() {
    let queue = Queue::default();
    queue.add(1);
    queue.add(1);
    queue.add(2);
    assert_eq!([take(&queue), take(&queue), take(&queue)], [Some(1), Some(2), None]);
}

#[test]
fn a_key_added_while_it_runs_runs_once_more_afterwards_and_never_twice_at_once() {
    let queue = Queue::default();
    queue.add(1);
    assert_eq!(take(&queue), Some(1));
    queue.add(1);
    queue.add(1);
    assert_eq!(take(&queue), None);
    queue.done(&1);
    assert_eq!(take(&queue), Some(1));
    queue.done(&1);
    assert_eq!(take(&queue), None);
    assert_eq!(queue.len(), (0, 0));
}
