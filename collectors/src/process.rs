//! Watches a server process that Millrace did not start: its exit is a fact within milliseconds, by a pidfd. Who is not the
//! parent learns no exit code, so the fact says that it exited and not how; a guard says more for servers that it started.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::sync::oneshot;

/// Begins to watch a process; the receiver resolves when it has exited, with `CLOCK_BOOTTIME` of then. `None` when there is no such process.
/// A thread sleeps in the kernel for each: a host has few servers, and nothing else wakes within a millisecond.
pub fn watch(pid: u32) -> Option<oneshot::Receiver<u64>> {
    let raw = Pid::from_raw(i32::try_from(pid).ok()?)?;
    let descriptor = pidfd_open(raw, PidfdFlags::empty()).ok()?;
    let (sender, receiver) = oneshot::channel();
    let wait = move || {
        while poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], None).is_err() {} // interrupted: sleep again
        let _ = sender.send(crate::host::boot_us());
    };
    std::thread::Builder::new().name(format!("watch-{pid}")).stack_size(64 << 10).spawn(wait).ok()?;
    Some(receiver)
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
        let exited = watch(child.id()).expect("it runs");
        let before = crate::host::boot_us();
        child.kill().expect("it can be killed");
        let seen = tokio::time::timeout(std::time::Duration::from_mins(1), exited).await;
        let at = seen.expect("the exit is seen in time").expect("the watcher lives");
        assert!((before..=crate::host::boot_us()).contains(&at), "{at} is not after {before}");
        child.wait().expect("reaped");
    }

    #[test]
    fn nobody_is_nobody() {
        assert!(watch(0).is_none());
    }
}
