//! Signals to the guard. In: SIGTERM and SIGINT, which end it; SIGHUP, which a vanishing terminal sends and which must not.
//! Out: a report to the deciding thread. The standard library cannot receive signals, so a thread of its own runs the one
//! library that is here anyway and can.

use std::sync::mpsc::SyncSender;

use tokio::signal::unix::{SignalKind, signal};

use super::super::GuardError;
use super::super::keeper::Event;
use super::{Input, report};

/// Registers before it returns, so that no signal after that ends the guard unheard.
pub(super) fn watch(reports: SyncSender<Input>) -> Result<(), GuardError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(GuardError::system("set up its signals"))?;
    let registered = runtime.block_on(async {
        let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()];
        kinds.map(signal).into_iter().collect::<Result<Vec<_>, _>>()
    });
    let mut streams = registered.map_err(GuardError::system("receive signals"))?;
    let wait = move || {
        runtime.block_on(async {
            let [terminate, interrupt, hangup] = streams.as_mut_slice() else { return };
            loop {
                tokio::select! {
                    _ = terminate.recv() => report(&reports, Input::Happened(Event::Terminate)),
                    _ = interrupt.recv() => report(&reports, Input::Happened(Event::Terminate)),
                    _ = hangup.recv() => {}
                }
            }
        });
    };
    let thread = std::thread::Builder::new().name("guard-signals".into()).spawn(wait);
    thread.map(drop).map_err(GuardError::system("start a thread"))
}
