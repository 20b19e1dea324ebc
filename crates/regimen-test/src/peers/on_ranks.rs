//! One thread per rank.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use regimen_core::peers::Peers;

/// Runs `program` on a thread per rank, and returns the results in the order of `ranks`. A panic is the error of its
/// rank, `panicked: ` and its message, and [aborts](Peers::abort) the calls of the others.
pub fn on_ranks<P: Peers + ?Sized, R: Send>(
    ranks: Vec<Arc<P>>,
    program: impl Fn(Arc<P>) -> R + Sync,
) -> Vec<Result<R, String>> {
    let guarded = |peers: Arc<P>| {
        catch_unwind(AssertUnwindSafe(|| program(peers.clone()))).map_err(|panic| {
            let why = format!("panicked: {}", message(&*panic));
            peers.abort(&why);
            why
        })
    };
    thread::scope(|scope| {
        let threads: Vec<_> = ranks.into_iter().map(|peers| scope.spawn(|| guarded(peers))).collect();
        let joined = threads.into_iter().map(|thread| thread.join());
        joined.map(|result| result.unwrap_or_else(|panic| Err(message(&*panic).to_owned()))).collect()
    })
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("not a text")
}
