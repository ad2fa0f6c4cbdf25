//! The thread `kube-io`.

use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::api::cluster::ApiError;
use crate::api::responses::no_answer;

/// The thread that drives sockets and timers. It ends when the last user is gone.
pub(super) struct ApiRuntime {
    /// Lets a calling thread drive its own call.
    pub(super) handle: Handle,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ApiRuntime {
    /// Starts the thread.
    pub(super) fn start() -> Result<Self, String> {
        Self::try_start().map_err(|e| format!("cannot start the thread kube-io: {e}"))
    }

    fn try_start() -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel();
        let thread = std::thread::Builder::new().name("kube-io".to_owned()).spawn(move || {
            // A message and a dropped sender both end the thread.
            let _ = runtime.block_on(ended);
        })?;
        Ok(Self { handle, end: Some(end), thread: Some(thread) })
    }

    /// Drives `work` on the calling thread, at most for `limit`.
    pub(super) fn run<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, ApiError> {
        let timed = self.handle.block_on(async { tokio::time::timeout(limit, work).await });
        timed.unwrap_or_else(|_| {
            Err(no_answer("Timeout", format!("no answer within {} s", limit.as_secs_f32())))
        })
    }
}

impl Drop for ApiRuntime {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // Its panic has already been printed.
            let _ = thread.join();
        }
    }
}
