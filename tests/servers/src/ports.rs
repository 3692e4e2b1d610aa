//! Ports for test servers. In: nothing. Out: a TCP port on loopback that no other test of this machine uses meanwhile.
//! A port that was merely free a moment ago is a race between test processes, so each is held by a locked file.

use std::fs::File;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

/// From 21,000 to 29,999: below the range from which the kernel takes ports for outgoing connections, which would otherwise
/// sit on a port between a server's kill and its restart.
const FIRST: u32 = 21_000;
const COUNT: u32 = 9_000;

/// A port that is ours until this is dropped.
#[derive(Debug)]
pub struct Port {
    /// The number.
    pub number: u16,
    _lock: File,
}

/// Takes a port that nobody listens on and no other test holds.
pub fn free_port() -> Port {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let folder = std::env::temp_dir().join("millrace-test-ports");
    std::fs::create_dir_all(&folder).expect("the folder for temporary files can be written");
    for _ in 0..COUNT {
        // Processes start at different places; within one process each call goes on from the last.
        let step = std::process::id().wrapping_mul(37) + NEXT.fetch_add(1, Ordering::Relaxed);
        let number = u16::try_from(FIRST + step % COUNT).expect("the range lies below 65,536");
        let lock = File::create(folder.join(number.to_string())).expect("a lock file can be created");
        if lock.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", number)).is_ok() {
            return Port { number, _lock: lock };
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + COUNT);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_hold_the_same_port() {
        let (one, two) = (free_port(), free_port());
        assert_ne!(one.number, two.number);
    }
}
