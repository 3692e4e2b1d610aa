//! The parent of processes that outlive the test that started them. In: a command. Out: a child that the kernel kills when this
//! process ends, however it ends. The kernel looks at the thread that started the child, and the threads of tests come and go;
//! so one thread, which never ends, starts them all.

use std::io;
use std::process::{Child, Command};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};

type Order = (Command, Sender<io::Result<Child>>);

/// Starts `command`, which must be a `setpriv --pdeathsig KILL ...` to be killed with this process.
pub(crate) fn start(command: Command) -> io::Result<Child> {
    static ORDERS: OnceLock<Mutex<Sender<Order>>> = OnceLock::new();
    let orders = ORDERS.get_or_init(|| {
        let (orders, taken) = channel::<Order>();
        std::thread::Builder::new()
            .name("parent of servers".into())
            .spawn(move || {
                for (mut command, answer) in taken {
                    // Nobody is left to be told only if the test that asked has panicked meanwhile.
                    let _ = answer.send(command.spawn());
                }
            })
            .expect("a thread can be started");
        Mutex::new(orders)
    });
    let (answer, answered) = channel();
    let sent = orders.lock().unwrap_or_else(PoisonError::into_inner).send((command, answer));
    sent.expect("the thread that starts servers lives as long as the process");
    answered.recv().expect("the thread that starts servers answers every order")
}
