//! Workers, and the threads of requests that take longer. A panic in either costs that request a 500 and nothing else.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crossbeam_channel::Receiver;

use super::exchange::Exchange;
use super::reply::Reply;
use super::request::Request;
use super::{Answer, Handler, STACK, Task};

/// Bytes of an answer that a worker writes itself: the gate takes as much at once, whoever the client is. A longer one may
/// be taken at the client's pace.
const SHORT: usize = 64 * 1024;
/// Requests that may have a thread of their own at once.
const TASKS: usize = 10;

/// A worker: answers requests until the queue is closed.
pub(super) fn work(jobs: &Receiver<tiny_http::Request>, handler: &Handler, tasks: &Tasks, body_bytes: usize) {
    for raw in jobs {
        answer(raw, handler, tasks, body_bytes);
    }
}

fn answer(mut raw: tiny_http::Request, handler: &Handler, tasks: &Tasks, body_bytes: usize) {
    let mut request = match Request::read(&mut raw, body_bytes) {
        Ok(request) => request,
        // The gate has closed the connection, or has a fault of its own; tiny_http answers 500 on drop.
        Err(err) => return log::debug!("a request could not be read: {err}"),
    };
    let mut exchange = Exchange::new(raw, &request);
    // What a panic may have left half-done is the request alone, which is not looked at again.
    match catch_unwind(AssertUnwindSafe(|| handler(&mut request))) {
        Ok(Answer::Now(reply)) if reply.body.len() <= SHORT => exchange.reply(reply),
        Ok(Answer::Now(reply)) => tasks.spawn(Box::new(|exchange| exchange.reply(reply)), exchange),
        Ok(Answer::Detach(task)) => {
            exchange.set_body(request.body);
            tasks.spawn(task, exchange);
        }
        // The panic hook has logged it; dropping the exchange answers 500.
        Err(_) => drop(exchange),
    }
}

/// Counts the threads of detached tasks; clones count together.
#[derive(Clone, Default)]
pub(super) struct Tasks(Arc<AtomicUsize>);

/// One such thread's place in the count.
struct Place(Tasks);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Tasks {
    fn spawn(&self, task: Task, exchange: Exchange) {
        let n = self.0.fetch_add(1, Ordering::AcqRel);
        let place = Place(self.clone());
        if n >= TASKS {
            return exchange.reply(busy());
        }
        let body = move || {
            let _place = place;
            // The task owns the exchange, so unwinding answers 500.
            let _ = catch_unwind(AssertUnwindSafe(|| task(exchange)));
        };
        // If there is no thread the closure is dropped, and with it the exchange: 500.
        if let Err(err) = thread::Builder::new().name("exchange".into()).stack_size(STACK).spawn(body) {
            log::error!("no thread for a request: {err}");
        }
    }
}

fn busy() -> Reply {
    Reply::error(503, "Too much is going on; try again.").with("Retry-After", "2")
}
