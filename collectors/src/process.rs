//! Watches a server process that Millrace did not start: its exit is a fact within milliseconds, by a pidfd. Who is not the
//! parent learns no exit code, so the fact says that it exited and not how; a guard says more for servers that it started.

use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A process that is watched.
#[derive(Debug)]
pub struct Watched {
    /// Its id.
    pub pid: u32,
    exited: AsyncFd<OwnedFd>,
}

impl Watched {
    /// Begins to watch; `None` when there is no such process.
    pub fn new(pid: u32) -> Option<Self> {
        let raw = Pid::from_raw(i32::try_from(pid).ok()?)?;
        let descriptor = pidfd_open(raw, PidfdFlags::NONBLOCK).ok()?;
        let exited = AsyncFd::register_with_interest(descriptor, Interest::READABLE).ok()?;
        Some(Self { pid, exited })
    }

    /// Resolves when the process has exited.
    pub async fn exited(&self) {
        // A pidfd becomes readable at the exit; an error means that nothing can be learned, which the caller's next look shows.
        let _ = self.exited.readable().await;
    }
}

/// The pid that a server wrote into its pid file, if that process runs.
pub fn pid_in(file: &std::path::Path) -> Option<u32> {
    let pid: u32 = std::fs::read_to_string(file).ok()?.trim().parse().ok()?;
    std::path::Path::new("/proc").join(pid.to_string()).exists().then_some(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_exit_is_seen() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().expect("sleep starts");
        let watched = Watched::new(child.id()).expect("it runs");
        child.kill().expect("it can be killed");
        tokio::time::timeout(std::time::Duration::from_secs(5), watched.exited()).await.expect("the exit is seen");
        child.wait().expect("reaped");
    }

    #[test]
    fn nobody_is_nobody() {
        assert!(Watched::new(0).is_none());
    }
}
